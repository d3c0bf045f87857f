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
//!
//! Time-outs, ages and checks are the caller's to ask for: [`Pool::pop_expired`],
//! [`Pool::pop_surplus`], [`Pool::remove_idle`], [`Pool::borrow_idle`].

mod backoff;
mod lifetime;
mod slots;

pub use backoff::OpenFailure;
pub use lifetime::lifetime;
pub use slots::Slots;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backoff::Backoff;
use slots::Reserve;

/// What bounds a pool, beside its [`Slots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Backends kept open, busy or idle, also when nobody needs them, over all pools that share the
    /// slots.
    pub min_open: usize,
    /// Backends being opened at the same time, at most; at least 1.
    pub max_opening: usize,
    /// Acquires that may wait.
    pub max_waiting: usize,
    /// Which idle backend is lent.
    pub reuse: Reuse,
    /// The longest wait between two tries to open a backend after one has failed.
    pub open_retry: Duration,
    /// How long the head of the queue has waited when the slots' reserve may be used.
    pub reserve_after: Duration,
}

/// Nothing is kept open, only the slots bound the rest, and a node that is back is found within a
/// second.
impl Default for Bounds {
    fn default() -> Self {
        Self {
            min_open: 0,
            max_opening: usize::MAX,
            max_waiting: usize::MAX,
            reuse: Reuse::Newest,
            open_retry: Duration::from_secs(1),
            reserve_after: Duration::ZERO,
        }
    }
}

/// Which idle backend is lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reuse {
    /// The one that was used last: the surplus falls idle and is closed.
    Newest,
    /// The one that has been idle longest: all are used alike.
    Oldest,
}

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
    /// As many wait as may; this one was not queued.
    Full,
}

/// Where a backend went that was opened, released or adopted.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Placed<B, W> {
    /// To the waiter at the head of the queue, who holds it from now on.
    Lent(W, B),
    /// To the idle backends.
    Idle,
    /// Nowhere: the limit was lowered, or the pool is held. The caller closes it; its slot is free
    /// already.
    Surplus(B),
}

/// How many backends a pool has in each state, and how many wait.
///
/// Prints as `20 busy, 0 idle, 3 opening, 41 waiting`.
///
/// ```
/// use pgherd_core::pool::PoolLoad;
///
/// let load = PoolLoad { busy: 20, idle: 0, opening: 3, waiting: 41 };
/// assert_eq!(load.to_string(), "20 busy, 0 idle, 3 opening, 41 waiting");
/// ```
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
    // Whether it has been told that it waits.
    is_told: bool,
}

/// The admission of one pool. See the module's header.
#[derive(Debug)]
pub struct Pool<B, W> {
    slots: Arc<Slots>,
    bounds: Bounds,
    backoff: Backoff,
    // Most recently used at the back: after a burst the others fall idle and are closed.
    idle: VecDeque<Idle<B>>,
    waiters: VecDeque<Waiting<W>>,
    busy: usize,
    opening: usize,
    is_held: bool,
}

impl<B, W: PartialEq> Pool<B, W> {
    /// An empty pool that opens backends as far as `slots` allows.
    pub fn new(slots: Arc<Slots>) -> Self {
        Self::with_bounds(slots, Bounds::default())
    }

    /// An empty pool within `slots` and `bounds`.
    pub fn with_bounds(slots: Arc<Slots>, bounds: Bounds) -> Self {
        Self {
            slots,
            bounds,
            backoff: Backoff::up_to(bounds.open_retry),
            idle: VecDeque::new(),
            waiters: VecDeque::new(),
            busy: 0,
            opening: 0,
            is_held: false,
        }
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
    /// An idle backend ([`Reuse`] says which) is lent at once; otherwise the waiter is queued.
    pub fn acquire(&mut self, waiter: W, now: Instant) -> Acquired<B> {
        // Idle backends and waiters never exist together, so nobody is overtaken here.
        if let Some(backend) = self.lend_idle() {
            return Acquired::Lease(backend);
        }
        match self.queue(waiter, now) {
            Some(open) => Acquired::Queued { open },
            None => Acquired::Full,
        }
    }

    /// Queues a waiter while no backend is idle: [`Self::acquire`] for who has seen that. Whether
    /// to open one more backend now; `None` if as many wait as may.
    #[must_use]
    pub fn queue(&mut self, waiter: W, now: Instant) -> Option<bool> {
        debug_assert!(self.idle.is_empty(), "nobody waits while a backend is idle");
        if self.waiters.len() >= self.bounds.max_waiting {
            return None;
        }
        // Callers on two threads may come in another order than they looked at their clocks.
        let since = self.waiters.back().map_or(now, |last| last.since.max(now));
        self.waiters.push_back(Waiting { waiter, since, is_told: false });
        Some(self.wants_open(now))
    }

    /// The idle backend that is lent next.
    pub fn next_idle(&self) -> Option<&B> {
        let idle = match self.bounds.reuse {
            Reuse::Newest => self.idle.back(),
            Reuse::Oldest => self.idle.front(),
        };
        idle.map(|idle| &idle.backend)
    }

    /// Lends it, if there is one: [`Self::acquire`] for who does not wait.
    pub fn lend_idle(&mut self) -> Option<B> {
        let idle = match self.bounds.reuse {
            Reuse::Newest => self.idle.pop_back(),
            Reuse::Oldest => self.idle.pop_front(),
        };
        self.busy += usize::from(idle.is_some());
        idle.map(|idle| idle.backend)
    }

    /// The backend that was lent turned out to be gone before it was of any use: asks again for
    /// the same waiter, who began to wait at `since` and so comes before all others.
    pub fn reacquire(&mut self, waiter: W, since: Instant, now: Instant) -> Acquired<B> {
        self.unborrow();
        self.slots.give();
        if let Some(backend) = self.lend_idle() {
            return Acquired::Lease(backend);
        }
        let at = self.waiters.partition_point(|waiting| waiting.since < since);
        self.waiters.insert(at, Waiting { waiter, since, is_told: false });
        Acquired::Queued { open: self.wants_open(now) }
    }

    /// Takes a slot for one more backend if a waiter, or the least number to keep open, would
    /// otherwise stay without one. Not while opening is put off after a failure.
    ///
    /// `true` is an order to open, to be answered with [`Self::opened`] or
    /// [`Self::open_failed`]. To be asked, until it is `false`, after an open has ended, when a
    /// slot came free elsewhere, and at [`Self::retry_at`].
    #[must_use]
    pub fn wants_open(&mut self, now: Instant) -> bool {
        // A pool with waiters is nearly always full: that first.
        let opens = !self.slots.is_full()
            && self.is_short()
            && !self.is_held
            && !self.backoff.is_on(now)
            && self.slots.take(self.reserve(now));
        self.opening += usize::from(opens);
        opens
    }

    /// Whether more are to be opened than are being opened, as far as the slots allow it.
    pub fn is_short(&self) -> bool {
        let lacks_some = self.slots.used() < self.bounds.min_open;
        self.opening < self.bounds.max_opening && (self.opening < self.waiters.len() || lacks_some)
    }

    /// Changes how many backends are kept open.
    pub fn keep_open(&mut self, min_open: usize) {
        self.bounds.min_open = min_open;
    }

    /// A limit above the slots that keeps a waiter here from a backend of its own. It has room again
    /// once another pool under it has closed one: see [`Self::pop_idle_for`].
    pub fn held_up_by(&self, now: Instant) -> Option<&Arc<Slots>> {
        let wants = self.opening < self.waiters.len() && !self.backoff.is_on(now) && !self.is_held;
        if wants { self.slots.full_above(self.reserve(now)) } else { None }
    }

    /// Takes out the backend that has been idle longest, for the good of another pool under `limit`;
    /// its slot is free again. `None` if there is none, or it would not help.
    pub fn pop_idle_for(&mut self, limit: &Arc<Slots>) -> Option<B> {
        if self.slots.is_under(limit) { self.pop_oldest_idle() } else { None }
    }

    /// Since when the backend is idle that has been idle longest.
    pub fn oldest_idle(&self) -> Option<Instant> {
        self.idle.iter().map(|idle| idle.since).min()
    }

    fn reserve(&self, now: Instant) -> Reserve {
        let since = self.waiters.front().map(|waiting| waiting.since);
        let has_waited = |since| now.saturating_duration_since(since) >= self.bounds.reserve_after;
        if since.is_some_and(has_waited) { Reserve::Open } else { Reserve::Kept }
    }

    /// Whether opening is put off after a failure.
    pub fn is_backing_off(&self, now: Instant) -> bool {
        self.backoff.is_on(now)
    }

    /// Until when opening is, or was last, put off; `None` when the last open succeeded.
    pub fn retry_at(&self) -> Option<Instant> {
        self.backoff.retry_at()
    }

    /// Whether an acquire would wait in vain for now: opening is put off and there is no backend
    /// that could be released.
    pub fn is_hopeless(&self, now: Instant) -> bool {
        self.backoff.is_on(now)
            && self.idle.is_empty()
            && self.opening == 0
            && (self.busy == 0 || self.backoff.is_node_away())
    }

    /// How many waiters, from the head of the queue, wait in vain after an open failed. As long
    /// as a backend is busy on a node that is there, the queue waits for its release; else each
    /// failed open fails one waiter, and the last one all.
    pub fn hopeless_waiters(&self) -> usize {
        if self.busy > 0 && !self.backoff.is_node_away() {
            return 0;
        }
        if self.opening == 0 { self.waiters.len() } else { self.waiters.len().min(1) }
    }

    /// An ordered backend is ready.
    pub fn opened(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        self.opening =
            self.opening.checked_sub(1).expect("the caller reports each ordered open once");
        self.backoff.on_success();
        self.place(backend, now)
    }

    /// An ordered backend is ready, and is not wanted any more; its slot is free again. `true` is an order
    /// to open another in its place.
    #[must_use]
    pub fn opened_in_vain(&mut self, now: Instant) -> bool {
        self.opening =
            self.opening.checked_sub(1).expect("the caller reports each ordered open once");
        self.backoff.on_success();
        self.declined(now)
    }

    /// An ordered backend could not be opened; its slot is free again, and for a growing while
    /// ([`Self::retry_at`]) nothing is opened. `random` is uniform in 0 to 1.
    ///
    /// The waiters stay queued: whether they wait for another try ([`Self::wants_open`]) or
    /// are failed ([`Self::pop_waiter`]) is the caller's policy; [`Self::hopeless_waiters`] is
    /// one.
    pub fn open_failed(&mut self, failure: OpenFailure, now: Instant, random: f64) {
        self.opening =
            self.opening.checked_sub(1).expect("the caller reports each ordered open once");
        self.slots.give();
        self.backoff.on_failure(failure, now, random);
    }

    /// A borrowed backend came back clean.
    pub fn release(&mut self, backend: B, now: Instant) -> Placed<B, W> {
        self.unborrow();
        self.place(backend, now)
    }

    /// A borrowed backend is gone. `true` is an order to open another in its place.
    #[must_use]
    pub fn closed(&mut self, now: Instant) -> bool {
        self.unborrow();
        self.slots.give();
        self.wants_open(now)
    }

    /// Takes out an idle backend that died or is not wanted any more; its slot is free again.
    pub fn remove_idle(&mut self, is_it: impl Fn(&B) -> bool) -> Option<B> {
        let at = self.idle.iter().position(|idle| is_it(&idle.backend))?;
        let idle = self.idle.remove(at)?;
        self.slots.give();
        Some(idle.backend)
    }

    /// Takes out the backend that has been idle longest, if that is longer than `limit` and
    /// enough stay open without it; its slot is free again.
    pub fn pop_surplus(&mut self, now: Instant, limit: Duration) -> Option<B> {
        let oldest = self.idle.front()?;
        let is_kept = self.slots.used() <= self.bounds.min_open;
        if is_kept || now.saturating_duration_since(oldest.since) <= limit {
            return None;
        }
        self.pop_oldest_idle()
    }

    /// Takes out the backend that has been idle longest, if more exist than the limit allows;
    /// its slot is free again. To be asked, until it is `None`, after the limit was lowered.
    pub fn pop_excess(&mut self) -> Option<B> {
        if self.slots.is_exceeded() { self.pop_oldest_idle() } else { None }
    }

    fn pop_oldest_idle(&mut self) -> Option<B> {
        let idle = self.idle.pop_front()?;
        self.slots.give();
        Some(idle.backend)
    }

    /// Borrows the backend that has been idle longest of those that `is_it` accepts, to see
    /// whether it is still there; with when it became idle. Ends with [`Self::put_back`] or
    /// [`Self::closed`].
    pub fn borrow_idle(&mut self, is_it: impl Fn(&B) -> bool) -> Option<(B, Instant)> {
        let at = self.idle.iter().position(|idle| is_it(&idle.backend))?;
        let idle = self.idle.remove(at)?;
        self.busy += 1;
        Some((idle.backend, idle.since))
    }

    /// A backend from [`Self::borrow_idle`] is still there. To have been looked at is no use: it
    /// is idle since when it was before.
    pub fn put_back(&mut self, backend: B, since: Instant) -> Placed<B, W> {
        self.unborrow();
        self.place(backend, since)
    }

    /// Lends nothing any more: who acquires waits, what comes back is surplus, and nothing is opened.
    /// With `false` it goes on; the caller asks [`Self::wants_open`] then, on behalf of those who wait.
    /// The caller [drains](Self::drain_idle) what is idle: nobody could have it.
    pub fn hold(&mut self, is_held: bool) {
        self.is_held = is_held;
    }

    /// Whether it lends nothing for now.
    pub fn is_held(&self) -> bool {
        self.is_held
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

    /// Takes the head of the queue out if it waits in vain: there is no backend that could be
    /// released, and the next one is tried for only when `limit` is over.
    pub fn pop_hopeless(&mut self, now: Instant, limit: Duration) -> Option<(W, Duration)> {
        let over = self.waiters.front()?.since + limit;
        let is_late = self.backoff.retry_at().is_some_and(|at| now < at && over <= at);
        if is_late && self.slots.used() == 0 { self.pop_waiter(now) } else { None }
    }

    /// Who has waited for `after` or longer and was not told by this yet that it waits.
    pub fn untold(&mut self, now: Instant, after: Duration) -> Vec<W>
    where
        W: Clone,
    {
        let has_waited =
            |waiting: &Waiting<W>| now.saturating_duration_since(waiting.since) >= after;
        let end = self.waiters.partition_point(has_waited);
        let late = self.waiters.iter_mut().take(end).filter(|waiting| !waiting.is_told);
        late.map(|waiting| {
            waiting.is_told = true;
            waiting.waiter.clone()
        })
        .collect()
    }

    /// The head of the queue.
    pub fn first_waiter(&self) -> Option<&W> {
        self.waiters.front().map(|waiting| &waiting.waiter)
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

    /// The same of one that is not wanted any more; its slot is free again. `true` is an order to open
    /// another in its place.
    #[must_use]
    pub fn declined(&mut self, now: Instant) -> bool {
        self.slots.give();
        self.wants_open(now)
    }

    fn place(&mut self, backend: B, since: Instant) -> Placed<B, W> {
        if self.is_held || self.slots.is_exceeded() {
            self.slots.give();
            return Placed::Surplus(backend);
        }
        match self.waiters.pop_front() {
            Some(waiting) => {
                self.busy += 1;
                Placed::Lent(waiting.waiter, backend)
            }
            None => {
                // Nearly always at the back. Not so what was only looked at.
                let is_older = |idle: &Idle<B>| idle.since <= since;
                if self.idle.back().is_none_or(is_older) {
                    self.idle.push_back(Idle { backend, since });
                } else {
                    let at = self.idle.partition_point(is_older);
                    self.idle.insert(at, Idle { backend, since });
                }
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
