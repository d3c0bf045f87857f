//! The counts that all statements of a pool add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherd_core::sql::QueryType;
use pgherd_core::stats::Counters;

/// See the module's header. Each number is exact; together they are not of one moment.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    reads: AtomicU64,
    writes: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    timed: AtomicU64,
    micros: AtomicU64,
}

impl Counting {
    /// A statement was asked for.
    pub(crate) fn count(&self, query_type: QueryType) {
        self.count_wire(query_type, 1, 0);
    }

    /// So many statements were seen on a lease, so many errors among them.
    pub(crate) fn count_wire(&self, query_type: QueryType, statements: u64, errors: u64) {
        let counter = if query_type == QueryType::Read { &self.reads } else { &self.writes };
        counter.fetch_add(statements, Ordering::Relaxed);
        self.errors.fetch_add(errors, Ordering::Relaxed);
    }

    /// A statement that was asked for has ended.
    pub(crate) fn finish(&self, latency: Duration, has_failed: bool) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.timed.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        self.errors.fetch_add(u64::from(has_failed), Ordering::Relaxed);
    }

    /// A statement is tried once more.
    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// The brief's counters.
    pub(crate) fn counters(&self) -> Counters {
        let reads = self.reads.load(Ordering::Relaxed);
        let writes = self.writes.load(Ordering::Relaxed);
        Counters {
            total: reads + writes,
            reads,
            writes,
            errors: self.errors.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        }
    }

    /// The mean time a statement took, from being asked for to its last row, waits and tries
    /// included; zero when there was none.
    pub(crate) fn mean_latency(&self) -> Duration {
        let timed = self.timed.load(Ordering::Relaxed);
        let micros = self.micros.load(Ordering::Relaxed);
        Duration::from_micros(micros.checked_div(timed).unwrap_or(0))
    }
}
