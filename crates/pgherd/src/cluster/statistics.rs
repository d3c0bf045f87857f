//! What `statistics()` answers.

use pgherd_core::stats::Counters;
use pgherd_core::{NodeRole, QueryType};
use serde::Serialize;

use super::{Counting, LatencySummary, ListenerStatistics};
use super::{ParseCacheStatistics, PreparedStatistics};
use crate::OverdueLease;
use crate::pool::NodePool;

/// What a pool has done since it was built. The first five fields, serialised, are `total`,
/// `reads`, `writes`, `errors` and `retries`.
///
/// ```no_run
/// # fn f(pool: &pgherd::DistributedPool) {
/// let statistics = pool.statistics();
/// println!("{} statements, {} errors", statistics.counters.total, statistics.counters.errors);
/// for node in &statistics.nodes {
///     println!("{}: {} busy, {} idle, {} waiting", node.name, node.busy, node.idle, node.waiting);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Statistics {
    /// Statements asked for, by kind, and how they went. On a lease each statement on the wire
    /// counts, BEGIN and COMMIT too.
    #[serde(flatten)]
    pub counters: Counters,
    /// Backends lent.
    pub acquires: u64,
    /// Backends opened.
    pub opens: u64,
    /// The share of acquires that needed no new backend, 0 to 1; 0 before the first.
    pub reuse_ratio: f64,
    /// Deadlocks over several shards that were ended.
    pub deadlocks: u64,
    /// Statements that were not tried once more because the retry budget was used up.
    pub refused_retries: u64,
    /// Statements that were declared to be reads and write: a replica refused them before they ran on
    /// the primary. The log names each text once, at level `warn`.
    pub misplaced_reads: u64,
    /// The mean time of a statement that ran through the pool's own methods, waits and further
    /// tries included, in seconds; 0 before the first.
    pub mean_latency_seconds: f64,
    /// How long statements of each type took that ran through the pool's own methods, as their
    /// callers saw it: waits and further tries included.
    pub query_types: Vec<QueryTypeStatistics>,
    /// The same for each node, in the order of the settings.
    pub nodes: Vec<NodeStatistics>,
    /// What is remembered of statement texts.
    pub parse_cache: ParseCacheStatistics,
    /// The listeners that there are, in no order.
    pub listeners: Vec<ListenerStatistics>,
}

impl Statistics {
    pub(super) fn new(
        nodes: Vec<NodeStatistics>,
        counting: &Counting,
        counters: Counters,
        deadlocks: u64,
        parse_cache: ParseCacheStatistics,
        listeners: Vec<ListenerStatistics>,
    ) -> Self {
        let query_types = QueryType::ALL.map(|query_type| {
            let latency = counting.latency(query_type);
            QueryTypeStatistics { query_type, latency }
        });
        let acquires = nodes.iter().map(|node| node.acquires).sum();
        let opens = nodes.iter().map(|node| node.opens).sum();
        Self {
            counters,
            acquires,
            opens,
            reuse_ratio: reuse_ratio(acquires, opens),
            deadlocks,
            refused_retries: counting.refused_retries(),
            misplaced_reads: counting.misplaced().count(),
            mean_latency_seconds: mean(query_types.iter().map(|entry| entry.latency)),
            query_types: query_types.to_vec(),
            nodes,
            parse_cache,
            listeners,
        }
    }

    /// The entry of the node with this name.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// if let Some(node) = pool.statistics().node("coordinator") {
    ///     println!("{} of {} acquires had to wait", node.waits, node.acquires);
    /// }
    /// # }
    /// ```
    pub fn node(&self, name: &str) -> Option<&NodeStatistics> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// How long statements of this type took.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// use pgherd::QueryType;
    ///
    /// let reads = pool.statistics().latency(QueryType::Read);
    /// println!("{} reads, 99 of a hundred within {} s", reads.count, reads.p99_seconds);
    /// # }
    /// ```
    pub fn latency(&self, query_type: QueryType) -> LatencySummary {
        let found = self.query_types.iter().find(|entry| entry.query_type == query_type);
        found.map(|entry| entry.latency).unwrap_or_default()
    }
}

/// The statements of one type. See [`Statistics::latency`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct QueryTypeStatistics {
    /// The type.
    pub query_type: QueryType,
    /// How long they took.
    pub latency: LatencySummary,
}

/// What was done with one node. See [`Statistics::node`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeStatistics {
    /// Its name.
    pub name: String,
    /// What it is to its group now.
    pub role: NodeRole,
    /// Statements that were sent to it; a statement that was tried twice is two.
    pub statements: u64,
    /// Errors it reported.
    pub errors: u64,
    /// Backends lent.
    pub acquires: u64,
    /// Backends opened.
    pub opens: u64,
    /// Attempts to open a backend that failed.
    pub failed_opens: u64,
    /// Backends that are borrowed now.
    pub busy: usize,
    /// Backends that are open and free now.
    pub idle: usize,
    /// Backends that are being opened now.
    pub opening: usize,
    /// Acquires that wait now.
    pub waiting: usize,
    /// How long it took to answer statements that ran through the pool's own methods: one try
    /// each, without the wait for a backend.
    pub latency: LatencySummary,
    /// Acquires that had to wait.
    pub waits: u64,
    /// Acquires that had no backend in time.
    pub timeouts: u64,
    /// Acquires that were refused because as many waited as may.
    pub refusals: u64,
    /// Backends closed, or ended by themselves.
    pub closes: u64,
    /// Leases that have been held for longer than `pool.leak_after`, now.
    pub overdue: Vec<OverdueLease>,
    /// The same since the start, as far as they were reported.
    pub overdue_total: u64,
    /// Leases that ended with a session that might hold state, and was reset.
    pub resets: u64,
    /// Those of them where something was found beside settings: temporary relations, advisory
    /// locks and the like.
    pub resets_with_leftovers: u64,
    /// Leases that ended with a session that might hold state, and was closed: a reset would not
    /// do (LOAD, DISCARD ALL, a pooler in between), or failed.
    pub closed_with_state: u64,
    /// What its backends keep prepared.
    pub prepared: PreparedStatistics,
}

impl NodeStatistics {
    /// `prepared` is how many statements a backend may keep.
    pub(super) fn new(pool: &NodePool, role: NodeRole, counting: &Counting, prepared: u32) -> Self {
        let backends = pool.backends();
        let (counts, load) = (backends.counts(), backends.load());
        let (statements, errors) = pool.statements();
        let (resets, resets_with_leftovers, closed_with_state) = pool.resets();
        Self {
            name: pool.node().to_string(),
            role,
            statements,
            errors,
            acquires: counts.acquires,
            opens: counts.opens,
            failed_opens: counts.failed_opens,
            busy: load.busy,
            idle: load.idle,
            opening: load.opening,
            waiting: load.waiting,
            latency: counting.node_latency(pool.id()),
            waits: counts.waits,
            timeouts: counts.timeouts,
            refusals: counts.refusals,
            closes: counts.closes,
            overdue: backends.overdue(),
            overdue_total: counts.overdue,
            resets,
            resets_with_leftovers,
            closed_with_state,
            prepared: PreparedStatistics::new(pool, prepared),
        }
    }
}

fn reuse_ratio(acquires: u64, opens: u64) -> f64 {
    if acquires == 0 { 0.0 } else { acquires.saturating_sub(opens) as f64 / acquires as f64 }
}

/// The mean over several summaries; 0 over nothing.
fn mean(summaries: impl Iterator<Item = LatencySummary> + Clone) -> f64 {
    let count: u64 = summaries.clone().map(|summary| summary.count).sum();
    let total: f64 = summaries.map(|summary| summary.mean_seconds * summary.count as f64).sum();
    if count == 0 { 0.0 } else { total / count as f64 }
}
