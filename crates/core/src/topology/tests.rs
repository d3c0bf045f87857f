use super::*;

fn node(name: &str, role: NodeRole, shard: Option<u16>) -> Node {
    Node::new(name, "127.0.0.1", 5432, role, shard.map(ShardId))
}

fn herd() -> Vec<Node> {
    vec![
        node("replica-1", NodeRole::Replica, None),
        node("shard-1", NodeRole::Worker, Some(1)),
        node("coordinator", NodeRole::Coordinator, None),
        node("shard-0", NodeRole::Worker, Some(0)),
        node("shard-1-r1", NodeRole::Replica, Some(1)),
        node("replica-2", NodeRole::Replica, None),
    ]
}

fn error_without(name: &str) -> TopologyError {
    let nodes = herd().into_iter().filter(|node| node.name != name).collect();
    Topology::new(nodes).unwrap_err()
}

fn error_with(node: Node) -> TopologyError {
    Topology::new(herd().into_iter().chain([node]).collect()).unwrap_err()
}

#[test]
fn nodes_are_put_into_their_groups_whatever_their_order() {
    let topology = Topology::new(herd()).unwrap();
    let named = |id: NodeId| topology.node(id).name.as_str();
    assert_eq!(topology.shard_count(), 2);
    assert_eq!(named(topology.coordinator().primary), "coordinator");
    let replicas: Vec<_> = topology.coordinator().replicas.iter().map(|id| named(*id)).collect();
    assert_eq!(replicas, ["replica-1", "replica-2"]);
    let shard_1 = topology.group(GroupId::Shard(ShardId(1))).unwrap();
    assert_eq!(shard_1.id, GroupId::Shard(ShardId(1)));
    assert_eq!(named(shard_1.primary), "shard-1");
    assert_eq!(named(shard_1.replicas[0]), "shard-1-r1");
    assert!(topology.group(GroupId::Shard(ShardId(2))).is_none());
    for (index, node) in topology.nodes().iter().enumerate() {
        assert_eq!(node.id.index(), index);
    }
}

#[test]
fn what_is_not_a_cluster_is_refused_with_a_reason() {
    use TopologyError::*;
    assert_eq!(error_without("coordinator"), NoCoordinator);
    assert!(matches!(error_without("shard-0"), ShardMissing { shard: ShardId(0), shards: 1 }));
    assert!(matches!(error_without("shard-1"), ReplicaOfNothing { shard: ShardId(1), .. }));
    let again = error_with(node("c2", NodeRole::Coordinator, None));
    assert!(matches!(again, CoordinatorTwice { .. }));
    let sharded = error_with(node("c2", NodeRole::Coordinator, Some(0)));
    assert!(matches!(sharded, CoordinatorWithShard { .. }));
    assert!(matches!(error_with(node("w", NodeRole::Worker, None)), WorkerWithoutShard { .. }));
    assert!(matches!(error_with(node("w", NodeRole::Worker, Some(1))), WorkerTwice { .. }));
    assert!(matches!(error_with(node("shard-0", NodeRole::Replica, None)), NameTwice { .. }));
    assert!(matches!(error_with(node("", NodeRole::Replica, None)), NoName { .. }));
    assert_eq!(
        error_with(node("w", NodeRole::Worker, Some(9))).to_string(),
        "shard 2 has no worker: 3 shards are numbered 0 to 2"
    );
}

#[test]
fn a_change_of_health_is_a_new_generation_and_leaves_the_old_one_alone() {
    let old = Topology::new(herd()).unwrap();
    let down = NodeHealth { state: NodeState::Down, ..NodeHealth::unknown() };
    let new = old.with_health([(NodeId(0), down), (NodeId(99), NodeHealth::unknown())]);
    assert_eq!(new.generation(), old.generation().next());
    assert!(old.health(NodeId(0)).is_healthy());
    assert!(!new.health(NodeId(0)).is_healthy());
    assert!(!new.is_readable_replica(NodeId(0)));
    assert!(new.is_readable_replica(NodeId(5)));
}

#[test]
fn a_replica_that_left_recovery_gets_no_reads() {
    let left = NodeHealth { in_recovery: Some(false), ..NodeHealth::unknown() };
    let topology = Topology::new(herd()).unwrap().with_health([(NodeId(5), left)]);
    assert!(!topology.is_readable_replica(NodeId(5)));
}

#[test]
fn a_promoted_node_changes_places_with_the_primary_and_roles_follow() {
    let topology = Topology::new(herd()).unwrap();
    let id = |name: &str| topology.node_named(name).unwrap().id;
    let (old, new) = (id("coordinator"), id("replica-2"));
    let takes_writes = NodeHealth { in_recovery: Some(false), ..NodeHealth::unknown() };
    let seen = [(old, takes_writes.clone()), (new, takes_writes)];
    let shard_1 = GroupId::Shard(ShardId(1));
    let after = topology.observed(seen, [(GroupId::Coordinator, new), (shard_1, new)]);
    assert_eq!(after.generation(), topology.generation().next());
    assert_eq!(after.coordinator().primary, new);
    assert_eq!(after.coordinator().replicas, [id("replica-1"), old]);
    assert_eq!((after.role(new), after.role(old)), (NodeRole::Coordinator, NodeRole::Replica));
    assert!(after.is_fenced(old) && !after.is_fenced(new) && !after.is_readable_replica(old));
    // Not one of its own: nothing changes there.
    assert_eq!(after.group(shard_1), topology.group(shard_1));
    assert_eq!(after.role(id("shard-1")), NodeRole::Worker);

    let standby = NodeHealth { in_recovery: Some(true), ..NodeHealth::unknown() };
    let returned = after.with_health([(old, standby)]);
    assert!(!returned.is_fenced(old) && returned.is_readable_replica(old));
    assert_eq!(returned.coordinator(), after.coordinator());
}

#[test]
fn a_group_is_without_a_primary_while_that_is_down_or_a_standby() {
    let topology = Topology::new(herd()).unwrap();
    let primary = topology.coordinator().primary;
    let with = |health: NodeHealth| topology.with_health([(primary, health)]);
    let has = |topology: &Topology| topology.has_primary(GroupId::Coordinator);
    assert!(has(&topology), "one that was not heard of yet may be there");
    assert!(!has(&with(NodeHealth { state: NodeState::Down, ..NodeHealth::unknown() })));
    assert!(!has(&with(NodeHealth { in_recovery: Some(true), ..NodeHealth::unknown() })));
    assert!(has(&with(NodeHealth { state: NodeState::Suspect, ..NodeHealth::unknown() })));
    assert!(!topology.has_primary(GroupId::Shard(ShardId(9))));
}
