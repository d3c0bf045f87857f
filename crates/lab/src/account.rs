//! The account that servers run under.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

/// PostgreSQL refuses to run as root, so then it runs as somebody else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Account(Option<(u32, u32)>);

impl Account {
    /// Our own account; or, as root, that of `postgres`, else that of `nobody`.
    pub(crate) fn find() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read accounts")?;
        let ids = ["postgres", "nobody"].iter().find_map(|name| ids_of(&accounts, name));
        let ids =
            ids.context("as root, an account `postgres` or `nobody` is needed to run servers")?;
        Ok(Self(Some(ids)))
    }

    /// Has a command run under this account.
    pub(crate) fn apply(self, command: &mut Command) {
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
    }

    /// Fails in plain words when this account cannot work in a folder that is its own: one on
    /// the way there may be closed to it.
    pub(crate) fn check_entry(self, folder: &Path) -> Result<()> {
        let mut probe = Command::new("true");
        probe.current_dir(folder);
        self.apply(&mut probe);
        let told = "servers cannot run as root, and the account they run under";
        let advice = "choose one that everybody can reach, such as below /tmp";
        probe
            .status()
            .with_context(|| format!("{told} cannot enter {}: {advice}", folder.display()))?;
        Ok(())
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.0 {
            std::os::unix::fs::chown(path, Some(uid), Some(gid))
                .with_context(|| format!("cannot give {} away", path.display()))?;
        }
        Ok(())
    }
}

fn ids_of(accounts: &str, name: &str) -> Option<(u32, u32)> {
    let line = accounts.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
