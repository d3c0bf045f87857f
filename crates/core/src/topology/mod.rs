//! What a cluster looks like at one moment: nodes, groups, and how each node is doing.
//!
//! In: a list of nodes, checked once. Out: immutable snapshots with a generation number.
//!
//! Health is part of the snapshot, so whoever holds one never waits to read it. Who observes
//! health, and who publishes snapshots, is not here.

mod error;
mod health;
mod node;

pub use error::TopologyError;
pub use health::{NodeHealth, NodeState};
pub use node::{Node, NodeRole};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::id::{Generation, GroupId, NodeId, ShardId};

/// A primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which group this is.
    pub id: GroupId,
    /// The node that takes writes.
    pub primary: NodeId,
    /// The nodes that replicate it, in the order they were listed.
    pub replicas: Vec<NodeId>,
}

/// One version of the cluster. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Topology {
    generation: Generation,
    nodes: Arc<[Node]>,
    // The coordinator's group first, then the shards by number.
    groups: Arc<[Group]>,
    health: Arc<[NodeHealth]>,
}

impl Topology {
    /// Puts nodes into groups. Node ids are given in the order of the list; every node's
    /// health is unknown at first, which counts as healthy.
    ///
    /// # Errors
    /// [`TopologyError`] unless there is exactly one coordinator, one worker for each shard,
    /// shards are numbered from 0 without gaps, each replica follows an existing group and
    /// names are unique.
    pub fn new(nodes: Vec<Node>) -> Result<Self, TopologyError> {
        if nodes.len() > usize::from(u16::MAX) {
            return Err(TopologyError::TooManyNodes { nodes: nodes.len() });
        }
        let mut nodes = nodes;
        for (id, node) in (0..).map(NodeId).zip(&mut nodes) {
            node.id = id;
        }
        check_names(&nodes)?;
        let groups = group(&nodes)?;
        let health = nodes.iter().map(|_| NodeHealth::unknown()).collect();
        Ok(Self { generation: Generation(1), nodes: nodes.into(), groups: groups.into(), health })
    }

    /// The next generation: the same nodes, and these in another health.
    ///
    /// Ids that are not part of this topology are left out.
    #[must_use]
    pub fn with_health(&self, changes: impl IntoIterator<Item = (NodeId, NodeHealth)>) -> Self {
        let mut health = self.health.to_vec();
        for (id, new) in changes {
            if let Some(entry) = health.get_mut(id.index()) {
                *entry = new;
            }
        }
        Self { generation: self.generation.next(), health: health.into(), ..self.clone() }
    }

    /// This version's number.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// All nodes, in the order of their ids.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The node that goes by this name.
    pub fn node_named(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// How a node is doing.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn health(&self, id: NodeId) -> &NodeHealth {
        &self.health[id.index()]
    }

    /// All groups: the coordinator's first, then the shards by number.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// One group, if it exists.
    pub fn group(&self, id: GroupId) -> Option<&Group> {
        match id {
            GroupId::Coordinator => self.groups.first(),
            GroupId::Shard(shard) => self.groups.get(shard.index() + 1),
        }
    }

    /// The coordinator's group.
    pub fn coordinator(&self) -> &Group {
        &self.groups[0]
    }

    /// The groups of the shards, by number.
    pub fn shards(&self) -> &[Group] {
        &self.groups[1..]
    }

    /// The number of shards.
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards().len()).expect("there are at most as many shards as nodes")
    }

    /// Whether reads may be sent to this replica: it is in rotation, and it has not been seen
    /// to have left recovery (then it is a primary of something else).
    pub fn is_readable_replica(&self, id: NodeId) -> bool {
        let health = self.health(id);
        health.is_healthy() && health.in_recovery != Some(false)
    }

    /// Whether any group has a replica.
    pub fn has_replicas(&self) -> bool {
        self.groups.iter().any(|group| !group.replicas.is_empty())
    }
}

fn check_names(nodes: &[Node]) -> Result<(), TopologyError> {
    let mut names = HashSet::new();
    for node in nodes {
        if node.name.is_empty() {
            return Err(TopologyError::NoName { host: node.host.clone(), port: node.port });
        }
        if node.host.is_empty() {
            return Err(TopologyError::NoHost { node: node.name.clone() });
        }
        if !names.insert(node.name.as_str()) {
            return Err(TopologyError::NameTwice { name: node.name.clone() });
        }
    }
    Ok(())
}

fn group(nodes: &[Node]) -> Result<Vec<Group>, TopologyError> {
    let mut coordinator: Option<&Node> = None;
    let mut workers: HashMap<ShardId, &Node> = HashMap::new();
    for node in nodes {
        match (node.role, node.shard) {
            (NodeRole::Coordinator, None) => {
                if let Some(first) = coordinator.replace(node) {
                    let (first, second) = (first.name.clone(), node.name.clone());
                    return Err(TopologyError::CoordinatorTwice { first, second });
                }
            }
            (NodeRole::Coordinator, Some(shard)) => {
                return Err(TopologyError::CoordinatorWithShard { node: node.name.clone(), shard });
            }
            (NodeRole::Worker, Some(shard)) => {
                if let Some(first) = workers.insert(shard, node) {
                    let (first, second) = (first.name.clone(), node.name.clone());
                    return Err(TopologyError::WorkerTwice { shard, first, second });
                }
            }
            (NodeRole::Worker, None) => {
                return Err(TopologyError::WorkerWithoutShard { node: node.name.clone() });
            }
            (NodeRole::Replica, _) => {}
        }
    }
    let coordinator = coordinator.ok_or(TopologyError::NoCoordinator)?;
    let mut groups =
        vec![Group { id: GroupId::Coordinator, primary: coordinator.id, replicas: Vec::new() }];
    for shard in (0..).map(ShardId).take(workers.len()) {
        let Some(worker) = workers.get(&shard) else {
            return Err(TopologyError::ShardMissing { shard, shards: workers.len() });
        };
        groups.push(Group { id: GroupId::Shard(shard), primary: worker.id, replicas: Vec::new() });
    }
    for node in nodes.iter().filter(|node| node.role == NodeRole::Replica) {
        let index = node.shard.map_or(0, |shard| shard.index() + 1);
        match (groups.get_mut(index), node.shard) {
            (Some(group), _) => group.replicas.push(node.id),
            (None, shard) => {
                return Err(TopologyError::ReplicaOfNothing {
                    node: node.name.clone(),
                    shard: shard.expect("the coordinator's group is always there"),
                });
            }
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests;
