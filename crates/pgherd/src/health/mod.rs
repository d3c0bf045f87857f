//! Watches the nodes and publishes what is believed of them.
//!
//! In: answers to probes, failures of ordinary traffic. Out: snapshots of the topology behind
//! an atomic pointer, and a wake-up for those who wait for a primary.
//!
//! One task and one connection a node; what an observation means is decided by
//! `pgherd_core::health`. Usable without a pool: the proxy runs one beside its loops.

mod monitor;
mod no_primary;
mod prober;

pub(crate) use monitor::{Follower, Reporter};
pub use monitor::{HealthMonitor, ProbeAnswer};
pub use no_primary::NoPrimary;
