//! Brings one prepared transaction to its end, over another connection if need be.

use std::fmt;

use pgherd_core::ShardId;
use pgherd_core::route::Route;
use tokio_postgres::SimpleQueryMessage;
use tracing::{debug, warn};

use super::{Cursor, InDoubt};
use crate::{DistributedPool, Lease};

/// How a prepared transaction ends. Prints as the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Commit,
    Rollback,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Commit => "COMMIT PREPARED",
            Self::Rollback => "ROLLBACK PREPARED",
        })
    }
}

/// One shard's part in a commit.
pub(super) struct Participant {
    pool: DistributedPool,
    cursor: Cursor,
    gid: String,
}

/// What came of one try.
enum Tried {
    Finished,
    /// There is no such prepared transaction.
    Missing,
    /// Not now.
    NotYet,
    /// The connection was lost after the command had left: it may have been carried out.
    Lost,
}

impl Participant {
    pub(super) fn new(pool: &DistributedPool, cursor: Cursor, gid: String) -> Self {
        Self { pool: pool.clone(), cursor, gid }
    }

    pub(super) fn lease(&self) -> &Lease {
        self.cursor.lease()
    }

    pub(super) fn node(&self) -> &str {
        self.cursor.node()
    }

    pub(super) fn gid(&self) -> &str {
        &self.gid
    }

    pub(super) fn in_doubt(&self) -> InDoubt {
        let (shard, node): (ShardId, _) = (self.cursor.shard(), self.node().to_owned());
        InDoubt { shard, node, gid: self.gid.clone() }
    }

    /// Tries by the retry schedule; `true` once it is known to be finished.
    ///
    /// That it is missing proves nothing by itself: the backend that was to prepare or finish
    /// it may still be at it after we lost the connection. Once that process is gone, missing
    /// means rolled back if it was uncertain that it had been prepared, and finished if a
    /// command of ours was on its way.
    pub(super) async fn finish(self, verb: Verb, is_uncertain: bool) -> bool {
        let route = self.lease().route();
        let process_id = self.lease().backend().process_id();
        let (mut may_be_missing, mut attempt) = (is_uncertain, 1);
        let mut lease = Some(self.lease()).filter(|lease| !lease.is_closed());
        let mut fresh: Option<Lease>;
        loop {
            let tried = match lease.take() {
                Some(lease) => self.finish_on(lease, verb).await,
                None => {
                    fresh = self.fresh_lease(route, process_id).await;
                    match &fresh {
                        Some(lease) => self.finish_on(lease, verb).await,
                        None => Tried::NotYet,
                    }
                }
            };
            match tried {
                Tried::Finished => return true,
                Tried::Missing if may_be_missing => return true,
                Tried::Missing => {
                    warn!(node = self.node(), gid = self.gid, "somebody else has finished it");
                    return false;
                }
                Tried::Lost => may_be_missing = true,
                Tried::NotYet => {}
            }
            attempt += 1;
            let Some(delay) = self.pool.retry_config().delay(attempt, 0.0) else { return false };
            self.pool.counting().count_retry();
            tokio::time::sleep(delay).await;
        }
    }

    /// A connection of its own to the node, once the process behind the lost one is gone.
    async fn fresh_lease(&self, route: Route, process_id: Option<u32>) -> Option<Lease> {
        let lease = Lease::acquire(self.lease().pool(), route).await.ok()?;
        let process_id = process_id?;
        let is_there =
            format!("SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = {process_id}");
        let answer = lease.simple_query(&is_there).await.ok()?;
        let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        (!answer.iter().any(is_row)).then_some(lease)
    }

    async fn finish_on(&self, lease: &Lease, verb: Verb) -> Tried {
        let before = lease.statements();
        let Err(error) = lease.batch_execute(&format!("{verb} '{}'", self.gid)).await else {
            return Tried::Finished;
        };
        debug!(node = self.node(), gid = self.gid, %verb, %error, "could not finish yet");
        match error.code().map(tokio_postgres::error::SqlState::code) {
            // undefined_object
            Some("42704") => Tried::Missing,
            _ if lease.is_closed() && lease.statements() > before => Tried::Lost,
            _ => Tried::NotYet,
        }
    }
}
