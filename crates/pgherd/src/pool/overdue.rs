//! A lease that is held for too long.

use serde::Serialize;

/// A lease that has been held for longer than `pool.leak_after`.
///
/// ```no_run
/// # fn f(pool: &pgherd::DistributedPool) {
/// for node in pool.statistics().nodes {
///     for lease in node.overdue {
///         println!("{}: {} has one for {} s", node.name, lease.taken_at, lease.held_seconds);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OverdueLease {
    /// Where it was taken, `file:line`.
    pub taken_at: String,
    /// For how long it has been held, in whole seconds.
    pub held_seconds: u64,
}
