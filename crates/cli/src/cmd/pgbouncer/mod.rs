//! `pgherd pgbouncer`: the proxy in PgBouncer's place, on its own files.

mod daemon;
mod log;
mod pidfile;
mod user;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{ArgAction, Args};
use pgherd_core::pgbouncer::Converted;
use pgherd_server::{Pauser, Reloader, Server, Stopper};
use rustix::process::geteuid;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use self::log::Log;
use self::pidfile::PidFile;
use super::serve::inherited;
use crate::syslog::Syslog;
use crate::{pgbouncer_files, systemd};

/// Serve in PgBouncer's place, straight from its files
///
/// Takes the ini file and the options of PgBouncer. SIGTERM and SIGINT stop it: clients in a
/// transaction may finish it. A second one, or SIGQUIT, stops it at once; SIGUSR1 pauses it
/// and SIGUSR2 has it go on; SIGHUP opens the log file anew and reads settings and certificates again:
/// docs/restarts.md says which settings hold then. What has no
/// effect here, or another one, is logged as a warning at the start: docs/coming-from-pgbouncer.md has
/// it for each setting.
#[derive(Debug, Args)]
pub(crate) struct Pgbouncer {
    /// The ini file; paths in it are relative to the current folder
    #[arg(value_name = "FILE")]
    ini: PathBuf,
    /// Run in the background: needs `pidfile`
    #[arg(short, long)]
    daemon: bool,
    /// Take the place of the process that serves on the same Unix socket, if there is one: it hands
    /// over its listening sockets, serves its clients until they leave, and ends
    #[arg(short = 'R', long)]
    reboot: bool,
    /// Log to `logfile` only, and not to standard error too
    #[arg(short, long)]
    quiet: bool,
    /// Log more; twice, yet more
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// The system's user to become, if started by root
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Is the process in the background, that --daemon has started
    #[arg(long, hide = true)]
    detached: bool,
}

impl Pgbouncer {
    /// Returns when it was stopped and its last client has gone; with --daemon, when the process in
    /// the background serves.
    pub(crate) fn run(self) -> Result<()> {
        let Converted { settings, process, warnings } = pgbouncer_files::load(&self.ini)?;
        if geteuid().is_root() {
            let name = self.user.as_ref().or(process.user.as_ref());
            let name = name.context(
                "it does not run as root, as PgBouncer does not: name a user with -u, or `user` in the file",
            )?;
            // Comes back as that user, and not here.
            return user::become_user(name);
        }
        if self.detached {
            daemon::leave_terminal()?;
        } else if self.daemon {
            if process.pidfile.is_none() {
                bail!("to run in the background it needs `pidfile` in the file");
            }
            return daemon::start();
        }
        let log = Log::open(process.logfile.as_deref(), !self.quiet)?;
        let syslog = Syslog::default();
        syslog.follow(&settings.log);
        log.clone().start(process.verbose.max(self.verbose.into()), &syslog)?;
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        let signals = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2];
        let signals = Signals::new(signals).context("cannot take signals")?;
        let inherited = inherited(&settings, self.reboot)?;
        // That of the process that is taken over names it until this one serves.
        let early = if inherited.takes_over() { None } else { process.pidfile.as_deref() };
        let early = early.map(PidFile::write).transpose()?;
        let server = Server::start_inheriting(&settings, inherited)?;
        let pidfile = match (early, process.pidfile.as_deref()) {
            // The other process has gone by now: this one has to go on.
            (None, Some(path)) => PidFile::replace(path)
                .inspect_err(|error| {
                    tracing::error!("the pidfile names another process: {error:#}");
                })
                .ok(),
            (early, _) => early,
        };
        let ini = self.ini;
        server.on_reload(move |held| syslog.follow(&held.log));
        let reloader = server.reload_from(move || {
            let Converted { settings, warnings, .. } =
                pgbouncer_files::load(&ini).map_err(|error| format!("{error:#}"))?;
            for warning in &warnings {
                tracing::warn!("{warning}");
            }
            Ok(settings)
        });
        obey(signals, (server.stopper(), server.pauser(), reloader), log, pidfile.clone());
        systemd::tell_ready();
        if self.detached {
            daemon::tell_ready()?;
        }
        let ended = server.wait().context("a loop failed");
        if let Some(pidfile) = pidfile {
            pidfile.remove();
        }
        ended
    }
}

/// Does what signals say, in a thread of its own.
fn obey(
    mut signals: Signals,
    (stopper, pauser, reloader): (Stopper, Pauser, Reloader),
    log: Log,
    pidfile: Option<PidFile>,
) {
    std::thread::spawn(move || {
        let mut is_stopping = false;
        for signal in signals.forever() {
            match signal {
                SIGHUP => {
                    log.reopen();
                    systemd::tell_reloading();
                    // It has logged what has come of it.
                    let _ = reloader.reload();
                    systemd::tell_ready();
                }
                SIGUSR1 if pauser.pause() => tracing::info!("paused: SIGUSR2 resumes"),
                SIGUSR2 if pauser.resume() => tracing::info!("resumed"),
                SIGUSR1 | SIGUSR2 => tracing::warn!(signal, "it is so already"),
                SIGTERM | SIGINT if !is_stopping => {
                    is_stopping = true;
                    tracing::info!(signal, "stopping; a second signal stops at once");
                    systemd::tell_stopping();
                    stopper.stop();
                }
                _ => {
                    tracing::info!(signal, "stopping at once");
                    if let Some(pidfile) = &pidfile {
                        pidfile.remove();
                    }
                    // What a shell reports of a process that a signal has ended.
                    std::process::exit(128 + signal);
                }
            }
        }
    });
}
