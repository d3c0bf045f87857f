//! Brings one prepared transaction to its end, over another connection if need be.

use std::fmt;
use std::sync::Arc;

use pgherd_core::ShardId;
use pgherd_core::route::Route;
use tokio_postgres::SimpleQueryMessage;
use tracing::{debug, warn};

use super::{Cursor, InDoubt};
use crate::pool::NodePool;
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
        let Self { pool, cursor, gid } = self;
        let lease = cursor.into_lease();
        let finishing = Finishing {
            node_pool: lease.pool().clone(),
            route: lease.route(),
            process_id: lease.backend().process_id(),
            gid,
            verb,
        };
        // A lost one is given back at once: the pool may have room for no other.
        let mut usable = Some(lease).filter(|lease| !lease.is_closed());
        let (mut may_be_missing, mut attempt) = (is_uncertain, 1);
        loop {
            let lease = match usable.take() {
                Some(lease) => Some(lease),
                None => finishing.fresh_lease().await,
            };
            let tried = match &lease {
                Some(lease) => finishing.run_on(lease).await,
                None => Tried::NotYet,
            };
            match tried {
                Tried::Finished => return true,
                Tried::Missing if may_be_missing => return true,
                Tried::Missing => {
                    let (node, gid) = (finishing.node_pool.node(), &finishing.gid);
                    warn!(%node, gid, "somebody else has finished a prepared transaction");
                    return false;
                }
                Tried::Lost => may_be_missing = true,
                Tried::NotYet => {}
            }
            drop(lease);
            attempt += 1;
            let Some(delay) = pool.retry_config().delay(attempt, 0.0) else { return false };
            pool.counting().count_retry();
            tokio::time::sleep(delay).await;
        }
    }
}

/// What it takes to finish over whichever connection.
struct Finishing {
    node_pool: Arc<NodePool>,
    route: Route,
    // Of the backend that was to prepare it.
    process_id: Option<u32>,
    gid: String,
    verb: Verb,
}

impl Finishing {
    /// A connection of its own to the node, once the process behind the first one is gone.
    async fn fresh_lease(&self) -> Option<Lease> {
        let lease = Lease::acquire(&self.node_pool, self.route).await.ok()?;
        let process_id = self.process_id?;
        let is_there =
            format!("SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = {process_id}");
        let answer = lease.simple_query(&is_there).await.ok()?;
        let is_row = |message: &SimpleQueryMessage| matches!(message, SimpleQueryMessage::Row(_));
        (!answer.iter().any(is_row)).then_some(lease)
    }

    async fn run_on(&self, lease: &Lease) -> Tried {
        let before = lease.statements();
        let Err(error) = lease.batch_execute(&format!("{} '{}'", self.verb, self.gid)).await else {
            return Tried::Finished;
        };
        debug!(node = lease.node(), gid = self.gid, verb = %self.verb, %error, "could not finish yet");
        match error.code().map(tokio_postgres::error::SqlState::code) {
            // undefined_object
            Some("42704") => Tried::Missing,
            _ if lease.is_closed() && lease.statements() > before => Tried::Lost,
            _ => Tried::NotYet,
        }
    }
}
