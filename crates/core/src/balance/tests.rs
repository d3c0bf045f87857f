use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn candidates(weights: &[u32]) -> Vec<Candidate> {
    let candidate =
        |(id, weight): (u16, &u32)| Candidate { node: NodeId(id), weight: *weight, share: 100 };
    (0..).zip(weights).map(candidate).collect()
}

fn idle(_: NodeId) -> u32 {
    0
}

fn picks(balancer: &Balancer, candidates: &[Candidate], turns: usize) -> BTreeMap<u16, usize> {
    picks_of(balancer, candidates, turns, idle)
}

fn picks_of(
    balancer: &Balancer,
    candidates: &[Candidate],
    turns: usize,
    busy: impl Fn(NodeId) -> u32,
) -> BTreeMap<u16, usize> {
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..turns {
        *counts.entry(balancer.pick(candidates.iter().copied(), &busy).unwrap().0).or_default() +=
            1;
    }
    counts
}

#[test]
fn without_candidates_none_is_picked_and_a_single_one_always() {
    for balance in Balance::ALL {
        let balancer = Balancer::new(balance, 2, 0);
        assert_eq!(balancer.pick(std::iter::empty(), idle), None);
        assert_eq!(picks(&balancer, &candidates(&[3])[..], 10), BTreeMap::from([(0, 10)]));
    }
}

#[test]
fn round_robin_is_strict_and_blind_to_weights() {
    let balancer = Balancer::new(Balance::RoundRobin, 3, 1);
    let three = candidates(&[1, 9, 1]);
    let order: Vec<_> =
        (0..6).map(|_| balancer.pick(three.iter().copied(), idle).unwrap().0).collect();
    assert_eq!(order, [1, 2, 0, 1, 2, 0]);
}

#[test]
fn weights_are_kept_and_no_node_waits_for_the_others_bursts() {
    let balancer = Balancer::new(Balance::Weighted, 3, 0);
    let three = candidates(&[5, 2, 1]);
    let order: Vec<_> =
        (0..800).map(|_| balancer.pick(three.iter().copied(), idle).unwrap().0).collect();
    for (node, part) in [(0, 500), (1, 200), (2, 100)] {
        let count = order.iter().filter(|id| **id == node).count();
        assert!(count.abs_diff(part) <= 3, "node {node}: {count}");
    }
    let longest_wait = order.split(|id| *id == 2).map(<[u16]>::len).max().unwrap();
    assert!(longest_wait <= 14, "{longest_wait}");
}

#[test]
fn random_picks_keep_to_the_weights_too() {
    let balancer = Balancer::new(Balance::Random, 2, 7);
    let counts = picks(&balancer, &candidates(&[3, 1]), 40_000);
    assert!(counts[&0].abs_diff(30_000) < 600, "{counts:?}");
}

#[test]
fn one_that_is_warmed_up_gets_its_share_and_no_more() {
    let mut two = candidates(&[1, 1]);
    two[1].share = 10;
    for balance in [Balance::RoundRobin, Balance::Weighted, Balance::Random] {
        let counts = picks(&Balancer::new(balance, 2, 0), &two, 11_000);
        assert!(counts[&1].abs_diff(1_000) < 150, "{balance}: {counts:?}");
    }
    // Ten backends against one is even.
    let balancer = Balancer::new(Balance::LeastBusy, 2, 0);
    let mut busy = [0, 0];
    for _ in 0..110 {
        let node = balancer.pick(two.iter().copied(), |node| busy[node.index()]).unwrap();
        busy[node.index()] += 1;
    }
    assert_eq!(busy, [100, 10]);
}

#[test]
fn the_least_busy_is_taken_and_equals_in_turn() {
    let balancer = Balancer::new(Balance::LeastBusy, 3, 0);
    let three = candidates(&[1, 1, 2]);
    let with =
        |busy: [u32; 3], turns| picks_of(&balancer, &three, turns, move |node| busy[node.index()]);
    // (1 + 1) / 2 is less than (1 + 1) / 1.
    assert_eq!(with([1, 1, 1], 5), BTreeMap::from([(2, 5)]));
    assert_eq!(with([1, 1, 3], 6), BTreeMap::from([(0, 2), (1, 2), (2, 2)]));
    assert_eq!(with([1, 0, 3], 5), BTreeMap::from([(1, 5)]));
}

#[test]
fn the_slow_one_is_avoided_and_looked_at_again() {
    let (balancer, now) = (Balancer::new(Balance::Latency, 2, 0), Instant::now());
    let two = candidates(&[1, 1]);
    balancer.took(NodeId(0), Duration::from_millis(2), now);
    balancer.took(NodeId(1), Duration::from_millis(40), now);
    let counts = picks(&balancer, &two, 6_400);
    assert!((20..400).contains(&counts[&1]), "{counts:?}");
    // Twenty under way on the quick one, and the slow one is as good.
    let counts = picks_of(&balancer, &two, 6_400, |node| if node.0 == 0 { 20 } else { 0 });
    assert!(counts[&1] > 6_000, "{counts:?}");
}

proptest! {
    #[test]
    fn whoever_is_picked_was_a_candidate(
        weights in proptest::collection::vec((0..u32::MAX, 0..=u8::MAX), 1..9),
        start: usize,
        busy in proptest::collection::vec(0..=u32::MAX, 16),
        latencies in proptest::collection::vec(0..u64::MAX, 9),
    ) {
        let candidates: Vec<_> = (0..)
            .zip(&weights)
            .map(|(id, (weight, share))| Candidate { node: NodeId(id * 2), weight: *weight, share: *share })
            .collect();
        for balance in Balance::ALL {
            // Ids above the number of nodes are of no harm.
            let balancer = Balancer::new(balance, 9, start);
            for (node, nanos) in (0..).map(NodeId).zip(&latencies) {
                balancer.took(node, Duration::from_nanos(*nanos), Instant::now());
            }
            for _ in 0..8 {
                let picked = balancer.pick(candidates.iter().copied(), |node| busy[node.index()]);
                prop_assert!(candidates.iter().any(|c| Some(c.node) == picked));
            }
        }
    }
}
