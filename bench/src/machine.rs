//! What the figures were measured on, and with which versions.

use std::process::Command;

const LOCK: &str = include_str!("../../Cargo.lock");

/// Processor, cores, kernel.
pub(crate) fn describe() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{model}, {cores} cores, {}", output("uname", &["-sr"]))
}

/// How many wanted to run, on average over the last minute.
pub(crate) fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().unwrap_or("?").to_owned()
}

/// The compiler.
pub(crate) fn rustc() -> String {
    output("rustc", &["--version"])
}

/// The version of a package that was built in.
pub(crate) fn version(name: &str) -> &'static str {
    let entry = format!("name = \"{name}\"\nversion = \"");
    let at = LOCK.rfind(&entry).map(|at| at + entry.len());
    at.and_then(|at| LOCK[at..].split('"').next()).unwrap_or("?")
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| format!("{program}: not found"))
}
