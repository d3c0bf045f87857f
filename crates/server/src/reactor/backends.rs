//! Backends: opened, logged in, lent, cleaned, closed.
//!
//! | phase      | the client | what a reply means                       | then                |
//! |------------|------------|------------------------------------------|---------------------|
//! | Connecting | -          | -                                        | Encrypting or LoggingIn |
//! | Encrypting | -          | whether TLS begins                       | LoggingIn           |
//! | LoggingIn  | -          | goes to the login                        | lent or Idle        |
//! | Introducing| -          | to the connect query; an error is logged | lent or Idle        |
//! | Idle       | -          | a notice, or the node says goodbye       | lent, or closed     |
//! | Checking   | waits      | it is there                              | Syncing or Leased   |
//! | Syncing    | waits      | the client's parameters are being set    | Leased              |
//! | Leased     | holds it   | relayed                                  | Asking, Cleaning or placed |
//! | Asking     | holds it   | tells what the session holds             | Leased, Cleaning    |
//! | Cleaning   | -          | swallowed; an error closes the backend   | placed              |
//! | Parked     | -          | a cancel request is still on its way     | placed              |
//! | Abandoned  | -          | swallowed: what runs was cancelled       | closed by the node  |

mod asking;
mod attempts;
#[cfg(test)]
mod census;
mod ending;
mod lending;
mod loss;
mod opening;
mod standing;
mod upkeep;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Instant;

use pgherd_core::hosts::Address;
use pgherd_core::timeouts::Doing;
use pgherd_core::topology::Topology;
use pgherd_wire::backend::{Report, Severity};
use pgherd_wire::replies::Show;
use pgherd_wire::{WireError, frontend, sqlstate};

use super::clients::SAID_GOODBYE;
use super::link::Link;
use super::outbox::Outbox;
use super::{Driver, PoolKey, READ, READS_PER_TURN, Readiness, Tally, Todo, Worker};
use crate::backend::Login;
use crate::databases::Database;
use crate::reactor::NodeCounts;
use crate::relay::downstream::{self, Errors, Observer, Stop};
use crate::relay::{BackendRelay, MOST_OWED, Parameters};
use crate::session::Replication;

use attempts::Opening;
pub(super) use loss::{LastSeen, Loss};

/// One connection to a node.
#[derive(Debug)]
pub struct Backend<S> {
    pub(super) link: Link<S>,
    pub(super) outbox: Outbox,
    stash: Vec<u8>,
    readable: bool,
    // The node has closed its side, or the connection broke.
    ended: bool,
    write_error: Option<std::io::Error>,
    pub(super) pool: PoolKey,
    pub(super) database: Arc<Database>,
    pub(super) address: Address,
    pub(super) phase: Phase,
    pub(super) relay: BackendRelay,
    /// What the node reports of the session.
    pub(super) reported: Parameters,
    /// What was last set on behalf of a client.
    pub(super) applied: Arc<Parameters>,
    // What it has asked for at its login, and what a reset goes back to.
    at_login: Arc<Parameters>,
    pub(super) pid: u32,
    pub(super) secret: Vec<u8>,
    /// Cancel requests on their way to it.
    pub(super) cancels: u32,
    pub(super) serial: u64,
    pub(super) opened_at: Instant,
    opening: Opening,
    // When it is too old to be kept.
    pub(super) expires_at: Instant,
    // When it was last asked something on our own behalf.
    asked_at: Instant,
    // When it was last lent.
    lent_at: Instant,
    // When it was last free.
    idle_since: Instant,
    // When its client's transaction began, and when the client last had something to wait for, or
    // nothing any more.
    pub(super) began_at: Instant,
    pub(super) changed_at: Instant,
    // The same in nanoseconds after the start: to subtract them costs less.
    began: u64,
    changed: u64,
    // Its client keeps it although it runs nothing: it holds what cannot be had elsewhere.
    pub(super) is_pinned: bool,
    // TLS was tried, and the settings allow to go on without.
    in_plain: bool,
    // Its client keeps it until it leaves: session pooling.
    is_session: bool,
    // The same, it was opened for that client, and nobody else gets it.
    replication: Option<Replication>,
    // It is reset after each lease: a client may leave what nobody sees, in the bodies of functions.
    resets_always: bool,
    /// What was done on it since somebody took that over.
    pub(super) tally: Tally,
    // What the node has answered to a question of ours.
    rows: Vec<asking::Row>,
}

/// Where a backend stands; see the table in the module's header.
#[derive(Debug)]
pub(super) enum Phase {
    Connecting,
    Encrypting,
    LoggingIn(Box<Login>),
    Introducing,
    Idle,
    // Its waiter has waited since then.
    Checking { client: usize, since: Instant },
    Syncing { client: usize, wanted: Arc<Parameters> },
    Leased { client: usize },
    // No client: it has gone meanwhile. Not asked: a cancel request is still on its way.
    Asking { client: Option<usize>, is_asked: bool },
    Cleaning { rest: Rest },
    Parked,
    Abandoned { since: Instant },
}

/// What a reset has still to do behind what runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// `pool.reset_query`, and the database's connect query.
    Queries,
    /// The connect query.
    ConnectQuery,
    Nothing,
}

impl<S> Backend<S> {
    /// Whether the client may send more: the backend's socket has taken everything so far.
    pub(super) fn takes_more(&self) -> bool {
        self.outbox.is_empty() && !self.link.is_stalled()
    }

    /// What its client does, if it is lent.
    fn doing(&self) -> Doing {
        let (since, began) = (self.changed_at, self.began_at);
        if !self.relay.is_answered() {
            Doing::Running { since, began }
        } else if self.relay.tx.is_idle() {
            Doing::Idle { since }
        } else {
            Doing::IdleInTransaction { since, began }
        }
    }

    /// Its client begins a batch, unless one is under way.
    pub(super) fn begins(&mut self, now: Instant, nanos: u64) {
        if self.relay.is_answered() {
            (self.changed_at, self.changed) = (now, nanos);
            if self.relay.tx.is_idle() {
                (self.began_at, self.began) = (now, nanos);
            }
        }
    }

    /// A batch of its client is answered.
    fn count_batch(&mut self, counts: &NodeCounts, now: Instant, nanos: u64) {
        let Self { tally, relay, began_at, began, changed, .. } = self;
        let took = nanos.saturating_sub(*changed);
        tally.queries += 1;
        tally.query_nanos += took;
        counts.batches.add_one();
        counts.batch_times.add(took);
        if relay.tx.is_idle() {
            let took = nanos.saturating_sub(*began);
            tally.transactions += 1;
            tally.transaction_nanos += took;
            counts.transaction_times.add(took);
            // Where batches are pipelined the next one has begun.
            (*began_at, *began) = (now, nanos);
        }
    }

    /// Whether its client keeps it although it runs nothing.
    pub(super) fn is_kept(&self) -> bool {
        self.is_pinned || self.is_session
    }

    /// Whether its session is asked what it holds: its client can do nothing until that is known.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asking { .. })
    }

    /// A write failed. The node's last words may still be there, so it is lost only once they
    /// are read.
    pub(super) fn write_failed(&mut self, error: std::io::Error) {
        self.readable = true;
        self.ended = true;
        self.link.became_readable(true);
        self.write_error = Some(error);
    }
}

impl<S: Read + Write> Backend<S> {
    /// Tells the node that nothing more comes.
    fn say_goodbye(&mut self) {
        let mut out = Vec::new();
        frontend::put_terminate(&mut out);
        // Best effort: it is closed either way.
        let _ = self.outbox.write(&mut self.link, [&out[..]].into_iter());
    }
}

/// What the observer of a relay call saw.
#[derive(Debug, Default)]
struct Seen {
    parameters: Vec<(String, String, Show)>,
    rows: Vec<Result<asking::Row, WireError>>,
}

impl Observer for Seen {
    fn parameter(&mut self, name: &str, value: &str, show: Show) {
        self.parameters.push((name.to_owned(), value.to_owned(), show));
    }

    fn row(&mut self, body: &[u8]) {
        self.rows.push(asking::read_row(body));
    }
}

impl<D: Driver> Worker<D> {
    pub(super) fn backend_ready(&mut self, key: usize, ready: Readiness) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        backend.readable |= ready.readable;
        backend.ended |= ready.ended;
        if ready.readable {
            backend.link.became_readable(ready.ended);
        }
        if matches!(backend.phase, Phase::Connecting) {
            match self.driver.is_connected(backend.link.socket()) {
                Ok(true) => self.connected(key),
                Ok(false) => return,
                Err(error) => {
                    let loss = Loss::unreached(&backend.address, error);
                    return self.lose_backend(key, &loss);
                }
            }
        } else if ready.writable && !backend.takes_more() {
            if let Err(error) = backend.outbox.flush(&mut backend.link) {
                return self.lose_backend(key, &Loss::Io(error));
            }
            if backend.takes_more()
                && let Phase::Leased { client } = backend.phase
            {
                self.todo.push_back(Todo::Client(client));
            }
        }
        self.pump_backend(key);
    }

    fn write_failed(&mut self, key: usize, error: std::io::Error) {
        self.backends[key].write_failed(error);
        self.todo.push_back(Todo::Backend(key));
    }

    /// Reads what a backend sent, unless its client does not take what it has already.
    pub(super) fn pump_backend(&mut self, key: usize) {
        for _ in 0..READS_PER_TURN {
            let Some(backend) = self.backends.get_mut(key) else { return };
            if !backend.readable || self.is_suspended {
                return;
            }
            if let Phase::Leased { client } = backend.phase
                && !self.clients[client].takes_more()
            {
                return;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let stashed = backend.stash.len();
            if buffer.len() < stashed + READ {
                buffer.resize(stashed + READ, 0);
            }
            buffer[..stashed].copy_from_slice(&backend.stash);
            let room = buffer.len() - stashed;
            match backend.link.read(&mut buffer[stashed..]) {
                Ok(0) => self.lose_backend(key, &Loss::Closed),
                Ok(n) => {
                    // A short read has drained the socket, unless its end is behind it.
                    backend.readable = backend.link.may_have_more(n, room) || backend.ended;
                    backend.stash.clear();
                    self.backend_sent(key, &buffer[..stashed + n]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    backend.readable = false;
                    if let Some(error) = backend.write_error.take() {
                        self.lose_backend(key, &Loss::Io(error));
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => self.lose_backend(key, &error.into()),
            }
            self.buffer = buffer;
        }
        if self.backends.get(key).is_some_and(|backend| backend.readable) {
            self.todo.push_back(Todo::Backend(key));
        }
    }

    fn backend_sent(&mut self, key: usize, input: &[u8]) {
        let mut at = 0;
        while at < input.len() {
            let Some(backend) = self.backends.get_mut(key) else { return };
            let used = match backend.phase {
                Phase::Connecting => return,
                Phase::Encrypting => self.encryption_reply(key, &input[at..]),
                Phase::LoggingIn(_) => self.login_reply(key, &input[at..]),
                _ => self.relay_reply(key, &input[at..]),
            };
            match used {
                Ok(0) => break,
                Ok(used) => at += used,
                Err(loss) => return self.lose_backend(key, &loss),
            }
        }
        if let Some(backend) = self.backends.get_mut(key) {
            backend.stash.extend_from_slice(&input[at..]);
        }
    }

    fn relay_reply(&mut self, key: usize, input: &[u8]) -> Result<usize, Loss> {
        let Self { backends, clients, splice, judge, .. } = self;
        let backend = &mut backends[key];
        // What comes before the holder has sent anything follows from what others did: it may be
        // the node's farewell behind the last answer to the client before.
        let mut holder = match backend.phase {
            Phase::Leased { client } | Phase::Asking { client: Some(client), .. } => {
                clients.get_mut(client).filter(|client| !client.replay.is_unsent())
            }
            _ => None,
        };
        let is_asked = matches!(backend.phase, Phase::Asking { .. });
        // Where there is no client, or it could be served elsewhere, an error is looked at
        // before anybody sees it.
        let errors = match &holder {
            Some(client) if !client.replay.is_intact() && !is_asked => Errors::Pass,
            _ => Errors::Stop,
        };
        let mut seen = Seen::default();
        splice.clear();
        let relay = holder.as_deref_mut().map(|client| &mut client.relay);
        let relayed =
            downstream::relay(relay, &mut backend.relay, input, errors, &mut seen, splice);
        if relayed.is_err()
            && !splice.is_empty()
            && let Some(client) = holder.as_deref_mut().filter(|_| !is_asked)
        {
            client.answer(splice.slices(input), !backend.relay.shown);
        }
        let mut progress = relayed?;
        if progress.stop == Stop::FirstError {
            let error = &input[progress.consumed..];
            let (fields, size) = downstream::first_error(error)?;
            let ends = downstream::ends_connection(&fields);
            if matches!(backend.phase, Phase::Introducing) && !ends {
                let (node, said) = (self.node_name(self.backends[key].pool), fields.message);
                // Whoever may name any database has one failing for each.
                if self.has_room_for_a_line() {
                    tracing::warn!(%node, said, code = fields.code, "the connect query failed");
                }
                // The same error is not looked at again.
                self.backends[key].relay.shown = true;
                let rest = self.relay_reply(key, &input[progress.consumed..])?;
                return Ok(progress.consumed + rest);
            }
            let Some(client) = holder.as_deref_mut().filter(|_| !is_asked) else {
                let said = format!("{} (SQLSTATE {})", fields.message, fields.code);
                return Err(match backend.phase {
                    Phase::Syncing { .. } if !ends => {
                        Loss::Parameters { said, raw: error[..size].to_vec() }
                    }
                    _ => Loss::Said(said),
                });
            };
            let refused = fields.code == sqlstate::READ_ONLY_TRANSACTION;
            if (ends || refused) && client.may_move(judge) {
                let said = format!("{} (SQLSTATE {})", fields.message, fields.code);
                return Err(if refused { Loss::ReadOnly(said) } else { Loss::Said(said) });
            }
            client.answer(splice.slices(input), true);
            // Ranges in the splice are of `more` from here on.
            let more = &input[progress.consumed..];
            let relay = Some(&mut client.relay);
            splice.clear();
            let next =
                downstream::relay(relay, &mut backend.relay, more, Errors::Pass, &mut seen, splice);
            client.answer(splice.slices(more), false);
            let next = next?;
            progress.consumed += next.consumed;
            progress.stop = next.stop;
        } else if let Some(client) = holder
            && !splice.is_empty()
        {
            client.answer(splice.slices(input), !backend.relay.shown);
        }
        for row in seen.rows {
            self.backends[key].rows.push(row?);
        }
        self.note_parameters(key, seen.parameters);
        if progress.stop == Stop::Block {
            self.refuse_block(key);
            return Ok(progress.consumed);
        }
        let backend = &self.backends[key];
        if let Phase::Leased { client } = backend.phase
            && backend.relay.replies.is_copying_in()
            && self.clients[client].is_terminating()
        {
            self.todo.push_back(Todo::Client(client));
        }
        if self.draining
            && let Phase::Leased { client } = backend.phase
            && self.dismiss_if_streaming(client)
        {
            return Ok(progress.consumed);
        }
        self.go_on_with_client(key);
        if self.backends[key].relay.has_only_named() {
            self.todo.push_back(Todo::EndLease(key));
        }
        let (now, nanos, backend) = (self.now, self.nanos, &mut self.backends[key]);
        backend.tally.sent += progress.consumed as u64;
        if progress.stop == Stop::Ready {
            if matches!(backend.phase, Phase::Leased { .. }) {
                let counts = &self.proxy.counts.of_core(self.core)[backend.pool.node.index()];
                backend.count_batch(counts, now, nanos);
            }
            let backend = &mut self.backends[key];
            (backend.changed_at, backend.changed) = (now, nanos);
            self.settled(key);
        }
        Ok(progress.consumed)
    }

    /// Goes on with a client that waits for something else than the end of its batch.
    fn go_on_with_client(&mut self, key: usize) {
        let Self { backends, clients, todo, .. } = self;
        let backend = &backends[key];
        let Phase::Leased { client: client_key } = backend.phase else { return };
        let client = &mut clients[client_key];
        // After an error everything is skipped up to a Sync, a Query too: what was to be the end of
        // the batch was none, and nothing tells that it is answered.
        let skips = backend.relay.replies.is_skipping();
        if skips && client.is_terminating() {
            return self.close_client(client_key, SAID_GOODBYE);
        }
        if client.has_its_names() || skips {
            client.resume();
            todo.push_back(Todo::Client(client_key));
        }
    }

    fn note_parameters(&mut self, key: usize, parameters: Vec<(String, String, Show)>) {
        for (name, value, show) in parameters {
            let backend = &mut self.backends[key];
            backend.reported.set(&name, &value);
            // What it is for a client that has the backend for itself the node knows.
            if backend.replication.is_some() {
                continue;
            }
            if let (Phase::Leased { client }, Show::Client) = (&backend.phase, show) {
                let client = *client;
                // In a whole session nothing is set for the client behind its RESET.
                match backend.relay.resets && !backend.is_session {
                    true => self.client_reset(client, &name, &value),
                    false => self.client_set(client, &name, &value),
                }
            }
        }
    }

    /// A statement has left a transaction open, where pooling is by statement.
    fn refuse_block(&mut self, key: usize) {
        let backend = &self.backends[key];
        let Phase::Leased { client } = backend.phase else { return };
        let message = format!(
            "transaction blocks are refused: a client of database \"{}\" holds a backend for one \
             statement (pool mode \"statement\")",
            backend.database.name
        );
        let detail = "the transaction is rolled back";
        let hint = "leave BEGIN out, or set the pool mode to \"transaction\"";
        self.dismiss(client, &fatal(sqlstate::FEATURE_NOT_SUPPORTED, &message, detail, hint));
    }

    /// A Query or Sync was settled: goes on to the next phase where nothing else is owed.
    fn settled(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        backend.relay.resets = false;
        if !backend.relay.replies.is_empty() {
            // Not as soon as it may: it would go on by one batch at a time.
            if let Phase::Leased { client } = backend.phase
                && backend.relay.replies.len() <= MOST_OWED / 2
                && self.clients[client].is_held_back()
            {
                self.todo.push_back(Todo::Client(client));
            }
            return;
        }
        match &backend.phase {
            Phase::Syncing { client, wanted } => {
                let client = *client;
                backend.applied = Arc::clone(wanted);
                if backend.is_pinned {
                    backend.phase = Phase::Leased { client };
                    self.take_called_off(client);
                    return self.holds(client, key);
                }
                if self.take_called_off(client) {
                    self.called_off(client);
                    return self.place(key);
                }
                self.lend(key, client);
            }
            Phase::Asking { client, .. } => {
                let client = *client;
                self.asked(key, client);
            }
            Phase::Cleaning { .. } => self.has_reset(key),
            Phase::Introducing => self.introduced(key),
            Phase::Checking { client, .. } => {
                let client = *client;
                if self.take_called_off(client) {
                    self.called_off(client);
                    return self.place(key);
                }
                self.link_checked(key, client);
            }
            Phase::Leased { client } => {
                let client = *client;
                if self.clients[client].is_terminating() {
                    self.close_client(client, SAID_GOODBYE);
                } else if backend.relay.is_quiet()
                    && self.clients[client].relay.is_between_messages()
                {
                    self.end_turn(key, client);
                } else {
                    // The next batch may have come while this one was not answered.
                    self.clients[client].resume();
                    self.todo.push_back(Todo::Client(client));
                }
            }
            Phase::Connecting
            | Phase::Encrypting
            | Phase::LoggingIn(_)
            | Phase::Idle
            | Phase::Parked
            | Phase::Abandoned { .. } => {}
        }
    }

    /// Which of a node's pools it is, for people: `database "app" and user "clerk"`.
    pub(super) fn pool_name(&self, pool: PoolKey) -> String {
        let (database, user) = (self.proxy.databases.get(pool.database), pool.user);
        format!("database \"{}\" and user \"{}\"", database.name, self.proxy.users.get(user).name)
    }

    pub(super) fn node_name(&self, pool: PoolKey) -> String {
        let topology: &Topology = &self.proxy.topology.load();
        topology.node(pool.node).name.to_string()
    }
}

/// An error for a client whose backend cannot be had.
pub(super) fn fatal<'a>(
    code: &'a str,
    message: &'a str,
    detail: &'a str,
    hint: &'a str,
) -> Report<'a> {
    Report { severity: Severity::Fatal, code, message, detail, hint }
}
