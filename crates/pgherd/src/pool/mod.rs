//! The backends of one node, lent one by one.
//!
//! In: acquires, releases. Out: a [`Lease`], or an [`AcquireError`] that says why not.
//!
//! Who is served next is decided by `pgherd_core::pool`, under the lock; opening, closing and
//! waking happen outside of it. [`Pool`] does that for whatever a [`Manager`] opens;
//! `NodePool` is one whose manager dials a node. Which node to ask is not decided here.

mod close;
mod driven;
mod error;
mod event;
mod hooks;
mod lease;
mod lending;
mod lent;
mod limits;
mod manager;
mod node_pool;
mod opening;
mod overdue;
mod place;
mod state;
mod upkeep;
mod waiter;

pub use error::AcquireError;
pub use event::{CloseReason, PoolEvent};
pub(crate) use hooks::Hooks;
pub use hooks::{HookError, Verdict};
pub use lease::Lease;
pub use lending::Pool;
pub use lent::Lent;
pub use limits::Limits;
pub use manager::{Fate, Manager};
pub(crate) use node_pool::{ANSWER_DELAY, NodePool};
pub use overdue::OverdueLease;
pub use state::PoolCounts;
pub(crate) use state::TakenAt;

#[cfg(test)]
mod tests;
