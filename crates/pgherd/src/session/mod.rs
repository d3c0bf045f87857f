//! Statements: routed, run on a lease, and tried again where that is safe.
//!
//! In: a statement with its query type and shard. Out: its rows, or the error of the last try.
//!
//! What may be tried again, and where, is decided in `retry.rs` from what the error proves.

mod auto;
mod request;
mod retry;
mod run;

pub use auto::Auto;
pub use request::Request;
