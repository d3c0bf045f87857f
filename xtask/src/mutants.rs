//! Bugs put in on purpose, one at a time, into a copy of the workspace: does the simulation find them?

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, setup};

/// A bug, and the promises of the simulation (`Invariant`) of which one is broken by it.
struct Mutant {
    what: &'static str,
    file: &'static str,
    before: &'static str,
    after: &'static str,
    breaks: &'static [&'static str],
}

const MUTANTS: [Mutant; 6] = [
    Mutant {
        what: "a backend is lent again without a reset",
        file: "crates/server/src/reactor/backends/lending.rs",
        before: "true => self.reset(key),\n            false => self.place(key),",
        after: "true => self.place(key),\n            false => self.place(key),",
        breaks: &["CleanOnRelease", "NobodyShares", "OwnAnswers"],
    },
    Mutant {
        what: "a lease ends, and the next waiter has the backend, while a transaction is open",
        file: "crates/server/src/relay/mod.rs",
        before: "self.tx.is_idle() && self.is_answered()",
        after: "self.is_answered()",
        breaks: &["OwnAnswers", "CleanOnRelease", "NobodyShares"],
    },
    Mutant {
        what: "a reply that an error has dropped is made up all the same",
        file: "crates/wire/src/replies.rs",
        before: "Expect::MadeUp(_) => self.dropped_changes += 1,",
        after: "Expect::MadeUp(_) => return,",
        breaks: &["OwnAnswers", "NothingLost"],
    },
    Mutant {
        what: "a cancel request strikes whoever has the backend by then",
        file: "crates/server/src/reactor/backends/lending.rs",
        before: "        if backend.cancels > 0 {\n            backend.phase = Phase::Parked;",
        after: "        if backend.cancels > 1000 {\n            backend.phase = Phase::Parked;",
        breaks: &["OwnAnswers"],
    },
    Mutant {
        what: "a client that has gone is still waited for",
        file: "crates/server/src/reactor/clients/farewell.rs",
        before: "self.pool(pool).pool.forget(&key);",
        after: "",
        breaks: &["CountsAddUp", "NobodyShares"],
    },
    Mutant {
        what: "what a name means is not waited for",
        file: "crates/server/src/relay/upstream.rs",
        before: "false => client.statements.is_open(name),",
        after: "false => false,",
        breaks: &["OwnAnswers"],
    },
];

/// Transactions after which a bug that was not found counts as missed.
const ENOUGH: &str = "200000";

/// Makes the copy, and runs the simulation with each bug in it.
pub(crate) fn run(_: &[String]) -> Result<()> {
    let environment = setup::run(setup::wants_wheels())?;
    let copy = command::target().join("mutants");
    let mut missed = 0;
    for mutant in &MUTANTS {
        make_copy(&copy)?;
        let file = copy.join(mutant.file);
        let text = std::fs::read_to_string(&file)?;
        if text.matches(mutant.before).count() != 1 {
            bail!("{} is not what it was: {}", mutant.file, mutant.before);
        }
        std::fs::write(&file, text.replace(mutant.before, mutant.after))?;
        let output = Command::new("cargo")
            .args(["test", "--quiet", "--profile", "sim", "--package", "pgherd-server", "--lib"])
            .args(["reactor::sim::tests::a_proxy_keeps_its_promises", "--", "--nocapture"])
            .current_dir(&copy)
            // Its own: cargo would take what is built here for what is built there.
            .env("CARGO_TARGET_DIR", command::target().join("mutants-built"))
            .env("PGHERD_SIM_TRANSACTIONS", ENOUGH)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .output()
            .context("cannot run cargo")?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        let broken = mutant.breaks.iter().find(|name| said.contains(&format!("\n{name}: ")));
        match broken {
            Some(name) => {
                let after = said.lines().find(|line| line.starts_with("after ")).unwrap_or("");
                println!("found  {}: {name}, {after}", mutant.what);
            }
            None => {
                missed += 1;
                let tail: Vec<&str> = said.lines().rev().take(5).collect();
                println!("MISSED {}: {tail:?}", mutant.what);
            }
        }
    }
    if missed > 0 {
        bail!("{missed} of {} bugs were not found", MUTANTS.len());
    }
    Ok(())
}

/// Copies what git knows of, as it is now.
fn make_copy(copy: &Path) -> Result<()> {
    let list = command::output(
        Command::new("git").args(["ls-files", "-z"]).current_dir(command::workspace()),
    );
    for name in list.context("git lists no files")?.split('\0').filter(|name| !name.is_empty()) {
        let (from, to) = (command::workspace().join(name), copy.join(name));
        let text = std::fs::read(&from).with_context(|| format!("cannot read {name}"))?;
        // What has not changed is not built again.
        if std::fs::read(&to).is_ok_and(|there| there == text) {
            continue;
        }
        let folder = to.parent().context("a file is in a folder")?;
        std::fs::create_dir_all(folder)?;
        std::fs::write(&to, text)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bug_can_still_be_put_in() {
        for mutant in &MUTANTS {
            let text = std::fs::read_to_string(command::workspace().join(mutant.file)).unwrap();
            assert_eq!(text.matches(mutant.before).count(), 1, "{}", mutant.what);
        }
    }
}
