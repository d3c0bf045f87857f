//! What a cluster looks like at one moment: nodes, groups, and how each node is doing.
//!
//! In: a list of nodes, checked once. Out: immutable snapshots with a generation number.
//!
//! Health is part of the snapshot, and so is which node of a group is its primary: whoever holds
//! one never waits to read it. Who observes health and roles, and who publishes snapshots, is not
//! here.

mod error;
mod health;
mod node;

pub use error::TopologyError;
pub use health::{Circuit, NodeHealth, NodeState};
pub use node::{Node, NodeRole};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::id::{Generation, GroupId, NodeId, ShardId};

/// A primary and its replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Which group this is.
    pub id: GroupId,
    /// The node that takes writes: the one that was listed as such, or the one that was promoted
    /// in its place. While there is none, the last there was; see [`Topology::has_primary`].
    pub primary: NodeId,
    /// The other nodes, in the order they were listed. One of them may be fenced; see
    /// [`Topology::is_fenced`].
    pub replicas: Vec<NodeId>,
}

impl Group {
    /// The primary, then the others.
    pub fn members(&self) -> impl Iterator<Item = NodeId> + '_ {
        std::iter::once(self.primary).chain(self.replicas.iter().copied())
    }

    /// The same nodes under another primary.
    fn led_by(&self, primary: NodeId) -> Self {
        let mut replicas: Vec<NodeId> = self.members().filter(|id| *id != primary).collect();
        replicas.sort_unstable();
        Self { id: self.id, primary, replicas }
    }
}

/// One version of the cluster. Cheap to clone.
///
/// ```
/// use pgherd_core::topology::{Node, NodeRole, Topology};
/// use pgherd_core::{GroupId, ShardId};
///
/// let shard = Some(ShardId(0));
/// let topology = Topology::new(vec![
///     Node::new("main", "db.example.com", 5432, NodeRole::Coordinator, None),
///     Node::new("shard-0", "shard-0.example.com", 5432, NodeRole::Worker, shard),
///     Node::new("shard-0-r1", "shard-0-r1.example.com", 5432, NodeRole::Replica, shard),
/// ])?;
/// assert_eq!((topology.nodes().len(), topology.shard_count()), (3, 1));
/// assert_eq!(topology.node(topology.coordinator().primary).name, "main");
///
/// let group = topology.group(GroupId::Shard(ShardId(0))).unwrap();
/// assert_eq!(group, &topology.shards()[0]);
/// assert_eq!(topology.groups(), [topology.coordinator().clone(), group.clone()]);
/// assert!(topology.has_primary(group.id) && topology.has_replicas());
///
/// let replica = topology.node_named("shard-0-r1").unwrap().id;
/// assert_eq!(topology.role(replica), NodeRole::Replica);
/// assert_eq!(topology.group_of(replica).replicas, [replica]);
/// assert!(topology.is_readable_replica(replica) && topology.health(replica).is_healthy());
/// # Ok::<(), pgherd_core::topology::TopologyError>(())
/// ```
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
    ///
    /// ```
    /// use pgherd_core::topology::{Node, NodeHealth, NodeRole, NodeState, Topology};
    ///
    /// let node = |name: &str, role| Node::new(name, "db.example.com", 5432, role, None);
    /// let nodes = vec![node("main", NodeRole::Coordinator), node("main-r1", NodeRole::Replica)];
    /// let before = Topology::new(nodes)?;
    /// let replica = before.node_named("main-r1").unwrap().id;
    ///
    /// let down = NodeHealth { state: NodeState::Down, ..NodeHealth::unknown() };
    /// let after = before.with_health([(replica, down)]);
    /// assert!(after.generation() > before.generation());
    /// assert!(before.is_readable_replica(replica) && !after.is_readable_replica(replica));
    /// # Ok::<(), pgherd_core::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn with_health(&self, changes: impl IntoIterator<Item = (NodeId, NodeHealth)>) -> Self {
        self.observed(changes, [])
    }

    /// The next generation: the same nodes, these in another health, and these the primaries of
    /// their groups.
    ///
    /// Ids that are not part of this topology, or not of the group, are left out.
    ///
    /// ```
    /// use pgherd_core::GroupId;
    /// use pgherd_core::topology::{Node, NodeHealth, NodeRole, Topology};
    ///
    /// let node = |name: &str, role| Node::new(name, "db.example.com", 5432, role, None);
    /// let nodes = vec![node("main", NodeRole::Coordinator), node("main-r1", NodeRole::Replica)];
    /// let before = Topology::new(nodes)?;
    /// let (old, new) = (before.nodes()[0].id, before.nodes()[1].id);
    ///
    /// // Both take writes: the second was promoted, and the first is shut out.
    /// let primary = || NodeHealth { in_recovery: Some(false), ..NodeHealth::unknown() };
    /// let after = before.observed([(old, primary()), (new, primary())], [(GroupId::Coordinator, new)]);
    /// assert_eq!(after.coordinator().primary, new);
    /// assert!(after.is_fenced(old) && !after.is_fenced(new));
    /// # Ok::<(), pgherd_core::topology::TopologyError>(())
    /// ```
    #[must_use]
    pub fn observed(
        &self,
        changes: impl IntoIterator<Item = (NodeId, NodeHealth)>,
        primaries: impl IntoIterator<Item = (GroupId, NodeId)>,
    ) -> Self {
        let mut health = self.health.to_vec();
        for (id, new) in changes {
            if let Some(entry) = health.get_mut(id.index()) {
                *entry = new;
            }
        }
        let mut groups = Arc::clone(&self.groups);
        for (id, primary) in primaries {
            let is_new = |group: &&Group| group.replicas.contains(&primary);
            let led = self.group(id).filter(is_new).map(|group| group.led_by(primary));
            if let Some(led) = led {
                let others = groups.iter().filter(|group| group.id < id);
                let at = others.count();
                Arc::make_mut(&mut groups)[at] = led;
            }
        }
        let generation = self.generation.next();
        Self { generation, nodes: self.nodes.clone(), groups, health: health.into() }
    }

    /// This version's number. See [`Self::with_health`].
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

    /// What a node is to its group now, whatever it was configured as.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn role(&self, id: NodeId) -> NodeRole {
        match self.group_of(id) {
            group if group.primary != id => NodeRole::Replica,
            Group { id: GroupId::Coordinator, .. } => NodeRole::Coordinator,
            Group { id: GroupId::Shard(_), .. } => NodeRole::Worker,
        }
    }

    /// The group of a node.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn group_of(&self, id: NodeId) -> &Group {
        self.group(self.node(id).group()).expect("each node's group is in its topology")
    }

    /// Whether there is a node in this group that takes writes, as far as is known. `false` for a
    /// group that does not exist.
    pub fn has_primary(&self, id: GroupId) -> bool {
        self.group(id).is_some_and(|group| self.health(group.primary).takes_writes())
    }

    /// Whether a node is shut out: it was last seen to take writes, and another is the primary of
    /// its group. Nothing is sent to it until it is a standby. See [`Self::observed`].
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn is_fenced(&self, id: NodeId) -> bool {
        self.health(id).in_recovery == Some(false) && self.group_of(id).primary != id
    }

    /// Whether reads may be sent to this replica: it is in rotation and not fenced.
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
        if let Err(problem) = node.hosts() {
            return Err(TopologyError::Hosts { node: node.name.clone(), problem });
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
