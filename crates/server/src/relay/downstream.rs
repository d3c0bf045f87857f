//! From the backend to the client that holds it.

use pgherd_wire::backend::{self, ErrorFields, Severity};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::replies::{Expect, Settled, Show};
use pgherd_wire::{Frame, HEADER, WireError, frame, sqlstate};

use super::statements::BackendName;
use super::{BackendRelay, ClientRelay, Splice};

/// The longest message that is looked at as a whole, such as an error: 1 MiB. A longer one
/// passes through in parts.
const LONGEST_LOOKED_AT: usize = 1024 * 1024;

/// How far one call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes taken from the input.
    pub consumed: usize,
    /// Why it stopped.
    pub stop: Stop,
}

/// Why relaying stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The input is used up, or what is left of it is the beginning of a message.
    NeedMore,
    /// A Query or Sync was settled.
    Ready,
    /// A Query or Sync was settled with a transaction open, which is not told to a client that may
    /// not have one.
    Block,
    /// The next message in the input is an error, before which the client would see at most
    /// what precedes rows. The caller may withhold both, or call again with [`Errors::Pass`].
    FirstError,
}

/// What to do about an error before which the client would see at most what precedes rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// Stop before it.
    Stop,
    /// Let it through.
    Pass,
}

/// Something the backend said that concerns more than the two of them.
pub trait Observer {
    /// A parameter changed. `show` tells whether the client caused it.
    fn parameter(&mut self, name: &str, value: &str, show: Show);
    /// The body of a row that nobody but us asked for.
    fn row(&mut self, body: &[u8]);
}

/// Relays `input`, which continues where the last call stopped. What the client sees is left
/// in `out`; ranges in it are of `input`.
///
/// # Errors
/// [`WireError`] if the backend broke the protocol, or a limit: the connection is of no more use. What is
/// in `out` by then is still for the client, which may have seen the beginning of it.
pub fn relay(
    client: Option<&mut ClientRelay>,
    backend: &mut BackendRelay,
    input: &[u8],
    errors: Errors,
    observer: &mut dyn Observer,
    out: &mut Splice,
) -> Result<Progress, WireError> {
    let mut client = client;
    let mut at = 0;
    let stop = loop {
        if backend.passing.0 > 0 {
            let n = backend.passing.0.min(input.len() - at);
            if backend.passing.1 == Some(Show::Client) {
                out.forward(at..at + n);
            }
            backend.passing.0 -= n;
            at += n;
            if backend.passing.0 > 0 {
                break Stop::NeedMore;
            }
        }
        let rest = &input[at..];
        let frame = match Frame::read(rest, backend.limit.0) {
            // The limit is not for what we have asked ourselves.
            Err(_) if answers_us(backend) => Frame::read(rest, MAX_MESSAGE)?,
            read => read?,
        };
        let Some(frame) = frame else { break Stop::NeedMore };
        if backend.tells_rows && frame.tag == backend::DATA_ROW && frame.size <= LONGEST_LOOKED_AT {
            let Some(message) = rest.get(..frame.size) else { break Stop::NeedMore };
            if backend.replies.on_reply(frame.tag)?.show == Show::Nobody {
                observer.row(&message[HEADER..]);
                at += frame.size;
                continue;
            }
        }
        if frame.tag == backend::DATA_ROW || frame.tag == backend::COPY_DATA {
            at += pass(backend, rest, frame, at, out, None)?;
            continue;
        }
        let looked_at = matches!(
            frame.tag,
            backend::READY | backend::ERROR | backend::COMMAND_COMPLETE | backend::PARAMETER_STATUS
        );
        if !looked_at || frame.size > LONGEST_LOOKED_AT {
            let settled = backend.replies.on_reply(frame.tag)?;
            if frame.tag == backend::COPY_IN {
                backend.suspicion.copies_in();
            }
            match settled.settled {
                Some(Settled::Parsed(id)) => {
                    backend.statements.confirmed(id);
                    if settled.show == Show::Client
                        && let Some(client) = client.as_deref_mut()
                    {
                        client.statements.confirm();
                    }
                }
                Some(Settled::Unnamed) => {
                    backend.statements.unnamed_confirmed();
                    if let Some(client) = client.as_deref_mut() {
                        client.statements.confirm_unnamed();
                    }
                }
                None if frame.tag == backend::PARSE_COMPLETE => {
                    backend.statements.unnamed_confirmed();
                }
                Some(Settled::Ready) | None => {}
            }
            at += pass(backend, rest, frame, at, out, Some(settled.show))?;
            made_up(client.as_deref_mut(), backend, out);
            continue;
        }
        let Some(message) = rest.get(..frame.size) else { break Stop::NeedMore };
        let body = &message[HEADER..];
        if frame.tag == backend::ERROR && errors == Errors::Stop && !backend.shown {
            break Stop::FirstError;
        }
        let verdict = backend.replies.on_reply(frame.tag)?;
        match frame.tag {
            backend::READY => {
                backend.has_ended_stream = false;
                backend.tx = backend::ready(body)?;
                if backend.refuses_blocks && !backend.tx.is_idle() && verdict.show == Show::Client {
                    at += frame.size;
                    break Stop::Block;
                }
            }
            backend::COMMAND_COMPLETE => {
                note_command(client.as_deref_mut(), backend, body, verdict.show);
            }
            backend::PARAMETER_STATUS => {
                let (name, value) = backend::parameter_status(body)?;
                observer.parameter(name, value, verdict.show);
            }
            _ => {
                let error = ErrorFields::read(body)?;
                backend.said_goodbye |= ends_connection(&error) && verdict.show == Show::Client;
                let BackendRelay { replies, statements, .. } = backend;
                replies.take_dropped().for_each(|id| statements.dropped(id));
                let dropped = replies.take_dropped_changes();
                let of_unnamed = replies.take_dropped_unnamed();
                if let Some(client) = client.as_deref_mut() {
                    client.statements.drop_pending(dropped);
                    client.statements.drop_unnamed(of_unnamed);
                }
                if error.routine == "RevalidateCachedQuery" {
                    // A migration has changed what a statement returns; which one is not said.
                    statements.distrust();
                }
            }
        }
        let renamed = match &client {
            Some(client) if frame.tag == backend::ERROR && verdict.show == Show::Client => {
                with_the_clients_name(client, body)?
            }
            _ => None,
        };
        if let Some(body) = renamed {
            backend.shown = true;
            out.put(|out| frame::put(out, backend::ERROR, |out| out.extend_from_slice(&body)));
            at += frame.size;
        } else {
            at += pass(backend, rest, frame, at, out, Some(verdict.show))?;
        }
        made_up(client.as_deref_mut(), backend, out);
        if verdict.settled == Some(Settled::Ready) {
            if verdict.show == Show::Client {
                backend.suspicion.ready(!backend.replies.is_ready_owed());
            }
            break Stop::Ready;
        }
    };
    Ok(Progress { consumed: at, stop })
}

/// Whether what comes next answers a query of our own.
fn answers_us(backend: &BackendRelay) -> bool {
    matches!(backend.replies.pending().next(), Some(Expect::Query(Show::Nobody)))
}

/// An error about a statement, with the client's name for it in the place of ours.
fn with_the_clients_name(client: &ClientRelay, body: &[u8]) -> Result<Option<Vec<u8>>, WireError> {
    let error = ErrorFields::read(body)?;
    if error.code != sqlstate::DUPLICATE_STATEMENT {
        return Ok(None);
    }
    let id = BackendName::find(error.message);
    let Some((ours, id)) = id else { return Ok(None) };
    let Some(name) = client.statements.name_of(id) else { return Ok(None) };
    let mut places = body.windows(ours.len());
    let Some(start) = places.position(|text| text == ours.as_bytes()) else { return Ok(None) };
    Ok(Some([&body[..start], name, &body[start + ours.len()..]].concat()))
}

/// Puts the replies whose turn it is and that no backend will send.
// Asked after each reply, and nearly always there is none.
#[inline]
pub fn made_up(client: Option<&mut ClientRelay>, backend: &mut BackendRelay, out: &mut Splice) {
    let mut client = client;
    while let Some(tag) = backend.replies.next_synthetic() {
        if let Some(client) = client.as_deref_mut() {
            client.statements.confirm();
        }
        backend.shown |= !is_preamble(tag);
        out.put(|out| backend::put_empty(out, tag));
    }
}

/// The severity and SQLSTATE of the error at the beginning of `input`, for a caller that was
/// stopped before it, and the error's size.
///
/// # Errors
/// [`WireError`] if it is malformed.
pub fn first_error(input: &[u8]) -> Result<(ErrorFields<'_>, usize), WireError> {
    let size = Frame::read(input, MAX_MESSAGE)?.map_or(0, |frame| frame.size);
    let body = input.get(HEADER..size).unwrap_or_default();
    Ok((ErrorFields::read(body)?, size))
}

/// Whether an error of this kind ends the connection it came on.
pub fn ends_connection(error: &ErrorFields<'_>) -> bool {
    matches!(error.severity, Severity::Fatal | Severity::Panic)
}

/// Whether a message may precede the first row of an answer and can be taken back as long as
/// nobody has seen it.
fn is_preamble(tag: u8) -> bool {
    matches!(
        tag,
        backend::PARSE_COMPLETE
            | backend::BIND_COMPLETE
            | backend::CLOSE_COMPLETE
            | backend::PARAMETER_DESCRIPTION
            | backend::ROW_DESCRIPTION
            | backend::NO_DATA
    )
}

/// Passes what there is of a message and notes what is still to come. `show` is asked of the
/// replies where the caller has not.
fn pass(
    backend: &mut BackendRelay,
    rest: &[u8],
    frame: Frame,
    at: usize,
    out: &mut Splice,
    show: Option<Show>,
) -> Result<usize, WireError> {
    let show = match show {
        Some(show) => show,
        None => backend.replies.on_reply(frame.tag)?.show,
    };
    let there = frame.size.min(rest.len());
    if show == Show::Client {
        backend.shown |= !is_preamble(frame.tag);
        out.forward(at..at + there);
    }
    backend.passing = (frame.size - there, Some(show));
    Ok(there)
}

/// What a command tag says about the state it leaves behind.
fn note_command(
    client: Option<&mut ClientRelay>,
    backend: &mut BackendRelay,
    body: &[u8],
    show: Show,
) {
    let tag = body.strip_suffix(&[0]).unwrap_or(body);
    match tag {
        b"RESET" | b"DISCARD ALL" => backend.resets = show == Show::Client,
        b"SET" => backend.resets = false,
        _ => {}
    }
    backend.has_ended_stream = backend.replies.is_copying_both();
    if show == Show::Client {
        backend.suspicion.tag(tag);
    }
    if matches!(tag, b"DISCARD ALL" | b"DEALLOCATE ALL") {
        backend.statements.clear();
        if let Some(client) = client {
            client.statements.clear();
        }
    }
}
