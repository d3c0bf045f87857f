//! The document: how it was measured, and the tables.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;

use super::contender::{ACQUIRE_TIMEOUT, SIZE};
use super::measure::Table;
use super::route::RouteTimes;
use crate::machine;
use crate::rounds::{Spread, median_within};

/// The part of `docs/benchmarks.md` that is about the pool.
///
/// `load` is what [`machine::load`] said before anything ran.
pub(super) fn write(
    tables: &[Table],
    route: &RouteTimes,
    postgresql: &str,
    load: &str,
) -> Result<String> {
    let mut out = String::new();
    let peers = ["deadpool", "deadpool-postgres", "bb8", "bb8-postgres", "sqlx", "tokio"];
    let peers = peers.map(|name| format!("{name} {}", machine::version(name))).join(", ");
    writeln!(
        out,
        "## The library's pool

Written by `cargo x bench pool`, which runs everything in this part anew.

The figures are of one machine at one time; what travels is the ratios. They compare pools that
ran in turn in the same process, round by round and in another order each time, so that whatever
else the machine did hit all of them. Where the differences are small there are several processes,
one after the other: where the memory of one happens to lie makes a hundredth.

- Machine: {machine}. Before it began, {load} others wanted to run, on average over a minute.
- Versions: pgherd {own}, {peers}; PostgreSQL {postgresql}; {rustc}, release profile.
- Each pool may have {SIZE} backends, of which those that are needed are open before the first round
  counts, and fails an acquire after {ACQUIRE_TIMEOUT:?}. None asks a backend whether it is there before it
  lends it: pgherd does so only after `pool.check_after`, the others are set not to.
- *Per turn*: the time of a round over its turns, all tasks together; the median, the least and the
  greatest of the rounds. *Latency*: of a turn as its task sees it, waiting included, median and
  99th percentile over all rounds; where turns are too short for the clock, of the mean over 100.
- *Ratio*: pgherd's time per turn over that of the best of the others in the same round; the median,
  the least and the greatest of the rounds. The best is the one with the lowest median. Less is
  better. Of several processes it is the median of their own medians, because what is measured in one
  has its memory in common, and first comes where that lies, with a confidence of 95 %, for this build.
- tokio's multi-threaded runtime, with a thread for each core, where nothing else is said.
- pgherd and deadpool hand a backend that is released to whoever waited longest. Where a median
  latency lies far below the others' and the 99th percentile on a real server above them, the pool
  lets tasks that run already go first: that saves switches between tasks, at the cost of those
  who wait.
",
        machine = machine::describe(),
        own = env!("CARGO_PKG_VERSION"),
        rustc = machine::rustc(),
    )?;
    writeln!(
        out,
        "### Acquire and release

What is lent does nothing, and no network is there: for pgherd `pgherd::pool::Pool`, which is what
lends backends of nodes, with another manager. A bare semaphore that serves in order shows what
waiting and waking cost by themselves; it is not among the others of the ratio.
"
    )?;
    for table in tables {
        if table.title.contains("SELECT") && !out.contains("### On a real server") {
            writeln!(
                out,
                "### On a real server

Acquire, `SELECT 1` in the simple protocol, release; the server is on the same machine, and so
takes its share of it. pgherd's turn has more in it: it routes the statement, and reads along on
the wire to know whether the backend may be lent again.

With one task, client and server wait for each other. Whether the system wakes one on the processor
of the other, or wakes another processor, is a matter of chance and changes a turn threefold; so the
first table has all of them on one. It also has what a turn is made of: the driver without any pool,
and pgherd with one lease for all turns, which is the driver and the reading along. A hundredth more
or less is where the compiler happens to put the code: two builds that differ elsewhere are as far
apart, the driver without a pool among them.
"
            )?;
        }
        write_table(&mut out, table)?;
    }
    writeln!(
        out,
        "### Route of a statement whose text is known

Its class from the cache, the hash of its shard key, a replica of that shard: {} (99th percentile
{}), over 2000 batches of 1000 decisions.",
        show(route.median),
        show(route.p99)
    )?;
    Ok(out)
}

fn write_table(out: &mut String, table: &Table) -> Result<()> {
    let plan = table.plan;
    writeln!(
        out,
        "#### {}\n\n{} rounds of {} turns.\n",
        table.title,
        match plan.processes {
            1 => plan.rounds.to_string(),
            processes => format!("In each of {processes} processes {}", plan.rounds),
        },
        plan.tasks * plan.batch * plan.batches
    )?;
    writeln!(out, "| | per turn | least to greatest | latency, median | latency, p99 | ratio |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for (at, row) in table.rows.iter().enumerate() {
        let ratio = if at == 0 { ratio(table) } else { String::new() };
        let least = row.per_turn.iter().min().copied().unwrap_or_default();
        let greatest = row.per_turn.iter().max().copied().unwrap_or_default();
        writeln!(
            out,
            "| {} | {} | {} to {} | {} | {} | {ratio} |",
            row.name,
            show(row.median()),
            show(least),
            show(greatest),
            show(row.p50()),
            show(row.p99()),
        )?;
    }
    writeln!(out)?;
    Ok(())
}

/// The ratio of a table, of which it says more where several processes have measured it.
fn ratio(table: &Table) -> String {
    let Some(Spread { least, median, greatest }) = table.ratios() else { return String::new() };
    let by_process = table.ratio_by_process();
    match (Spread::of(by_process.iter().copied()), median_within(by_process)) {
        (Some(Spread { median, .. }), Some((low, high))) => {
            format!("**{median:.2}** (within {low:.3} to {high:.3}; {least:.2} to {greatest:.2})")
        }
        _ => format!("**{median:.2}** ({least:.2} to {greatest:.2})"),
    }
}

fn show(time: Duration) -> String {
    match time.as_nanos() {
        nanos if nanos < 10_000 => format!("{nanos} ns"),
        nanos => format!("{:.1} µs", nanos as f64 / 1000.0),
    }
}
