//! `pgherd pgbouncer-config`: PgBouncer's files for a cluster.
//!
//! What is in them is decided by `plan` and written by `ini` and `userlist`, which touch no file.

mod ini;
mod plan;
mod userlist;

use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use pgherd_core::Settings;

use crate::output::write;
use crate::settings;
use ini::Limits;
use plan::{Bouncer, Layout};

/// Write pgbouncer.ini and userlist.txt for the cluster
///
/// One PgBouncer for all nodes, with a database alias for each of them and for what they are to
/// the cluster; or one in front of each node, as the library needs it. They pool by transaction.
/// scripts/start_pgbouncer.sh starts and stops them.
#[derive(Debug, Args)]
pub(crate) struct PgbouncerConfig {
    /// The settings file; without one, the environment (COORDINATOR_HOST and others)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder to write into; with --per-node, one folder for each node is made in it
    #[arg(long, value_name = "DIR", default_value = "config")]
    dir: PathBuf,
    /// One PgBouncer in front of each node, on ports from --port on
    #[arg(long)]
    per_node: bool,
    /// The address that clients connect to
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: IpAddr,
    /// The port, or the first one
    #[arg(long, default_value_t = 6432, value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    #[command(flatten)]
    limits: Limits,
    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

impl PgbouncerConfig {
    /// Writes all files or, if one is there already and --force is not given, none.
    pub(crate) fn run(self) -> Result<()> {
        let settings = settings::load(self.config.as_deref())?
            .context("no cluster: name a settings file with --config, or set COORDINATOR_HOST")?;
        let bouncers = self.plan(&settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // PgBouncer reads passwords from its own file only.
        let settings = runtime.block_on(pgherd::with_passwords(settings))?;
        let users = userlist::render(&settings.users)?;
        let folder = |bouncer: &Bouncer| match &bouncer.node {
            Some(node) => self.dir.join(node),
            None => self.dir.clone(),
        };
        let files = |bouncer: &Bouncer| {
            let folder = folder(bouncer);
            [folder.join("pgbouncer.ini"), folder.join("userlist.txt")]
        };
        if let Some(there) = bouncers.iter().flat_map(files).find(|file| file.exists())
            && !self.force
        {
            bail!("{} is there already: --force writes over it", there.display());
        }
        let mut out = io::stdout().lock();
        for bouncer in &bouncers {
            let [ini, userlist] = files(bouncer);
            fs::create_dir_all(folder(bouncer))
                .with_context(|| format!("cannot make {}", folder(bouncer).display()))?;
            write(&ini, 0o644, &ini::render(bouncer, &settings, &self.limits))?;
            write(&userlist, 0o600, &users)?;
            writeln!(out, "{}", ini.display())?;
            writeln!(out, "{}", userlist.display())?;
        }
        if self.per_node {
            writeln!(out, "\n# The library goes through them with these variables:")?;
            write!(out, "{}", plan::environment(&settings, &bouncers))?;
        }
        Ok(())
    }

    fn plan(&self, settings: &Settings) -> Result<Vec<Bouncer>> {
        let layout = if self.per_node { Layout::PerNode } else { Layout::OneForAll };
        plan::plan(settings, layout, self.listen, self.port)
    }
}

#[cfg(test)]
mod tests;
