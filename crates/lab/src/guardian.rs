//! Ends a cluster when its owner is gone, however it went.
//!
//! A small shell process in a session of its own waits at a pipe whose other end only the
//! owner holds. When the owner drops it, panics, is interrupted or killed, the pipe closes;
//! then the guardian ends each server it can prove to be one of the cluster's (the process
//! runs in that server's data folder), and removes the folder.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// `$1` is the cluster's folder. A stopped server hears nothing but CONT and KILL.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r word && [ "$word" = detach ] && exit 0
ours() {
    for file in "$1"/*/data/postmaster.pid; do
        read -r pid < "$file" 2>/dev/null || continue
        [ "$(readlink "/proc/$pid/cwd")" = "$(readlink -f "${file%/postmaster.pid}")" ] && echo "$pid"
    done
}
for pid in $(ours "$1"); do
    kill -QUIT "$pid"
    kill -CONT "$pid" $(cat "/proc/$pid/task/$pid/children" 2>/dev/null)
done 2>/dev/null
tries=0
while [ -n "$(ours "$1")" ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
for pid in $(ours "$1"); do
    kill -KILL $(cat "/proc/$pid/task/$pid/children") "$pid"
done 2>/dev/null
rm -rf "$1"
"#;

/// The guardian of one folder.
#[derive(Debug)]
pub struct Guardian {
    child: Child,
    // Its closing is the signal.
    pipe: Option<ChildStdin>,
}

impl Guardian {
    /// Sets a guardian on a cluster's folder.
    ///
    /// # Errors
    /// When `sh` cannot be run.
    pub fn set_on(folder: &Path) -> Result<Self> {
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "pgherd-lab-guardian"])
            .arg(folder)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of Ctrl-C in the terminal.
            .process_group(0)
            .spawn()
            .context("cannot run sh, which guards a cluster")?;
        let pipe = child.stdin.take();
        Ok(Self { child, pipe })
    }

    /// Lets the cluster live on without its owner.
    ///
    /// # Errors
    /// When the guardian is gone.
    pub fn detach(mut self) -> Result<()> {
        if let Some(mut pipe) = self.pipe.take() {
            pipe.write_all(b"detach\n").context("the cluster's guardian is gone")?;
        }
        self.child.wait().context("the cluster's guardian cannot be waited for")?;
        Ok(())
    }
}

impl Drop for Guardian {
    /// Ends the cluster and waits until it is gone.
    fn drop(&mut self) {
        self.pipe = None;
        // Nothing is left to do if it cannot be waited for.
        let _ = self.child.wait();
    }
}
