//! How a pool shrinks and ends.

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::lending::{Pool, Shared, now};
use super::state::Slot;
use super::{AcquireError, CloseReason, Manager, PoolEvent};

impl<M: Manager> Pool<M> {
    /// Changes how many backends there may be, at least 1. A larger pool serves waiters at once.
    /// A smaller one closes surplus idle backends at once and busy ones as they are released.
    pub fn resize(&self, size: usize) {
        if self.0.state.lock().is_closed {
            return;
        }
        self.0.resize(size.max(1), CloseReason::Resized);
    }

    /// Refuses acquires from now on, fails those that wait and closes idle backends; leases
    /// that are out are closed when they come back.
    pub fn close(&self) {
        let wakers = {
            let mut state = self.0.state.lock();
            state.is_closed = true;
            let node = self.0.node();
            let closed = || AcquireError::Closed { node: node.clone() };
            state.refuse(usize::MAX, now(), closed)
        };
        wakers.into_iter().for_each(Waker::wake);
        // Room for none: whatever comes back is surplus.
        self.0.resize(0, CloseReason::PoolClosed);
    }

    /// The same, and waits for the leases that are out, and for what is being opened, `limit`
    /// at most. How many were left.
    ///
    /// Dropping the future leaves the pool closed.
    pub async fn close_within(&self, limit: Duration) -> usize {
        self.close();
        let emptied = async {
            loop {
                let closed = self.0.emptied.notified();
                let mut closed = std::pin::pin!(closed);
                // Enabled before looking, so that the last one in between is not missed.
                closed.as_mut().enable();
                if self.live() == 0 {
                    return;
                }
                closed.await;
            }
        };
        // What is left then is counted below.
        let _ = tokio::time::timeout(limit, emptied).await;
        self.live()
    }

    fn live(&self) -> usize {
        let load = self.load();
        load.busy + load.idle + load.opening
    }
}

impl<M: Manager> Shared<M> {
    fn resize(self: &Arc<Self>, size: usize, reason: CloseReason) {
        let mut gone = Vec::new();
        let effects = {
            let mut state = self.state.lock();
            state.machine.slots().set_limit(size);
            while let Some(slot) = state.machine.pop_excess() {
                state.forget_backend(&slot);
                gone.push(slot);
            }
            state.orders(now())
        };
        for slot in gone {
            self.close_backend(*slot, reason);
        }
        self.carry_out(effects);
    }

    /// Closes every idle backend, and opens again what is to be there.
    pub(super) fn close_all_idle(self: &Arc<Self>, reason: CloseReason) {
        let (gone, effects) = {
            let mut state = self.state.lock();
            let gone: Vec<_> = state.machine.drain_idle().collect();
            gone.iter().for_each(|slot| state.forget_backend(slot));
            (gone, state.orders(now()))
        };
        for slot in gone {
            self.close_backend(*slot, reason);
        }
        self.carry_out(effects);
    }

    /// Closes what the state has forgotten.
    pub(super) fn close_backend(&self, slot: Slot<M::Backend>, reason: CloseReason) {
        self.observe(|| PoolEvent::Closed { reason });
        self.manager.close(slot.backend, reason);
        self.emptied.notify_waiters();
    }
}
