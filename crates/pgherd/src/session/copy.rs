//! COPY, in and out.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use tokio_postgres::{CopyInSink, CopyOutStream};

use super::held::Held;
use crate::{Error, Lease};

/// The data of a `COPY ... TO STDOUT` as they come: a [`Stream`] of pieces, a row each in text
/// format. Made by [`Request::copy_out`](crate::Request::copy_out).
///
/// As with [`Rows`](crate::Rows): what is not read is not held, and dropping it gives the rest up.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use futures_util::TryStreamExt;
///
/// let mut data = pool.read().copy_out("COPY users TO STDOUT").await?;
/// println!("from {}", data.node());
/// let mut bytes = 0;
/// while let Some(piece) = data.try_next().await? {
///     bytes += piece.len();
/// }
/// # let _ = bytes;
/// # Ok(())
/// # }
/// ```
#[must_use = "data do nothing unless they are read"]
pub struct CopyOut(Held<CopyOutStream, Bytes>);

impl CopyOut {
    pub(super) fn new(held: Held<CopyOutStream, Bytes>) -> Self {
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

impl Stream for CopyOut {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next(cx)
    }
}

impl fmt::Debug for CopyOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").field("node", &self.node()).finish_non_exhaustive()
    }
}

/// Takes the data of a `COPY ... FROM STDIN`: a [`Sink`] of pieces, cut anywhere. Made by
/// [`Request::copy_in`](crate::Request::copy_in).
///
/// Rows are there once [`Self::finish`] has answered. Dropping it before aborts the copy: nothing
/// is kept, and the backend is used again when the node has said so. A slow node makes the sender
/// wait; a few pieces are held in memory, at most.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// use futures_util::SinkExt;
///
/// let mut copy = pool.write().copy_in("COPY users FROM STDIN").await?;
/// println!("to {}", copy.node());
/// for user in ["1\talice\n", "2\tbob\n"] {
///     copy.send(user.into()).await?;
/// }
/// assert_eq!(copy.finish().await?, 2);
/// # Ok(())
/// # }
/// ```
#[must_use = "a copy that is not finished is aborted"]
pub struct CopyIn {
    // Dropped before the lease, whose end looks at what is still owed.
    sink: Pin<Box<CopyInSink<Bytes>>>,
    lease: Lease,
    node: Arc<str>,
    // The end of the data may have left: from then on the rows may be there.
    is_ending: bool,
}

impl CopyIn {
    pub(super) fn new(sink: CopyInSink<Bytes>, lease: Lease) -> Self {
        let node = lease.node().into();
        Self { sink: Box::pin(sink), lease, node, is_ending: false }
    }

    /// The name of the node that they go to.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Ends the data and waits until the rows are there; answers how many there are.
    ///
    /// Dropping the future aborts the copy, unless its end had left: then it is not known whether
    /// the rows are there.
    ///
    /// # Errors
    /// [`Error`]: what the node says of the data; nothing is kept then. SQLSTATE 08007 when the
    /// connection was lost behind the end of the data, so that the rows may be there.
    pub async fn finish(mut self) -> Result<u64, Error> {
        std::future::poll_fn(|cx| self.poll_finish(cx)).await
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<u64, Error>> {
        self.is_ending = true;
        let finished = ready!(self.sink.as_mut().poll_finish(cx));
        Poll::Ready(finished.map_err(|error| self.error(error)))
    }

    fn error(&self, error: tokio_postgres::Error) -> Error {
        Error::statement(error, self.node.clone(), self.lease.is_closed(), self.is_ending)
    }
}

impl Sink<Bytes> for CopyIn {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let ready = ready!(self.sink.as_mut().poll_ready(cx));
        Poll::Ready(ready.map_err(|error| self.error(error)))
    }

    fn start_send(mut self: Pin<&mut Self>, data: Bytes) -> Result<(), Error> {
        self.sink.as_mut().start_send(data).map_err(|error| self.error(error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let flushed = ready!(self.sink.as_mut().poll_flush(cx));
        Poll::Ready(flushed.map_err(|error| self.error(error)))
    }

    /// The same as [`CopyIn::finish`], without the number of rows.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.poll_finish(cx).map_ok(drop)
    }
}

impl fmt::Debug for CopyIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").field("node", &self.node).finish_non_exhaustive()
    }
}
