//! Transactions over several shards, committed in two phases.
//!
//! In: the shards that take part, statements for each. Out: committed on all, rolled back on
//! all, or an error that names what is left to finish.
//!
//! What is absent: a decision that outlives this process. When it dies between the phases, the
//! prepared transactions wait for somebody to finish them.

mod commit;
mod cursor;
mod error;
mod finish;
mod gid;
mod transaction;

pub use cursor::Cursor;
pub use error::{CommitError, Decision, InDoubt};
pub(crate) use gid::Numbering;
pub use transaction::DistributedTransaction;
