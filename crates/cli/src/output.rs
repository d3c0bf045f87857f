//! Files that commands write.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes a file with this mode, in the place of one that is there.
pub(crate) fn write(path: &Path, mode: u32, text: &str) -> Result<()> {
    let what = || format!("cannot write {}", path.display());
    // A new file, so that the mode is its own from the first byte on.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(what);
        }
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path).with_context(what)?;
    file.write_all(text.as_bytes()).with_context(what)
}
