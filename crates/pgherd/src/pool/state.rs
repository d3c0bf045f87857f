//! What a pool holds under its lock.

use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use pgherd_core::pool::{Placed, Pool as Machine, Slots};
use slab::Slab;

use super::waiter::Waiter;
use super::{AcquireError, Limits};
use crate::ConnectError;

/// A backend with what the pool remembers of it. Boxed, so that handing it around moves a
/// pointer.
pub(super) struct Slot<B> {
    pub(super) backend: B,
    /// Its entry among the leases.
    pub(super) key: usize,
    /// Its number in this pool.
    pub(super) serial: u64,
    /// When it is too old to be lent.
    pub(super) dies_at: Instant,
    /// When it was last released, or opened.
    pub(super) idle_since: Instant,
    /// When it was last known to be there.
    pub(super) heard_at: Instant,
}

/// Where a backend went.
pub(super) type PlacedSlot<B> = Placed<Box<Slot<B>>, Arc<Waiter<B>>>;

/// Where a lease was taken; `None` for one that lasts as long as one statement, which nobody
/// can forget to release.
pub(crate) type TakenAt = Option<&'static Location<'static>>;

/// A lease.
pub(super) struct Taken {
    pub(super) since: Instant,
    pub(super) at: TakenAt,
    pub(super) is_reported: bool,
}

/// What happened in one pool since the start. See [`Pool`](super::Pool).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolCounts {
    /// Backends lent.
    pub acquires: u64,
    /// Acquires that had to wait.
    pub waits: u64,
    /// Acquires that had no backend in time.
    pub timeouts: u64,
    /// Acquires that were refused because as many waited as may.
    pub refusals: u64,
    /// Backends opened.
    pub opens: u64,
    /// Attempts to open a backend that failed.
    pub failed_opens: u64,
    /// Backends closed, or ended by themselves.
    pub closes: u64,
    /// Leases that were held for longer than `pool.leak_after`.
    pub overdue: u64,
}

/// See the module's header.
pub(super) struct State<B> {
    pub(super) machine: Machine<Box<Slot<B>>, Arc<Waiter<B>>>,
    // One entry for each backend; `Some` while it is lent.
    pub(super) leases: Slab<Option<Taken>>,
    pub(super) last_connect: Option<Arc<ConnectError>>,
    pub(super) counts: PoolCounts,
    pub(super) is_closed: bool,
    /// A task watches the time-outs.
    pub(super) is_timing: bool,
    /// A task waits to open again after a failure.
    pub(super) is_retrying: bool,
}

/// What is to be done once the lock is gone.
#[must_use]
pub(super) struct Effects<B> {
    pub(super) wake: Option<Waker>,
    pub(super) surplus: Option<Box<Slot<B>>>,
    pub(super) opens: usize,
    pub(super) retry_at: Option<Instant>,
}

impl<B> Default for Effects<B> {
    fn default() -> Self {
        Self { wake: None, surplus: None, opens: 0, retry_at: None }
    }
}

impl<B> State<B> {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            machine: Machine::with_bounds(Arc::new(Slots::new(limits.size)), limits.bounds()),
            leases: Slab::new(),
            last_connect: None,
            counts: PoolCounts::default(),
            is_closed: false,
            is_timing: false,
            is_retrying: false,
        }
    }

    /// Notes a lease.
    pub(super) fn lend(&mut self, slot: &Slot<B>, at: TakenAt, now: Instant) {
        self.leases[slot.key] = Some(Taken { since: now, at, is_reported: false });
        self.counts.acquires += 1;
    }

    /// Takes note of where a free backend went.
    pub(super) fn placed(&mut self, placed: PlacedSlot<B>, now: Instant) -> Effects<B> {
        match placed {
            Placed::Idle => Effects::default(),
            Placed::Lent(waiter, slot) => {
                self.lend(&slot, waiter.taken_at, now);
                Effects { wake: waiter.hand_over(Ok(slot)), ..Effects::default() }
            }
            Placed::Surplus(slot) => {
                self.forget_backend(&slot);
                Effects { surplus: Some(slot), ..Effects::default() }
            }
        }
    }

    /// A backend is no more.
    pub(super) fn forget_backend(&mut self, slot: &Slot<B>) {
        self.leases.remove(slot.key);
        self.counts.closes += 1;
    }

    /// Takes the first `count` waiters out of the queue with an error; whom to wake.
    #[must_use]
    pub(super) fn refuse(
        &mut self,
        count: usize,
        now: Instant,
        error: impl Fn() -> AcquireError,
    ) -> Vec<Waker> {
        let mut wakers = Vec::new();
        for _ in 0..count {
            let Some((waiter, _)) = self.machine.pop_waiter(now) else { break };
            wakers.extend(waiter.hand_over(Err(Box::new(error()))));
        }
        wakers
    }

    /// Takes every order to open, and whether to come back when opening is put off no longer.
    pub(super) fn orders(&mut self, now: Instant) -> Effects<B> {
        let mut effects = Effects::default();
        while self.machine.wants_open(now) {
            effects.opens += 1;
        }
        if self.machine.is_backing_off(now) && self.machine.is_short() && !self.is_retrying {
            effects.retry_at = self.machine.retry_at();
            self.is_retrying = effects.retry_at.is_some();
        }
        effects
    }

    /// The same, with an order that was taken already.
    pub(super) fn orders_and(&mut self, open: bool, now: Instant) -> Effects<B> {
        let mut effects = self.orders(now);
        effects.opens += usize::from(open);
        effects
    }

    /// For how long each overdue lease has been held.
    pub(super) fn overdue(
        &self,
        now: Instant,
        limit: Duration,
    ) -> impl Iterator<Item = (&'static Location<'static>, Duration)> {
        self.leases.iter().filter_map(move |(_, taken)| {
            let taken = taken.as_ref()?;
            let held = now.saturating_duration_since(taken.since);
            (held >= limit).then_some((taken.at?, held))
        })
    }
}
