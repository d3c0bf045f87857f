//! `pgherd dev`, run as a person runs it, over real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A folder for a cluster; whatever a failed test has left in it is ended.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("pgherd-dev-{name}-{}", std::process::id())))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd"));
        command.args(["dev", "--dir"]).arg(&self.0).args(arguments).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// What a command prints that has to work.
    fn dev(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "dev {arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command complains of that has to fail.
    fn refused(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "dev {arguments:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn nodes(&self) -> Vec<Value> {
        serde_json::from_str(&self.dev(&["status", "--json"])).unwrap()
    }

    fn state(&self, node: &str) -> String {
        let nodes = self.nodes();
        let node = nodes.iter().find(|row| row["name"] == node).unwrap();
        node["state"].as_str().unwrap().to_owned()
    }

    fn psql(&self, node: &str, sql: &str) -> String {
        self.dev(&["psql", node, "--", "-XAtc", sql]).trim().to_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.0.exists() {
            self.run(&["down"]);
        }
    }
}

#[test]
fn a_cluster_is_brought_up_hurt_mended_and_ended() {
    let place = Place::new("life");
    let up = place.dev(&["up", "--shards", "1", "--replicas", "1", "--json"]);
    let nodes: Vec<Value> = serde_json::from_str(&up).unwrap();
    let facts: Vec<_> =
        nodes.iter().map(|node| (&node["name"], &node["role"], &node["shard"])).collect();
    let expected = [
        ("coordinator", "coordinator", Value::Null),
        ("coordinator-r1", "replica", Value::Null),
        ("shard-0", "worker", 0.into()),
        ("shard-0-r1", "replica", 0.into()),
    ];
    let expected = expected.map(|(name, role, shard)| (Value::from(name), role.into(), shard));
    assert_eq!(facts, expected.each_ref().map(|(name, role, shard)| (name, role, shard)));
    assert!(nodes.iter().all(|node| node["host"] == "127.0.0.1" && node["port"].is_u64()));
    let pids: Vec<u64> = nodes.iter().map(|node| node["pid"].as_u64().unwrap()).collect();
    assert!(place.refused(&["up"]).contains("`pgherd dev down` ends it"));

    assert_eq!(place.psql("coordinator", "select current_user"), "postgres");
    assert!(place.refused(&["kill", "shard-7"]).contains("only coordinator, coordinator-r1"));

    place.dev(&["kill", "coordinator-r1"]);
    assert_eq!(place.state("coordinator-r1"), "down");
    place.dev(&["restart", "coordinator-r1"]);
    assert_eq!(place.psql("coordinator-r1", "select pg_is_in_recovery()"), "t");

    place.dev(&["stop", "shard-0"]);
    assert_eq!(place.state("shard-0"), "frozen");
    place.dev(&["cont", "shard-0"]);
    assert_eq!(place.state("shard-0"), "ready");

    place.dev(&["promote", "shard-0-r1"]);
    assert!(place.dev(&["status"]).contains("ready, promoted"));
    assert!(place.refused(&["promote", "shard-0"]).contains("is a primary already"));
    assert!(place.dev(&["logs", "shard-0-r1"]).contains("promote"));

    place.dev(&["down"]);
    assert!(!place.0.exists());
    assert!(pids.into_iter().all(|pid| !runs(pid)));
    assert!(place.refused(&["status"]).contains("`pgherd dev up`"));
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let place = Place::new("interrupted");
    let mut up = place.command(&["up", "--shards", "1"]).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !place.0.join("coordinator/data/postmaster.pid").exists() {
        assert!(Instant::now() < deadline, "no server was started");
        std::thread::sleep(Duration::from_millis(5));
    }
    let interrupt = Command::new("kill").args(["-INT", &up.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    assert!(!up.wait().unwrap().success());
    while place.0.exists() || anything_runs_in(&place.0) {
        assert!(Instant::now() < deadline, "{} is left", place.0.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn runs(pid: u64) -> bool {
    Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok()
}

fn anything_runs_in(folder: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut folders = processes.filter_map(|process| process.path().join("cwd").read_link().ok());
    folders.any(|cwd| cwd.starts_with(folder))
}
