//! A place in the queue, and the tasks that see to it that nobody stands there for too long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use super::lending::{Shared, now};
use super::state::{Effects, Slot};
use super::waiter::Waiter;
use super::{AcquireError, Manager, PoolEvent};

/// A place in the queue. Dropping it gives the place up; a backend that was on its way is
/// passed on.
pub(super) struct Place<'p, M: Manager> {
    pool: &'p Arc<Shared<M>>,
    waiter: Arc<Waiter<M::Backend>>,
    is_new: bool,
    is_served: bool,
}

impl<'p, M: Manager> Place<'p, M> {
    /// Of a waiter that wakes the task that will poll this, at once.
    pub(super) fn new(pool: &'p Arc<Shared<M>>, waiter: Arc<Waiter<M::Backend>>) -> Self {
        Self { pool, waiter, is_new: true, is_served: false }
    }
}

impl<M: Manager> Future for Place<'_, M> {
    type Output = Result<Box<Slot<M::Backend>>, AcquireError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        // A handover since it was queued wakes the task.
        if std::mem::replace(&mut this.is_new, false) {
            return Poll::Pending;
        }
        let handover = ready!(this.waiter.poll(cx));
        this.is_served = true;
        Poll::Ready(handover.map_err(|error| *error))
    }
}

impl<M: Manager> Drop for Place<'_, M> {
    fn drop(&mut self) {
        if self.is_served {
            return;
        }
        let now = now();
        let effects = {
            let mut state = self.pool.state.lock();
            match self.waiter.take() {
                Some(Ok(slot)) => {
                    state.leases[slot.key] = None;
                    state.counts.acquires -= 1;
                    let placed = state.machine.release(slot, now);
                    state.placed(placed, now)
                }
                Some(Err(_)) => Effects::default(),
                None => {
                    let was_queued = state.machine.forget(&self.waiter);
                    debug_assert!(was_queued, "who has no answer stands in the queue");
                    Effects::default()
                }
            }
        };
        self.pool.carry_out(effects);
    }
}

impl<M: Manager> Shared<M> {
    /// Watches the time of the queue's head until the queue is empty: all wait for as long, so
    /// who came first is late first.
    pub(super) fn spawn_timing(self: &Arc<Self>) {
        let watch = Timing { pool: self.clone(), is_done: false };
        self.runtime.spawn(watch.run());
    }

    /// Looks once, at this time, for those who have waited too long.
    pub(super) fn spawn_expiry(self: &Arc<Self>, at: Instant) {
        let pool = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            if let Some(pool) = pool.upgrade() {
                pool.expire();
            }
        });
    }

    /// Fails those whose time is up; when the next one's will be.
    fn expire(self: &Arc<Self>) -> Option<Instant> {
        let (now, limit) = (now(), self.limits.acquire_timeout);
        let mut wakers: Vec<Waker> = Vec::new();
        let mut late = Vec::new();
        let next = {
            let mut state = self.state.lock();
            loop {
                let Some(since) = state.machine.oldest_wait() else { break None };
                let waited = now.saturating_duration_since(since);
                if waited < limit {
                    break Some(since + limit);
                }
                let error = self.timed_out(&state, waited);
                state.counts.timeouts += 1;
                late.push(waited);
                wakers.extend(state.refuse(1, now, || error.clone()));
            }
        };
        wakers.into_iter().for_each(Waker::wake);
        for waited in late {
            self.observe(|| PoolEvent::TimedOut { waited });
        }
        next
    }
}

/// The task that watches the time. Dropped with its runtime, it fails those who wait.
struct Timing<M: Manager> {
    pool: Arc<Shared<M>>,
    is_done: bool,
}

impl<M: Manager> Timing<M> {
    async fn run(mut self) {
        loop {
            let next = self.pool.expire();
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => {
                    let mut state = self.pool.state.lock();
                    // Somebody may have come since.
                    if state.machine.oldest_wait().is_none() {
                        state.is_timing = false;
                        drop(state);
                        self.is_done = true;
                        return;
                    }
                }
            }
        }
    }
}

impl<M: Manager> Drop for Timing<M> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let wakers = {
            let mut state = self.pool.state.lock();
            state.is_timing = false;
            let node = self.pool.node();
            state.refuse(usize::MAX, now(), || AcquireError::Closed { node: node.clone() })
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}
