//! Backends: opened, logged in, lent, cleaned, closed.
//!
//! | phase      | the client | what a reply means                       | then                |
//! |------------|------------|------------------------------------------|---------------------|
//! | Connecting | -          | -                                        | LoggingIn           |
//! | LoggingIn  | -          | goes to the login                        | lent or Idle        |
//! | Idle       | -          | a notice, or the node says goodbye       | lent, or closed     |
//! | Syncing    | waits      | the client's parameters are being set    | Leased              |
//! | Leased     | holds it   | relayed                                  | Cleaning or placed  |
//! | Cleaning   | -          | swallowed; an error closes the backend   | placed              |
//! | Parked     | -          | a cancel request is still on its way     | placed              |

use std::io::Read;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use pgherd_core::pool::Placed;
use pgherd_core::topology::Topology;
use pgherd_wire::backend::{Report, Severity};
use pgherd_wire::frontend;
use pgherd_wire::replies::{Expect, Show};
use pgherd_wire::{WireError, sqlstate};

use super::driver::Entry;
use super::outbox::Outbox;
use super::{Driver, Mail, PoolKey, READ, READS_PER_TURN, Readiness, Todo, Token, Worker};
use crate::backend::login::Welcome;
use crate::backend::{Identity, Login, LoginError, LoginStep};
use crate::relay::downstream::{self, Errors, Observer, Stop};
use crate::relay::{BackendRelay, Parameters};

/// One connection to a node.
#[derive(Debug)]
pub struct Backend<S> {
    pub(super) stream: S,
    pub(super) outbox: Outbox,
    stash: Vec<u8>,
    readable: bool,
    // The node has closed its side, or the connection broke.
    ended: bool,
    write_error: Option<std::io::Error>,
    pub(super) pool: PoolKey,
    pub(super) address: SocketAddr,
    pub(super) phase: Phase,
    pub(super) relay: BackendRelay,
    /// What the node reports of the session.
    pub(super) reported: Parameters,
    /// What was last set on behalf of a client.
    pub(super) applied: Arc<Parameters>,
    pub(super) pid: u32,
    pub(super) secret: Vec<u8>,
    /// Cancel requests on their way to it.
    pub(super) cancels: u32,
    pub(super) serial: u64,
    opened_at: Instant,
    // When it was last asked something on our own behalf.
    asked_at: Instant,
}

/// Where a backend stands; see the table in the module's header.
#[derive(Debug)]
pub(super) enum Phase {
    Connecting,
    LoggingIn(Box<Login>),
    Idle,
    Syncing { client: usize, wanted: Arc<Parameters> },
    Leased { client: usize },
    Cleaning,
    Parked,
}

impl<S> Backend<S> {
    /// Whether the client may send more: the backend's socket has taken everything so far.
    pub(super) fn takes_more(&self) -> bool {
        self.outbox.is_empty()
    }

    /// A write failed. The node's last words may still be there, so it is lost only once they
    /// are read.
    pub(super) fn write_failed(&mut self, error: std::io::Error) {
        self.readable = true;
        self.ended = true;
        self.write_error = Some(error);
    }
}

/// Why a backend is of no more use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Loss {
    #[error("the node closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(#[from] std::io::Error),
    #[error("the node broke the protocol: {0}")]
    Protocol(#[from] WireError),
    #[error("{0}")]
    Login(LoginError),
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("{0}")]
    Said(String),
    #[error("{0}")]
    ReadOnly(String),
    /// The node refused the parameters that a client asked for at login, in these words.
    #[error("{said}")]
    Parameters { said: String, raw: Vec<u8> },
    #[error("the node was taken out of rotation")]
    NodeDown,
}

impl Loss {
    /// Whether it may be the whole node that is gone, and not just this one connection, refused
    /// login or session.
    fn may_be_node(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) | Self::TimedOut(_) => true,
            Self::Login(LoginError::Refused { code, .. }) => {
                may_pass(code) && code != sqlstate::TOO_MANY_CONNECTIONS
            }
            Self::Protocol(_)
            | Self::Login(_)
            | Self::Said(_)
            | Self::ReadOnly(_)
            | Self::Parameters { .. }
            | Self::NodeDown => false,
        }
    }
}

/// What the observer of a relay call saw.
#[derive(Debug, Default)]
struct Seen {
    parameters: Vec<(String, String, Show)>,
}

impl Observer for Seen {
    fn parameter(&mut self, name: &str, value: &str, show: Show) {
        self.parameters.push((name.to_owned(), value.to_owned(), show));
    }
}

impl<D: Driver> Worker<D> {
    /// Opens one backend as the pool ordered.
    pub(super) fn open_backend(&mut self, pool: PoolKey) {
        let address = self.proxy.addresses[pool.node.index()];
        let (serial, applied) = (self.serial(), self.intern(Parameters::default()));
        let key = self.backends.vacant_key();
        match self.driver.connect(address, Token::Backend(Entry::new(key, serial))) {
            Ok(stream) => {
                self.backends.insert(Backend {
                    stream,
                    outbox: Outbox::default(),
                    stash: Vec::new(),
                    readable: false,
                    ended: false,
                    write_error: None,
                    pool,
                    address,
                    phase: Phase::Connecting,
                    relay: BackendRelay::default(),
                    reported: Parameters::default(),
                    applied,
                    pid: 0,
                    secret: Vec::new(),
                    cancels: 0,
                    serial,
                    opened_at: self.now,
                    asked_at: self.now,
                });
            }
            Err(error) => {
                let loss = Loss::Io(error);
                (self.proxy.failures)(pool.node, &loss.to_string());
                self.open_failed(pool, &loss);
            }
        }
    }

    pub(super) fn backend_ready(&mut self, key: usize, ready: Readiness) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        backend.readable |= ready.readable;
        backend.ended |= ready.ended;
        if matches!(backend.phase, Phase::Connecting) {
            match self.driver.is_connected(&backend.stream) {
                Ok(true) => self.begin_login(key),
                Ok(false) => return,
                Err(error) => return self.lose_backend(key, &Loss::Io(error)),
            }
        } else if ready.writable && !backend.outbox.is_empty() {
            if let Err(error) = backend.outbox.flush(&mut backend.stream) {
                return self.lose_backend(key, &Loss::Io(error));
            }
            if backend.outbox.is_empty()
                && let Phase::Leased { client } = backend.phase
            {
                self.todo.push_back(Todo::Client(client));
            }
        }
        self.pump_backend(key);
    }

    fn begin_login(&mut self, key: usize) {
        let Self { proxy, backends, .. } = self;
        let backend = &mut backends[key];
        let user = proxy.users.get(backend.pool.user);
        let identity =
            Identity { user: &user.name, password: &user.password, database: &proxy.database };
        let mut out = Vec::new();
        backend.phase = Phase::LoggingIn(Box::new(Login::start(identity, &mut out)));
        if let Err(error) = backend.outbox.write(&mut backend.stream, [&out[..]].into_iter()) {
            self.write_failed(key, error);
        }
    }

    fn write_failed(&mut self, key: usize, error: std::io::Error) {
        self.backends[key].write_failed(error);
        self.todo.push_back(Todo::Backend(key));
    }

    /// Reads what a backend sent, unless its client does not take what it has already.
    pub(super) fn pump_backend(&mut self, key: usize) {
        for _ in 0..READS_PER_TURN {
            let Some(backend) = self.backends.get_mut(key) else { return };
            if !backend.readable {
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
            match backend.stream.read(&mut buffer[stashed..]) {
                Ok(0) => self.lose_backend(key, &Loss::Closed),
                Ok(n) => {
                    // A short read has drained the socket, unless its end is behind it.
                    backend.readable = stashed + n == buffer.len() || backend.ended;
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
                Err(error) => self.lose_backend(key, &Loss::Io(error)),
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

    fn login_reply(&mut self, key: usize, input: &[u8]) -> Result<usize, Loss> {
        let Self { proxy, backends, keys, driver, .. } = self;
        let backend = &mut backends[key];
        let Phase::LoggingIn(login) = &mut backend.phase else { return Ok(0) };
        let user = proxy.users.get(backend.pool.user);
        let identity =
            Identity { user: &user.name, password: &user.password, database: &proxy.database };
        let mut out = Vec::new();
        let mut random = |bytes: &mut [u8]| driver.random(bytes);
        let step = login.on_bytes(input, identity, keys, &mut random, &mut out);
        let (used, step) = step.map_err(Loss::Login)?;
        backend.outbox.write(&mut backend.stream, [&out[..]].into_iter())?;
        if let LoginStep::Ready(welcome) = step {
            self.opened(key, welcome);
        }
        Ok(used)
    }

    fn opened(&mut self, key: usize, welcome: Welcome) {
        let backend = &mut self.backends[key];
        backend.reported = welcome.parameters;
        backend.pid = welcome.pid;
        backend.secret = welcome.secret;
        backend.phase = Phase::Idle;
        let pool_key = backend.pool;
        let (pid, now) = (backend.pid, self.now);
        tracing::debug!(node = %self.node_name(pool_key), pid, "backend opened");
        self.counts(pool_key.node).opens.add_one();
        let pool = self.pool(pool_key);
        pool.note_success();
        let placed = pool.pool.opened(key, now);
        self.placed(pool_key, placed);
    }

    fn relay_reply(&mut self, key: usize, input: &[u8]) -> Result<usize, Loss> {
        let Self { backends, clients, splice, judge, .. } = self;
        let backend = &mut backends[key];
        let mut holder = match backend.phase {
            Phase::Leased { client } => clients.get_mut(client),
            _ => None,
        };
        // Where there is no client, or it could be served elsewhere, an error is looked at
        // before anybody sees it.
        let errors = match &holder {
            Some(client) if !client.replay.is_intact() => Errors::Pass,
            _ => Errors::Stop,
        };
        let mut seen = Seen::default();
        splice.clear();
        let relay = holder.as_deref_mut().map(|client| &mut client.relay);
        let mut progress =
            downstream::relay(relay, &mut backend.relay, input, errors, &mut seen, splice)?;
        if progress.stop == Stop::FirstError {
            let error = &input[progress.consumed..];
            let (fields, size) = downstream::first_error(error)?;
            let ends = downstream::ends_connection(&fields);
            let Some(client) = holder.as_deref_mut() else {
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
            let next = downstream::relay(
                relay,
                &mut backend.relay,
                more,
                Errors::Pass,
                &mut seen,
                splice,
            )?;
            client.answer(splice.slices(more), false);
            progress.consumed += next.consumed;
            progress.stop = next.stop;
        } else if let Some(client) = holder
            && !splice.is_empty()
        {
            client.answer(splice.slices(input), !backend.relay.shown);
        }
        self.note_parameters(key, seen.parameters);
        let backend = &self.backends[key];
        if let Phase::Leased { client } = backend.phase
            && backend.relay.replies.is_copying_in()
            && self.clients[client].is_terminating()
        {
            self.todo.push_back(Todo::Client(client));
        }
        if progress.stop == Stop::Ready {
            let backend = &self.backends[key];
            if matches!(backend.phase, Phase::Leased { .. }) {
                self.counts(backend.pool.node).batches.add_one();
            }
            self.settled(key);
        }
        Ok(progress.consumed)
    }

    fn note_parameters(&mut self, key: usize, parameters: Vec<(String, String, Show)>) {
        for (name, value, show) in parameters {
            let backend = &mut self.backends[key];
            backend.reported.set(&name, &value);
            if let (Phase::Leased { client }, Show::Client) = (&backend.phase, show) {
                let client = *client;
                match backend.relay.resets {
                    true => self.client_reset(client, &name, &value),
                    false => self.client_set(client, &name, &value),
                }
            }
        }
    }

    /// A Query or Sync was settled: goes on to the next phase where nothing else is owed.
    fn settled(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        backend.relay.resets = false;
        if !backend.relay.replies.is_empty() {
            return;
        }
        match &backend.phase {
            Phase::Syncing { client, wanted } => {
                let client = *client;
                backend.applied = Arc::clone(wanted);
                self.lend(key, client);
            }
            Phase::Cleaning => {
                backend.relay.dirty = false;
                let nothing = self.intern(Parameters::default());
                self.backends[key].applied = nothing;
                self.place(key);
            }
            Phase::Leased { client } => {
                let client = *client;
                if self.clients[client].is_terminating() {
                    self.close_client(client);
                } else if backend.relay.is_quiet()
                    && self.clients[client].relay.is_between_messages()
                {
                    self.end_lease(key, client);
                } else {
                    // The next batch may have come while this one was not answered.
                    self.clients[client].resume();
                    self.todo.push_back(Todo::Client(client));
                }
            }
            Phase::Connecting | Phase::LoggingIn(_) | Phase::Idle | Phase::Parked => {}
        }
    }

    /// A waiter or an acquiring client gets this backend: its parameters first.
    pub(super) fn link(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        backend.relay.begin_lease();
        let wanted = &self.clients[client].parameters;
        if Arc::ptr_eq(wanted, &backend.applied) {
            return self.lend(key, client);
        }
        let change = wanted.change_from(&backend.applied);
        if change.is_empty() {
            return self.lend(key, client);
        }
        backend.phase = Phase::Syncing { client, wanted: Arc::clone(wanted) };
        self.clients[client].syncing(key);
        self.ask(key, &change);
    }

    fn lend(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        backend.phase = Phase::Leased { client };
        backend.relay.begin_lease();
        let node = backend.pool.node;
        self.counts(node).leases.add_one();
        self.holds(client, key);
    }

    /// Sends a query of our own, whose replies nobody sees.
    fn ask(&mut self, key: usize, sql: &str) {
        let backend = &mut self.backends[key];
        backend.asked_at = self.now;
        backend.relay.replies.expect(Expect::Query(Show::Nobody));
        let mut out = Vec::new();
        frontend::put_query(&mut out, sql);
        if let Err(error) = backend.outbox.write(&mut backend.stream, [&out[..]].into_iter()) {
            self.write_failed(key, error);
        }
    }

    pub(super) fn end_lease(&mut self, key: usize, client: usize) {
        self.released(client);
        if self.backends[key].relay.replies.is_uncertain() {
            return self.close_backend(key);
        }
        self.clean(key);
    }

    /// Ends a lease that its client has no use for any more.
    pub(super) fn end_lease_if_quiet(&mut self, key: usize) {
        let Some(backend) = self.backends.get(key) else { return };
        if let Phase::Leased { client } = backend.phase
            && backend.relay.is_quiet()
            && self.clients[client].relay.is_between_messages()
        {
            self.end_lease(key, client);
        }
    }

    /// Makes a backend fit for the next client and places it.
    fn clean(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if !backend.relay.dirty && backend.relay.tx.is_idle() {
            return self.place(key);
        }
        let in_block = !backend.relay.tx.is_idle();
        backend.phase = Phase::Cleaning;
        backend.relay.begin_lease();
        // Two queries: DISCARD ALL refuses to run together with anything else.
        if in_block {
            self.ask(key, "ROLLBACK");
        }
        self.ask(key, "DISCARD ALL");
    }

    /// The client of a leased backend is gone.
    ///
    /// `is_whole`: the last message it sent was relayed to its end.
    pub(super) fn abandon(&mut self, key: usize, is_whole: bool) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        let relay = &backend.relay;
        let is_answered = relay.replies.is_empty() && !relay.replies.is_skipping();
        let is_fit = is_answered
            && is_whole
            && !relay.awaits_sync
            && !relay.replies.is_uncertain()
            && backend.outbox.is_empty();
        backend.phase = Phase::Cleaning;
        if is_fit {
            return self.clean(key);
        }
        // Something still runs, or the backend has half a message: it ends with its connection.
        // But it does not look at that before it has something to say, which may be in hours.
        if !is_answered {
            self.send_cancel(key);
        }
        self.close_backend(key);
    }

    /// A free and clean backend goes to the next in need, unless it is too old.
    fn place(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if backend.cancels > 0 {
            backend.phase = Phase::Parked;
            return;
        }
        if self.now.saturating_duration_since(backend.opened_at) > self.proxy.max_lifetime {
            return self.close_backend(key);
        }
        backend.phase = Phase::Idle;
        backend.relay.shown = false;
        let (pool_key, now) = (backend.pool, self.now);
        let proxy = Arc::clone(&self.proxy);
        let pool = self.pool(pool_key);
        if let Some(core) = pool.core_in_need(&proxy.shares) {
            pool.pool.give_busy();
            pool.publish(&proxy.shares);
            return self.move_backend(key, core);
        }
        let placed = pool.pool.release(key, now);
        self.placed(pool_key, placed);
    }

    pub(super) fn place_if_parked(&mut self, key: usize) {
        if matches!(self.backends[key].phase, Phase::Parked) {
            self.place(key);
        }
    }

    fn placed(&mut self, pool_key: PoolKey, placed: Placed<usize, usize>) {
        let proxy = Arc::clone(&self.proxy);
        self.pool(pool_key).publish(&proxy.shares);
        match placed {
            Placed::Lent(client, backend) => self.link(backend, client),
            Placed::Idle => self.balance(pool_key),
        }
    }

    /// Gives idle backends to cores in need, and opens for waiters where slots came free.
    pub(super) fn balance(&mut self, pool_key: PoolKey) {
        let proxy = Arc::clone(&self.proxy);
        let now = self.now;
        let pool = self.pool(pool_key);
        pool.publish(&proxy.shares);
        if let Some(core) = pool.core_in_need(&proxy.shares)
            && let Some(backend) = pool.pool.give_idle()
        {
            pool.publish(&proxy.shares);
            return self.move_backend(backend, core);
        }
        let pool = self.pool(pool_key);
        if !pool.is_backing_off(now) && pool.pool.wants_open() {
            self.open_backend(pool_key);
        }
    }

    fn move_backend(&mut self, key: usize, core: usize) {
        let mut backend = self.backends.remove(key);
        self.driver.deregister(&mut backend.stream);
        self.driver.post(core, Mail::Backend(backend.pool, Box::new(backend)));
    }

    pub(super) fn adopt_backend(&mut self, pool_key: PoolKey, mut backend: Backend<D::Stream>) {
        backend.serial = self.serial();
        // Whatever came while it moved was not reported to anybody.
        backend.readable = true;
        backend.applied = self.intern((*backend.applied).clone());
        let entry = self.backends.vacant_entry();
        let key = entry.key();
        let token = Token::Backend(Entry::new(key, backend.serial));
        let registered = self.driver.register(&mut backend.stream, token);
        entry.insert(backend);
        let now = self.now;
        let placed = self.pool(pool_key).pool.adopt(key, now);
        self.placed(pool_key, placed);
        match registered {
            Ok(()) => self.todo.push_back(Todo::Backend(key)),
            Err(error) => self.lose_backend(key, &Loss::Io(error)),
        }
    }

    /// A backend is of no more use: closes it, and decides what becomes of its client.
    pub(super) fn lose_backend(&mut self, key: usize, loss: &Loss) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        let (pool_key, pid) = (backend.pool, backend.pid);
        let phase = std::mem::replace(&mut backend.phase, Phase::Parked);
        let node = self.node_name(pool_key);
        // An idle backend may be ended by somebody, or by a time-out: the probe knows better.
        if loss.may_be_node() && !matches!(phase, Phase::Idle) {
            (self.proxy.failures)(pool_key.node, &loss.to_string());
        }
        match phase {
            Phase::Connecting | Phase::LoggingIn(_) => {
                self.drop_backend(key);
                self.open_failed(pool_key, loss);
            }
            Phase::Idle => {
                tracing::info!(%node, pid, %loss, "idle backend lost");
                self.pool(pool_key).pool.remove_idle(|idle| *idle == key);
                self.drop_backend(key);
                self.balance(pool_key);
            }
            Phase::Syncing { client, .. } | Phase::Leased { client } => {
                tracing::warn!(%node, pid, %loss, "backend lost while in use");
                let said_goodbye = self.backends[key].relay.said_goodbye;
                self.drop_backend(key);
                // The client first: a backend opened in the free slot may get the same key.
                self.lost_backend(client, pool_key, loss, said_goodbye);
                self.slot_freed(pool_key);
            }
            Phase::Cleaning | Phase::Parked => {
                tracing::info!(%node, pid, %loss, "backend lost");
                self.drop_backend(key);
                self.slot_freed(pool_key);
            }
        }
    }

    /// Closes a borrowed backend.
    fn close_backend(&mut self, key: usize) {
        let pool_key = self.backends[key].pool;
        self.drop_backend(key);
        self.slot_freed(pool_key);
    }

    fn drop_backend(&mut self, key: usize) {
        let mut backend = self.backends.remove(key);
        self.driver.deregister(&mut backend.stream);
    }

    fn slot_freed(&mut self, pool_key: PoolKey) {
        let now = self.now;
        let proxy = Arc::clone(&self.proxy);
        let pool = self.pool(pool_key);
        let opens = pool.pool.closed();
        pool.publish(&proxy.shares);
        if opens && pool.is_backing_off(now) {
            pool.pool.open_failed();
        } else if opens {
            self.open_backend(pool_key);
        } else if let Some(core) = pool.core_in_need(&proxy.shares) {
            self.driver.post(core, Mail::Balance(pool_key));
        }
    }

    fn open_failed(&mut self, pool_key: PoolKey, loss: &Loss) {
        let (node, now) = (self.node_name(pool_key), self.now);
        tracing::warn!(%node, %loss, "cannot open a backend");
        self.counts(pool_key.node).failed_opens.add_one();
        let pool = self.pool(pool_key);
        pool.pool.open_failed();
        pool.note_failure(loss.to_string(), now);
        let final_word = match loss {
            Loss::Login(LoginError::Refused { code, raw, .. }) if !may_pass(code) => Some(&raw[..]),
            Loss::Login(LoginError::Method(_) | LoginError::Scram(_)) => Some(&[][..]),
            _ => None,
        };
        match final_word {
            Some(raw) => {
                while let Some((client, _)) = self.pool(pool_key).pool.pop_waiter(now) {
                    self.refuse_waiter(client, pool_key, raw, loss);
                }
            }
            None => self.reroute_waiters(pool_key),
        }
        let proxy = Arc::clone(&self.proxy);
        self.pool(pool_key).publish(&proxy.shares);
    }

    /// Waiters for a replica need not wait for it: another node serves them as well.
    fn reroute_waiters(&mut self, pool_key: PoolKey) {
        let topology = self.proxy.topology.load_full();
        if topology.coordinator().primary == pool_key.node {
            return;
        }
        let now = self.now;
        while let Some((client, _)) = self.pool(pool_key).pool.pop_waiter(now) {
            self.acquire_elsewhere(client, pool_key);
        }
    }

    pub(super) fn time_out_backends(&mut self) {
        let (now, limit) = (self.now, self.proxy.connect_timeout);
        let age = |backend: &Backend<_>| now.saturating_duration_since(backend.opened_at);
        let late = self.backends_where(|backend| match backend.phase {
            Phase::Connecting | Phase::LoggingIn(_) => age(backend) > limit,
            Phase::Syncing { .. } | Phase::Cleaning => {
                now.saturating_duration_since(backend.asked_at) > limit
            }
            Phase::Idle | Phase::Leased { .. } | Phase::Parked => false,
        });
        for key in late {
            self.lose_backend(key, &Loss::TimedOut(limit));
        }
        let lifetime = self.proxy.max_lifetime;
        let old = self.backends_where(|backend| {
            matches!(backend.phase, Phase::Idle) && age(backend) > lifetime
        });
        for key in old {
            let pool_key = self.backends[key].pool;
            self.pool(pool_key).pool.remove_idle(|idle| *idle == key);
            self.say_goodbye(key);
        }
        self.time_out_cancels();
    }

    /// A node that was taken out of rotation may never answer again what it was asked: whoever
    /// can be served elsewhere is.
    pub(super) fn leave_down_nodes(&mut self) {
        let topology = self.proxy.topology.load_full();
        if topology.generation() == self.generation {
            return;
        }
        self.generation = topology.generation();
        let is_down = |node| !topology.health(node).is_healthy();
        let stranded = self.backends_where(|backend| {
            is_down(backend.pool.node)
                && matches!(backend.phase, Phase::Leased { .. } | Phase::Syncing { .. })
        });
        for key in stranded {
            let Self { backends, clients, judge, .. } = self;
            let moves = match backends.get(key).map(|backend| &backend.phase) {
                Some(Phase::Syncing { .. }) => true,
                Some(Phase::Leased { client }) => clients[*client].may_move(judge),
                _ => false,
            };
            if moves {
                self.lose_backend(key, &Loss::NodeDown);
            }
        }
        let pools: Vec<PoolKey> =
            self.pools.keys().copied().filter(|pool| is_down(pool.node)).collect();
        for pool in pools {
            // Whether they are still good nobody knows before they are asked.
            let idle: Vec<usize> = self.pool(pool).pool.drain_idle().collect();
            idle.into_iter().for_each(|backend| self.drop_backend(backend));
            self.reroute_waiters(pool);
            self.balance(pool);
        }
    }

    fn backends_where(&self, is_it: impl Fn(&Backend<D::Stream>) -> bool) -> Vec<usize> {
        let found = self.backends.iter().filter(|(_, backend)| is_it(backend));
        found.map(|(key, _)| key).collect()
    }

    pub(super) fn time_out_pool(&mut self, pool_key: PoolKey) {
        let now = self.now;
        let (wait, idle) = (self.proxy.acquire_timeout, self.proxy.idle_timeout);
        while let Some((client, waited)) = self.pool(pool_key).pool.pop_expired(now, wait) {
            self.waited_too_long(client, pool_key, waited);
        }
        while let Some(backend) = self.pool(pool_key).pool.pop_surplus(now, idle) {
            self.say_goodbye(backend);
        }
        if self.draining {
            let all: Vec<usize> = self.pool(pool_key).pool.drain_idle().collect();
            all.into_iter().for_each(|backend| self.say_goodbye(backend));
        }
        self.balance(pool_key);
    }

    fn say_goodbye(&mut self, key: usize) {
        let mut out = Vec::new();
        frontend::put_terminate(&mut out);
        let backend = &mut self.backends[key];
        // Best effort: it is closed either way.
        let _ = backend.outbox.write(&mut backend.stream, [&out[..]].into_iter());
        self.drop_backend(key);
    }

    pub(super) fn node_name(&self, pool: PoolKey) -> String {
        let topology: &Topology = &self.proxy.topology.load();
        topology.node(pool.node).name.to_string()
    }
}

/// Whether a refused login may be accepted a moment later: the node starts up, shuts down, or
/// has no connection left.
fn may_pass(code: &str) -> bool {
    matches!(
        code,
        sqlstate::ADMIN_SHUTDOWN
            | sqlstate::CRASH_SHUTDOWN
            | sqlstate::CANNOT_CONNECT_NOW
            | sqlstate::TOO_MANY_CONNECTIONS
    )
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
