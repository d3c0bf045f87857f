//! `pgherd serve`: the proxy.

use std::fmt;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::exit;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use pgherd_core::Settings;
use pgherd_server::{Inherited, Reloader, Server, Stopper};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::field::Field;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::line::escaped;
use crate::outlet::{Form, Outlet};
use crate::syslog::Syslog;
use crate::{settings, systemd};

/// Serve PostgreSQL clients: pooling, and reads to replicas
///
/// SIGTERM and SIGINT (Ctrl-C) stop it: no more clients are accepted, and those in a transaction
/// may finish it. A second signal stops it at once. SIGHUP has the settings read again, and the
/// certificates and HBA file that they name: docs/restarts.md says which settings hold then.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The settings file; without one, the environment (COORDINATOR_HOST and others)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Take the place of the process that serves under the same `listen.unix_socket_dir` and port, if
    /// there is one: it hands over its listening sockets, serves its clients until they leave, and ends
    #[arg(long)]
    takeover: bool,
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
        let syslog = Syslog::default();
        syslog.follow(&settings.log);
        start_logging(&self.log, self.log_format, &syslog)?;
        let signals = Signals::new([SIGHUP, SIGINT, SIGTERM]).context("cannot take signals")?;
        let server = Server::start_inheriting(&settings, inherited(&settings, self.takeover)?)?;
        let config = self.config;
        server.on_reload(move |held| syslog.follow(&held.log));
        let reloader = server.reload_from(move || {
            let loaded = settings::load(config.as_deref()).map_err(|error| format!("{error:#}"))?;
            Ok(loaded.ok_or("COORDINATOR_HOST is not set any more")?)
        });
        obey(signals, server.stopper(), reloader);
        systemd::tell_ready();
        server.wait().context("a loop failed")
    }
}

/// What a process begins with: the sockets of the one whose place it takes, or systemd's.
pub(super) fn inherited(settings: &Settings, takes_over: bool) -> Result<Inherited> {
    if takes_over {
        let before = Inherited::take_over(&settings.listen).context("cannot take over")?;
        if let Some(before) = before {
            return Ok(before);
        }
        tracing::warn!("there is no process to take over from: this one just starts");
    }
    Ok(Inherited::sockets(systemd::sockets()))
}

fn start_logging(filter: &str, format: LogFormat, syslog: &Syslog) -> Result<()> {
    let filter =
        EnvFilter::try_new(filter).with_context(|| format!("`{filter}` is no log filter"))?;
    let is_terminal = io::stderr().is_terminal();
    let form = match format {
        LogFormat::Json => Form::Json,
        LogFormat::Text if is_terminal => Form::Coloured,
        LogFormat::Text => Form::Text,
    };
    let outlet = Arc::new(Outlet::new(io::stderr(), form));
    let lines = tracing_subscriber::fmt::layer().with_ansi(is_terminal).with_writer(outlet);
    let lines = match form {
        Form::Text => lines.with_target(false).boxed(),
        Form::Coloured => lines.with_target(false).fmt_fields(plain_fields()).boxed(),
        Form::Json => lines.json().boxed(),
    };
    tracing_subscriber::registry().with(lines).with(syslog.layer()).with(filter).init();
    Ok(())
}

/// Fields without a colour of their own: whatever begins a colour in a line is then not from a value.
fn plain_fields() -> impl for<'w> FormatFields<'w> {
    debug_fn(|to: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug| {
        let value = format!("{value:?}");
        let value = escaped(&value, |_| false);
        match field.name() {
            "message" => write!(to, "{value}"),
            name => write!(to, "{name}={value}"),
        }
    })
    .delimited(" ")
}

/// Stops the proxy at the first signal to do so and the process at the second; SIGHUP has the
/// settings read again.
fn obey(mut signals: Signals, stopper: Stopper, reloader: Reloader) {
    std::thread::spawn(move || {
        let mut stopping = false;
        for signal in signals.forever() {
            if signal == SIGHUP {
                systemd::tell_reloading();
                // It has logged what has come of it.
                let _ = reloader.reload();
                systemd::tell_ready();
                continue;
            }
            if stopping {
                // What a shell reports of a process that a signal has ended.
                exit(128 + signal);
            }
            tracing::info!(signal, "stopping; a second signal stops at once");
            systemd::tell_stopping();
            stopper.stop();
            stopping = true;
        }
    });
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn no_value_colours_a_terminal() {
        let (mut pipe, writer) = io::pipe().unwrap();
        let outlet = Arc::new(Outlet::new(writer, Form::Coloured));
        let lines = tracing_subscriber::fmt::layer()
            .with_ansi(true)
            .with_target(false)
            .with_writer(outlet)
            .fmt_fields(plain_fields());
        let log = tracing_subscriber::registry().with(lines);
        tracing::subscriber::with_default(log, || {
            let said = "\u{1b}[31mred\n";
            tracing::info!(%said, quoted = said, count = 1, "lost {said}");
        });
        let mut line = String::new();
        pipe.read_to_string(&mut line).unwrap();
        let (head, said) = line.split_once("lost ").unwrap();
        assert!(head.contains("\u{1b}["), "{line}");
        let red = r"\u{1b}[31mred\n";
        assert_eq!(said, format!("{red} said={red} quoted=\"{red}\" count=1\n"));
    }
}
