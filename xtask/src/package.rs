//! The packages as a registry would take them, and a stranger's project that uses them.
//!
//! In: the workspace. Out: each package that is published, built from what is in it and nothing
//! else, by a project outside of the workspace whose `main.rs` is the README's example.
//!
//! `cargo package` could build them itself, against a registry of its own; but that one keeps what
//! it was first given under a version, and a second run would build yesterday's code.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::command;

/// What is published, each after those that it needs.
const PUBLISHED: [&str; 5] =
    ["pgherd-wire", "pgherd-parser", "pgherd-core", "pgherd", "pgherd-server"];

/// Packs what is published, and builds nothing: seconds.
pub(crate) fn pack() -> Result<()> {
    let target = name(&folder())?;
    // Dirty: what is about to be committed is what is to be tried.
    let package = ["package", "--quiet", "--no-verify", "--allow-dirty", "--target-dir", &target];
    let published = PUBLISHED.iter().flat_map(|name| ["--package", name]);
    let arguments: Vec<&str> = package.into_iter().chain(published).collect();
    command::cargo(&arguments, &[])
}

/// Packs what is published, and builds the example of the README with it in a project of its own.
/// Says how long each took.
pub(crate) fn run() -> Result<()> {
    let started = Instant::now();
    pack()?;
    let packed = started.elapsed();
    build_outside(&folder().join("outside"))?;
    let (packed, built) = (packed.as_secs_f64(), (started.elapsed() - packed).as_secs_f64());
    println!("packed in {packed:.1} s, built in a project outside in {built:.1} s");
    Ok(())
}

fn folder() -> PathBuf {
    command::target().join("package")
}

fn build_outside(project: &Path) -> Result<()> {
    let workspace = command::workspace();
    let readme = std::fs::read_to_string(workspace.join("README.md"))?;
    std::fs::create_dir_all(project.join("src"))?;
    std::fs::write(project.join("src/main.rs"), example(&readme)?)?;
    // The versions that the workspace is tested with; cargo drops what this project needs not.
    std::fs::copy(workspace.join("Cargo.lock"), project.join("Cargo.lock"))?;
    let packages = project.join("packages");
    if packages.exists() {
        std::fs::remove_dir_all(&packages)?;
    }
    std::fs::create_dir(&packages)?;
    for package in PUBLISHED {
        let file = folder().join("package").join(format!("{package}-{VERSION}.crate"));
        // With the time of now: cargo looks at it to see what is new.
        let unpack = ["-xmzf", &name(&file)?, "-C", &name(&packages)?];
        command::run(Command::new("tar").args(unpack))?;
    }
    std::fs::write(project.join("Cargo.toml"), manifest())?;
    let (manifest, target) = (name(&project.join("Cargo.toml"))?, name(&folder())?);
    let build = ["build", "--quiet", "--manifest-path", &manifest, "--target-dir", &target];
    // Built once, to see that it can be: without what debuggers and further builds would want.
    let quick = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    command::cargo(&build, &quick)
}

/// All packages of the workspace have one.
const VERSION: &str = env!("CARGO_PKG_VERSION");

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

/// Uses the library, and the proxy so that it is built, too; what they need of each other is in
/// their packages as well.
fn manifest() -> String {
    let at = |name: &str| format!("{name} = {{ path = \"packages/{name}-{VERSION}\" }}\n");
    let patches: String = PUBLISHED.into_iter().map(at).collect();
    format!(
        "[package]\nname = \"outside\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [dependencies]\n{}{}\
         tokio = {{ version = \"1\", features = [\"macros\", \"rt-multi-thread\"] }}\n\n\
         [patch.crates-io]\n{patches}\n\
         # No part of the workspace above it.\n[workspace]\n",
        at("pgherd"),
        at("pgherd-server"),
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
        let mut folders = vec![workspace.join("bench"), workspace.join("xtask")];
        let crates = std::fs::read_dir(workspace.join("crates")).unwrap();
        folders.extend(crates.map(|entry| entry.unwrap().path()));
        for folder in folders {
            let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            let name = manifest.split('"').nth(1).unwrap();
            let is_published = !manifest.contains("\npublish = false");
            assert_eq!(is_published, PUBLISHED.contains(&name), "{name}");
            for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
                assert!(!is_published || folder.join(file).is_file(), "{name} has no {file}");
            }
        }
    }
}
