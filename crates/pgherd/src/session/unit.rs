//! A unit of work: a transaction that is run again when, and only when, that is safe.

use std::pin::pin;
use std::sync::Arc;

use pgherd_core::NodeId;
use tokio_postgres::types::ToSql;
use tracing::warn;

use super::Progress;
use super::fate::Fate;
use super::lookup::{Lookup, ServerSession};
use super::retry::is_node_gone;
use crate::{CommitError, Error, ErrorKind, Transaction, TransactionRequest};

/// A transaction that is run again when, and only when, that is safe. Made by
/// [`TransactionRequest::lookup`] and [`TransactionRequest::idempotent`];
/// [`DistributedPool::run`](crate::DistributedPool::run) is the plain form.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool, id: i64) -> Result<(), pgherd::Error> {
/// pool.transaction()
///     .shard_key(42)
///     .lookup("SELECT 1 FROM payments WHERE id = $1", &[&id])
///     .run(async |tx| {
///         tx.execute("INSERT INTO payments (id, amount) VALUES ($1, 5)", &[&id]).await?;
///         tx.execute("UPDATE users SET balance = balance - 5 WHERE id = 42", &[]).await?;
///         Ok::<_, pgherd::Error>(())
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "a unit of work does nothing until it is run"]
pub struct UnitOfWork<'p> {
    request: TransactionRequest<'p>,
    unknown: WhenUnknown<'p>,
}

/// What to do about a COMMIT whose answer was lost.
#[derive(Debug, Clone, Copy)]
enum WhenUnknown<'p> {
    Tell,
    RunAgain,
    LookUp(Lookup<'p>),
}

/// What came of one run.
enum Ran<T, E> {
    Ended(Result<T, E>),
    /// It may run again, at this node or another.
    Again {
        error: E,
        node: NodeId,
        is_failover: bool,
    },
    /// Its COMMIT was sent to this node, and not answered.
    Unknown {
        value: T,
        error: CommitError,
        node: NodeId,
        session: Option<ServerSession>,
    },
}

/// What could be done about a COMMIT that was not answered.
enum Settled {
    Committed,
    RunAgain(CommitError),
    Unknown(CommitError),
}

impl<'p> UnitOfWork<'p> {
    pub(super) fn new(request: TransactionRequest<'p>) -> Self {
        Self { request, unknown: WhenUnknown::Tell }
    }

    /// Declares that no harm is done if it takes effect twice: it is also run again when the
    /// connection was lost between COMMIT and its answer.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// pool.transaction()
    ///     .idempotent()
    ///     .run(async |tx| tx.execute("UPDATE users SET name = 'alice' WHERE id = 42", &[]).await)
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn idempotent(self) -> Self {
        Self { unknown: WhenUnknown::RunAgain, ..self }
    }

    /// A query that gives a row if the unit has committed, and none if not: by a unique id that the
    /// unit writes, say. It is asked of the then primary when the connection was lost between
    /// COMMIT and its answer, after the session that was to commit has been ended (which a role
    /// may do to its own). Nothing found: the unit is run again.
    ///
    /// What it does not protect from: an old primary that takes writes of other clients after a
    /// promotion, and a promoted node that had not received what was committed. See
    /// `docs/failover.md`.
    pub fn lookup(self, sql: &'p str, params: &'p [&'p (dyn ToSql + Sync)]) -> Self {
        Self { unknown: WhenUnknown::LookUp(Lookup { sql, params }), ..self }
    }

    /// Begins a transaction, has `work` fill it, and commits; rolls back if `work` fails.
    ///
    /// All of it is run again, by the schedule of `[retry]` and as often, when it provably had
    /// no effect: it was rolled back by PostgreSQL for a passing reason (SQLSTATE 40001, 40P01,
    /// 57P01 and their like), or the connection was lost, or another node became the primary,
    /// before COMMIT was sent. So `work` does nothing but what is in the transaction, or what may
    /// happen more than once. `work` need not pass on the error of the statement that failed: the
    /// transaction knows of it. While the group has no primary, it is waited for; see
    /// `routing.primary_wait`.
    ///
    /// Inside `tokio::spawn` let `work` own what it uses (`async move |tx|`): the compiler cannot
    /// see that a future is `Send` whose closure has captured references.
    ///
    /// Dropping the future rolls back, or leaves the outcome open once COMMIT was sent. So does the
    /// end of its time, see [`TransactionRequest::deadline`]: `work` is dropped where it waits.
    ///
    /// # Errors
    /// What `work` returned, of the last run. Or [`Error`] as `E`: what acquiring says;
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack) where COMMIT was refused;
    /// [`ErrorKind::Deadline`](crate::ErrorKind::Deadline) when its time was up and nothing is
    /// committed; and [`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt), SQLSTATE 08007, when the
    /// connection was lost between COMMIT and its answer and neither [`Self::lookup`] nor
    /// [`Self::idempotent`] says what to do then, or the time was up before it was known.
    pub async fn run<T, E>(self, work: impl AsyncFn(&Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        let progress = self.request.progress();
        progress.within(pin!(self.run_in(work, &progress))).await
    }

    async fn run_in<T, E>(
        &self,
        work: impl AsyncFn(&Transaction) -> Result<T, E>,
        progress: &Arc<Progress>,
    ) -> Result<T, E>
    where
        E: From<Error>,
    {
        let pool = self.request.pool();
        pool.budget().earn();
        let mut attempt = 1;
        loop {
            progress.begins_run(attempt);
            let (error, node, is_failover) = match self.run_once(&work, progress).await {
                Ran::Ended(result) => return result,
                Ran::Again { error, node, is_failover } => (error, node, is_failover),
                Ran::Unknown { value, error, node, session } => {
                    match self.settle(error, node, session.as_ref(), progress).await {
                        Settled::Committed => return Ok(value),
                        Settled::RunAgain(error) => (E::from(Error::from(error)), node, true),
                        Settled::Unknown(error) => {
                            return Err(E::from(Error::from(error).after_tries(attempt)));
                        }
                    }
                }
            };
            attempt += 1;
            let Some(delay) = pool.retry_config().delay(attempt, crate::random::fraction()) else {
                return Err(error);
            };
            if !pool.may_try_again(node, is_failover) {
                pool.counting().count_refused_retry();
                warn!("not run again: retry.budget_ratio and budget_burst are used up");
                return Err(error);
            }
            warn!(attempt, ?delay, "a unit of work is run again");
            pool.counting().count_retry();
            progress.waits_for_next_run();
            tokio::time::sleep(delay).await;
        }
    }

    async fn run_once<T, E>(
        &self,
        work: &impl AsyncFn(&Transaction) -> Result<T, E>,
        progress: &Arc<Progress>,
    ) -> Ran<T, E>
    where
        E: From<Error>,
    {
        let is_looked_up = matches!(self.unknown, WhenUnknown::LookUp(_));
        let mut tx = match self.request.begin_with(is_looked_up, None, progress).await {
            Ok(tx) => tx,
            Err(error) => return self.not_begun(error, progress),
        };
        let (node, name) = (tx.lease().route().node, tx.node().to_owned());
        // A node that is frozen or cut off answers nothing, and its connection stays.
        let follower = self.request.pool().health().follower();
        let mut deposed = std::pin::pin!(follower.deposed(node));
        let done = tokio::select! {
            biased;
            done = work(&tx) => done,
            () = &mut deposed => {
                let error = Error::from(CommitError::Deposed { node: name, was_sent: false });
                progress.run_failed(|| error.to_string());
                return Ran::Again { error: E::from(error), node, is_failover: true };
            }
        };
        let fate = tx.fate();
        let value = match done {
            Ok(value) => value,
            Err(error) => {
                tokio::select! {
                    () = tx.rollback() => {}
                    () = deposed => {}
                }
                return match fate {
                    Some(fate) if fate.is_another_run() => {
                        Ran::Again { error, node, is_failover: fate == Fate::Elsewhere }
                    }
                    _ => Ran::Ended(Err(error)),
                };
            }
        };
        if let Err(late) = progress.check() {
            return Ran::Ended(Err(E::from(late)));
        }
        let session = tx.session().cloned();
        let committed = tokio::select! {
            biased;
            committed = tx.try_commit() => committed,
            () = deposed => Err(CommitError::Deposed { node: name, was_sent: true }),
        };
        let error = match committed {
            Ok(()) => return Ran::Ended(Ok(value)),
            Err(error) => error,
        };
        let fate = Fate::of_commit(&error, fate);
        progress.has_committed_or_not(fate == Fate::Unknown);
        progress.run_failed(|| error.to_string());
        match fate {
            Fate::Callers => Ran::Ended(Err(E::from(error.into()))),
            Fate::Unknown => Ran::Unknown { value, error, node, session },
            Fate::Again | Fate::Elsewhere => {
                let (error, is_failover) = (E::from(error.into()), fate == Fate::Elsewhere);
                Ran::Again { error, node, is_failover }
            }
        }
    }

    fn not_begun<T, E: From<Error>>(&self, error: Error, progress: &Progress) -> Ran<T, E> {
        progress.run_failed(|| format!("{error:#}"));
        // Acquiring has had its own tries.
        let is_from_begin = matches!(error.kind(), ErrorKind::ConnectionLost | ErrorKind::Database);
        let topology = self.request.pool().topology();
        let node = error.node().and_then(|name| topology.node_named(name)).map(|node| node.id);
        match node {
            Some(node) if is_from_begin && error.retry().is_worthwhile() => {
                let is_failover = is_node_gone(&error);
                Ran::Again { error: E::from(error), node, is_failover }
            }
            _ => Ran::Ended(Err(E::from(error))),
        }
    }

    async fn settle(
        &self,
        error: CommitError,
        node: NodeId,
        session: Option<&ServerSession>,
        progress: &Progress,
    ) -> Settled {
        let lookup = match self.unknown {
            WhenUnknown::Tell => return Settled::Unknown(error),
            WhenUnknown::RunAgain => return Settled::RunAgain(error),
            WhenUnknown::LookUp(lookup) => lookup,
        };
        let (pool, ask) = (self.request.pool(), self.request.ask());
        warn!(%error, "it is looked up whether a unit of work has committed");
        progress.looks_up();
        match lookup.has_committed(pool, ask, node, session).await {
            Ok(true) => Settled::Committed,
            Ok(false) => {
                progress.is_known();
                Settled::RunAgain(match error {
                    CommitError::Unknown { node, error } => CommitError::Lost { node, error },
                    CommitError::Deposed { node, .. } => {
                        CommitError::Deposed { node, was_sent: false }
                    }
                    error => error,
                })
            }
            Err(reason) => {
                let node = error.node().unwrap_or_default().to_owned();
                Settled::Unknown(CommitError::LookUpFailed { node, reason })
            }
        }
    }
}
