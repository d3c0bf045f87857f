//! Statements: routed, run on a lease, and tried again where that is safe.
//!
//! In: a statement with its query type and shard. Out: its rows, or the error of the last try.
//!
//! What may be tried again, and where, is decided in `retry.rs` from what the error proves; for a
//! whole transaction in `fate.rs`.

mod auto;
mod fate;
mod lookup;
mod request;
mod retry;
mod run;
mod transaction;
mod unit;

pub use auto::Auto;
pub use request::Request;
pub use transaction::{Transaction, TransactionRequest};
pub use unit::UnitOfWork;
