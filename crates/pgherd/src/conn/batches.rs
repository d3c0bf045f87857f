//! Lets what the driver writes leave in batches that each end understands.
//!
//! In: what the driver writes, and how far it has been answered. Out: what may be written now.
//! A batch ends with a Sync, or is a Query. Three things go wrong otherwise:
//!
//! - A Sync behind the Execute of a copy is read by the backend before the copy, in it, or after it
//!   has failed, and so is answered or not. The driver writes another one at the copy's end and
//!   counts on one answer for both: a second one it takes for that of the next request.
//! - PgBouncer 1.18 takes a backend away when as many answers have come as it has seen Syncs and
//!   Queries, also when a part of the next batch has passed by then: the rest goes to another
//!   backend, from the middle of a message even.
//! - It forgets how many that are when a copy ends. What was sent behind the copy by then is
//!   answered to nobody, or to somebody else.
//!
//! So the first Sync of a copy waits until it is known whether the backend copies; what is behind
//! a copy waits until that has been answered; and behind a pooler so does each batch.
//!
//! | stage     | begins with                           | what the driver writes                   |
//! |-----------|---------------------------------------|------------------------------------------|
//! | `Open`    | the answer to all that was written    | passes; behind a pooler one batch. Data and end of a copy that was refused are left out |
//! | `Bound`   | Bind of a statement that may copy     | passes, up to the Sync: Flush instead    |
//! | `Opening` | that Flush                            | is held                                  |
//! | `In`      | CopyInResponse                        | passes                                   |
//! | `Ending`  | CopyDone or CopyFail                  | passes, up to the Sync                   |
//! | `Closing` | that Sync; ours if no data are wanted; behind a pooler any batch | is held       |

use std::collections::HashSet;

use pgherd_core::sql::may_copy;
use pgherd_wire::frame::{HEADER, MAX_MESSAGE, put};
use pgherd_wire::frontend::{self, Bind, Parse, Target};
use pgherd_wire::{Frame, WireError, backend};

use super::cutter::{Cutter, Piece};

/// See the module's header. Begins between two messages, with nothing owed.
#[derive(Debug, Default)]
pub(super) struct Batches {
    one_by_one: bool,
    cutter: Cutter,
    // Names of prepared statements that may copy; empty for the unnamed one.
    copying: HashSet<Vec<u8>>,
    // There were more of them: any may copy.
    any_copies: bool,
    stage: Stage,
    // The type of the message that was left out last: of a copy that had been refused.
    dropped: Option<u8>,
    held: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Open,
    Bound,
    Opening,
    In,
    Ending,
    Closing,
}

/// Names kept, at most: the driver closes what it has prepared, but not what was refused. Beyond
/// that, what does not copy costs a round trip more.
const NAMES_LIMIT: usize = 1000;

/// How far the backend has answered what was written to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answered {
    /// All of it.
    All,
    /// It asks for the data of a copy.
    CopyBegun,
    /// Something is still to come.
    Partly,
}

impl Batches {
    /// From now on there is a pooler in between.
    pub(super) fn leave_one_by_one(&mut self) {
        self.one_by_one = true;
    }

    /// Takes what the driver writes and appends what may be written now.
    ///
    /// # Errors
    /// [`WireError`] for what is no message.
    pub(super) fn outgoing(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        while !self.is_waiting() {
            let names_matter = self.names_matter();
            let wanted = |tag| is_wanted(tag, names_matter);
            let Some(piece) = self.cutter.next(&mut bytes, wanted)? else { return Ok(()) };
            match piece {
                Piece::Whole(message) => {
                    self.read(message[0], &message[HEADER..])?;
                    self.pass(message[0], &message, out);
                }
                Piece::Header(header) => self.pass(header[0], &header, out),
                Piece::Body(_) if self.dropped.is_some() => {}
                Piece::Body(part) => out.extend_from_slice(part),
            }
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Whether what comes next may be written as it is, if [`Self::change_nothing`] says so of it.
    pub(super) fn are_quiet(&self) -> bool {
        let is_open = self.stage == Stage::Open && self.dropped.is_none() && self.held.is_empty();
        is_open && !self.one_by_one && self.cutter.is_between()
    }

    /// Whether there are prepared statements that may copy.
    pub(super) fn names_matter(&self) -> bool {
        self.any_copies || !self.copying.is_empty()
    }

    /// Whether these are whole messages that change nothing here where all is quiet, which nearly all
    /// are.
    pub(super) fn change_nothing(mut bytes: &[u8], names_matter: bool) -> bool {
        while let Ok(Some(frame)) = Frame::read(bytes, MAX_MESSAGE) {
            let is_copy =
                matches!(frame.tag, backend::COPY_DATA | backend::COPY_DONE | frontend::COPY_FAIL);
            if is_copy || is_wanted(frame.tag, names_matter) {
                return false;
            }
            let Some((_, after)) = bytes.split_at_checked(frame.size) else { return false };
            bytes = after;
        }
        bytes.is_empty()
    }

    /// Takes note of what a message says about statements.
    fn read(&mut self, tag: u8, body: &[u8]) -> Result<(), WireError> {
        match tag {
            frontend::PARSE => {
                let Parse { name, sql, .. } = Parse::read(body)?;
                self.copying.remove(name);
                if may_copy(sql) {
                    self.any_copies |= self.copying.len() == NAMES_LIMIT;
                    if !self.any_copies {
                        self.copying.insert(name.to_owned());
                    }
                }
            }
            frontend::BIND => {
                let Bind { statement, .. } = Bind::read(body)?;
                if self.any_copies || self.copying.contains(statement) {
                    self.stage = Stage::Bound;
                }
            }
            frontend::CLOSE => {
                if let Target::Statement(name) = Target::read(tag, body)? {
                    self.copying.remove(name);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Passes a message on, or its header.
    fn pass(&mut self, tag: u8, message: &[u8], out: &mut Vec<u8>) {
        let dropped = self.dropped.take();
        match (tag, self.stage) {
            (frontend::SYNC, _)
                if matches!(dropped, Some(backend::COPY_DONE | frontend::COPY_FAIL)) =>
            {
                return;
            }
            (frontend::SYNC, Stage::Bound) => {
                self.stage = Stage::Opening;
                put(out, frontend::FLUSH, |_| {});
                return;
            }
            (frontend::SYNC, Stage::Ending) => self.stage = Stage::Closing,
            (frontend::SYNC | frontend::QUERY | frontend::FUNCTION_CALL, Stage::Open)
                if self.one_by_one =>
            {
                self.stage = Stage::Closing;
            }
            (backend::COPY_DATA | backend::COPY_DONE | frontend::COPY_FAIL, Stage::Open) => {
                self.dropped = Some(tag);
                return;
            }
            (backend::COPY_DONE | frontend::COPY_FAIL, Stage::In) => self.stage = Stage::Ending,
            _ => {}
        }
        out.extend_from_slice(message);
    }

    /// Whether what comes waits for answers.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Opening | Stage::Closing) && !self.cutter.is_inside()
    }

    /// Goes on if the backend has answered enough, and appends what may be written then; whether
    /// it does. To be asked while nothing that was appended is still unwritten.
    ///
    /// # Errors
    /// As [`Self::outgoing`].
    pub(super) fn advance(
        &mut self,
        answered: Answered,
        out: &mut Vec<u8>,
    ) -> Result<bool, WireError> {
        self.stage = match (self.stage, answered) {
            (Stage::Opening, Answered::CopyBegun) => Stage::In,
            // It was refused, or gives data, or is no copy.
            (Stage::Opening, Answered::All) => {
                self.stage = Stage::Closing;
                put(out, frontend::SYNC, |_| {});
                return Ok(true);
            }
            // The driver does not know how to go on with a copy that a Query has begun: whatever it
            // writes is an error.
            (Stage::Closing, Answered::All | Answered::CopyBegun) => Stage::Open,
            _ => return Ok(false),
        };
        let held = std::mem::take(&mut self.held);
        self.outgoing(&held, out)?;
        Ok(true)
    }

    /// The bytes that wait.
    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

/// Whether a message of this type says something about statements that may copy.
fn is_wanted(tag: u8, names_matter: bool) -> bool {
    match tag {
        frontend::PARSE => true,
        frontend::BIND | frontend::CLOSE => names_matter,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
