//! Becoming another user of the system.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Starts the program anew as that user, in the place of this process, and does not return.
///
/// Anew, because only at its start a process can shed all rights of root at once and in each thread;
/// it has the user's own group and no other.
///
/// # Errors
/// When there is no such user, or the system refuses.
pub(super) fn become_user(name: &str) -> Result<()> {
    let (uid, gid) = (id("-u", name)?, id("-g", name)?);
    if uid == 0 {
        bail!("`{name}` is root: name another user");
    }
    let program = std::env::current_exe().context("cannot find this program")?;
    let error = Command::new(program).args(std::env::args_os().skip(1)).uid(uid).gid(gid).exec();
    Err(error).with_context(|| format!("cannot become user `{name}`"))
}

/// A number of a user, whatever database of users the system has.
fn id(option: &str, name: &str) -> Result<u32> {
    let output =
        Command::new("id").args([option, "--", name]).output().context("cannot run `id`")?;
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number
        .ok()
        .filter(|_| output.status.success())
        .with_context(|| format!("there is no user `{name}`"))
}
