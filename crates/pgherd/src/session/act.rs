//! What is done with a statement on a backend that was acquired for it.
//!
//! In: a lease, a text. Out: what came of one try, or an error that says whether the statement
//! had left. Whether there is another try is decided by the caller.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use tracing::debug;

use super::held::Held;
use super::{CopyIn, CopyOut, Rows, excerpt};
use crate::conn::{Ready, is_stale};
use crate::error::Cause;
use crate::{Error, Lease};

/// The parameters of a statement, in order.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// See the module's header.
pub(crate) trait Act: Sync {
    /// What comes of it.
    type Answer: Send;

    /// Does it once. Nothing of the answer has been handed out when it fails.
    fn on(
        &self,
        lease: Lease,
        sql: &str,
    ) -> impl Future<Output = Result<Self::Answer, Error>> + Send;
}

/// Runs the statement and collects its rows.
pub(super) struct Collect<'a> {
    pub(super) params: Params<'a>,
    pub(super) wanted: Wanted,
}

/// How many rows are no mistake.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    Any,
    One,
    OneOrNone,
}

impl Wanted {
    /// The rows, if they are as many as were wanted.
    fn check(self, rows: Vec<Row>, sql: &str, node: &str) -> Result<Vec<Row>, Error> {
        let is_mistake = match self {
            Self::Any => false,
            Self::One => rows.len() != 1,
            Self::OneOrNone => rows.len() > 1,
        };
        if is_mistake {
            let cause = Cause::Rows { found: rows.len(), sql: excerpt(sql) };
            return Err(Error::new(cause).at(node.into()));
        }
        Ok(rows)
    }
}

/// The only row of an answer of the node to this statement.
pub(crate) fn only(rows: Vec<Row>, sql: &str, node: &str) -> Result<Row, Error> {
    let row = Wanted::One.check(rows, sql, node)?.pop();
    Ok(row.expect("one was checked for"))
}

impl Act for Collect<'_> {
    type Answer = Vec<Row>;

    async fn on(&self, lease: Lease, sql: &str) -> Result<Vec<Row>, Error> {
        let rows = async {
            let rows = lease.begin(sql, self.params).await?;
            rows.try_collect::<Vec<_>>().await
        };
        let rows = lease.answered(pin!(rows)).await.map_err(|error| lease.error(error))?;
        self.wanted.check(rows, sql, lease.node())
    }
}

/// Runs the statement for its effect.
pub(super) struct Execute<'a>(pub(super) Params<'a>);

impl Act for Execute<'_> {
    type Answer = u64;

    async fn on(&self, lease: Lease, sql: &str) -> Result<u64, Error> {
        let count = async { drain(lease.begin(sql, self.0).await?).await };
        lease.answered(pin!(count)).await.map_err(|error| lease.error(error))
    }
}

/// Runs a text of several statements for their effect.
pub(super) struct Batch;

impl Act for Batch {
    type Answer = ();

    async fn on(&self, lease: Lease, sql: &str) -> Result<(), Error> {
        lease.batch_execute(sql).await.map_err(|error| lease.error(error))
    }
}

/// Runs the statement until its first row is there.
pub(super) struct Stream<'a>(pub(super) Params<'a>);

impl Act for Stream<'_> {
    type Answer = Rows;

    async fn on(&self, lease: Lease, sql: &str) -> Result<Rows, Error> {
        let begun = lease.answered(pin!(lease.begin(sql, self.0))).await;
        match begun {
            Ok(rows) => Held::begin(rows, lease).await.map(Rows::new),
            Err(error) => Err(lease.error(error)),
        }
    }
}

/// Runs COPY TO until its first data are there.
pub(super) struct BeginCopyOut;

impl Act for BeginCopyOut {
    type Answer = CopyOut;

    async fn on(&self, lease: Lease, sql: &str) -> Result<CopyOut, Error> {
        match lease.copy_out(sql).await {
            Ok(data) => Held::begin(data, lease).await.map(CopyOut::new),
            Err(error) => Err(lease.error(error)),
        }
    }
}

/// Runs COPY FROM until the node asks for data.
pub(super) struct BeginCopyIn;

impl Act for BeginCopyIn {
    type Answer = CopyIn;

    async fn on(&self, lease: Lease, sql: &str) -> Result<CopyIn, Error> {
        match lease.copy_in(sql).await {
            Ok(sink) => Ok(CopyIn::new(sink, lease)),
            Err(error) => Err(lease.error(error)),
        }
    }
}

impl Lease {
    /// Runs a statement outside of a transaction block, up to its first row. One that was
    /// prepared before and has gone stale since is prepared anew, once: it was refused before
    /// anything of it ran.
    async fn begin(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let ready = self.backend().prepare(sql).await?;
        match self.query_raw(&ready.statement, values(params)).await {
            Err(error) if ready.is_kept && is_stale(&error) => {
                debug!(node = self.node(), %error, "a prepared statement has gone stale");
                self.backend().forget(sql);
                let ready = self.backend().prepare(sql).await?;
                self.query_raw(&ready.statement, values(params)).await
            }
            begun => begun,
        }
    }

    /// Runs a statement inside of a transaction block, up to its first row. One that has gone
    /// stale has failed the block, and is prepared anew for the next.
    pub(crate) async fn begin_in_block(
        &self,
        sql: &str,
        params: Params<'_>,
    ) -> Result<RowStream, InBlock> {
        let ready = self.backend().prepare(sql).await.map_err(InBlock::Failed)?;
        self.begin_ready(ready, sql, params).await
    }

    /// The same with a statement that is ready.
    pub(super) async fn begin_ready(
        &self,
        ready: Ready,
        sql: &str,
        params: Params<'_>,
    ) -> Result<RowStream, InBlock> {
        self.query_raw(&ready.statement, values(params)).await.map_err(|error| {
            if ready.is_kept && is_stale(&error) {
                self.backend().forget(sql);
                return InBlock::Stale(error);
            }
            InBlock::Failed(error)
        })
    }

    /// What an error of the driver means for a statement that is all that ran on this lease.
    pub(super) fn error(&self, error: tokio_postgres::Error) -> Error {
        Error::statement(error, self.node().into(), self.is_closed(), self.statements() > 0)
    }
}

/// Why a statement did not begin inside of a transaction block.
pub(crate) enum InBlock {
    /// It was prepared before, and what it was prepared for has changed.
    Stale(tokio_postgres::Error),
    /// Anything else.
    Failed(tokio_postgres::Error),
}

/// Runs a statement to its end; how many rows it concerned.
pub(crate) async fn drain(rows: RowStream) -> Result<u64, tokio_postgres::Error> {
    let mut rows = pin!(rows);
    while rows.try_next().await?.is_some() {}
    Ok(rows.rows_affected().unwrap_or(0))
}

fn values<'a>(params: Params<'a>) -> impl ExactSizeIterator<Item = &'a dyn ToSql> + 'a {
    params.iter().map(|value| *value as _)
}
