//! One driver's program, run and judged.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::driver::{Driver, Prepares};
use crate::operation::{OPERATIONS, Operation, Outcome};
use crate::stage::Stage;

/// How long a program may say nothing.
const PATIENCE: Duration = Duration::from_secs(120);

/// What became of each operation with one driver.
#[derive(Debug)]
pub(crate) struct Trial {
    pub(crate) driver: &'static Driver,
    pub(crate) version: String,
    /// In the order of [`OPERATIONS`].
    pub(crate) cells: Vec<Outcome>,
}

impl Trial {
    /// Runs the driver's program on a stage.
    ///
    /// # Errors
    /// When it cannot be run. What goes wrong in it is an outcome.
    pub(crate) fn run(driver: &'static Driver, tools: &Path, stage: &Stage) -> Result<Self> {
        stage.clear()?;
        let before = stage.statements()?;
        let mut command = driver.command(tools)?;
        stage.direct(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
        let (lines, said) = hear(child)?;
        let version = lines.first().and_then(|line| line["version"].as_str());
        let version = version.unwrap_or("unknown").to_owned();
        let mut cells: Vec<_> = OPERATIONS.iter().map(|it| it.judge(&lines)).collect();
        let reused = match driver.prepares {
            Prepares::ByProtocol => stage.statements()?.check_since(before),
            Prepares::InSql => Ok(()),
        };
        for (title, checked) in [
            ("prepared", reused),
            ("prepared", stage.check_done(driver.name)),
            ("arrays", stage.check_kept(driver.name)),
        ] {
            let cell = &mut cells[Operation::position(title)];
            if let Err(error) = checked
                && cell.is_success()
            {
                *cell = Outcome::Fails(error.to_string());
            }
        }
        let trial = Self { driver, version, cells };
        if trial.failures().next().is_some() && !said.trim().is_empty() {
            eprintln!("{}: {}", driver.name, said.trim());
        }
        Ok(trial)
    }

    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static Operation, &Outcome)> {
        OPERATIONS.iter().zip(&self.cells)
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = &Outcome> {
        self.cells.iter().filter(|outcome| matches!(outcome, Outcome::Fails(_)))
    }
}

/// The lines that a program prints until it ends, and what it says beside them. One that is silent for
/// too long is ended.
fn hear(mut child: Child) -> Result<(Vec<Value>, String)> {
    let (sender, receiver) = mpsc::channel();
    let stdout = child.stdout.take().context("its output is piped")?;
    let mut stderr = child.stderr.take().context("its errors are piped")?;
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            // A driver may print, too: that is no line of its program.
            let Ok(line) = serde_json::from_str(&line) else { continue };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let said = thread::spawn(move || {
        let mut said = String::new();
        // What is no text is of no use here.
        let _ = stderr.read_to_string(&mut said);
        said
    });
    let mut lines = Vec::new();
    while let Ok(line) = receiver.recv_timeout(PATIENCE) {
        lines.push(line);
    }
    // It has ended, or is about to: its output is closed. Or it hangs.
    let _ = child.kill();
    child.wait()?;
    let said = said.join().unwrap_or_default();
    Ok((lines, said))
}
