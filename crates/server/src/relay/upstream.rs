//! From the client to its backend.

use std::sync::Arc;

use pgherd_wire::backend::{CLOSE_COMPLETE, COPY_DATA, COPY_DONE, PARSE_COMPLETE};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::frontend::{self, Bind, Parse, Target};
use pgherd_wire::replies::{Expect, Show};
use pgherd_wire::{Frame, HEADER, WireError, frame};

use super::statements::{BackendName, Readiness, Statement, StatementTable};
use super::unnamed::Unnamed;
use super::{BackendRelay, Classify, ClientRelay, Splice};

/// The longest Query whose text is looked at for what it may leave behind: 64 KiB. A longer
/// one passes through in parts and its backend counts as dirty.
const LONGEST_QUERY: usize = 64 * 1024;

/// The longest Parse: 16 MiB. It has to be kept, to be sent again to other backends.
const LONGEST_PARSE: usize = 16 * 1024 * 1024;

/// The longest message whose meaning we need but not its bulk: Describe, Close, Execute.
const LONGEST_SMALL: usize = 64 * 1024;

/// Bytes that one call adds to its input before it stops behind a batch: 64 KiB. Each batch may
/// make us send a whole statement first.
const MOST_ADDED: usize = 64 * 1024;

/// What is known of texts.
pub struct Known<'k> {
    /// Every prepared statement.
    pub table: &'k StatementTable,
    /// Tells what a text leaves.
    pub judge: &'k mut dyn Classify,
}

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
    /// A Query, FunctionCall or Sync was relayed, and the caller wants one batch at a time, or the
    /// backend has enough to do.
    EndOfBatch,
    /// The client says goodbye.
    Terminate,
    /// What the next message means depends on answers that are still to come.
    Open,
}

/// Why nothing more is taken from a client.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It broke the protocol.
    #[error(transparent)]
    Protocol(#[from] WireError),
    /// It has sent a Query, and may not.
    #[error("PQexec disallowed")] // PgBouncer's words, by which it is looked for.
    SimpleQuery,
    /// It has prepared too much.
    #[error(
        "the statements that are prepared under names would take {bytes} bytes (limit {limit})"
    )]
    Statements {
        /// With the one that is too much.
        bytes: usize,
        /// `listen.prepared_bytes_per_client`.
        limit: usize,
    },
}

/// How much to relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// All there is, as far as the backend may be given that much: further batches may be pipelined
    /// to it.
    All,
    /// Up to the end of a batch: the next one may belong elsewhere.
    OneBatch,
}

/// Relays `input`, which continues where the last call stopped.
///
/// What goes to the backend is left in `out`; ranges in it are of `input`. Afterwards the
/// caller sends the client what [`super::downstream::made_up`] says.
///
/// # Errors
/// [`Refused`] if the client broke the protocol or a limit; what is in `out` by then may still be
/// sent.
pub fn relay(
    client: &mut ClientRelay,
    backend: &mut BackendRelay,
    known: &mut Known<'_>,
    input: &[u8],
    extent: Extent,
    out: &mut Splice,
) -> Result<Progress, Refused> {
    let mut at = 0;
    let stop = loop {
        if client.passing > 0 {
            let n = client.passing.min(input.len() - at);
            out.forward(at..at + n);
            client.passing -= n;
            at += n;
            if client.passing > 0 {
                break Stop::NeedMore;
            }
        }
        let rest = &input[at..];
        let Some(frame) = Frame::read(rest, client.limit.0)? else { break Stop::NeedMore };
        if frame.tag == frontend::TERMINATE {
            break Stop::Terminate;
        }
        if !client.statements.is_settled() && is_open(client, backend, rest, frame) {
            break Stop::Open;
        }
        let Some(used) = message(client, backend, known, rest, frame, at, out)? else {
            break Stop::NeedMore;
        };
        at += used;
        let ends = matches!(frame.tag, frontend::QUERY | frontend::SYNC | frontend::FUNCTION_CALL);
        let is_enough =
            || extent == Extent::OneBatch || out.added() > MOST_ADDED || backend.owes_a_lot();
        if ends && client.passing == 0 && is_enough() {
            break Stop::EndOfBatch;
        }
    };
    Ok(Progress { consumed: at, stop })
}

/// Ends by a Sync of ours what the client has begun, and leaves it in `out`.
pub fn end_begun(client: &mut ClientRelay, backend: &mut BackendRelay, out: &mut Vec<u8>) {
    backend.end_stretch(client);
    backend.replies.expect(Expect::Sync(Show::Nobody));
    frame::put(out, frontend::SYNC, |_| ());
}

/// Whether it is about a name whose Parse or Close is unanswered and may have failed for an error that
/// does not concern this message: its meaning cannot be told yet.
fn is_open(client: &ClientRelay, backend: &BackendRelay, rest: &[u8], frame: Frame) -> bool {
    let body = &rest[HEADER..frame.size.min(rest.len())];
    let name = match frame.tag {
        frontend::PARSE => Parse::read(body).map(|parse| parse.name),
        frontend::BIND => Bind::read(body).map(|bind| bind.statement),
        frontend::DESCRIBE | frontend::CLOSE => match Target::read(frame.tag, body) {
            Ok(Target::Statement(name)) => Ok(name),
            _ => return false,
        },
        _ => return false,
    };
    // What cannot be read is refused, or waits for the rest of it.
    name.is_ok_and(|name| match name.is_empty() {
        // It can be replaced whatever it is, and used where it is the backend's, too.
        true => {
            let uses = matches!(frame.tag, frontend::BIND | frontend::DESCRIBE);
            uses && !backend.statements.unnamed_is_here() && client.statements.is_open(name)
        }
        false => client.statements.is_open(name),
    })
}

/// Relays one message at the beginning of `rest`; `None` if more of it is needed.
fn message(
    client: &mut ClientRelay,
    backend: &mut BackendRelay,
    known: &mut Known<'_>,
    rest: &[u8],
    frame: Frame,
    at: usize,
    out: &mut Splice,
) -> Result<Option<usize>, Refused> {
    let mut unnamed = None;
    let whole = rest.get(..frame.size);
    let body = whole.map(|message| &message[HEADER..]);
    backend.begun.sent(frame.tag, body);
    let expect = match frame.tag {
        frontend::QUERY if client.refuses_queries => return Err(Refused::SimpleQuery),
        frontend::QUERY => {
            match body {
                Some(text) => backend.suspicion.query(text, known.judge),
                None if frame.size <= LONGEST_QUERY => return Ok(None),
                None => backend.suspicion.unseen("a long query"),
            }
            // Behind an error it is skipped.
            if !backend.replies.is_skipping() {
                client.statements.end_unnamed();
            }
            backend.statements.forget_unnamed();
            backend.end_stretch(client);
            Some(Expect::Query(Show::Client))
        }
        frontend::FUNCTION_CALL => {
            // Which function it is only the server's catalog knows.
            backend.suspicion.unseen("a function call");
            backend.end_stretch(client);
            Some(Expect::Query(Show::Client))
        }
        frontend::SYNC => {
            backend.suspicion.sync();
            backend.end_stretch(client);
            Some(Expect::Sync(Show::Client))
        }
        frontend::FLUSH | COPY_DATA => None,
        COPY_DONE | frontend::COPY_FAIL => Some(Expect::CopyEnd),
        frontend::PARSE => {
            let Some(body) = bounded(body, frame, LONGEST_PARSE)? else { return Ok(None) };
            let parse = Parse::read(body)?;
            backend.work.client_parses += 1;
            if !parse.name.is_empty() {
                named_parse(client, backend, known.table, &parse, out)?;
                return Ok(Some(frame.size));
            }
            backend.suspicion.parse_unnamed(parse.sql, known.judge);
            unnamed = Some(Unnamed::new(parse.sql, parse.types));
            backend.statements.unnamed_sent();
            backend.work.server_parses += 1;
            Some(Expect::Unnamed { closes: false })
        }
        frontend::BIND => return Ok(bind(client, backend, known, rest, frame, at, out)?),
        frontend::DESCRIBE => {
            let Some(body) = bounded(body, frame, LONGEST_SMALL)? else { return Ok(None) };
            if let Target::Statement(name) = Target::read(frame.tag, body)?
                && let statement = client.statements.get(name)
                && let Some(name) = prepare(client, backend, known, name, statement, out)
            {
                backend.replies.expect(Expect::Describe);
                out.put(|out| Target::Statement(name.as_bytes()).put(out, frontend::DESCRIBE));
                return Ok(Some(frame.size));
            }
            Some(Expect::Describe)
        }
        frontend::CLOSE => {
            let Some(body) = bounded(body, frame, LONGEST_SMALL)? else { return Ok(None) };
            let target = Target::read(frame.tag, body)?;
            if let Target::Statement(name) = target {
                // The backend keeps it: another client, or this one again, may want it. And it keeps
                // others' to which this name means something else.
                if client.statements.get(name).is_some() || BackendName::is_alike(name) {
                    if backend.replies.expect(Expect::MadeUp(CLOSE_COMPLETE)) {
                        client.statements.change(name, None);
                    }
                    return Ok(Some(frame.size));
                }
            }
            Some(match target {
                Target::Statement(b"") => Expect::Unnamed { closes: true },
                _ => Expect::Close(Show::Client),
            })
        }
        frontend::EXECUTE => {
            if bounded(body, frame, LONGEST_SMALL)?.is_none() {
                return Ok(None);
            }
            backend.suspicion.execute();
            Some(Expect::Execute)
        }
        other => {
            return Err(frontend::unknown(other).into());
        }
    };
    if let Some(expect) = expect
        && backend.replies.expect(expect)
    {
        match expect {
            Expect::Query(_) | Expect::Sync(_) => backend.suspicion.end_sent(),
            Expect::Unnamed { .. } => client.statements.change_unnamed(unnamed),
            _ => {}
        }
    }
    let used = frame.size.min(rest.len());
    out.forward(at..at + used);
    client.passing = frame.size - used;
    Ok(Some(used))
}

fn named_parse(
    client: &mut ClientRelay,
    backend: &mut BackendRelay,
    table: &StatementTable,
    parse: &Parse<'_>,
    out: &mut Splice,
) -> Result<(), Refused> {
    if let Some(taken) = client.statements.get(parse.name) {
        // PostgreSQL refuses it, in its own words and where it is in the pipeline.
        make_ready(backend, taken, out);
        backend.replies.expect(Expect::Parse { show: Show::Client, statement: None });
        let name = taken.backend_name();
        out.put(|out| frontend::put_parse(out, name.as_bytes(), parse.sql, parse.types));
        return Ok(());
    }
    let added = parse.name.len() + parse.sql.len() + parse.types.len();
    let (bytes, limit) = (client.statements.bytes() + added, table.per_client());
    if bytes > limit {
        return Err(Refused::Statements { bytes, limit });
    }
    let statement = table.intern(parse.sql, parse.types, client.statements.flavour());
    let answered = match backend.statements.readiness(statement.id) {
        Readiness::Ready => backend.replies.expect(Expect::MadeUp(PARSE_COMPLETE)),
        Readiness::Parse => send_parse(backend, &statement, Show::Client, out),
        Readiness::CloseAndParse => {
            send_close(backend, statement.id, out);
            send_parse(backend, &statement, Show::Client, out)
        }
    };
    if answered {
        client.statements.change(parse.name, Some(statement));
    }
    Ok(())
}

fn bind(
    client: &mut ClientRelay,
    backend: &mut BackendRelay,
    known: &mut Known<'_>,
    rest: &[u8],
    frame: Frame,
    at: usize,
    out: &mut Splice,
) -> Result<Option<usize>, WireError> {
    let there = frame.size.min(rest.len());
    let bind = match Bind::read(&rest[HEADER..there]) {
        Ok(bind) => bind,
        // The names are still to come; the parameters behind them may be long.
        Err(_) if there < frame.size && there < LONGEST_SMALL => return Ok(None),
        Err(error) => return Err(error),
    };
    let statement = client.statements.get(bind.statement);
    let name = prepare(client, backend, known, bind.statement, statement, out);
    if bind.statement.is_empty() {
        backend.suspicion.bind_unnamed(bind.rest);
    } else if let Some(statement) = statement {
        let Statement { sql, traits, .. } = &**statement;
        backend.suspicion.bind_named(sql, *traits, bind.rest, known.judge);
    }
    backend.replies.expect(Expect::Bind);
    backend.work.binds += 1;
    if let Some(name) = name {
        let name = name.as_bytes();
        let head = HEADER + bind.portal.len() + 1 + bind.statement.len() + 1;
        let length = frame.size - 1 - bind.statement.len() + name.len();
        let length = u32::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_MESSAGE)
            .ok_or(WireError::Length { tag: 'B', length: MAX_MESSAGE, limit: MAX_MESSAGE })?;
        out.put(|out| {
            out.push(frontend::BIND);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bind.portal);
            out.push(0);
            out.extend_from_slice(name);
            out.push(0);
        });
        out.forward(at + head..at + there);
    } else {
        out.forward(at..at + there);
    }
    client.passing = frame.size - there;
    Ok(Some(there))
}

/// Makes sure that the statement the client calls `name` is on the backend: this one, if it is known
/// to us. Returns its name
/// there, or `None` if the client's own is right: it is unnamed, or not known to us.
fn prepare(
    client: &ClientRelay,
    backend: &mut BackendRelay,
    known: &mut Known<'_>,
    name: &[u8],
    statement: Option<&Arc<Statement>>,
    out: &mut Splice,
) -> Option<BackendName> {
    if name.is_empty() {
        if !backend.statements.unnamed_is_here() {
            send_unnamed(client, backend, known, out);
        }
        return None;
    }
    let Some(statement) = statement else {
        // Made with PREPARE, perhaps. But others' are not to be had under our names.
        return BackendName::is_alike(name).then(BackendName::of_none);
    };
    make_ready(backend, statement, out);
    Some(statement.backend_name())
}

/// Gives the backend the client's unnamed statement, or takes away another client's.
fn send_unnamed(
    client: &ClientRelay,
    backend: &mut BackendRelay,
    known: &mut Known<'_>,
    out: &mut Splice,
) {
    let expect = match client.statements.unnamed() {
        Some(unnamed) => {
            backend.suspicion.parse_unnamed(unnamed.sql(), known.judge);
            out.put(|out| frontend::put_parse(out, b"", unnamed.sql(), unnamed.types()));
            backend.work.server_parses += 1;
            Expect::Parse { show: Show::Nobody, statement: None }
        }
        None => {
            out.put(|out| Target::Statement(b"").put(out, frontend::CLOSE));
            Expect::Close(Show::Nobody)
        }
    };
    if backend.replies.expect(expect) {
        backend.statements.unnamed_sent();
    }
}

/// Parses a statement on the backend, unless it is there.
fn make_ready(backend: &mut BackendRelay, statement: &Statement, out: &mut Splice) {
    match backend.statements.readiness(statement.id) {
        Readiness::Ready => {}
        Readiness::Parse => {
            send_parse(backend, statement, Show::Nobody, out);
        }
        Readiness::CloseAndParse => {
            send_close(backend, statement.id, out);
            send_parse(backend, statement, Show::Nobody, out);
        }
    }
}

/// `false`: the backend is going to ignore it.
fn send_parse(
    backend: &mut BackendRelay,
    statement: &Statement,
    show: Show,
    out: &mut Splice,
) -> bool {
    let expect = Expect::Parse { show, statement: Some(statement.id) };
    let answered = backend.replies.expect(expect);
    backend.work.server_parses += 1;
    let name = statement.backend_name();
    out.put(|out| {
        frontend::put_parse(out, name.as_bytes(), &statement.sql, &statement.types);
    });
    if answered && let Some(surplus) = backend.statements.sent(statement.id) {
        send_close(backend, surplus, out);
    }
    answered
}

fn send_close(backend: &mut BackendRelay, id: u64, out: &mut Splice) {
    backend.replies.expect(Expect::Close(Show::Nobody));
    let name = BackendName::new(id);
    out.put(|out| Target::Statement(name.as_bytes()).put(out, frontend::CLOSE));
}

fn bounded(body: Option<&[u8]>, frame: Frame, limit: usize) -> Result<Option<&[u8]>, WireError> {
    if frame.size > limit {
        return Err(WireError::Length {
            tag: char::from(frame.tag),
            length: u32::try_from(frame.size - 1).unwrap_or(u32::MAX),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        });
    }
    Ok(body)
}
