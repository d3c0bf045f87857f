//! `pgherd txn`: what transactions over several shards have left prepared, and an end to it.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use pgherd::{DistributedPool, LeftTransaction, LeftTransactions, Resolve as Ending};

use crate::settings;

/// List what transactions over several shards have left prepared, and finish it by hand
///
/// Recovery, in every program that uses pgherd, does this by itself. By hand it is for a
/// transaction that cannot wait, or whose decision is lost.
#[derive(Debug, Args)]
pub(crate) struct Txn {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(List),
    Resolve(Resolve),
}

/// List prepared transactions of this cluster: where, since when, what was decided, what comes next
#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    cluster: Cluster,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Finish one prepared transaction on every shard, as it was decided
///
/// What contradicts a decision is refused, and so is a commit that was never decided: the part of
/// the shard that decides is not there then.
#[derive(Debug, Args)]
struct Resolve {
    #[command(flatten)]
    cluster: Cluster,
    /// The transaction, as `list` prints it, or a name that a shard has prepared it under
    gid: String,
    /// Commit it; refused unless that was decided
    #[arg(long, conflicts_with = "rollback")]
    commit: bool,
    /// Roll it back, also before transactions.grace is over; refused if it was decided to commit
    #[arg(long)]
    rollback: bool,
    /// The shard that decides will never come back with what it knows: let --commit or --rollback
    /// be the decision
    ///
    /// Nobody can tell then whether every shard had prepared it, so that --commit may commit a part
    /// of it: --rollback is the safe one. It is refused where a shard has committed its part.
    #[arg(long)]
    decision_is_lost: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Cluster {
    /// The settings file; without one, the environment (COORDINATOR_HOST and others)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Log in as this role, with the password in $PGPASSWORD, and not as that of the settings
    ///
    /// Only a member of the role that owns a transaction can finish it.
    #[arg(long, value_name = "ROLE")]
    user: Option<String>,
}

impl Txn {
    /// Prints what was found, or what was done.
    pub(crate) fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            match self.command {
                Command::List(command) => command.run().await,
                Command::Resolve(command) => command.run().await,
            }
        })
    }
}

impl Cluster {
    fn pool(self) -> Result<DistributedPool> {
        let settings = settings::load(self.config.as_deref())?
            .context("no cluster: name a settings file with --config, or set COORDINATOR_HOST")?;
        Ok(DistributedPool::from_settings(settings::with_login(settings, self.user))?)
    }
}

impl List {
    async fn run(self) -> Result<()> {
        let pool = self.cluster.pool()?;
        let left = pool.left_transactions().await;
        pool.close().await;
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(&left)?)?;
        } else {
            print(&mut out, &left)?;
        }
        if !left.problems.is_empty() {
            bail!("not every shard could be looked at: {}", left.problems.join("; "));
        }
        Ok(())
    }
}

fn print(out: &mut impl Write, left: &LeftTransactions) -> io::Result<()> {
    if left.transactions.is_empty() && left.problems.is_empty() {
        return writeln!(out, "nothing is prepared");
    }
    for one in &left.transactions {
        let LeftTransaction { gid, owner, age_seconds, anchor, decision, recovery, .. } = one;
        writeln!(out, "{gid}")?;
        writeln!(out, "  owner      {owner}")?;
        writeln!(out, "  age        {age_seconds} s")?;
        for part in &one.prepared {
            writeln!(out, "  prepared   on {} as {}", part.node, part.gid)?;
        }
        for shard in &one.committed {
            writeln!(out, "  committed  on shard {shard}")?;
        }
        writeln!(out, "  decision   {decision}; shard {anchor} decides")?;
        writeln!(out, "  recovery   {recovery}")?;
    }
    Ok(())
}

impl Resolve {
    async fn run(self) -> Result<()> {
        let pool = self.cluster.pool()?;
        let how = match (self.commit, self.rollback) {
            (true, _) => Ending::Commit,
            (_, true) => Ending::RollBack,
            _ => Ending::AsDecided,
        };
        let resolved = pool.resolve(&self.gid, how, self.decision_is_lost).await;
        pool.close().await;
        let resolved = resolved?;
        let mut out = io::stdout().lock();
        if self.json {
            return Ok(writeln!(out, "{}", serde_json::to_string_pretty(&resolved)?)?);
        }
        let verb = if resolved.is_committed { "committed" } else { "rolled back" };
        for part in &resolved.finished {
            writeln!(out, "{}: {verb} {}", part.node, part.gid)?;
        }
        Ok(())
    }
}
