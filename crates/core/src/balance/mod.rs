//! Picks one of several nodes that may do the same.
//!
//! In: the candidates, how many backends of each are borrowed, how long its statements took,
//! whose turn it is. Out: one of them.
//!
//! Reads no clock and no randomness: "random" picks follow from the number of the turn. Which
//! nodes are candidates is decided in [`crate::route`]; whether one is well, in
//! [`crate::health`].

mod kind;
mod latency;
mod turns;

pub use kind::Balance;

use std::time::{Duration, Instant};

use latency::Latency;
use turns::Turns;

use crate::id::NodeId;

/// One pick in so many tries a node that looks slow, to see whether it still is.
const LOOK_AGAIN: u64 = 32;

/// A node that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// The node.
    pub node: NodeId,
    /// Its part of the statements, beside that of the others. 0 counts as 1.
    pub weight: u32,
    /// How much of its part it gets, in percent: less than 100 while it is warmed up. 0 counts
    /// as 1.
    pub share: u8,
}

impl Candidate {
    fn share(self) -> u64 {
        u64::from(self.share.max(1))
    }

    fn weighted_share(self) -> u64 {
        u64::from(self.weight.max(1)) * self.share()
    }
}

/// Picks nodes, and remembers how fast each has been.
///
/// Shared by reference; nothing is locked. In a loop that owns a whole core, one per loop avoids
/// sharing cache lines, and balances what that loop does.
#[derive(Debug)]
pub struct Balancer {
    balance: Balance,
    turns: Turns,
    // By node id.
    latencies: Box<[Latency]>,
}

impl Balancer {
    /// A balancer for so many nodes, whose ids are below that number. Its first turn is
    /// `start`, so that several do not move in step.
    pub fn new(balance: Balance, nodes: usize, start: usize) -> Self {
        let latencies = (0..nodes).map(|_| Latency::default()).collect();
        Self { balance, turns: Turns::starting_at(start), latencies }
    }

    /// How it picks.
    pub fn balance(&self) -> Balance {
        self.balance
    }

    /// Picks one; `None` without candidates. `busy` is asked for the borrowed backends of a
    /// candidate, and only where that matters. Allocates nothing.
    pub fn pick(
        &self,
        candidates: impl Iterator<Item = Candidate> + Clone,
        busy: impl Fn(NodeId) -> u32,
    ) -> Option<NodeId> {
        let count = candidates.clone().count();
        if count < 2 {
            return candidates.map(|candidate| candidate.node).next();
        }
        let turn = self.turns.turn();
        match self.balance {
            Balance::RoundRobin => {
                if candidates.clone().all(|candidate| candidate.share >= 100) {
                    candidates.map(|candidate| candidate.node).nth(turn % count)
                } else {
                    by_weight(turns::spread(turn), candidates, Candidate::share)
                }
            }
            Balance::Weighted => {
                by_weight(turns::spread(turn), candidates, Candidate::weighted_share)
            }
            Balance::Random => by_weight(turns::mix(turn), candidates, Candidate::weighted_share),
            Balance::LeastBusy => least_busy(turn % count, candidates, busy),
            Balance::Latency => self.faster_of_two(turn, count, candidates, busy),
        }
    }

    /// A statement on the node took this long. Failures are not told: they are often quick.
    /// Ids of another topology are left out.
    pub fn took(&self, node: NodeId, latency: Duration, now: Instant) {
        if let Some(known) = self.latencies.get(node.index()) {
            known.took(latency, now);
        }
    }

    /// How long statements on the node have taken lately; `None` before the first.
    pub fn latency(&self, node: NodeId) -> Option<Duration> {
        self.latencies.get(node.index()).and_then(Latency::get)
    }

    fn faster_of_two(
        &self,
        turn: usize,
        count: usize,
        mut candidates: impl Iterator<Item = Candidate> + Clone,
        busy: impl Fn(NodeId) -> u32,
    ) -> Option<NodeId> {
        let random = turns::mix(turn);
        let one = turns::below(random, count);
        let other = (one + 1 + turns::below(turns::mix(!turn), count - 1)) % count;
        let (one, other) = (candidates.clone().nth(one)?, candidates.nth(other)?);
        let cost = |candidate: Candidate| {
            let latency = self.latency(candidate.node)?.as_secs_f64();
            Some(latency * crowd(candidate, &busy))
        };
        let is_other_better = match (cost(one), cost(other)) {
            _ if random.is_multiple_of(LOOK_AGAIN) => false,
            (Some(one), Some(other)) => other < one,
            // One that has not answered yet is judged by what it has to do.
            _ => crowd(other, &busy) < crowd(one, &busy),
        };
        Some(if is_other_better { other.node } else { one.node })
    }
}

/// What the next statement on a candidate would add to, in proportion to its part.
fn crowd(candidate: Candidate, busy: impl Fn(NodeId) -> u32) -> f64 {
    (f64::from(busy(candidate.node)) + 1.0) / candidate.weighted_share() as f64
}

fn least_busy(
    first: usize,
    candidates: impl Iterator<Item = Candidate> + Clone,
    busy: impl Fn(NodeId) -> u32,
) -> Option<NodeId> {
    // Begun at another one each time, so that equals are taken in turn.
    let turned = candidates.clone().skip(first).chain(candidates.take(first));
    turned
        .map(|candidate| (crowd(candidate, &busy), candidate.node))
        .reduce(|best, other| if other.0 < best.0 { other } else { best })
        .map(|(_, node)| node)
}

/// The candidate at `point` of the way from 0 to 2^64, when each takes up its weight of it.
fn by_weight(
    point: u64,
    candidates: impl Iterator<Item = Candidate> + Clone,
    weight: impl Fn(Candidate) -> u64,
) -> Option<NodeId> {
    let total: u64 = candidates.clone().map(&weight).sum();
    let mut left = u64::try_from((u128::from(point) * u128::from(total)) >> 64).ok()?;
    for candidate in candidates {
        match left.checked_sub(weight(candidate)) {
            Some(rest) => left = rest,
            None => return Some(candidate.node),
        }
    }
    None
}

#[cfg(test)]
mod tests;
