//! The demo, interrupted. (Run to its end it judges speeds, which is no matter for a test.)

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Whether a process works in a folder, or below.
fn is_worked_in(folder: &Path) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path().join("cwd"))
        .any(|cwd| std::fs::read_link(cwd).is_ok_and(|cwd: PathBuf| cwd.starts_with(folder)))
}

/// Interrupts the demo once it has printed a line that holds `word`; nothing may be left.
fn interrupted_at(word: &str) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_pgherd"))
        .args(["demo", "--seconds", "60"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let folder = std::env::temp_dir().join(format!("pgherd-demo-{}", demo.id()));
    let lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.contains(word)), "it has not printed `{word}`");
    let pid = Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    lines.for_each(drop);
    assert_eq!(demo.wait().unwrap().code(), Some(130));
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || is_worked_in(&folder) {
        assert!(Instant::now() < deadline, "{} is still in use", folder.display());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn an_interrupted_demo_leaves_nothing_wherever_it_is() {
    for word in ["bringing up", "filling", "1 s:"] {
        interrupted_at(word);
    }
}
