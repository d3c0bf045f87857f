//! How long the statements of one node have taken lately.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time in which an old latency loses about two thirds of its say.
const MEMORY: Duration = Duration::from_secs(5);

/// A sample counts for this much at least, so that a burst moves the figure too.
const LEAST_SAY: f64 = 0.02;

/// See the module's header. Threads that report at the same moment may lose a sample.
#[derive(Debug, Default)]
pub(super) struct Latency {
    // Seconds, as the bits of an f64. 0 before the first sample.
    smoothed: AtomicU64,
    // Of the last sample: nanoseconds since the first one, which is 1.
    sampled: AtomicU64,
    epoch: OnceLock<Instant>,
}

impl Latency {
    pub(super) fn took(&self, latency: Duration, now: Instant) {
        let since = now.saturating_duration_since(*self.epoch.get_or_init(|| now));
        let nanos = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        let before = self.sampled.swap(nanos, Ordering::Relaxed);
        let sample = latency.as_secs_f64().max(f64::MIN_POSITIVE);
        let old = f64::from_bits(self.smoothed.load(Ordering::Relaxed));
        let new = if old > 0.0 {
            let age = Duration::from_nanos(nanos.saturating_sub(before));
            let say = (-age.as_secs_f64() / MEMORY.as_secs_f64()).exp().min(1.0 - LEAST_SAY);
            old * say + sample * (1.0 - say)
        } else {
            sample
        };
        self.smoothed.store(new.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<Duration> {
        let seconds = f64::from_bits(self.smoothed.load(Ordering::Relaxed));
        if seconds > 0.0 { Duration::try_from_secs_f64(seconds).ok() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latency_follows_what_statements_take_and_forgets() {
        let (latency, start) = (Latency::default(), Instant::now());
        assert_eq!(latency.get(), None);
        latency.took(Duration::from_millis(10), start);
        assert_eq!(latency.get(), Some(Duration::from_millis(10)));
        // One slow one among many moves it little; after a while it is all there is.
        latency.took(Duration::from_millis(110), start + Duration::from_millis(1));
        assert_eq!(latency.get().unwrap().as_millis(), 12);
        latency.took(Duration::from_millis(110), start + Duration::from_secs(60));
        assert!(latency.get().unwrap() > Duration::from_millis(109));
        // A clock that stands still, or a sample out of order, does no harm.
        latency.took(Duration::ZERO, start);
        assert!(latency.get().unwrap() > Duration::from_millis(100));
    }
}
