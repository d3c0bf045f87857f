//! The limit on backends, shared by the pools of all cores, and limits over several of those.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the backends that exist or are being opened against a limit.
///
/// Counted only when a backend is opened or closed, never on a lease; a release looks whether
/// the limit has been lowered.
#[derive(Debug)]
pub struct Slots {
    limit: AtomicUsize,
    // So many more for who has waited for long.
    reserve: usize,
    used: AtomicUsize,
    // Each backend counts there, too.
    above: Vec<Arc<Slots>>,
}

/// Whether the reserve may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reserve {
    Kept,
    Open,
}

impl Slots {
    /// Room for `limit` backends.
    pub fn new(limit: usize) -> Self {
        Self::within(limit, 0, Vec::new())
    }

    /// Room for `limit` backends, and `reserve` more for those who have waited for long, that count
    /// against each of the limits `above`, too.
    pub fn within(limit: usize, reserve: usize, above: Vec<Arc<Self>>) -> Self {
        Self { limit: AtomicUsize::new(limit), reserve, used: AtomicUsize::new(0), above }
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
        self.used() > self.limit() + self.reserve
    }

    /// The limits that what is counted here counts against, too.
    pub fn above(&self) -> impl Iterator<Item = &Arc<Self>> {
        self.above.iter()
    }

    /// Whether none is left, not even in reserve. Limits above are not looked at.
    pub(super) fn is_full(&self) -> bool {
        self.used() >= self.limit() + self.reserve
    }

    /// Whether what is counted here counts against `limit`, too.
    pub fn is_under(&self, limit: &Arc<Self>) -> bool {
        self.above.iter().any(|above| Arc::ptr_eq(above, limit))
    }

    /// A limit above that has no room, while this one has.
    pub(super) fn full_above(&self, reserve: Reserve) -> Option<&Arc<Self>> {
        if self.used() >= self.room(reserve) {
            return None;
        }
        self.above.iter().find(|above| above.used() >= above.limit())
    }

    fn room(&self, reserve: Reserve) -> usize {
        let more = if reserve == Reserve::Open { self.reserve } else { 0 };
        self.limit() + more
    }

    /// The number of slots taken.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes a slot here and from each limit above; `false`, and none is taken, when one of them
    /// has none left.
    pub(super) fn take(&self, reserve: Reserve) -> bool {
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
            (used < self.room(reserve)).then_some(used + 1)
        });
        if taken.is_err() {
            return false;
        }
        let full = self.above.iter().position(|above| !above.take(Reserve::Kept));
        if let Some(full) = full {
            self.above[..full].iter().for_each(|above| above.give());
            self.used.fetch_sub(1, Ordering::AcqRel);
        }
        full.is_none()
    }

    /// Gives a slot back.
    pub(super) fn give(&self) {
        let before = self.used.fetch_sub(1, Ordering::AcqRel);
        debug_assert!(before > 0, "a slot is given back once");
        self.above.iter().for_each(|above| above.give());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_counts_against_each_limit_or_none() {
        let (database, user) = (Arc::new(Slots::new(2)), Arc::new(Slots::new(1)));
        let first = Slots::within(5, 0, vec![Arc::clone(&database), Arc::clone(&user)]);
        let second = Slots::within(5, 0, vec![Arc::clone(&database)]);
        assert!(first.take(Reserve::Kept) && !first.take(Reserve::Kept));
        assert_eq!((first.used(), database.used(), user.used()), (1, 1, 1));
        assert!(Arc::ptr_eq(first.full_above(Reserve::Kept).unwrap(), &user));
        assert!(second.take(Reserve::Kept) && !second.take(Reserve::Kept));
        assert!(Arc::ptr_eq(second.full_above(Reserve::Kept).unwrap(), &database));
        first.give();
        assert_eq!((first.used(), database.used(), user.used()), (0, 1, 0));
        assert!(second.take(Reserve::Kept));
        assert!(first.is_under(&user) && !second.is_under(&user));
    }

    #[test]
    fn the_reserve_is_for_who_may_have_it() {
        let slots = Slots::within(1, 1, Vec::new());
        assert!(slots.take(Reserve::Kept) && !slots.take(Reserve::Kept));
        assert!(slots.take(Reserve::Open) && !slots.take(Reserve::Open));
        assert!(!slots.is_exceeded());
    }
}
