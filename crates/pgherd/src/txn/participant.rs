//! One shard's part in a commit.

use std::sync::Arc;

use pgherd_core::ShardId;
use pgherd_core::route::Route;
use pgherd_core::txn::{Decided, Gid, TxnEvent};
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;
use tracing::debug;

use super::ending::commit_on;
use super::{CommitError, Cursor, InDoubt};
use crate::mutex::Mutex;
use crate::pool::NodePool;
use crate::{DistributedPool, Lease};

/// See the module's header.
pub(super) struct Participant {
    pool: DistributedPool,
    shard: ShardId,
    node_pool: Arc<NodePool>,
    route: Route,
    // Of the backend that runs the transaction.
    process_id: Option<u32>,
    // Taken out while something runs on it; not put back once its connection is lost.
    lease: Mutex<Option<Lease>>,
    // Why it did not prepare or commit, for the caller.
    error: Mutex<Option<CommitError>>,
}

/// What a participant says of its open transaction.
pub(super) struct Standing {
    pub(super) has_written: bool,
    /// The role that will own what is prepared.
    pub(super) role: String,
}

/// What came of one try to finish.
enum Tried {
    Finished,
    /// There is no such prepared transaction.
    Missing,
    /// Not now.
    NotYet,
}

impl Participant {
    pub(super) fn new(pool: &DistributedPool, cursor: Cursor) -> Self {
        let shard = cursor.shard();
        let lease = cursor.into_lease();
        Self {
            pool: pool.clone(),
            shard,
            node_pool: lease.pool().clone(),
            route: lease.route(),
            process_id: lease.backend().process_id(),
            lease: Mutex::new(Some(lease)),
            error: Mutex::new(None),
        }
    }

    pub(super) fn node(&self) -> &str {
        self.node_pool.node()
    }

    pub(super) fn in_doubt(&self, gid: &Gid) -> InDoubt {
        InDoubt { shard: self.shard, node: self.node().to_owned(), gid: gid.prepared(self.shard) }
    }

    pub(super) fn node_pool(&self) -> &Arc<NodePool> {
        &self.node_pool
    }

    /// Why it did not prepare or commit, if it did not.
    pub(super) fn error_text(&self) -> Option<String> {
        self.error.lock().as_ref().map(CommitError::to_string)
    }

    pub(super) fn take_error(&self) -> Option<CommitError> {
        self.error.lock().take()
    }

    /// Asks whether the transaction has written, and as whom.
    pub(super) async fn standing(&self) -> Result<Standing, CommitError> {
        const ASK: &str = "SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL, \
                           current_user";
        self.with_lease(async |lease| {
            let answer = lease.simple_query(ASK).await;
            let messages = answer.map_err(|error| self.refused(lease, error))?;
            let row = messages.iter().find_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            });
            let role = row.and_then(|row| row.get(1)).unwrap_or_default().to_owned();
            Ok(Standing { has_written: row.and_then(|row| row.get(0)) == Some("t"), role })
        })
        .await
    }

    /// COMMIT of its own.
    pub(super) async fn commit_alone(&self) -> Result<(), CommitError> {
        self.with_lease(async |lease| commit_on(lease, "COMMIT").await).await
    }

    /// The decision row and COMMIT.
    pub(super) async fn decide(&self, script: &str) -> TxnEvent {
        let result = self.with_lease(async |lease| commit_on(lease, script).await).await;
        match result {
            Ok(()) => TxnEvent::AnchorCommitted,
            Err(CommitError::Unknown { .. }) => TxnEvent::AnchorLost,
            Err(error) => {
                *self.error.lock() = Some(error);
                // Whatever of it is still open ends here, and nothing is decided.
                self.roll_back().await;
                TxnEvent::AnchorRefused
            }
        }
    }

    /// The marker and PREPARE TRANSACTION.
    pub(super) async fn prepare(&self, script: &str) -> TxnEvent {
        const TAG: &str = "PREPARE TRANSACTION";
        let (shard, node) = (self.shard, self.node().to_owned());
        let (event, error) = self
            .with_lease(async |lease| {
                let before = lease.statements();
                match lease.batch_execute(script).await {
                    Ok(()) => match lease.backend().last_tag() {
                        tag if tag == TAG => (TxnEvent::Prepared(shard), None),
                        tag => {
                            (TxnEvent::NotPrepared(shard), Some(CommitError::Ended { node, tag }))
                        }
                    },
                    Err(error) => {
                        let was_sent = lease.statements() > before;
                        let is_uncertain = lease.is_closed() && was_sent;
                        let event = match is_uncertain {
                            true => TxnEvent::MaybePrepared(shard),
                            false => TxnEvent::NotPrepared(shard),
                        };
                        (event, Some(self.refused(lease, error)))
                    }
                }
            })
            .await;
        if matches!(event, TxnEvent::NotPrepared(_)) {
            self.roll_back().await;
        }
        *self.error.lock() = error;
        event
    }

    /// ROLLBACK of a transaction that is still open.
    pub(super) async fn roll_back(&self) {
        // A ROLLBACK that fails leaves the block open, and release closes such a backend.
        let _ = self.with_lease(async |lease| lease.batch_execute("ROLLBACK").await).await;
    }

    /// COMMIT PREPARED or ROLLBACK PREPARED, by the retry schedule; `true` once it is known to
    /// be done. `is_uncertain`: whether it may never have been prepared.
    ///
    /// That it is missing proves nothing by itself: the backend that was to prepare or finish
    /// it may still be at it after we lost the connection. Once that process is gone, missing
    /// means rolled back, or finished, by a command of ours or by recovery.
    pub(super) async fn finish(
        &self,
        gid: &Gid,
        owner: &str,
        decided: Decided,
        is_uncertain: bool,
    ) -> bool {
        let mut attempt = 1;
        loop {
            let kept = self.lease.lock().take().filter(|lease| !lease.is_closed());
            let lease = match kept {
                Some(lease) => Some(lease),
                None => self.fresh_lease().await,
            };
            let tried = match &lease {
                Some(lease) => self.finish_on(lease, gid, decided).await,
                None => Tried::NotYet,
            };
            let is_done = match (tried, decided, &lease) {
                (Tried::Finished, ..) => true,
                (Tried::Missing, Decided::Abort, _) => {
                    debug!(node = self.node(), %gid, is_uncertain, "nothing was left prepared");
                    true
                }
                (Tried::Missing, Decided::Commit, Some(lease)) => {
                    is_marked(lease, gid, owner).await
                }
                _ => false,
            };
            if is_done {
                return true;
            }
            drop(lease);
            attempt += 1;
            let Some(delay) = self.pool.retry_config().delay(attempt, 0.0) else { return false };
            self.pool.counting().count_retry();
            tokio::time::sleep(delay).await;
        }
    }

    async fn finish_on(&self, lease: &Lease, gid: &Gid, decided: Decided) -> Tried {
        let command = finishing_command(decided, &gid.prepared(self.shard));
        let Err(error) = lease.batch_execute(&command).await else { return Tried::Finished };
        debug!(node = self.node(), %gid, ?decided, %error, "could not finish yet");
        match error.code() {
            Some(&SqlState::UNDEFINED_OBJECT) => Tried::Missing,
            _ => Tried::NotYet,
        }
    }

    /// A connection of its own to the node, once the process behind the first one is gone.
    async fn fresh_lease(&self) -> Option<Lease> {
        let lease = Lease::acquire(&self.node_pool, self.route, None).await.ok()?;
        let process_id = self.process_id?;
        let is_there =
            format!("SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = {process_id}");
        let answer = lease.simple_query(&is_there).await.ok()?;
        let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        (!answer.iter().any(is_row)).then_some(lease)
    }

    /// Runs something on the lease; one whose connection is lost is given back at once, because
    /// the pool may have room for no other.
    async fn with_lease<T>(&self, act: impl AsyncFnOnce(&Lease) -> T) -> T {
        let lease = self.lease.lock().take().expect("one thing at a time runs on a participant");
        let result = act(&lease).await;
        *self.lease.lock() = Some(lease);
        result
    }

    fn refused(&self, lease: &Lease, error: tokio_postgres::Error) -> CommitError {
        let node = self.node().to_owned();
        match lease.is_closed() {
            true => CommitError::Lost { node, error },
            false => CommitError::Refused { node, error },
        }
    }
}

/// COMMIT PREPARED or ROLLBACK PREPARED.
pub(super) fn finishing_command(decided: Decided, prepared: &str) -> String {
    let verb = match decided {
        Decided::Commit => "COMMIT PREPARED",
        Decided::Abort => "ROLLBACK PREPARED",
    };
    format!("{verb} '{prepared}'")
}

/// Whether a participant's marker can be seen, so that it has committed.
async fn is_marked(lease: &Lease, gid: &Gid, owner: &str) -> bool {
    let sql = "SELECT count(*) FROM pgherd.marked($1::text[], $2::text::name)";
    let gids = [gid.to_string()];
    let marked = lease.query_one(sql, &[&&gids[..], &owner]).await;
    marked.is_ok_and(|row| row.get::<_, i64>(0) == 1)
}
