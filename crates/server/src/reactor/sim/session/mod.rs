//! One session of a simulated PostgreSQL: messages in, replies out, and what it holds.
//!
//! The simulated servers run it behind the proxy, and each simulated client runs one for itself, as
//! if it were connected to a server of its own: what it reads has to be what that one says.
//!
//! It works in small steps, so that time may pass between them, and a cancel strike there.

mod answers;
mod extended;
mod scripts;
mod state;
mod statement;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use pgherd_wire::{HEADER, TxStatus, backend, frontend, sqlstate};

use answers::{error, ready};
use extended::{Portal, Prepared};
pub(super) use state::{REPORTED, State};
pub(super) use statement::Tag;
use statement::{Statement, Value};

/// See the module's header.
#[derive(Debug)]
pub(super) struct Session {
    is_standby: bool,
    user: String,
    // What was asked for at the login.
    login: BTreeMap<String, String>,
    state: Rc<State>,
    // What it was before the transaction that runs.
    before: Option<Rc<State>>,
    locks: BTreeMap<u32, u32>,
    tx: TxStatus,
    statements: BTreeMap<Vec<u8>, Rc<Prepared>>,
    portals: BTreeMap<Vec<u8>, Portal>,
    // What was reported last.
    told: BTreeMap<&'static str, String>,
    inbox: VecDeque<Vec<u8>>,
    ops: VecDeque<Op>,
    copy: Option<CopyIn>,
    is_simple: bool,
    // After an error, until the next Sync.
    skips: bool,
    // Written by the transaction that runs.
    written: Vec<Tag>,
    /// Written by those that are committed, and not yet taken out.
    pub(super) committed: Vec<Tag>,
    /// Whether what was said is to be sent now, and not later together with more.
    pub(super) flushes: bool,
}

/// A step.
#[derive(Debug)]
enum Op {
    Run(Run),
    /// What pgherd asks in the text.
    Script(String),
    EndQuery,
}

/// A statement that runs.
#[derive(Debug)]
struct Run {
    statement: Statement,
    parameter: Option<String>,
    // Rows that were sent, and after how many it is suspended.
    at: u32,
    stop_at: Option<u32>,
    // Of Execute.
    portal: Option<Vec<u8>>,
}

#[derive(Debug)]
struct CopyIn {
    lines: usize,
}

/// Why a statement fails: SQLSTATE and message.
type Failure = (&'static str, String);

const FAILED: &str = "25P02";

impl Session {
    /// A session that has just logged in, with these parameters.
    pub(super) fn new(is_standby: bool, user: &str, login: BTreeMap<String, String>) -> Self {
        let login = login.into_iter().map(|(name, value)| (state::spelt(&name), value)).collect();
        let mut session = Self {
            is_standby,
            user: user.to_owned(),
            login,
            state: Rc::default(),
            before: None,
            locks: BTreeMap::new(),
            tx: TxStatus::Idle,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            told: BTreeMap::new(),
            inbox: VecDeque::new(),
            ops: VecDeque::new(),
            copy: None,
            is_simple: false,
            skips: false,
            written: Vec::new(),
            committed: Vec::new(),
            flushes: false,
        };
        session.told = session.reported();
        session
    }

    /// What the server says of it.
    pub(super) fn reported(&self) -> BTreeMap<&'static str, String> {
        REPORTED.into_iter().map(|name| (name, self.value(name).to_owned())).collect()
    }

    /// A setting's value.
    pub(super) fn value(&self, name: &str) -> &str {
        let name = &*state::spelt(name);
        let State { local, settings, .. } = &*self.state;
        let value = local.get(name).or(settings.get(name)).or(self.login.get(name));
        value.map_or_else(|| state::default(name), String::as_str)
    }

    /// What it is where nobody has set it.
    pub(super) fn default(&self, name: &str) -> &str {
        let name = &*state::spelt(name);
        self.login.get(name).map_or_else(|| state::default(name), String::as_str)
    }

    pub(super) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn tx(&self) -> TxStatus {
        self.tx
    }

    /// Whether nothing is begun that the next message may belong to.
    pub(super) fn is_at_rest(&self) -> bool {
        self.is_idle() && self.tx.is_idle() && self.before.is_none() && !self.skips
    }

    /// What of it the next client would find, in words. Settings and what was made with PREPARE go
    /// along with their clients and are not meant.
    pub(super) fn leftovers(&self) -> Option<String> {
        let is_clean = self.tx.is_idle()
            && self.before.is_none()
            && self.state.holds_nothing()
            && self.state.local.is_empty()
            && self.locks.is_empty()
            && self.portals.is_empty()
            && self.copy.is_none()
            && !self.skips;
        (!is_clean).then(|| {
            let Self { tx, state, locks, portals, skips, .. } = self;
            let portals = portals.len();
            format!("{tx:?}, {state:?}, locks {locks:?}, {portals} portals, skips {skips}")
        })
    }

    /// Whether it holds, beside settings, what only it can go on holding.
    pub(super) fn is_held(&self) -> bool {
        !self.state.holds_nothing() || !self.locks.is_empty()
    }

    /// Whether it waits for CopyData.
    pub(super) fn is_copying_in(&self) -> bool {
        self.copy.is_some()
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.inbox.is_empty() && (self.ops.is_empty() || self.copy.is_some())
    }

    /// A whole message has come.
    pub(super) fn feed(&mut self, message: &[u8]) {
        self.inbox.push_back(message.to_vec());
    }

    /// Messages that were not looked at.
    pub(super) fn unread(&self) -> usize {
        self.inbox.len()
    }

    /// How long the next step takes by what it says.
    pub(super) fn sleep(&self) -> Duration {
        match self.ops.front() {
            Some(Op::Run(Run { statement: Statement::Select { sleep, .. }, at: 0, .. })) => *sleep,
            _ => Duration::ZERO,
        }
    }

    /// Whether the next step runs a statement.
    pub(super) fn runs(&self) -> bool {
        self.copy.is_none() && matches!(self.ops.front(), Some(Op::Run(_)))
    }

    /// Whether the next step is one that says nothing.
    pub(super) fn is_silent(&self) -> bool {
        match self.ops.front() {
            Some(_) if self.copy.is_none() => false,
            _ => self.inbox.front().is_some_and(|message| {
                let is_read = matches!(message[0], frontend::FLUSH | frontend::QUERY);
                let is_skipped = self.skips && message[0] != frontend::SYNC;
                let is_stale = matches!(message[0], backend::COPY_DONE | frontend::COPY_FAIL)
                    && self.copy.is_none();
                is_read || is_skipped || is_stale || message[0] == backend::COPY_DATA
            }),
        }
    }

    /// Does the next thing; `false` if there is nothing to do.
    pub(super) fn step(&mut self, out: &mut Vec<u8>) -> bool {
        if self.copy.is_none()
            && let Some(op) = self.ops.pop_front()
        {
            self.perform(op, out);
            return true;
        }
        let Some(message) = self.inbox.pop_front() else { return false };
        let body = &message[HEADER..];
        let result = match message[0] {
            frontend::SYNC if self.copy.is_none() => {
                self.sync(out);
                Ok(())
            }
            frontend::SYNC | frontend::FLUSH => {
                self.flushes = true;
                Ok(())
            }
            _ if self.skips => Ok(()),
            tag if self.copy.is_some() => self.copy_message(tag, body, out),
            frontend::QUERY => {
                self.query(text(body));
                Ok(())
            }
            // The rest of a COPY that has failed.
            backend::COPY_DATA | backend::COPY_DONE | frontend::COPY_FAIL => Ok(()),
            tag => self.extended(tag, body, out),
        };
        if let Err(failure) = result {
            self.fail(failure, out);
        }
        true
    }

    /// What runs, or is about to, is cancelled.
    pub(super) fn cancel(&mut self, out: &mut Vec<u8>) {
        if self.copy.is_none() && self.ops.is_empty() {
            match self.inbox.pop_front() {
                Some(message) if message[0] == frontend::QUERY => {
                    self.query(text(&message[HEADER..]));
                }
                message => {
                    self.is_simple = false;
                    if message.is_some_and(|message| {
                        message[0] == frontend::PARSE && message[HEADER] == 0
                    }) {
                        self.statements.remove(&b""[..]);
                    }
                }
            }
        }
        let message = "canceling statement due to user request".to_owned();
        self.fail((sqlstate::QUERY_CANCELED, message), out);
    }

    fn fail(&mut self, (code, message): Failure, out: &mut Vec<u8>) {
        error(out, code, &message);
        self.flushes = true;
        self.copy = None;
        self.ops.clear();
        if self.tx.is_idle() {
            self.abort();
        } else {
            self.tx = TxStatus::Failed;
        }
        match self.is_simple {
            true => self.ops.push_back(Op::EndQuery),
            false => self.skips = true,
        }
    }

    fn query(&mut self, text: &str) {
        self.is_simple = true;
        self.statements.remove(&b""[..]);
        if scripts::is_one(text) {
            self.ops.push_back(Op::Script(text.to_owned()));
            return self.ops.push_back(Op::EndQuery);
        }
        match statement::read_all(text) {
            Ok(all) => {
                let run = |statement| {
                    Op::Run(Run { statement, parameter: None, at: 0, stop_at: None, portal: None })
                };
                self.ops.extend(all.into_iter().map(run));
            }
            Err(error) => {
                let statement = Statement::Fail(Value::Literal(error.0));
                let run = Run { statement, parameter: None, at: 1, stop_at: None, portal: None };
                self.ops.push_back(Op::Run(run));
            }
        }
        if self.ops.is_empty() {
            self.ops.push_back(Op::Script(String::new()));
        }
        self.ops.push_back(Op::EndQuery);
    }

    fn perform(&mut self, op: Op, out: &mut Vec<u8>) {
        match op {
            Op::Run(run) => {
                if let Err(failure) = self.run(run, out) {
                    self.fail(failure, out);
                }
            }
            Op::Script(text) if text.is_empty() => backend::put_empty(out, backend::EMPTY_QUERY),
            Op::Script(text) => self.script(&text, out),
            Op::EndQuery => self.end(out),
        }
    }

    fn sync(&mut self, out: &mut Vec<u8>) {
        self.skips = false;
        self.end(out);
    }

    /// The end of a Query, or a Sync.
    fn end(&mut self, out: &mut Vec<u8>) {
        if self.tx.is_idle() {
            self.commit();
        }
        for (name, value) in self.reported() {
            if self.told.get(name) != Some(&value) {
                backend::put_parameter_status(out, name, &value);
                self.told.insert(name, value);
            }
        }
        ready(out, self.tx);
        self.flushes = true;
    }

    fn begin(&mut self) {
        if self.before.is_none() {
            self.before = Some(Rc::clone(&self.state));
        }
    }

    fn commit(&mut self) {
        self.before = None;
        if !self.state.local.is_empty() {
            self.change().local.clear();
        }
        self.committed.append(&mut self.written);
        self.portals.clear();
    }

    fn abort(&mut self) {
        if let Some(before) = self.before.take() {
            self.state = before;
        }
        self.written.clear();
        self.portals.clear();
    }

    fn change(&mut self) -> &mut State {
        Rc::make_mut(&mut self.state)
    }

    fn copy_message(&mut self, tag: u8, body: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let Some(copy) = &mut self.copy else { return Ok(()) };
        match tag {
            backend::COPY_DATA if body.starts_with(b"bad") => {
                Err(("22P04", format!("missing data: {}", text(body))))
            }
            backend::COPY_DATA => {
                copy.lines += body.iter().filter(|byte| **byte == b'\n').count();
                Ok(())
            }
            backend::COPY_DONE => {
                answers::complete(out, &format!("COPY {}", copy.lines));
                self.copy = None;
                Ok(())
            }
            frontend::COPY_FAIL => {
                Err(("57014", format!("COPY from stdin failed: {}", text(body))))
            }
            _ => Err(("08P01", "unexpected message type during COPY from stdin".to_owned())),
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    std::str::from_utf8(bytes).expect("simulated clients and pgherd send UTF-8")
}
