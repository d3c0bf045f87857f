use proptest::prelude::*;

use super::*;
use crate::topology::{Node, NodeRole};

fn answer() -> HealthEvent {
    says(true, None)
}

fn says(in_recovery: bool, lsn: Option<Lsn>) -> HealthEvent {
    let rtt = Duration::from_millis(1);
    HealthEvent::ProbeOk {
        in_recovery,
        lsn,
        max_prepared: None,
        timeline: None,
        system_id: None,
        rtt,
        asked: Instant::now(),
    }
}

fn failure() -> HealthEvent {
    HealthEvent::ProbeFailed { error: "refused".to_owned(), is_silent: false }
}

fn config() -> HealthConfig {
    HealthConfig { warm_up: Duration::ZERO, ..HealthConfig::default() }
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
    let mut node = NodeWatch::new(HealthConfig { failures: 1, successes: 1, ..config() });
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

fn on_probation(config: HealthConfig, start: Instant) -> NodeWatch {
    let mut node = NodeWatch::new(config);
    for event in [answer(), failure(), failure(), failure(), answer()] {
        let _ = node.on(event, start);
    }
    let effects = node.on(answer(), start);
    assert_eq!(effects.transitions, [Transition::OnProbation { warm_up: config.warm_up }]);
    node
}

#[test]
fn a_standby_that_returns_gets_a_growing_share() {
    let config = HealthConfig::default();
    let start = Instant::now();
    let mut node = on_probation(config, start);
    assert_eq!(node.health().state.circuit(), crate::topology::Circuit::Probation);
    let reason = node.health().reason.as_deref().unwrap();
    assert_eq!(reason, "3 failures in a row, the last: refused");
    let mut shares = vec![node.health().share];
    for second in [2, 5, 9] {
        let effects = node.on(answer(), start + Duration::from_secs(second));
        assert!(effects.publish && node.health().is_healthy());
        shares.push(node.health().share);
    }
    assert_eq!(shares, [10, 28, 55, 91]);
    let effects = node.on(answer(), start + Duration::from_secs(10));
    assert_eq!(effects.transitions, [Transition::LetIn]);
    let NodeHealth { state, share, reason, .. } = node.health();
    assert_eq!((*state, *share, reason.as_deref()), (NodeState::Up, 100, None));
}

#[test]
fn one_that_fails_again_and_again_stays_out_longer_and_longer() {
    let config = HealthConfig { most_hold_off: Duration::from_secs(3), ..HealthConfig::default() };
    let start = Instant::now();
    let mut node = on_probation(config, start);
    let mut now = start;
    for held_off in [1, 2, 3, 3] {
        let effects = node.on(failure(), now);
        assert_eq!(node.health().state, NodeState::Down, "one failed probe is enough");
        assert!(effects.publish);
        for _ in 0..5 {
            let _ = node.on(answer(), now + Duration::from_millis(held_off * 1000 - 1));
        }
        assert_eq!(node.health().state, NodeState::Down, "held off for {held_off} s");
        now += Duration::from_secs(held_off);
        let _ = node.on(answer(), now);
        assert_eq!(node.health().state, NodeState::Probation);
    }
    now += Duration::from_secs(10);
    let _ = node.on(answer(), now);
    assert_eq!(node.health().state, NodeState::Up);
    // Forgiven: the next outage begins with no time held off.
    for event in [failure(), failure(), failure(), answer(), answer()] {
        let _ = node.on(event, now);
    }
    assert_eq!(node.health().state, NodeState::Probation);
}

#[test]
fn dead_connections_of_the_outage_alone_do_not_end_a_probation() {
    let start = Instant::now();
    let mut node = on_probation(HealthConfig::default(), start);
    let lost = || HealthEvent::TrafficFailed { error: "reset".to_owned() };
    for _ in 0..5 {
        assert!(node.on(lost(), start).probe_now);
        let _ = node.on(lost(), start);
        let _ = node.on(answer(), start);
        assert_eq!(node.health().state, NodeState::Probation);
    }
    for _ in 0..3 {
        let _ = node.on(lost(), start);
    }
    assert_eq!(node.health().state, NodeState::Down, "three without an answer between them");
}

#[test]
fn a_primary_that_returns_is_needed_in_full() {
    let now = Instant::now();
    let mut node = NodeWatch::new(HealthConfig::default());
    for event in [says(false, None), failure(), failure(), failure()] {
        let _ = node.on(event, now);
    }
    let _ = node.on(says(false, None), now);
    let effects = node.on(says(false, None), now);
    assert_eq!(effects.transitions, [Transition::LetIn]);
    assert_eq!((node.health().state, node.health().share), (NodeState::Up, 100));
}

#[test]
fn a_node_that_can_prepare_nothing_is_told_of_once() {
    let mut node = NodeWatch::new(config());
    let now = Instant::now();
    let says = |max_prepared| match says(false, None) {
        HealthEvent::ProbeOk { in_recovery, lsn, timeline, system_id, rtt, asked, .. } => {
            HealthEvent::ProbeOk { in_recovery, lsn, max_prepared, timeline, system_id, rtt, asked }
        }
        other => other,
    };
    let mut told = |max_prepared| {
        let effects = node.on(says(max_prepared), now);
        effects.transitions.contains(&Transition::CannotPrepare)
    };
    let story = [Some(0), Some(0), Some(16), None, Some(0)].map(&mut told);
    assert_eq!(story, [true, false, false, false, true]);
    assert_eq!(node.health().max_prepared, Some(0));
}

#[test]
fn a_replica_is_caught_up_to_the_newest_sample_it_has_replayed() {
    let replica = |name: &str| Node::new(name, "h", 1, NodeRole::Replica, None);
    let primary = Node::new("c", "h", 1, NodeRole::Coordinator, None);
    let topology = Topology::new(vec![primary, replica("r1"), replica("r2")]).unwrap();
    let mut watch = ClusterWatch::new(&topology, config());
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let probe = |in_recovery, timeline, lsn, asked| HealthEvent::ProbeOk {
        in_recovery,
        lsn: Some(Lsn(lsn)),
        max_prepared: Some(16),
        timeline: Some(timeline),
        system_id: Some(7),
        rtt: Duration::ZERO,
        asked,
    };
    let (c, r1, r2) = (NodeId(0), NodeId(1), NodeId(2));
    let _ = watch.on(r1, probe(true, 1, 150, at(0)), at(0));
    assert_eq!(watch.node(r1).caught_up_to, None);
    let _ = watch.on(c, probe(false, 1, 100, at(10)), at(10));
    let effects = watch.on(c, probe(false, 1, 200, at(20)), at(20));
    assert_eq!(watch.node(r1).caught_up_to, Some(at(10)), "what it said before is enough");
    assert!(!effects.publish, "nothing that routing knows has changed");
    let effects = watch.on(r1, probe(true, 1, 200, at(30)), at(30));
    assert!(effects.publish);
    assert_eq!(watch.node(r1).caught_up_to, Some(at(20)));
    // One of another timeline may be anywhere.
    let _ = watch.on(r2, probe(true, 2, 50, at(30)), at(30));
    let _ = watch.on(c, probe(false, 2, 300, at(40)), at(40));
    assert_eq!(watch.node(r1).caught_up_to, Some(at(20)));
    let _ = watch.on(r1, probe(true, 1, 900, at(50)), at(50));
    assert_eq!(watch.node(r1).caught_up_to, Some(at(20)), "900 of the lower timeline");
    let _ = watch.on(r1, probe(true, 2, 300, at(60)), at(60));
    assert_eq!(watch.node(r1).caught_up_to, Some(at(40)));
    // Another primary, another past.
    for _ in 0..3 {
        let _ = watch.on(c, failure(), at(70));
    }
    let _ = watch.on(r2, probe(false, 3, 310, at(80)), at(80));
    assert_eq!(watch.primaries().next(), Some((GroupId::Coordinator, r2)));
    assert_eq!(watch.node(r1).caught_up_to, None);
    let _ = watch.on(r1, probe(true, 3, 320, at(90)), at(90));
    assert_eq!(watch.node(r1).caught_up_to, Some(at(80)));
}

/// A probe that nothing was heard of.
fn silence() -> HealthEvent {
    HealthEvent::ProbeFailed { error: "no answer".to_owned(), is_silent: true }
}

/// A primary with so many replicas, all of them heard of.
fn group_of(replicas: u16, config: HealthConfig) -> (ClusterWatch, Instant) {
    let replica = |n| Node::new(format!("r{n}"), "h", 1, NodeRole::Replica, None);
    let primary = Node::new("c", "h", 1, NodeRole::Coordinator, None);
    let nodes = std::iter::once(primary).chain((1..=replicas).map(replica)).collect();
    let mut watch = ClusterWatch::new(&Topology::new(nodes).unwrap(), config);
    let start = Instant::now();
    for id in 0..=replicas {
        let _ = watch.on(NodeId(id), says(id > 0, None), start);
    }
    (watch, start)
}

/// Who is cut when a node meets this once a second.
fn cut_while(
    watch: &mut ClusterWatch,
    (id, event): (u16, fn() -> HealthEvent),
    start: Instant,
    seconds: std::ops::RangeInclusive<u64>,
) -> Vec<Vec<(u16, u64)>> {
    let cut = |second| {
        let effects = watch.on(NodeId(id), event(), start + Duration::from_secs(second));
        effects.cut.iter().map(|(id, silent)| (id.0, silent.as_secs())).collect()
    };
    seconds.map(cut).collect()
}

fn cutting_after(seconds: u64) -> HealthConfig {
    HealthConfig { cut_after: Duration::from_secs(seconds), ..config() }
}

#[test]
fn a_replica_that_says_nothing_for_long_is_cut_until_it_answers() {
    let (mut watch, start) = group_of(1, cutting_after(3));
    let cut = cut_while(&mut watch, (1, silence), start, 1..=5);
    assert_eq!(cut, [vec![], vec![], vec![], vec![(1, 3)], vec![(1, 4)]]);
    // Also when its own next probe takes long.
    let late = start + Duration::from_secs(9);
    assert_eq!(
        watch.on(NodeId(0), says(false, None), late).cut,
        [(NodeId(1), Duration::from_secs(8))]
    );
    assert_eq!(watch.on(NodeId(1), answer(), late).cut, []);
    assert_eq!(cut_while(&mut watch, (1, silence), start, 10..=12).concat(), []);
}

#[test]
fn a_node_that_answers_anything_or_fails_ordinary_traffic_alone_is_never_cut() {
    let lost = || HealthEvent::TrafficFailed { error: "reset".to_owned() };
    for event in [failure, lost] {
        let (mut watch, start) = group_of(1, cutting_after(3));
        assert_eq!(cut_while(&mut watch, (1, event), start, 1..=60).concat(), []);
        assert_eq!(watch.node(NodeId(1)).state, NodeState::Down);
    }
    // Out, and silent only since a moment.
    let (mut watch, start) = group_of(1, cutting_after(3));
    let _ = cut_while(&mut watch, (1, failure), start, 1..=60);
    let cut = cut_while(&mut watch, (1, silence), start, 61..=64);
    assert_eq!(cut, [vec![], vec![], vec![], vec![(1, 3)]]);
    let (mut watch, start) = group_of(1, cutting_after(0));
    assert_eq!(cut_while(&mut watch, (1, silence), start, 1..=60).concat(), [], "0 is never");
}

#[test]
fn a_primary_is_cut_once_another_has_taken_its_place_and_not_before() {
    let (mut watch, start) = group_of(2, cutting_after(3));
    assert_eq!(cut_while(&mut watch, (0, silence), start, 1..=20).concat(), []);
    let promoted = watch.on(NodeId(2), says(false, None), start + Duration::from_secs(21));
    assert_eq!(watch.primaries().next(), Some((GroupId::Coordinator, NodeId(2))));
    assert_eq!(promoted.cut, [(NodeId(0), Duration::from_secs(20))]);
    // A standby is no help for what writes.
    let _ = cut_while(&mut watch, (2, silence), start, 22..=60);
    assert_eq!(watch.on(NodeId(1), answer(), start + Duration::from_secs(61)).cut, []);
}

#[test]
fn a_replica_whose_reads_have_nowhere_else_to_go_is_not_cut() {
    let (mut watch, start) = group_of(1, cutting_after(3));
    let _ = cut_while(&mut watch, (0, silence), start, 1..=5);
    assert_eq!(cut_while(&mut watch, (1, silence), start, 1..=20).concat(), [], "no primary");

    let kept_off = HealthConfig { reads_on_primary: false, ..cutting_after(3) };
    let (mut watch, start) = group_of(1, kept_off);
    assert_eq!(cut_while(&mut watch, (1, silence), start, 1..=20).concat(), []);
    let (mut watch, start) = group_of(2, kept_off);
    let cut = cut_while(&mut watch, (1, silence), start, 1..=4);
    assert_eq!(cut.concat(), [(1, 3)], "there is another replica");
}

proptest! {
    /// Whatever happens, the state is what the last rows of events say.
    #[test]
    fn no_order_of_events_breaks_the_thresholds(
        events in proptest::collection::vec(0..3u8, 0..60),
        failures in 0..5u32,
        successes in 0..5u32,
    ) {
        let mut node = NodeWatch::new(HealthConfig { failures, successes, ..config() });
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
