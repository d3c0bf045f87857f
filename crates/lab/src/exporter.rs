//! Debian's exporter of PgBouncer's console, `prometheus-pgbouncer-exporter`, as it is.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Cluster;
use crate::cluster::free_port;
use crate::pooler;

/// How long it may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "prometheus-pgbouncer-exporter";

/// An exporter that is logged in to a console. It ends when it is dropped, and with its cluster at
/// the latest.
#[derive(Debug)]
pub struct Exporter {
    child: Child,
    address: SocketAddr,
}

impl Exporter {
    /// Whether there is none on this machine, so that a test cannot run. Says so aloud.
    pub fn is_missing() -> bool {
        let is_missing = pooler::find(NAME).is_none();
        if is_missing {
            let why = b"\nSKIPPED: no prometheus-pgbouncer-exporter here; `cargo x setup` installs it on Debian\n";
            // Not by a macro: the test harness would keep what those print to itself.
            let _ = std::io::stderr().write_all(why);
        }
        is_missing
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
        let said = File::create(&log)?;
        let child = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args(["--pgbouncer-host", &console.ip().to_string()])
            .args(["--pgbouncer-port", &console.port().to_string()])
            .args(["--pgbouncer-user", user])
            .env("PGPASSWORD", password)
            .current_dir(cluster.folder())
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("cannot run the exporter")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut started = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            let words = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = started.child.try_wait()? {
                bail!("the exporter ended with {status} instead of starting: {}", words());
            }
            if Instant::now() > deadline {
                bail!("the exporter has not started: {}", words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    /// What it tells Prometheus now, with the head of its answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn scrape(&self) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        // Whoever is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
