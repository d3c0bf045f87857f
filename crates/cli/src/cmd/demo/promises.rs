//! The promises about speed and reliability, judged per statement with 10 connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use pgherd::{DistributedPool, Statistics};
use pgherd_server::NodeStatistics;

use super::load::pgbench;
use super::screen::Screen;
use super::stage::Stage;

const CONNECTIONS: usize = 10;

/// What was promised.
const QUERIES_PER_SECOND: f64 = 1000.0;
const REUSE: f64 = 0.95;
const ERRORS: f64 = 0.001;
const MEAN_MS: f64 = 10.0;

/// How 10 connections fared.
struct Measured {
    queries_per_second: f64,
    reuse: f64,
    errors: f64,
    mean_ms: f64,
}

impl Measured {
    fn keeps(&self) -> [bool; 4] {
        [
            self.queries_per_second > QUERIES_PER_SECOND,
            self.reuse > REUSE,
            self.errors < ERRORS,
            self.mean_ms < MEAN_MS,
        ]
    }

    fn printed(&self) -> [String; 4] {
        [
            format!("{:.0}/s", self.queries_per_second),
            format!("{:.2} %", self.reuse * 100.0),
            format!("{:.3} %", self.errors * 100.0),
            format!("{:.2} ms", self.mean_ms),
        ]
    }
}

/// Measures, prints both tables, and answers whether every promise was kept.
pub(super) fn run(screen: Screen, stage: &Stage, seconds: u32) -> Result<bool> {
    screen.heading("The promises, judged per statement with 10 connections");
    let step = screen.begin("the library: 10 tasks, 4 reads to each write with a shard key");
    let (library, judged) = stage.runtime.block_on(through_library(stage, seconds))?;
    step.done("the library: 10 tasks, 4 reads to each write with a shard key");
    let step = screen.begin("the proxy: 10 clients of pgbench, select-only, simple protocol");
    let proxy = through_proxy(stage, seconds, |line| step.progress(line))?;
    step.done("the proxy: 10 clients of pgbench, select-only, simple protocol");

    screen.heading("What ran where, since the start");
    ran_where(screen, stage, &judged);

    screen.heading("Beside the promises");
    let promised = [
        ("statements a second", format!("> {QUERIES_PER_SECOND:.0}/s")),
        ("connections reused", format!("> {:.0} %", REUSE * 100.0)),
        ("statements failed", format!("< {:.1} %", ERRORS * 100.0)),
        ("mean latency", format!("< {MEAN_MS:.0} ms")),
    ];
    let kept = library.keeps().into_iter().zip(proxy.keeps());
    let verdicts: Vec<bool> = kept.map(|(library, proxy)| library && proxy).collect();
    let rows = promised
        .into_iter()
        .zip(library.printed())
        .zip(proxy.printed())
        .zip(&verdicts)
        .map(|((((what, limit), library), proxy), kept)| {
            let verdict = if *kept { "kept" } else { "BROKEN" };
            [what.to_owned(), limit, library, proxy, verdict.to_owned()]
        })
        .collect();
    screen.table(["", "PROMISED", "LIBRARY", "PROXY", ""], rows);
    Ok(verdicts.iter().all(|kept| *kept))
}

async fn through_library(stage: &Stage, seconds: u32) -> Result<(Measured, Statistics)> {
    let mut settings = stage.settings.clone();
    settings.pool.size = u32::try_from(CONNECTIONS)?;
    let pool = DistributedPool::from_settings(settings)?;
    let until = Instant::now() + Duration::from_secs(u64::from(seconds));
    let nanoseconds = Arc::new(AtomicU64::new(0));
    let began = Instant::now();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|task| tokio::spawn(work(pool.clone(), task, until, Arc::clone(&nanoseconds))))
        .collect();
    for task in tasks {
        task.await?;
    }
    let elapsed = began.elapsed().as_secs_f64();
    let statistics = pool.statistics();
    pool.close().await;
    let counters = statistics.counters;
    let total = counters.total as f64;
    let measured = Measured {
        queries_per_second: total / elapsed,
        reuse: statistics.reuse_ratio,
        errors: counters.errors as f64 / total,
        mean_ms: nanoseconds.load(Ordering::Relaxed) as f64 / total / 1e6,
    };
    Ok((measured, statistics))
}

/// Four reads, then a write on the shard of its key, again and again.
async fn work(pool: DistributedPool, task: usize, until: Instant, nanoseconds: Arc<AtomicU64>) {
    const OWNERS: [&str; 3] = ["alice", "bob", "erin"];
    let mut number = task;
    while Instant::now() < until {
        number += 1;
        let began = Instant::now();
        // A failure is counted by the pool.
        let _ = if number.is_multiple_of(5) {
            let owner = OWNERS[number % OWNERS.len()];
            let sql = "UPDATE accounts SET touched = touched + 1 WHERE owner = $1";
            pool.write().shard_key(owner).execute(sql, &[&owner]).await.map(|_| ())
        } else {
            let id = i32::try_from(number % 1000 + 1).unwrap_or(1);
            pool.read().query_one("SELECT name FROM users WHERE id = $1", &[&id]).await.map(|_| ())
        };
        let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        nanoseconds.fetch_add(took, Ordering::Relaxed);
    }
}

fn through_proxy(stage: &Stage, seconds: u32, progress: impl FnMut(&str)) -> Result<Measured> {
    let sum = |count: fn(&NodeStatistics) -> u64| -> u64 {
        stage.server.statistics().iter().map(count).sum()
    };
    let (leases, opens) = (sum(|node| node.leases), sum(|node| node.opens));
    let load = ["-S", "-c", "10", "-j", "2", "-M", "simple"];
    let report = pgbench(stage, &load, seconds, progress)?;
    let (leases, opens) = (sum(|node| node.leases) - leases, sum(|node| node.opens) - opens);
    let total = report.transactions + report.failed;
    Ok(Measured {
        queries_per_second: report.tps,
        reuse: 1.0 - opens as f64 / leases.max(1) as f64,
        errors: report.failed as f64 / total.max(1) as f64,
        mean_ms: report.latency_ms,
    })
}

fn ran_where(screen: Screen, stage: &Stage, judged: &Statistics) {
    let proxy = stage.server.statistics();
    let library = stage.pool.statistics();
    let mut rows = Vec::new();
    for ((proxy, library), judged) in proxy.iter().zip(&library.nodes).zip(&judged.nodes) {
        let reuse = |leases: u64, opens: u64| match leases {
            0 => "-".to_owned(),
            leases => format!("{:.2} %", (1.0 - opens as f64 / leases as f64) * 100.0),
        };
        let acquires = library.acquires + judged.acquires;
        rows.push([
            proxy.name.clone(),
            proxy.batches.to_string(),
            reuse(proxy.leases, proxy.opens),
            format!("{} / {}", proxy.errors, proxy.retries),
            (library.statements + judged.statements).to_string(),
            reuse(acquires, library.opens + judged.opens),
            (library.errors + judged.errors).to_string(),
        ]);
    }
    let heading = [
        "NODE",
        "STATEMENTS (PROXY)",
        "REUSE",
        "ERRORS / RETRIES",
        "STATEMENTS (LIBRARY)",
        "REUSE",
        "ERRORS",
    ];
    screen.table(heading, rows);
    let retries = library.counters.retries + judged.counters.retries;
    screen.say(&format!(
        "retries by the library: {retries}; its errors include the refused transfer above"
    ));
}
