use proptest::prelude::*;

use super::*;
use crate::topology::{Node, NodeRole};

fn answer() -> HealthEvent {
    says(true, None)
}

fn says(in_recovery: bool, lsn: Option<Lsn>) -> HealthEvent {
    let rtt = Duration::from_millis(1);
    HealthEvent::ProbeOk { in_recovery, lsn, timeline: None, system_id: None, rtt }
}

fn failure() -> HealthEvent {
    HealthEvent::ProbeFailed { error: "refused".to_owned() }
}

fn config() -> HealthConfig {
    HealthConfig { failures: 3, successes: 2 }
}

#[test]
fn a_node_is_taken_out_after_failures_in_a_row_and_let_in_after_answers_in_a_row() {
    use NodeState::{Down, Suspect, Up};
    let mut node = NodeWatch::new(config());
    let now = Instant::now();
    assert!(node.health().is_healthy());
    let story = [
        (answer(), Up, true),
        (failure(), Suspect, true),
        (failure(), Suspect, true),
        (answer(), Up, true), // the row is broken
        (failure(), Suspect, true),
        (failure(), Suspect, true),
        (failure(), Down, false),
        (answer(), Down, false),
        (failure(), Down, false), // the row is broken
        (answer(), Down, false),
        (answer(), Up, true),
    ];
    for (step, (event, state, healthy)) in story.into_iter().enumerate() {
        let _ = node.on(event, now);
        assert_eq!(node.health().state, state, "step {step}");
        assert_eq!(node.health().is_healthy(), healthy, "step {step}");
    }
}

#[test]
fn effects_say_what_changed() {
    let mut node = NodeWatch::new(HealthConfig { failures: 1, successes: 1 });
    let start = Instant::now();
    let first = node.on(answer(), start);
    assert_eq!(first.transitions, [Transition::LetIn]);
    assert!(first.publish);
    assert_eq!(node.on(answer(), start), HealthEffects::default());

    let later = start + Duration::from_secs(1);
    let lost = node.on(HealthEvent::TrafficFailed { error: "reset".to_owned() }, later);
    assert!(lost.publish && lost.probe_now);
    assert_eq!(lost.transitions, [Transition::TakenOut { failures: 1, error: "reset".into() }]);
    assert_eq!(node.health().since, Some(later));
    assert_eq!(node.health().last_error.as_deref(), Some("reset"));

    let back = node.on(says(false, None), later);
    assert_eq!(
        back.transitions,
        [Transition::RoleChanged { in_recovery: false }, Transition::LetIn]
    );
}

#[test]
fn lag_is_measured_against_the_primary_of_the_group() {
    let node = |name: &str, role, shard: Option<u16>| {
        Node::new(name, "h", 1, role, shard.map(crate::ShardId))
    };
    let topology = Topology::new(vec![
        node("c", NodeRole::Coordinator, None),
        node("r", NodeRole::Replica, None),
        node("s0", NodeRole::Worker, Some(0)),
        node("s0-r", NodeRole::Replica, Some(0)),
    ])
    .unwrap();
    let mut cluster = ClusterWatch::new(&topology, config());
    let now = Instant::now();
    let mut at = |id: u16, lsn: u64| {
        let event = says(id % 2 == 1, Some(Lsn(lsn)));
        let _ = cluster.on(NodeId(id), event, now);
    };
    at(1, 900);
    at(0, 1_000);
    at(2, 50);
    at(3, 60);
    let topology = topology.with_health(cluster.health());
    let lag = |id: u16| topology.health(NodeId(id)).lag_bytes;
    assert_eq!([lag(0), lag(1), lag(2), lag(3)], [None, Some(100), None, Some(0)]);
    assert_eq!(topology.health(NodeId(1)).in_recovery, Some(true));
}

proptest! {
    /// Whatever happens, the state is what the last rows of events say.
    #[test]
    fn no_order_of_events_breaks_the_thresholds(
        events in proptest::collection::vec(0..3u8, 0..60),
        failures in 0..5u32,
        successes in 0..5u32,
    ) {
        let mut node = NodeWatch::new(HealthConfig { failures, successes });
        let now = Instant::now();
        let (mut fails, mut answers, mut down) = (0, 0, false);
        for event in events {
            let was_healthy = node.health().is_healthy();
            let effects = match event {
                0 => {
                    (fails, answers) = (0, answers + 1);
                    node.on(answer(), now)
                }
                1 => {
                    (fails, answers) = (fails + 1, 0);
                    node.on(failure(), now)
                }
                _ => {
                    (fails, answers) = (fails + 1, 0);
                    node.on(HealthEvent::TrafficFailed { error: String::new() }, now)
                }
            };
            if down && answers >= successes.max(1) {
                down = false;
            } else if !down && fails >= failures.max(1) {
                down = true;
            }
            prop_assert_eq!(node.health().is_healthy(), !down);
            if was_healthy == down {
                prop_assert!(effects.publish, "a change of rotation is published");
            }
        }
    }
}
