//! The right to use one backend, which gives itself back.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use super::lending::Shared;
use super::state::Slot;
use super::{Fate, Manager};

/// What a [`Pool`](super::Pool) has lent. Dropping it is the release. See [`Pool`](super::Pool).
#[must_use = "dropping it releases the backend"]
pub struct Lent<M: Manager> {
    // `Some` until drop.
    slot: Option<Box<Slot<M::Backend>>>,
    pool: Arc<Shared<M>>,
}

/// The same, of a pool that others keep alive: to count who does costs two locked instructions.
pub(super) struct Loan<'p, M: Manager> {
    // `Some` until drop.
    slot: Option<Box<Slot<M::Backend>>>,
    pool: &'p Arc<Shared<M>>,
}

impl<M: Manager> Lent<M> {
    pub(super) fn new(slot: Box<Slot<M::Backend>>, pool: Arc<Shared<M>>) -> Self {
        Self { slot: Some(slot), pool }
    }
}

impl<'p, M: Manager> Loan<'p, M> {
    pub(super) fn new(slot: Box<Slot<M::Backend>>, pool: &'p Arc<Shared<M>>) -> Self {
        Self { slot: Some(slot), pool }
    }

    pub(super) fn slot(&self) -> &Slot<M::Backend> {
        self.slot.as_ref().expect("it is there until drop")
    }

    /// Takes the backend out, which then is not given back by itself.
    pub(super) fn into_slot(mut self) -> Box<Slot<M::Backend>> {
        self.slot.take().expect("it is there until drop")
    }

    /// Gives the backend back for what its user has found it to be.
    pub(super) fn release(mut self, fate: Fate) {
        if let Some(slot) = self.slot.take() {
            self.pool.release(slot, fate);
        }
    }
}

impl<M: Manager> Deref for Lent<M> {
    type Target = M::Backend;

    fn deref(&self) -> &M::Backend {
        &self.slot.as_ref().expect("it is there until drop").backend
    }
}

impl<M: Manager> Drop for Lent<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            drop(Loan::new(slot, &self.pool));
        }
    }
}

impl<M: Manager> Drop for Loan<'_, M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            let fate = self.pool.manager.fate(&slot.backend);
            self.pool.release(slot, fate);
        }
    }
}

impl<M: Manager> fmt::Debug for Lent<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lent").field("node", self.pool.manager.node()).finish_non_exhaustive()
    }
}
