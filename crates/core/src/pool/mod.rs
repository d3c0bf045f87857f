//! Decides who gets a backend next, for one pool: the backends of one node under one login.
//!
//! In: acquires, releases, the outcome of opens, deaths, the time.
//! Out: a lease, a place in the queue, or the order to open one more backend.
//!
//! Knows no connection type: `B` is whatever stands for a backend (a slab key, a client
//! object), `W` whatever stands for a waiter. Opens nothing and wakes nobody; the caller does
//! what it is told and reports back. The limit is kept by [`Slots`], which several pools may
//! share: the proxy has one pool per core under one limit.
//!
//! What holds after every call: live = idle + busy + opening, each with one slot; nobody waits
//! while a backend is idle; waiters are served first come, first served.

mod slots;

pub use slots::Slots;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The answer to an acquire.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Acquired<B> {
    /// A backend, borrowed until [`Pool::release`] or [`Pool::closed`].
    Lease(B),
    /// The waiter stands in the queue. With `open`, the caller opens one backend and reports
    /// [`Pool::opened`] or [`Pool::open_failed`].
    Queued {
        /// Whether to open one more backend now.
        open: bool,
    },
}

/// Where a backend went that was opened, released or adopted.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Placed<B, W> {
    /// To the waiter at the head of the queue, who holds it from now on.
    Lent(W, B),
    /// To the idle backends.
    Idle,
}

/// How many backends a pool has in each state, and how many wait.
///
/// Prints as `20 busy, 0 idle, 3 opening, 41 waiting`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PoolLoad {
    /// Borrowed.
    pub busy: usize,
    /// Open and free.
    pub idle: usize,
    /// Ordered and not yet reported open or failed.
    pub opening: usize,
    /// Acquires without a backend.
    pub waiting: usize,
}

impl std::fmt::Display for PoolLoad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { busy, idle, opening, waiting } = self;
        write!(f, "{busy} busy, {idle} idle, {opening} opening, {waiting} waiting")
    }
}

#[derive(Debug)]
struct Idle<B> {
    backend: B,
    since: Instant,
}

#[derive(Debug)]
struct Waiting<W> {
    waiter: W,
    since: Instant,
}

/// The admission of one pool. See the module's header.
#[derive(Debug)]
pub struct Pool<B, W> {
    slots: Arc<Slots>,
    // Most recently used at the back: after a burst the others fall idle and are closed.
    idle: VecDeque<Idle<B>>,
    waiters: VecDeque<Waiting<W>>,
    busy: usize,
    opening: usize,
}

impl<B, W: PartialEq> Pool<B, W> {
    /// An empty pool that opens backends as far as `slots` allows.
    pub fn new(slots: Arc<Slots>) -> Self {
        Self { slots, idle: VecDeque::new(), waiters: VecDeque::new(), busy: 0, opening: 0 }
    }

    /// The limit this pool works under.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// What the pool holds now.
    pub fn load(&self) -> PoolLoad {
        PoolLoad {
            busy: self.busy,
            idle: self.idle.len(),
            opening: self.opening,
            waiting: self.waiters.len(),
        }
    }

    /// Asks for a backend on behalf of `waiter`.
    ///
    /// The most recently used idle backend is lent at once; otherwise the waiter is queued.
    pub fn acquire(&mut self, waiter: W, now: Instant) -> Acquired<B> {
        // Idle backends and waiters never exist together, so nobody is overtaken here.
        if let Some(idle) = self.idle.pop_back() {
            self.busy += 1;
            return Acquired::Lease(idle.backend);
        }
        self.waiters.push_back(Waiting { waiter, since: now });
        Acquired::Queued { open: self.wants_open() }
    }

    /// Takes a slot for one more backend if a waiter would otherwise stay without one.
    ///
    /// `true` is an order to open, to be answered with [`Self::opened`] or
    /// [`Self::open_failed`]. Called by the caller when a slot came free elsewhere.
    #[must_use]
    pub fn wants_open(&mut self) -> bool {
        let wanted = self.opening < self.waiters.len() && self.slots.take();
        self.opening += usize::from(wanted);
        wanted
    }

    /// Orders one backend beyond the waiters, to keep one warm. `false` when the limit is
    /// reached. The order is answered like that of [`Self::wants_open`].
    #[must_use]
    pub fn warm(&mut self) -> bool {
        let taken = self.slots.take();
        self.opening += usize::from(taken);
        taken
    }

    /// An ordered backend is ready.
    pub fn opened(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        self.opening =
            self.opening.checked_sub(1).expect("the caller reports each ordered open once");
        self.place(backend, now)
    }

    /// An ordered backend could not be opened; its slot is free again.
    ///
    /// The waiters stay queued: whether they wait for another try ([`Self::wants_open`]) or
    /// are failed ([`Self::pop_waiter`]) is the caller's policy.
    pub fn open_failed(&mut self) {
        self.opening =
            self.opening.checked_sub(1).expect("the caller reports each ordered open once");
        self.slots.give();
    }

    /// A borrowed backend came back clean.
    pub fn release(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        self.unborrow();
        self.place(backend, now)
    }

    /// A borrowed backend is gone. `true` is an order to open another in its place.
    #[must_use]
    pub fn closed(&mut self) -> bool {
        self.unborrow();
        self.slots.give();
        self.wants_open()
    }

    /// Takes out an idle backend that died or is not wanted any more; its slot is free again.
    pub fn remove_idle(&mut self, is_it: impl Fn(&B) -> bool) -> Option<B> {
        let at = self.idle.iter().position(|idle| is_it(&idle.backend))?;
        let idle = self.idle.remove(at)?;
        self.slots.give();
        Some(idle.backend)
    }

    /// Takes out the backend that has been idle longest, if that is longer than `limit`; its
    /// slot is free again.
    pub fn pop_surplus(&mut self, now: Instant, limit: Duration) -> Option<B> {
        let oldest = self.idle.front()?;
        if now.saturating_duration_since(oldest.since) <= limit {
            return None;
        }
        let idle = self.idle.pop_front()?;
        self.slots.give();
        Some(idle.backend)
    }

    /// Takes out every idle backend; their slots are free again.
    pub fn drain_idle(&mut self) -> impl Iterator<Item = B> + use<'_, B, W> {
        let Self { idle, slots, .. } = self;
        idle.drain(..).map(|idle| {
            slots.give();
            idle.backend
        })
    }

    /// A waiter stopped waiting. `false` if it did not wait.
    pub fn forget(&mut self, waiter: &W) -> bool {
        let at = self.waiters.iter().position(|waiting| waiting.waiter == *waiter);
        at.and_then(|at| self.waiters.remove(at)).is_some()
    }

    /// Takes the head of the queue out, with how long it has waited.
    pub fn pop_waiter(&mut self, now: Instant) -> Option<(W, Duration)> {
        let waiting = self.waiters.pop_front()?;
        Some((waiting.waiter, now.saturating_duration_since(waiting.since)))
    }

    /// Takes the head of the queue out if it has waited for `limit` or longer.
    pub fn pop_expired(&mut self, now: Instant, limit: Duration) -> Option<(W, Duration)> {
        let waited = now.saturating_duration_since(self.waiters.front()?.since);
        if waited < limit {
            return None;
        }
        self.pop_waiter(now)
    }

    /// When the head of the queue began to wait.
    pub fn oldest_wait(&self) -> Option<Instant> {
        self.waiters.front().map(|waiting| waiting.since)
    }

    /// Takes out an idle backend together with its slot, to be [adopted](Self::adopt) by
    /// another pool under the same limit.
    pub fn give_idle(&mut self) -> Option<B> {
        self.idle.pop_back().map(|idle| idle.backend)
    }

    /// A borrowed backend leaves together with its slot, to be [adopted](Self::adopt) by
    /// another pool under the same limit.
    pub fn give_busy(&mut self) {
        self.unborrow();
    }

    /// Takes in a free backend that another pool gave away.
    pub fn adopt(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        self.place(backend, now)
    }

    fn place(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        match self.waiters.pop_front() {
            Some(waiting) => {
                self.busy += 1;
                Placed::Lent(waiting.waiter, backend)
            }
            None => {
                self.idle.push_back(Idle { backend, since: now });
                Placed::Idle
            }
        }
    }

    fn unborrow(&mut self) {
        self.busy = self.busy.checked_sub(1).expect("each lease ends once");
    }
}

#[cfg(test)]
mod tests;
