//! The arguments of the program.

use clap::{Parser, Subcommand};

use crate::cmd::convert::Convert;
use crate::cmd::demo::Demo;
use crate::cmd::dev::Dev;
use crate::cmd::init::Init;
use crate::cmd::pgbouncer::Pgbouncer;
use crate::cmd::pgbouncer_config::PgbouncerConfig;
use crate::cmd::route::Route;
use crate::cmd::serve::Serve;
use crate::cmd::shard_of::ShardOf;
use crate::cmd::txn::Txn;

/// A herd of PostgreSQL servers behind one door
#[derive(Debug, Parser)]
#[command(name = "pgherd", version, propagate_version = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One variant per command, each with a file of its own in `cmd/`.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Convert(Convert),
    Demo(Demo),
    Dev(Dev),
    Init(Init),
    Pgbouncer(Pgbouncer),
    PgbouncerConfig(PgbouncerConfig),
    Route(Route),
    Serve(Serve),
    ShardOf(ShardOf),
    Txn(Txn),
}

impl Command {
    /// Does what the command says.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Convert(command) => command.run(),
            Self::Demo(command) => command.run(),
            Self::Dev(command) => command.run(),
            Self::Init(command) => command.run(),
            Self::Pgbouncer(command) => command.run(),
            Self::PgbouncerConfig(command) => command.run(),
            Self::Route(command) => command.run(),
            Self::Serve(command) => command.run(),
            Self::ShardOf(command) => command.run(),
            Self::Txn(command) => command.run(),
        }
    }
}
