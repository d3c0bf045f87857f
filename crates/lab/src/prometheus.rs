//! Debian's Prometheus, as it is.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Cluster;
use crate::cluster::free_port;
use crate::pooler;

/// How long it may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(30);

const NAME: &str = "prometheus";

/// Its tool for checks of what it reads.
const TOOL: &str = "promtool";

/// A Prometheus that scrapes one target each second. It ends when it is dropped, and with its cluster
/// at the latest.
#[derive(Debug)]
pub struct Prometheus {
    child: Child,
    address: SocketAddr,
}

impl Prometheus {
    /// Whether there is none on this machine, so that a test cannot run. Says so aloud.
    pub fn is_missing() -> bool {
        let is_missing = [NAME, TOOL].iter().any(|name| pooler::find(name).is_none());
        if is_missing {
            let why = b"\nSKIPPED: no prometheus here; `cargo x setup` installs it on Debian\n";
            // Not by a macro: the test harness would keep what those print to itself.
            let _ = std::io::stderr().write_all(why);
        }
        is_missing
    }

    /// Starts one that scrapes `/metrics` of `target`, and waits until it can be asked.
    ///
    /// # Errors
    /// What it says if it ends instead of starting, or has not started after 30 s.
    pub fn start(cluster: &Cluster, target: SocketAddr) -> Result<Self> {
        let program = program(NAME)?;
        cluster.guard(&program)?;
        let port = free_port()?;
        let folder = cluster.folder().join(format!("prometheus-{port}"));
        std::fs::create_dir(&folder)?;
        let config = folder.join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s}}\nscrape_configs:\n\
             - {{job_name: pgherd, static_configs: [{{targets: ['{target}']}}]}}\n"
        );
        std::fs::write(&config, text)?;
        let log = folder.join("log");
        let said = File::create(&log)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .spawn()
            .context("cannot run prometheus")?;
        let mut started = Self { child, address };
        let deadline = Instant::now() + PATIENCE;
        while !started.is_ready() {
            let words = || std::fs::read_to_string(&log).unwrap_or_default();
            if let Some(status) = started.child.try_wait()? {
                bail!("prometheus ended with {status} instead of starting: {}", words());
            }
            if Instant::now() > deadline {
                bail!("prometheus has not started: {}", words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    fn is_ready(&self) -> bool {
        self.get("/-/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
    }

    /// The whole answer of its API to an expression in PromQL, head and JSON.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn query(&self, expression: &str) -> Result<String> {
        let escape = |byte: u8| match byte {
            b if b.is_ascii_alphanumeric() => char::from(b).to_string(),
            b => format!("%{b:02X}"),
        };
        let escaped: String = expression.bytes().map(escape).collect();
        self.get(&format!("/api/v1/query?query={escaped}"))
    }

    fn get(&self, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// What `promtool check` with these words says of an input.
    ///
    /// # Errors
    /// When there is none.
    pub fn check(words: &[&str], input: &str) -> Result<Output> {
        let mut child = Command::new(program(TOOL)?)
            .arg("check")
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut stdin = child.stdin.take().context("it has no input")?;
        // It may end before it has read all of it.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        Ok(child.wait_with_output()?)
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // Whoever is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program(name: &str) -> Result<PathBuf> {
    pooler::find(name).with_context(|| format!("no {name}: run `cargo x setup`"))
}
