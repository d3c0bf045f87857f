//! `pgherd init`: what transactions over several shards need on every shard.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use pgherd::{DistributedPool, GroupId, decision_table_script};
use pgherd_core::Settings;

use crate::settings;

/// Make the decision table on every shard, for transactions over several of them
///
/// Needs a superuser or the owner of the database, and may be run again. The logins of the
/// settings may use the table afterwards, and the roles given by --grant.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The settings file; without one, the environment (COORDINATOR_HOST and others)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log in as this role, with the password in $PGPASSWORD, and not as that of the settings
    #[arg(long, value_name = "ROLE")]
    user: Option<String>,
    /// Let this role use the table, too
    #[arg(long, value_name = "ROLE")]
    grant: Vec<String>,
    /// Print the script and connect to nothing
    #[arg(long)]
    print: bool,
}

impl Init {
    /// Fails at the first shard that refuses.
    pub(crate) fn run(self) -> Result<()> {
        let settings = settings::load(self.config.as_deref())?;
        let logins = settings.iter().flat_map(|settings| &settings.users);
        let roles: Vec<String> =
            logins.map(|user| user.name.clone()).chain(self.grant.iter().cloned()).collect();
        let script = decision_table_script(roles.iter().map(String::as_str));
        if self.print {
            return Ok(io::stdout().write_all(script.as_bytes())?);
        }
        let settings = settings
            .context("no cluster: name a settings file with --config, or set COORDINATOR_HOST")?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(install(settings::with_login(settings, self.user), &script))
    }
}

async fn install(settings: Settings, script: &str) -> Result<()> {
    let pool = DistributedPool::from_settings(settings)?;
    let topology = pool.topology();
    let shards: Vec<_> = topology.shards().iter().filter_map(|group| group.id.shard()).collect();
    for shard in &shards {
        let group = topology.group(GroupId::Shard(*shard));
        let node = group.map_or("?", |group| topology.node(group.primary).name.as_str());
        pool.write()
            .shard(*shard)
            .batch(script)
            .await
            .with_context(|| format!("cannot make the decision table on {node}"))?;
        println!("{node}: the decision table is there");
    }
    if shards.is_empty() {
        println!("a cluster without shards needs none");
    }
    pool.close().await;
    Ok(())
}
