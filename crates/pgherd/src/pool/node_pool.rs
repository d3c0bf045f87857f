//! The pool of one node: lends, opens, hands over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgherd_core::NodeId;
use pgherd_core::pool::{Acquired, Placed, Pool, PoolLoad, Slots};
use tokio::runtime::Handle;
use tracing::{debug, warn};

use super::AcquireError;
use super::waiting::{Place, Waiting};
use crate::ConnectError;
use crate::conn::{Backend, Dialer};
use crate::health::Reporter;
use crate::mutex::Mutex;

/// The wait before backends are ordered again for those who queue behind busy ones, after an
/// open failed: long enough not to hammer a node that refuses, short against any timeout.
const REOPEN_DELAY: Duration = Duration::from_millis(100);

/// The limits of one pool, from `[pool]`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) size: usize,
    pub(crate) acquire_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_lifetime: Duration,
}

/// What happened in one pool since the start.
#[derive(Debug, Default)]
pub(crate) struct NodeCounts {
    /// Statements that callers ran on the node, as far as they were sent.
    pub(crate) statements: AtomicU64,
    /// Backends lent.
    pub(crate) acquires: AtomicU64,
    /// Backends opened.
    pub(crate) opens: AtomicU64,
    /// Attempts to open a backend that failed.
    pub(crate) failed_opens: AtomicU64,
    /// Statements that failed.
    pub(crate) errors: AtomicU64,
}

/// See the module's header.
pub(crate) struct NodePool {
    id: NodeId,
    dialer: Dialer,
    limits: Limits,
    counts: NodeCounts,
    reporter: Reporter,
    runtime: Handle,
    // Held for one step of the machine and the bookkeeping of its outcome.
    state: Mutex<State>,
}

struct State {
    machine: Pool<Backend, u64>,
    waiting: Waiting,
    last_connect: Option<Arc<ConnectError>>,
    is_closed: bool,
}

impl NodePool {
    pub(crate) fn new(
        id: NodeId,
        dialer: Dialer,
        limits: Limits,
        reporter: Reporter,
        runtime: Handle,
    ) -> Self {
        let state = State {
            machine: Pool::new(Arc::new(Slots::new(limits.size))),
            waiting: Waiting::default(),
            last_connect: None,
            is_closed: false,
        };
        let (counts, state) = (NodeCounts::default(), Mutex::new(state));
        Self { id, dialer, limits, counts, reporter, runtime, state }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &Arc<str> {
        self.dialer.node()
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(crate) fn counts(&self) -> &NodeCounts {
        &self.counts
    }

    pub(crate) fn load(&self) -> PoolLoad {
        self.state.lock().machine.load()
    }

    /// Borrows a backend; the caller gives it to [`Self::release`] or [`Self::discard`].
    ///
    /// Dropping the future leaves the queue as if it had never been called.
    pub(super) async fn acquire(self: &Arc<Self>) -> Result<Backend, AcquireError> {
        let started = Instant::now();
        let mut place = loop {
            match self.try_acquire()? {
                Tried::Lent(backend) if self.is_fit(&backend) => {
                    self.counts.acquires.fetch_add(1, Ordering::Relaxed);
                    return Ok(backend);
                }
                Tried::Lent(stale) => self.discard(stale),
                Tried::Queued(place) => break place,
            }
        };
        let limit = self.limits.acquire_timeout;
        match tokio::time::timeout(limit, &mut place.handover).await {
            Ok(Ok(handover)) => {
                if handover.is_ok() {
                    self.counts.acquires.fetch_add(1, Ordering::Relaxed);
                }
                handover
            }
            Ok(Err(_)) => Err(AcquireError::Closed { node: self.node().clone() }),
            Err(_) => {
                let (load, last_connect) = {
                    let state = self.state.lock();
                    (state.machine.load(), state.last_connect.clone())
                };
                let (node, waited) = (self.node().clone(), started.elapsed());
                Err(AcquireError::TimedOut { node, waited, limit, load, last_connect })
            }
        }
    }

    fn try_acquire(self: &Arc<Self>) -> Result<Tried, AcquireError> {
        let (place, open) = {
            let mut state = self.state.lock();
            if state.is_closed {
                return Err(AcquireError::Closed { node: self.node().clone() });
            }
            let waiter = state.waiting.number();
            match state.machine.acquire(waiter, Instant::now()) {
                Acquired::Lease(backend) => return Ok(Tried::Lent(backend)),
                Acquired::Queued { open } => {
                    let handover = state.waiting.listen(waiter);
                    (Place { pool: self.clone(), waiter, handover }, open)
                }
            }
        };
        if open {
            self.spawn_open();
        }
        Ok(Tried::Queued(place))
    }

    /// Whether a backend may be lent: alive, and not too old.
    pub(super) fn is_fit(&self, backend: &Backend) -> bool {
        !backend.is_dead() && backend.age(Instant::now()) < self.limits.max_lifetime
    }

    /// A waiter stops waiting. `false` if it was served, or refused, already.
    pub(super) fn forget(&self, waiter: u64) -> bool {
        let mut state = self.state.lock();
        state.waiting.take(waiter);
        state.machine.forget(&waiter)
    }

    /// A borrowed backend is clean and goes to the next in the queue, or to the idle ones.
    pub(super) fn put_back(self: &Arc<Self>, backend: Backend) {
        if self.state.lock().is_closed {
            return self.discard(backend);
        }
        self.place(backend, |machine, backend| machine.release(backend, Instant::now()));
    }

    /// A borrowed backend is not to be used again. Its session ends in order.
    pub(super) fn discard(self: &Arc<Self>, backend: Backend) {
        self.gone();
        drop(backend);
    }

    /// A borrowed backend is to be rid of at once, whatever it does.
    pub(super) fn cut(self: &Arc<Self>, backend: Backend) {
        self.gone();
        backend.cut();
    }

    fn gone(self: &Arc<Self>) {
        let open = self.state.lock().machine.closed();
        if open {
            self.spawn_open();
        }
    }

    /// A backend died, or a statement on it lost its connection: what health should know.
    pub(super) fn report_failure(&self, text: &str) {
        self.reporter.report_failure(self.id, text);
    }

    fn place(
        self: &Arc<Self>,
        backend: Backend,
        step: impl FnOnce(&mut Pool<Backend, u64>, Backend) -> Placed<Backend, u64>,
    ) {
        let (mut placed, mut sender) = {
            let mut state = self.state.lock();
            let placed = step(&mut state.machine, backend);
            let sender = state.receiver_of(&placed);
            (placed, sender)
        };
        // A waiter may leave between being chosen and being reached: then the next is chosen.
        while let Placed::Lent(_, backend) = placed {
            let refused = match sender {
                Some(sender) => match sender.send(Ok(backend)) {
                    Ok(()) => return,
                    Err(handover) => handover,
                },
                None => Ok(backend),
            };
            let Ok(backend) = refused else { return };
            let mut state = self.state.lock();
            placed = state.machine.release(backend, Instant::now());
            sender = state.receiver_of(&placed);
        }
    }

    fn spawn_open(self: &Arc<Self>) {
        let order = OpenOrder { pool: self.clone(), is_answered: false };
        self.runtime.spawn(order.carry_out());
    }

    fn open_failed(self: &Arc<Self>, error: Option<ConnectError>) {
        let error = error.map(Arc::new);
        let (refused, waiting) = {
            let mut state = self.state.lock();
            state.machine.open_failed();
            if error.is_some() {
                state.last_connect.clone_from(&error);
            }
            let is_away = error.as_ref().is_some_and(|error| error.is_node_away());
            (state.refuse_after_failed_open(is_away), state.machine.load().waiting)
        };
        let Some(error) = error else { return };
        self.counts.failed_opens.fetch_add(1, Ordering::Relaxed);
        debug!(node = %self.node(), %error, refused = refused.len(), "open failed");
        if error.blames_node() {
            self.report_failure(&error.to_string());
        }
        for sender in refused {
            let (node, connect) = (self.node().clone(), error.clone());
            // Whoever does not listen any more needs no answer.
            let _ = sender.send(Err(AcquireError::NotOpened { node, connect }));
        }
        if waiting > 0 {
            let pool = Arc::downgrade(self);
            self.runtime.spawn(async move {
                tokio::time::sleep(REOPEN_DELAY).await;
                let Some(pool) = pool.upgrade() else { return };
                let open = pool.state.lock().machine.wants_open();
                if open {
                    pool.spawn_open();
                }
            });
        }
    }

    /// Closes what has been idle for longer than the limit.
    pub(crate) fn close_surplus(&self) {
        let now = Instant::now();
        loop {
            let surplus = self.state.lock().machine.pop_surplus(now, self.limits.idle_timeout);
            match surplus {
                Some(backend) => drop(backend),
                None => return,
            }
        }
    }

    /// Refuses acquires from now on, fails those that wait and closes idle backends; leases
    /// that are out are closed when they come back.
    pub(crate) fn close(&self) {
        let (idle, refused): (Vec<_>, Vec<_>) = {
            let mut state = self.state.lock();
            state.is_closed = true;
            let refused = state.pop_all();
            (state.machine.drain_idle().collect(), refused)
        };
        drop(idle);
        for sender in refused {
            let _ = sender.send(Err(AcquireError::Closed { node: self.node().clone() }));
        }
    }

    fn on_end(&self, serial: u64) {
        let gone = self.state.lock().machine.remove_idle(|idle| idle.serial() == serial);
        if gone.is_some() {
            debug!(node = %self.node(), "an idle backend ended");
        }
    }
}

enum Tried {
    Lent(Backend),
    Queued(Place),
}

type Sender = tokio::sync::oneshot::Sender<super::waiting::Handover>;

impl State {
    fn receiver_of(&mut self, placed: &Placed<Backend, u64>) -> Option<Sender> {
        match placed {
            Placed::Lent(waiter, _) => self.waiting.take(*waiter),
            Placed::Idle => None,
        }
    }

    /// Who is told that nothing could be opened. As long as a backend is busy on a node that
    /// is there, the queue waits for its release; else each failed open fails one waiter, and
    /// the last one all.
    fn refuse_after_failed_open(&mut self, is_node_away: bool) -> Vec<Sender> {
        let load = self.machine.load();
        if load.busy > 0 && !is_node_away {
            return Vec::new();
        }
        if load.opening == 0 { self.pop_all() } else { self.pop_first().into_iter().collect() }
    }

    fn pop_first(&mut self) -> Option<Sender> {
        let (waiter, _) = self.machine.pop_waiter(Instant::now())?;
        self.waiting.take(waiter)
    }

    fn pop_all(&mut self) -> Vec<Sender> {
        let mut all = Vec::new();
        while let Some((waiter, _)) = self.machine.pop_waiter(Instant::now()) {
            all.extend(self.waiting.take(waiter));
        }
        all
    }
}

/// The order to open one backend. Dropped without an answer (its task was aborted with the
/// runtime) it counts as failed, so that the slot is not lost.
struct OpenOrder {
    pool: Arc<NodePool>,
    is_answered: bool,
}

impl OpenOrder {
    async fn carry_out(mut self) {
        let pool = self.pool.clone();
        let on_end = {
            let pool = Arc::downgrade(&pool);
            move |serial| {
                if let Some(pool) = pool.upgrade() {
                    pool.on_end(serial);
                }
            }
        };
        let opened = pool.dialer.open(on_end).await;
        self.is_answered = true;
        match opened {
            Ok(backend) => {
                pool.counts.opens.fetch_add(1, Ordering::Relaxed);
                pool.state.lock().last_connect = None;
                pool.place(backend, |machine, backend| machine.opened(backend, Instant::now()));
                if pool.state.lock().is_closed {
                    pool.close();
                }
            }
            Err(error) => pool.open_failed(Some(error)),
        }
    }
}

impl Drop for OpenOrder {
    fn drop(&mut self) {
        if !self.is_answered {
            warn!(node = %self.pool.node(), "opening a backend was abandoned");
            self.pool.open_failed(None);
        }
    }
}
