//! What a tap has heard of one connection, for all who ask.
//!
//! In: what the tap makes of the bytes that pass. Out: where the backend stands, how many statements
//! have left, and what else is to be known of its session. Nobody waits for anybody here, but for a
//! command's tag where it changes: bytes pass with every statement, and who asks does so with every
//! lease.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::atomic::AtomicCell;
use pgherd_core::sql::Remains;
use pgherd_wire::TxStatus;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::batches::Answered;
use super::suspicion::{Evidence, LeftState};
use crate::mutex::Mutex;

/// What the wire says about a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireState {
    /// Nothing is owed that could change anything; the status is that of the last command.
    Settled(TxStatus),
    /// An answer is still owed, or bytes wait to be written.
    Owing,
    /// The two sides do not agree about the protocol.
    Broken,
}

/// What belongs together at any moment: eight bytes, for a processor to read and write them at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(8))]
pub(super) struct Facts {
    pub(super) state: WireState,
    pub(super) answered: Answered,
    /// What the session may hold, and the evidence if that is not nothing. No `Option`: of one that
    /// is none, a part is nobody's, and such bytes may not be copied with the others.
    pub(super) remains: Remains,
    pub(super) evidence: Evidence,
    pub(super) is_altered: bool,
    /// For the same reason: to eight.
    pub(super) rest: [u8; 3],
}

/// See the module's header. The tap writes, except where it says otherwise.
#[derive(Debug)]
pub(super) struct Heard {
    facts: AtomicCell<Facts>,
    statements: AtomicU64,
    errors: AtomicU64,
    // The session has ended: an error said so, before the socket does.
    is_over: AtomicBool,
    process_id: OnceLock<u32>,
    // Held for one copy of it.
    last_tag: Mutex<Vec<u8>>,
    // Written by who is told: see `Heard::disregard_state` and `Heard::find_pooler`.
    to_disregard: AtomicBool,
    is_pooled: AtomicBool,
    // Signalled whenever the backend says that it is ready, while somebody waits for that.
    ready: Notify,
    waiting: AtomicUsize,
}

impl Heard {
    pub(super) fn new(facts: Facts) -> Self {
        Self {
            facts: AtomicCell::new(facts),
            statements: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            process_id: OnceLock::new(),
            last_tag: Mutex::default(),
            to_disregard: AtomicBool::new(false),
            is_pooled: AtomicBool::new(false),
            ready: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The tap has heard this.
    pub(super) fn tell(&self, facts: Facts) {
        self.facts.store(facts);
    }

    /// So many statements have left in full.
    pub(super) fn tell_statements(&self, statements: u64) {
        self.statements.store(statements, Ordering::Release);
    }

    /// The backend has reported so many errors.
    pub(super) fn tell_errors(&self, errors: u64) {
        self.errors.store(errors, Ordering::Release);
    }

    pub(super) fn tell_last_tag(&self, tag: &[u8]) {
        let mut last = self.last_tag.lock();
        last.clear();
        last.extend_from_slice(tag);
    }

    /// Which process the backend has said to be at the login.
    pub(super) fn tell_process_id(&self, id: u32) {
        // A login tells it once.
        let _ = self.process_id.set(id);
    }

    /// An error has announced the end of the session.
    pub(super) fn tell_over(&self) {
        self.is_over.store(true, Ordering::Release);
    }

    /// The backend has said that it is ready, and what that means was told. Under the lock of the
    /// line, by which this sees who waits: see [`Line::ready`](super::line::Line::ready). At the login
    /// there is no line yet, and nobody who waits.
    pub(super) fn tell_ready(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.ready.notify_waiters();
        }
    }

    /// The connection has ended. Whoever knows it says so.
    pub(super) fn tell_end(&self) {
        self.ready.notify_waiters();
    }

    /// Whether the tap is to take the session to hold nothing; see [`Self::tell_disregarded`].
    pub(super) fn is_to_disregard(&self) -> bool {
        self.to_disregard.load(Ordering::Acquire)
    }

    /// The tap has done so, and told it.
    pub(super) fn tell_disregarded(&self) {
        self.to_disregard.store(false, Ordering::Release);
    }

    /// What the wire says now, and why the session is taken to hold state, if it is.
    pub(super) fn standing(&self) -> (WireState, Option<LeftState>) {
        // In this order: what the tap tells once it has disregarded it is true.
        let is_disregarded = self.is_to_disregard();
        let facts = self.facts.load();
        let Facts { state, remains, evidence, .. } = facts;
        let has_left = remains != Remains::Nothing && !is_disregarded;
        (state, has_left.then_some(LeftState { remains, evidence }))
    }

    /// How far what was written has been answered.
    pub(super) fn answered(&self) -> Answered {
        self.facts.load().answered
    }

    /// Whether settings may be others than those at the login, be it for the rest of the
    /// transaction, under which a text may mean something else.
    pub(super) fn is_altered(&self) -> bool {
        let is_disregarded = self.is_to_disregard();
        self.facts.load().is_altered && !is_disregarded
    }

    /// Takes the session to hold no state, whatever was said so far. Asked while nothing is under
    /// way; the tap follows with the next bytes.
    pub(super) fn disregard_state(&self) {
        self.to_disregard.store(true, Ordering::Release);
    }

    /// The tag of the last command that completed: `UPDATE 3`, `ROLLBACK`.
    pub(super) fn last_tag(&self) -> String {
        String::from_utf8_lossy(&self.last_tag.lock()).into_owned()
    }

    /// The process of the backend on its server; `None` behind a pooler, where each transaction
    /// may have another.
    pub(super) fn process_id(&self) -> Option<u32> {
        if self.is_pooled() { None } else { self.process_id.get().copied() }
    }

    /// Takes a pooler to be in between if the process that answers is not the one that was named
    /// at the login: a pooler makes up a number of its own, for it has no process yet. Asked
    /// while nothing is under way.
    pub(super) fn find_pooler(&self, answering: Option<u32>) {
        let is_pooled = answering.is_some() && answering != self.process_id.get().copied();
        self.is_pooled.store(is_pooled, Ordering::Release);
    }

    /// Whether there is a pooler between this connection and its backends.
    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Acquire)
    }

    /// Whether an error has announced the end of the session.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Statements that have left in full and so may have run.
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Acquire)
    }

    /// Errors the backend has reported.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Acquire)
    }

    /// Somebody is about to wait; see [`Line::ready`](super::line::Line::ready).
    pub(super) fn begin_to_wait(&self) -> Ready<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ready(self)
    }
}

/// Somebody who waits for a backend, or is about to.
pub(super) struct Ready<'h>(&'h Heard);

impl Ready<'_> {
    /// Signalled at each ReadyForQuery, and at the end. To be enabled before [`Heard::standing`] is
    /// asked, so that nothing in between is missed.
    pub(super) fn notified(&self) -> Notified<'_> {
        self.0.ready.notified()
    }
}

impl Drop for Ready<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_together_is_read_and_written_at_once() {
        assert!(AtomicCell::<Facts>::is_lock_free());
        let of_fields = size_of::<(WireState, Answered)>()
            + size_of::<(Remains, Evidence)>()
            + size_of::<(bool, [u8; 3])>();
        assert_eq!(of_fields, size_of::<Facts>());
    }
}
