//! The part of the document.

use std::fmt::Write;

use anyhow::Result;

use super::{ACTIVE, Row};
use crate::machine;
use crate::proxy::goals::OWN;
use crate::rounds::Spread;

/// What the figures were measured on, and how.
pub(super) struct About {
    /// As [`machine::load`] said before anything ran.
    pub(super) load: String,
    pub(super) versions: Vec<String>,
    pub(super) postgresql: String,
    pub(super) rounds: usize,
    pub(super) seconds: u64,
    pub(super) idle: u32,
}

/// Bytes that an idle client may cost, and how much longer the others may wait because of them.
const MEMORY: f64 = 2048.0;
const RATIO: f64 = 1.2;

pub(super) fn write(about: &About, rows: &[Row]) -> Result<String> {
    let About { load, versions, postgresql, rounds, seconds, idle } = about;
    let mut out = String::new();
    writeln!(
        out,
        "## Idle clients

Written by `cargo x bench idle`. {idle} clients log in, without TLS, run a transaction (pgbench's
SELECT, as a simple query) and then do nothing, beside {ACTIVE} of pgbench that go on. Contenders are set
up as for [the proxy](#the-proxy), with one worker and 20 backends, and started anew for each turn.

- Machine: {machine}. Before it began, {load} others wanted to run, on average over a minute.
- Versions: {versions}; PostgreSQL {postgresql}; {rustc}, release profile.
- Memory: what is resident with the idle clients, less what is before any client has come, of all the
  contender's processes, for each of them. Goal: at most {MEMORY:.0} bytes.",
        machine = machine::describe(),
        versions = versions.join(", "),
        rustc = machine::rustc(),
    )?;
    match seconds {
        0 => writeln!(out, "- Latency: not measured.")?,
        _ => writeln!(
            out,
            "- Latency: of the active clients' transactions, for {seconds} seconds with the idle ones and \
             without; ratios of the two within a round. Goal: at most {RATIO}."
        )?,
    }
    writeln!(out, "- Medians of {rounds} rounds, with the least and the greatest.\n")?;
    writeln!(
        out,
        "| | bytes for an idle client | p50 without, ms | with | ratio | p99 without, ms | with | ratio |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|")?;
    for row in rows {
        let of = |turns: &[super::Turn], figure: fn(&super::Turn) -> f64| {
            show(Spread::of(turns.iter().map(figure)), 2)
        };
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            row.name,
            show(row.memory(), 0),
            of(&row.alone, |turn| turn.p50),
            of(&row.crowded, |turn| turn.p50),
            show(row.ratio(|turn| turn.p50), 2),
            of(&row.alone, |turn| turn.p99),
            of(&row.crowded, |turn| turn.p99),
            show(row.ratio(|turn| turn.p99), 2),
        )?;
    }
    if let Some(own) = rows.iter().find(|row| row.name == OWN) {
        writeln!(out)?;
        for (what, measured, goal) in [
            ("memory", own.memory(), MEMORY),
            ("p50", own.ratio(|turn| turn.p50), RATIO),
            ("p99", own.ratio(|turn| turn.p99), RATIO),
        ] {
            let verdict = match measured {
                Some(spread) if spread.median <= goal => "met",
                Some(_) => "**missed**",
                None => "not measured",
            };
            writeln!(out, "- Goal of pgherd's {what}: {verdict}.")?;
        }
    }
    Ok(out)
}

fn show(spread: Option<Spread>, digits: usize) -> String {
    let Some(Spread { least, median, greatest }) = spread else { return "–".to_owned() };
    format!("{median:.digits$} ({least:.digits$} to {greatest:.digits$})")
}
