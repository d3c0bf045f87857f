//! Asks one node how it is, over a connection that is kept.

use std::time::{Duration, Instant};

use pgherd_core::health::HealthEvent;
use pgherd_core::units::timeline_of_wal_file;
use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use crate::conn::{Backend, Dialer};
use crate::error::is_pooler_s;

/// The insert position, not the write position: the latter stays behind what an asynchronous
/// commit has already acknowledged.
const PROBE: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
     ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     pg_catalog.current_setting('max_prepared_transactions')";

/// The same with timeline and system identifier. A primary's timeline is in the name of the file
/// it writes: the control file tells of a promotion only after the next checkpoint.
const FULL_PROBE: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
     ELSE pg_catalog.pg_current_wal_insert_lsn() END, \
     pg_catalog.current_setting('max_prepared_transactions'), \
     CASE WHEN NOT pg_catalog.pg_is_in_recovery() \
     THEN pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) END, \
     (SELECT greatest(checkpoint.timeline_id, recovery.min_recovery_end_timeline) \
     FROM pg_catalog.pg_control_checkpoint() AS checkpoint, \
     pg_catalog.pg_control_recovery() AS recovery), \
     (SELECT system_identifier FROM pg_catalog.pg_control_system())";

/// See the module's header.
pub(super) struct Prober {
    dialer: Dialer,
    limit: Duration,
    backend: Option<Backend>,
    // Whether the node lets us ask for everything; asked anew on each connection.
    tells_all: bool,
}

impl Prober {
    /// `limit` is for one probe, connecting included.
    pub(super) fn new(dialer: Dialer, limit: Duration) -> Self {
        Self { dialer, limit, backend: None, tells_all: true }
    }

    /// Asks once. A connection that failed, or was too slow, is not used again.
    ///
    /// Dropping the future closes the connection.
    pub(super) async fn probe(&mut self) -> HealthEvent {
        // Taken out, so that neither a failure nor a cancellation leaves a used-up one behind.
        let kept = self.backend.take().filter(|backend| !backend.is_dead());
        let way = kept.as_ref().map(|backend| backend.way().clone());
        let answer = match tokio::time::timeout(self.limit, self.ask(kept)).await {
            Ok(Ok((backend, answer))) => {
                self.backend = Some(backend);
                answer
            }
            Ok(Err(Unwell { error, is_silent })) => HealthEvent::ProbeFailed { error, is_silent },
            Err(_) => {
                let error = format!("no answer to a probe within {:?}", self.limit);
                HealthEvent::ProbeFailed { error, is_silent: true }
            }
        };
        // The next probe goes another way, if there is one, before the node is given up.
        if let (Some(way), HealthEvent::ProbeFailed { is_silent: true, .. }) = (way, &answer) {
            self.dialer.reach().failed(&way);
        }
        answer
    }

    async fn ask(&mut self, kept: Option<Backend>) -> Result<(Backend, HealthEvent), Unwell> {
        let backend = match kept {
            Some(backend) => backend,
            None => {
                self.tells_all = true;
                self.dialer.open(|| ()).await.map_err(|error| Unwell {
                    is_silent: error.blames_node() && error.sqlstate().is_none(),
                    error: error.to_string(),
                })?
            }
        };
        let mut asked = Instant::now();
        let mut answer = backend.client().simple_query(self.question()).await;
        if self.tells_all && answer.as_ref().is_err_and(is_about_the_question) {
            self.tells_all = false;
            asked = Instant::now();
            answer = backend.client().simple_query(self.question()).await;
        }
        let messages = answer.map_err(|error| {
            let report = error.as_db_error();
            let text = report.map_or(error.to_string(), |report| report.message().to_owned());
            let is_silent = report.is_none_or(is_pooler_s);
            Unwell { error: format!("probe failed: {text}"), is_silent }
        })?;
        let rtt = asked.elapsed();
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or_else(|| {
            let error = "a probe was answered without a row".to_owned();
            Unwell { error, is_silent: false }
        })?;
        Ok((backend, read(row, asked, rtt)))
    }

    fn question(&self) -> &'static str {
        if self.tells_all { FULL_PROBE } else { PROBE }
    }
}

/// Why a probe failed, and whether the node has said nothing at all.
struct Unwell {
    error: String,
    is_silent: bool,
}

/// Whether the node does not answer this question, but may answer a smaller one: a function that
/// this role may not call, or that this kind of PostgreSQL does not have.
fn is_about_the_question(error: &tokio_postgres::Error) -> bool {
    let refusals = [
        SqlState::INSUFFICIENT_PRIVILEGE,
        SqlState::UNDEFINED_FUNCTION,
        SqlState::UNDEFINED_COLUMN,
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    error.code().is_some_and(|code| refusals.contains(code))
}

fn read(row: &SimpleQueryRow, asked: Instant, rtt: Duration) -> HealthEvent {
    let column = |at: usize| (at < row.len()).then(|| row.get(at)).flatten();
    let written_on = column(3).and_then(timeline_of_wal_file);
    HealthEvent::ProbeOk {
        in_recovery: column(0) == Some("t"),
        lsn: column(1).and_then(|lsn| lsn.parse().ok()),
        timeline: written_on.or_else(|| column(4)?.parse().ok()),
        max_prepared: column(2).and_then(|number| number.parse().ok()),
        system_id: column(5).and_then(|id| id.parse().ok()),
        rtt,
        asked,
    }
}
