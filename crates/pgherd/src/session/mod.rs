//! Statements: routed, run on a lease, and tried again where that is safe.
//!
//! In: a statement with its query type and shard. Out: its rows, collected or as they come, or the
//! error of the last try.
//!
//! What may be tried again, and where, is decided in `retry.rs` from what the error proves; for a
//! whole transaction in `fate.rs`.

mod act;
mod ask;
mod auto;
mod backlog;
mod copy;
mod excerpt;
mod fate;
mod held;
mod late;
mod listen;
mod listeners;
mod lookup;
mod misplaced;
mod own_writes;
mod pipeline;
mod progress;
mod request;
mod retry;
mod rows;
mod run;
mod transaction;
mod unit;

pub(crate) use act::{InBlock, Params, drain, only};
pub(crate) use ask::Ask;
pub use auto::Auto;
pub use copy::{CopyIn, CopyOut};
pub(crate) use excerpt::excerpt;
pub(crate) use late::{Late, WaitedFor};
pub use listen::{ListenEvent, Listener};
pub(crate) use listeners::Listeners;
pub(crate) use misplaced::Misplaced;
pub use own_writes::Session;
pub(crate) use own_writes::Writing;
pub use pipeline::{Answered, Pipeline};
pub(crate) use progress::Progress;
pub use request::Request;
pub use rows::Rows;
pub use transaction::{Transaction, TransactionRequest};
pub use unit::UnitOfWork;
