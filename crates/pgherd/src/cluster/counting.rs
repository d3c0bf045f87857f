//! The counts that all statements of a pool add to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherd_core::NodeId;
use pgherd_core::sql::QueryType;
use pgherd_core::stats::Counters;

use super::latency::{Latencies, LatencySummary};
use crate::session::Misplaced;

/// See the module's header. Each number is exact; together they are not of one moment.
#[derive(Debug)]
pub(crate) struct Counting {
    reads: AtomicU64,
    writes: AtomicU64,
    errors: AtomicU64,
    retries: AtomicU64,
    refused_retries: AtomicU64,
    misplaced: Misplaced,
    // As their callers saw them, by query type.
    latencies: [Latencies; QueryType::ALL.len()],
    // One try each, without the wait for a backend, by node id.
    node_latencies: Box<[Latencies]>,
}

impl Counting {
    /// Nothing yet, of so many nodes.
    pub(crate) fn new(nodes: usize) -> Self {
        Self {
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            refused_retries: AtomicU64::new(0),
            misplaced: Misplaced::default(),
            latencies: Default::default(),
            node_latencies: (0..nodes).map(|_| Latencies::default()).collect(),
        }
    }

    /// A statement was asked for.
    pub(crate) fn count(&self, query_type: QueryType) {
        self.count_some(query_type, 1, 0);
    }

    /// So many statements were asked for, and so many of them failed.
    pub(crate) fn count_some(&self, query_type: QueryType, statements: u64, errors: u64) {
        let counter = if query_type == QueryType::Read { &self.reads } else { &self.writes };
        counter.fetch_add(statements, Ordering::Relaxed);
        if errors > 0 {
            self.errors.fetch_add(errors, Ordering::Relaxed);
        }
    }

    /// A statement that was asked for has ended.
    pub(crate) fn finish(&self, query_type: QueryType, latency: Duration, has_failed: bool) {
        self.latencies[query_type as usize].record(latency);
        if has_failed {
            self.errors.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A statement is tried once more.
    pub(crate) fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A statement was not tried once more, because the budget for that is used up.
    pub(crate) fn count_refused_retry(&self) {
        self.refused_retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Statements that were not tried once more for want of a budget.
    pub(crate) fn refused_retries(&self) -> u64 {
        self.refused_retries.load(Ordering::Relaxed)
    }

    /// Statements that were declared to be reads, and write.
    pub(crate) fn misplaced(&self) -> &Misplaced {
        &self.misplaced
    }

    /// A node answered a statement in this time.
    pub(crate) fn answered(&self, node: NodeId, latency: Duration) {
        if let Some(latencies) = self.node_latencies.get(node.index()) {
            latencies.record(latency);
        }
    }

    /// How long the statements of one type took.
    pub(crate) fn latency(&self, query_type: QueryType) -> LatencySummary {
        self.latencies[query_type as usize].summary()
    }

    /// How long one node took.
    pub(crate) fn node_latency(&self, node: NodeId) -> LatencySummary {
        self.node_latencies.get(node.index()).map(Latencies::summary).unwrap_or_default()
    }

    /// The brief's counters, with what each node has counted on leases.
    pub(crate) fn counters(&self, leased: impl Iterator<Item = Counters>) -> Counters {
        let reads = self.reads.load(Ordering::Relaxed);
        let writes = self.writes.load(Ordering::Relaxed);
        let mut sum = Counters {
            total: reads + writes,
            reads,
            writes,
            errors: self.errors.load(Ordering::Relaxed),
            retries: self.retries.load(Ordering::Relaxed),
        };
        for node in leased {
            sum += node;
        }
        sum
    }
}
