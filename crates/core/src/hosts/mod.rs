//! The ways to one node: the hosts that it is listed under, and which of their addresses is tried
//! next.
//!
//! In: the text of a node's `host`, addresses that were found, what became of opens, the time.
//! Out: the address for the next attempt, and how long it may take.
//!
//! All ways lead to the same server, so none of this says anything about the node's health: that is
//! for whoever has tried every way in vain.

mod address;
mod list;
mod ways;

pub use address::Address;
pub(crate) use list::split_port;
pub use list::{BadHosts, Host, read};
pub use ways::{Attempt, Ways};
