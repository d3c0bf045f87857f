//! Load by pgbench.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::Engine;
use crate::cluster::{DATABASE, PASSWORD, USER};

/// One run of pgbench.
#[derive(Debug, Clone)]
pub struct Pgbench {
    address: SocketAddr,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

/// What pgbench reports.
#[derive(Debug, Clone, PartialEq)]
pub struct PgbenchReport {
    /// Transactions processed.
    pub transactions: u64,
    /// Transactions that failed.
    pub failed: u64,
    /// Transactions a second, connecting left out.
    pub tps: f64,
    /// Mean latency of a transaction, in milliseconds.
    pub latency_ms: f64,
}

/// What `-P` reports on the way, about the time since the last report.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Seconds since the start.
    pub seconds: f64,
    /// Transactions a second.
    pub tps: f64,
    /// Mean latency of a transaction, in milliseconds.
    pub latency_ms: f64,
    /// Transactions that failed.
    pub failed: u64,
}

impl Progress {
    /// Reads a line that [`Pgbench::run`] hands over; `None` if it reports no progress.
    pub fn parse(line: &str) -> Option<Self> {
        // "progress: 1.0 s, 7321.9 tps, lat 0.545 ms stddev 0.310, 0 failed"
        let mut parts = line.strip_prefix("progress: ")?.split(", ");
        let mut number = |prefix: &str| {
            let part = parts.next()?.strip_prefix(prefix)?;
            part.split(' ').next()?.parse::<f64>().ok()
        };
        let (seconds, tps, latency_ms) = (number("")?, number("")?, number("lat ")?);
        let failed = parts.next()?.split(' ').next()?.parse().ok()?;
        Some(Self { seconds, tps, latency_ms, failed })
    }
}

impl Pgbench {
    /// A run against a server or proxy, as the lab's user, with pgbench's own arguments.
    pub fn new(address: SocketAddr, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.into()).collect();
        Self { address, arguments, variables: Vec::new() }
    }

    /// The same with a variable in its environment, such as `PGSSLMODE`.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Fills pgbench's tables.
    ///
    /// # Errors
    /// What pgbench says.
    pub fn initialize(address: SocketAddr, scale: u32) -> Result<()> {
        let scale = scale.to_string();
        let mut command = Self::new(address, &["-i", "-q", "-s", &scale]).command()?;
        crate::node::run(&mut command)
    }

    /// Runs it to its end. `progress` is given each line pgbench prints on the way; with `-P 1`
    /// among the arguments one a second is a [`Progress`].
    ///
    /// # Errors
    /// What pgbench says: a client that is aborted is an error, too.
    pub fn run(&self, mut progress: impl FnMut(&str)) -> Result<PgbenchReport> {
        let mut child = self
            .command()?
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run pgbench")?;
        let mut said = Vec::new();
        if let Some(lines) = child.stderr.take() {
            for line in BufReader::new(lines).lines() {
                let line = line?;
                progress(&line);
                said.push(line);
            }
        }
        let output = child.wait_with_output()?;
        let printed = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            said.retain(|line| Progress::parse(line).is_none());
            let last = said[said.len().saturating_sub(5)..].join(" | ");
            bail!("pgbench failed with {}: {last}", output.status);
        }
        parse(&printed).with_context(|| format!("pgbench printed no result: {printed}"))
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(Engine::find()?.program("pgbench"));
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(["-h", &self.address.ip().to_string(), "-p", &self.address.port().to_string()])
            .args(["-U", USER, DATABASE])
            .env("PGPASSWORD", PASSWORD);
        Ok(command)
    }
}

fn parse(printed: &str) -> Option<PgbenchReport> {
    let after = |prefix: &str| {
        let line = printed.lines().find_map(|line| line.strip_prefix(prefix))?;
        line.trim().split([' ', '/']).next()
    };
    Some(PgbenchReport {
        transactions: after("number of transactions actually processed:")?.parse().ok()?,
        failed: after("number of failed transactions:")?.parse().ok()?,
        tps: after("tps =")?.parse().ok()?,
        latency_ms: after("latency average =")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_and_other_lines_are_not() {
        let line = "progress: 1.0 s, 7321.9 tps, lat 0.545 ms stddev 0.310, 2 failed";
        let progress = Progress { seconds: 1.0, tps: 7321.9, latency_ms: 0.545, failed: 2 };
        assert_eq!(Progress::parse(line), Some(progress));
        assert_eq!(Progress::parse("starting vacuum...end."), None);
    }

    #[test]
    fn a_report_is_read_by_its_labels() {
        let printed = "transaction type: <builtin: select only>\n\
            number of transactions actually processed: 20/20\n\
            number of failed transactions: 0 (0.000%)\n\
            latency average = 0.250 ms\n\
            initial connection time = 3.1 ms\n\
            tps = 4000.5 (without initial connection time)\n";
        let report = PgbenchReport { transactions: 20, failed: 0, tps: 4000.5, latency_ms: 0.25 };
        assert_eq!(parse(printed), Some(report));
    }
}
