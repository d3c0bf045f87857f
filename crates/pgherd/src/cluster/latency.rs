//! How long statements take, as distributions.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::mutex::Mutex;

/// Longer ones count as this long.
const LONGEST: Duration = Duration::from_secs(3600);

/// Two digits: a percentile is right to 1 %, and a distribution takes at most some 30 KiB.
const DIGITS: u8 = 2;

/// Takes latencies in, at any moment from any thread.
pub(crate) struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    fn default() -> Self {
        let most = u64::try_from(LONGEST.as_micros()).unwrap_or(u64::MAX);
        let histogram = Histogram::new_with_max(most, DIGITS).expect("these bounds are allowed");
        Self(Mutex::new(histogram))
    }
}

impl Latencies {
    /// A statement took this long.
    pub(crate) fn record(&self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.0.lock().saturating_record(micros);
    }

    /// What was taken in so far.
    pub(crate) fn summary(&self) -> LatencySummary {
        let histogram = self.0.lock();
        let seconds = |micros: u64| micros as f64 / 1e6;
        let at = |quantile| seconds(histogram.value_at_quantile(quantile));
        if histogram.is_empty() {
            return LatencySummary::default();
        }
        LatencySummary {
            count: histogram.len(),
            mean_seconds: histogram.mean() / 1e6,
            p50_seconds: at(0.5),
            p90_seconds: at(0.9),
            p99_seconds: at(0.99),
            max_seconds: seconds(histogram.max()),
        }
    }
}

impl std::fmt::Debug for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Latencies({} taken)", self.0.lock().len())
    }
}

/// How long statements took, in seconds, each to 1 % or a microsecond. All are 0 before the
/// first. See [`Statistics::latency`](crate::Statistics::latency).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct LatencySummary {
    /// How many.
    pub count: u64,
    /// On average.
    pub mean_seconds: f64,
    /// Half of them took this long or less.
    pub p50_seconds: f64,
    /// Nine of ten.
    pub p90_seconds: f64,
    /// 99 of a hundred.
    pub p99_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_what_was_taken_in() {
        let latencies = Latencies::default();
        assert_eq!(latencies.summary(), LatencySummary::default());
        (1..=1000).for_each(|ms| latencies.record(Duration::from_millis(ms)));
        let summary = latencies.summary();
        let near = |seconds: f64, expected: f64| (seconds / expected - 1.0).abs() < 0.01;
        assert_eq!(summary.count, 1000);
        assert!(near(summary.mean_seconds, 0.5), "{summary:?}");
        assert!(near(summary.p50_seconds, 0.5), "{summary:?}");
        assert!(near(summary.p90_seconds, 0.9), "{summary:?}");
        assert!(near(summary.p99_seconds, 0.99), "{summary:?}");
        assert!(near(summary.max_seconds, 1.0), "{summary:?}");
        latencies.record(Duration::MAX);
        latencies.record(Duration::ZERO);
        let summary = latencies.summary();
        assert_eq!(summary.count, 1002);
        assert!(near(summary.max_seconds, 3600.0), "{summary:?}");
    }
}
