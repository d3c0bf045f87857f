//! The document: how it was measured, what was to be reached, and the tables.

use std::fmt::Write;

use anyhow::Result;

use super::PLOT;
use super::goals::Goal;
use super::outcome::{Outcome, Row};
use super::stage::{SCALE, SETTINGS};
use super::turn::Turn;
use crate::machine;
use crate::rounds::Spread;

/// What the figures were measured on, and how.
pub(super) struct About {
    /// As [`machine::load`] said before anything ran.
    pub(super) load: String,
    /// What the contenders say of themselves.
    pub(super) versions: Vec<String>,
    pub(super) postgresql: String,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    pub(super) reference: String,
}

/// The part of `docs/benchmarks.md` that is about the proxy.
pub(super) fn write(about: &About, outcomes: &[Outcome], goals: &[Goal]) -> Result<String> {
    let mut out = String::new();
    let About { load, postgresql, rounds, seconds, reference, .. } = about;
    let settings = SETTINGS.map(|setting| format!("`{setting}`")).join(", ");
    writeln!(
        out,
        "## The proxy

Written by `cargo x bench proxy`, which runs everything in this part anew. Its option `--help`
lists what makes it a quick look, which is printed and not kept here, and how to name the programs
of other poolers. How each is started and set up: [contenders.toml](../bench/contenders.toml).

The figures are of one machine at one time; what travels is the ratios. In each round every
contender has a turn, in another order each time: it is started, in a session of its own as a
service is (Linux deals CPU time out by session), given a second to warm up, measured
for {seconds} seconds and ended. Only one of them is there at a time. So whatever else the machine
did hit all of them.

- Machine: {machine}. Before it began, {load} others wanted to run, on average over a minute.
  Clients, contender and server share its cores, over 127.0.0.1.
- Versions: {versions}; PostgreSQL {postgresql}; {rustc}, release profile.
- Load: PostgreSQL's own `pgbench -S` (one SELECT by primary key a transaction), scale {SCALE}, in two
  threads, or in one for each client where each transaction has a connection of its own. The server
  has everything in memory, and asks poolers for no password ({settings},
  fsync off).
- Contenders have one worker, where nothing else is said, and pool by transaction, with 20 backends.
  One that has prepared statements only in session mode, as PgBouncer before 1.21, is measured with
  few clients in session mode with a backend for each client, which is less work for it; with many
  its clients speak the extended protocol, which is what they could do. The blind forwarder pools
  nothing and looks at nothing: moving the bytes is the least that can be done.
- Throughput and latency are of pgbench's log of each transaction. Where each has a connection of
  its own, its latency is from the end of the client's one before, connecting included.
- CPU: the contender's own time, all its threads and processes, for 1000 transactions, in
  milliseconds; so microseconds for one. The server's is that of all its processes: what it has to do
  more, to be woken up more often, shows there, and is several times what a pooler costs. Memory: resident at the most, of a process that was started
  for the turn, in MiB.
- All figures are the median of {rounds} rounds, with the least and the greatest. Ratios are of figures
  of the same round, over {reference}'s.
",
        machine = machine::describe(),
        versions = about.versions.join(", "),
        rustc = machine::rustc(),
    )?;
    write_goals(&mut out, goals)?;
    writeln!(out, "![CPU time for a transaction]({PLOT})\n")?;
    for outcome in outcomes {
        write_outcome(&mut out, outcome, reference)?;
    }
    Ok(out)
}

fn write_goals(out: &mut String, goals: &[Goal]) -> Result<()> {
    let met = goals.iter().filter(|goal| goal.is_met()).count();
    writeln!(
        out,
        "### Goals\n\n{met} of {} are met. A goal is about the median of the ratios.\n",
        goals.len()
    )?;
    writeln!(out, "| case | ratio | over | goal | measured | |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    for goal in goals {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            goal.case,
            goal.what,
            goal.over,
            goal.wanted(),
            goal.measured.map_or("not measured".to_owned(), |ratio| show(ratio, 2)),
            if goal.is_met() { "met" } else { "**missed**" },
        )?;
    }
    writeln!(out)?;
    Ok(())
}

fn write_outcome(out: &mut String, outcome: &Outcome, reference: &str) -> Result<()> {
    writeln!(out, "### {}\n", capitalized(&outcome.case.to_string()))?;
    writeln!(
        out,
        "| | transactions/s | p50, ms | p99, ms | CPU, ms | user | system | server's CPU, ms | memory, MiB |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|")?;
    for row in &outcome.rows {
        let name = match row.remark {
            Some(remark) => format!("{} ({remark})", row.name),
            None => row.name.clone(),
        };
        let cell = |figure: fn(&Turn) -> f64, digits| {
            row.spread(figure).map_or(String::new(), |spread| show(spread, digits))
        };
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(|turn| turn.throughput, 0),
            cell(|turn| turn.p50, 2),
            cell(|turn| turn.p99, 2),
            cell(Turn::cpu, 1),
            cell(|turn| turn.user, 1),
            cell(|turn| turn.system, 1),
            cell(|turn| turn.server, 1),
            cell(|turn| turn.peak, 1),
        )?;
    }
    if let Some(over) = outcome.row(reference) {
        write_ratios(out, outcome, over)?;
    }
    for absent in &outcome.absent {
        writeln!(out, "\nNot measured: {absent}.")?;
    }
    writeln!(out)?;
    Ok(())
}

fn write_ratios(out: &mut String, outcome: &Outcome, over: &Row) -> Result<()> {
    writeln!(
        out,
        "\n| over {} | transactions/s | p50 | p99 | CPU | server's CPU | memory |",
        over.name
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for row in outcome.rows.iter().filter(|row| row.name != over.name) {
        let cell = |figure: fn(&Turn) -> f64| {
            row.ratio(over, figure).map_or(String::new(), |spread| show(spread, 2))
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            cell(|turn| turn.throughput),
            cell(|turn| turn.p50),
            cell(|turn| turn.p99),
            cell(Turn::cpu),
            cell(|turn| turn.server),
            cell(|turn| turn.peak),
        )?;
    }
    Ok(())
}

fn show(spread: Spread, digits: usize) -> String {
    let Spread { least, median, greatest } = spread;
    format!("{median:.digits$} ({least:.digits$} to {greatest:.digits$})")
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
