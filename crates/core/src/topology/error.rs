//! Why a list of nodes is not a cluster.

use crate::hosts::BadHosts;
use crate::id::ShardId;

/// Why a list of nodes is not a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// More nodes than ids.
    #[error("{nodes} nodes are more than the 65535 that one cluster may have")]
    TooManyNodes {
        /// How many were listed.
        nodes: usize,
    },
    /// A node has no name.
    #[error("the node at {host}:{port} has no name")]
    NoName {
        /// Its host.
        host: String,
        /// Its port.
        port: u16,
    },
    /// A node has no host.
    #[error("node `{node}` has no host")]
    NoHost {
        /// Its name.
        node: String,
    },
    /// A node's list of hosts is none.
    #[error("host of node `{node}`: {problem}")]
    Hosts {
        /// Its name.
        node: String,
        /// What is wrong.
        problem: BadHosts,
    },
    /// Two nodes have one name.
    #[error("two nodes are called `{name}`")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// No node is the coordinator.
    #[error("no node has the role `coordinator`")]
    NoCoordinator,
    /// Two nodes are the coordinator.
    #[error("`{first}` and `{second}` both have the role `coordinator`; a standby is a `replica`")]
    CoordinatorTwice {
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The coordinator carries a shard.
    #[error("coordinator `{node}` carries shard {shard}; only workers and their replicas do")]
    CoordinatorWithShard {
        /// Its name.
        node: String,
        /// The shard.
        shard: ShardId,
    },
    /// A worker carries no shard.
    #[error("worker `{node}` does not say which shard it carries")]
    WorkerWithoutShard {
        /// Its name.
        node: String,
    },
    /// Two workers carry one shard.
    #[error("workers `{first}` and `{second}` both carry shard {shard}; a standby is a `replica`")]
    WorkerTwice {
        /// The shard.
        shard: ShardId,
        /// One of them.
        first: String,
        /// The other.
        second: String,
    },
    /// The shards' numbers have a gap.
    #[error("shard {shard} has no worker: {shards} shards are numbered 0 to {}", shards - 1)]
    ShardMissing {
        /// The first number that is missing.
        shard: ShardId,
        /// How many workers there are.
        shards: usize,
    },
    /// A replica follows a shard without a worker.
    #[error("replica `{node}` follows shard {shard}, which has no worker")]
    ReplicaOfNothing {
        /// The replica's name.
        node: String,
        /// The shard it names.
        shard: ShardId,
    },
}

impl TopologyError {
    /// The name of the node to blame, if it is one.
    pub fn node(&self) -> Option<&str> {
        match self {
            Self::NoHost { node }
            | Self::Hosts { node, .. }
            | Self::CoordinatorWithShard { node, .. }
            | Self::WorkerWithoutShard { node }
            | Self::ReplicaOfNothing { node, .. } => Some(node),
            Self::NameTwice { name } => Some(name),
            Self::CoordinatorTwice { second, .. } | Self::WorkerTwice { second, .. } => {
                Some(second)
            }
            Self::TooManyNodes { .. }
            | Self::NoName { .. }
            | Self::NoCoordinator
            | Self::ShardMissing { .. } => None,
        }
    }
}
