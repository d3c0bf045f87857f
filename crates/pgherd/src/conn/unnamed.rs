//! Prepared statements where each transaction may have another backend.
//!
//! In: what the driver writes, and what comes back. Out: the same conversation with only the
//! unnamed statement in it.
//!
//! A pooler in transaction mode that knows nothing of prepared statements (PgBouncer before 1.21)
//! gives the Parse of a named statement to one backend and its Bind to the next. So a named
//! statement is parsed as the unnamed one, its text is kept, and each Bind is preceded by that
//! Parse, in the same batch and therefore on the same backend. Its ParseComplete is kept from
//! the driver. Nothing stays behind on a backend.
//!
//! | the driver writes  | the backend gets               | the driver reads          |
//! |--------------------|--------------------------------|---------------------------|
//! | Parse `s1`         | Parse unnamed                  | all of it                 |
//! | Describe `s1`      | (Parse,) Describe unnamed      | all but the ParseComplete |
//! | Bind `s1`          | (Parse,) Bind unnamed          | all but the ParseComplete |
//! | Close `s1`         | nothing                        | an answer that is made up |
//!
//! Parse in parentheses: unless it has just been sent, in the same batch. A statement that is held
//! while a migration changes the types of its columns is read as what it was when it was prepared.
//!
//! Answers can be made up for batches that leave one by one, each when all before it has been
//! answered, and hold nothing but such Closes.

use std::collections::HashMap;

use pgherd_wire::frame::{HEADER, MAX_MESSAGE};
use pgherd_wire::frontend::{self, Bind, Parse, Target};
use pgherd_wire::replies::{Expect, Replies, Settled, Show};
use pgherd_wire::{Frame, WireError, backend};

use super::cutter::{Cutter, Piece};
use super::tap::expected;

/// See the module's header. Both sides begin between two messages, with nothing owed.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    // By the driver's name.
    statements: HashMap<Vec<u8>, Statement>,
    // Names of those that are being parsed, by a number of their own. The driver closes none that
    // was refused.
    parsing: HashMap<u64, Vec<u8>>,
    serial: u64,
    // The one that the backend has as its unnamed statement for the rest of the batch.
    parsed: Option<Vec<u8>>,
    cutter: Cutter,
    // Whether a message of the batch has left.
    is_begun: bool,
    // Closes with which the batch begins, and that have not left.
    closes: usize,
    // The same, of batches that held nothing else.
    closed: Vec<usize>,
    replies: Replies,
    header: Vec<u8>,
    rest_in: usize,
    is_hidden: bool,
}

#[derive(Debug)]
struct Statement {
    sql: Vec<u8>,
    types: Vec<u8>,
}

impl Unnamed {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Takes what the driver writes and appends what is to be written instead.
    pub(super) fn outgoing(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), WireError> {
        while let Some(piece) = self.cutter.next(&mut bytes, names_statement)? {
            match piece {
                Piece::Whole(message) => self.change(message[0], &message[HEADER..], out)?,
                Piece::Header(header) => self.pass(header, out),
                Piece::Body(part) => out.extend_from_slice(part),
            }
        }
        Ok(())
    }

    /// For each batch that held nothing but Closes of statements and was left out: how many.
    pub(super) fn take_closed(&mut self) -> Vec<usize> {
        std::mem::take(&mut self.closed)
    }

    /// Passes the header of a message on; its body follows as it comes.
    fn pass(&mut self, header: [u8; HEADER], out: &mut Vec<u8>) {
        let tag = header[0];
        if tag == frontend::SYNC && self.closes > 0 {
            self.closed.push(std::mem::take(&mut self.closes));
            return;
        }
        self.begin(out);
        if matches!(tag, frontend::SYNC | frontend::QUERY) {
            self.parsed = None;
            self.is_begun = false;
        }
        if let Some(expect) = expected(tag) {
            self.expect(expect);
        }
        out.extend_from_slice(&header);
    }

    /// Something else than Closes leaves, which they precede.
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.is_begun = true;
        for _ in 0..std::mem::take(&mut self.closes) {
            Target::Statement(b"").put(out, frontend::CLOSE);
            self.expect(Expect::Close(Show::Client));
        }
    }

    fn change(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        if tag == frontend::CLOSE
            && let Target::Statement(name) = Target::read(tag, body)?
        {
            self.statements.remove(name);
            self.closes += 1;
            if self.is_begun {
                self.parsed = None;
                self.begin(out);
            }
            return Ok(());
        }
        self.begin(out);
        match tag {
            frontend::PARSE => {
                let Parse { name, sql, types } = Parse::read(body)?;
                frontend::put_parse(out, b"", sql, types);
                self.parsed = Some(name.to_owned());
                if !name.is_empty() {
                    let statement = Statement { sql: sql.to_owned(), types: types.to_owned() };
                    self.statements.insert(name.to_owned(), statement);
                    self.serial += 1;
                    self.parsing.insert(self.serial, name.to_owned());
                    let statement = Some(self.serial);
                    self.expect(Expect::Parse { show: Show::Client, statement });
                    return Ok(());
                }
            }
            frontend::BIND => {
                let Bind { portal, statement, rest } = Bind::read(body)?;
                self.parse_again(statement, out);
                frontend::put_bind(out, portal, b"", rest);
            }
            frontend::DESCRIBE => {
                let target = Target::read(tag, body)?;
                if let Target::Statement(name) = target {
                    self.parse_again(name, out);
                }
                unnamed(target).put(out, tag);
            }
            // Close of a portal.
            _ => Target::read(tag, body)?.put(out, tag),
        }
        if let Some(expect) = expected(tag) {
            self.expect(expect);
        }
        Ok(())
    }

    fn parse_again(&mut self, name: &[u8], out: &mut Vec<u8>) {
        if self.parsed.as_deref() == Some(name) {
            return;
        }
        // An unknown name is the driver's mistake, and the backend will say so.
        if let Some(Statement { sql, types }) = self.statements.get(name) {
            frontend::put_parse(out, b"", sql, types);
            self.parsed = Some(name.to_owned());
            self.expect(Expect::Parse { show: Show::Nobody, statement: None });
        }
    }

    fn expect(&mut self, expect: Expect) {
        self.replies.expect(expect);
        while self.replies.next_synthetic().is_some() {}
    }

    fn note_parsed(&mut self, settled: Option<Settled>) {
        if let Some(Settled::Parsed(statement)) = settled {
            self.parsing.remove(&statement);
        }
        for refused in self.replies.take_dropped() {
            if let Some(name) = self.parsing.remove(&refused) {
                self.statements.remove(&name);
            }
        }
    }

    /// Takes what has come, moves to the front what the driver is to read, and answers how much
    /// that is.
    pub(super) fn incoming(&mut self, bytes: &mut [u8]) -> Result<usize, WireError> {
        let (mut from, mut to) = (0, 0);
        while from < bytes.len() {
            let here = if self.rest_in > 0 {
                let here = (bytes.len() - from).min(self.rest_in);
                self.rest_in -= here;
                here
            } else {
                if self.header.is_empty() {
                    let verdict = self.replies.on_reply(bytes[from])?;
                    while self.replies.next_synthetic().is_some() {}
                    self.note_parsed(verdict.settled);
                    // What comes unasked in between is for the driver.
                    let is_parse_complete = bytes[from] == backend::PARSE_COMPLETE;
                    self.is_hidden = is_parse_complete && verdict.show == Show::Nobody;
                }
                let here = (bytes.len() - from).min(HEADER - self.header.len());
                self.header.extend_from_slice(&bytes[from..from + here]);
                if let Some(frame) = Frame::read(&self.header, MAX_MESSAGE)? {
                    self.rest_in = frame.size - HEADER;
                    self.header.clear();
                }
                here
            };
            if !self.is_hidden {
                bytes.copy_within(from..from + here, to);
                to += here;
            }
            from += here;
        }
        Ok(to)
    }
}

fn names_statement(tag: u8) -> bool {
    matches!(tag, frontend::PARSE | frontend::BIND | frontend::DESCRIBE | frontend::CLOSE)
}

fn unnamed(target: Target<'_>) -> Target<'_> {
    match target {
        Target::Statement(_) => Target::Statement(b""),
        portal @ Target::Portal(_) => portal,
    }
}

#[cfg(test)]
mod tests;
