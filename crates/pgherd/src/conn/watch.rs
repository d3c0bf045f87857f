//! Whether there may be something to read.
//!
//! In: when a stream was found to have nothing, and that somebody is woken by it. Out: whether it
//! need be asked again. The driver asks before each request it writes, and as a rule nothing has come
//! since it asked last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

/// See the module's header.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Arc<Watched>,
    // Wakes the one below, and is seen.
    waker: Waker,
}

#[derive(Debug)]
struct Watched {
    may_read: AtomicBool,
    waker: Waker,
}

impl Watch {
    /// For who is woken by this, beginning with a stream that was not asked yet.
    pub(super) fn new(waker: &Waker) -> Self {
        let watched = Arc::new(Watched { may_read: AtomicBool::new(true), waker: waker.clone() });
        Self { waker: watched.clone().into(), watched }
    }

    /// Whether it is for who is woken by this.
    pub(super) fn is_for(&self, waker: &Waker) -> bool {
        // Not `will_wake`: of one waker, a clone may have another table. What this points to is kept
        // alive here, and so is nobody else's.
        self.watched.waker.data() == waker.data()
    }

    /// Whether the stream may have something.
    pub(super) fn may_read(&self) -> bool {
        self.watched.may_read.load(Ordering::Acquire)
    }

    /// The stream is asked now, with this.
    pub(super) fn ask(&self) -> Context<'_> {
        // Before: what wakes from now on counts.
        self.watched.may_read.store(false, Ordering::Release);
        Context::from_waker(&self.waker)
    }

    /// The stream had something, and may have more; or it was not asked after all.
    pub(super) fn leave_open(&self) {
        self.watched.may_read.store(true, Ordering::Release);
    }
}

impl Wake for Watched {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.may_read.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Not empty: each is to have a place of its own.
    struct Nobody(#[expect(dead_code, reason = "its place counts")] u8);

    impl Wake for Nobody {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_stream_that_had_nothing_is_asked_again_once_it_has_woken_somebody() {
        let (somebody, other): (Waker, Waker) =
            (Arc::new(Nobody(0)).into(), Arc::new(Nobody(0)).into());
        let watch = Watch::new(&somebody);
        assert!(watch.is_for(&somebody) && watch.is_for(&somebody.clone()) && watch.may_read());
        assert!(!watch.is_for(&other));
        let asking = watch.ask().waker().clone();
        assert!(!watch.may_read());
        asking.wake_by_ref();
        assert!(watch.may_read());
        let _ = watch.ask();
        watch.leave_open();
        assert!(watch.may_read(), "there may be more");
    }
}
