//! What the operator decided about routing.

use crate::shard::{BadShardMap, ShardFunction, ShardMap, Sharding};

/// What the operator decided about routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Whether reads may go to replicas at all.
    pub read_from_replicas: bool,
    /// How keys find their shard. `None` in a cluster without shards.
    pub sharding: Option<Sharding>,
}

impl RoutePolicy {
    /// Reads from replicas, and `shards` shards by `function` over `buckets` buckets (0 is one
    /// for each shard).
    ///
    /// # Errors
    /// [`BadShardMap`] when there are fewer buckets than shards, or too many.
    pub fn new(function: ShardFunction, buckets: u32, shards: u16) -> Result<Self, BadShardMap> {
        let sharding = match shards {
            0 => None,
            _ => Some(Sharding { function, map: ShardMap::even(buckets, shards)? }),
        };
        Ok(Self { read_from_replicas: true, sharding })
    }
}
