use proptest::prelude::*;

use super::*;
use crate::topology::NodeState;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// A group of three, first led by `A`, and what is believed of each.
struct World {
    group: GroupWatch,
    health: [NodeHealth; 3],
}

impl World {
    fn new() -> Self {
        let group = Group { id: GroupId::Coordinator, primary: A, replicas: vec![B, C] };
        let health = std::array::from_fn(|_| NodeHealth::unknown());
        Self { group: GroupWatch::new(&group), health }
    }

    /// `A` leads on timeline 1, the others replicate it.
    fn replicating() -> Self {
        let mut world = Self::new();
        assert_eq!(world.see(A, primary(1)), []);
        assert_eq!(world.see(B, standby()), []);
        assert_eq!(world.see(C, standby()), []);
        world
    }

    fn see(&mut self, id: NodeId, health: NodeHealth) -> Vec<GroupTransition> {
        self.health[id.index()] = health;
        self.group.look(|id| &self.health[id.index()])
    }

    fn lose(&mut self, id: NodeId) -> Vec<GroupTransition> {
        let health = NodeHealth { state: NodeState::Down, ..self.health[id.index()].clone() };
        self.see(id, health)
    }
}

fn primary(timeline: u32) -> NodeHealth {
    NodeHealth {
        state: NodeState::Up,
        in_recovery: Some(false),
        timeline: Some(timeline),
        system_id: Some(7),
        ..NodeHealth::unknown()
    }
}

fn standby() -> NodeHealth {
    NodeHealth { in_recovery: Some(true), ..primary(1) }
}

fn followed(from: NodeId, to: NodeId, timeline: u32) -> GroupTransition {
    GroupTransition::Followed { from, to, timeline: Some(timeline) }
}

#[test]
fn a_replica_that_is_promoted_in_place_of_a_dead_primary_is_followed() {
    let mut world = World::replicating();
    assert_eq!(world.lose(A), [GroupTransition::PrimaryLost { primary: A }]);
    assert_eq!(world.see(C, standby()), []);
    assert_eq!(world.see(B, primary(2)), [followed(A, B, 2)]);
    assert_eq!(world.group.primary(), B);
    // It returns as it died, and is shut out; then as a standby.
    assert_eq!(world.see(A, primary(1)), [GroupTransition::Fenced { node: A }]);
    assert_eq!(world.see(A, primary(1)), []);
    assert_eq!(world.see(A, standby()), []);
    assert_eq!(world.group.primary(), B);
}

#[test]
fn a_switchover_without_a_dead_node_is_followed() {
    let mut world = World::replicating();
    assert_eq!(world.see(A, standby()), [GroupTransition::PrimaryLost { primary: A }]);
    assert_eq!(world.see(B, primary(2)), [followed(A, B, 2)]);
}

#[test]
fn of_two_primaries_the_higher_timeline_wins() {
    let mut world = World::replicating();
    let changes = world.see(B, primary(2));
    assert_eq!(changes, [followed(A, B, 2), GroupTransition::Fenced { node: A }]);
    // And once more, by the third.
    let changes = world.see(C, primary(3));
    assert_eq!(changes, [followed(B, C, 3), GroupTransition::Fenced { node: B }]);
}

#[test]
fn a_primary_that_comes_back_leads_again() {
    let mut world = World::replicating();
    assert_eq!(world.lose(A), [GroupTransition::PrimaryLost { primary: A }]);
    assert_eq!(world.see(A, primary(1)), [GroupTransition::PrimaryBack { primary: A }]);
}

#[test]
fn nobody_is_followed_without_a_higher_timeline() {
    let mut world = World::replicating();
    assert_eq!(world.lose(A), [GroupTransition::PrimaryLost { primary: A }]);
    for other in [primary(1), NodeHealth { timeline: None, ..primary(1) }] {
        world.see(B, standby());
        assert_eq!(world.see(B, other), [GroupTransition::Fenced { node: B }]);
    }
    assert_eq!(world.group.primary(), A);
}

#[test]
fn another_system_is_never_followed_and_a_living_primary_is_left_for_proof_only() {
    let mut world = World::replicating();
    let stranger = NodeHealth { system_id: Some(8), ..primary(9) };
    assert_eq!(world.see(B, stranger), [GroupTransition::Fenced { node: B }]);
    let silent = NodeHealth { system_id: None, ..primary(2) };
    assert_eq!(world.see(C, silent.clone()), [GroupTransition::Fenced { node: C }]);
    assert_eq!(world.lose(A)[0], followed(A, C, 2));
}

#[test]
fn a_primary_that_was_dead_from_the_start_is_left_for_the_highest_of_the_others() {
    let mut world = World::new();
    assert_eq!(world.see(B, primary(2)), [GroupTransition::Fenced { node: B }]);
    assert_eq!(world.see(C, primary(3)), [GroupTransition::Fenced { node: C }]);
    assert_eq!(world.lose(A), [followed(A, C, 3)]);
}

proptest! {
    /// In whatever order the nodes say what: the primary never goes back to an older timeline of
    /// its system, and nobody but a node that was seen to take writes is followed.
    #[test]
    fn the_primary_never_goes_back_in_time(
        says in proptest::collection::vec((0..3u16, 0..4u8, 1..6u32), 0..60),
    ) {
        let mut world = World::replicating();
        let mut reached = 1;
        // A node's timeline only goes up, as a server's does.
        let mut of_node = [1; 3];
        for (node, what, timeline) in says {
            let at = usize::from(node);
            of_node[at] = timeline.max(of_node[at]);
            let before = world.group.primary();
            let _ = match what {
                0 => world.see(NodeId(node), standby()),
                1 => world.lose(NodeId(node)),
                _ => world.see(NodeId(node), primary(of_node[at])),
            };
            let now = world.group.primary();
            let health = &world.health[now.index()];
            if now != before {
                prop_assert!(is_seen_writing(health));
                prop_assert!(health.timeline > Some(reached));
            }
            if is_seen_writing(health) {
                prop_assert!(health.timeline >= Some(reached));
                reached = health.timeline.unwrap_or(reached);
            }
        }
    }
}
