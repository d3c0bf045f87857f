//! The file by which a running process is found, and kept from being started twice.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, test_kill_process};

/// One that this process has written.
#[derive(Debug, Clone)]
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    ///
    /// # Errors
    /// When the process that it names runs, or it cannot be written.
    pub(super) fn write(path: &str) -> Result<Self> {
        let path = PathBuf::from(path);
        let what = || format!("cannot write the pidfile {}", path.display());
        let mut file = match new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if let Some(pid) = running(&path) {
                    bail!("{} names process {pid}, which runs: stop it first", path.display());
                }
                fs::remove_file(&path).and_then(|()| new(&path))
            }
            file => file,
        }
        .with_context(what)?;
        writeln!(file, "{}", std::process::id()).with_context(what)?;
        Ok(Self(path))
    }

    /// Writes it in the place of that of a process which this one has taken over.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn replace(path: &str) -> Result<Self> {
        let what = || format!("cannot write the pidfile {path}");
        // At once: whoever reads it finds one of the two.
        let (path, new) = (PathBuf::from(path), format!("{path}.new"));
        fs::write(&new, format!("{}\n", std::process::id()))
            .and_then(|()| fs::rename(&new, &path))
            .with_context(what)?;
        Ok(Self(path))
    }

    /// Removes it, unless another process has written it since.
    pub(super) fn remove(&self) {
        if process_in(&self.0) == i32::try_from(std::process::id()).ok() {
            let _ = fs::remove_file(&self.0);
        }
    }
}

fn new(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

fn process_in(path: &Path) -> Option<i32> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The process that a file names, if it runs.
fn running(path: &Path) -> Option<i32> {
    let number = process_in(path).filter(|number| *number > 0)?;
    let answer = test_kill_process(Pid::from_raw(number)?);
    // Somebody else's process runs as well.
    matches!(answer, Ok(()) | Err(rustix::io::Errno::PERM)).then_some(number)
}
