//! Looks at what a client without a backend sends, to tell what kind of backend it needs.
//!
//! In: the bytes received so far. Out: wait for more, answer without a backend, or the access
//! that the whole batch (up to Sync, or one Query) needs.
//!
//! A batch goes to one backend, because until Sync it is one transaction. It may go to a
//! replica only if each of its statements may; when in doubt (a Flush before the Sync, a batch
//! longer than [`LONGEST`], text that is not UTF-8, a statement we do not know), it goes to the
//! primary.

use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::frontend::{self, Bind, Parse, Target};
use pgherd_wire::{Frame, HEADER, WireError};

use super::ClientRelay;

/// The longest batch that is looked at before it is sent: 64 KiB. Longer ones are written by
/// programs that load data, which goes to the primary anyway.
pub const LONGEST: usize = 64 * 1024;

/// What a batch needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// May run on a replica.
    ReadOnly,
    /// Needs the primary.
    ReadWrite,
}

/// What to do with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survey {
    /// The batch is not complete: read on.
    NeedMore,
    /// Acquire a backend and relay the bytes.
    Acquire(Access),
    /// Skip this many bytes, of which some may still be to come, and answer nothing: CopyData
    /// behind a failed COPY, or Flush.
    Skip(usize),
    /// Skip this many bytes and answer ReadyForQuery: a Sync with nothing before it.
    Ready(usize),
    /// The client says goodbye.
    Terminate,
}

/// Answers whether a statement's text may run on a replica.
pub trait MayRead {
    /// `sql` is the whole text, which may hold several statements.
    fn may_read(&mut self, sql: &str) -> bool;
}

/// Surveys `input`, which starts at a message. Without `routes` (there are no replicas, or
/// reads do not go there) nothing but the first header is looked at, and whether its message is
/// there, or [`LONGEST`] of it.
///
/// # Errors
/// [`WireError`] if the bytes are not the protocol.
pub fn survey(
    client: &ClientRelay,
    input: &[u8],
    routes: Option<&mut dyn MayRead>,
) -> Result<Survey, WireError> {
    let Some(first) = Frame::read(input, client.limit.0)? else { return Ok(Survey::NeedMore) };
    match first.tag {
        frontend::TERMINATE => return Ok(Survey::Terminate),
        frontend::SYNC if input.len() < first.size => return Ok(Survey::NeedMore),
        frontend::SYNC => return Ok(Survey::Ready(first.size)),
        frontend::FLUSH
        | pgherd_wire::backend::COPY_DONE
        | frontend::COPY_FAIL
        | pgherd_wire::backend::COPY_DATA => {
            return Ok(Survey::Skip(first.size));
        }
        frontend::QUERY
        | frontend::FUNCTION_CALL
        | frontend::PARSE
        | frontend::BIND
        | frontend::DESCRIBE
        | frontend::EXECUTE
        | frontend::CLOSE => {}
        // At once: neither the rest of it nor a backend is needed to refuse it.
        other => return Err(frontend::unknown(other)),
    }
    // Whoever sends the beginning of a message and then nothing is not to hold a backend.
    if input.len() < first.size.min(LONGEST) {
        return Ok(Survey::NeedMore);
    }
    let Some(judge) = routes else { return Ok(Survey::Acquire(Access::ReadWrite)) };
    let mut at = 0;
    while let Some(frame) = Frame::read(&input[at..], client.limit.0)? {
        if frame.size > LONGEST && input.len() >= LONGEST {
            return Ok(Survey::Acquire(Access::ReadWrite));
        }
        let Some(message) = input.get(at..at + frame.size) else { break };
        let body = &message[HEADER..];
        let (reads, ends) = match frame.tag {
            frontend::QUERY => {
                let sql = body.strip_suffix(&[0]).unwrap_or(body);
                (reads(judge, sql), true)
            }
            frontend::PARSE => (reads(judge, Parse::read(body)?.sql), false),
            frontend::BIND => {
                let name = Bind::read(body)?.statement;
                (knows(client, judge, &input[..at], &input[at..], name), false)
            }
            frontend::DESCRIBE => match Target::read(frame.tag, body)? {
                Target::Statement(name) => {
                    (knows(client, judge, &input[..at], &input[at..], name), false)
                }
                Target::Portal(_) => (true, false),
            },
            frontend::EXECUTE | frontend::CLOSE => (true, false),
            frontend::SYNC => (true, true),
            _ => (false, true),
        };
        match (reads, ends) {
            (false, _) => return Ok(Survey::Acquire(Access::ReadWrite)),
            (true, true) => return Ok(Survey::Acquire(Access::ReadOnly)),
            (true, false) => at += frame.size,
        }
    }
    if input.len() > LONGEST {
        return Ok(Survey::Acquire(Access::ReadWrite));
    }
    Ok(Survey::NeedMore)
}

fn reads(judge: &mut dyn MayRead, sql: &[u8]) -> bool {
    std::str::from_utf8(sql).is_ok_and(|sql| judge.may_read(sql))
}

// A statement parsed earlier in the same batch has been judged there. Of a name that is parsed later
// it is not known what it was: where the batch was sent already, it means what it does behind it.
fn knows(
    client: &ClientRelay,
    judge: &mut dyn MayRead,
    before: &[u8],
    behind: &[u8],
    name: &[u8],
) -> bool {
    if parses(before, name) {
        return true;
    }
    if parses(behind, name) {
        return false;
    }
    if name.is_empty() {
        return client.statements.unnamed().is_some_and(|unnamed| reads(judge, unnamed.sql()));
    }
    client.statements.get(name).is_some_and(|statement| reads(judge, &statement.sql))
}

fn parses(mut batch: &[u8], name: &[u8]) -> bool {
    while let Ok(Some(frame)) = Frame::read(batch, MAX_MESSAGE) {
        let Some((message, rest)) = batch.split_at_checked(frame.size) else { break };
        if frame.tag == frontend::PARSE
            && Parse::read(&message[HEADER..]).is_ok_and(|parse| parse.name == name)
        {
            return true;
        }
        batch = rest;
    }
    false
}
