//! Listens in on one connection and knows where its backend stands.
//!
//! In: the bytes that were really written to and read from the socket. Out, as [`Heard`]: the
//! transaction status, the last command tag, how many statements have left, what is still owed, and
//! whether the session holds state that another user must not find.

use std::sync::Arc;

use pgherd_core::sql::Remains;
use pgherd_wire::backend::{ErrorFields, Severity};
use pgherd_wire::replies::{Expect, Replies, Show};
use pgherd_wire::{TxStatus, WireError, backend, frontend};

use super::batches::Answered;
use super::heard::{Facts, Heard, WireState};
use super::scan::Scan;
use super::suspicion::{Classes, Evidence, Suspicion};

/// See the module's header.
#[derive(Debug)]
pub(super) struct Tap {
    heard: Arc<Heard>,
    outgoing: Scan,
    incoming: Scan,
    replies: Replies,
    // There may be an end of a copy among them.
    ends_copies: bool,
    is_logged_in: bool,
    status: TxStatus,
    statements: u64,
    errors: u64,
    last_tag: Vec<u8>,
    suspicion: Suspicion,
    is_holding: bool,
    is_broken: bool,
}

const AT_LOGIN: Facts = Facts {
    state: WireState::Settled(TxStatus::Idle),
    answered: Answered::All,
    remains: Remains::Nothing,
    evidence: Evidence::Tag,
    is_altered: false,
    rest: [0; 3],
};

impl Tap {
    /// `classes` tell what texts leave behind; `None` for a session that is never lent.
    pub(super) fn new(classes: Option<Classes>) -> Self {
        Self {
            heard: Arc::new(Heard::new(AT_LOGIN)),
            outgoing: Scan::from_startup(),
            incoming: Scan::new(),
            replies: Replies::new(),
            ends_copies: false,
            is_logged_in: false,
            status: TxStatus::Idle,
            statements: 0,
            errors: 0,
            last_tag: Vec::new(),
            suspicion: Suspicion::new(classes),
            is_holding: false,
            is_broken: false,
        }
    }

    /// What it has heard, for all who ask.
    pub(super) fn heard(&self) -> &Arc<Heard> {
        &self.heard
    }

    /// Bytes were accepted by the socket.
    pub(super) fn on_written(&mut self, bytes: &[u8]) {
        self.follow();
        self.is_broken |= self.read_along(bytes).is_err();
        self.tell();
    }

    fn read_along(&mut self, mut bytes: &[u8]) -> Result<(), WireError> {
        while !bytes.is_empty() {
            if let Some((tag, body, after)) = self.outgoing.whole(bytes) {
                self.on_message(tag, body)?;
                bytes = after;
            } else {
                bytes = self.gather_message(bytes)?;
            }
        }
        Ok(())
    }

    /// Returns what is behind it.
    #[cold]
    fn gather_message<'b>(&mut self, mut bytes: &'b [u8]) -> Result<&'b [u8], WireError> {
        // A Bind is as long as its parameters: it is gathered only where it may tell something.
        let reads_names = self.suspicion.reads_names();
        let is_wanted = |tag| match tag {
            frontend::QUERY | frontend::PARSE => true,
            frontend::BIND | frontend::EXECUTE | frontend::CLOSE => reads_names,
            _ => false,
        };
        if let Some(message) = self.outgoing.gather(&mut bytes, is_wanted)? {
            self.on_message(message.tag, &message.body)?;
        }
        Ok(bytes)
    }

    /// A message of the driver has left. Of some types the body is there only where it may tell
    /// something.
    fn on_message(&mut self, tag: u8, body: &[u8]) -> Result<(), WireError> {
        self.suspicion.on_sent(tag, body, self.statements)?;
        if let Some(expect) = expected(tag) {
            if matches!(expect, Expect::Query(_) | Expect::Execute) {
                self.statements += 1;
                self.heard.tell_statements(self.statements);
            }
            self.replies.expect(expect);
            self.ends_copies |= expect == Expect::CopyEnd;
        }
        Ok(())
    }

    /// Something waits to be written, for the socket or for an answer; or nothing does any more.
    pub(super) fn on_held(&mut self, is_holding: bool) {
        self.is_holding = is_holding;
        self.tell();
    }

    /// Bytes were read from the socket.
    pub(super) fn on_read(&mut self, bytes: &[u8]) {
        self.follow();
        let mut is_ready = false;
        self.is_broken |= self.listen(bytes, &mut is_ready).is_err();
        self.tell();
        if is_ready || self.is_broken {
            self.heard.tell_ready();
        }
    }

    fn listen(&mut self, mut bytes: &[u8], is_ready: &mut bool) -> Result<(), WireError> {
        while !bytes.is_empty() {
            if let Some((tag, body, after)) = self.incoming.whole(bytes) {
                *is_ready |= self.on_reply(tag, body)?;
                bytes = after;
            } else {
                bytes = self.gather_reply(bytes, is_ready)?;
            }
        }
        Ok(())
    }

    /// Returns what is behind it.
    #[cold]
    fn gather_reply<'b>(
        &mut self,
        mut bytes: &'b [u8],
        is_ready: &mut bool,
    ) -> Result<&'b [u8], WireError> {
        let is_wanted = |tag| {
            matches!(
                tag,
                backend::READY | backend::COMMAND_COMPLETE | backend::KEY_DATA | backend::ERROR
            )
        };
        if let Some(message) = self.incoming.gather(&mut bytes, is_wanted)? {
            *is_ready |= self.on_reply(message.tag, &message.body)?;
        }
        Ok(bytes)
    }

    /// A message of the backend has come; whether it says that it is ready. The body is there where
    /// it is read here.
    // For each message there is: in the loop.
    #[inline(always)]
    fn on_reply(&mut self, tag: u8, body: &[u8]) -> Result<bool, WireError> {
        match tag {
            // It settles nothing, and there may be millions.
            backend::DATA_ROW => return Ok(false),
            backend::READY => return self.on_ready(body).map(|()| true),
            backend::COMMAND_COMPLETE => self.on_tag(body.strip_suffix(b"\0").unwrap_or(body)),
            backend::KEY_DATA => self.heard.tell_process_id(backend::key_data(body)?.0),
            backend::ERROR => self.on_error(body)?,
            _ => {}
        }
        if self.is_logged_in {
            self.replies.on_reply(tag)?;
            if self.ends_copies {
                self.pass_ends_of_copies();
            }
        }
        Ok(false)
    }

    fn on_ready(&mut self, body: &[u8]) -> Result<(), WireError> {
        self.status = backend::ready(body)?;
        if std::mem::replace(&mut self.is_logged_in, true) {
            self.replies.on_reply(backend::READY)?;
            if self.ends_copies {
                self.pass_ends_of_copies();
            }
        }
        if self.status == TxStatus::Idle && self.replies.is_empty() {
            self.suspicion.on_idle();
        }
        Ok(())
    }

    fn on_tag(&mut self, tag: &[u8]) {
        // Most often it is as the one before, which who is to know it knows.
        if self.last_tag != tag {
            self.last_tag.clear();
            self.last_tag.extend_from_slice(tag);
            self.heard.tell_last_tag(tag);
        }
        self.suspicion.on_tag(tag, || self.statements - owed_statements(&self.replies));
    }

    #[cold]
    fn on_error(&mut self, body: &[u8]) -> Result<(), WireError> {
        self.errors += 1;
        self.heard.tell_errors(self.errors);
        if matches!(ErrorFields::read(body)?.severity, Severity::Fatal | Severity::Panic) {
            self.heard.tell_over();
        }
        Ok(())
    }

    /// The backend does not answer them; nothing is made up here.
    #[cold]
    fn pass_ends_of_copies(&mut self) {
        while self.replies.next_synthetic().is_some() {}
        self.ends_copies = !self.replies.is_empty();
    }

    /// How far what was written has been answered.
    pub(super) fn answered(&self) -> Answered {
        if self.replies.is_copying_in() {
            Answered::CopyBegun
        } else if self.replies.is_empty() {
            Answered::All
        } else {
            Answered::Partly
        }
    }

    /// Where the last ReadyForQuery said that the transaction stands.
    pub(super) fn status(&self) -> TxStatus {
        self.status
    }

    /// Whether the backend has ended the login by saying that it is ready.
    pub(super) fn is_logged_in(&self) -> bool {
        self.is_logged_in
    }

    fn state(&self) -> WireState {
        if self.is_broken {
            return WireState::Broken;
        }
        // Skipping: it has failed a copy and waits for a Sync, which the driver has yet to write.
        if self.is_holding || self.replies.is_skipping() {
            return WireState::Owing;
        }
        // Closing a prepared statement changes nothing; the driver does it in the background.
        let is_harmless = match self.replies.next_owed() {
            None => true,
            Some(Expect::Close(_)) => {
                let mut owed = self.replies.pending();
                owed.all(|owed| matches!(owed, Expect::Close(_) | Expect::Sync(_)))
            }
            Some(_) => false,
        };
        if is_harmless { WireState::Settled(self.status) } else { WireState::Owing }
    }

    /// Takes the session to hold no state, if it was told to.
    fn follow(&mut self) {
        if self.heard.is_to_disregard() {
            self.suspicion.clear();
            self.tell();
            self.heard.tell_disregarded();
        }
    }

    fn tell(&self) {
        let left = self.suspicion.left();
        self.heard.tell(Facts {
            state: self.state(),
            answered: self.answered(),
            remains: left.map_or(Remains::Nothing, |left| left.remains),
            evidence: left.map_or(Evidence::Tag, |left| left.evidence),
            is_altered: self.suspicion.is_altered(),
            rest: [0; 3],
        });
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
