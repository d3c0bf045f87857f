//! Watches the nodes and publishes what is believed of them.
//!
//! In: answers to probes, failures of ordinary traffic. Out: snapshots of the topology behind
//! an atomic pointer.
//!
//! One task and one connection a node; what an observation means is decided by
//! `pgherd_core::health`. Usable without a pool: the proxy runs one beside its loops.

mod monitor;
mod prober;

pub(crate) use monitor::Reporter;
pub use monitor::{HealthMonitor, ProbeAnswer};
