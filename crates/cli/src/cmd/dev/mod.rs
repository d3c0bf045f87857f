//! `pgherd dev`: a cluster of real PostgreSQL servers to try things on.
//!
//! The servers live on when the command ends, and `down` ends them. Their folder is the only
//! thing that knows of them.

mod table;
mod up;

use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use pgherd_lab::Cluster;
use pgherd_lab::node::StopMode;

use table::Row;
use up::Up;

/// Run a cluster of real PostgreSQL servers to try things on
#[derive(Debug, Args)]
pub(crate) struct Dev {
    /// The cluster's folder
    #[arg(long, global = true, value_name = "DIR", default_value = ".pgherd-dev")]
    dir: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Up(Up),
    /// Show every node: what it is, where it listens, how it is
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Open psql on a node, as superuser
    Psql {
        /// The node
        node: String,
        /// Arguments for psql, behind `--`
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Kill a node's processes with SIGKILL; `restart` brings it back
    Kill(NodeName),
    /// Freeze a node's processes with SIGSTOP: connections stay open and nothing answers
    Stop(NodeName),
    /// Let a frozen node go on, with SIGCONT
    Cont(NodeName),
    /// Stop a node, if it runs, and start it
    Restart(NodeName),
    /// Make a replica a primary
    Promote(NodeName),
    /// Print what a node has logged
    Logs(NodeName),
    /// End the cluster: its servers stop and its folder is removed
    Down,
}

#[derive(Debug, Args)]
struct NodeName {
    /// The node, as `pgherd dev status` names it
    node: String,
}

impl Dev {
    /// Does one thing to the cluster and returns; the servers live on.
    pub(crate) fn run(self) -> Result<()> {
        let dir = &self.dir;
        match self.action {
            Action::Up(up) => up.run(dir),
            Action::Status { json } => print(&attach(dir)?, json),
            Action::Psql { node, args } => psql(dir, &node, &args),
            Action::Kill(name) => attach(dir)?.node(&name.node)?.kill(),
            Action::Stop(name) => attach(dir)?.node(&name.node)?.freeze(),
            Action::Cont(name) => attach(dir)?.node(&name.node)?.thaw(),
            Action::Restart(name) => attach(dir)?.node(&name.node)?.restart(StopMode::Fast),
            Action::Promote(name) => attach(dir)?.node(&name.node)?.promote(),
            Action::Logs(name) => {
                let cluster = attach(dir)?;
                Ok(io::stdout().write_all(cluster.node(&name.node)?.logs().as_bytes())?)
            }
            Action::Down => attach(dir)?.destroy(),
        }
    }
}

fn attach(dir: &Path) -> Result<Cluster> {
    if !Cluster::is_in(dir) {
        bail!(
            "no cluster in {}: `pgherd dev up` brings one up, --dir names another",
            dir.display()
        );
    }
    Cluster::attach(dir)
}

fn print(cluster: &Cluster, json: bool) -> Result<()> {
    let rows: Vec<Row> = cluster.nodes().iter().map(Row::of).collect();
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        table::print(&mut out, &rows)?;
    }
    Ok(())
}

fn psql(dir: &Path, node: &str, args: &[String]) -> Result<()> {
    let mut psql = attach(dir)?.node(node)?.psql_command();
    // Becomes psql, so that the terminal and its Ctrl-C are psql's.
    Err(psql.args(args).exec()).context("cannot run psql")
}
