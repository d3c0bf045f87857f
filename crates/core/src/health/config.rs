//! What changes an opinion of a node.

use std::time::Duration;

/// The part of its reads that a node gets first, in percent.
const FIRST_SHARE: f64 = 10.0;

/// How long a node is held off after the first probation that failed; twice as long each time.
const FIRST_HOLD_OFF: Duration = Duration::from_secs(1);

/// What changes an opinion of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// Failures in a row that take a node out. 0 counts as 1.
    pub failures: u32,
    /// Answers in a row that let a node in again. 0 counts as 1.
    pub successes: u32,
    /// How long a standby that was out gets a growing share of its reads. Zero: all at once.
    pub warm_up: Duration,
    /// A standby that fails again and again while it is warmed up stays out for up to this long,
    /// whatever it answers.
    pub most_hold_off: Duration,
    /// How long a node that is out has left every probe without an answer when the connections to
    /// it are cut. Zero: never.
    pub cut_after: Duration,
    /// Whether a primary serves the reads of a replica that is out.
    pub reads_on_primary: bool,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self {
            failures: 3,
            successes: 2,
            warm_up: Duration::from_secs(10),
            most_hold_off: Duration::from_secs(60),
            cut_after: Duration::from_secs(10),
            reads_on_primary: true,
        }
    }
}

impl HealthConfig {
    /// The part of its reads, in percent, that a node gets so long after it came back.
    pub(super) fn share(&self, since: Duration) -> u8 {
        if since >= self.warm_up {
            return 100;
        }
        let part = since.as_secs_f64() / self.warm_up.as_secs_f64();
        // Between 10 and 100: fits.
        (FIRST_SHARE + (100.0 - FIRST_SHARE) * part) as u8
    }

    /// How long a node stays out after so many probations in a row that failed.
    pub(super) fn hold_off(&self, relapses: u32) -> Duration {
        match relapses.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => {
                FIRST_HOLD_OFF.saturating_mul(1 << doublings.min(20)).min(self.most_hold_off)
            }
        }
    }
}
