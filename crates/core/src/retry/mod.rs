//! Whether and when to try again.
//!
//! In: an attempt's number and a random number; an SQLSTATE.
//! Out: how long to wait, or that it is enough; where another try may run.
//!
//! Whether a statement *may* be tried again is decided by its caller, who knows whether
//! it was sent and whether it reads. [`proves_no_effect`] is the part of that
//! which an SQLSTATE can answer.

mod budget;
mod jitter;

pub use budget::{BudgetConfig, RetryBudget};
pub use jitter::{BadJitter, Jitter};

use std::time::Duration;

/// How often and how patiently a statement is tried.
///
/// By default the attempts come at once, then after 100, 200, 400 and 800 ms, each with up to
/// a quarter more of random delay.
///
/// ```
/// use std::time::Duration;
///
/// use pgherd_core::retry::{Jitter, RetryConfig};
///
/// let three = RetryConfig { max_retries: 3, jitter: Jitter::None, ..RetryConfig::default() };
/// let waits: Vec<_> = (1..=4).map(|attempt| three.delay(attempt, 0.5)).collect();
/// let ms = |number| Some(Duration::from_millis(number));
/// assert_eq!(waits, [ms(0), ms(100), ms(200), None]);
/// assert_eq!(RetryConfig::never().delay(2, 0.5), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RetryConfig {
    /// Attempts in all, the first included. 0 counts as 1.
    pub max_retries: u32,
    /// The wait before the second attempt.
    pub initial_backoff: Duration,
    /// What each wait is multiplied by to give the next.
    pub backoff_multiplier: f64,
    /// What chance does to each wait.
    pub jitter: Jitter,
    /// No wait is longer than this, before jitter.
    pub max_backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            max_retries: 5,
            initial_backoff: Duration::from_millis(100),
            backoff_multiplier: 2.0,
            jitter: Jitter::Additive,
            max_backoff: Duration::from_secs(10),
        }
    }
}

impl RetryConfig {
    /// One attempt, no retry.
    pub const fn never() -> Self {
        Self {
            max_retries: 1,
            initial_backoff: Duration::ZERO,
            backoff_multiplier: 1.0,
            jitter: Jitter::None,
            max_backoff: Duration::ZERO,
        }
    }

    /// How long to wait before attempt number `attempt`, counted from 1.
    ///
    /// `random` is uniform in 0 to 1 and used as `jitter` says. `None` when there is no such
    /// attempt. The first is never delayed.
    pub fn delay(&self, attempt: u32, random: f64) -> Option<Duration> {
        if attempt == 0 || attempt > self.max_retries.max(1) {
            return None;
        }
        let Some(waits_before) = attempt.checked_sub(2) else {
            return Some(Duration::ZERO);
        };
        let exponent = i32::try_from(waits_before).unwrap_or(i32::MAX);
        let cap = self.max_backoff.as_secs_f64();
        let wait = self.initial_backoff.as_secs_f64() * self.backoff_multiplier.powi(exponent);
        // min() also turns the NaN of 0 * infinity into the cap.
        let wait = wait.min(cap).max(0.0);
        let wait = self.jitter.apply(wait, random);
        Some(Duration::try_from_secs_f64(wait).unwrap_or(self.max_backoff))
    }
}

/// Where another try may succeed. Says nothing about whether one is safe.
///
/// ```
/// use pgherd_core::retry::Retry;
///
/// // It could not be serialised: the whole transaction again.
/// assert_eq!(Retry::of_sqlstate("40001"), Retry::Same);
/// // A standby does not write: on the primary.
/// assert_eq!(Retry::of_sqlstate("25006"), Retry::Elsewhere);
/// // It is there already, and will be the next time.
/// assert!(!Retry::of_sqlstate("23505").is_worthwhile());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Nowhere: the same statement will fail again.
    No,
    /// On another node of the group, or on the primary.
    Elsewhere,
    /// On the same node, the whole transaction anew.
    Same,
    /// Not before this long from now.
    After(Duration),
}

impl Retry {
    /// What an error with this SQLSTATE says about another try.
    pub fn of_sqlstate(sqlstate: &str) -> Self {
        match sqlstate {
            "40001" | "40P01" => Self::Same,
            // The outcome is unknown; the peer does not speak our language.
            "08007" | "08P01" => Self::No,
            // A standby refuses writes; shutdown, crash, not accepting connections; no slot.
            "25006" | "57P01" | "57P02" | "57P03" | "53300" => Self::Elsewhere,
            other if other.starts_with("08") => Self::Elsewhere,
            _ => Self::No,
        }
    }

    /// Whether another try makes sense at all.
    pub fn is_worthwhile(self) -> bool {
        self != Self::No
    }
}

/// Whether an *error* with this SQLSTATE proves that the statement's transaction left nothing
/// behind: it was rolled back, or refused before it ran.
///
/// `57P01` is proof: a backend that is told to stop reports it as an error only where the
/// transaction can still be rolled back; after a local commit it is a warning. `57P02` is none,
/// because a crash ends a backend at any point, also just after its commit. Nor is the loss of
/// a connection (`08xxx`).
pub fn proves_no_effect(sqlstate: &str) -> bool {
    matches!(sqlstate, "40001" | "40P01" | "25006" | "57P01" | "57P03" | "53300")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn five_attempts_come_at_once_and_after_100_200_400_and_800_ms() {
        let plain = RetryConfig { jitter: Jitter::None, ..RetryConfig::default() };
        let millis: Vec<_> =
            (1..=6).map(|attempt| plain.delay(attempt, 0.9).map(|d| d.as_millis())).collect();
        assert_eq!(millis, [Some(0), Some(100), Some(200), Some(400), Some(800), None]);
        assert_eq!(plain.delay(0, 0.0), None);
    }

    #[test]
    fn jitter_adds_up_to_a_quarter() {
        let config = RetryConfig::default();
        assert_eq!(config.delay(1, 1.0), Some(Duration::ZERO));
        assert_eq!(config.delay(3, 0.0), Some(Duration::from_millis(200)));
        assert_eq!(config.delay(3, 1.0), Some(Duration::from_millis(250)));
    }

    #[test]
    fn full_jitter_takes_any_part_of_the_wait() {
        let config = RetryConfig { jitter: Jitter::Full, ..RetryConfig::default() };
        assert_eq!(config.delay(1, 1.0), Some(Duration::ZERO));
        assert_eq!(config.delay(3, 0.0), Some(Duration::ZERO));
        assert_eq!(config.delay(3, 0.5), Some(Duration::from_millis(100)));
        assert_eq!(config.delay(3, 1.0), Some(Duration::from_millis(200)));
    }

    #[test]
    fn no_retry_means_one_attempt() {
        assert_eq!(RetryConfig::never().delay(1, 0.5), Some(Duration::ZERO));
        assert_eq!(RetryConfig::never().delay(2, 0.5), None);
    }

    #[test]
    fn sqlstates_say_where_another_try_may_run() {
        assert_eq!(Retry::of_sqlstate("40001"), Retry::Same);
        assert_eq!(Retry::of_sqlstate("40P01"), Retry::Same);
        for elsewhere in ["57P01", "57P02", "57P03", "08000", "08001", "08006", "25006"] {
            assert_eq!(Retry::of_sqlstate(elsewhere), Retry::Elsewhere, "{elsewhere}");
        }
        for no in ["08007", "08P01", "42601", "23505", "", "0"] {
            assert_eq!(Retry::of_sqlstate(no), Retry::No, "{no}");
        }
        assert!(proves_no_effect("40001"));
        assert!(!proves_no_effect("57P02"));
        assert!(!proves_no_effect("08006"));
    }

    proptest! {
        #[test]
        fn a_wait_is_within_the_cap_and_its_jitter(
            attempt in 1..2_000u32,
            initial_ms in 0..100_000u64,
            multiplier in 1.0..1e9f64,
            random in proptest::num::f64::ANY,
            jitter in proptest::sample::select(&Jitter::ALL[..]),
        ) {
            let config = RetryConfig {
                max_retries: 1_000,
                initial_backoff: Duration::from_millis(initial_ms),
                backoff_multiplier: multiplier,
                jitter,
                max_backoff: Duration::from_secs(10),
            };
            let delay = config.delay(attempt, random);
            prop_assert_eq!(delay.is_some(), attempt <= 1_000);
            let most = Duration::from_millis(12_500);
            prop_assert!(delay.unwrap_or_default() <= most, "{:?}", delay);
        }

        #[test]
        fn waits_never_shrink_without_jitter(attempt in 1..50u32) {
            let config = RetryConfig { max_retries: 100, jitter: Jitter::None, ..RetryConfig::default() };
            prop_assert!(config.delay(attempt, 0.0) <= config.delay(attempt + 1, 0.0));
        }
    }
}
