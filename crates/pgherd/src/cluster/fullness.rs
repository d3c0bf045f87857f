//! How full what is bounded is.

use pgherd_core::sql::ClassCache;
use serde::Serialize;

use crate::pool::NodePool;

/// What the backends of one node keep prepared.
///
/// ```no_run
/// # fn f(pool: &pgherd::DistributedPool) {
/// for node in pool.statistics().nodes {
///     let prepared = node.prepared;
///     if prepared.fullest == prepared.limit && prepared.evictions > 0 {
///         println!("{}: pool.prepared_per_backend = {} is too few", node.name, prepared.limit);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PreparedStatistics {
    /// Statements that are kept now, over all backends of the node.
    pub entries: usize,
    /// Statements that are kept now on the backend that keeps most.
    pub fullest: usize,
    /// How many each backend may keep, `pool.prepared_per_backend`; none behind a pooler.
    pub limit: usize,
    /// Uses of a statement that was prepared before.
    pub hits: u64,
    /// Uses that had to prepare it first, at the price of a round trip.
    pub misses: u64,
    /// Statements that were closed because there were too many on their backend.
    pub evictions: u64,
}

impl PreparedStatistics {
    pub(super) fn new(pool: &NodePool, limit: u32) -> Self {
        let fill = pool.dialer().caches().fill();
        Self {
            entries: fill.entries,
            fullest: fill.fullest,
            limit: limit as usize,
            hits: fill.uses.hits,
            misses: fill.uses.misses,
            evictions: fill.uses.evictions,
        }
    }
}

/// What the parser has found out about texts, remembered for all nodes.
///
/// ```no_run
/// # fn f(pool: &pgherd::DistributedPool) {
/// let texts = pool.statistics().parse_cache;
/// println!("{} texts in {} of {} bytes", texts.entries, texts.bytes, texts.limit_bytes);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ParseCacheStatistics {
    /// Texts that are remembered now.
    pub entries: usize,
    /// What they take, roughly.
    pub bytes: u64,
    /// What they may take, `pool.statement_cache_bytes`.
    pub limit_bytes: u64,
    /// Texts that were remembered when they were asked for.
    pub hits: u64,
    /// Texts that had to be parsed.
    pub misses: u64,
}

impl ParseCacheStatistics {
    pub(super) fn new(classes: &ClassCache) -> Self {
        Self {
            entries: classes.len(),
            bytes: classes.used_bytes(),
            limit_bytes: classes.capacity_bytes(),
            hits: classes.hits(),
            misses: classes.misses(),
        }
    }
}

/// What waits for the reader of one [`Listener`](crate::Listener).
///
/// ```no_run
/// # fn f(pool: &pgherd::DistributedPool) {
/// for listener in pool.statistics().listeners.iter().filter(|listener| listener.dropped > 0) {
///     println!("who reads {:?} is too slow: {} are gone", listener.channels, listener.dropped);
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ListenerStatistics {
    /// The channels it listens to.
    pub channels: Vec<String>,
    /// Events that wait to be read now.
    pub backlog: usize,
    /// How many may, `pool.listener_backlog`.
    pub limit: usize,
    /// Events that were dropped because more would have waited.
    pub dropped: u64,
}
