//! The acquires that wait, and the places they hold.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{AcquireError, NodePool};
use crate::conn::Backend;

/// What a waiter gets.
pub(super) type Handover = Result<Backend, AcquireError>;

/// Numbers waiters and knows how to reach each.
#[derive(Default)]
pub(super) struct Waiting {
    next: u64,
    senders: HashMap<u64, oneshot::Sender<Handover>>,
}

impl Waiting {
    /// A number that no other waiter has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Notes that a numbered waiter listens from now on.
    pub(super) fn listen(&mut self, waiter: u64) -> oneshot::Receiver<Handover> {
        let (sender, receiver) = oneshot::channel();
        self.senders.insert(waiter, sender);
        receiver
    }

    /// The way to reach a waiter; `None` if it stopped waiting.
    pub(super) fn take(&mut self, waiter: u64) -> Option<oneshot::Sender<Handover>> {
        self.senders.remove(&waiter)
    }
}

/// A place in the queue. Dropping it gives the place up; a backend that was on its way is
/// passed on.
pub(super) struct Place {
    pub(super) pool: Arc<NodePool>,
    pub(super) waiter: u64,
    pub(super) handover: oneshot::Receiver<Handover>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.pool.forget(self.waiter) {
            return;
        }
        // Already served, by somebody who may still be sending: after close() either the
        // backend is here, or the sender gets it back.
        self.handover.close();
        if let Ok(Ok(backend)) = self.handover.try_recv() {
            self.pool.put_back(backend);
        }
    }
}
