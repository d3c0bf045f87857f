//! One whole proxy under simulation.
//!
//! The loops of one to three cores run in one thread over a [`network`] that is nothing but memory,
//! in a time of its own. [`client`]s come, ask, pipeline, cancel, read slowly, break the rules and go;
//! [`server`]s answer, stall and die. All of it is determined by a seed, and after each call of a
//! loop the [`invariants`] are checked.
//!
//! A client judges what it reads by a [`session`] of its own: what a server would have said that
//! serves nobody else. The servers behind the proxy run the same sessions, and tell whose statements
//! they were sent, what was left when somebody else came, and what was written how many times.
//!
//! `cargo x mutants` puts six bugs in, one at a time, and sees that they are found.
//!
//! `cargo x sim` runs a million transactions; the tests here run a few thousand.
//! `PGHERD_SIM_SEED` runs one seed again, `PGHERD_SIM_TRANSACTIONS` says how many in all.

mod client;
mod driver;
mod invariants;
mod network;
mod random;
mod server;
mod session;
mod trace;
mod world;

use std::time::Duration;

/// What a time-out may be late by, and less: a tick, and the way of what is said.
const LATE: Duration = Duration::from_millis(500);

mod tests;
