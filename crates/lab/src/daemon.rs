//! A program of another project that listens on one address, and answers over HTTP.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::pooler;

/// How long one may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    address: SocketAddr,
}

/// Whether one of these programs is not on this machine, so that a test cannot run. Says so aloud.
pub(crate) fn is_missing(names: &[&str]) -> bool {
    let Some(missing) = names.iter().find(|name| pooler::find(name).is_none()) else {
        return false;
    };
    let why = format!("\nSKIPPED: no {missing} here; `cargo x setup` installs it on Debian\n");
    // Not by a macro: the test harness would keep what those print to itself.
    let _ = std::io::stderr().write_all(why.as_bytes());
    true
}

impl Daemon {
    /// Starts one that is to listen on `address` and writes what it says into `log`, and waits until it
    /// is ready.
    ///
    /// # Errors
    /// What it says if it ends instead of starting, or has not started after 30 s.
    pub(crate) fn start(
        name: &str,
        command: &mut Command,
        log: &Path,
        address: SocketAddr,
        is_ready: impl Fn(&Self) -> bool,
    ) -> Result<Self> {
        let said = File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .with_context(|| format!("cannot run {name}"))?;
        let mut started = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while !is_ready(&started) {
            let words = || std::fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = started.child.try_wait()? {
                bail!("{name} ended with {status} instead of starting: {}", words());
            }
            if Instant::now() > deadline {
                bail!("{name} has not started after {PATIENCE:?}: {}", words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    /// Whether it accepts connections.
    pub(crate) fn is_listening(&self) -> bool {
        TcpStream::connect(self.address).is_ok()
    }

    /// Its whole answer to a request for `path`, with the head.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Whoever is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
