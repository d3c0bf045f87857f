//! Transactions over several shards, committed in two phases.
//!
//! In: the shards that take part, statements for each. Out: committed on all, or rolled back on
//! all, even if this process dies in the middle: then recovery, here or in another instance,
//! finishes what was decided.
//!
//! What comes next is decided by [`pgherd_core::txn`]. The decision is a row in a table of the
//! last shard that wrote, committed with that shard's part ([`table`]).

mod commit;
mod cursor;
mod ending;
mod error;
mod gid;
mod keeper;
mod left;
mod open;
mod own_backend;
mod participant;
mod recovery;
mod request;
mod stage;
mod table;
mod transaction;

pub use cursor::Cursor;
pub(crate) use ending::commit_on;
pub use error::{CommitError, InDoubt, RecoveryError};
pub(crate) use gid::Numbering;
pub(crate) use keeper::Keeper;
pub use left::{Decision, LeftTransaction, LeftTransactions, Resolve, ResolveError, Resolved};
pub(crate) use left::{look, resolve};
pub(crate) use open::OpenTransactions;
pub use recovery::Recovered;
pub(crate) use recovery::recover;
pub use request::DistributedTransactionRequest;
pub use table::decision_table_script;
pub(crate) use table::quote_identifier;
pub use transaction::{Committed, DistributedTransaction};

use pgherd_core::ShardId;
use std::sync::Arc;

/// Where a commit over several shards stands. See [`Builder::on_commit_step`].
///
/// [`Builder::on_commit_step`]: crate::Builder::on_commit_step
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CommitStep {
    /// PREPARE TRANSACTION is about to be sent to all but one.
    Preparing,
    /// This shard has answered it.
    Prepared(ShardId),
    /// The decision is about to be sent.
    Deciding,
    /// It was answered: the transaction is committed, or will not be.
    Decided,
    /// This shard has committed, or rolled back, what it had prepared.
    Finished(ShardId),
}

/// Called at each step with the transaction's name.
pub(crate) type CommitHook = Arc<dyn Fn(&str, CommitStep) + Send + Sync>;
