//! An answer that is read while it comes, and the backend that it comes from.
//!
//! In: a stream of the driver. Out: its items with errors that name the node; the backend is
//! released when the answer has ended, or is given up.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_util::{Stream, StreamExt};

use crate::{Error, Lease};

/// See the module's header. Given up before its end, what is still to come is read away, or
/// cancelled if it takes long.
pub(super) struct Held<S, T> {
    first: Option<T>,
    // `None` when it has ended. Dropped before the lease, whose end looks at what is still owed.
    stream: Option<Pin<Box<S>>>,
    lease: Option<Lease>,
    node: Arc<str>,
    is_read: bool,
}

impl<S: Stream<Item = Result<T, tokio_postgres::Error>>, T> Held<S, T> {
    /// Waits for the first item, or for the end.
    pub(super) async fn begin(stream: S, lease: Lease) -> Result<Self, Error> {
        let mut stream = Box::pin(stream);
        let first = match stream.next().await {
            Some(Ok(item)) => Some(item),
            Some(Err(error)) => {
                drop(stream);
                lease.settle_tail().await;
                return Err(lease.error(error));
            }
            None => None,
        };
        let node = lease.node().into();
        let is_going_on = first.is_some();
        let stream = is_going_on.then_some(stream);
        Ok(Self { first, stream, lease: is_going_on.then_some(lease), node, is_read: false })
    }

    pub(super) fn of_read(&mut self, is_read: bool) {
        self.is_read = is_read;
    }

    pub(super) fn node(&self) -> &str {
        &self.node
    }

    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        if let Some(item) = self.first.take() {
            return Poll::Ready(Some(Ok(item)));
        }
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        let item = ready!(stream.as_mut().poll_next(cx));
        if let Some(Ok(item)) = item {
            return Poll::Ready(Some(Ok(item)));
        }
        self.stream = None;
        let (Some(Err(error)), Some(lease)) = (item, self.lease.take()) else {
            return Poll::Ready(None);
        };
        Poll::Ready(Some(Err(lease.error(error).of_read(self.is_read))))
    }
}
