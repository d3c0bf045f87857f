//! Debian's Prometheus, as it is.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

use crate::Cluster;
use crate::cluster::free_port;
use crate::daemon::{self, Daemon};
use crate::pooler;

const NAME: &str = "prometheus";

/// Its tool for checks of what it reads.
const TOOL: &str = "promtool";

/// A Prometheus that scrapes one target each second. It ends when it is dropped, and with its cluster
/// at the latest.
#[derive(Debug)]
pub struct Prometheus(Daemon);

impl Prometheus {
    /// Whether there is none on this machine, so that a test cannot run. Says so aloud.
    pub fn is_missing() -> bool {
        daemon::is_missing(&[NAME, TOOL])
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
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut command = Command::new(program);
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&folder);
        let is_ready = |started: &Daemon| {
            started.get("/-/ready").is_ok_and(|answer| answer.starts_with("HTTP/1.0 200"))
        };
        Daemon::start(NAME, &mut command, &folder.join("log"), address, is_ready).map(Self)
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
        self.0.get(&format!("/api/v1/query?query={escaped}"))
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

fn program(name: &str) -> Result<PathBuf> {
    pooler::find(name).with_context(|| format!("no {name}: run `cargo x setup`"))
}
