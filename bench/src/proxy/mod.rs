//! pgherd's proxy beside other poolers, with pgbench as their client.
//!
//! In: a table of contenders, what to measure. Out: the part of `docs/benchmarks.md` that is about
//! it, and its plot.
//!
//! One contender at a time is there: it is started, loaded for a while, measured and ended, and
//! then the next one has its turn. So whatever else the machine does hits all of them.

mod case;
mod contenders;
mod document;
pub(crate) mod forward;
mod goals;
pub(crate) mod idle;
mod log;
mod outcome;
mod plot;
mod stage;
mod turn;
mod usage;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::machine;
use crate::rounds::order;
use case::{Case, Part};
use contenders::{Contender, Program};
use outcome::{Outcome, Row};
use stage::Stage;

/// What a run measures. What is not said is as for the record.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rounds of each case, in each of which every contender has a turn
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: usize,
    /// Seconds that a turn is measured for
    #[arg(long, value_name = "S", default_value_t = SECONDS)]
    seconds: u64,
    /// Numbers of clients
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = CLIENTS)]
    clients: Vec<u32>,
    /// Only contenders of these names
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only cases with this in their titles, such as `prepared, 50`
    #[arg(long = "case", value_name = "TEXT")]
    cases: Vec<String>,
    /// The program of a contender, such as `'PgBouncer, newer=/opt/pgbouncer/bin/pgbouncer'`
    #[arg(long = "program", value_name = "NAME=PATH")]
    programs: Vec<Program>,
    /// The contender that the goals and ratios are over
    #[arg(long, value_name = "NAME", default_value = "PgBouncer")]
    reference: String,
    /// Another table of contenders
    #[arg(long, value_name = "FILE")]
    contenders: Option<PathBuf>,
}

/// Odd, so that there is one in the middle. With these the whole takes ten minutes on two cores with
/// Debian's PgBouncer beside pgherd, short enough for the machine to stay the same all the while.
const ROUNDS: usize = 5;
const SECONDS: u64 = 2;
const CLIENTS: [u32; 2] = [50, 1000];

impl Options {
    /// Whether it is the run that the document keeps, and no quick look.
    pub(crate) fn is_record(&self) -> bool {
        self.rounds == ROUNDS
            && self.seconds == SECONDS
            && self.clients == CLIENTS
            && self.only.is_empty()
            && self.cases.is_empty()
    }

    fn wants(&self, contender: &Contender) -> bool {
        self.only.is_empty() || self.only.contains(&contender.name())
    }

    fn wants_case(&self, case: &Case) -> bool {
        let title = case.to_string();
        self.cases.is_empty() || self.cases.iter().any(|text| title.contains(text))
    }
}

/// What a run has to say.
pub(crate) struct Report {
    /// A part of a document.
    pub(crate) text: String,
    /// The plot that it refers to.
    pub(crate) plot: String,
}

/// The plot's name, beside the document.
pub(crate) const PLOT: &str = "benchmarks-proxy.svg";

/// Measures everything.
///
/// # Errors
/// When the server, the table or the options are not right. A contender that fails is left out of
/// its case, and the report says so.
pub(crate) fn run(options: &Options) -> Result<Report> {
    ensure!(options.rounds > 0 && options.seconds > 0, "it takes a round and a second at least");
    let load = machine::load();
    let contenders = read_contenders(options.contenders.as_deref(), &options.programs)?;
    let contenders: Vec<Contender> =
        contenders.into_iter().filter(|contender| options.wants(contender)).collect();
    let cases: Vec<Case> =
        Case::all(&options.clients).into_iter().filter(|case| options.wants_case(case)).collect();
    ensure!(!contenders.is_empty() && !cases.is_empty(), "nothing is left to be measured");
    raise_descriptor_limit()?;
    let stage = Stage::set()?;
    let outcomes: Vec<Outcome> =
        cases.iter().map(|case| compare(&stage, &contenders, case, options)).collect();
    let versions: Vec<String> = contenders
        .iter()
        .filter(|contender| !contender.version.is_empty() && contender.workers() == 1)
        .map(|contender| contender.version.clone())
        .collect();
    let about = document::About {
        load,
        versions,
        postgresql: stage.cluster().version().to_owned(),
        rounds: options.rounds,
        seconds: options.seconds,
        reference: options.reference.clone(),
    };
    let goals = goals::goals(&outcomes, &options.reference);
    Ok(Report { text: document::write(&about, &outcomes, &goals)?, plot: plot::write(&outcomes)? })
}

/// Those of the table in this file, or of the one that is built in, whose programs are here.
fn read_contenders(file: Option<&Path>, programs: &[Program]) -> Result<Vec<Contender>> {
    let table = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("cannot read {}", file.display()))?,
        None => contenders::TABLE.to_owned(),
    };
    contenders::read(&table, programs, |text| eprintln!("{text}"))
}

/// pgbench and the poolers need a descriptor or two for each client.
fn raise_descriptor_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn compare(stage: &Stage, contenders: &[Contender], case: &Case, options: &Options) -> Outcome {
    let mut outcome = Outcome { case: *case, rows: Vec::new(), absent: Vec::new() };
    let mut parts: Vec<(&Contender, Part)> = Vec::new();
    for contender in contenders {
        let name = contender.name();
        match case.part(contender.abilities()) {
            Ok(part) => {
                parts.push((contender, part));
                outcome.rows.push(Row { name, remark: part.remark, turns: Vec::new() });
            }
            Err(why) => outcome.absent.push(format!("{name}: {why}")),
        }
    }
    let mut failed = vec![false; parts.len()];
    for round in 0..options.rounds {
        for at in order(parts.len(), round) {
            if failed[at] {
                continue;
            }
            let (contender, part) = &parts[at];
            let name = contender.name();
            match turn::take(stage, contender, case, part, options.seconds) {
                Ok(turn) => {
                    eprintln!(
                        "{case}, round {} of {}, {name}: {:.0}/s, {:.1} µs CPU each",
                        round + 1,
                        options.rounds,
                        turn.throughput,
                        turn.cpu()
                    );
                    outcome.rows[at].turns.push(turn);
                }
                Err(error) => {
                    eprintln!("{case}: {name} FAILED: {error:#}");
                    failed[at] = true;
                    outcome.absent.push(format!("{name} failed: {}", error.root_cause()));
                }
            }
        }
    }
    // Figures of fewer rounds than the others' are not comparable.
    let mut at = 0;
    outcome.rows.retain(|_| {
        at += 1;
        !failed[at - 1]
    });
    outcome
}
