//! Listens in on one connection and knows where its backend stands.
//!
//! In: the bytes that were really written to and read from the socket. Out: the transaction
//! status, the last command tag, how many statements have left, what is still owed, and
//! whether the session holds state that another user must not find.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use pgherd_wire::backend::{ErrorFields, Severity};
use pgherd_wire::replies::{Expect, Replies, Show};
use pgherd_wire::{TxStatus, WireError, backend, frontend};
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::batches::Answered;
use super::scan::Scan;
use super::suspicion::{Classes, LeftState, Suspicion};
use crate::mutex::Mutex;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Tap {
    heard: Mutex<Heard>,
    statements: AtomicU64,
    errors: AtomicU64,
    // The session has ended: an error said so, before the socket does.
    is_over: AtomicBool,
    // See `Tap::is_altered`.
    is_altered: AtomicBool,
    // See `Tap::find_pooler`.
    is_pooled: AtomicBool,
    // Signalled whenever the backend says that it is ready, while somebody waits for that.
    ready: Notify,
    waiting: AtomicUsize,
}

#[derive(Debug)]
struct Heard {
    outgoing: Scan,
    incoming: Scan,
    replies: Replies,
    is_logged_in: bool,
    status: TxStatus,
    process_id: Option<u32>,
    last_tag: Vec<u8>,
    suspicion: Suspicion,
    is_write_stalled: bool,
    is_holding: bool,
    is_broken: bool,
}

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

impl Tap {
    /// `classes` tell what texts leave behind; `None` for a session that is never lent.
    pub(super) fn new(classes: Option<Classes>) -> Self {
        Self {
            heard: Mutex::new(Heard {
                outgoing: Scan::from_startup(),
                incoming: Scan::new(),
                replies: Replies::new(),
                is_logged_in: false,
                status: TxStatus::Idle,
                process_id: None,
                last_tag: Vec::new(),
                suspicion: Suspicion::new(classes),
                is_write_stalled: false,
                is_holding: false,
                is_broken: false,
            }),
            statements: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
            is_altered: AtomicBool::new(false),
            is_pooled: AtomicBool::new(false),
            ready: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Bytes were accepted by the socket.
    pub(super) fn on_written(&self, bytes: &[u8]) {
        let mut heard = self.heard.lock();
        let Heard { outgoing, replies, suspicion, is_broken, is_write_stalled, .. } = &mut *heard;
        *is_write_stalled = false;
        // A Bind is as long as its parameters: it is gathered only where it may tell something.
        let reads_names = Cell::new(suspicion.reads_names());
        let wanted = |tag| match tag {
            frontend::QUERY | frontend::PARSE => true,
            frontend::BIND | frontend::EXECUTE | frontend::CLOSE => reads_names.get(),
            _ => false,
        };
        let found = outgoing.feed(bytes, wanted, |tag, body| {
            if wanted(tag) {
                suspicion.on_sent(tag, body, self.statements())?;
                reads_names.set(suspicion.reads_names());
            }
            if let Some(expect) = expected(tag) {
                if matches!(expect, Expect::Query(_) | Expect::Execute) {
                    // Counted under the lock, and read without it.
                    self.statements.store(self.statements() + 1, Ordering::Relaxed);
                }
                replies.expect(expect);
                while replies.next_synthetic().is_some() {}
            }
            Ok::<(), WireError>(())
        });
        *is_broken |= found.is_err();
        self.is_altered.store(suspicion.is_altered(), Ordering::Relaxed);
    }

    /// The socket takes no more bytes for now.
    pub(super) fn on_write_stalled(&self) {
        self.heard.lock().is_write_stalled = true;
    }

    /// Something is held that will be written after an answer; or nothing is any more.
    pub(super) fn on_held(&self, is_holding: bool) {
        self.heard.lock().is_holding = is_holding;
    }

    /// Bytes were read from the socket.
    pub(super) fn on_read(&self, bytes: &[u8]) {
        let mut heard = self.heard.lock();
        let Heard {
            incoming,
            replies,
            is_logged_in,
            status,
            process_id,
            last_tag,
            suspicion,
            is_broken,
            ..
        } = &mut *heard;
        let wanted = |tag| {
            matches!(
                tag,
                backend::READY | backend::COMMAND_COMPLETE | backend::KEY_DATA | backend::ERROR
            )
        };
        let found = incoming.feed(bytes, wanted, |tag, body| {
            match tag {
                // It settles nothing, and there may be millions.
                backend::DATA_ROW => return Ok(()),
                backend::READY => {
                    *status = backend::ready(body)?;
                    // Under the lock: who begins to wait later looks at what was heard first.
                    if self.waiting.load(Ordering::Relaxed) > 0 {
                        self.ready.notify_waiters();
                    }
                }
                backend::COMMAND_COMPLETE => {
                    let text = body.strip_suffix(b"\0").unwrap_or(body);
                    last_tag.clear();
                    last_tag.extend_from_slice(text);
                    suspicion.on_tag(text, || self.statements() - owed_statements(replies));
                }
                backend::KEY_DATA => *process_id = Some(backend::key_data(body)?.0),
                backend::ERROR => {
                    self.errors.fetch_add(1, Ordering::Relaxed);
                    let severity = ErrorFields::read(body)?.severity;
                    if matches!(severity, Severity::Fatal | Severity::Panic) {
                        self.is_over.store(true, Ordering::Relaxed);
                    }
                }
                _ => {}
            }
            if *is_logged_in {
                replies.on_reply(tag)?;
                while replies.next_synthetic().is_some() {}
            }
            if tag == backend::READY {
                *is_logged_in = true;
                if *status == TxStatus::Idle && replies.is_empty() {
                    suspicion.on_idle();
                }
            }
            Ok::<(), WireError>(())
        });
        *is_broken |= found.is_err();
        self.is_altered.store(suspicion.is_altered(), Ordering::Relaxed);
    }

    /// What the wire says now, and why the session is taken to hold state, if it is.
    pub(super) fn standing(&self) -> (WireState, Option<LeftState>) {
        let heard = self.heard.lock();
        (heard.state(), heard.suspicion.left())
    }

    /// Where the last ReadyForQuery said that the transaction stands.
    pub(super) fn status(&self) -> TxStatus {
        self.heard.lock().status
    }

    /// How far what was written has been answered.
    pub(super) fn answered(&self) -> Answered {
        let heard = self.heard.lock();
        if heard.replies.is_copying_in() {
            Answered::CopyBegun
        } else if heard.replies.is_empty() {
            Answered::All
        } else {
            Answered::Partly
        }
    }

    /// Whether the backend has ended the login by saying that it is ready.
    pub(super) fn is_logged_in(&self) -> bool {
        self.heard.lock().is_logged_in
    }

    /// Takes the session to hold no state, whatever was said so far.
    pub(super) fn disregard_state(&self) {
        self.heard.lock().suspicion.clear();
        self.is_altered.store(false, Ordering::Relaxed);
    }

    /// Whether settings may be others than those at the login, be it for the rest of the
    /// transaction, under which a text may mean something else.
    pub(super) fn is_altered(&self) -> bool {
        self.is_altered.load(Ordering::Relaxed)
    }

    /// The tag of the last command that completed: `UPDATE 3`, `ROLLBACK`.
    pub(super) fn last_tag(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().last_tag).into_owned()
    }

    /// The process of the backend on its server; `None` behind a pooler, where each transaction
    /// may have another.
    pub(super) fn process_id(&self) -> Option<u32> {
        if self.is_pooled() { None } else { self.heard.lock().process_id }
    }

    /// Takes a pooler to be in between if the process that answers is not the one that was named
    /// at the login: a pooler makes up a number of its own, for it has no process yet. Asked
    /// while nothing is under way.
    pub(super) fn find_pooler(&self, answering: Option<u32>) {
        let is_pooled = answering.is_some() && answering != self.heard.lock().process_id;
        self.is_pooled.store(is_pooled, Ordering::Relaxed);
    }

    /// Whether there is a pooler between this connection and its backends.
    pub(super) fn is_pooled(&self) -> bool {
        self.is_pooled.load(Ordering::Relaxed)
    }

    /// Whether an error has announced the end of the session.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Statements that have left in full and so may have run.
    pub(super) fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Errors the backend has reported.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// To wait for a ReadyForQuery, or for the end.
    pub(super) fn ready(&self) -> Ready<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Ready(self)
    }

    /// The connection has ended.
    pub(super) fn on_end(&self) {
        self.ready.notify_waiters();
    }
}

/// Somebody who waits for a backend, or is about to.
pub(super) struct Ready<'t>(&'t Tap);

impl Ready<'_> {
    /// Signalled at each ReadyForQuery, and at the end. To be enabled before [`Tap::standing`] is
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

impl Heard {
    fn state(&self) -> WireState {
        if self.is_broken {
            return WireState::Broken;
        }
        // Skipping: it has failed a copy and waits for a Sync, which the driver has yet to write.
        if self.is_write_stalled || self.is_holding || self.replies.is_skipping() {
            return WireState::Owing;
        }
        // Closing a prepared statement changes nothing; the driver does it in the background.
        let mut owed = self.replies.pending().peekable();
        let starts_harmless = matches!(owed.peek(), None | Some(Expect::Close(_)));
        if starts_harmless && owed.all(|owed| matches!(owed, Expect::Close(_) | Expect::Sync(_))) {
            WireState::Settled(self.status)
        } else {
            WireState::Owing
        }
    }
}

/// The reply that a message of the driver will have.
pub(super) fn expected(tag: u8) -> Option<Expect> {
    Some(match tag {
        frontend::QUERY | frontend::FUNCTION_CALL => Expect::Query(Show::Client),
        frontend::PARSE => Expect::Parse { show: Show::Client, statement: None },
        frontend::BIND => Expect::Bind,
        frontend::DESCRIBE => Expect::Describe,
        frontend::EXECUTE => Expect::Execute,
        frontend::CLOSE => Expect::Close(Show::Client),
        frontend::SYNC => Expect::Sync(Show::Client),
        backend::COPY_DONE | frontend::COPY_FAIL => Expect::CopyEnd,
        _ => return None,
    })
}

/// Statements that have left and are not answered in full.
fn owed_statements(replies: &Replies) -> u64 {
    let is_statement = |owed: &Expect| matches!(owed, Expect::Query(_) | Expect::Execute);
    replies.pending().filter(is_statement).count() as u64
}

#[cfg(test)]
mod tests;
