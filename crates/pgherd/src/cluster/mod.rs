//! The handle of a cluster: what a program holds.
//!
//! In: settings. Out: [`DistributedPool`], which routes, counts and reports.
//!
//! How statements run is `session`'s, how backends are lent `pool`'s, how transactions over
//! several shards commit `txn`'s.

mod builder;
mod counting;
mod fullness;
mod handle;
mod instance;
mod latency;
mod report;
mod statistics;

pub use builder::{Builder, Start};
pub(crate) use counting::Counting;
pub use fullness::{ListenerStatistics, ParseCacheStatistics, PreparedStatistics};
pub use handle::DistributedPool;
pub(crate) use handle::Inner;
pub(crate) use instance::instance_name;
pub use latency::LatencySummary;
pub use report::{CoordinatorHealth, HealthReport, NodeReport, ReplicaHealth, WorkerHealth};
pub use statistics::{NodeStatistics, QueryTypeStatistics, Statistics};
