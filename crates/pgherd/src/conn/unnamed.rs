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
//! | Close `s1`         | Close unnamed                  | all of it                 |
//!
//! Parse in parentheses: unless it has just been sent, in the same batch. A statement that is held
//! while a migration changes the types of its columns is read as what it was when it was prepared.

use std::collections::HashMap;

use pgherd_wire::frame::{HEADER, MAX_MESSAGE};
use pgherd_wire::frontend::{self, Bind, Parse, Target};
use pgherd_wire::replies::{Expect, Replies, Show};
use pgherd_wire::{Frame, WireError, backend};

use super::tap::expected;

/// See the module's header. Both sides begin between two messages, with nothing owed.
#[derive(Debug, Default)]
pub(super) struct Unnamed {
    // By the driver's name.
    statements: HashMap<Vec<u8>, Statement>,
    // The one that the backend has as its unnamed statement for the rest of the batch.
    parsed: Option<Vec<u8>>,
    // A message to change, of which a part has come; or the header of any.
    partial: Vec<u8>,
    // Bytes still to come of a message that is passed on as it is.
    rest_out: usize,
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
        while !bytes.is_empty() {
            if self.rest_out > 0 {
                let (here, later) = bytes.split_at(bytes.len().min(self.rest_out));
                out.extend_from_slice(here);
                self.rest_out -= here.len();
                bytes = later;
                continue;
            }
            if self.partial.len() < HEADER {
                bytes = fill(&mut self.partial, HEADER, bytes);
            }
            let Some(frame) = Frame::read(&self.partial, MAX_MESSAGE)? else { return Ok(()) };
            let tag = self.partial[0];
            if !names_statement(tag) {
                self.pass(tag, out);
                self.rest_out = frame.size - HEADER;
                continue;
            }
            bytes = fill(&mut self.partial, frame.size, bytes);
            if self.partial.len() == frame.size {
                let message = std::mem::take(&mut self.partial);
                self.change(tag, &message[HEADER..], out)?;
            }
        }
        Ok(())
    }

    /// Passes the header of a message on; its body follows as it comes.
    fn pass(&mut self, tag: u8, out: &mut Vec<u8>) {
        if matches!(tag, frontend::SYNC | frontend::QUERY) {
            self.parsed = None;
        }
        if let Some(expect) = expected(tag) {
            self.expect(expect);
        }
        out.append(&mut self.partial);
    }

    fn change(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), WireError> {
        match tag {
            frontend::PARSE => {
                let Parse { name, sql, types } = Parse::read(body)?;
                frontend::put_parse(out, b"", sql, types);
                self.parsed = Some(name.to_owned());
                if !name.is_empty() {
                    let statement = Statement { sql: sql.to_owned(), types: types.to_owned() };
                    self.statements.insert(name.to_owned(), statement);
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
            _ => {
                let target = Target::read(tag, body)?;
                if let Target::Statement(name) = target {
                    self.statements.remove(name);
                    self.parsed = None;
                }
                unnamed(target).put(out, tag);
            }
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
                    // What comes unasked in between is for the driver.
                    let is_parse_complete = bytes[from] == backend::PARSE_COMPLETE;
                    self.is_hidden = is_parse_complete && verdict.show == Show::Nobody;
                }
                let before = self.header.len();
                fill(&mut self.header, HEADER, &bytes[from..]);
                let here = self.header.len() - before;
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

/// Moves bytes to a buffer until it is this long; returns those that are left.
fn fill<'b>(buffer: &mut Vec<u8>, length: usize, bytes: &'b [u8]) -> &'b [u8] {
    let missing = length.saturating_sub(buffer.len());
    let (here, later) = bytes.split_at(bytes.len().min(missing));
    buffer.extend_from_slice(here);
    later
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
