//! Ends a cluster when its owner is gone, however it went.
//!
//! A small shell process in a group of its own waits at a pipe whose other end only the
//! owner holds. When the owner drops it, panics, is interrupted or killed, the pipe closes;
//! then the guardian ends what the owner has left running inside the cluster's folder: each
//! process of PostgreSQL or of setting it up, or of a program that the folder's file `guarded`
//! names, and no other. Then it removes the folder, and the shared memory that a killed server
//! could not give back.
//!
//! Absent: anything to be done by a destructor alone.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use anyhow::{Context, Result};

/// `$1` is the cluster's folder. Ends with 1 if the folder could not be removed.
///
/// SIGQUIT first: a server then stops at once, and still gives its shared memory back. One that
/// is frozen hears nothing but CONT and KILL.
const SCRIPT: &str = r#"
trap '' INT TERM HUP QUIT
read -r word && [ "$word" = detach ] && exit 0
ours() {
    ls -l /proc/[0-9]*/cwd 2>/dev/null | HERE="$1/" awk '
        { at = index($0, " -> "); path = substr($0, at + 4) "/" }
        at && index(path, ENVIRON["HERE"]) == 1 { split($0, part, "/proc/"); print part[2] + 0 }
    ' | while read -r pid; do
        read -r name < "/proc/$pid/comm" || continue
        case "$name" in
            postgres|initdb|pg_basebackup|pg_ctl|cp) echo "$pid";;
            # One that was built anew meanwhile is called "deleted".
            *) readlink "/proc/$pid/exe" | sed 's/ (deleted)$//' | grep -qxFf "$1/guarded" \
                && echo "$pid";;
        esac
    done 2>/dev/null
}
for pid in $(ours "$1"); do
    read -r name < "/proc/$pid/comm"
    case "$name" in postgres) kill -QUIT "$pid";; *) kill -TERM "$pid";; esac
    kill -CONT "$pid"
done 2>/dev/null
tries=0
while pids=$(ours "$1"); [ -n "$pids" ] && [ $tries -lt 200 ]; do
    [ $tries -ge 100 ] && kill -KILL $pids 2>/dev/null
    sleep 0.05
    tries=$((tries + 1))
done
# A killed server leaves its file behind; the seventh line names its memory by key and id.
for file in "$1"/*/data/postmaster.pid; do
    set -- "$1" $(sed -n 7p "$file" 2>/dev/null)
    [ $# -eq 3 ] || continue
    awk -v key="$2" -v id="$3" '$1 == key && $2 == id && $7 == 0 { found = 1 } END { exit !found }' \
        /proc/sysvipc/shm && ipcrm -m "$3"
done 2>/dev/null
for attempt in 1 2 3; do
    rm -rf "$1" && exit 0
    sleep 0.2
done
exit 1
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
