//! Which of the addresses of one node is tried next.

use std::time::{Duration, Instant};

use crate::settings::HostBalance;

/// How long an address is passed over after the first failure: as long as a restarted pooler or
/// proxy takes to be there again.
const FIRST: Duration = Duration::from_secs(1);

/// And after many: one that swallows what it is sent costs somebody a part of
/// `pool.connect_timeout` each time it is tried.
const LONGEST: Duration = Duration::from_secs(60);

/// The addresses of one node, and how each has done lately.
///
/// | an address is  | until                         | it is tried                                 |
/// |----------------|-------------------------------|---------------------------------------------|
/// | well           | an attempt on it fails        | in its turn                                 |
/// | passed over    | its time is up                | where no other one is left                  |
/// | on trial       | that one attempt has an end   | where no other one is left                  |
///
/// An address that was passed over for its time is on trial with the next attempt: the others go
/// elsewhere until it is known.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use pgherd_core::hosts::Ways;
/// use pgherd_core::settings::HostBalance;
///
/// let (now, limit) = (Instant::now(), Duration::from_secs(4));
/// let mut ways = Ways::new(HostBalance::RoundRobin, ["one", "two"]);
/// let first = ways.attempt(&[], limit, now).unwrap();
/// assert_eq!((first.at, first.limit), ("one", limit / 2));
/// // It fails at once: the same open goes on to the next.
/// ways.failed(&first.at, now);
/// let second = ways.attempt(&[first.at], limit, now).unwrap();
/// assert_eq!((second.at, second.limit), ("two", limit));
/// ways.opened(&second.at);
/// assert!(ways.attempt(&["one", "two"], limit, now).is_none());
/// ```
#[derive(Debug)]
pub struct Ways<A> {
    balance: HostBalance,
    ways: Vec<Way<A>>,
    // Whose turn it is.
    next: usize,
}

#[derive(Debug)]
struct Way<A> {
    at: A,
    failures: u32,
    shut_until: Option<Instant>,
    on_trial: bool,
}

/// An address to try, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt<A> {
    /// The address.
    pub at: A,
    /// How long this attempt may take, login included, so that there is time for another one.
    pub limit: Duration,
}

impl<A: Clone + PartialEq> Ways<A> {
    /// Of these addresses, the first of which is tried first.
    pub fn new(balance: HostBalance, found: impl IntoIterator<Item = A>) -> Self {
        let mut ways = Self { balance, ways: Vec::new(), next: 0 };
        ways.follow(found);
        ways
    }

    /// The addresses are these now: of those that stay the order is kept, and what is known.
    /// Whether any came or went.
    pub fn follow(&mut self, found: impl IntoIterator<Item = A>) -> bool {
        let mut new: Vec<A> = Vec::new();
        for at in found {
            if !new.contains(&at) {
                new.push(at);
            }
        }
        let turn = self.ways.get(self.next).map(|way| way.at.clone());
        let before = self.ways.len();
        self.ways.retain(|way| new.contains(&way.at));
        new.retain(|at| !self.contains(at));
        let changed = self.ways.len() < before || !new.is_empty();
        let fresh = |at| Way { at, failures: 0, shut_until: None, on_trial: false };
        self.ways.extend(new.into_iter().map(fresh));
        self.next = self.ways.iter().position(|way| Some(&way.at) == turn.as_ref()).unwrap_or(0);
        changed
    }

    /// The addresses, in order.
    pub fn iter(&self) -> impl Iterator<Item = &A> {
        self.ways.iter().map(|way| &way.at)
    }

    /// Whether this is one of them.
    pub fn contains(&self, at: &A) -> bool {
        self.iter().any(|known| known == at)
    }

    /// The next attempt of an open that has tried these in vain, and has this time left. `None`
    /// when it has tried all.
    ///
    /// The time is shared by the addresses that are well; one that is passed over has what they
    /// leave.
    pub fn attempt(&mut self, tried: &[A], left: Duration, now: Instant) -> Option<Attempt<A>> {
        let count = self.ways.len();
        let in_turn = (0..count).map(|step| (self.next + step) % count);
        let untried: Vec<usize> =
            in_turn.filter(|at| !tried.contains(&self.ways[*at].at)).collect();
        let well = || untried.iter().copied().filter(|at| !self.ways[*at].is_shut(now));
        let (chosen, sharers) = match well().next() {
            Some(chosen) => (chosen, well().count()),
            // The one that may be there again soonest.
            None => {
                let soonest = untried.iter().copied().min_by_key(|at| self.ways[*at].shut_until);
                (soonest?, untried.len())
            }
        };
        self.next = match self.balance {
            HostBalance::RoundRobin => (chosen + 1) % count,
            HostBalance::Disable => chosen,
        };
        let way = &mut self.ways[chosen];
        if way.failures > 0 && !way.is_shut(now) {
            way.on_trial = true;
            way.shut_until = Some(now + wait_after(way.failures));
        }
        let limit = left / u32::try_from(sharers).unwrap_or(u32::MAX);
        Some(Attempt { at: way.at.clone(), limit })
    }

    /// A backend was opened there.
    pub fn opened(&mut self, at: &A) {
        if let Some(way) = self.way(at) {
            (way.failures, way.shut_until, way.on_trial) = (0, None, false);
        }
    }

    /// An attempt there failed, or a connection over it was lost. For how long it is passed over, if
    /// that was not so before and there are others.
    pub fn failed(&mut self, at: &A, now: Instant) -> Option<Duration> {
        let has_others = self.ways.len() > 1;
        let way = self.way(at)?;
        // What was under way together fails together: it counts once.
        if way.is_shut(now) && !way.on_trial {
            return None;
        }
        way.on_trial = false;
        way.failures = way.failures.saturating_add(1);
        let wait = wait_after(way.failures);
        way.shut_until = Some(now + wait);
        has_others.then_some(wait)
    }

    /// Whether there is another address than this that is well.
    pub fn has_other(&self, than: &A, now: Instant) -> bool {
        self.ways.iter().any(|way| way.at != *than && !way.is_shut(now))
    }

    fn way(&mut self, at: &A) -> Option<&mut Way<A>> {
        self.ways.iter_mut().find(|way| way.at == *at)
    }
}

impl<A> Way<A> {
    fn is_shut(&self, now: Instant) -> bool {
        self.shut_until.is_some_and(|until| now < until)
    }
}

fn wait_after(failures: u32) -> Duration {
    FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST)
}

#[cfg(test)]
mod tests;
