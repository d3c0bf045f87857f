//! The pgherd proxy.
//!
//! In: settings, a listening socket. Out: a PostgreSQL server to whoever connects.
//!
//! The data plane is one readiness loop per core ([`reactor`]) over pure machines: logins
//! ([`session`], [`backend`]) and the relay between a client and the backend it holds
//! ([`relay`]). The control plane (`control`) is the library's health monitor, on a thread of
//! its own.

mod addresses;
pub mod admin;
mod allowance;
pub mod auth;
pub mod backend;
mod control;
pub mod databases;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod listeners;
mod peers;
mod pins;
pub mod reactor;
pub mod relay;
mod serve;
pub mod session;
mod statistics;
mod takeover;
pub mod tls;
mod web;

pub use admin::Reloaded;
pub use peers::Peers;
pub use pins::{Pin, Pins};
pub use reactor::ReloadError;
pub use serve::{Certificates, Pauser, Reloader, ServeError, Server, Stopper};
pub use statistics::NodeStatistics;
pub use takeover::Inherited;
