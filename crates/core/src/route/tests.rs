use super::*;
use crate::balance::Balance;
use crate::shard::ShardFunction;
use crate::topology::{Node, NodeHealth, NodeState};

/// Coordinator with two replicas; shard 0 with one; shard 1 without.
struct World {
    topology: Topology,
    policy: RoutePolicy,
    balancer: Balancer,
}

impl World {
    fn new() -> Self {
        let node = |name: &str, role, shard: Option<u16>| {
            Node::new(name, "127.0.0.1", 5432, role, shard.map(ShardId))
        };
        let nodes = vec![
            node("c", NodeRole::Coordinator, None),
            node("c-r1", NodeRole::Replica, None),
            node("c-r2", NodeRole::Replica, None),
            node("s0", NodeRole::Worker, Some(0)),
            node("s0-r1", NodeRole::Replica, Some(0)),
            node("s1", NodeRole::Worker, Some(1)),
        ];
        let topology = Topology::new(nodes).unwrap();
        let policy = RoutePolicy::new(ShardFunction::Md5, 0, topology.shard_count()).unwrap();
        Self { topology, policy, balancer: Balancer::new(Balance::RoundRobin, 6, 0) }
    }

    fn loads(&self) -> Loads<'_> {
        Loads { balancer: &self.balancer, busy: &|_| 0 }
    }

    fn down(&mut self, name: &str) {
        let id = self.topology.node_named(name).unwrap().id;
        let health = NodeHealth { state: NodeState::Down, ..NodeHealth::unknown() };
        self.topology = self.topology.with_health([(id, health)]);
    }

    fn try_route(&self, query: &QuerySpec) -> Result<Route, RouteError> {
        route(query, SessionState::default(), &self.topology, &self.policy, &self.loads())
    }

    fn route(&self, query: &QuerySpec) -> (&str, Rule) {
        let route = self.try_route(query).unwrap();
        (self.name(route.node), route.rule)
    }

    fn name(&self, id: NodeId) -> &str {
        &self.topology.node(id).name
    }

    fn candidates(&self, query: &QuerySpec) -> Vec<&str> {
        let route = self.try_route(query).unwrap();
        route
            .candidates(&self.topology, &self.policy, SessionState::default())
            .map(|id| self.name(id))
            .collect()
    }
}

fn read() -> QuerySpec {
    QuerySpec::new(QueryType::Read)
}

fn write() -> QuerySpec {
    QuerySpec::new(QueryType::Write)
}

/// By `md5`, of two shards: 42 lives on shard 0, 1 on shard 1.
const ON_SHARD_0: i32 = 42;
const ON_SHARD_1: i32 = 1;

#[test]
fn the_routing_table_of_the_brief_holds() {
    let world = World::new();
    assert_eq!(world.route(&read()), ("c-r1", Rule::ReadOnReplica));
    assert_eq!(world.route(&write()), ("c", Rule::WriteOnCoordinator));
    assert_eq!(world.route(&write().with_key(ON_SHARD_0)), ("s0", Rule::WriteOnShard));
    assert_eq!(world.route(&write().with_key(ON_SHARD_1)), ("s1", Rule::WriteOnShard));
    for key in [None, Some(ON_SHARD_1)] {
        let with_key = |query: QuerySpec| match key {
            Some(key) => query.with_key(key),
            None => query,
        };
        let ddl = with_key(QuerySpec::new(QueryType::Ddl));
        assert_eq!(world.route(&ddl), ("c", Rule::DdlOnCoordinator));
        let distributed = with_key(QuerySpec::new(QueryType::Distributed));
        assert_eq!(world.route(&distributed), ("c", Rule::DistributedOnCoordinator));
    }
}

#[test]
fn reads_with_a_key_stay_in_its_shard() {
    let mut world = World::new();
    let on_0 = read().with_key(ON_SHARD_0);
    assert_eq!(world.route(&on_0), ("s0-r1", Rule::KeyedReadOnReplica));
    assert_eq!(world.route(&read().with_key(ON_SHARD_1)), ("s1", Rule::KeyedReadOnWorker));
    world.down("s0-r1");
    assert_eq!(world.route(&on_0), ("s0", Rule::KeyedReadOnWorker));
}

#[test]
fn reads_go_round_the_replicas_in_rotation() {
    let mut world = World::new();
    let names: Vec<_> = (0..4).map(|_| world.route(&read()).0).collect();
    assert_eq!(names, ["c-r1", "c-r2", "c-r1", "c-r2"]);
    world.down("c-r1");
    assert!((0..4).all(|_| world.route(&read()).0 == "c-r2"));
    world.down("c-r2");
    assert_eq!(world.route(&read()), ("c", Rule::ReadOnCoordinator));
}

#[test]
fn replicas_that_left_recovery_are_not_read() {
    let mut world = World::new();
    let promoted = NodeHealth { in_recovery: Some(false), ..NodeHealth::unknown() };
    world.topology = world.topology.with_health([(NodeId(1), promoted)]);
    assert!((0..4).all(|_| world.route(&read()).0 == "c-r2"));
}

#[test]
fn reads_stay_on_the_primary_when_told_so() {
    let mut world = World::new();
    world.policy.read_from_replicas = false;
    assert_eq!(world.route(&read()), ("c", Rule::ReadsStayOnPrimary));
    assert_eq!(world.candidates(&read()), ["c"]);
}

#[test]
fn a_dead_primary_still_gets_its_writes() {
    let mut world = World::new();
    world.down("c");
    assert_eq!(world.route(&write()).0, "c");
}

#[test]
fn transactions_and_pins_come_first() {
    let world = World::new();
    let at = |session| {
        let query = write().with_key(ON_SHARD_1);
        route(&query, session, &world.topology, &world.policy, &world.loads()).unwrap()
    };
    let (transaction, pin) = (Some(NodeId(4)), Some(NodeId(2)));
    let both = at(SessionState { in_transaction: transaction, pinned: pin, own_writes: None });
    assert_eq!((both.node, both.rule), (NodeId(4), Rule::InTransaction));
    assert_eq!((both.group, both.role), (GroupId::Shard(ShardId(0)), NodeRole::Replica));
    let pinned = at(SessionState { pinned: pin, ..SessionState::default() });
    assert_eq!((pinned.node, pinned.rule), (NodeId(2), Rule::Pinned));
}

#[test]
fn a_read_may_be_tried_on_the_other_replicas_and_then_on_the_primary() {
    let mut world = World::new();
    assert_eq!(world.candidates(&read()), ["c-r1", "c-r2", "c"]);
    assert_eq!(world.candidates(&read()), ["c-r2", "c-r1", "c"]);
    assert_eq!(world.candidates(&write()), ["c"]);
    assert_eq!(world.candidates(&read().with_key(ON_SHARD_0)), ["s0-r1", "s0"]);
    assert_eq!(world.candidates(&read().with_key(ON_SHARD_1)), ["s1"]);
    world.down("c-r2");
    assert_eq!(world.candidates(&read()), ["c-r1", "c"]);
    world.policy.fall_back_to_primary = false;
    assert_eq!(world.candidates(&read()), ["c-r1"]);
}

#[test]
fn a_key_without_a_place_is_an_error() {
    let world = World::new();
    let by = |by| QuerySpec { query_type: QueryType::Write, shard_by: Some(by) };
    assert_eq!(world.route(&by(ShardBy::Shard(ShardId(1)))).0, "s1");
    assert_eq!(world.route(&by(ShardBy::Bucket(0))).0, "s0");
    assert_eq!(
        world.try_route(&by(ShardBy::Shard(ShardId(2)))),
        Err(RouteError::UnknownShard { shard: ShardId(2), shards: 2 })
    );
    assert_eq!(
        world.try_route(&by(ShardBy::Bucket(2))),
        Err(RouteError::UnknownBucket { bucket: 2, buckets: 2 })
    );

    let single = Topology::new(vec![Node::new("c", "h", 1, NodeRole::Coordinator, None)]).unwrap();
    let policy = RoutePolicy::new(ShardFunction::Md5, 0, 0).unwrap();
    let session = SessionState::default();
    let keyed = route(&write().with_key(1), session, &single, &policy, &world.loads());
    assert_eq!(keyed, Err(RouteError::NoShards));
    let plain = route(&read(), session, &single, &policy, &world.loads()).unwrap();
    assert_eq!((plain.node, plain.rule), (NodeId(0), Rule::ReadOnCoordinator));
}

#[test]
fn replicas_of_the_zone_come_first_as_long_as_one_has_room() {
    let node = |name: &str, zone: &str| {
        let role = if name == "c" { NodeRole::Coordinator } else { NodeRole::Replica };
        Node { zone: Some(zone.to_owned()), ..Node::new(name, "h", 1, role, None) }
    };
    let nodes = vec![node("c", "b"), node("r1", "a"), node("r2", "b"), node("r3", "b")];
    let topology = Topology::new(nodes).unwrap();
    let mut policy = RoutePolicy::new(ShardFunction::Md5, 0, 0).unwrap();
    let balancer = Balancer::new(Balance::RoundRobin, 4, 0);
    let routed = |policy: &RoutePolicy, topology: &Topology, busy: [u32; 4]| -> Vec<u16> {
        let loads = Loads { balancer: &balancer, busy: &|node| busy[node.index()] };
        let one = |_| route(&read(), SessionState::default(), topology, policy, &loads).unwrap();
        let mut nodes: Vec<_> = (0..6).map(one).map(|route| route.node.0).collect();
        nodes.sort_unstable();
        nodes
    };
    assert_eq!(routed(&policy, &topology, [0; 4]), [1, 1, 2, 2, 3, 3]);
    (policy.zone, policy.zone_limit) = (Some("b".to_owned()), 10);
    assert_eq!(routed(&policy, &topology, [99, 0, 10, 9]), [2, 2, 2, 3, 3, 3]);
    assert_eq!(routed(&policy, &topology, [0, 0, 10, 11]), [1, 1, 2, 2, 3, 3]);
    policy.zone = Some("nowhere".to_owned());
    assert_eq!(routed(&policy, &topology, [0; 4]), [1, 1, 2, 2, 3, 3]);
    policy.zone = Some("a".to_owned());
    let down = NodeHealth { state: NodeState::Down, ..NodeHealth::unknown() };
    let without = topology.with_health([(NodeId(1), down)]);
    assert_eq!(routed(&policy, &without, [0; 4]), [2, 2, 2, 3, 3, 3]);
}

#[test]
fn without_a_replica_reads_fail_where_the_primary_is_not_for_them() {
    let mut world = World::new();
    world.policy.fall_back_to_primary = false;
    world.down("c-r1");
    world.down("c-r2");
    let error = world.try_route(&read()).unwrap_err();
    assert_eq!(error, RouteError::NoReplica { group: GroupId::Coordinator, replicas: 2 });
    assert!(error.to_string().contains("none of the 2 replicas of coordinator"), "{error}");
    // A group that was never given one has its primary.
    assert_eq!(world.route(&read().with_key(ON_SHARD_1)), ("s1", Rule::KeyedReadOnWorker));
}

#[test]
fn a_session_reads_from_replicas_that_have_its_own_writes_and_else_from_the_primary() {
    let mut world = World::new();
    let start = std::time::Instant::now();
    let mut own_writes = OwnWrites::default();
    own_writes.wrote(GroupId::Coordinator, start);
    let caught_up = |name: &str, world: &mut World| {
        let id = world.topology.node_named(name).unwrap().id;
        let up_to = start + std::time::Duration::from_secs(1);
        let health = NodeHealth { caught_up_to: Some(up_to), ..NodeHealth::unknown() };
        world.topology = world.topology.with_health([(id, health)]);
    };
    let routes = |world: &World, query: &QuerySpec| -> Vec<(String, Rule, Vec<u16>)> {
        let session = SessionState { own_writes: Some(&own_writes), ..SessionState::default() };
        let one = |_| {
            let World { topology, policy, .. } = world;
            let route = route(query, session, topology, policy, &world.loads()).unwrap();
            let candidates = route.candidates(topology, policy, session).map(|id| id.0).collect();
            (world.name(route.node).to_owned(), route.rule, candidates)
        };
        (0..2).map(one).collect()
    };
    let on_primary = ("c".to_owned(), Rule::OwnWritesOnPrimary, vec![0]);
    assert_eq!(routes(&world, &read()), [on_primary.clone(), on_primary]);
    caught_up("c-r2", &mut world);
    let on_replica = ("c-r2".to_owned(), Rule::ReadOnReplica, vec![2, 0]);
    assert_eq!(routes(&world, &read()), [on_replica.clone(), on_replica]);
    // It has written nothing there.
    let on_shard = &routes(&world, &read().with_key(ON_SHARD_0))[0];
    assert_eq!((on_shard.0.as_str(), on_shard.1), ("s0-r1", Rule::KeyedReadOnReplica));
    // The word of the primary counts, also where reads do not fall back to it.
    world.policy.fall_back_to_primary = false;
    world.topology = world.topology.with_health([(NodeId(2), NodeHealth::unknown())]);
    assert_eq!(routes(&world, &read())[0].1, Rule::OwnWritesOnPrimary);
}
