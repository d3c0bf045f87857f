//! Debian's exporter of PgBouncer's console, `prometheus-pgbouncer-exporter`, as it is.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Cluster;
use crate::cluster::free_port;
use crate::daemon::{self, Daemon};
use crate::pooler;

const NAME: &str = "prometheus-pgbouncer-exporter";

/// An exporter that is logged in to a console. It ends when it is dropped, and with its cluster at
/// the latest.
#[derive(Debug)]
pub struct Exporter(Daemon);

impl Exporter {
    /// Whether there is none on this machine, so that a test cannot run. Says so aloud.
    pub fn is_missing() -> bool {
        daemon::is_missing(&[NAME])
    }

    /// Starts one that logs in to the console at `console`, and waits until it can be asked.
    ///
    /// # Errors
    /// What it says if it ends instead of starting, or has not started after 30 s.
    pub fn start(
        cluster: &Cluster,
        console: SocketAddr,
        user: &str,
        password: &str,
    ) -> Result<Self> {
        let program = pooler::find(NAME).context("no exporter: run `cargo x setup`")?;
        // It is a script; this is the process that the guardian sees.
        cluster.guard(Path::new("/usr/bin/python3"))?;
        let port = free_port()?;
        let log = cluster.folder().join(format!("exporter-{port}.log"));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = Command::new(program);
        command
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--pgbouncer-host", &console.ip().to_string()])
            .args(["--pgbouncer-port", &console.port().to_string()])
            .args(["--pgbouncer-user", user])
            .env("PGPASSWORD", password)
            .current_dir(cluster.folder());
        Daemon::start(NAME, &mut command, &log, address, Daemon::is_listening).map(Self)
    }

    /// What it tells Prometheus now, with the head of its answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn scrape(&self) -> Result<String> {
        self.0.get("/metrics")
    }
}
