//! What the operator decided about routing.

use crate::balance::Balance;
use crate::shard::{BadShardMap, ShardFunction, ShardMap, Sharding};

/// What the operator decided about routing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePolicy {
    /// Whether reads may go to replicas at all.
    pub read_from_replicas: bool,
    /// Whether reads go to the primary when no replica may be read.
    pub fall_back_to_primary: bool,
    /// How one of several replicas is picked.
    pub balance: Balance,
    /// The zone whose replicas come first.
    pub zone: Option<String>,
    /// Borrowed backends at which a replica of the zone has no room for more; when none has,
    /// the others are used too.
    pub zone_limit: u32,
    /// How keys find their shard. `None` in a cluster without shards.
    pub sharding: Option<Sharding>,
}

impl RoutePolicy {
    /// Reads from replicas in turn, else from the primary, and `shards` shards by `function`
    /// over `buckets` buckets (0 is one for each shard).
    ///
    /// # Errors
    /// [`BadShardMap`] when there are fewer buckets than shards, or too many.
    pub fn new(function: ShardFunction, buckets: u32, shards: u16) -> Result<Self, BadShardMap> {
        let sharding = match shards {
            0 => None,
            _ => Some(Sharding { function, map: ShardMap::even(buckets, shards)? }),
        };
        Ok(Self {
            read_from_replicas: true,
            fall_back_to_primary: true,
            balance: Balance::default(),
            zone: None,
            zone_limit: u32::MAX,
            sharding,
        })
    }
}
