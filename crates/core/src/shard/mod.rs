//! Where a key lives.
//!
//! In: a key, a named function, a map of buckets. Out: the bucket and its shard.
//!
//! `bucket = hash(key) mod buckets`, `shard = map[bucket]`. A change to what a function
//! computes is a data-loss bug: the vectors in the tests are published and final.

mod key;
mod map;
pub mod md5;
pub mod postgres;

pub use key::{BadKey, BadKeyType, BadUuid, Key, KeyType, Uuid};
pub use map::{BadShardMap, ShardMap};

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::id::ShardId;

/// The functions that turn a key into a bucket.
///
/// ```
/// use pgherd_core::Key;
/// use pgherd_core::shard::ShardFunction;
///
/// // md5('alice') ends in 3c, and 0x3c mod 4 is 0.
/// assert_eq!(ShardFunction::Md5.bucket(&Key::from("alice"), 4), 0);
/// assert_eq!("postgres".parse(), Ok(ShardFunction::Postgres));
/// assert_eq!(ShardFunction::Postgres.as_str(), "postgres");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ShardFunction {
    /// MD5 of the key's text, as a big-endian unsigned integer, modulo buckets.
    #[default]
    Md5,
    /// What `PARTITION BY HASH` computes, modulo buckets.
    Postgres,
}

impl ShardFunction {
    /// The word used in settings and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Md5 => "md5",
            Self::Postgres => "postgres",
        }
    }

    /// The bucket of a key, from 0 to `buckets - 1`.
    ///
    /// # Panics
    /// If `buckets` is 0; a [`ShardMap`] never has 0.
    pub fn bucket(self, key: &Key, buckets: u32) -> u32 {
        match self {
            Self::Md5 => md5::bucket(key, buckets),
            Self::Postgres => postgres::bucket(key, buckets),
        }
    }
}

impl fmt::Display for ShardFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no sharding function.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of md5, postgres")]
pub struct BadShardFunction(String);

impl FromStr for ShardFunction {
    type Err = BadShardFunction;

    fn from_str(word: &str) -> Result<Self, BadShardFunction> {
        [Self::Md5, Self::Postgres]
            .into_iter()
            .find(|function| function.as_str() == word)
            .ok_or_else(|| BadShardFunction(word.to_owned()))
    }
}

/// A function and a map: all it takes to find a key's shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sharding {
    /// Turns a key into a bucket.
    pub function: ShardFunction,
    /// Turns a bucket into a shard.
    pub map: ShardMap,
}

impl Sharding {
    /// The shard where a key lives.
    pub fn shard_of(&self, key: &Key) -> ShardId {
        self.map.shard(self.function.bucket(key, self.map.buckets()))
    }
}

#[cfg(test)]
mod tests;
