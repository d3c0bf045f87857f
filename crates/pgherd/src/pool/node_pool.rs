//! The pool of one node.
//!
//! What becomes of a backend when its lease ends:
//!
//! | It stands                         | It is                                            |
//! |-----------------------------------|--------------------------------------------------|
//! | clean, and not too old            | lent to the next                                 |
//! | maybe with state in its session   | reset, and lent to the next; behind a pooler, or |
//! |                                   | where a reset is not enough, closed              |
//! | in a transaction                  | closed; the server rolls back                    |
//! | owing an answer                   | waited for a moment, then cancelled and closed   |
//! | waiting for the data of a copy    | the same, without the cancel                     |
//! | dead                              | forgotten, and the node's health is told         |

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use pgherd_core::NodeId;
use pgherd_core::sql::{QueryType, Remains};
use pgherd_core::stats::Counters;
use tokio::runtime::Handle;
use tracing::debug;

use super::lent::Loan;
use super::state::{Slot, TakenAt};
use super::{AcquireError, CloseReason, Fate, Hooks, Limits, Manager};
use super::{Pool, PoolEvent, Verdict};
use crate::conn::{Backend, Dialer, LeftState, Standing};
use crate::health::Reporter;
use crate::{ConnectError, ConnectStep};

/// How long an answer that is owed may take before the statement is cancelled. What is owed at
/// a release is mostly the tail of an answer, which is on its way.
pub(crate) const ANSWER_DELAY: Duration = Duration::from_millis(100);

/// How long a cancelled statement may take to end before the socket is closed.
const CANCEL_DELAY: Duration = Duration::from_secs(5);

/// The statements that callers ran on one node since the start, as far as they were sent, and those
/// that failed. Each is in one count only, which is all that a lease pays for at its end: what is
/// asked for is their sums.
#[derive(Debug, Default)]
struct StatementCounts {
    // Of leases whose statements are counted one by one, for reads and for anything else.
    leased_reads: AtomicU64,
    leased_writes: AtomicU64,
    leased_errors: AtomicU64,
    // Of all others.
    asked: AtomicU64,
    asked_errors: AtomicU64,
}

/// The leases of one node that ended with a session that might hold state.
#[derive(Debug, Default)]
struct ResetCounts {
    resets: AtomicU64,
    with_leftovers: AtomicU64,
    given_up: AtomicU64,
}

/// The backends of one node.
pub(crate) struct NodePool {
    id: NodeId,
    pool: Pool<Nodes>,
    counts: StatementCounts,
}

/// Opens backends of one node and judges them.
pub(crate) struct Nodes {
    id: NodeId,
    dialer: Dialer,
    // For a hook on open and for a reset, as for opening itself.
    connect_timeout: Duration,
    reporter: Reporter,
    hooks: Hooks,
    resets: ResetCounts,
}

impl NodePool {
    pub(crate) fn new(
        id: NodeId,
        dialer: Dialer,
        (limits, connect_timeout): (Limits, Duration),
        reporter: Reporter,
        hooks: Hooks,
        runtime: Handle,
    ) -> Self {
        let observer = hooks.observer.clone();
        let manager =
            Nodes { id, dialer, connect_timeout, reporter, hooks, resets: ResetCounts::default() };
        let pool = Pool::observed(manager, limits, runtime, observer);
        Self { id, pool, counts: StatementCounts::default() }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &Arc<str> {
        self.pool.manager().node()
    }

    pub(crate) fn dialer(&self) -> &Dialer {
        &self.pool.manager().dialer
    }

    /// The backends, to be lent.
    pub(crate) fn backends(&self) -> &Pool<Nodes> {
        &self.pool
    }

    /// Statements that callers ran, and how many of them failed.
    pub(crate) fn statements(&self) -> (u64, u64) {
        let leased = self.leased();
        let asked = self.counts.asked.load(Ordering::Relaxed);
        let asked_errors = self.counts.asked_errors.load(Ordering::Relaxed);
        (asked + leased.total, asked_errors + leased.errors)
    }

    /// Those of leases whose statements are counted one by one, as they appear on the wire.
    pub(crate) fn leased(&self) -> Counters {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (reads, writes) = (load(&self.counts.leased_reads), load(&self.counts.leased_writes));
        let errors = load(&self.counts.leased_errors);
        Counters { total: reads + writes, reads, writes, errors, retries: 0 }
    }

    /// Sessions that were reset, those of them that held something beside settings, and those
    /// that were closed because a reset would not do, or failed.
    pub(crate) fn resets(&self) -> (u64, u64, u64) {
        let ResetCounts { resets, with_leftovers, given_up } = &self.pool.manager().resets;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        (load(resets), load(with_leftovers), load(given_up))
    }

    /// Statements that ran on a lease, and how many of them failed; with its type where those of
    /// the lease are counted one by one.
    pub(super) fn count(&self, statements: u64, errors: u64, query_type: Option<QueryType>) {
        let counts = &self.counts;
        let (count, error_count) = match query_type {
            Some(QueryType::Read) => (&counts.leased_reads, &counts.leased_errors),
            Some(_) => (&counts.leased_writes, &counts.leased_errors),
            None => (&counts.asked, &counts.asked_errors),
        };
        count.fetch_add(statements, Ordering::Relaxed);
        if errors > 0 {
            error_count.fetch_add(errors, Ordering::Relaxed);
        }
    }

    /// Borrows a backend. Dropping the future leaves the queue as if it had never been called.
    pub(super) fn acquire(
        &self,
        taken_at: TakenAt,
    ) -> impl Future<Output = Result<Loan<'_, Nodes>, AcquireError>> + Send {
        self.pool.0.acquire(taken_at)
    }

    /// Borrows a backend that is idle and fit, if there is one and nobody else has a say in it.
    pub(super) fn lend_idle(&self, taken_at: TakenAt) -> Option<Loan<'_, Nodes>> {
        match self.pool.manager().hooks.on_acquire {
            Some(_) => None,
            None => self.pool.0.lend_idle(taken_at),
        }
    }

    /// A backend that was borrowed here, to be given back.
    pub(super) fn loan(&self, slot: Box<Slot<Backend>>) -> Loan<'_, Nodes> {
        Loan::new(slot, &self.pool.0)
    }

    /// Takes back a borrowed backend that was just seen to stand like this.
    pub(super) fn release(&self, loan: Loan<'_, Nodes>, standing: Standing) {
        let fate = self.pool.manager().fate_of(&loan.slot().backend, standing);
        loan.release(fate);
    }
}

impl Nodes {
    fn fate_of(&self, backend: &Backend, standing: Standing) -> Fate {
        let node = self.node();
        match standing {
            Standing::Clean => match &self.hooks.on_release {
                Some(hook) if hook(backend.client()) == Verdict::Close => {
                    Fate::Close(CloseReason::Hook)
                }
                _ => Fate::Keep,
            },
            Standing::InTransaction => {
                debug!(%node, "released inside a transaction: closed");
                Fate::Close(CloseReason::Unclean)
            }
            Standing::LeftState(left) if may_reset(backend, left) => Fate::Settle,
            Standing::LeftState(left) => {
                debug!(%node, ?left, "released with state in its session: closed");
                self.give_up(CloseReason::Unclean)
            }
            Standing::Dead => {
                if self.dialer.reach().failed(backend.way()) {
                    self.reporter.report_failure(self.id, "a connection was lost");
                }
                Fate::Close(CloseReason::Ended)
            }
            Standing::Owing => Fate::Settle,
        }
    }

    /// Resets a session that may hold state, and has the hook on open prepare it again.
    async fn reset(&self, backend: &Backend, left: LeftState) -> Fate {
        let node = self.node();
        // It stands in for opening another one.
        let limit = self.connect_timeout;
        let began = tokio::time::Instant::now();
        let found = match tokio::time::timeout(limit, backend.reset()).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) if backend.is_dead() => return self.fate_of(backend, Standing::Dead),
            Ok(Err(error)) => {
                debug!(%node, ?left, ?error, "a session could not be reset: closed");
                return self.give_up(CloseReason::Unclean);
            }
            Err(_) => {
                debug!(%node, ?left, ?limit, "a reset took too long: closed");
                return self.give_up(CloseReason::CheckFailed);
            }
        };
        if let Err(error) = self.run_open_hook(backend).await {
            debug!(%node, %error, "the hook on open failed after a reset: closed");
            return self.give_up(CloseReason::Hook);
        }
        let took = began.elapsed();
        debug!(%node, ?left, %found, ?took, "a session was reset");
        self.resets.resets.fetch_add(1, Ordering::Relaxed);
        if !found.is_empty() {
            self.resets.with_leftovers.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(observer) = &self.hooks.observer {
            observer(node, PoolEvent::Reset { found, took });
        }
        self.fate_of(backend, backend.standing())
    }

    /// A session that may hold state is closed.
    fn give_up(&self, reason: CloseReason) -> Fate {
        self.resets.given_up.fetch_add(1, Ordering::Relaxed);
        Fate::Close(reason)
    }

    async fn run_open_hook(&self, backend: &Backend) -> Result<(), ConnectError> {
        let Some(hook) = &self.hooks.on_open else { return Ok(()) };
        let limit = self.connect_timeout;
        let done = match tokio::time::timeout(limit, hook(backend.client())).await {
            Ok(done) => done.map_err(ConnectStep::Hook),
            Err(_) => Err(ConnectStep::TimedOut { limit }),
        };
        // What it has set is what every borrower finds.
        backend.disregard_state();
        done.map_err(|step| self.dialer.error_at(backend.way(), step))
    }
}

impl Manager for Nodes {
    type Backend = Backend;

    fn node(&self) -> &Arc<str> {
        self.dialer.node()
    }

    async fn open(&self, on_end: impl FnOnce() + Send + 'static) -> Result<Backend, ConnectError> {
        let backend = self.dialer.open(on_end).await?;
        self.run_open_hook(&backend).await?;
        Ok(backend)
    }

    fn is_alive(&self, backend: &Backend) -> bool {
        !backend.is_dead()
    }

    async fn check(&self, backend: &Backend) -> bool {
        // The empty statement: a round trip, and nothing to do.
        backend.client().simple_query("").await.is_ok()
    }

    fn may_lend(&self, backend: &Backend) -> bool {
        let hook = self.hooks.on_acquire.as_ref();
        hook.is_none_or(|hook| hook(backend.client()) == Verdict::Keep)
    }

    fn fate(&self, backend: &Backend) -> Fate {
        self.fate_of(backend, backend.standing())
    }

    async fn settle(&self, backend: &Backend) -> Fate {
        if let Ok(standing) = tokio::time::timeout(ANSWER_DELAY, backend.settle()).await {
            return match standing {
                Standing::LeftState(left) if may_reset(backend, left) => {
                    self.reset(backend, left).await
                }
                standing => self.fate_of(backend, standing),
            };
        }
        if backend.wants_data() {
            debug!(node = %self.node(), "released while it waits for the data of a copy: closed");
            // PostgreSQL heeds no cancel meanwhile.
            return Fate::Close(CloseReason::Cancelled);
        }
        debug!(node = %self.node(), "released with a statement under way: cancelled");
        let cancelled = self.dialer.cancel(backend).await;
        if cancelled.is_ok() {
            let _ = tokio::time::timeout(CANCEL_DELAY, backend.settle()).await;
        }
        // Not lent again: the cancel may reach the server late, and would hit the next one.
        Fate::Close(CloseReason::Cancelled)
    }

    fn close(&self, backend: Backend, reason: CloseReason) {
        debug!(node = %self.node(), %reason, "backend closed");
        match reason {
            // Whatever it does, and whether or not anybody listens at the other end.
            CloseReason::Cancelled | CloseReason::CheckFailed => backend.cut(),
            _ => drop(backend),
        }
    }

    fn on_failed_open(&self, error: &ConnectError) {
        if error.blames_node() {
            self.reporter.report_failure(self.id, &error.to_string());
        }
    }
}

/// Whether a reset is enough, and reaches the session that is meant.
fn may_reset(backend: &Backend, left: LeftState) -> bool {
    let is_pooled = backend.process_id().is_none();
    left.remains == Remains::Resettable && !is_pooled
}
