//! The packages as a registry would take them, and a stranger's project that uses one.
//!
//! In: the workspace. Out: each package that is published, built from what is in it and nothing
//! else; and a project outside of the workspace whose `main.rs` is the README's example.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command;

/// What stays in the repository: its tests, its tools, and the program, which brings the lab.
const UNPUBLISHED: [&str; 3] = ["pgherd-cli", "pgherd-lab", "xtask"];

/// Packs what is published, and builds nothing: seconds.
pub(crate) fn pack() -> Result<()> {
    pack_with(&["--no-verify"])
}

/// Packs what is published, builds each package against the others, and then the example of the
/// README in a project of its own. Says how long each took.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    pack_with(&[])?;
    let packed = started.elapsed();
    build_outside(&folder().join("outside"))?;
    let (packed, built) = (packed.as_secs_f64(), (started.elapsed() - packed).as_secs_f64());
    println!("packages built in {packed:.1} s, a project that uses one in {built:.1} s");
    Ok(())
}

/// Everything is built here, so that each dependency is built once.
fn folder() -> PathBuf {
    command::target().join("package")
}

fn pack_with(options: &[&str]) -> Result<()> {
    let target = name(&folder())?;
    // Dirty: what is about to be committed is what is to be tried.
    let package = ["package", "--quiet", "--workspace", "--allow-dirty", "--target-dir", &target];
    let unpublished = UNPUBLISHED.iter().flat_map(|name| ["--exclude", name]);
    let arguments: Vec<&str> =
        package.into_iter().chain(unpublished).chain(options.iter().copied()).collect();
    command::cargo(&arguments, &quick())
}

fn build_outside(project: &Path) -> Result<()> {
    let workspace = command::workspace();
    let readme = std::fs::read_to_string(workspace.join("README.md"))?;
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("src/main.rs"), example(&readme)?)?;
    std::fs::write(project.join("Cargo.toml"), manifest(&workspace.join("crates/pgherd")))?;
    // The versions that the workspace is tested with; cargo drops what this project needs not.
    std::fs::copy(workspace.join("Cargo.lock"), project.join("Cargo.lock"))?;
    let (manifest, target) = (name(&project.join("Cargo.toml"))?, name(&folder())?);
    let build = ["build", "--quiet", "--manifest-path", &manifest, "--target-dir", &target];
    command::cargo(&build, &quick())
}

/// Built once, to see that it can be: without what debuggers and further builds would want.
fn quick() -> [(String, String); 2] {
    [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
}

fn name(path: &Path) -> Result<String> {
    let name = path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))?;
    Ok(name.to_owned())
}

/// The one Rust program in the README.
fn example(readme: &str) -> Result<&str> {
    let (_, rest) = readme.split_once("```rust").context("the README has no example in Rust")?;
    let (_, rest) = rest.split_once('\n').context("the README's example is empty")?;
    let (program, _) = rest.split_once("```").context("the README's example has no end")?;
    Ok(program)
}

fn manifest(pgherd: &Path) -> String {
    format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\npgherd = {{ path = {:?} }}\n\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
         # No part of the workspace above it.\n[workspace]\n",
        pgherd.display().to_string()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_what_stands_between_the_fences() {
        let readme = "text\n```sh\nls\n```\n```rust,no_run\nfn main() {}\n```\nmore";
        assert_eq!(example(readme).unwrap(), "fn main() {}\n");
        assert!(example("```sh\nls\n```").is_err());
    }

    #[test]
    fn whatever_is_not_packed_says_so_in_its_manifest() {
        let workspace = command::workspace();
        let mut folders = vec![workspace.join("xtask")];
        let crates = std::fs::read_dir(workspace.join("crates")).unwrap();
        folders.extend(crates.map(|entry| entry.unwrap().path()));
        for folder in folders {
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let name = manifest.split('"').nth(1).unwrap();
            let is_published = !manifest.contains("\npublish = false");
            assert_eq!(is_published, !UNPUBLISHED.contains(&name), "{name}");
            for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
                assert!(!is_published || folder.join(file).is_file(), "{name} has no {file}");
            }
        }
    }
}
