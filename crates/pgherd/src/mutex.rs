//! A mutex whose lock goes on after a panic.
//!
//! What it guards here (counts, queues, snapshots) is changed by machines that keep their
//! invariants in every step, so a panic elsewhere in the holder is no reason to fail everybody.

use std::sync::{MutexGuard, PoisonError};

/// See the module's header.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::sync::Mutex::new(value))
    }

    /// Held for a few instructions at a time, never over an await.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
