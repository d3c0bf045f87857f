//! A statement to be: its query type and its shard.

use std::panic::Location;
use std::time::Duration;

use pgherd_core::route::QuerySpec;
use pgherd_core::sql::QueryType;
use pgherd_core::{Key, ShardId};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use super::act::{Act, Batch, BeginCopyIn, BeginCopyOut, Collect, Execute, Stream, Wanted};
use super::{Ask, listen};
use crate::pool::TakenAt;
use crate::{CopyIn, CopyOut, DistributedPool, Error, Lease, Listener, Pipeline, Rows, Session};

/// What kind of statement is to run, and which shard it concerns. Made by
/// [`DistributedPool::read`] and its siblings.
///
/// A read is tried again on another replica, then on the primary, when its backend dies; any
/// other statement only when it provably did not run. The schedule is `[retry]`'s.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let rename = "UPDATE users SET name = $1 WHERE id = $2";
/// pool.write().shard_key(42).execute(rename, &[&"alice", &42]).await?;
/// // On a replica of that shard, or on its primary.
/// let read = pool.read().shard_key(42);
/// let name: String = read.query_scalar("SELECT name FROM users WHERE id = $1", &[&42]).await?;
/// # let _ = name;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is given a statement"]
pub struct Request<'p> {
    pool: &'p DistributedPool,
    ask: Ask,
}

impl<'p> Request<'p> {
    pub(crate) fn new(pool: &'p DistributedPool, query_type: QueryType) -> Self {
        Self::asking(pool, Ask::new(query_type)).deadline(pool.settings().retry.deadline)
    }

    pub(super) fn asking(pool: &'p DistributedPool, ask: Ask) -> Self {
        Self { pool, ask }
    }

    pub(super) fn of(self, session: Session) -> Self {
        Self { ask: self.ask.of(Some(session)), ..self }
    }

    /// The same on the shard where this key lives. DDL and distributed statements stay on the
    /// coordinator.
    pub fn shard_key(self, key: impl Into<Key>) -> Self {
        Self { ask: self.ask.shard_key(key), ..self }
    }

    /// The same on this shard.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use pgherd::ShardId;
    ///
    /// for shard in 0..pool.topology().shard_count() {
    ///     pool.write().shard(ShardId(shard)).batch("ANALYZE users").await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn shard(self, shard: ShardId) -> Self {
        Self { ask: self.ask.shard(shard), ..self }
    }

    /// The same, in this time: the wait for a backend or a primary, further tries and the
    /// statement itself, up to its first row where rows are taken as they come. Then it is
    /// cancelled, and the error is of [`ErrorKind::Deadline`](crate::ErrorKind::Deadline). Zero
    /// is for ever. Default: `retry.deadline`.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use std::time::Duration;
    ///
    /// let report = pool.read().deadline(Duration::from_secs(2));
    /// match report.query("SELECT count(*) FROM events", &[]).await {
    ///     Err(error) if error.kind() == pgherd::ErrorKind::Deadline => println!("not today"),
    ///     answer => println!("{} rows", answer?.len()),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn deadline(self, limit: Duration) -> Self {
        Self { ask: Ask { limit, ..self.ask }, ..self }
    }

    pub(crate) fn maybe_key(self, key: Option<Key>) -> Self {
        match key {
            Some(key) => self.shard_key(key),
            None => self,
        }
    }

    pub(super) fn is_read(&self) -> bool {
        self.ask.query.query_type == QueryType::Read
    }

    pub(super) async fn act<A: Act>(&self, sql: &str, act: &A) -> Result<A::Answer, Error> {
        self.pool.run_statement(&self.ask, sql, act).await
    }

    /// Counts what one act did beyond the statement that it is.
    pub(super) fn count(&self, statements: u64, errors: u64) {
        self.pool.counting().count_some(self.ask.query.query_type, statements, errors);
    }

    /// Runs a statement and collects its rows.
    ///
    /// Its text is prepared on the backend and kept there (`pool.prepared_per_backend`): the
    /// second time it takes one round trip. When a migration has changed what it gives, it is
    /// prepared anew by itself.
    ///
    /// Dropping the future cancels the statement on the node; whether it still ran is then not
    /// known.
    ///
    /// # Errors
    /// [`Error`], of the last try.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// for row in pool.read().query("SELECT id, name FROM users WHERE id < $1", &[&100]).await? {
    ///     let (id, name): (i32, &str) = (row.get(0), row.get(1));
    ///     println!("{id}: {name}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.act(sql, &Collect { params, wanted: Wanted::Any }).await
    }

    /// Runs a statement that gives exactly one row. Otherwise as [`Self::query`].
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let row = pool.read().query_one("SELECT min(id), max(id) FROM users", &[]).await?;
    /// let (first, last): (Option<i32>, Option<i32>) = (row.get(0), row.get(1));
    /// # let _ = (first, last);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`], of the last try; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for any other
    /// number of rows, after the statement has run.
    pub async fn query_one(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        let mut rows = self.act(sql, &Collect { params, wanted: Wanted::One }).await?;
        Ok(rows.pop().expect("exactly one row was wanted, and Collect has looked"))
    }

    /// Runs a statement that gives one row or none. Otherwise as [`Self::query`].
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let sql = "SELECT name FROM users WHERE id = $1";
    /// match pool.read().query_opt(sql, &[&42]).await? {
    ///     Some(row) => println!("{}", row.get::<_, &str>(0)),
    ///     None => println!("nobody"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`], of the last try; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for more rows,
    /// after the statement has run.
    pub async fn query_opt(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        Ok(self.act(sql, &Collect { params, wanted: Wanted::OneOrNone }).await?.pop())
    }

    /// Runs a statement that gives exactly one row, and answers its first column. Otherwise as
    /// [`Self::query`].
    ///
    /// # Errors
    /// As [`Self::query_one`]; [`ErrorKind::Usage`](crate::ErrorKind::Usage) when the column is
    /// of another type or NULL, which an `Option` takes.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let users: i64 = pool.read().query_scalar("SELECT count(*) FROM users", &[]).await?;
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_scalar<T: FromSqlOwned>(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T, Error> {
        let row = self.query_one(sql, params).await?;
        row.try_get(0).map_err(|error| Error::of_answer(error, self.is_read()))
    }

    /// Runs a statement whose rows are read as they come, without holding them in memory. It is
    /// tried again only until its first row is there.
    ///
    /// Dropping the future cancels the statement on the node; whether it still ran is then not
    /// known.
    ///
    /// # Errors
    /// [`Error`], of the last try; errors behind the first row are items of the stream.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut rows = pool.read().query_stream("SELECT id FROM events", &[]).await?;
    /// while let Some(row) = rows.try_next().await? {
    ///     println!("{}", row.get::<_, i64>(0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn query_stream(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Rows, Error> {
        Ok(self.act(sql, &Stream(params)).await?.of_read(self.is_read()))
    }

    /// Runs a statement and answers how many rows it concerned. Otherwise as [`Self::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.act(sql, &Execute(params)).await
    }

    /// Runs a text of one or more statements, without parameters and for their effect. Several
    /// run as one transaction, unless the text says otherwise. Cancellation as for
    /// [`Self::query`].
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// pool.write().batch("DELETE FROM carts; DELETE FROM visits").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.act(sql, &Batch).await
    }

    /// Several statements that go to one backend in one round trip; see [`Pipeline`].
    pub fn pipeline<'a>(&self) -> Pipeline<'p, 'a> {
        Pipeline::new(self.clone())
    }

    /// Begins a `COPY ... FROM STDIN` that takes its data as they come; see [`CopyIn`]. It is not
    /// tried again once the node has asked for data.
    ///
    /// Dropping the future leaves no row behind.
    ///
    /// # Errors
    /// [`Error`], of the last try; [`ErrorKind::Usage`](crate::ErrorKind::Usage) for any other
    /// statement, after it has run.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use futures_util::SinkExt;
    ///
    /// let mut copy = pool.write().shard_key(42).copy_in("COPY users FROM STDIN").await?;
    /// copy.send("42\talice\n".into()).await?;
    /// assert_eq!(copy.finish().await?, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn, Error> {
        self.act(sql, &BeginCopyIn).await
    }

    /// Begins a `COPY ... TO STDOUT` whose data are read as they come; see [`CopyOut`]. It is
    /// tried again only until its first data are there.
    ///
    /// Dropping the future cancels it.
    ///
    /// # Errors
    /// [`Error`], of the last try; errors behind the first data are items of the stream;
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for any other statement, after it has run.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use futures_util::TryStreamExt;
    ///
    /// let mut data = pool.read().copy_out("COPY users TO STDOUT (FORMAT csv)").await?;
    /// while let Some(piece) = data.try_next().await? {
    ///     print!("{}", std::str::from_utf8(&piece)?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut, Error> {
        Ok(self.act(sql, &BeginCopyOut).await?.of_read(self.is_read()))
    }

    /// Listens to channels on the primary of the group; see [`Listener`]. Without a shard it is
    /// the coordinator's.
    ///
    /// Dropping the future closes what was opened.
    ///
    /// # Errors
    /// [`Error`], of the last try to connect; [`ErrorKind::Usage`](crate::ErrorKind::Usage) behind
    /// a pooler, and for a channel whose name PostgreSQL would cut.
    pub async fn listen<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Listener, Error> {
        let query = QuerySpec { query_type: QueryType::Write, ..self.ask.query.clone() };
        let ask = Ask { query, ..self.ask.clone() };
        listen::listen(self.pool, &ask, channels.into_iter().map(Into::into).collect()).await
    }

    /// Borrows a backend that fits, for several statements. What runs on it is not tried
    /// again; that it can be acquired is: on another replica, then on the primary for reads.
    ///
    /// A lease that is held for longer than `pool.leak_after` is reported with the place in the
    /// code from which this was called. Dropping the future leaves the queue as if it had never
    /// been called.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let lease = pool.write().shard_key(42).acquire().await?;
    /// lease.execute("INSERT INTO log VALUES ('began')", &[]).await?;
    /// lease.execute("INSERT INTO log VALUES ('ended')", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Route`](crate::ErrorKind::Route) and
    /// [`ErrorKind::Acquire`](crate::ErrorKind::Acquire).
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Lease, Error>> + Send {
        self.acquire_at(Some(Location::caller()))
    }

    pub(crate) async fn acquire_at(&self, taken_at: TakenAt) -> Result<Lease, Error> {
        self.pool.lease(&self.ask, taken_at).await
    }
}
