//! Tries the drivers that people use through the proxy, and tells which operation of which works.
//!
//! In: the drivers as `cargo x test drivers` has installed them. Out: docs/drivers.md, or whether what it
//! says still holds.
//!
//! Each driver has a small program: those of other languages are beside `src`, those in Rust in
//! [`program`], which this program runs as programs of their own. A program prints what its driver got; what
//! is right is known here ([`operation`]).

mod document;
mod driver;
mod operation;
mod program;
mod stage;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use crate::driver::{DRIVERS, Driver};
use crate::operation::OPERATIONS;
use crate::stage::Stage;
use crate::trial::Trial;

#[derive(Debug, Parser)]
struct Arguments {
    /// The folder that the drivers are installed in
    #[arg(long, default_value = "target/drivers")]
    tools: PathBuf,
    /// The document to write
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// The document that has to say what is seen
    #[arg(long, value_name = "FILE", conflicts_with = "write")]
    check: Option<PathBuf>,
    /// Be the program of this driver
    #[arg(long, hide = true)]
    program: Option<program::Program>,
    /// The drivers to try; all of them, if none is named
    names: Vec<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.program {
        Some(program) => program.run().map(|()| true),
        None => try_all(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pgherd-drivers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Tries the drivers that were asked for. Whether all is well.
fn try_all(arguments: &Arguments) -> Result<bool> {
    let names = &arguments.names;
    let is_unknown = |name: &&String| !DRIVERS.iter().any(|driver| driver.is_called(name));
    if let Some(name) = names.iter().find(is_unknown) {
        bail!("there is no driver `{name}`: {}", DRIVERS.each_ref().map(|it| it.name).join(", "));
    }
    let wanted =
        |driver: &&Driver| names.is_empty() || names.iter().any(|name| driver.is_called(name));
    let stage = Stage::set()?;
    let mut trials = Vec::new();
    let mut skipped = 0;
    for driver in DRIVERS.iter().filter(wanted) {
        if let Some(what) = driver.missing(&arguments.tools) {
            eprintln!("SKIPPED: {}, because {what} is missing: see `cargo x setup`", driver.name);
            skipped += OPERATIONS.len();
            continue;
        }
        let trial = Trial::run(driver, &arguments.tools, &stage)?;
        print(&trial);
        trials.push(trial);
    }
    let failed = trials.iter().flat_map(Trial::failures).count();
    let passed = trials.iter().flat_map(|trial| &trial.cells).filter(|cell| cell.is_success());
    println!("drivers: {} passed, {failed} failed, {skipped} skipped", passed.count());
    if let Some(path) = &arguments.write {
        document::write(path, &trials, &stage)?;
    }
    let differences = match &arguments.check {
        Some(path) => document::differences(
            &std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?,
            &trials,
        ),
        None => Vec::new(),
    };
    for line in &differences {
        eprintln!("docs/drivers.md does not say: {line}");
    }
    Ok(failed == 0 && differences.is_empty())
}

fn print(trial: &Trial) {
    println!("{} {}", trial.driver.name, trial.version);
    for (operation, outcome) in trial.outcomes() {
        println!("  {:<12} {outcome}", operation.title);
    }
}
