//! A transaction over several shards that is asked for.

use std::future::IntoFuture;
use std::panic::Location;
use std::pin::Pin;
use std::time::Duration;

use pgherd_core::Key;

use crate::pool::TakenAt;
use crate::{DistributedPool, DistributedTransaction, Error, Session};

/// A transaction over several shards to be. Made by
/// [`DistributedPool::distributed_transaction`]. Awaited, it begins and is a
/// [`DistributedTransaction`].
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use std::time::Duration;
///
/// let request = pool.distributed_transaction(["alice", "bob"]).deadline(Duration::from_secs(5));
/// let transaction = request.begin().await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a transaction does nothing until it is begun"]
pub struct DistributedTransactionRequest<'p> {
    pub(super) pool: &'p DistributedPool,
    pub(super) keys: Vec<Key>,
    pub(super) session: Option<Session>,
    pub(super) limit: Duration,
}

impl<'p> DistributedTransactionRequest<'p> {
    pub(crate) fn new(pool: &'p DistributedPool, keys: Vec<Key>, session: Option<Session>) -> Self {
        let limit = pool.settings().retry.transaction_deadline;
        Self { pool, keys, session, limit }
    }

    /// The same, in this time: from its begin to the answer to its commit, with the waits for
    /// primaries and backends, its statements, and what the program does between them. Zero is for
    /// ever. Default: `retry.transaction_deadline`.
    ///
    /// Then it takes no more statements. A commit that has not been decided is rolled back on all
    /// shards: [`ErrorKind::Deadline`](crate::ErrorKind::Deadline). One that is just being decided
    /// is [`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt), SQLSTATE 08007; one that is decided has
    /// committed, and what is not finished is in
    /// [`Committed::pending`](crate::Committed::pending). Both are carried to their end without the
    /// caller.
    pub fn deadline(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// Begins it: opens a transaction block on each shard.
    ///
    /// Dropping the future rolls back what was begun.
    ///
    /// # Errors
    /// See [`DistributedPool::distributed_transaction`].
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<DistributedTransaction, Error>> + Send {
        self.begin_at(Some(Location::caller()))
    }

    async fn begin_at(&self, taken_at: TakenAt) -> Result<DistributedTransaction, Error> {
        DistributedTransaction::begin(self, taken_at).await
    }
}

impl<'p> IntoFuture for DistributedTransactionRequest<'p> {
    type Output = Result<DistributedTransaction, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'p>>;

    /// See [`Self::begin`].
    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        let taken_at = Location::caller();
        Box::pin(async move { self.begin_at(Some(taken_at)).await })
    }
}
