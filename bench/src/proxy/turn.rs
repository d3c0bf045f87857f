//! One contender's turn in a round: it is started, loaded, measured and ended.

use std::ops::Range;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use pgherd_lab::{Pgbench, Pooler, Progress};

use super::case::{Case, Part};
use super::contenders::Contender;
use super::log::Seen;
use super::stage::Stage;
use super::usage::Usage;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Turn {
    /// Transactions a second.
    pub(super) throughput: f64,
    /// The median latency, in milliseconds.
    pub(super) p50: f64,
    /// The 99th percentile of the latency, in milliseconds.
    pub(super) p99: f64,
    /// The contender's CPU time for 1000 transactions in user mode, in milliseconds.
    pub(super) user: f64,
    /// The same in the kernel.
    pub(super) system: f64,
    /// The CPU time of all processes of the server for 1000 transactions, in milliseconds. What a
    /// pooler makes it do more often, wake up above all, shows here.
    pub(super) server: f64,
    /// Its memory at the most, in MiB.
    pub(super) peak: f64,
}

impl Turn {
    /// Its CPU time for 1000 transactions, in milliseconds.
    pub(super) fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// A moment, and what was used until then.
#[derive(Debug, Clone, Copy)]
struct Mark {
    // Microseconds since 1970.
    at: u64,
    usage: Usage,
    server: Usage,
}

impl Mark {
    fn now(pid: u32, server: u32) -> Result<Self> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
        Ok(Self { at: u64::try_from(at)?, usage: Usage::of(pid)?, server: Usage::of(server)? })
    }
}

/// Starts a contender, measures it for so many seconds, after one that does not count, and ends it.
pub(super) fn take(
    stage: &Stage,
    contender: &Contender,
    case: &Case,
    part: &Part,
    seconds: u64,
) -> Result<Turn> {
    let pooler = start(stage, contender, case, part, case.clients)?;
    measure(stage, contender, &pooler, case, part, seconds)
}

/// Starts a contender that will have so many clients.
pub(super) fn start(
    stage: &Stage,
    contender: &Contender,
    case: &Case,
    part: &Part,
    clients: u32,
) -> Result<Pooler> {
    let server_port = stage.node().port;
    Pooler::start(stage.cluster(), |port| {
        contender.spec(part, case.auth, clients, port, server_port, stage.secret())
    })
}

/// Measures one that was started.
pub(super) fn measure(
    stage: &Stage,
    contender: &Contender,
    pooler: &Pooler,
    case: &Case,
    part: &Part,
    seconds: u64,
) -> Result<Turn> {
    let logs = stage.cluster().folder().join("transactions");
    std::fs::create_dir(&logs)?;
    let pids = (pooler.pid(), stage.node().pid().context("the server is gone")?);
    let load = load(pooler, pids, case, part, seconds, &logs);
    let turn = load.and_then(|(begin, end)| {
        let mut seen = Seen::default();
        for log in std::fs::read_dir(&logs)? {
            let text = std::fs::read_to_string(log?.path())?;
            seen.add(&text, begin.at..end.at, case.connect)?;
        }
        summary(begin, end, seen)
    });
    std::fs::remove_dir_all(&logs)?;
    // While the pooler is still there: the error says more with its own words.
    turn.with_context(|| format!("{} says: {}", contender.name(), last_words(pooler)))
}

/// Runs pgbench, and looks at the pooler at pgbench's first report, which is a second after its
/// clients are there or later, and again after the seconds that count. Those are by the clock: its
/// reports come late where its threads wait for something.
fn load(
    pooler: &Pooler,
    (pid, server): (u32, u32),
    case: &Case,
    part: &Part,
    seconds: u64,
    logs: &std::path::Path,
) -> Result<(Mark, Mark)> {
    let mut arguments = case.pgbench(part.protocol, seconds + 2);
    let prefix: PathBuf = logs.join("log");
    arguments.extend(["-l".to_owned(), format!("--log-prefix={}", prefix.display())]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut marks = None;
    let report = Pgbench::new(pooler.address(), &arguments).run(|line| {
        if Progress::parse(line).is_some() && marks.is_none() {
            let until = Instant::now() + Duration::from_secs(seconds);
            let begin = Mark::now(pid, server);
            let end = thread::spawn(move || {
                thread::sleep(until.saturating_duration_since(Instant::now()));
                Mark::now(pid, server)
            });
            marks = Some((begin, end));
        }
    })?;
    ensure!(report.failed == 0, "{} transactions failed", report.failed);
    let marks = marks.filter(|(_, end)| end.is_finished());
    let (begin, end) = marks.context("pgbench ended before it was measured")?;
    let end = end.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    Ok((begin?, end?))
}

fn summary(begin: Mark, end: Mark, seen: Seen) -> Result<Turn> {
    let transactions = seen.transactions as f64;
    let Range { start, end: until } = begin.at..end.at;
    let [p50, p99] = seen.percentiles([50, 99]).context("no transaction was answered")?;
    // Milliseconds for a thousand are the same number as microseconds for one.
    let each = |from: f64, to: f64| (to - from) * 1_000_000.0 / transactions;
    Ok(Turn {
        throughput: transactions * 1_000_000.0 / (until - start) as f64,
        p50,
        p99,
        user: each(begin.usage.user, end.usage.user),
        system: each(begin.usage.system, end.usage.system),
        server: each(begin.server.user + begin.server.system, end.server.user + end.server.system),
        peak: end.usage.peak as f64 / (1024.0 * 1024.0),
    })
}

fn last_words(pooler: &Pooler) -> String {
    let logs = pooler.logs();
    let lines: Vec<&str> = logs.lines().collect();
    match lines.len() {
        0 => "nothing".to_owned(),
        count => lines[count.saturating_sub(4)..].join(" | "),
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::Connect;
    use super::*;

    #[test]
    fn what_was_used_is_told_for_a_thousand_transactions() {
        let usage = |user, system| Usage { user, system, peak: 3 * 1024 * 1024 };
        let begin = Mark { at: 1_000_000, usage: usage(1.0, 2.0), server: usage(3.0, 1.0) };
        let end = Mark { at: 3_000_000, usage: usage(1.5, 4.0), server: usage(4.0, 1.5) };
        let log: String = (0..1000).map(|at| format!("0 {at} 250 0 1 {at}\n")).collect();
        let mut seen = Seen::default();
        seen.add(&log, begin.at..end.at, Connect::Once).unwrap();
        let turn = summary(begin, end, seen).unwrap();
        assert_eq!((turn.throughput, turn.p50, turn.p99), (500.0, 0.25, 0.25));
        assert_eq!((turn.user, turn.system, turn.cpu(), turn.peak), (500.0, 2000.0, 2500.0, 3.0));
        assert_eq!(turn.server, 1500.0);
    }
}
