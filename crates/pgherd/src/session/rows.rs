//! Rows as they come.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use tokio_postgres::{Row, RowStream};

use super::held::Held;
use crate::Error;

/// The rows of one statement as they come: a [`Stream`]. Made by
/// [`Request::query_stream`](crate::Request::query_stream).
///
/// What is not read is not held in memory: the node waits. The backend is busy until the last row
/// was read. Dropping it before gives the rest up: a short one is read away, a long one is
/// cancelled, and its backend closed.
///
/// An error is the last item. A statement of which a row was handed out is not tried again.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use futures_util::TryStreamExt;
///
/// let mut rows = pool.read().query_stream("SELECT id FROM events", &[]).await?;
/// println!("from {}", rows.node());
/// while let Some(row) = rows.try_next().await? {
///     println!("{}", row.get::<_, i64>(0));
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "rows do nothing unless they are read"]
pub struct Rows(Held<RowStream, Row>);

impl Rows {
    pub(super) fn new(held: Held<RowStream, Row>) -> Self {
        Self(held)
    }

    pub(super) fn of_read(mut self, is_read: bool) -> Self {
        self.0.of_read(is_read);
        self
    }

    /// The name of the node that they come from.
    pub fn node(&self) -> &str {
        self.0.node()
    }
}

impl Stream for Rows {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("node", &self.node()).finish_non_exhaustive()
    }
}
