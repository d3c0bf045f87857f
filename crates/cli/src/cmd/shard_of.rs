//! `pgherd shard-of`: tells the shard of each key.

use std::io::{self, Write};

use clap::Args;
use pgherd_core::Key;
use pgherd_core::shard::{KeyType, ShardFunction, ShardMap, Sharding};

/// Tell which shard each key lives on, one a line
#[derive(Debug, Args)]
pub(crate) struct ShardOf {
    /// The sharding function: md5 or postgres
    #[arg(long, default_value = "md5")]
    function: ShardFunction,
    /// The type of the keys' column: int4, int8, text, uuid or bytea
    ///
    /// With md5 numbers hash by their decimal text, so text gives the same answer for them;
    /// with postgres the type matters.
    #[arg(long = "type", value_name = "TYPE", default_value = "text")]
    key_type: KeyType,
    /// The number of shards
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    shards: u16,
    /// Slots of the shard map; 0 is one for each shard
    #[arg(long, default_value_t = 0)]
    buckets: u32,
    /// The keys; behind `--`, also those that begin with a hyphen and are no number
    #[arg(required = true, allow_negative_numbers = true, value_name = "KEY")]
    keys: Vec<String>,
}

impl ShardOf {
    /// Prints a shard a line, or nothing if any key is wrong.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let map = ShardMap::even(self.buckets, self.shards)?;
        let sharding = Sharding { function: self.function, map };
        let shards = self
            .keys
            .iter()
            .map(|key| Key::parse(self.key_type, key).map(|key| sharding.shard_of(&key)));
        let shards = shards.collect::<Result<Vec<_>, _>>()?;
        let mut out = io::stdout().lock();
        for shard in shards {
            writeln!(out, "{shard}")?;
        }
        Ok(())
    }
}
