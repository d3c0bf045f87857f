//! How many retries all statements together may make.
//!
//! Retries help while few statements fail. When most do, they multiply the load on what is left:
//! then the budget runs out, and errors are handed on at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// In this time a budget that is not used fills up by itself, so that a program with few
/// statements may retry too.
const REFILL: Duration = Duration::from_secs(10);

/// A retry, in the unit of the counter.
const RETRY: u64 = 1_000_000;

/// How much a budget earns and holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BudgetConfig {
    /// Retries that each statement adds: 0.2 is one retry for five statements.
    pub ratio: f64,
    /// Retries it holds at most, and at first.
    pub burst: u32,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        Self { ratio: 0.2, burst: 100 }
    }
}

/// Retries that may be made now. Shared by reference; nothing is locked.
#[derive(Debug)]
pub struct RetryBudget {
    earned: u64,
    most: u64,
    epoch: Instant,
    left: AtomicU64,
    // Nanoseconds from the epoch to the last refill.
    refilled: AtomicU64,
}

impl RetryBudget {
    /// A full budget.
    pub fn new(config: BudgetConfig, now: Instant) -> Self {
        let most = u64::from(config.burst) * RETRY;
        // Saturates; NaN and negative ratios are 0.
        let earned = (config.ratio * RETRY as f64) as u64;
        let (left, refilled) = (AtomicU64::new(most), AtomicU64::new(0));
        Self { earned, most, epoch: now, left, refilled }
    }

    /// A statement is tried for the first time.
    pub fn earn(&self) {
        self.add(self.earned);
    }

    /// A statement is to be tried once more; `false` when it may not.
    #[must_use]
    pub fn spend(&self, now: Instant) -> bool {
        self.refill(now);
        let spent = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(RETRY));
        spent.is_ok()
    }

    /// Whole retries that are left.
    pub fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed) / RETRY
    }

    fn refill(&self, now: Instant) {
        let nanos = now.saturating_duration_since(self.epoch).as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let before = self.refilled.fetch_max(nanos, Ordering::Relaxed);
        let passed = u128::from(nanos.saturating_sub(before)).min(REFILL.as_nanos());
        let part = u128::from(self.most) * passed / REFILL.as_nanos();
        self.add(u64::try_from(part).unwrap_or(self.most));
    }

    fn add(&self, tokens: u64) {
        let raised =
            |left: u64| (left < self.most).then(|| left.saturating_add(tokens).min(self.most));
        // Full already: nothing to write.
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raised);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spend_all(budget: &RetryBudget, now: Instant) -> usize {
        (0..10_000).take_while(|_| budget.spend(now)).count()
    }

    #[test]
    fn it_holds_its_burst_and_earns_a_part_of_each_statement() {
        let now = Instant::now();
        let budget = RetryBudget::new(BudgetConfig { ratio: 0.2, burst: 10 }, now);
        (0..1_000).for_each(|_| budget.earn());
        assert_eq!((budget.left(), spend_all(&budget, now)), (10, 10));
        (0..25).for_each(|_| budget.earn());
        assert_eq!(spend_all(&budget, now), 5);
        (0..4).for_each(|_| budget.earn());
        assert!(!budget.spend(now));
        budget.earn();
        assert!(budget.spend(now));
    }

    #[test]
    fn it_fills_up_by_itself_in_ten_seconds() {
        let start = Instant::now();
        let budget = RetryBudget::new(BudgetConfig { ratio: 0.0, burst: 100 }, start);
        assert_eq!(spend_all(&budget, start), 100);
        assert_eq!(spend_all(&budget, start + Duration::from_secs(1)), 10);
        assert_eq!(spend_all(&budget, start + Duration::from_secs(500)), 100);
        // A clock that goes back gives nothing.
        assert_eq!(spend_all(&budget, start), 0);
    }

    #[test]
    fn while_everything_fails_retries_stay_a_part_of_the_statements() {
        let now = Instant::now();
        let budget = RetryBudget::new(BudgetConfig::default(), now);
        let mut retries = 0;
        for _ in 0..10_000 {
            budget.earn();
            // Each would be tried five times in all.
            retries += (0..4).take_while(|_| budget.spend(now)).count();
        }
        assert!((2_000..=2_100).contains(&retries), "{retries}");
    }

    #[test]
    fn odd_configurations_do_no_harm() {
        let now = Instant::now();
        for ratio in [f64::NAN, -1.0] {
            let budget = RetryBudget::new(BudgetConfig { ratio, burst: 0 }, now);
            budget.earn();
            assert!(!budget.spend(now));
        }
        let budget = RetryBudget::new(BudgetConfig { ratio: f64::MAX, burst: u32::MAX }, now);
        assert!(budget.spend(now));
        budget.earn();
        assert_eq!(budget.left(), u64::from(u32::MAX));
    }
}
