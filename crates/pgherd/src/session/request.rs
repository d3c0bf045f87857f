//! A statement to be: its query type and its shard.

use pgherd_core::route::{QuerySpec, ShardBy};
use pgherd_core::sql::QueryType;
use pgherd_core::{Key, ShardId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::run::{Act, Answer};
use crate::{DistributedPool, Error, Lease};

/// What kind of statement is to run, and which shard it concerns. Made by
/// [`DistributedPool::read`] and its siblings.
///
/// A read is tried again on another replica, then on the primary, when its backend dies; any
/// other statement only when it provably did not run. The schedule is `[retry]`'s.
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is given a statement"]
pub struct Request<'p> {
    pool: &'p DistributedPool,
    spec: QuerySpec,
}

impl<'p> Request<'p> {
    pub(crate) fn new(pool: &'p DistributedPool, query_type: QueryType) -> Self {
        Self { pool, spec: QuerySpec::new(query_type) }
    }

    /// The same on the shard where this key lives. DDL and distributed statements stay on the
    /// coordinator.
    pub fn shard_key(self, key: impl Into<Key>) -> Self {
        Self { spec: self.spec.with_key(key), ..self }
    }

    /// The same on this shard.
    pub fn shard(self, shard: ShardId) -> Self {
        let spec = QuerySpec { shard_by: Some(ShardBy::Shard(shard)), ..self.spec };
        Self { spec, ..self }
    }

    pub(crate) fn maybe_key(self, key: Option<Key>) -> Self {
        let shard_by = key.map(ShardBy::Key).or(self.spec.shard_by);
        Self { spec: QuerySpec { shard_by, ..self.spec }, ..self }
    }

    /// Runs a statement and collects its rows.
    ///
    /// Dropping the future cancels the statement on the node; whether it still ran is then not
    /// known.
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        match self.pool.run_statement(&self.spec, sql, Act::Query(params)).await? {
            Answer::Rows(rows) => Ok(rows),
            Answer::Count(_) | Answer::Done => Ok(Vec::new()),
        }
    }

    /// Runs a statement that gives exactly one row. Cancellation as for [`Self::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for any other
    /// number of rows, after the statement has run.
    pub async fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        match self.pool.run_statement(&self.spec, sql, Act::QueryOne(params)).await? {
            Answer::Rows(mut rows) => {
                Ok(rows.pop().expect("run_statement() lets exactly one row through for this act"))
            }
            Answer::Count(_) | Answer::Done => {
                unreachable!("run_statement() answers a query with rows")
            }
        }
    }

    /// Runs a statement and answers how many rows it concerned. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        match self.pool.run_statement(&self.spec, sql, Act::Execute(params)).await? {
            Answer::Count(count) => Ok(count),
            Answer::Rows(_) | Answer::Done => Ok(0),
        }
    }

    /// Runs a text of one or more statements, without parameters and for their effect. Several
    /// run as one transaction, unless the text says otherwise. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.pool.run_statement(&self.spec, sql, Act::Batch).await.map(drop)
    }

    /// Borrows a backend that fits, for several statements. What runs on it is not tried
    /// again; that it can be acquired is: on another replica, then on the primary for reads.
    ///
    /// Dropping the future leaves the queue as if it had never been called.
    ///
    /// # Errors
    /// [`ErrorKind::Route`](crate::ErrorKind::Route) and
    /// [`ErrorKind::Acquire`](crate::ErrorKind::Acquire).
    pub async fn acquire(&self) -> Result<Lease, Error> {
        self.pool.lease(&self.spec).await
    }
}
