//! The counts that `health_check()` and `statistics()` show.

use std::ops::AddAssign;

use serde::Serialize;

use crate::sql::QueryType;

/// What was asked for and how it went, since the start.
///
/// `total` is the number of statements that callers asked for; `reads` and `writes` split it
/// (DDL and distributed statements count as writes). A statement that is tried three times is
/// one in `total` and two in `retries`; it is one in `errors` only if the last try failed.
///
/// ```
/// use pgherd_core::QueryType;
/// use pgherd_core::stats::Counters;
///
/// let mut counters = Counters::default();
/// counters.count(QueryType::Read);
/// counters.count(QueryType::Ddl);
/// counters.count_retry();
/// counters.count_error();
/// assert_eq!((counters.total, counters.reads, counters.writes), (2, 1, 1));
/// assert_eq!(counters.error_rate(), 0.5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Statements asked for.
    pub total: u64,
    /// Of those, reads.
    pub reads: u64,
    /// Of those, everything else.
    pub writes: u64,
    /// Statements whose caller got an error.
    pub errors: u64,
    /// Tries after the first.
    pub retries: u64,
}

impl Counters {
    /// Counts a statement when it is asked for.
    pub fn count(&mut self, query_type: QueryType) {
        self.total += 1;
        match query_type {
            QueryType::Read => self.reads += 1,
            QueryType::Write | QueryType::Ddl | QueryType::Distributed => self.writes += 1,
        }
    }

    /// Counts a statement that failed for good.
    pub fn count_error(&mut self) {
        self.errors += 1;
    }

    /// Counts one more try of a statement.
    pub fn count_retry(&mut self) {
        self.retries += 1;
    }

    /// The share of statements that failed, 0 to 1; 0 when there were none.
    pub fn error_rate(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.errors as f64 / self.total as f64 }
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.total += other.total;
        self.reads += other.reads;
        self.writes += other.writes;
        self.errors += other.errors;
        self.retries += other.retries;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_add_up_to_the_total() {
        let mut counters = Counters::default();
        for query_type in
            [QueryType::Read, QueryType::Write, QueryType::Ddl, QueryType::Distributed]
        {
            counters.count(query_type);
        }
        counters.count_error();
        counters.count_retry();
        let mut sum = counters;
        sum += counters;
        assert_eq!(sum, Counters { total: 8, reads: 2, writes: 6, errors: 2, retries: 2 });
        assert!((sum.error_rate() - 0.25).abs() < 1e-9);
    }
}
