//! The session of a console: both query protocols, without a backend.
//!
//! In: what the client sends, and the answers to what was asked. Out: bytes for the client, and what
//! has to be asked for it ([`Ask`]).
//!
//! Pure: it knows no socket, no pool and no clock. There are no transactions: it is always idle.

use std::collections::{BTreeMap, VecDeque};

use pgherd_wire::backend::{self, Format, Report, Severity};
use pgherd_wire::frontend::{self, Bind, BindValues, Execute, Parse, Target};
use pgherd_wire::{Frame, HEADER, TxStatus, WireError, sqlstate};

use super::commands::{Command, Meaning, help, meaning};
use super::grammar;
use super::show::Table;
use super::table::{Cell, Column, Row, put_description, put_row};

/// The longest message: 64 KiB. No command needs a hundredth of it.
const LONGEST: u32 = 64 * 1024;

/// Statements in one Query.
const MOST_STATEMENTS: usize = 100;

/// Prepared statements of one console, and portals.
const MOST_NAMED: usize = 1000;

/// What is written before the client has to have taken it: 16 KiB, and what one statement comes to.
const ENOUGH: usize = 16 * 1024;

/// What its user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rights {
    /// Everything.
    Admin,
    /// Look at tables.
    Stats,
}

/// What has to be asked of the cores.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ask {
    /// The rows of this table.
    Show(&'static Table),
    /// Carry this out.
    Do(Command),
}

/// What has come of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    /// The table's rows.
    Rows(Vec<Row>),
    /// It is done.
    Done,
    /// It is not.
    Failed(Failure),
}

/// Why something is not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Failure {
    /// As PgBouncer's console: everything is a violation of the protocol.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::with_code(sqlstate::PROTOCOL_VIOLATION, message)
    }

    pub(crate) fn with_code(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What to do after a call; what it wrote is to be sent first.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// Read on.
    NeedMore,
    /// Find this out and tell it by [`Console::answer`]; nothing more is read until then.
    Ask(Ask),
    /// Go on once the client has taken what was written.
    Rest,
    /// The client says goodbye, or has broken the protocol.
    Close,
}

/// One console.
#[derive(Debug)]
pub(crate) struct Console {
    rights: Rights,
    statements: BTreeMap<Box<[u8]>, Option<Meaning>>,
    portals: BTreeMap<Box<[u8]>, Portal>,
    // After an error everything is skipped up to a Sync.
    skips: bool,
    // It has said BEGIN, which is none, but portals live until the end of what it takes for one.
    in_block: bool,
    // The rest of a Query.
    queue: VecDeque<Meaning>,
    asked: Option<Asked>,
}

/// For whom something was asked.
#[derive(Debug)]
enum Asked {
    Query(Meaning),
    Portal { name: Box<[u8]>, limit: usize },
}

/// A statement that is being executed. `None` is one that says nothing.
#[derive(Debug)]
struct Portal {
    statement: Option<Meaning>,
    formats: Vec<Format>,
    // Those that were not sent yet, once it has begun.
    rows: Option<VecDeque<Row>>,
}

/// What a statement comes to.
enum Answer {
    Rows {
        rows: VecDeque<Row>,
    },
    Tag(String),
    /// The same, behind a notice: its message and detail.
    Notice {
        tag: &'static str,
        message: &'static str,
        detail: String,
    },
    Ask(Ask),
}

impl Meaning {
    /// The columns of its rows, if it has any.
    fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show(table) => Some(table.columns),
            Self::Parameter(parameter) => Some(&parameter.column),
            Self::Help | Self::SetParameter | Self::Nothing { .. } | Self::Do(_) => None,
        }
    }
}

impl Console {
    /// For a user with these rights.
    pub(crate) fn new(rights: Rights) -> Self {
        Self {
            rights,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            skips: false,
            in_block: false,
            queue: VecDeque::new(),
            asked: None,
        }
    }

    /// What a client is told before it may say anything, but for its key.
    pub(crate) fn put_welcome(out: &mut Vec<u8>) {
        for (name, value) in [
            ("server_version", concat!("1.25.2", "/bouncer")),
            ("client_encoding", "UTF8"),
            ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"),
            ("TimeZone", "GMT"),
            ("standard_conforming_strings", "on"),
            ("is_superuser", "on"),
            ("integer_datetimes", "on"),
        ] {
            backend::put_parameter_status(out, name, value);
        }
    }

    /// Whether the rest of a Query is still to be run, be it without any input.
    pub(crate) fn is_in_query(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Goes on with a Query, and takes what it can use of `input`; returns how many bytes, and what to
    /// do.
    pub(crate) fn on_bytes(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Step) {
        let mut at = 0;
        if self.is_in_query() {
            match self.go_on(out) {
                Step::NeedMore => {}
                step => return (at, step),
            }
        }
        loop {
            let frame = match Frame::read(&input[at..], LONGEST) {
                Ok(Some(frame)) => frame,
                Ok(None) => return (at, Step::NeedMore),
                Err(error) => return (input.len(), refuse(&error, out)),
            };
            let Some(message) = input.get(at..at + frame.size) else {
                return (at, Step::NeedMore);
            };
            at += frame.size;
            match self.message(frame.tag, &message[HEADER..], out) {
                Ok(Step::NeedMore) if out.len() >= ENOUGH => return (at, Step::Rest),
                Ok(Step::NeedMore) => {}
                Ok(step) => return (at, step),
                Err(error) => return (input.len(), refuse(&error, out)),
            }
        }
    }

    fn message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<Step, WireError> {
        match tag {
            frontend::TERMINATE => return Ok(Step::Close),
            frontend::SYNC => {
                self.skips = false;
                if !self.in_block {
                    self.portals.clear();
                }
                backend::put_ready(out, TxStatus::Idle);
                return Ok(Step::NeedMore);
            }
            _ if self.skips => return Ok(Step::NeedMore),
            frontend::QUERY => return Ok(self.query(body, out)),
            frontend::FUNCTION_CALL => {
                let message = "the console has no functions to call";
                put_error(out, &Failure::with_code(sqlstate::FEATURE_NOT_SUPPORTED, message));
                backend::put_ready(out, TxStatus::Idle);
                return Ok(Step::NeedMore);
            }
            // As a server does outside of a COPY.
            backend::COPY_DATA | backend::COPY_DONE | frontend::COPY_FAIL | frontend::FLUSH => {
                return Ok(Step::NeedMore);
            }
            _ => {}
        }
        let done = match tag {
            frontend::PARSE => self.parse(&Parse::read(body)?, out),
            frontend::BIND => {
                let bind = Bind::read(body)?;
                self.bind(&bind, BindValues::read(bind.rest)?, out)
            }
            frontend::DESCRIBE => self.describe(Target::read(tag, body)?, out),
            frontend::CLOSE => {
                match Target::read(tag, body)? {
                    Target::Statement(name) => drop(self.statements.remove(name)),
                    Target::Portal(name) => drop(self.portals.remove(name)),
                }
                backend::put_empty(out, backend::CLOSE_COMPLETE);
                Ok(Step::NeedMore)
            }
            frontend::EXECUTE => self.execute(&Execute::read(body)?, out),
            other => return Err(frontend::unknown(other)),
        };
        Ok(done.unwrap_or_else(|failure| {
            put_error(out, &failure);
            self.skips = true;
            Step::NeedMore
        }))
    }

    fn query(&mut self, body: &[u8], out: &mut Vec<u8>) -> Step {
        // As in PostgreSQL, it ends the unnamed statement and the unnamed portal.
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
        match read(body) {
            Ok(statements) if statements.is_empty() => {
                backend::put_empty(out, backend::EMPTY_QUERY);
            }
            Ok(statements) => self.queue = statements.into(),
            Err(failure) => put_error(out, &failure),
        }
        self.go_on(out)
    }

    /// Runs the rest of a Query, up to what takes time.
    fn go_on(&mut self, out: &mut Vec<u8>) -> Step {
        while let Some(statement) = self.queue.pop_front() {
            match self.begin(&statement) {
                Ok(Answer::Ask(ask)) => {
                    self.asked = Some(Asked::Query(statement));
                    return Step::Ask(ask);
                }
                Ok(answer) => put_answer(out, &statement, answer),
                Err(failure) => {
                    put_error(out, &failure);
                    self.queue.clear();
                }
            }
            if out.len() >= ENOUGH && self.is_in_query() {
                return Step::Rest;
            }
        }
        backend::put_ready(out, TxStatus::Idle);
        Step::NeedMore
    }

    fn parse(&mut self, parse: &Parse<'_>, out: &mut Vec<u8>) -> Result<Step, Failure> {
        let mut statements = read(parse.sql)?;
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Failure::with_code(sqlstate::SYNTAX_ERROR, message));
        }
        if parse.types.iter().any(|byte| *byte != 0) {
            return Err(no_parameters());
        }
        let is_taken = self.statements.contains_key(parse.name);
        if is_taken && !parse.name.is_empty() {
            let name = String::from_utf8_lossy(parse.name);
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Failure::with_code(sqlstate::DUPLICATE_STATEMENT, message));
        }
        if !is_taken && self.statements.len() >= MOST_NAMED {
            return Err(too_many("prepared statements"));
        }
        self.statements.insert(parse.name.into(), statements.pop());
        backend::put_empty(out, backend::PARSE_COMPLETE);
        Ok(Step::NeedMore)
    }

    fn bind(
        &mut self,
        bind: &Bind<'_>,
        values: BindValues,
        out: &mut Vec<u8>,
    ) -> Result<Step, Failure> {
        let statement = self.statement(bind.statement)?.clone();
        if values.parameters > 0 {
            return Err(no_parameters());
        }
        let columns = statement.as_ref().and_then(Meaning::columns).map_or(0, <[_]>::len);
        let formats = values.results;
        if formats.len() > 1 && formats.len() != columns {
            let message = format!(
                "bind message has {} result formats but query has {columns} columns",
                formats.len()
            );
            return Err(Failure::new(message));
        }
        if !bind.portal.is_empty() && self.portals.contains_key(bind.portal) {
            let name = String::from_utf8_lossy(bind.portal);
            let message = format!("cursor \"{name}\" already exists");
            return Err(Failure::with_code(sqlstate::DUPLICATE_CURSOR, message));
        }
        if self.portals.len() >= MOST_NAMED {
            return Err(too_many("portals"));
        }
        self.portals.insert(bind.portal.into(), Portal { statement, formats, rows: None });
        backend::put_empty(out, backend::BIND_COMPLETE);
        Ok(Step::NeedMore)
    }

    fn describe(&self, target: Target<'_>, out: &mut Vec<u8>) -> Result<Step, Failure> {
        let (statement, formats) = match target {
            Target::Statement(name) => {
                let statement = self.statement(name)?;
                backend::put_no_parameters(out);
                (statement, &[][..])
            }
            Target::Portal(name) => {
                let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
                (&portal.statement, &portal.formats[..])
            }
        };
        match statement.as_ref().and_then(Meaning::columns) {
            Some(columns) => put_description(out, columns, formats),
            None => backend::put_empty(out, backend::NO_DATA),
        }
        Ok(Step::NeedMore)
    }

    fn execute(&mut self, execute: &Execute<'_>, out: &mut Vec<u8>) -> Result<Step, Failure> {
        let Execute { portal: name, rows: limit } = *execute;
        let portal = self.portals.get(name).ok_or_else(|| no_portal(name))?;
        let Some(statement) = portal.statement.clone() else {
            backend::put_empty(out, backend::EMPTY_QUERY);
            return Ok(Step::NeedMore);
        };
        if portal.rows.is_none() {
            if limit > 0 && statement.columns().is_some() {
                self.may_suspend()?;
            }
            match self.begin(&statement)? {
                Answer::Ask(ask) => {
                    self.asked = Some(Asked::Portal { name: name.into(), limit });
                    return Ok(Step::Ask(ask));
                }
                Answer::Rows { rows } => self.set_rows(name, rows),
                Answer::Tag(tag) => {
                    backend::put_command_complete(out, &tag);
                    return Ok(Step::NeedMore);
                }
                answer @ Answer::Notice { .. } => {
                    put_answer(out, &statement, answer);
                    return Ok(Step::NeedMore);
                }
            }
        }
        self.put_rows(name, limit, out);
        Ok(Step::NeedMore)
    }

    /// Whether a portal may keep rows: a table may be long, so no other may.
    fn may_suspend(&self) -> Result<(), Failure> {
        let keeps_rows =
            |portal: &Portal| portal.rows.as_ref().is_some_and(|rows| !rows.is_empty());
        let Some((name, _)) = self.portals.iter().find(|(_, portal)| keeps_rows(portal)) else {
            return Ok(());
        };
        let name = String::from_utf8_lossy(name);
        let message = format!("portal \"{name}\" has rows left (limit 1): fetch them or close it");
        Err(Failure::with_code(sqlstate::CONFIGURATION_LIMIT_EXCEEDED, message))
    }

    fn set_rows(&mut self, name: &[u8], rows: VecDeque<Row>) {
        if let Some(portal) = self.portals.get_mut(name) {
            portal.rows = Some(rows);
        }
    }

    /// Sends the next rows of a portal; 0 is all.
    fn put_rows(&mut self, name: &[u8], limit: usize, out: &mut Vec<u8>) {
        let Some(portal) = self.portals.get_mut(name) else { return };
        let columns = portal.statement.as_ref().and_then(Meaning::columns).unwrap_or_default();
        let rows = portal.rows.get_or_insert_default();
        let count = if limit == 0 { rows.len() } else { limit.min(rows.len()) };
        let is_cut_short = limit > 0 && count == limit;
        for row in rows.drain(..count) {
            put_row(out, columns, &portal.formats, &row);
        }
        if rows.is_empty() {
            // Not its capacity, either.
            *rows = VecDeque::new();
        }
        // As a server that has not looked whether there are more.
        if is_cut_short {
            backend::put_empty(out, backend::PORTAL_SUSPENDED);
        } else {
            backend::put_command_complete(out, "SHOW");
        }
    }

    /// What was asked is known. [`Self::on_bytes`] goes on with what follows, once the client has taken
    /// what this wrote.
    pub(crate) fn answer(&mut self, outcome: Outcome, out: &mut Vec<u8>) {
        match self.asked.take() {
            None => {}
            Some(Asked::Query(statement)) => {
                match answered(&statement, outcome) {
                    Ok(answer) => put_answer(out, &statement, answer),
                    Err(failure) => {
                        put_error(out, &failure);
                        self.queue.clear();
                    }
                }
                if !self.is_in_query() {
                    backend::put_ready(out, TxStatus::Idle);
                }
            }
            Some(Asked::Portal { name, limit }) => {
                let portal = self.portals.get(&name);
                let statement = portal.and_then(|portal| portal.statement.clone());
                let Some(statement) = statement else { return };
                match answered(&statement, outcome) {
                    Ok(Answer::Rows { rows }) => {
                        self.set_rows(&name, rows);
                        self.put_rows(&name, limit, out);
                    }
                    Ok(answer) => put_answer(out, &statement, answer),
                    Err(failure) => {
                        put_error(out, &failure);
                        self.skips = true;
                    }
                }
            }
        }
    }

    fn begin(&mut self, statement: &Meaning) -> Result<Answer, Failure> {
        Ok(match statement {
            Meaning::Show(table) => Answer::Ask(Ask::Show(table)),
            Meaning::Help => {
                Answer::Notice { tag: "SHOW", message: "Console usage", detail: help() }
            }
            Meaning::Parameter(parameter) => {
                Answer::Rows { rows: VecDeque::from([vec![Cell::from(parameter.value)]]) }
            }
            Meaning::SetParameter => {
                Answer::Notice { tag: "SET", message: "SET ignored", detail: String::new() }
            }
            Meaning::Nothing { tag } => {
                match *tag {
                    "BEGIN" | "START TRANSACTION" => self.in_block = true,
                    "COMMIT" | "ROLLBACK" => self.in_block = false,
                    _ => {}
                }
                Answer::Tag((*tag).to_owned())
            }
            Meaning::Do(_) if self.rights != Rights::Admin => {
                return Err(Failure::new("admin access needed"));
            }
            Meaning::Do(command) => Answer::Ask(Ask::Do(command.clone())),
        })
    }

    fn statement(&self, name: &[u8]) -> Result<&Option<Meaning>, Failure> {
        self.statements.get(name).ok_or_else(|| {
            let name = String::from_utf8_lossy(name);
            let message = format!("prepared statement \"{name}\" does not exist");
            Failure::with_code(sqlstate::INVALID_STATEMENT_NAME, message)
        })
    }
}

/// The statements of a Query or Parse.
fn read(text: &[u8]) -> Result<Vec<Meaning>, Failure> {
    let text = String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text));
    let statements = grammar::parse(&text);
    if statements.len() > MOST_STATEMENTS {
        let (found, limit) = (statements.len(), MOST_STATEMENTS);
        let message = format!("{found} statements in one query (limit {limit})");
        return Err(Failure::with_code(sqlstate::LIMIT_EXCEEDED, message));
    }
    let meanings = statements.iter().map(|statement| {
        meaning(statement).map_err(|message| match statement.text.contains('$') {
            true => no_parameters(),
            false => Failure::new(message),
        })
    });
    meanings.collect()
}

fn answered(statement: &Meaning, outcome: Outcome) -> Result<Answer, Failure> {
    match (outcome, statement) {
        (Outcome::Rows(rows), _) => Ok(Answer::Rows { rows: rows.into() }),
        (Outcome::Failed(failure), _) => Err(failure),
        (Outcome::Done, Meaning::Do(command)) => Ok(Answer::Tag(command.tag())),
        (Outcome::Done, _) => Ok(Answer::Tag("SHOW".to_owned())),
    }
}

/// The whole of an answer: its rows are described, and all are there.
fn put_answer(out: &mut Vec<u8>, statement: &Meaning, answer: Answer) {
    match answer {
        Answer::Rows { rows } => {
            let columns = statement.columns().unwrap_or_default();
            put_description(out, columns, &[]);
            rows.iter().for_each(|row| put_row(out, columns, &[], row));
            backend::put_command_complete(out, "SHOW");
        }
        Answer::Tag(tag) => backend::put_command_complete(out, &tag),
        Answer::Notice { tag, message, detail } => {
            let (severity, code) = (Severity::Notice, sqlstate::SUCCESS);
            Report { severity, code, message, detail: &detail, hint: "" }.put(out);
            backend::put_command_complete(out, tag);
        }
        // Nobody calls it with one.
        Answer::Ask(_) => {}
    }
}

fn put_error(out: &mut Vec<u8>, failure: &Failure) {
    let Failure { code, message } = failure;
    Report { severity: Severity::Error, code, message, detail: "", hint: "" }.put(out);
}

/// The client has broken the protocol.
fn refuse(error: &WireError, out: &mut Vec<u8>) -> Step {
    let (severity, code) = (Severity::Fatal, sqlstate::PROTOCOL_VIOLATION);
    Report { severity, code, message: &error.to_string(), detail: "", hint: "" }.put(out);
    Step::Close
}

fn no_parameters() -> Failure {
    let message = "the console takes no parameters: write the value into the statement";
    Failure::with_code(sqlstate::FEATURE_NOT_SUPPORTED, message)
}

fn no_portal(name: &[u8]) -> Failure {
    let message = format!("portal \"{}\" does not exist", String::from_utf8_lossy(name));
    Failure::with_code(sqlstate::INVALID_CURSOR_NAME, message)
}

fn too_many(what: &str) -> Failure {
    let message = format!("{MOST_NAMED} {what} are open (limit {MOST_NAMED})");
    Failure::with_code(sqlstate::LIMIT_EXCEEDED, message)
}

#[cfg(test)]
mod tests;
