//! Worlds to test pgherd in.
//!
//! Real PostgreSQL clusters with streaming replicas ([`Cluster`]), a TCP link that fails on
//! command ([`Link`]), load ([`Pgbench`]), poolers in between ([`PgBouncer`], [`Pooler`]), and bytes
//! that nobody should send ([`hostile`]).
//! Blocking, on `std`: a test may use it from wherever it runs.
//!
//! Everything a cluster started ends with it, whatever becomes of the program that started it:
//! see [`guardian`].

mod account;
pub mod cluster;
mod daemon;
pub mod engine;
pub mod exporter;
pub mod guardian;
pub mod hostile;
pub mod link;
pub mod load;
pub mod node;
pub mod pgbouncer;
pub mod pooler;
pub mod prometheus;

pub use cluster::{Cluster, ClusterSpec, ServerTls};
pub use engine::Engine;
pub use exporter::Exporter;
pub use link::Link;
pub use load::{Pgbench, PgbenchReport, Progress};
pub use node::{Node, Role};
pub use pgbouncer::PgBouncer;
pub use pooler::{Pooler, PoolerSpec, RunsAs};
pub use prometheus::Prometheus;

/// What goes wrong in a lab: the text says what, where, and what to do.
pub type Error = anyhow::Error;

/// A result with this crate's error.
pub type Result<T> = anyhow::Result<T>;
