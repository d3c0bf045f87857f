//! The deciding half of pgherd: every choice the pool and the proxy make, as functions and
//! state machines over plain values.
//!
//! In: settings, topology snapshots, statement texts, events and the time they happened.
//! Out: routes, leases, delays, effects.
//!
//! Opens no socket or file, reads no clock, environment or random source: those are arguments,
//! so each decision can be tested and replayed.

pub mod balance;
pub mod guard;
pub mod health;
pub mod held;
#[cfg(any(test, fuzzing))]
pub mod hostile;
pub mod hosts;
pub mod id;
pub mod metrics;
pub mod pgbouncer;
pub mod pool;
pub mod reset;
pub mod retry;
pub mod route;
pub mod settings;
pub mod shard;
pub mod sql;
pub mod stats;
pub mod timeouts;
pub mod topology;
pub mod txn;
pub mod units;

pub use id::{Generation, GroupId, NodeId, ShardId};
pub use settings::Settings;
pub use shard::Key;
pub use sql::QueryType;
pub use topology::{NodeRole, Topology};
