//! Brings a cluster up and leaves it running.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Args;
use pgherd_lab::{Cluster, ClusterSpec, cluster};

/// Bring a cluster up and leave it running
#[derive(Debug, Args)]
pub(super) struct Up {
    /// Shards beside the coordinator
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(..=32))]
    shards: u16,
    /// Streaming replicas of the coordinator, and of each shard
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(..=8))]
    replicas: u16,
    /// Print every node as JSON
    #[arg(long)]
    json: bool,
}

impl Up {
    pub(super) fn run(self, dir: &Path) -> Result<()> {
        if Cluster::is_in(dir) {
            bail!(
                "a cluster is up in {}: `pgherd dev status` shows it, `pgherd dev down` ends it",
                dir.display()
            );
        }
        let Self { shards, replicas, json } = self;
        eprintln!(
            "bringing up a coordinator and {shards} shards, each with {replicas} replicas, in {}",
            dir.display()
        );
        let spec = ClusterSpec {
            shards,
            coordinator_replicas: replicas,
            shard_replicas: replicas,
            folder: Some(dir.to_owned()),
            ..ClusterSpec::default()
        };
        let cluster = Cluster::start(&spec)?;
        let config = dir.join("pgherd.toml");
        std::fs::write(&config, cluster.settings_toml(""))
            .with_context(|| format!("cannot write {}", config.display()))?;
        // First of all: nobody loses a cluster because its list could not be printed.
        cluster.detach()?;
        let cluster = Cluster::attach(dir)?;
        super::print(&cluster, json)?;
        if json { Ok(()) } else { hints(&cluster, dir, &mut io::stdout().lock()) }
    }
}

fn hints(cluster: &Cluster, dir: &Path, out: &mut impl Write) -> Result<()> {
    let option = if dir == Path::new(".pgherd-dev") {
        String::new()
    } else {
        format!(" --dir {}", dir.display())
    };
    let (user, password, database) = (cluster::USER, cluster::PASSWORD, cluster::DATABASE);
    let address = cluster.coordinator().address();
    writeln!(out, "\nPostgreSQL {}, database {database}", cluster.version())?;
    writeln!(out, "  a node as superuser  pgherd dev{option} psql coordinator")?;
    writeln!(
        out,
        "  as an application    psql postgresql://{user}:{password}@{address}/{database}"
    )?;
    writeln!(out, "  settings for pgherd  {}", dir.join("pgherd.toml").display())?;
    writeln!(out, "  end it               pgherd dev{option} down")?;
    Ok(())
}
