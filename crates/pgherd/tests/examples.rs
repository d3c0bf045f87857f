//! Each example runs to its end on a cluster of its own, and what it shows holds.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use pgherd::Settings;

/// Runs an example as a newcomer does, without a cluster in the environment. Its log must hold
/// each of `words`.
fn shows(example: &str, words: &[&str]) {
    let mut command = Command::new(program(example));
    for (name, _) in std::env::vars() {
        let is_ours = ["COORDINATOR_", "WORKER_", "REPLICA_", "RUST_LOG"];
        if is_ours.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // Where no `.env` lies about.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let output = command.current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{example} ended with {}:\n{log}", output.status);
    for word in words {
        assert!(log.contains(word), "{example} does not log `{word}`:\n{log}");
    }
}

/// The program of an example. `cargo test` has built it, unless it was asked for this test alone.
fn program(example: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let path = own.ancestors().nth(2).unwrap().join("examples").join(example);
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = path.metadata().and_then(|file| file.modified());
    let newest = newest_in(&package.join("examples")).max(newest_in(&package.join("src")));
    if !built.is_ok_and(|built| built >= newest) {
        let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
        let build = ["build", "--quiet", "--package", "pgherd", "--example", example];
        let built = Command::new(cargo).args(build).current_dir(package).status().unwrap();
        assert!(built.success(), "{example} does not build");
    }
    path
}

fn newest_in(folder: &Path) -> SystemTime {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let changed = entries.map(|path| match path.is_dir() {
        true => newest_in(&path),
        false => path.metadata().unwrap().modified().unwrap(),
    });
    changed.max().unwrap()
}

#[test]
fn the_env_example_names_a_cluster() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.env.example");
    let variables: HashMap<String, String> =
        dotenvy::from_path_iter(file).unwrap().map(Result::unwrap).collect();
    let settings = Settings::from_env(|name| variables.get(name).cloned()).unwrap();
    let topology = settings.topology().unwrap();
    assert_eq!((topology.nodes().len(), topology.shard_count()), (5, 2));
}

#[test]
fn basic() {
    shows("basic", &["statement routed", "DDL goes to the coordinator", "23505"]);
}

#[test]
fn read_write_split() {
    let replicas = ["coordinator-r1", "coordinator-r2"];
    shows("read_write_split", &[&replicas[..], &["a read goes to a replica"]].concat());
}

#[test]
fn shard_aware_routing() {
    shows(
        "shard_aware_routing",
        &["a write with a key goes to the worker of its shard", "shard-1"],
    );
}

#[test]
fn distributed_transactions() {
    shows("distributed_transactions", &["[70, 130]", "rolled back everywhere"]);
}

#[test]
fn health() {
    shows("health", &["node taken out of rotation", "in_rotation=true"]);
}

#[test]
fn retry_and_failover() {
    shows("retry_and_failover", &["statement is tried again", "attempt=2"]);
}

#[test]
fn environment() {
    shows("environment", &["WORKER_SHARD_IDS", "PGHERD_POOL_SIZE"]);
}
