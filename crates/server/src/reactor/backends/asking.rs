//! What a session holds when its client has nothing more to run: asked, carried along, pinned.

use std::borrow::Cow;
use std::sync::Arc;

use pgherd_core::held::{self, Held};
use pgherd_core::reset::{Answer, SCRIPT};
use pgherd_core::settings::PinPolicy;
use pgherd_core::sql::StateKind;
use pgherd_wire::WireError;
use pgherd_wire::backend::data_row;
use pgherd_wire::sqlstate;

use super::{Loss, Phase, Rest, fatal};
use crate::pins::Pin;
use crate::reactor::{Driver, Judge, Todo, Worker};
use crate::relay::{Classify, Parameters};

/// The setting of which the node cannot say whether it was set.
const LIMIT: &str = "statement_timeout";

/// A row that the node has answered us with: text, and nothing that is not UTF-8.
pub(super) type Row = Vec<Option<String>>;

/// Reads a row of an answer to our own question. What is not UTF-8, because the client has set
/// another encoding, is no such row.
pub(super) fn read_row(body: &[u8]) -> Result<Row, WireError> {
    let columns = data_row(body)?;
    let text = |column: Option<&[u8]>| match column {
        Some(bytes) => std::str::from_utf8(bytes).map(|text| Some(text.to_owned())),
        None => Ok(None),
    };
    let row: Result<Row, _> = columns.into_iter().map(text).collect();
    row.map_err(|_| WireError::NotText { tag: 'D', field: "column" })
}

/// Bytes of names and values of settings that go along with one client: 64 KiB. Programs that set
/// more set another name each time.
const MOST_SETTINGS: usize = 64 * 1024;

/// Bytes of the statements made with PREPARE that go along with one client: 64 KiB.
const MOST_PREPARED: usize = 64 * 1024;

/// Why a session is not served any longer.
enum Refusal {
    /// Its settings take so many bytes.
    Settings { bytes: usize },
    /// The settings say so.
    Policy,
    /// So many are.
    Limit { pinned: usize, limit: usize },
}

impl<D: Driver> Worker<D> {
    /// The client has all its answers and no transaction is open: its lease ends, unless it has the
    /// backend until it leaves, or its session has to be asked first what it holds, or is pinned.
    pub(super) fn end_turn(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        // A session that was only greeted has run nothing and needs no backend yet.
        let stays = backend.is_session && !self.clients[client].replay.is_unsent();
        if !stays && backend.relay.suspicion.is_due() {
            backend.phase = Phase::Asking { client: Some(client), is_asked: false };
            backend.asked_at = self.now;
            return self.ask_what_is_held(key);
        }
        if stays && self.live.fast_close && self.has_changed(&self.backends[key]) {
            return self.dismiss_with_backend(client);
        }
        if stays || self.backends[key].is_pinned {
            self.clients[client].resume();
            if self.draining {
                return self.dismiss_if_idle(client);
            }
            return self.todo.push_back(Todo::Client(client));
        }
        self.end_lease(key, client);
    }

    /// No cancel request is on its way any more.
    pub(in crate::reactor) fn ask_if_put_off(&mut self, key: usize) {
        if self.backends.contains(key) {
            self.ask_what_is_held(key);
        }
    }

    /// Asks, unless a cancel request that is on its way could hit the question.
    fn ask_what_is_held(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        let Phase::Asking { client: Some(client), is_asked } = &mut backend.phase else { return };
        if *is_asked || backend.cancels > 0 {
            return;
        }
        *is_asked = true;
        let parameters = Arc::clone(&self.clients[*client].parameters);
        let known = parameters.iter().map(|(name, _)| name).filter(|name| name.contains('.'));
        let script = held::script(backend.relay.suspicion.names().chain(known));
        self.ask_for_rows(key, &script);
    }

    fn ask_for_rows(&mut self, key: usize, sql: &str) {
        let backend = &mut self.backends[key];
        backend.rows.clear();
        backend.relay.tells_rows = true;
        // An error is looked at before anybody sees it.
        backend.relay.shown = false;
        self.ask(key, sql);
    }

    /// The node has said what the session holds.
    pub(super) fn asked(&mut self, key: usize, client: Option<usize>) {
        let backend = &mut self.backends[key];
        backend.relay.tells_rows = false;
        let rows = std::mem::take(&mut backend.rows);
        let Some(client) = client else { return self.clean(key) };
        let held = Held::read(rows.iter().map(|row| {
            let column = |at: usize| row.get(at).and_then(Option::as_deref);
            [column(0), column(1), column(2)]
        }));
        let Some(mut held) = held else {
            let said = "it was asked what the session holds and answered something else";
            return self.lose_backend(key, &Loss::Said(said.to_owned()));
        };
        let mut there = parameters_of(&mut held, &mut self.judge);
        // Set to its default, or reset?
        if !self.backends[key].relay.suspicion.has_reset()
            && self.clients[client].parameters.get(LIMIT).is_some()
        {
            there.set(LIMIT, &held.statement_timeout);
        }
        let wanted = self.carry(client, &there);
        if wanted.bytes() > MOST_SETTINGS {
            let refusal = Refusal::Settings { bytes: wanted.bytes() };
            return self.refuse(key, client, "", &refusal);
        }
        let login = &self.proxy.users.get(self.backends[key].pool.user).name;
        let holds = described(&held, login);
        let policy = self.proxy.pin;
        let is_pinned = holds.is_some() && policy != PinPolicy::Off;
        self.backends[key].relay.suspicion.asked(is_pinned);
        let Some(holds) = holds.filter(|_| is_pinned) else { return self.end_lease(key, client) };
        match self.pin(key, client, &held, &holds) {
            Ok(()) => {}
            Err(refusal) => return self.refuse(key, client, &holds, &refusal),
        }
        let backend = &mut self.backends[key];
        let change = wanted.change_from(&there);
        if change.is_empty() {
            backend.phase = Phase::Leased { client };
            return self.end_turn(key, client);
        }
        // What it has reset is for it what it has asked for at its login.
        backend.phase = Phase::Syncing { client, wanted };
        self.clients[client].syncing(key);
        change.iter().for_each(|sql| self.ask(key, sql));
    }

    /// Remembers the settings of a client's session: those that it has asked for at its login, and
    /// those that are there, as are the statements made with PREPARE.
    fn carry(&mut self, client: usize, there: &Parameters) -> Arc<Parameters> {
        let mut wanted = (*self.clients[client].at_login).clone();
        there.iter().for_each(|(name, value)| wanted.set(name, value));
        wanted.set_prepared_of(there);
        self.set_parameters(client, wanted);
        Arc::clone(&self.clients[client].parameters)
    }

    fn pin(&mut self, key: usize, client: usize, held: &Held, holds: &str) -> Result<(), Refusal> {
        if self.proxy.pin == PinPolicy::Refuse {
            return Err(Refusal::Policy);
        }
        let backend = &self.backends[key];
        let pool = backend.pool;
        let cause = backend.relay.suspicion.cause(&kinds_of(held));
        let pin = Pin {
            node: self.node_name(pool),
            database: self.backends[key].database.name.to_string(),
            user: self.proxy.users.get(pool.user).name.to_string(),
            client: self.client_pid(client),
            backend: backend.pid,
            holds: holds.to_owned(),
            statement: cause.unwrap_or("not known").to_owned(),
            since: self.now,
        };
        let id = (self.core, backend.serial);
        let limit = self.pool(pool).plan.pin_limit;
        match self.proxy.pins.add(id, pool, limit, pin) {
            Ok(()) => {}
            Err(pinned) => return Err(Refusal::Limit { pinned, limit }),
        }
        self.backends[key].is_pinned = true;
        self.clients[client].one_batch = false;
        Ok(())
    }

    fn refuse(&mut self, key: usize, client: usize, holds: &str, refusal: &Refusal) {
        let backend = &mut self.backends[key];
        backend.phase = Phase::Leased { client };
        let (pool, cause) = (backend.pool, backend.relay.suspicion.cause(&[]).map(str::to_owned));
        let detail = cause.map_or_else(String::new, |cause| format!("by the statement: {cause}"));
        let (code, message, hint) = match refusal {
            Refusal::Settings { bytes } => (
                sqlstate::LIMIT_EXCEEDED,
                format!(
                    "the settings of the session take {bytes} bytes, and at most {MOST_SETTINGS} go \
                     along with a client"
                ),
                "set the same names again, or let settings end with their transaction (SET LOCAL)",
            ),
            Refusal::Policy => (
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!(
                    "the session would keep {holds}, and its pool pins no session to a backend \
                     (pool.pin is \"refuse\")"
                ),
                "let it end with the transaction (ON COMMIT DROP, pg_advisory_xact_lock), or set \
                 pool.pin to \"on\"",
            ),
            Refusal::Limit { pinned, limit } => (
                sqlstate::LIMIT_EXCEEDED,
                format!(
                    "the session would keep {holds}, and {pinned} of at most {limit} backends of its \
                     pool are pinned (pool.pin_limit): {}",
                    self.node_name(pool)
                ),
                "end what the others hold, or raise pool.pin_limit",
            ),
        };
        self.dismiss(client, &fatal(code, &message, &detail, hint));
    }

    /// Whoever held this backend holds it no more.
    pub(super) fn unpin(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if std::mem::take(&mut backend.is_pinned) {
            self.proxy.pins.remove((self.core, backend.serial));
        }
    }

    /// Makes a session what it was at its login, or closes it.
    pub(super) fn reset(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if backend.relay.suspicion.is_lasting() {
            return self.close_backend(key);
        }
        let in_block = !backend.relay.tx.is_idle();
        backend.phase = Phase::Cleaning { rest: Rest::Queries };
        backend.relay.begin_lease();
        if in_block {
            self.ask(key, "ROLLBACK");
        }
        self.ask_for_rows(key, SCRIPT);
    }

    /// The script that resets the session has run, or what it has left to do.
    pub(super) fn has_reset(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if std::mem::take(&mut backend.relay.tells_rows) {
            let rows = std::mem::take(&mut backend.rows);
            let first = rows.first().map(Vec::as_slice).unwrap_or_default();
            let answer = Answer::read(|at| first.get(at).and_then(Option::as_deref));
            let kept = backend.relay.statements.len() as u64;
            let Some(answer) = answer.filter(|answer| answer.is_reset(kept)) else {
                return self.close_backend(key);
            };
            if let Some(deallocate) = answer.deallocate {
                return self.ask(key, &deallocate);
            }
        }
        let proxy = Arc::clone(&self.proxy);
        let database = Arc::clone(&backend.database);
        while let Phase::Cleaning { rest } = &mut backend.phase {
            let (left, sql) = match rest {
                Rest::Queries => (Rest::ConnectQuery, Cow::Borrowed(&*proxy.reset_query)),
                Rest::ConnectQuery => (Rest::Nothing, Cow::Owned(database.connect_query())),
                Rest::Nothing => break,
            };
            *rest = left;
            if !sql.is_empty() {
                return self.ask(key, &sql);
            }
        }
        backend.relay.suspicion.cleaned();
        backend.applied = Arc::clone(&backend.at_login);
        self.place(key);
    }
}

/// The settings of a session, its role, and its statements made with PREPARE.
///
/// One that cannot be made elsewhere counts as left over: the text that it came in holds more than
/// the PREPARE, or they take too many bytes.
fn parameters_of(held: &mut Held, judge: &mut Judge) -> Parameters {
    let mut parameters = Parameters::default();
    held.settings.iter().for_each(|(name, value)| parameters.set(name, value));
    if let Some(role) = &held.role {
        parameters.set("role", role);
    }
    let mut bytes = 0;
    for (name, text) in &held.prepared {
        let class = judge.classify(text.as_bytes());
        let is_all = class.statements == 1 && class.leaves_state == Some(StateKind::Prepared);
        bytes += name.len() + text.len();
        if is_all && bytes <= MOST_PREPARED {
            parameters.prepare(name, text);
        } else {
            held.leftovers.prepared += 1;
        }
    }
    parameters
}

/// What only this session can go on holding, in words.
fn described(held: &Held, login: &str) -> Option<String> {
    let mut parts = Vec::new();
    if !held.leftovers.is_empty() {
        parts.push(held.leftovers.to_string());
    }
    if held.session_user != login {
        parts.push(format!("the session authorization of {}", held.session_user));
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// The kinds of statements that leave what was found.
fn kinds_of(held: &Held) -> Vec<StateKind> {
    let found = [
        (held.leftovers.cursors > 0, StateKind::HoldCursor),
        (held.leftovers.channels > 0, StateKind::Listen),
        (held.leftovers.advisory_locks > 0, StateKind::AdvisoryLock),
        (held.leftovers.prepared > 0, StateKind::Prepared),
        (held.leftovers.temporary, StateKind::Temporary),
    ];
    found.into_iter().filter_map(|(is_there, kind)| is_there.then_some(kind)).collect()
}
