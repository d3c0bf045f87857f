//! PgBouncer's files, read from where they are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use pgherd_core::pgbouncer::{self, Converted, FileError};

/// What a `pgbouncer.ini` means here. Paths in it are relative to the current folder, as for
/// PgBouncer.
///
/// # Errors
/// All that is wrong with it, a line for each problem.
pub(crate) fn load(file: &Path) -> Result<Converted> {
    let name = file.display().to_string();
    let text =
        read(&name).map_err(anyhow::Error::msg).with_context(|| format!("cannot read {name}"))?;
    pgbouncer::convert(&text, &name, &mut read).map_err(|errors| anyhow::Error::msg(lines(&errors)))
}

fn read(path: &str) -> Result<String, String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line} is not UTF-8")
    })
}

fn lines(errors: &[FileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
