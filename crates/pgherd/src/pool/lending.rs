//! The pool: lends what its manager opens, hands over, keeps the time.

use std::fmt;
use std::future::poll_fn;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use pgherd_core::pool::{Acquired, Placed, PoolLoad};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::hooks::Observer;
use super::lent::Loan;
use super::place::Place;
use super::state::{Effects, PlacedSlot, Slot, State, TakenAt};
use super::waiter::Waiter;
use super::{AcquireError, CloseReason, Lent, Limits, Manager, OverdueLease, PoolCounts};
use super::{Fate, PoolEvent};
use crate::mutex::Mutex;

/// Lends what a [`Manager`] opens, within [`Limits`]. Cheap to clone; all clones are one pool.
///
/// Waiters are served first come, first served; of the idle backends the one that was used last
/// is lent first. A backend that was idle for longer than `check_after` is asked whether it is
/// there before it is lent, and replaced if not.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use pgherd::ConnectError;
/// use pgherd::pool::{CloseReason, Fate, Limits, Manager, Pool};
///
/// /// Lends numbers, in place of connections.
/// struct Numbers(Arc<str>);
///
/// impl Manager for Numbers {
///     type Backend = u32;
///
///     fn node(&self) -> &Arc<str> {
///         &self.0
///     }
///     async fn open(&self, _on_end: impl FnOnce() + Send + 'static) -> Result<u32, ConnectError> {
///         Ok(7)
///     }
///     fn is_alive(&self, _: &u32) -> bool {
///         true
///     }
///     async fn check(&self, _: &u32) -> bool {
///         true
///     }
///     fn fate(&self, _: &u32) -> Fate {
///         Fate::Keep
///     }
///     fn close(&self, _: u32, _: CloseReason) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pgherd::AcquireError> {
/// let limits = Limits { size: 2, ..Limits::default() };
/// let pool = Pool::new(Numbers("numbers".into()), limits, tokio::runtime::Handle::current());
/// assert_eq!((pool.limits().size, &*pool.manager().0), (2, "numbers"));
///
/// let lent = pool.acquire().await?;
/// assert_eq!((*lent, pool.load().busy, pool.load().idle), (7, 1, 0));
/// drop(lent);
/// assert_eq!((pool.load().busy, pool.load().idle), (0, 1));
///
/// // Now and then.
/// pool.upkeep().await;
/// assert!(pool.overdue().is_empty());
/// pool.resize(1);
/// assert_eq!(pool.counts().opens, 1);
/// // Or close(), without waiting for those who still hold one.
/// assert_eq!(pool.close_within(Duration::from_secs(1)).await, 0);
/// # Ok(())
/// # }
/// ```
pub struct Pool<M: Manager>(pub(super) Arc<Shared<M>>);

impl<M: Manager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

pub(super) struct Shared<M: Manager> {
    pub(super) manager: M,
    pub(super) limits: Limits,
    pub(super) observer: Option<Observer>,
    pub(super) runtime: Handle,
    pub(super) serials: AtomicU64,
    // Held for one step of the machine, a look at a backend, and the bookkeeping of the outcome.
    pub(super) state: Mutex<State<M::Backend>>,
    // Signalled when a backend is closed in a closed pool.
    pub(super) emptied: Notify,
}

/// The time as the runtime sees it, which a test may have stopped.
pub(super) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Whether that long has passed since then.
fn is_older(since: Instant, limit: Duration, now: Instant) -> bool {
    since.checked_add(limit).is_some_and(|until| until < now)
}

enum Tried<'p, M: Manager> {
    Lent(Loan<'p, M>),
    /// Whose waiter wakes the task that asked.
    Queued(Place<'p, M>),
}

/// Whether a backend that was found may be lent.
enum Fitness {
    Fit,
    ToCheck,
    Unfit(CloseReason),
}

impl<M: Manager> Pool<M> {
    /// A pool whose tasks run on `runtime`. It opens `min_idle` backends at once, the others as
    /// they are needed. [`Self::upkeep`] is to be called now and then.
    pub fn new(manager: M, limits: Limits, runtime: Handle) -> Self {
        Self::observed(manager, limits, runtime, None)
    }

    pub(crate) fn observed(
        manager: M,
        limits: Limits,
        runtime: Handle,
        observer: Option<Observer>,
    ) -> Self {
        let shared = Arc::new(Shared {
            manager,
            limits,
            observer,
            runtime,
            serials: AtomicU64::new(0),
            state: Mutex::new(State::new(&limits)),
            emptied: Notify::new(),
        });
        shared.open_what_is_missing();
        Self(shared)
    }

    /// Who opens the backends.
    pub fn manager(&self) -> &M {
        &self.0.manager
    }

    /// The limits it was made with; [`Self::resize`] changes the size.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// What it holds now.
    pub fn load(&self) -> PoolLoad {
        self.0.state.lock().machine.load()
    }

    /// What happened since it was made.
    pub fn counts(&self) -> PoolCounts {
        self.0.state.lock().counts
    }

    /// The leases that have been held for longer than `leak_after`, in no order.
    pub fn overdue(&self) -> Vec<OverdueLease> {
        let Some(limit) = self.0.limits.leak_after else { return Vec::new() };
        let state = self.0.state.lock();
        let overdue = state.overdue(now(), limit);
        overdue
            .map(|(at, held)| OverdueLease {
                taken_at: at.to_string(),
                held_seconds: held.as_secs(),
            })
            .collect()
    }

    /// Borrows a backend. The caller's place in the code is kept with the lease, and named when
    /// it is held for longer than `leak_after`.
    ///
    /// Dropping the future leaves the queue as if it had never been called.
    ///
    /// # Errors
    /// [`AcquireError`]: nothing came free in time, too many wait, nothing can be opened, or
    /// the pool is closed.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Lent<M>, AcquireError>> + Send + use<M> {
        self.acquire_at(Some(Location::caller()))
    }

    pub(crate) fn acquire_at(
        &self,
        taken_at: TakenAt,
    ) -> impl Future<Output = Result<Lent<M>, AcquireError>> + Send + use<M> {
        let shared = self.0.clone();
        async move {
            let slot = shared.acquire(taken_at).await?.into_slot();
            Ok(Lent::new(slot, shared))
        }
    }
}

impl<M: Manager> Shared<M> {
    /// Lends an idle backend that is fit, as there nearly always is; `None` is for [`Self::acquire`].
    /// For managers without a word in it: [`Manager::may_lend`] is not asked.
    pub(super) fn lend_idle(self: &Arc<Self>, taken_at: TakenAt) -> Option<Loan<'_, M>> {
        let now = now();
        let slot = {
            let mut state = self.state.lock();
            let slot = state.machine.next_idle()?;
            if state.is_closed || !matches!(self.fitness(slot, now), Fitness::Fit) {
                return None;
            }
            let slot = state.machine.lend_idle()?;
            state.lend(&slot, taken_at, now);
            slot
        };
        let loan = Loan::new(slot, self);
        self.observe(|| PoolEvent::Acquired { waited: Duration::ZERO });
        Some(loan)
    }

    /// As [`Pool::acquire`].
    pub(super) async fn acquire(
        self: &Arc<Self>,
        taken_at: TakenAt,
    ) -> Result<Loan<'_, M>, AcquireError> {
        let started = now();
        let mut found = started;
        let tried = poll_fn(|cx| Poll::Ready(self.try_acquire(taken_at, started, cx.waker())));
        let mut tried = tried.await?;
        loop {
            let loan = match tried {
                Tried::Lent(loan) => loan,
                Tried::Queued(place) => {
                    let slot = place.await?;
                    // Handed over as it was released or opened: as good as it was then.
                    found = slot.idle_since;
                    Loan::new(slot, self)
                }
            };
            let reason = match self.fitness(loan.slot(), found) {
                Fitness::Fit if self.manager.may_lend(&loan.slot().backend) => None,
                Fitness::Fit => Some(CloseReason::Hook),
                Fitness::Unfit(reason) => Some(reason),
                // Boxed, here and elsewhere, for it is rare, and would be most of each acquire's size.
                Fitness::ToCheck => Box::pin(self.check(&loan.slot().backend, started)).await,
            };
            let Some(reason) = reason else {
                self.observe(|| PoolEvent::Acquired { waited: now() - started });
                return Ok(loan);
            };
            found = now();
            let slot = loan.into_slot();
            let replaced = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
            tried = self.replace(slot, reason, (taken_at, started, replaced), found)?;
        }
    }

    fn try_acquire(
        self: &Arc<Self>,
        taken_at: TakenAt,
        now: Instant,
        waker: &Waker,
    ) -> Result<Tried<'_, M>, AcquireError> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Err(AcquireError::Closed { node: self.node() });
        }
        if state.machine.is_hopeless(now)
            && let Some(connect) = state.last_connect.clone()
        {
            return Err(AcquireError::NotOpened { node: self.node(), connect });
        }
        if let Some(slot) = state.machine.lend_idle() {
            state.lend(&slot, taken_at, now);
            return Ok(Tried::Lent(Loan::new(slot, self)));
        }
        let waiter = Waiter::new(taken_at, waker.clone());
        match state.machine.queue(waiter.clone(), now) {
            Some(open) => {
                state.counts.waits += 1;
                let effects = state.orders_and(open, now);
                let times = !std::mem::replace(&mut state.is_timing, true);
                drop(state);
                let place = Place::new(self, waiter);
                self.carry_out(effects);
                if times {
                    self.spawn_timing();
                }
                Ok(Tried::Queued(place))
            }
            None => {
                state.counts.refusals += 1;
                let (load, last_connect) = (state.machine.load(), state.last_connect.clone());
                drop(state);
                self.observe(|| PoolEvent::QueueFull);
                let (node, limit) = (self.node(), self.limits.max_waiting);
                Err(AcquireError::QueueFull { node, limit, load, last_connect })
            }
        }
    }

    fn fitness(&self, slot: &Slot<M::Backend>, now: Instant) -> Fitness {
        if !self.manager.is_alive(&slot.backend) {
            Fitness::Unfit(CloseReason::Ended)
        } else if slot.dies_at <= now {
            Fitness::Unfit(CloseReason::Lifetime)
        } else if is_older(slot.idle_since, self.limits.check_after, now) {
            Fitness::ToCheck
        } else {
            Fitness::Fit
        }
    }

    /// Asks a backend that was idle for long; why it cannot be lent.
    async fn check(
        self: &Arc<Self>,
        backend: &M::Backend,
        started: Instant,
    ) -> Option<CloseReason> {
        let left = self.limits.acquire_timeout.saturating_sub(now() - started);
        let limit = self.limits.check_limit().min(left);
        match tokio::time::timeout(limit, self.manager.check(backend)).await {
            Ok(true) if self.manager.may_lend(backend) => None,
            Ok(true) => Some(CloseReason::Hook),
            Ok(false) => Some(CloseReason::CheckFailed),
            Err(_) => {
                // The node says nothing: the others, idle for longer still, will not either.
                self.close_all_idle(CloseReason::CheckFailed);
                Some(CloseReason::CheckFailed)
            }
        }
    }

    /// Closes a backend that was lent in vain, and asks again at the head of the queue.
    fn replace(
        self: &Arc<Self>,
        slot: Box<Slot<M::Backend>>,
        reason: CloseReason,
        (taken_at, started, waker): (TakenAt, Instant, Waker),
        now: Instant,
    ) -> Result<Tried<'_, M>, AcquireError> {
        let (served, effects) = {
            let mut state = self.state.lock();
            state.forget_backend(&slot);
            state.counts.acquires -= 1;
            let waited = now.saturating_duration_since(started);
            if state.is_closed || waited >= self.limits.acquire_timeout {
                let is_closed = state.is_closed;
                let open = state.machine.closed(now);
                let effects = state.orders_and(open, now);
                let error = match is_closed {
                    true => AcquireError::Closed { node: self.node() },
                    false => {
                        state.counts.timeouts += 1;
                        self.timed_out(&state, waited)
                    }
                };
                (Err(error), effects)
            } else {
                let waiter = Waiter::new(taken_at, waker);
                match state.machine.reacquire(waiter.clone(), started, now) {
                    Acquired::Lease(slot) => {
                        state.lend(&slot, taken_at, now);
                        (Ok(Ok(slot)), state.orders(now))
                    }
                    Acquired::Queued { open } => (Ok(Err(waiter)), state.orders_and(open, now)),
                    Acquired::Full => unreachable!("who was lent a backend is never refused"),
                }
            }
        };
        // First: to close is others' code, which may panic. Neither is held for nobody then.
        let tried = served.map(|served| match served {
            Ok(slot) => Tried::Lent(Loan::new(slot, self)),
            Err(waiter) => Tried::Queued(Place::new(self, waiter)),
        });
        self.carry_out(effects);
        self.close_backend(*slot, reason);
        if matches!(tried, Ok(Tried::Queued(_))) {
            // It comes before the one whose time the timing task waits for.
            self.spawn_expiry(started + self.limits.acquire_timeout);
        }
        tried
    }

    pub(super) fn timed_out(&self, state: &State<M::Backend>, waited: Duration) -> AcquireError {
        AcquireError::TimedOut {
            node: self.node(),
            waited,
            limit: self.limits.acquire_timeout,
            load: state.machine.load(),
            last_connect: state.last_connect.clone(),
        }
    }

    /// A lease ends.
    pub(super) fn release(self: &Arc<Self>, slot: Box<Slot<M::Backend>>, fate: Fate) {
        match fate {
            Fate::Keep => {
                let now = now();
                if slot.dies_at <= now {
                    self.discard(slot, CloseReason::Lifetime);
                } else {
                    self.give_on(slot, now);
                }
            }
            Fate::Close(reason) => self.discard(slot, reason),
            Fate::Settle => {
                let shared = self.clone();
                let mut settling = Settling { slot: Some(slot), shared };
                self.runtime.spawn(async move { settling.settle().await });
            }
        }
    }

    /// A backend that was lent is clean and goes to the next in the queue, or to the idle ones.
    fn give_on(self: &Arc<Self>, mut slot: Box<Slot<M::Backend>>, now: Instant) {
        slot.idle_since = now;
        slot.heard_at = now;
        let mut state = self.state.lock();
        let taken = state.leases[slot.key].take();
        let effects = match state.machine.release(slot, now) {
            Placed::Idle => None,
            placed => Some(state.placed(placed, now)),
        };
        drop(state);
        // Before the observer, which may panic: somebody may have been handed the backend.
        if let Some(effects) = effects {
            self.carry_out(effects);
        }
        if let Some(taken) = taken {
            self.observe(|| PoolEvent::Released { held: now - taken.since });
        }
    }

    /// One step of the machine that places a backend, and what follows from it.
    pub(super) fn place(
        self: &Arc<Self>,
        now: Instant,
        step: impl FnOnce(&mut State<M::Backend>) -> PlacedSlot<M::Backend>,
    ) {
        let effects = {
            let mut state = self.state.lock();
            let placed = step(&mut state);
            state.placed(placed, now)
        };
        self.carry_out(effects);
    }

    /// A backend that was lent is not to be used again.
    pub(super) fn discard(self: &Arc<Self>, slot: Box<Slot<M::Backend>>, reason: CloseReason) {
        let now = now();
        let (effects, since) = {
            let mut state = self.state.lock();
            let since = state.leases[slot.key].take().map(|taken| taken.since);
            state.forget_backend(&slot);
            let open = state.machine.closed(now);
            (state.orders_and(open, now), since)
        };
        self.carry_out(effects);
        if let Some(since) = since {
            self.observe(|| PoolEvent::Released { held: now - since });
        }
        self.close_backend(*slot, reason);
    }

    /// Does what was decided under the lock.
    pub(super) fn carry_out(self: &Arc<Self>, effects: Effects<M::Backend>) {
        let Effects { wake, surplus, opens, retry_at } = effects;
        if let Some(waker) = wake {
            waker.wake();
        }
        if let Some(slot) = surplus {
            let is_closed = self.state.lock().is_closed;
            let reason = if is_closed { CloseReason::PoolClosed } else { CloseReason::Resized };
            self.close_backend(*slot, reason);
        }
        for _ in 0..opens {
            self.spawn_open();
        }
        if let Some(at) = retry_at {
            self.spawn_retry(at);
        }
    }

    pub(super) fn node(&self) -> Arc<str> {
        self.manager.node().clone()
    }

    /// Tells the observer, if there is one.
    pub(super) fn observe<'e>(&self, event: impl FnOnce() -> PoolEvent<'e>) {
        if let Some(observer) = &self.observer {
            observer(self.manager.node(), event());
        }
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.serials.fetch_add(1, Ordering::Relaxed)
    }
}

/// A backend that is waited for. It is closed also when the task is dropped with its runtime.
struct Settling<M: Manager> {
    slot: Option<Box<Slot<M::Backend>>>,
    shared: Arc<Shared<M>>,
}

impl<M: Manager> Settling<M> {
    async fn settle(&mut self) {
        let Some(slot) = &self.slot else { return };
        match self.shared.manager.settle(&slot.backend).await {
            Fate::Keep => {
                if let Some(slot) = self.slot.take() {
                    self.shared.release(slot, Fate::Keep);
                }
            }
            Fate::Close(reason) => {
                if let Some(slot) = self.slot.take() {
                    self.shared.discard(slot, reason);
                }
            }
            Fate::Settle => {}
        }
    }
}

impl<M: Manager> Drop for Settling<M> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.shared.discard(slot, CloseReason::Cancelled);
        }
    }
}

impl<M: Manager> fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("node", self.0.manager.node())
            .field("load", &self.load())
            .finish_non_exhaustive()
    }
}
