//! Into the background, once it is known whether that has worked.

use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::process::setsid;
use rustix::stdio::{dup2_stderr, dup2_stdout};

/// What the process in the background says when it serves.
const READY: &str = "ready";

/// Starts the same command again in the background, and waits until it serves. What it has to
/// complain of until then is on this process's standard error.
///
/// # Errors
/// When it ends instead.
pub(super) fn start() -> Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start in the background")?;
    let output = child.stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).context("cannot hear from it")?;
    if line.trim() != READY {
        let status = child.wait().context("cannot wait for it")?;
        bail!("it has not started ({status})");
    }
    Ok(())
}

/// Leaves the terminal: what is typed there is no signal for this process any more.
pub(super) fn leave_terminal() -> Result<()> {
    setsid().context("cannot leave the terminal")?;
    Ok(())
}

/// Tells whoever waits in [`start`] that all is well, and says no more there.
pub(super) fn tell_ready() -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{READY}").and_then(|()| out.flush()).context("nobody waits for it")?;
    let nowhere = OpenOptions::new().write(true).open("/dev/null").context("no /dev/null")?;
    dup2_stdout(&nowhere).and_then(|()| dup2_stderr(&nowhere)).context("cannot fall silent")?;
    Ok(())
}
