//! How long opening is put off after it failed.

use std::time::{Duration, Instant};

/// The wait after the first failure: long enough not to hammer a node that refuses, short
/// against any time-out.
const FIRST: Duration = Duration::from_millis(100);

/// Why a backend could not be opened, as far as its pool cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenFailure {
    /// Nothing listens there: what is still busy on the node is dead or dying.
    NodeAway,
    /// The node is there and did not let us in, or was too slow.
    Refused,
}

/// Waits of 100 ms, 200 ms and so on up to the longest, each shortened by up to a half at random.
#[derive(Debug)]
pub(super) struct Backoff {
    longest: Duration,
    failures: u32,
    retry_at: Option<Instant>,
    last: Option<OpenFailure>,
}

impl Backoff {
    /// With no wait longer than this.
    pub(super) fn up_to(longest: Duration) -> Self {
        Self { longest, failures: 0, retry_at: None, last: None }
    }

    /// `random` is uniform in 0 to 1. Opens that were under way together fail together: only
    /// the first of them counts.
    pub(super) fn on_failure(&mut self, failure: OpenFailure, now: Instant, random: f64) {
        self.last = Some(failure);
        if self.is_on(now) {
            return;
        }
        let wait = FIRST.saturating_mul(2u32.saturating_pow(self.failures)).min(self.longest);
        self.retry_at = Some(now + wait.mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0));
        self.failures += 1;
    }

    pub(super) fn on_success(&mut self) {
        *self = Self::up_to(self.longest);
    }

    pub(super) fn is_on(&self, now: Instant) -> bool {
        self.retry_at.is_some_and(|at| now < at)
    }

    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    pub(super) fn is_node_away(&self) -> bool {
        self.last == Some(OpenFailure::NodeAway)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_second_and_are_shortened_by_up_to_a_half() {
        let mut now = Instant::now();
        let [mut longest, mut shortest] = [(); 2].map(|()| Backoff::up_to(Duration::from_secs(1)));
        for expected in [100, 200, 400, 800, 1000, 1000] {
            longest.on_failure(OpenFailure::Refused, now, 0.0);
            shortest.on_failure(OpenFailure::Refused, now, 1.0);
            let wait = Duration::from_millis(expected);
            assert_eq!(longest.retry_at(), Some(now + wait));
            assert_eq!(shortest.retry_at(), Some(now + wait / 2));
            now += wait;
            assert!(!longest.is_on(now));
        }
        longest.on_success();
        longest.on_failure(OpenFailure::Refused, now, 0.0);
        assert_eq!(longest.retry_at(), Some(now + FIRST));
    }

    #[test]
    fn opens_that_fail_together_count_once() {
        let now = Instant::now();
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        for late in 0..8 {
            backoff.on_failure(OpenFailure::NodeAway, now + Duration::from_millis(late), 0.0);
        }
        assert_eq!(backoff.retry_at(), Some(now + FIRST));
        assert!(backoff.is_node_away());
    }
}
