//! Finds out what became of a COMMIT whose answer was lost.
//!
//! In: a query that gives a row if the unit has committed; the session that was to commit it.
//! Out: committed, or not, and then never.
//!
//! Three things make the answer final:
//!
//! - On the server that was told to commit, the session may still be at it. So it is ended, and
//!   gone, before the query runs: what it has not committed by then is rolled back.
//! - On a server that was promoted since, nothing of the old one arrives any more: what it has
//!   received is there. The old one has to be cut off from its clients, which is up to whoever
//!   promoted.
//! - A session that is ended while it waits for a synchronous standby leaves its commit visible and
//!   not replicated. So what was found counts only once a commit after it is answered, which waits
//!   for the standby in its turn.

use std::time::Duration;

use pgherd_core::NodeId;
use tokio_postgres::types::ToSql;
use tracing::{debug, warn};

use super::transaction::row_of;
use super::{Ask, Progress};
use crate::txn::commit_on;
use crate::{DistributedPool, Error, Lease};

/// How long one look may take once it has a backend. It ends early only where a server does not
/// answer, or its commit waits for a standby that is not there.
const LIMIT: Duration = Duration::from_secs(10);

/// The wait between two looks whether a session that was told to end is gone.
const POLL: Duration = Duration::from_millis(10);

/// A session of a server, as nothing else is called on that server before or after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServerSession {
    node: NodeId,
    process_id: i32,
    // Microseconds since 1970. Process ids are used again.
    started: i64,
}

impl ServerSession {
    /// Asks which it is; behind a pooler that is so for the length of the transaction.
    pub(super) const WHICH: &str = "SELECT pid, (extract(epoch FROM backend_start) * 1000000)::int8 \
         FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid())";

    /// From the answer to [`Self::WHICH`].
    pub(super) fn read(node: NodeId, row: &[Option<&str>]) -> Option<Self> {
        let column = |at: usize| row.get(at).copied().flatten();
        let (process_id, started) = (column(0)?.parse().ok()?, column(1)?.parse().ok()?);
        Some(Self { node, process_id, started })
    }

    /// Ends it, on its own server. A row as long as it is there.
    fn end(&self) -> String {
        let Self { process_id, started, .. } = self;
        format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) \
             FROM pg_catalog.pg_stat_get_activity({process_id}) WHERE backend_start IS NULL \
             OR (extract(epoch FROM backend_start) * 1000000)::int8 = {started}"
        )
    }
}

/// A query that gives a row if a unit of work has committed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lookup<'p> {
    pub(super) sql: &'p str,
    pub(super) params: &'p [&'p (dyn ToSql + Sync)],
}

impl Lookup<'_> {
    /// Whether it has committed, asked of the present primary, by the retry schedule.
    ///
    /// Dropping the future does no harm.
    pub(super) async fn has_committed(
        &self,
        pool: &DistributedPool,
        ask: &Ask,
        node: NodeId,
        session: Option<&ServerSession>,
    ) -> Result<bool, String> {
        let mut attempt = 1;
        loop {
            let reason = match self.look(pool, ask, node, session).await {
                Ok(has_committed) => return Ok(has_committed),
                Err(reason) => reason,
            };
            attempt += 1;
            let Some(delay) = pool.retry_config().delay(attempt, crate::random::fraction()) else {
                return Err(reason);
            };
            warn!(reason, ?delay, "the outcome of a COMMIT is looked up again");
            pool.counting().count_retry();
            tokio::time::sleep(delay).await;
        }
    }

    async fn look(
        &self,
        pool: &DistributedPool,
        ask: &Ask,
        node: NodeId,
        session: Option<&ServerSession>,
    ) -> Result<bool, String> {
        // Whoever wants to know has their own time.
        let lease = pool.try_lease(ask, None, &Progress::unlimited()).await;
        let lease = lease.map_err(|error| format!("{error:#}"))?;
        let work = async {
            if lease.route().node == node {
                let session = session.ok_or("the node does not tell which session it was")?;
                end(&lease, session).await?;
            }
            self.look_on(&lease).await
        };
        let follower = pool.health().follower();
        let deposed = follower.deposed(lease.route().node);
        tokio::select! {
            biased;
            done = work => done,
            () = deposed => Err(format!("{} is not the primary any more", lease.node())),
            () = tokio::time::sleep(LIMIT) => {
                Err(format!("no answer from {} within {LIMIT:?}", lease.node()))
            }
        }
    }

    async fn look_on(&self, lease: &Lease) -> Result<bool, String> {
        let said = |error: tokio_postgres::Error| {
            let (is_lost, was_sent) = (lease.is_closed(), true);
            Error::statement(error, lease.node().into(), is_lost, was_sent).to_string()
        };
        let begin = "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE; \
                     SET LOCAL synchronous_commit = on";
        lease.batch_execute(begin).await.map_err(said)?;
        let has_committed = !lease.query(self.sql, self.params).await.map_err(said)?.is_empty();
        if !has_committed {
            lease.batch_execute("ROLLBACK").await.map_err(said)?;
            return Ok(false);
        }
        // A record of its own: without one the commit waits for nobody.
        let script = "SELECT pg_catalog.pg_logical_emit_message(true, 'pgherd', ''); COMMIT";
        commit_on(lease, script).await.map_err(|error| error.to_string())?;
        Ok(true)
    }
}

/// Ends a session and waits until it is gone.
async fn end(lease: &Lease, session: &ServerSession) -> Result<(), String> {
    let script = session.end();
    loop {
        let answer = lease.simple_query(&script).await.map_err(|error| {
            let (is_lost, was_sent) = (lease.is_closed(), true);
            Error::statement(error, lease.node().into(), is_lost, was_sent).to_string()
        })?;
        if row_of(&answer).is_empty() {
            return Ok(());
        }
        debug!(node = lease.node(), session.process_id, "the session that was to commit is ended");
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_the_node_does_not_tell_in_full_is_none() {
        let node = NodeId(3);
        let told = ServerSession::read(node, &[Some("17"), Some("1764093600000000")]);
        let told = told.unwrap();
        assert_eq!((told.node, told.process_id, told.started), (node, 17, 1_764_093_600_000_000));
        assert_eq!(ServerSession::read(node, &[Some("17"), None]), None);
        assert_eq!(ServerSession::read(node, &[]), None);
    }
}
