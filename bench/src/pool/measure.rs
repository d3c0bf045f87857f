//! Rounds, and what is said of them.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::contender::Contender;
use crate::rounds::{Spread, order};

/// How one case is measured.
#[derive(Clone, Copy)]
pub(super) struct Plan {
    /// Tasks at the same time.
    pub(super) tasks: usize,
    /// Turns that are timed as one: as many as make reading the clock cheap.
    pub(super) batch: usize,
    /// Batches of each task in a round.
    pub(super) batches: usize,
    /// Rounds of a process: in each, every contender has its turn.
    pub(super) rounds: usize,
    /// Processes, one after the other, each with all contenders.
    pub(super) processes: usize,
}

/// A case, measured.
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) plan: Plan,
    pub(super) rows: Vec<Row>,
}

/// One contender in one case. The first of a table is pgherd.
#[derive(Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) name: String,
    /// See [`Contender::is_floor`].
    pub(super) is_floor: bool,
    /// The time of a round over its turns: what one turn costs, all tasks together. One a round.
    pub(super) per_turn: Vec<Duration>,
    /// How long the turns of a batch took on average, sorted, over all rounds.
    pub(super) latency: Vec<Duration>,
}

impl Row {
    /// The median over rounds of what one turn costs.
    pub(super) fn median(&self) -> Duration {
        let mut sorted = self.per_turn.clone();
        sorted.sort();
        sorted[sorted.len() / 2]
    }

    /// The 99th percentile of the latency.
    pub(super) fn p99(&self) -> Duration {
        self.latency[self.latency.len() * 99 / 100]
    }

    /// The median of the latency.
    pub(super) fn p50(&self) -> Duration {
        self.latency[self.latency.len() / 2]
    }
}

impl Table {
    /// Takes in what another process has measured of the same contenders.
    pub(super) fn add(&mut self, rows: Vec<Row>) {
        if self.rows.is_empty() {
            self.rows = rows;
            return;
        }
        for (row, more) in self.rows.iter_mut().zip(rows) {
            assert_eq!(row.name, more.name, "each process has the same contenders");
            row.per_turn.extend(more.per_turn);
            row.latency.extend(more.latency);
            row.latency.sort();
        }
    }

    /// pgherd's time per turn over that of the best of the others in the same round. The best is
    /// the one with the lowest median.
    pub(super) fn ratios(&self) -> Option<Spread> {
        let (ours, best) = self.ours_and_best()?;
        Spread::of_ratios(ours, best)
    }

    /// The median ratio of each process.
    pub(super) fn ratio_by_process(&self) -> Vec<f64> {
        let Some((ours, best)) = self.ours_and_best() else { return Vec::new() };
        let rounds = self.plan.rounds;
        let processes = ours.chunks(rounds).zip(best.chunks(rounds));
        let median = |(ours, best): (&[f64], &[f64])| {
            let ratios = Spread::of_ratios(ours.iter().copied(), best.iter().copied())?;
            Some(ratios.median)
        };
        processes.filter_map(median).collect()
    }

    /// Seconds per turn, round by round.
    fn ours_and_best(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let (ours, others) = self.rows.split_first()?;
        let peers = others.iter().filter(|row| !row.is_floor);
        let best = peers.min_by_key(|row| row.median())?;
        let seconds = |row: &Row| row.per_turn.iter().map(Duration::as_secs_f64).collect();
        Some((seconds(ours), seconds(best)))
    }
}

/// Lets the contenders have the rounds of one process, in another order each time.
pub(super) async fn compare(
    title: &'static str,
    plan: Plan,
    contenders: &[Contender],
) -> Result<Vec<Row>> {
    let new = |contender: &Contender| Row {
        name: contender.name.to_owned(),
        is_floor: contender.is_floor,
        per_turn: Vec::new(),
        latency: Vec::new(),
    };
    let mut rows: Vec<Row> = contenders.iter().map(new).collect();
    for round in 0..=plan.rounds {
        for at in order(contenders.len(), round) {
            let (per_turn, latency) = one_round(plan, &contenders[at]).await?;
            // The first round fills the pools and the caches.
            if round > 0 {
                rows[at].per_turn.push(per_turn);
                rows[at].latency.extend(latency);
            }
        }
        eprint!("\r{title}: round {round} of {}", plan.rounds);
    }
    eprintln!();
    for row in &mut rows {
        row.latency.sort();
    }
    Ok(rows)
}

async fn one_round(plan: Plan, contender: &Contender) -> Result<(Duration, Vec<Duration>)> {
    let began = Instant::now();
    let tasks: Vec<_> = (0..plan.tasks)
        .map(|_| {
            let contender = contender.clone();
            tokio::spawn(async move {
                let mut latency = Vec::with_capacity(plan.batches);
                for _ in 0..plan.batches {
                    let began = Instant::now();
                    contender.run(plan.batch).await;
                    latency.push(began.elapsed() / plan.batch as u32);
                }
                latency
            })
        })
        .collect();
    let mut latency = Vec::new();
    for task in tasks {
        latency.extend(task.await?);
    }
    let turns = plan.tasks * plan.batches * plan.batch;
    Ok((began.elapsed() / turns as u32, latency))
}
