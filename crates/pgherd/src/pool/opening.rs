//! Opens what the machine has ordered.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use pgherd_core::pool::{OpenFailure, lifetime};
use tracing::{debug, warn};

use super::lending::{Shared, now};
use super::state::Slot;
use super::{AcquireError, CloseReason, Manager, PoolEvent};
use crate::ConnectError;

impl<M: Manager> Shared<M> {
    pub(super) fn spawn_open(self: &Arc<Self>) {
        let order = OpenOrder { pool: self.clone(), is_answered: false };
        self.runtime.spawn(order.carry_out());
    }

    /// Opens again once it is put off no longer.
    pub(super) fn spawn_retry(self: &Arc<Self>, at: Instant) {
        let pool = Arc::downgrade(self);
        self.runtime.spawn(async move {
            tokio::time::sleep_until(at.into()).await;
            let Some(pool) = pool.upgrade() else { return };
            pool.state.lock().is_retrying = false;
            pool.open_what_is_missing();
        });
    }

    /// Opens for those who wait, and so many that enough are open.
    pub(super) fn open_what_is_missing(self: &Arc<Self>) {
        let effects = self.state.lock().orders(now());
        self.carry_out(effects);
    }

    fn opened(self: &Arc<Self>, backend: M::Backend, serial: u64, began: Instant) {
        let now = now();
        let dies_at = now + lifetime(self.limits.max_lifetime, crate::random::fraction());
        let (placing, orders) = {
            let mut state = self.state.lock();
            let key = state.leases.insert(None);
            state.counts.opens += 1;
            state.last_connect = None;
            let slot = Slot { backend, key, serial, dies_at, idle_since: now, heard_at: now };
            let placed = state.machine.opened(Box::new(slot), now);
            (state.placed(placed, now), state.orders(now))
        };
        // Before the observer, which may panic: somebody may have been handed the backend.
        self.carry_out(placing);
        self.carry_out(orders);
        self.observe(|| PoolEvent::Opened { took: now - began });
    }

    /// `None`: the order was given up.
    fn open_failed(self: &Arc<Self>, error: Option<ConnectError>) {
        let (now, error) = (now(), error.map(Arc::new));
        let failure = match &error {
            Some(error) if error.is_node_away() => OpenFailure::NodeAway,
            _ => OpenFailure::Refused,
        };
        let (refused, effects) = {
            let mut state = self.state.lock();
            state.machine.open_failed(failure, now, crate::random::fraction());
            let hopeless = state.machine.hopeless_waiters();
            let refused = match &error {
                Some(connect) => {
                    state.counts.failed_opens += 1;
                    state.last_connect = Some(connect.clone());
                    let node = self.node();
                    state.refuse(hopeless, now, || AcquireError::NotOpened {
                        node: node.clone(),
                        connect: connect.clone(),
                    })
                }
                None => {
                    let node = self.node();
                    state.refuse(hopeless, now, || AcquireError::Closed { node: node.clone() })
                }
            };
            (refused, state.orders(now))
        };
        if let Some(error) = error {
            debug!(node = %self.manager.node(), %error, refused = refused.len(), "open failed");
            self.observe(|| PoolEvent::OpenFailed { error: &error });
            self.manager.on_failed_open(&error);
        }
        refused.into_iter().for_each(Waker::wake);
        self.carry_out(effects);
        self.emptied.notify_waiters();
    }

    /// A backend's connection has ended. One that is lent is found out at its release.
    fn on_end(self: &Arc<Self>, serial: u64) {
        let (gone, effects) = {
            let mut state = self.state.lock();
            let gone = state.machine.remove_idle(|slot| slot.serial == serial);
            if let Some(slot) = &gone {
                state.forget_backend(slot);
            }
            (gone, state.orders(now()))
        };
        if let Some(slot) = gone {
            debug!(node = %self.manager.node(), "an idle backend ended");
            self.close_backend(*slot, CloseReason::Ended);
        }
        self.carry_out(effects);
    }
}

/// The order to open one backend. Dropped without an answer (its task was aborted with the
/// runtime) it counts as failed, so that the slot is not lost.
struct OpenOrder<M: Manager> {
    pool: Arc<Shared<M>>,
    is_answered: bool,
}

impl<M: Manager> OpenOrder<M> {
    async fn carry_out(mut self) {
        let (serial, began) = (self.pool.next_serial(), now());
        let on_end = {
            let pool = Arc::downgrade(&self.pool);
            move || {
                if let Some(pool) = pool.upgrade() {
                    pool.on_end(serial);
                }
            }
        };
        let opened = self.pool.manager.open(on_end).await;
        self.is_answered = true;
        match opened {
            Ok(backend) => self.pool.opened(backend, serial, began),
            Err(error) => self.pool.open_failed(Some(error)),
        }
    }
}

impl<M: Manager> Drop for OpenOrder<M> {
    fn drop(&mut self) {
        if !self.is_answered {
            warn!(node = %self.pool.manager.node(), "opening a backend was abandoned");
            self.pool.open_failed(None);
        }
    }
}
