//! A statement whose query type the parser decides.

use std::time::Duration;

use pgherd_core::sql::{Classified, QueryType};
use pgherd_core::{Key, ShardId};
use tokio_postgres::Row;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use super::Request;
use crate::{CopyIn, CopyOut, DistributedPool, Error, Rows, Session};

/// A statement whose query type the parser decided. Made by [`DistributedPool::auto`].
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let statement = pool.auto("SELECT name FROM users WHERE id = $1").shard_key(42);
/// println!("a {} that leaves {:?}", statement.query_type(), statement.class().leaves_state);
/// let row = statement.query_opt(&[&42]).await?;
/// # let _ = row;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a statement does nothing until it is run"]
pub struct Auto<'p> {
    request: Request<'p>,
    sql: &'p str,
    class: Classified,
}

impl<'p> Auto<'p> {
    pub(crate) fn new(pool: &'p DistributedPool, sql: &'p str, class: Classified) -> Self {
        Self { request: Request::new(pool, class.query_type), sql, class }
    }

    pub(super) fn of(self, session: Session) -> Self {
        Self { request: self.request.of(session), ..self }
    }

    /// The same, in this time; see [`Request::deadline`].
    pub fn deadline(self, limit: Duration) -> Self {
        Self { request: self.request.deadline(limit), ..self }
    }

    /// What the parser says. When in doubt it is a write.
    pub fn query_type(&self) -> QueryType {
        self.class.query_type
    }

    /// Everything the parser says.
    pub fn class(&self) -> &Classified {
        &self.class
    }

    /// The same on the shard where this key lives; see [`Request::shard_key`].
    pub fn shard_key(self, key: impl Into<Key>) -> Self {
        Self { request: self.request.shard_key(key), ..self }
    }

    /// The same on this shard; see [`Request::shard`].
    pub fn shard(self, shard: ShardId) -> Self {
        Self { request: self.request.shard(shard), ..self }
    }

    /// See [`Request::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query(&self, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.request.query(self.sql, params).await
    }

    /// See [`Request::query_one`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query_one(&self, params: &[&(dyn ToSql + Sync)]) -> Result<Row, Error> {
        self.request.query_one(self.sql, params).await
    }

    /// See [`Request::execute`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn execute(&self, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.request.execute(self.sql, params).await
    }

    /// See [`Request::query_opt`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query_opt(&self, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
        self.request.query_opt(self.sql, params).await
    }

    /// See [`Request::query_scalar`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query_scalar<T: FromSqlOwned>(
        &self,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<T, Error> {
        self.request.query_scalar(self.sql, params).await
    }

    /// See [`Request::query_stream`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query_stream(&self, params: &[&(dyn ToSql + Sync)]) -> Result<Rows, Error> {
        self.request.query_stream(self.sql, params).await
    }

    /// See [`Request::copy_in`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn copy_in(&self) -> Result<CopyIn, Error> {
        self.request.copy_in(self.sql).await
    }

    /// See [`Request::copy_out`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn copy_out(&self) -> Result<CopyOut, Error> {
        self.request.copy_out(self.sql).await
    }
}
