//! A transaction on one node: asked for, begun, ended.

use std::fmt;
use std::future::{Future, IntoFuture};
use std::panic::Location;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use pgherd_core::sql::QueryType;
use pgherd_core::{Key, ShardId};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, IsolationLevel, Row, RowStream, SimpleQueryMessage};
use tracing::debug;

use super::act::{InBlock, Params, drain, only};
use super::fate::Fate;
use super::late::WaitedFor;
use super::lookup::ServerSession;
use super::{Ask, Progress};
use crate::conn::Standing;
use crate::error::{Cause, is_pooler_s};
use crate::mutex::Mutex;
use crate::pool::TakenAt;
use crate::txn::commit_on;
use crate::{CommitError, DistributedPool, Error, Lease, UnitOfWork};

/// A transaction to be: where it runs, and how. Made by [`DistributedPool::transaction`].
///
/// It runs on the primary: of the coordinator, or of the shard that is named. Awaited, it begins
/// and is a [`Transaction`]; [`Self::run`] makes a unit of work of it, which is run again where
/// that is safe.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use pgherd::{IsolationLevel, ShardId};
///
/// // A snapshot for a report.
/// let report = pool
///     .transaction()
///     .shard(ShardId(0))
///     .isolation_level(IsolationLevel::Serializable)
///     .read_only()
///     .deferrable()
///     .begin()
///     .await?;
/// let rows = report.query("SELECT * FROM sales", &[]).await?;
/// # let _ = rows;
/// report.commit().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a transaction does nothing until it is begun or run"]
pub struct TransactionRequest<'p> {
    pool: &'p DistributedPool,
    ask: Ask,
    isolation: Option<IsolationLevel>,
    is_read_only: bool,
    is_deferrable: bool,
}

impl<'p> TransactionRequest<'p> {
    pub(crate) fn new(pool: &'p DistributedPool) -> Self {
        let limit = pool.settings().retry.transaction_deadline;
        Self {
            pool,
            ask: Ask { limit, ..Ask::new(QueryType::Write) },
            isolation: None,
            is_read_only: false,
            is_deferrable: false,
        }
    }

    pub(super) fn of(self, session: crate::Session) -> Self {
        Self { ask: self.ask.of(Some(session)), ..self }
    }

    /// The same on the shard where this key lives. See [`Transaction`].
    pub fn shard_key(self, key: impl Into<Key>) -> Self {
        Self { ask: self.ask.shard_key(key), ..self }
    }

    /// The same on this shard.
    pub fn shard(self, shard: ShardId) -> Self {
        Self { ask: self.ask.shard(shard), ..self }
    }

    /// The same, in this time: from its begin, or that of [`Self::run`], to the answer to COMMIT,
    /// with the waits for a primary and a backend, further runs, its statements, and what the
    /// program does between them. Zero is for ever. Default: `retry.transaction_deadline`.
    ///
    /// Then a statement under way is given up, [`Self::run`] drops its closure, and nothing is
    /// committed: the error is of [`ErrorKind::Deadline`](crate::ErrorKind::Deadline), and the
    /// [`Transaction`] takes no more statements and no COMMIT. What became of a COMMIT that was
    /// under way is not known: [`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt), SQLSTATE 08007.
    /// What runs on [`Transaction::client`] is limited inside of [`Self::run`] only.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use std::time::Duration;
    ///
    /// let unit = pool.transaction().deadline(Duration::from_secs(2));
    /// unit.run(async |tx| tx.execute("UPDATE pages SET visits = visits + 1", &[]).await).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(self, limit: Duration) -> Self {
        Self { ask: Ask { limit, ..self.ask }, ..self }
    }

    /// The same under this isolation level. Default: what the session has.
    pub fn isolation_level(self, level: IsolationLevel) -> Self {
        Self { isolation: Some(level), ..self }
    }

    /// The same without writes; still on the primary.
    pub fn read_only(self) -> Self {
        Self { is_read_only: true, ..self }
    }

    /// The same DEFERRABLE: a serializable transaction that only reads may then wait at its begin,
    /// and is never the one that fails.
    pub fn deferrable(self) -> Self {
        Self { is_deferrable: true, ..self }
    }

    /// A unit of work that may take effect twice without harm; see [`UnitOfWork::idempotent`].
    pub fn idempotent(self) -> UnitOfWork<'p> {
        UnitOfWork::new(self).idempotent()
    }

    /// A unit of work of which a query tells whether it has committed; see
    /// [`UnitOfWork::lookup`].
    pub fn lookup(self, sql: &'p str, params: &'p [&'p (dyn ToSql + Sync)]) -> UnitOfWork<'p> {
        UnitOfWork::new(self).lookup(sql, params)
    }

    /// Runs a unit of work; see [`UnitOfWork::run`].
    ///
    /// # Errors
    /// As there.
    pub async fn run<T, E>(self, work: impl AsyncFn(&Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        UnitOfWork::new(self).run(work).await
    }

    /// Begins it, on a backend of its own. One that turns out to be dead is replaced by another.
    ///
    /// Dropping the future gives back what was borrowed.
    ///
    /// # Errors
    /// What acquiring says, see [`Request::acquire`](crate::Request::acquire), or BEGIN.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction, Error>> + Send {
        self.begin_in_time(Some(Location::caller()))
    }

    async fn begin_in_time(&self, taken_at: TakenAt) -> Result<Transaction, Error> {
        let progress = self.progress();
        progress.within(pin!(self.begin_with(false, taken_at, &progress))).await
    }

    /// The time it has, beginning now.
    pub(super) fn progress(&self) -> Arc<Progress> {
        Arc::new(Progress::of_transaction(self.ask.limit))
    }

    /// `is_identified`: also asks which session it runs in.
    /// `taken_at` is named when its lease is held for too long.
    pub(super) async fn begin_with(
        &self,
        is_identified: bool,
        taken_at: TakenAt,
        progress: &Arc<Progress>,
    ) -> Result<Transaction, Error> {
        let mut script = self.begin_command();
        if is_identified {
            script += "; ";
            script += ServerSession::WHICH;
        }
        let mut tries = 1;
        loop {
            let lease = self.pool.try_lease(&self.ask, taken_at, progress).await?;
            progress.waits_for(lease.pool(), WaitedFor::Begin);
            let error = match lease.simple_query(&script).await {
                Ok(answer) => {
                    progress.waits_for(lease.pool(), WaitedFor::Program);
                    let session = ServerSession::read(lease.route().node, &row_of(&answer));
                    return Ok(Transaction {
                        pool: self.pool.clone(),
                        lease: Some(lease),
                        session,
                        is_read_only: self.is_read_only,
                        fate: Mutex::default(),
                        progress: progress.clone(),
                    });
                }
                Err(error) => error,
            };
            // A backend that died while it was idle: nothing was done on it, so the next.
            if lease.is_closed() && tries < self.pool.retry_config().max_retries {
                debug!(node = lease.node(), %error, "BEGIN found a lost connection");
                self.pool.counting().count_retry();
                tries += 1;
                continue;
            }
            let (is_lost, node) = (lease.is_closed(), lease.pool().node().clone());
            let was_sent = lease.statements() > 0;
            let error = Error::statement(error, node, is_lost, was_sent);
            // BEGIN alone has no effect.
            return Err(error.of_read(true).after_tries(tries));
        }
    }

    fn begin_command(&self) -> String {
        let isolation = self.isolation.map(|level| match level {
            IsolationLevel::ReadUncommitted => "ISOLATION LEVEL READ UNCOMMITTED",
            IsolationLevel::ReadCommitted => "ISOLATION LEVEL READ COMMITTED",
            IsolationLevel::RepeatableRead => "ISOLATION LEVEL REPEATABLE READ",
            _ => "ISOLATION LEVEL SERIALIZABLE",
        });
        let modes = [
            isolation,
            self.is_read_only.then_some("READ ONLY"),
            self.is_deferrable.then_some("DEFERRABLE"),
        ];
        let modes: Vec<&str> = modes.into_iter().flatten().collect();
        match modes.is_empty() {
            true => "BEGIN".to_owned(),
            false => format!("BEGIN {}", modes.join(", ")),
        }
    }

    pub(super) fn pool(&self) -> &'p DistributedPool {
        self.pool
    }

    pub(super) fn ask(&self) -> &Ask {
        &self.ask
    }
}

impl<'p> IntoFuture for TransactionRequest<'p> {
    type Output = Result<Transaction, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'p>>;

    /// See [`Self::begin`].
    #[track_caller]
    fn into_future(self) -> Self::IntoFuture {
        let taken_at = Location::caller();
        Box::pin(async move { self.begin_in_time(Some(taken_at)).await })
    }
}

/// The first row of an answer, as texts.
pub(super) fn row_of(answer: &[SimpleQueryMessage]) -> Vec<Option<&str>> {
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.map_or_else(Vec::new, |row| (0..row.len()).map(|at| row.get(at)).collect())
}

/// A transaction on one node, with a backend of its own.
///
/// Dropping it rolls back. Statements that end a transaction (`COMMIT`, `ROLLBACK`) are not for
/// it; savepoints are. After an error of PostgreSQL it accepts nothing but `ROLLBACK TO` a
/// savepoint, and cannot commit.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let transaction = pool.transaction().shard_key(42).await?;
/// transaction.execute("UPDATE users SET visits = visits + 1 WHERE id = $1", &[&42]).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "dropping the transaction rolls it back"]
pub struct Transaction {
    pool: DistributedPool,
    // `Some` until it has ended.
    lease: Option<Lease>,
    session: Option<ServerSession>,
    is_read_only: bool,
    // By the last statement that ran, if that failed.
    fate: Mutex<Option<Fate>>,
    progress: Arc<Progress>,
}

impl Transaction {
    /// The name of the node.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), pgherd::Error> {
    /// println!("on {}", transaction.node());
    /// # Ok(())
    /// # }
    /// ```
    pub fn node(&self) -> &str {
        self.lease().node()
    }

    /// Runs a statement and collects its rows. It is not tried again.
    ///
    /// Dropping the future leaves the statement to run to its end inside the transaction.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), pgherd::Error> {
    /// for row in transaction.query("SELECT id FROM jobs LIMIT 5 FOR UPDATE SKIP LOCKED", &[]).await? {
    ///     println!("{}", row.get::<_, i64>(0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`]; nothing of the transaction is committed by it.
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.in_time(pin!(async {
            let rows = self.begin(sql, params).await?;
            self.heed(rows.try_collect().await)
        }))
        .await
    }

    async fn in_time<T>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        let lease = self.lease();
        self.progress.statement(lease.pool(), pin!(lease.drive(work))).await
    }

    /// The statements that the backend keeps prepared serve here, too. One that a migration has
    /// invalidated fails this run and no other.
    async fn begin(&self, sql: &str, params: Params<'_>) -> Result<RowStream, Error> {
        match self.lease().begin_in_block(sql, params).await {
            Ok(rows) => Ok(rows),
            Err(InBlock::Failed(error)) => self.heed(Err(error)),
            Err(InBlock::Stale(error)) => {
                *self.fate.lock() = Some(Fate::Again);
                Err(self.noted(Error::new(Cause::StalePlan { error }).at(self.node().into())))
            }
        }
    }

    /// Runs a statement that gives exactly one row. Cancellation as for [`Self::query`].
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), pgherd::Error> {
    /// let insert = "INSERT INTO orders (item) VALUES ($1) RETURNING id";
    /// let id: i64 = transaction.query_one(insert, &[&"tea"]).await?.get(0);
    /// # let _ = id;
    /// # Ok(())
    /// # }
    /// ```
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
        self.in_time(pin!(async {
            let rows = self.begin(sql, params).await?;
            self.heed(drain(rows).await)
        }))
        .await
    }

    /// Runs a text of one or more statements without parameters, for their effect.
    /// Cancellation as for [`Self::query`].
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), pgherd::Error> {
    /// transaction.batch("SAVEPOINT before").await?;
    /// if transaction.execute("INSERT INTO users VALUES (42)", &[]).await.is_err() {
    ///     transaction.batch("ROLLBACK TO before").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`].
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.in_time(pin!(async { self.heed(self.client().batch_execute(sql).await) })).await
    }

    /// The driver's client, for what is not here, such as COPY. A unit of work is not run again
    /// for an error that PostgreSQL reports to it.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), Box<dyn std::error::Error>> {
    /// let sink = transaction.client().copy_in::<_, &[u8]>("COPY users FROM STDIN").await?;
    /// # drop(sink);
    /// # Ok(())
    /// # }
    /// ```
    pub fn client(&self) -> &Client {
        self.lease()
    }

    /// Commits.
    ///
    /// Dropping the future leaves the outcome open.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack), or
    /// [`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt), SQLSTATE 08007, when the connection was
    /// lost between COMMIT and its answer, or its time was up. One whose time was up before is
    /// rolled back: [`ErrorKind::Deadline`](crate::ErrorKind::Deadline).
    pub async fn commit(mut self) -> Result<(), Error> {
        let progress = self.progress.clone();
        progress.within(pin!(async { self.try_commit().await.map_err(Error::from) })).await
    }

    pub(super) async fn try_commit(&mut self) -> Result<(), CommitError> {
        let lease = self.lease.take().expect("a transaction has its lease until it has ended");
        self.progress.commits(lease.pool());
        commit_on(&lease, "COMMIT").await
    }

    /// Rolls back. Where the connection is lost the node does it by itself. A statement that still
    /// runs is cancelled, and its backend closed.
    ///
    /// Dropping the future rolls back as well.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::Transaction) -> Result<(), pgherd::Error> {
    /// transaction.execute("DELETE FROM users", &[]).await?;
    /// transaction.rollback().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rollback(mut self) {
        let Some(lease) = self.lease.take() else { return };
        tokio::select! {
            biased;
            () = lease.roll_back() => {}
            () = self.progress.over() => {}
        }
    }

    /// What the failure of the last statement that ran says, or the loss of its connection.
    pub(super) fn fate(&self) -> Option<Fate> {
        let is_lost = self.lease.as_ref().is_some_and(Lease::is_closed);
        if is_lost { Some(Fate::Elsewhere) } else { *self.fate.lock() }
    }

    /// The session it runs in, if that was asked for and told.
    pub(super) fn session(&self) -> Option<&ServerSession> {
        self.session.as_ref()
    }

    pub(super) fn lease(&self) -> &Lease {
        self.lease.as_ref().expect("a transaction has its lease until it has ended")
    }

    fn heed<T>(&self, done: Result<T, tokio_postgres::Error>) -> Result<T, Error> {
        let error = match done {
            Ok(value) => {
                *self.fate.lock() = None;
                return Ok(value);
            }
            Err(error) => error,
        };
        let node: Arc<str> = self.node().into();
        let is_lost = match error.as_db_error() {
            Some(report) => is_pooler_s(report),
            None => self.lease().is_closed(),
        };
        if is_lost {
            *self.fate.lock() = Some(Fate::Elsewhere);
            return Err(self.noted(CommitError::Lost { node: node.to_string(), error }.into()));
        }
        let code = error.code().map_or("", SqlState::code);
        // Said of each statement behind the one that failed, of which the fate is.
        if code != SqlState::IN_FAILED_SQL_TRANSACTION.code() {
            *self.fate.lock() = Some(Fate::of_statement(code, self.is_read_only));
        }
        Err(self.noted(Error::statement(error, node, self.lease().is_closed(), true)))
    }

    /// The same error, which is why another run is needed if there is one.
    fn noted(&self, error: Error) -> Error {
        self.progress.run_failed(|| format!("{error:#}"));
        error
    }
}

impl fmt::Debug for Transaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("lease", &self.lease).finish_non_exhaustive()
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        let Some(lease) = self.lease.take() else { return };
        // With a statement under way, release cancels it and closes the backend.
        if lease.backend().standing() == Standing::InTransaction {
            self.pool.runtime().spawn(lease.roll_back());
        }
    }
}
