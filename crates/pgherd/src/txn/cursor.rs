//! The part of a distributed transaction that runs on one shard.

use std::fmt;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::TryStreamExt;
use pgherd_core::ShardId;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};

use super::open::OpenTransaction;
use crate::error::Cause;
use crate::session::{InBlock, Params, drain, only};
use crate::{Error, Lease};

/// The part of a distributed transaction that runs on one shard.
///
/// After an error of PostgreSQL the transaction accepts nothing more on this shard and cannot
/// commit. SQLSTATE 40P01 also comes from a deadlock over several shards, which this one had to
/// give way in. Statements that end a transaction are not for cursors: the commit would find out,
/// and roll the other shards back.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let transaction = pool.distributed_transaction(["alice", "bob"]).await?;
/// let cursor = transaction.for_key("alice")?;
/// println!("alice is on shard {}, which is {} now", cursor.shard(), cursor.node());
/// cursor.batch("SAVEPOINT before").await?;
/// let sql = "SELECT balance FROM accounts WHERE owner = 'alice' FOR UPDATE";
/// let balance: i32 = cursor.query_one(sql, &[]).await?.get(0);
/// if balance >= 30 {
///     cursor.execute("UPDATE accounts SET balance = balance - 30", &[]).await?;
/// }
/// for row in cursor.query("SELECT owner FROM accounts", &[]).await? {
///     println!("{}", row.get::<_, &str>(0));
/// }
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
pub struct Cursor {
    shard: ShardId,
    lease: Lease,
    transaction: Arc<OpenTransaction>,
}

impl Cursor {
    pub(super) fn new(shard: ShardId, lease: Lease, transaction: Arc<OpenTransaction>) -> Self {
        Self { shard, lease, transaction }
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// The name of the node.
    pub fn node(&self) -> &str {
        self.lease.node()
    }

    /// Runs a statement and collects its rows. It is not tried again.
    ///
    /// Dropping the future leaves the statement to run to its end inside the transaction.
    ///
    /// # Errors
    /// [`Error`]; nothing of the transaction is committed by it.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        let before = self.lease.statements();
        self.in_time(pin!(async {
            let rows = self.begin(sql, params, before).await?;
            rows.try_collect().await.map_err(|error| self.error(error, before))
        }))
        .await
    }

    async fn in_time<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let progress = self.transaction.progress();
        progress.statement(self.lease.pool(), pin!(self.lease.drive(work))).await
    }

    /// The statements that the backend keeps prepared serve here, too.
    async fn begin(&self, sql: &str, params: Params<'_>, before: u64) -> Result<RowStream, Error> {
        self.lease.begin_in_block(sql, params).await.map_err(|error| match error {
            InBlock::Stale(error) => Error::new(Cause::StalePlan { error }).at(self.node().into()),
            InBlock::Failed(error) => self.error(error, before),
        })
    }

    /// Runs a statement that gives exactly one row. Cancellation as for [`Self::query`].
    ///
    /// # Errors
    /// [`Error`]; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for another number of rows.
    pub async fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        only(self.query(sql, params).await?, sql, self.node())
    }

    /// Runs a statement and answers how many rows it concerned. Cancellation as for
    /// [`Self::query`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let before = self.lease.statements();
        self.in_time(pin!(async {
            let rows = self.begin(sql, params, before).await?;
            drain(rows).await.map_err(|error| self.error(error, before))
        }))
        .await
    }

    /// Runs a text of one or more statements without parameters, for their effect.
    /// Cancellation as for [`Self::query`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        let before = self.lease.statements();
        let run = async {
            let client = self.lease.backend().client();
            client.batch_execute(sql).await.map_err(|error| self.error(error, before))
        };
        self.in_time(pin!(run)).await
    }

    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }

    fn error(&self, error: tokio_postgres::Error, before: u64) -> Error {
        let is_cancelled = error.code() == Some(&SqlState::QUERY_CANCELED);
        if is_cancelled && self.transaction.is_victim() {
            return Error::new(Cause::Deadlock { error }).at(self.node().into());
        }
        let was_sent = self.lease.statements() > before;
        Error::statement(error, self.node().into(), self.lease.is_closed(), was_sent)
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor").field("shard", &self.shard).field("node", &self.node()).finish()
    }
}
