//! One backend of a node, and where it stands.

use std::pin::Pin;
use std::sync::Arc;

use pgherd_wire::TxStatus;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, Notification, Statement};

use super::batches::Answered;
use super::caches::Kept;
use super::heard::WireState;
use super::line::{Drive, Line};
use super::reach::Way;
use super::suspicion::LeftState;

/// One backend. Dropping it ends its session in order, after what is still under way.
pub(crate) struct Backend {
    client: Client,
    line: Arc<Line>,
    // Behind the client: without one, statements end with the session.
    prepared: Kept,
    way: Way,
}

/// A statement to run on the backend that prepared it.
pub(crate) struct Ready {
    pub(crate) statement: Statement,
    /// Whether it was prepared for an earlier use, so that it may have gone stale.
    pub(crate) is_kept: bool,
}

/// Where a backend stands between two users.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Outside a transaction, nothing owed, nothing left behind: the next one may have it.
    Clean,
    /// Inside a transaction block, failed or not.
    InTransaction,
    /// Outside a transaction, but the session may hold state that the next one must not find.
    LeftState(LeftState),
    /// An answer is still owed.
    Owing,
    /// The connection has ended, or the two sides no longer agree.
    Dead,
}

impl Backend {
    /// With what it keeps prepared, and the way that leads to it.
    pub(super) fn new(client: Client, line: Arc<Line>, prepared: Kept, way: Way) -> Self {
        Self { client, line, prepared, way }
    }

    /// The way that leads to it.
    pub(crate) fn way(&self) -> &Way {
        &self.way
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Does some work on this backend, and moves its bytes meanwhile: that saves the switches to
    /// the task that else does, and back.
    ///
    /// Dropping the future leaves `work` as it is.
    pub(crate) fn drive<'d, F: Future>(&'d self, work: Pin<&'d mut F>) -> Drive<'d, F> {
        self.line.drive(work)
    }

    pub(crate) fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The statement with this text, prepared now or before. One that means what it does under
    /// this transaction's settings only, or this lease's, is prepared for this use alone.
    ///
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn prepare(&self, sql: &str) -> Result<Ready, tokio_postgres::Error> {
        let is_altered = || self.line.heard().is_altered();
        let kept = {
            let mut prepared = self.prepared.lock();
            match is_altered() {
                false => prepared.get(sql),
                true => {
                    prepared.pass_by();
                    None
                }
            }
        };
        if let Some(statement) = kept {
            return Ok(Ready { statement, is_kept: true });
        }
        let statement = self.client.prepare(sql).await?;
        if is_altered() {
            return Ok(Ready { statement, is_kept: false });
        }
        let gone = self.prepared.lock().keep(sql, statement.clone());
        // Dropping the last use of it closes it on the server.
        drop(gone);
        Ok(Ready { statement, is_kept: false })
    }

    /// Has the statement with this text prepared anew when it is next used.
    pub(crate) fn forget(&self, sql: &str) {
        let gone = self.prepared.lock().forget(sql);
        drop(gone);
        // What the driver knows of types may be as old.
        self.client.clear_type_cache();
    }

    /// How many statements it keeps prepared.
    pub(super) fn kept(&self) -> usize {
        self.prepared.lock().len()
    }

    /// Calls `hear` for each notification from now on.
    pub(crate) fn on_notification(&self, hear: impl Fn(Notification) + Send + Sync + 'static) {
        self.line.on_notification(Box::new(hear));
    }

    /// Whether the connection has ended, as far as is known.
    pub(crate) fn is_dead(&self) -> bool {
        self.client.is_closed() || self.line.heard().is_over()
    }

    /// Where it stands, after writing out whatever the client object still held.
    pub(crate) fn standing(&self) -> Standing {
        self.line.pump();
        if self.is_dead() {
            return Standing::Dead;
        }
        let (state, left) = self.line.heard().standing();
        match state {
            WireState::Broken => Standing::Dead,
            WireState::Owing => Standing::Owing,
            WireState::Settled(TxStatus::InTransaction | TxStatus::Failed) => {
                Standing::InTransaction
            }
            WireState::Settled(TxStatus::Idle) => left.map_or(Standing::Clean, Standing::LeftState),
        }
    }

    /// Whatever has run so far leaves nothing in the session that outlives its transaction, or
    /// that the next one may not find: the word of whoever wrote it, against how it looks on the
    /// wire.
    pub(crate) fn disregard_state(&self) {
        self.line.heard().disregard_state();
    }

    /// Whether it waits for the data of a copy, of which the driver has not written the end.
    pub(crate) fn wants_data(&self) -> bool {
        self.line.heard().answered() == Answered::CopyBegun
    }

    /// Waits until nothing is owed any more, or the connection has ended.
    pub(crate) async fn settle(&self) -> Standing {
        loop {
            let ready = self.line.ready();
            let mut ready = std::pin::pin!(ready.notified());
            // Enabled before looking, so that an answer in between is not missed.
            ready.as_mut().enable();
            match self.standing() {
                Standing::Owing => ready.await,
                standing => return standing,
            }
        }
    }

    /// Waits until the connection has ended.
    pub(crate) async fn ended(&self) {
        loop {
            let ready = self.line.ready();
            let mut ready = std::pin::pin!(ready.notified());
            // Enabled before looking, so that an end in between is not missed.
            ready.as_mut().enable();
            if self.is_dead() {
                return;
            }
            ready.await;
        }
    }

    /// Statements that have left in full, and so may have run, since it was opened.
    pub(crate) fn statements(&self) -> u64 {
        self.line.heard().statements()
    }

    /// Errors it has reported since it was opened.
    pub(crate) fn errors(&self) -> u64 {
        self.line.heard().errors()
    }

    /// The tag of the last command that completed.
    pub(crate) fn last_tag(&self) -> String {
        self.line.heard().last_tag()
    }

    /// The process that serves it on the node; `None` where that is another for each
    /// transaction, behind a pooler.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.line.heard().process_id()
    }

    pub(super) fn cancel_token(&self) -> CancelToken {
        self.client.cancel_token()
    }

    /// Closes the socket at once, whatever is under way.
    pub(crate) fn cut(self) {
        self.hang_up();
    }

    /// The same while somebody still holds it.
    pub(crate) fn hang_up(&self) {
        self.line.cut();
    }
}

/// Whether this says of a statement prepared before that it cannot be used any more: what it gives
/// has changed (a migration), or it is not there (DEALLOCATE).
pub(crate) fn is_stale(error: &tokio_postgres::Error) -> bool {
    let Some(report) = error.as_db_error() else { return false };
    // The routine, because the message is translated.
    let is_changed = report.code() == &SqlState::FEATURE_NOT_SUPPORTED
        && report.routine() == Some("RevalidateCachedQuery");
    is_changed || report.code() == &SqlState::INVALID_SQL_STATEMENT_NAME
}
