//! Thousands of clients that do nothing, beside a few that do: what each of them costs.
//!
//! In: the contenders of `proxy`. Out: the part of `docs/benchmarks.md` that is about it.
//!
//! The idle ones live in a process of their own ([`hold`]): each end of a connection takes a
//! descriptor, and a process may have 20,000 on many systems.

mod document;
pub(crate) mod hold;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use pgherd_lab::Pooler;

use super::case::{Auth, Case, Connect, Protocol};
use super::contenders::{Contender, Program};
use super::stage::Stage;
use super::turn::{self, Turn};
use super::usage;
use crate::machine;
use crate::rounds::{Spread, order};
use hold::Holder;

/// What a run measures. What is not said is as for the record.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds, in each of which every contender has a turn without idle clients and one with them
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: usize,
    /// Seconds that the active clients of a turn are measured for; 0 measures memory alone, which
    /// needs no quiet machine
    #[arg(long, value_name = "S", default_value_t = SECONDS)]
    seconds: u64,
    /// Idle clients
    #[arg(long, value_name = "N", default_value_t = IDLE)]
    idle: u32,
    /// Only contenders of these names
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The program of a contender
    #[arg(long = "program", value_name = "NAME=PATH")]
    programs: Vec<Program>,
    /// Another table of contenders
    #[arg(long, value_name = "FILE")]
    contenders: Option<PathBuf>,
}

const ROUNDS: usize = 5;
const SECONDS: u64 = 4;
const IDLE: u32 = 10_000;

/// Clients that are not idle.
const ACTIVE: u32 = 50;

impl Options {
    /// Whether it is the run that the document keeps, and no quick look.
    pub(crate) fn is_record(&self) -> bool {
        self.rounds == ROUNDS
            && self.seconds == SECONDS
            && self.idle == IDLE
            && self.only.is_empty()
    }
}

/// What one contender was measured to be, round by round.
struct Row {
    name: String,
    // Bytes for each idle client.
    memory: Vec<f64>,
    alone: Vec<Turn>,
    crowded: Vec<Turn>,
}

/// Measures everything; the part of the document.
///
/// # Errors
/// When the server, the table or the options are not right, or a contender fails.
pub(crate) fn run(options: &Options) -> Result<String> {
    ensure!(options.rounds > 0 && options.idle > 0, "it takes a round and a client at least");
    let load = machine::load();
    let all = super::read_contenders(options.contenders.as_deref(), &options.programs)?;
    // One that gives each client a connection to the server has no idle ones; more workers change
    // nothing about a client.
    let takes_part = |contender: &Contender| {
        contender.abilities().pools
            && contender.workers() == 1
            && (options.only.is_empty() || options.only.contains(&contender.name()))
    };
    let contenders: Vec<Contender> = all.into_iter().filter(takes_part).collect();
    ensure!(!contenders.is_empty(), "nothing is left to be measured");
    super::raise_descriptor_limit()?;
    let stage = Stage::set()?;
    let mut rows: Vec<Row> = contenders
        .iter()
        .map(|contender| Row {
            name: contender.name(),
            memory: Vec::new(),
            alone: Vec::new(),
            crowded: Vec::new(),
        })
        .collect();
    for round in 0..options.rounds {
        for at in order(contenders.len(), round) {
            let (contender, row) = (&contenders[at], &mut rows[at]);
            // Which comes first changes as well.
            let begins_crowded = round % 2 == 1;
            if options.seconds > 0 && !begins_crowded {
                row.alone.push(alone(&stage, contender, options)?);
            }
            let (memory, turn) = crowded(&stage, contender, options)?;
            row.memory.push(memory);
            row.crowded.extend(turn);
            if options.seconds > 0 && begins_crowded {
                row.alone.push(alone(&stage, contender, options)?);
            }
            let (round, rounds) = (round + 1, options.rounds);
            eprintln!("round {round} of {rounds}, {}: {memory:.0} bytes a client", row.name);
        }
    }
    let about = document::About {
        load,
        versions: contenders.iter().map(|contender| contender.version.clone()).collect(),
        postgresql: stage.cluster().version().to_owned(),
        rounds: options.rounds,
        seconds: options.seconds,
        idle: options.idle,
    };
    document::write(&about, &rows)
}

const CASE: Case =
    Case { protocol: Protocol::Simple, clients: ACTIVE, connect: Connect::Once, auth: Auth::Trust };

fn start(stage: &Stage, contender: &Contender, options: &Options) -> Result<Pooler> {
    turn::start(stage, contender, &CASE, &part(contender)?, ACTIVE + options.idle)
}

fn part(contender: &Contender) -> Result<super::case::Part> {
    CASE.part(contender.abilities()).map_err(anyhow::Error::msg)
}

fn alone(stage: &Stage, contender: &Contender, options: &Options) -> Result<Turn> {
    let pooler = start(stage, contender, options)?;
    turn::measure(stage, contender, &pooler, &CASE, &part(contender)?, options.seconds)
}

/// Bytes for each idle client, and what the active ones saw beside them.
fn crowded(stage: &Stage, contender: &Contender, options: &Options) -> Result<(f64, Option<Turn>)> {
    let pooler = start(stage, contender, options)?;
    let before = usage::resident(pooler.pid())?;
    let holder = Holder::start(pooler.address().port(), options.idle)?;
    let after = usage::resident(pooler.pid())?;
    let memory = (after as f64 - before as f64) / f64::from(options.idle);
    let turn = match options.seconds {
        0 => None,
        seconds => {
            Some(turn::measure(stage, contender, &pooler, &CASE, &part(contender)?, seconds)?)
        }
    };
    holder.let_go()?;
    Ok((memory, turn))
}

impl Row {
    fn memory(&self) -> Option<Spread> {
        Spread::of(self.memory.iter().copied())
    }

    /// Of a figure with the idle clients over the same without them.
    fn ratio(&self, figure: impl Fn(&Turn) -> f64 + Copy) -> Option<Spread> {
        Spread::of_ratios(self.crowded.iter().map(figure), self.alone.iter().map(figure))
    }
}
