//! One PostgreSQL server.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::hosts::{self, BadHosts, Host};
use crate::id::{GroupId, NodeId, ShardId};
use crate::settings::HostBalance;

/// What a node is to its group.
///
/// ```
/// use pgherd_core::NodeRole;
///
/// assert_eq!("replica".parse(), Ok(NodeRole::Replica));
/// assert_eq!(NodeRole::Worker.as_str(), "worker");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// The primary of the coordinator's group.
    Coordinator,
    /// The primary of a shard.
    Worker,
    /// A standby, of the coordinator or of a shard.
    Replica,
}

impl NodeRole {
    /// The word used in settings and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Replica => "replica",
        }
    }
}

impl fmt::Display for NodeRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of coordinator, worker, replica")]
pub struct BadRole(String);

impl FromStr for NodeRole {
    type Err = BadRole;

    fn from_str(word: &str) -> Result<Self, BadRole> {
        [Self::Coordinator, Self::Worker, Self::Replica]
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| BadRole(word.to_owned()))
    }
}

/// One PostgreSQL server.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Node {
    /// Its index in the topology. Given by [`Topology::new`](super::Topology::new).
    pub id: NodeId,
    /// What people call it. Unique in a cluster.
    pub name: String,
    /// Host name, address, or Unix socket; or several, see [`Self::hosts`].
    pub host: String,
    /// TCP port, for hosts that have none.
    pub port: u16,
    /// What it is to its group, as configured; see [`Topology::role`](super::Topology::role) for
    /// what it is now.
    pub role: NodeRole,
    /// The shard it carries. `None` for the coordinator and its replicas.
    pub shard: Option<ShardId>,
    /// Its part of the reads, beside that of the other replicas of its group.
    pub weight: u32,
    /// Where it stands: replicas of the reader's own zone come first.
    pub zone: Option<String>,
    /// How new backends are spread over its addresses.
    pub balance: HostBalance,
}

impl Node {
    /// A node that is not part of a topology yet, of weight 1 and in no zone, whose addresses are used
    /// in turn; its id is a placeholder.
    pub fn new(
        name: impl Into<String>,
        host: impl Into<String>,
        port: u16,
        role: NodeRole,
        shard: Option<ShardId>,
    ) -> Self {
        let (id, name, host) = (NodeId(0), name.into(), host.into());
        let balance = HostBalance::RoundRobin;
        Self { id, name, host, port, role, shard, weight: 1, zone: None, balance }
    }

    /// The hosts that lead to it.
    ///
    /// # Errors
    /// What is wrong with the list; never for a node that is part of a topology.
    pub fn hosts(&self) -> Result<Vec<Host>, BadHosts> {
        hosts::read(&self.host, self.port)
    }

    /// The group it belongs to.
    pub fn group(&self) -> GroupId {
        self.shard.map_or(GroupId::Coordinator, GroupId::Shard)
    }
}
