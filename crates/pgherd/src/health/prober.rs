//! Asks one node how it is, over a connection that is kept.

use std::time::{Duration, Instant};

use pgherd_core::health::HealthEvent;
use tokio_postgres::SimpleQueryMessage;

use crate::conn::{Backend, Dialer};

/// The insert position, not the write position: the latter stays behind what an asynchronous
/// commit has already acknowledged.
const PROBE: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn() \
     ELSE pg_catalog.pg_current_wal_insert_lsn() END";

/// See the module's header.
pub(super) struct Prober {
    dialer: Dialer,
    limit: Duration,
    backend: Option<Backend>,
}

impl Prober {
    /// `limit` is for one probe, connecting included.
    pub(super) fn new(dialer: Dialer, limit: Duration) -> Self {
        Self { dialer, limit, backend: None }
    }

    /// Asks once. A connection that failed, or was too slow, is not used again.
    ///
    /// Dropping the future closes the connection.
    pub(super) async fn probe(&mut self) -> HealthEvent {
        // Taken out, so that neither a failure nor a cancellation leaves a used-up one behind.
        let kept = self.backend.take().filter(|backend| !backend.is_dead());
        match tokio::time::timeout(self.limit, self.ask(kept)).await {
            Ok(Ok((backend, answer))) => {
                self.backend = Some(backend);
                answer
            }
            Ok(Err(error)) => HealthEvent::ProbeFailed { error },
            Err(_) => {
                let error = format!("no answer to a probe within {:?}", self.limit);
                HealthEvent::ProbeFailed { error }
            }
        }
    }

    async fn ask(&self, kept: Option<Backend>) -> Result<(Backend, HealthEvent), String> {
        let backend = match kept {
            Some(backend) => backend,
            None => self.dialer.open(|_| ()).await.map_err(|error| error.to_string())?,
        };
        let asked = Instant::now();
        let messages = backend.client().simple_query(PROBE).await.map_err(|error| {
            let text = error.as_db_error().map(tokio_postgres::error::DbError::message);
            format!("probe failed: {}", text.map_or(error.to_string(), str::to_owned))
        })?;
        let rtt = asked.elapsed();
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.ok_or("a probe was answered without a row")?;
        let in_recovery = row.get(0) == Some("t");
        let lsn = row.get(1).and_then(|lsn| lsn.parse().ok());
        Ok((backend, HealthEvent::ProbeOk { in_recovery, lsn, rtt }))
    }
}
