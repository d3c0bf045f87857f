//! The limit on backends, shared by the pools of all cores.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the backends that exist or are being opened against a limit.
///
/// Counted only when a backend is opened or closed, never on a lease; a release looks whether
/// the limit has been lowered.
#[derive(Debug)]
pub struct Slots {
    limit: AtomicUsize,
    used: AtomicUsize,
}

impl Slots {
    /// Room for `limit` backends.
    pub fn new(limit: usize) -> Self {
        Self { limit: AtomicUsize::new(limit), used: AtomicUsize::new(0) }
    }

    /// The number of backends allowed.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Changes the number of backends allowed. Above a lower one nothing is opened; what is
    /// open goes as it becomes free.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// Whether more exist than are allowed: the limit was lowered.
    pub fn is_exceeded(&self) -> bool {
        self.used() > self.limit()
    }

    /// The number of slots taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a slot; `false` when none is left.
    pub(super) fn take(&self) -> bool {
        self.used
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                (used < self.limit()).then_some(used + 1)
            })
            .is_ok()
    }

    /// Gives a slot back.
    pub(super) fn give(&self) {
        let before = self.used.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a slot is given back once");
    }
}
