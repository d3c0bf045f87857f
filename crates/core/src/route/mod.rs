//! Chooses the node that runs a statement.
//!
//! In: a [`QuerySpec`], the [`SessionState`], a [`Topology`] snapshot, the [`RoutePolicy`],
//! the [`Loads`]. Out: a [`Route`] with the rule that decided, or a [`RouteError`].
//!
//! Reads no clock, socket or global: the same input always gives the same route. Health is part
//! of the snapshot, so routing never waits; nothing is allocated.

mod only;
mod own_writes;
mod policy;
mod rule;
mod token;

pub use only::OnlyRoutes;
pub use own_writes::OwnWrites;
pub use policy::RoutePolicy;
pub use rule::Rule;
pub use token::{BadToken, WriteToken};

use crate::balance::{Balancer, Candidate};
use crate::id::{GroupId, NodeId, ShardId};
use crate::shard::Key;
use crate::sql::QueryType;
use crate::topology::{Group, NodeRole, Topology};

/// What names the shard of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardBy {
    /// A key, to be hashed.
    Key(Key),
    /// A bucket of the shard map.
    Bucket(u32),
    /// The shard itself.
    Shard(ShardId),
}

/// What is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuerySpec {
    /// What kind of statement it is.
    pub query_type: QueryType,
    /// Which shard it concerns, if it names one.
    pub shard_by: Option<ShardBy>,
}

impl QuerySpec {
    /// A statement that names no shard.
    pub fn new(query_type: QueryType) -> Self {
        Self { query_type, shard_by: None }
    }

    /// The same statement on the shard of a key.
    #[must_use]
    pub fn with_key(self, key: impl Into<Key>) -> Self {
        Self { shard_by: Some(ShardBy::Key(key.into())), ..self }
    }
}

/// What a session is bound to already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SessionState<'a> {
    /// The node of the open transaction: all its statements run there.
    pub in_transaction: Option<NodeId>,
    /// The node that holds state of the session which cannot be moved.
    pub pinned: Option<NodeId>,
    /// What it has to find again on the replicas it reads from.
    pub own_writes: Option<&'a OwnWrites>,
}

impl SessionState<'_> {
    /// Whether it may read from this replica: one that has its own writes, in rotation and not
    /// fenced.
    fn may_read_from(&self, replica: NodeId, group: GroupId, topology: &Topology) -> bool {
        let has_own = |own: &OwnWrites| own.are_on(group, topology.health(replica));
        topology.is_readable_replica(replica) && self.own_writes.is_none_or(has_own)
    }
}

/// What nodes have to do. Changes with every statement, and so is no part of the snapshot.
#[derive(Clone, Copy)]
pub struct Loads<'a> {
    /// Whose turn it is, and how fast nodes are.
    pub balancer: &'a Balancer,
    /// The backends of a node that are borrowed now.
    pub busy: &'a dyn Fn(NodeId) -> u32,
}

/// Where a statement runs.
///
/// ```
/// use pgherd_core::balance::Balancer;
/// use pgherd_core::route::{Loads, QuerySpec, RoutePolicy, SessionState, route};
/// use pgherd_core::shard::ShardFunction;
/// use pgherd_core::topology::{Node, NodeRole, Topology};
/// use pgherd_core::QueryType;
///
/// let node = |name: &str, role| Node::new(name, "db.example.com", 5432, role, None);
/// let topology = Topology::new(vec![
///     node("main", NodeRole::Coordinator),
///     node("one", NodeRole::Replica),
///     node("two", NodeRole::Replica),
/// ])
/// .unwrap();
/// let policy = RoutePolicy::new(ShardFunction::Md5, 0, topology.shard_count()).unwrap();
/// let loads = Loads { balancer: &Balancer::new(policy.balance, 3, 0), busy: &|_| 0 };
/// let session = SessionState::default();
///
/// let read = QuerySpec::new(QueryType::Read);
/// let found = route(&read, session, &topology, &policy, &loads).unwrap();
/// assert_eq!(found.rule.to_string(), "a read goes to a replica");
/// let others = found.candidates(&topology, &policy, session);
/// let names: Vec<_> = others.map(|id| topology.node(id).name.as_str()).collect();
/// assert_eq!(names, ["one", "two", "main"], "where it may be tried, in this order");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The group.
    pub group: GroupId,
    /// What the node is to its group.
    pub role: NodeRole,
    /// The node.
    pub node: NodeId,
    /// What decided.
    pub rule: Rule,
}

impl Route {
    /// The nodes that may run the statement, best first: [`Self::node`], then the other
    /// replicas in rotation in turn, then the primary if the policy lets reads fall back to it.
    /// Only the first where no other will do.
    pub fn candidates<'t>(
        &self,
        topology: &'t Topology,
        policy: &RoutePolicy,
        session: SessionState<'t>,
    ) -> impl Iterator<Item = NodeId> + use<'t> {
        let (chosen, id, falls_back) = (self.node, self.group, policy.fall_back_to_primary);
        let others = match self.rule {
            Rule::ReadOnReplica | Rule::KeyedReadOnReplica => topology.group(self.group),
            _ => None,
        };
        let replicas = others.map_or(&[][..], |group| &group.replicas[..]);
        let after = replicas.iter().position(|id| *id == chosen).map_or(0, |at| at + 1);
        let turned = replicas[after..].iter().chain(&replicas[..after]).copied();
        std::iter::once(chosen)
            .chain(turned.filter(move |replica| {
                *replica != chosen && session.may_read_from(*replica, id, topology)
            }))
            .chain(others.filter(|_| falls_back).map(|group| group.primary))
    }
}

/// Why a statement has no place to run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// A shard was named in a cluster without shards.
    #[error("the statement names a shard, but this cluster has no shards")]
    NoShards,
    /// There is no such shard.
    #[error("there is no shard {shard}: this cluster has {shards}, numbered from 0")]
    UnknownShard {
        /// The shard that was named, or that the map led to.
        shard: ShardId,
        /// How many there are.
        shards: u16,
    },
    /// There is no such bucket.
    #[error("there is no bucket {bucket}: the shard map has {buckets}, numbered from 0")]
    UnknownBucket {
        /// The bucket that was named.
        bucket: u32,
        /// How many there are.
        buckets: u32,
    },
    /// A read has to run on a replica, and none may be read.
    #[error(
        "none of the {replicas} replicas of {group} is in rotation, and \
         routing.fall_back_to_primary is off"
    )]
    NoReplica {
        /// The group.
        group: GroupId,
        /// How many replicas it has.
        replicas: usize,
    },
}

/// Chooses the node for one statement. See the module's header.
///
/// # Errors
/// [`RouteError`] when the statement names a shard that is not there, or may run on replicas only
/// and there is none. That every node of the group is down is no error here: the statement goes
/// to the primary, and the attempt says why it failed.
pub fn route(
    query: &QuerySpec,
    session: SessionState<'_>,
    topology: &Topology,
    policy: &RoutePolicy,
    loads: &Loads<'_>,
) -> Result<Route, RouteError> {
    let bound = session
        .in_transaction
        .map(|node| (node, Rule::InTransaction))
        .or(session.pinned.map(|node| (node, Rule::Pinned)));
    if let Some((id, rule)) = bound {
        let node = topology.node(id);
        let (group, role) = (node.group(), topology.role(id));
        return Ok(Route { group, role, node: id, rule });
    }
    match (query.query_type, &query.shard_by) {
        (QueryType::Ddl, _) => Ok(primary(topology.coordinator(), Rule::DdlOnCoordinator)),
        (QueryType::Distributed, _) => {
            Ok(primary(topology.coordinator(), Rule::DistributedOnCoordinator))
        }
        (QueryType::Write, None) => Ok(primary(topology.coordinator(), Rule::WriteOnCoordinator)),
        (QueryType::Write, Some(by)) => {
            Ok(primary(shard_group(by, topology, policy)?, Rule::WriteOnShard))
        }
        (QueryType::Read, None) => {
            let rules =
                ReadRules { replica: Rule::ReadOnReplica, primary: Rule::ReadOnCoordinator };
            read(topology.coordinator(), rules, session, topology, policy, loads)
        }
        (QueryType::Read, Some(by)) => {
            let rules =
                ReadRules { replica: Rule::KeyedReadOnReplica, primary: Rule::KeyedReadOnWorker };
            read(shard_group(by, topology, policy)?, rules, session, topology, policy, loads)
        }
    }
}

struct ReadRules {
    replica: Rule,
    primary: Rule,
}

fn read(
    group: &Group,
    rules: ReadRules,
    session: SessionState<'_>,
    topology: &Topology,
    policy: &RoutePolicy,
    loads: &Loads<'_>,
) -> Result<Route, RouteError> {
    if !policy.read_from_replicas {
        return Ok(primary(group, Rule::ReadsStayOnPrimary));
    }
    if group.replicas.is_empty() {
        return Ok(primary(group, rules.primary));
    }
    let replicas = group.replicas.iter().copied();
    let readable =
        replicas.clone().filter(|replica| session.may_read_from(*replica, group.id, topology));
    match pick_replica(readable, topology, policy, loads) {
        Some(node) => {
            Ok(Route { group: group.id, role: NodeRole::Replica, node, rule: rules.replica })
        }
        None if replicas.clone().any(|replica| topology.is_readable_replica(replica)) => {
            Ok(primary(group, Rule::OwnWritesOnPrimary))
        }
        None if policy.fall_back_to_primary => Ok(primary(group, rules.primary)),
        None => Err(RouteError::NoReplica { group: group.id, replicas: group.replicas.len() }),
    }
}

/// Picks one of the replicas that may be read: of the policy's zone as long as one of those has
/// room, else of all; `None` if there are none. Allocates nothing.
pub fn pick_replica(
    readable: impl Iterator<Item = NodeId> + Clone,
    topology: &Topology,
    policy: &RoutePolicy,
    loads: &Loads<'_>,
) -> Option<NodeId> {
    let candidates = readable.map(|id| {
        let share = topology.health(id).share;
        Candidate { node: id, weight: topology.node(id).weight, share }
    });
    let near = policy.zone.as_deref().and_then(|zone| {
        let is_near =
            |candidate: &Candidate| topology.node(candidate.node).zone.as_deref() == Some(zone);
        let near = candidates.clone().filter(is_near);
        let has_room = |candidate: Candidate| (loads.busy)(candidate.node) < policy.zone_limit;
        if near.clone().any(has_room) { loads.balancer.pick(near, loads.busy) } else { None }
    });
    near.or_else(|| loads.balancer.pick(candidates, loads.busy))
}

fn primary(group: &Group, rule: Rule) -> Route {
    let role = match group.id {
        GroupId::Coordinator => NodeRole::Coordinator,
        GroupId::Shard(_) => NodeRole::Worker,
    };
    Route { group: group.id, role, node: group.primary, rule }
}

fn shard_group<'t>(
    by: &ShardBy,
    topology: &'t Topology,
    policy: &RoutePolicy,
) -> Result<&'t Group, RouteError> {
    let shards = topology.shard_count();
    if shards == 0 {
        return Err(RouteError::NoShards);
    }
    let sharding = policy.sharding.as_ref().ok_or(RouteError::NoShards)?;
    let shard = match by {
        ShardBy::Shard(shard) => *shard,
        ShardBy::Key(key) => sharding.shard_of(key),
        ShardBy::Bucket(bucket) => sharding.map.get(*bucket).ok_or(RouteError::UnknownBucket {
            bucket: *bucket,
            buckets: sharding.map.buckets(),
        })?,
    };
    topology.group(GroupId::Shard(shard)).ok_or(RouteError::UnknownShard { shard, shards })
}

#[cfg(test)]
mod tests;
