//! An acquire that waits, as the queue and the future that waits know it.
//!
//! In: what it is handed, under the pool's lock. Out: the task to wake, and what it was handed, for
//! which it takes no lock of others: most of those who wait are woken on another processor than the
//! one that has the pool in its cache.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use super::AcquireError;
use super::state::{Slot, TakenAt};
use crate::mutex::Mutex;

/// What a waiter gets. The error is boxed because it is rare, and long.
pub(super) type Handover<B> = Result<Box<Slot<B>>, Box<AcquireError>>;

/// See the module's header.
pub(super) struct Waiter<B> {
    pub(super) taken_at: TakenAt,
    // Held for a few moves, by whoever holds the pool's lock or by the waiter itself.
    answer: Mutex<Answer<B>>,
}

struct Answer<B> {
    // `None` once it was handed something.
    waker: Option<Waker>,
    // `None` until then, and once it was taken.
    handover: Option<Handover<B>>,
}

impl<B> Waiter<B> {
    /// One that is about to be queued, whose task is woken by this.
    pub(super) fn new(taken_at: TakenAt, waker: Waker) -> Arc<Self> {
        let answer = Mutex::new(Answer { waker: Some(waker), handover: None });
        Arc::new(Self { taken_at, answer })
    }

    /// Gives it what it waits for, once it has left the queue; whom to wake. Under the pool's lock:
    /// who gives up its place takes that to see which was first.
    #[must_use]
    pub(super) fn hand_over(&self, handover: Handover<B>) -> Option<Waker> {
        let mut answer = self.answer.lock();
        answer.handover = Some(handover);
        answer.waker.take()
    }

    /// What it was handed. If that is nothing yet, its task is woken by it.
    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<Handover<B>> {
        let mut answer = self.answer.lock();
        if let Some(handover) = answer.handover.take() {
            return Poll::Ready(handover);
        }
        if !answer.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            let before = answer.waker.replace(cx.waker().clone());
            drop(answer);
            // Not under the lock: it may be the last of a task, which may have a backend.
            drop(before);
        }
        Poll::Pending
    }

    /// What it was handed and has not taken.
    pub(super) fn take(&self) -> Option<Handover<B>> {
        self.answer.lock().handover.take()
    }
}

/// It is the same one.
impl<B> PartialEq for Waiter<B> {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}
