//! `pgherd serve`: the proxy.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::exit;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pgherd_server::{Certificates, Server, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing_subscriber::EnvFilter;

use crate::settings;

/// Serve PostgreSQL clients: pooling, and reads to replicas
///
/// SIGTERM and SIGINT (Ctrl-C) stop it: no more clients are accepted, and those in a transaction
/// may finish it. A second signal stops it at once. SIGHUP has certificates and the HBA
/// file read again.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The settings file; without one, the environment (COORDINATOR_HOST and others)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What is logged: error, warn, info, debug, trace, or `target=level` pairs
    #[arg(long, value_name = "FILTER", env = "PGHERD_LOG", default_value = "info")]
    log: String,
    /// How it is logged, on standard error
    #[arg(long, value_name = "FORMAT", env = "PGHERD_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl Serve {
    /// Returns when it was stopped and its last client has gone.
    pub(crate) fn run(self) -> Result<()> {
        let settings = settings::load(self.config.as_deref())?.context(
            "no cluster to serve: name a settings file with --config, or set COORDINATOR_HOST",
        )?;
        start_logging(&self.log, self.log_format)?;
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot take signals")?;
        let server = Server::start(&settings)?;
        obey(signals, server.stopper(), server.certificates());
        server.wait().context("a loop failed")
    }
}

fn start_logging(filter: &str, format: LogFormat) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is no log filter"))?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.with_target(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
    Ok(())
}

/// Stops the proxy at the first signal to do so and the process at the second; SIGHUP has the
/// certificates read again.
fn obey(mut signals: Signals, stopper: Stopper, certificates: Certificates) {
    std::thread::spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                match certificates.reload() {
                    Ok(()) => tracing::info!(
                        "certificates and HBA file are read again, for new connections"
                    ),
                    Err(error) => tracing::error!(%error, "what is wrong stays as it was"),
                }
                continue;
            }
            if stopping {
                // What a shell reports of a process that a signal has ended.
                exit(128 + signal);
            }
            tracing::info!(signal, "stopping; a second signal stops at once");
            stopper.stop();
            stopping = true;
        }
    });
}
