//! The backends of one node, lent one by one.
//!
//! In: acquires, releases. Out: a [`Lease`], or an [`AcquireError`] that says why not.
//!
//! Who is served next is decided by `pgherd_core::pool`, under the lock; opening, closing and
//! waking happen outside of it. Which node to ask is not decided here.

mod error;
mod lease;
mod node_pool;
mod release;
mod waiting;

pub use error::AcquireError;
pub use lease::Lease;
pub(crate) use node_pool::{Limits, NodePool};
