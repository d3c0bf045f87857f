//! What is on this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;

/// Whether a program is on the PATH.
pub(crate) fn exists(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// The target that the compiler builds for by itself.
pub(crate) fn host() -> Result<String> {
    let version = command::output(Command::new("rustc").arg("-vV")).context("no rustc here")?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say what it builds for")?.to_owned())
}

/// Whether PgBouncer is on the PATH, or where Debian puts it.
pub(crate) fn has_pgbouncer() -> bool {
    exists("pgbouncer") || Path::new("/usr/sbin/pgbouncer").is_file()
}

/// A folder with a whole PostgreSQL: server, initdb, pg_basebackup, psql and pgbench.
pub(crate) fn is_postgresql(folder: &Path) -> bool {
    ["postgres", "initdb", "pg_basebackup", "psql", "pgbench"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// Debian's PostgreSQL, the newest version.
pub(crate) fn debian_postgresql() -> Option<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| is_postgresql(folder))
        .collect();
    versions.sort();
    versions.pop().map(|(_, folder)| folder)
}
