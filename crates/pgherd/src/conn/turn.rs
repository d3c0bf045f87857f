//! Whose turn it is to move a line's bytes.
//!
//! In: wake-ups of the line (its socket can be read, a request was queued) and of what a caller
//! waits for on it. Out: the task to be woken.
//!
//! A line has a task of its own. If only that moved bytes, each answer would cost two switches
//! between tasks: one to have the request sent, one to have the answer handed over. So a caller
//! who waits for an answer takes the turn, and the line's task sleeps; what is to do when the
//! caller goes wakes it. Two callers at the same time leave the turn to the task: one of them
//! might not be polled while the other waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

// There may be bytes to move.
const TO_MOVE: u32 = 1;
// What the caller with the turn waits for may have come.
const ANSWERED: u32 = 1 << 1;
// That caller is running, and looks for itself what there is to do before it sleeps.
const RUNNING: u32 = 1 << 2;
// There is more than one caller, or was, and not all have gone.
const SHARED: u32 = 1 << 3;
// One caller: above this they are counted.
const CALLER: u32 = 1 << 4;

/// Whether a caller has the turn.
fn is_the_callers(state: u32) -> bool {
    state >= CALLER && state & SHARED == 0
}

/// See the module's header.
#[derive(Debug)]
pub(super) struct Turn {
    wakers: Arc<Wakers>,
    // Wakes whoever has the turn: there may be bytes to move.
    moves: Waker,
    // Wakes the caller that took the turn: its answer may be there.
    answers: Waker,
}

#[derive(Debug)]
struct Wakers {
    state: AtomicU32,
    task: AtomicWaker,
    caller: AtomicWaker,
}

struct Answers(Arc<Wakers>);

impl Turn {
    /// It is the task's, and there is something to do.
    pub(super) fn new() -> Self {
        let wakers = Arc::new(Wakers {
            state: AtomicU32::new(TO_MOVE),
            task: AtomicWaker::new(),
            caller: AtomicWaker::new(),
        });
        let (moves, answers) = (wakers.clone().into(), Arc::new(Answers(wakers.clone())).into());
        Self { wakers, moves, answers }
    }

    /// What bytes are moved with, whoever does it.
    pub(super) fn moves(&self) -> Context<'_> {
        Context::from_waker(&self.moves)
    }

    /// Whether there may be bytes to move that nobody moves yet.
    pub(super) fn is_to_move(&self) -> bool {
        self.wakers.state.load(Ordering::SeqCst) & TO_MOVE != 0
    }

    /// Whether there may be bytes to move. Whoever asks moves them now, while nobody else does.
    pub(super) fn begin(&self) -> bool {
        self.wakers.clear(TO_MOVE) & TO_MOVE != 0
    }

    /// Whether the task that polls here has the turn. If not, it is woken when it has.
    pub(super) fn is_the_tasks(&self, cx: &Context<'_>) -> bool {
        self.wakers.task.register(cx.waker());
        !is_the_callers(self.wakers.state.load(Ordering::SeqCst))
    }

    /// Wakes the task.
    pub(super) fn wake_task(&self) {
        self.wakers.task.wake();
    }

    /// A caller begins to wait for an answer, and runs.
    pub(super) fn enter(&self) -> Caller<'_> {
        let state = &self.wakers.state;
        let enter = |state: u32| {
            let of_this_one = if state < CALLER { RUNNING } else { SHARED };
            Some((state | of_this_one) + CALLER)
        };
        let before = state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, enter);
        let before = before.unwrap_or_else(|before| before);
        if is_the_callers(before) {
            self.wakers.task.wake();
        }
        Caller { turn: self, is_first: before < CALLER, has_begun: false }
    }
}

/// A caller who waits for an answer. Dropped, it has gone.
pub(super) struct Caller<'t> {
    turn: &'t Turn,
    is_first: bool,
    has_begun: bool,
}

/// More than a caller finds to do without sleeping, unless something is wrong.
const MOST_ROUNDS: usize = 16;

impl Caller<'_> {
    /// Polls what the caller waits for, and moves the line's bytes if it has the turn.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut wait: impl FnMut(&mut Context<'_>) -> Poll<T>,
        mut move_bytes: impl FnMut(),
    ) -> Poll<T> {
        if !self.is_first {
            return wait(cx);
        }
        let Turn { wakers, answers, .. } = self.turn;
        let answers = &mut Context::from_waker(answers);
        if self.has_begun {
            wakers.state.fetch_or(RUNNING, Ordering::SeqCst);
        } else {
            // The request, which is sent by asking for its answer.
            self.has_begun = true;
            if let Poll::Ready(value) = wait(answers) {
                return Poll::Ready(value);
            }
        }
        for _ in 0..MOST_ROUNDS {
            // With another caller around, the task does so as well; it does no harm.
            move_bytes();
            // What it waits for wakes `answers` and nothing else.
            if wakers.state.load(Ordering::SeqCst) & ANSWERED != 0
                && wakers.clear(ANSWERED) & ANSWERED != 0
                && let Poll::Ready(value) = wait(answers)
            {
                return Poll::Ready(value);
            }
            if wakers.state.load(Ordering::SeqCst) & (TO_MOVE | ANSWERED) == 0 {
                break;
            }
        }
        wakers.caller.register(cx.waker());
        if wakers.clear(RUNNING) & (TO_MOVE | ANSWERED) != 0 {
            // It came while nobody was to be woken.
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        let wakers = &self.turn.wakers;
        let own = if self.is_first { RUNNING | ANSWERED } else { 0 };
        let leave = |state: u32| {
            let left = (state & !own) - CALLER;
            Some(if left < CALLER { left & !SHARED } else { left })
        };
        let before = wakers.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave);
        let before = before.unwrap_or_else(|before| before);
        if is_the_callers(before) && before & TO_MOVE != 0 {
            wakers.task.wake();
        }
    }
}

impl Wakers {
    /// Takes this away; what was there before.
    fn clear(&self, what: u32) -> u32 {
        self.state.fetch_and(!what, Ordering::SeqCst)
    }
}

impl Wake for Wakers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.state.fetch_or(TO_MOVE, Ordering::SeqCst);
        if !is_the_callers(before) {
            self.task.wake();
        } else if before & RUNNING == 0 {
            self.caller.wake();
        }
    }
}

impl Wake for Answers {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let before = self.0.state.fetch_or(ANSWERED, Ordering::SeqCst);
        if before & RUNNING == 0 {
            self.0.caller.wake();
        }
    }
}

#[cfg(test)]
mod tests;
