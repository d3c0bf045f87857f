//! The names things go by inside one process.
//!
//! Plain numbers with a type each, so that a shard is never taken for a node.

use std::fmt;

use serde::Serialize;

/// A node, by its index in the [`Topology`](crate::topology::Topology) that holds it.
///
/// Stays the same over the generations of one topology. Prints as `node 3`; people are better
/// served by [`Node::name`](crate::topology::Node::name).
///
/// ```
/// use pgherd_core::NodeId;
///
/// assert_eq!((NodeId(3).index(), NodeId(3).to_string()), (3, "node 3".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct NodeId(pub u16);

impl NodeId {
    /// The index into [`Topology::nodes`](crate::topology::Topology::nodes).
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "node {}", self.0)
    }
}

/// A shard. Shards are numbered from 0 without gaps. Prints as the bare number.
///
/// ```
/// use pgherd_core::ShardId;
///
/// assert_eq!((ShardId(2).index(), ShardId(2).to_string()), (2, "2".to_owned()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The index into [`Topology::shards`](crate::topology::Topology::shards).
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A group: a primary and its replicas. Prints as `coordinator` or `shard 2`.
///
/// ```
/// use pgherd_core::{GroupId, ShardId};
///
/// assert_eq!(GroupId::Shard(ShardId(2)).to_string(), "shard 2");
/// assert_eq!(GroupId::Shard(ShardId(2)).shard(), Some(ShardId(2)));
/// assert_eq!(GroupId::Coordinator.shard(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupId {
    /// The group of the coordinator.
    Coordinator,
    /// The group of one shard.
    Shard(ShardId),
}

impl GroupId {
    /// The shard, unless this is the coordinator's group.
    pub fn shard(self) -> Option<ShardId> {
        match self {
            Self::Coordinator => None,
            Self::Shard(shard) => Some(shard),
        }
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Coordinator => f.write_str("coordinator"),
            Self::Shard(shard) => write!(f, "shard {shard}"),
        }
    }
}

/// Counts the versions of a topology: a higher one is newer. Prints as the bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_as_people_say_them() {
        assert_eq!(NodeId(3).to_string(), "node 3");
        assert_eq!(ShardId(2).to_string(), "2");
        assert_eq!(GroupId::Coordinator.to_string(), "coordinator");
        assert_eq!(GroupId::Shard(ShardId(2)).to_string(), "shard 2");
        assert_eq!(Generation(7).next().to_string(), "8");
    }
}
