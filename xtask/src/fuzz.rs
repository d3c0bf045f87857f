//! Runs the fuzz targets of `fuzz/`, each for some minutes.
//!
//! libFuzzer comes as a crate and wants a C++ compiler; that code counts where it has been is asked
//! of the stable compiler by its own flags, so no other toolchain is needed. What is found is kept
//! in `fuzz/found`, what has led somewhere new in `fuzz/corpus`; both are out of the repository.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{command, setup, tools};

/// As cargo-fuzz asks for it where it uses no sanitizer: the code has no `unsafe` for one to watch,
/// but for the parser's, which is C.
const COVERAGE: [&str; 6] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Minutes for a target, unless others are asked for.
const MINUTES: f64 = 1.0;

/// `[TARGET...] [--for MINUTES]`: those targets, or all, each for so long.
pub(crate) fn run(rest: &[String]) -> Result<()> {
    let mut environment = setup::run(setup::wants_wheels())?;
    setup::cpp_compiler()?;
    let folder = command::workspace().join("fuzz");
    let all = targets(&folder)?;
    let (mut wanted, mut minutes) = (Vec::new(), MINUTES);
    let mut words = rest.iter();
    while let Some(word) = words.next() {
        match &**word {
            "--for" => {
                let number = words.next().and_then(|word| word.parse().ok());
                minutes = number.context("--for wants a number of minutes")?;
            }
            target if all.iter().any(|name| name == target) => wanted.push(target.to_owned()),
            other => bail!("`{other}` is none of the targets: {}", all.join(", ")),
        }
    }
    if wanted.is_empty() {
        wanted = all;
    }
    let host = tools::host()?;
    environment.push(("RUSTFLAGS".to_owned(), COVERAGE.join(" ")));
    let manifest = folder.join("Cargo.toml");
    let manifest = manifest.to_string_lossy();
    // For a target, so that what runs while building is not instrumented.
    let build = ["build", "--release", "--locked", "--target", &host, "--manifest-path", &manifest];
    command::cargo(&build, &environment)?;
    let programs = folder.join("target").join(host).join("release");
    let failed: Vec<String> = wanted
        .into_iter()
        .filter_map(|target| match fuzz(&folder, &programs, &target, minutes) {
            Ok(said) => {
                println!("{target:<14} {said}");
                None
            }
            Err(error) => {
                println!("{target:<14} FOUND: {error:#}");
                Some(target)
            }
        })
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    bail!(
        "{} failed: mend it, and keep the input in fuzz/seeds, where the tests run it again",
        failed.join(", ")
    )
}

fn targets(folder: &Path) -> Result<Vec<String>> {
    let files = fs::read_dir(folder.join("targets")).context("no fuzz targets")?;
    let names = files.flatten().map(|file| file.path());
    let mut names: Vec<String> =
        names.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    names.sort();
    Ok(names)
}

/// Fuzzes one target; what it has done.
fn fuzz(folder: &Path, programs: &Path, target: &str, minutes: f64) -> Result<String> {
    let (corpus, found) = (folder.join("corpus").join(target), folder.join("found").join(target));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&found)?;
    let log = found.join("log");
    let before = inputs(&found)?;
    let mut command = Command::new(programs.join(format!("fuzz_{target}")));
    command
        .arg(format!("-max_total_time={:.0}", (minutes * 60.0).max(1.0)))
        .arg(format!("-artifact_prefix={}/", found.display()))
        // Longer inputs say nothing that shorter ones do not, and take longer.
        .args(["-max_len=4096", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1"])
        .arg(&corpus)
        .arg(folder.join("seeds").join(target))
        .stderr(File::create(&log)?);
    let status = command.status().with_context(|| format!("cannot run {target}"))?;
    let said = fs::read_to_string(&log).context("the fuzzer's log")?;
    if !status.success() {
        let new = inputs(&found)?.into_iter().find(|input| !before.contains(input));
        let input = new.map_or("no input".to_owned(), |input| input.display().to_string());
        bail!("{status}, {input}, see {}", log.display());
    }
    let number = |name: &str| {
        let at = said.rfind(name)? + name.len();
        said[at..].split_whitespace().next().map(str::to_owned)
    };
    let executed = number("stat::number_of_executed_units:").context("no count in the log")?;
    let covered = number(" cov: ").unwrap_or_default();
    Ok(format!("{executed} inputs in {minutes} min, {covered} places covered, nothing found"))
}

fn inputs(found: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(found)?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("log")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `fuzz` is no member of the workspace, so nothing else notices that a crate it depends on has
    /// new dependencies.
    #[test]
    fn the_lock_file_of_the_targets_is_up_to_date() {
        let manifest = command::workspace().join("fuzz/Cargo.toml");
        let manifest = manifest.to_string_lossy();
        let metadata = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["metadata", "--locked", "--format-version", "1", "--manifest-path", &manifest])
            .output()
            .expect("cargo runs");
        assert!(
            metadata.status.success(),
            "`cargo update --workspace --manifest-path fuzz/Cargo.toml` mends what cargo says: {}",
            String::from_utf8_lossy(&metadata.stderr)
        );
    }
}
