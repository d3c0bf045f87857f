//! Which shard holds which bucket.

use std::num::NonZeroU32;

use crate::id::ShardId;

/// Why a list of shards is not a map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BadShardMap {
    /// There is nothing to map to.
    #[error("a shard map needs at least one shard")]
    NoShards,
    /// Some shard would stay empty.
    #[error("{buckets} buckets are fewer than {shards} shards: some shards would stay empty")]
    TooFewBuckets {
        /// Buckets asked for.
        buckets: u32,
        /// Shards there are.
        shards: u16,
    },
    /// More buckets than the limit.
    #[error("{buckets} buckets are more than {}", ShardMap::MAX_BUCKETS)]
    TooManyBuckets {
        /// Buckets asked for.
        buckets: u64,
    },
}

/// Which shard holds which bucket. Has at least one bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    buckets: NonZeroU32,
    map: Vec<ShardId>,
}

impl ShardMap {
    /// 1,048,576: 2 MiB of map, and far more than anyone moves one by one.
    pub const MAX_BUCKETS: u32 = 1 << 20;

    /// A map with shard `i mod shards` for bucket `i`. 0 buckets means one for each shard.
    ///
    /// # Errors
    /// [`BadShardMap`] without shards, with fewer buckets than shards, or with too many.
    pub fn even(buckets: u32, shards: u16) -> Result<Self, BadShardMap> {
        let buckets = if buckets == 0 { u32::from(shards) } else { buckets };
        if shards == 0 {
            return Err(BadShardMap::NoShards);
        }
        if buckets < u32::from(shards) {
            return Err(BadShardMap::TooFewBuckets { buckets, shards });
        }
        if buckets > Self::MAX_BUCKETS {
            return Err(BadShardMap::TooManyBuckets { buckets: u64::from(buckets) });
        }
        let turn = (0..shards).map(ShardId).cycle();
        Self::new(turn.zip(0..buckets).map(|(shard, _)| shard).collect())
    }

    /// A map with the shard of each bucket, by bucket.
    ///
    /// # Errors
    /// [`BadShardMap`] when the list is empty or too long.
    pub fn new(map: Vec<ShardId>) -> Result<Self, BadShardMap> {
        let too_many = || BadShardMap::TooManyBuckets { buckets: map.len() as u64 };
        let buckets = u32::try_from(map.len()).map_err(|_| too_many())?;
        if buckets > Self::MAX_BUCKETS {
            return Err(too_many());
        }
        let buckets = NonZeroU32::new(buckets).ok_or(BadShardMap::NoShards)?;
        Ok(Self { buckets, map })
    }

    /// The number of buckets.
    pub fn buckets(&self) -> u32 {
        self.buckets.get()
    }

    /// The shard that holds a bucket.
    ///
    /// # Panics
    /// If there is no such bucket; [`Self::get`] answers instead.
    pub fn shard(&self, bucket: u32) -> ShardId {
        self.get(bucket).expect("a bucket is computed modulo the number of buckets")
    }

    /// The shard that holds a bucket, if there is such a bucket.
    pub fn get(&self, bucket: u32) -> Option<ShardId> {
        self.map.get(bucket as usize).copied()
    }
}
