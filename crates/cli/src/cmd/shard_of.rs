//! `pgherd shard-of`: tells the shard of each key.

use std::io::{self, Write};

use clap::Args;
use pgherd_core::shard::{KeyType, ShardFunction, ShardMap, Sharding};
use pgherd_core::{Key, ShardId};

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
        let mut out = io::stdout().lock();
        for shard in self.shards()? {
            writeln!(out, "{shard}")?;
        }
        Ok(())
    }

    fn shards(&self) -> anyhow::Result<Vec<ShardId>> {
        let map = ShardMap::even(self.buckets, self.shards)?;
        let sharding = Sharding { function: self.function, map };
        let shard = |key: &String| -> anyhow::Result<ShardId> {
            Ok(sharding.shard_of(&Key::parse(self.key_type, key)?))
        };
        self.keys.iter().map(shard).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        command: ShardOf,
    }

    fn shards(arguments: &[&str]) -> Result<Vec<u16>, String> {
        let arguments = std::iter::once(&"shard-of").chain(arguments);
        let program = Program::try_parse_from(arguments).map_err(|error| error.to_string())?;
        let shards = program.command.shards().map_err(|error| error.to_string())?;
        Ok(shards.into_iter().map(|shard| shard.0).collect())
    }

    /// As Python answers: `int(hashlib.md5(str(key).encode()).hexdigest(), 16) % 4`.
    #[test]
    fn negative_numbers_and_the_empty_text_are_keys() {
        let keys = ["0", "123", "-7", "alice", "żółw", ""];
        let plain = [&["--shards", "4"], &keys[..]].concat();
        assert_eq!(shards(&plain), Ok(vec![2, 0, 1, 0, 1, 2]));
        let behind_hyphens = [&["--shards", "4", "--"], &keys[..]].concat();
        assert_eq!(shards(&behind_hyphens), Ok(vec![2, 0, 1, 0, 1, 2]));
    }

    #[test]
    fn the_type_of_the_column_decides_for_postgres() {
        let of = |key_type| {
            let options = ["--shards", "7", "--function", "postgres", "--type", key_type];
            shards(&[&options[..], &["0", "1", "42", "-7"]].concat())
        };
        assert_eq!(of("int8"), Ok(vec![4, 5, 0, 3]));
        assert_ne!(of("text"), of("int8"));
    }

    #[test]
    fn a_wrong_key_is_named() {
        let error = shards(&["--shards", "2", "--type", "int4", "1", "alice"]).unwrap_err();
        assert!(error.starts_with("key `alice` is not an int4"), "{error}");
        assert!(shards(&["--shards", "0", "1"]).is_err());
        assert!(shards(&["--shards", "2"]).is_err());
    }
}
