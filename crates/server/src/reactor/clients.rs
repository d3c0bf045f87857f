//! Clients: accepted, logged in, served, seen off.
//!
//! | phase     | holds a backend | its bytes                                               |
//! |-----------|-----------------|---------------------------------------------------------|
//! | LoggingIn | no              | go to the login                                         |
//! | Failed    | no              | are not read; it is told a moment later                 |
//! | Idle      | no              | are surveyed to see what backend they need              |
//! | Waiting   | no              | are kept; nothing more is read                          |
//! | Syncing   | yes             | are kept until the backend has the client's parameters  |
//! | Holding   | yes             | are relayed                                             |
//! | Cancelling | no             | are discarded until what it has asked to cancel is      |
//! | Console   | no              | go to the console                                       |
//! | Leaving   | no              | are discarded until the client closes, too              |

mod cancelling;
#[cfg(test)]
pub(super) mod census;
mod console;
mod failover;
mod farewell;
mod journal;
mod origin;
mod parameters;
mod replay;
mod replicating;
mod standing;
mod welcome;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use pgherd_core::pool::Acquired;
use pgherd_core::settings::PoolMode;
use pgherd_core::timeouts::Timeouts;
use pgherd_wire::backend::{self};
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{CancelKey, Frame, TxStatus, frontend};

use super::driver::{Entry, Via};
use super::link::Link;
use super::outbox::Outbox;
use super::{
    Driver, Judge, PoolKey, READ, READS_PER_TURN, Readiness, Striking, Todo, Token, Worker,
};
use crate::databases::{Account, Seat};
use crate::relay::survey::{self, Access, Survey};
use crate::relay::upstream::{self, Extent, Known, Refused, Stop};
use crate::relay::{ClientRelay, Parameters, Splice, downstream};
use crate::session::Login;

/// Nodes tried for one batch before the client is told.
const TRIES: u32 = 5;

/// Why a client is one too many.
#[derive(Debug, Clone, Copy)]
enum Surplus {
    /// As many are there as may be.
    Clients,
    /// The process holds so many bytes.
    Memory { resident: u64 },
    /// Another process has taken over.
    HandedOver,
}

/// Why a client leaves that has told that it does.
pub(super) const SAID_GOODBYE: &str = "it has said goodbye";

/// Why a client leaves whose connection has just ended.
const HUNG_UP: &str = "its connection ended without a goodbye";

/// Connections beyond `listen.max_clients` that are heard out, because they may be requests to cancel.
const EXTRA: usize = 100;

use console::AtConsole;
use replay::Replay;
use replicating::Replicating;
pub(super) use standing::Standing;

/// One connection from an application.
#[derive(Debug)]
pub(super) struct Client<S> {
    link: Link<S>,
    via: Via,
    outbox: Outbox,
    stash: Vec<u8>,
    readable: bool,
    // The peer has closed its side, or the connection broke.
    ended: bool,
    // The stash may be looked at again although nothing was read.
    resumes: bool,
    phase: Phase,
    pub(super) serial: u64,
    connected_at: Instant,
    // When it last began to wait, or had nothing more to do.
    since: Instant,
    // When it last began to wait, in nanoseconds after the start.
    waits_from: u64,
    // None before it is logged in.
    seat: Option<Seat>,
    // It has its backend for itself.
    replicating: Option<Replicating>,
    long_key: bool,
    pub(super) secret: [u8; 32],
    // The same with what it is told for a process id, where there are peers.
    pub(super) peer_key: Option<CancelKey>,
    // Only a request to cancel is still taken from it.
    surplus: Option<Surplus>,
    // Whether it has still to be told that it is logged in.
    greeting: bool,
    // Bytes of stale CopyData still to be skipped.
    skip: usize,
    // Nodes that failed it in this batch, by bit, and how many times.
    excluded: u64,
    tries: u32,
    // One batch at a time: the next one may belong elsewhere.
    pub(super) one_batch: bool,
    // It has said goodbye behind a batch that is not answered yet.
    terminates: bool,
    // What it sends next can be understood once its last Parses are answered.
    awaits_names: bool,
    // It has cancelled what it was to be given a backend for.
    called_off: bool,
    // What it asked for when it logged in, and what RESET goes back to.
    pub(super) at_login: Arc<Parameters>,
    pub(super) relay: ClientRelay,
    pub(super) parameters: Arc<Parameters>,
    pub(super) replay: Replay,
}

/// Where a client stands; see the table in the module's header.
#[derive(Debug)]
enum Phase {
    LoggingIn(Box<Login>),
    Failed { told: Vec<u8> },
    Idle,
    Waiting { pool: PoolKey, access: Access },
    Syncing { backend: usize },
    Holding { backend: usize },
    Console(Box<AtConsole>),
    Cancelling,
    Leaving,
}

impl<S: Read + std::io::Write> Client<S> {
    /// Whether it has taken all it was sent.
    pub(super) fn takes_more(&self) -> bool {
        self.outbox.is_empty() && !self.link.is_stalled()
    }

    /// Passes on what its backend answered. A `preamble`, which is what precedes the first row,
    /// waits for what follows as long as the batch can be tried elsewhere.
    pub(super) fn answer<'a>(
        &mut self,
        slices: impl Iterator<Item = &'a [u8]> + Clone,
        preamble: bool,
    ) {
        if preamble && self.replay.is_whole() && self.replay.withhold(slices.clone()) {
            return;
        }
        self.replay.end();
        self.send(slices);
    }

    /// Writes to the client; a failure shows when it is read from next.
    fn send<'a>(&mut self, slices: impl Iterator<Item = &'a [u8]>) {
        let withheld = self.replay.take_withheld();
        let Self { outbox, link, .. } = self;
        let written = outbox
            .write(link, [&withheld[..]].into_iter())
            .and_then(|()| outbox.write(link, slices));
        if written.is_err() {
            self.ended = true;
            self.readable = true;
            self.link.became_readable(true);
        }
    }

    /// Whether its batch can be tried elsewhere: nothing of it was sent, or it only reads, and
    /// nothing of the answer was seen.
    pub(super) fn may_move(&self, judge: &mut Judge) -> bool {
        if !self.replay.is_intact() || self.tries >= TRIES {
            return false;
        }
        if self.greeting || self.replay.is_unsent() {
            return true;
        }
        let survey = survey::survey(&self.relay, self.replay.bytes(), Some(judge));
        survey == Ok(Survey::Acquire(Access::ReadOnly))
    }

    /// A replica refused its batch: none of its texts is taken for a read again.
    fn strike(&self, judge: &mut Judge) {
        // What the survey says is of no interest, only that it asks about each text.
        let _ = survey::survey(&self.relay, self.replay.bytes(), Some(&mut Striking(judge)));
    }

    /// What of its secret it was told: protocol 3.0 has room for 4 bytes.
    fn told_secret(&self) -> &[u8] {
        if self.long_key { &self.secret } else { &self.secret[..4] }
    }

    /// Whether what is kept is the beginning of one message.
    fn is_mid_message(&self) -> bool {
        let first = Frame::read(&self.stash, MAX_MESSAGE);
        matches!(first, Ok(Some(frame)) if self.stash.len() < frame.size)
    }

    /// Whether the end of its connection was announced: what it sent before is carried out.
    fn has_said_goodbye(&self) -> bool {
        self.terminates || self.stash.ends_with(&[frontend::TERMINATE, 0, 0, 0, 4])
    }

    /// Whether it has said goodbye and waits only for what it has begun.
    pub(super) fn is_terminating(&self) -> bool {
        self.terminates
    }

    /// Whether there is something of it to go on with, as soon as it may.
    pub(super) fn is_held_back(&self) -> bool {
        self.readable || self.resumes
    }

    /// It was given a backend whose parameters are being set.
    pub(super) fn syncing(&mut self, backend: usize) {
        self.phase = Phase::Syncing { backend };
    }

    /// It waits on for a backend of this pool, because the one it was to have was gone.
    pub(super) fn waits(&mut self, pool: PoolKey) {
        let access = if self.one_batch { Access::ReadOnly } else { Access::ReadWrite };
        self.phase = Phase::Waiting { pool, access };
    }

    /// When it began to wait for a backend.
    pub(super) fn waits_since(&self) -> Instant {
        self.since
    }

    /// Its limits, if it has logged in and has any.
    pub(super) fn timeouts(&self) -> Option<&Timeouts> {
        let seat = self.seat.as_ref().filter(|_| self.replicating.is_none());
        seat.map(|seat| &seat.timeouts)
    }

    /// What is kept of its bytes may be looked at again.
    pub(super) fn resume(&mut self) {
        self.resumes = true;
    }

    /// Whether what it was waiting for, to be understood, has just come.
    pub(super) fn has_its_names(&mut self) -> bool {
        self.relay.statements.is_settled() && std::mem::take(&mut self.awaits_names)
    }
}

impl<D: Driver> Worker<D> {
    /// A client was accepted and belongs to this core.
    pub(super) fn accept(&mut self, mut stream: D::Stream, via: Via) {
        let (serial, parameters) = (self.serial(), self.intern(Parameters::default()));
        let mut secret = [0; 32];
        self.driver.random(&mut secret);
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        if let Err(error) =
            self.driver.register(&mut stream, Token::Client(Entry::new(key, serial)))
        {
            tracing::warn!(%error, "cannot watch a new client");
            return;
        }
        let mut relay = ClientRelay::default();
        relay.limit = self.live.message_limit;
        relay.refuses_queries = self.live.refuses_queries;
        entry.insert(Client {
            link: Link::plain(stream),
            via,
            outbox: Outbox::default(),
            stash: Vec::new(),
            readable: false,
            ended: false,
            resumes: false,
            phase: Phase::LoggingIn(Box::default()),
            serial,
            connected_at: self.now,
            since: self.now,
            waits_from: self.nanos,
            seat: None,
            replicating: None,
            surplus: None,
            long_key: false,
            secret,
            peer_key: None,
            greeting: true,
            skip: 0,
            excluded: 0,
            tries: 0,
            one_batch: false,
            terminates: false,
            awaits_names: false,
            called_off: false,
            at_login: Arc::clone(&parameters),
            relay,
            parameters,
            replay: Replay::default(),
        });
        self.deadline(self.now + self.live.login_timeout, key, serial);
        let before = self.proxy.clients.fetch_add(1, Ordering::Relaxed);
        let (limit, resident) = (self.live.memory_limit, &self.proxy.resident);
        let resident = if limit > 0 { resident.load(Ordering::Relaxed) } else { 0 };
        self.clients[key].surplus = match before >= self.live.max_clients {
            _ if via == Via::Successor => Some(Surplus::HandedOver),
            true => Some(Surplus::Clients),
            false if resident > limit => Some(Surplus::Memory { resident }),
            false => None,
        };
        if before >= self.live.max_clients + EXTRA {
            self.too_many(key, Surplus::Clients);
        }
    }

    pub(super) fn client_ready(&mut self, key: usize, ready: Readiness) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.readable |= ready.readable;
        client.ended |= ready.ended;
        if ready.readable {
            client.link.became_readable(ready.ended);
        }
        if ready.writable && !client.takes_more() {
            if client.outbox.flush(&mut client.link).is_err() {
                client.ended = true;
            }
            if client.takes_more() {
                match client.phase {
                    Phase::Holding { backend } => self.todo.push_back(Todo::Backend(backend)),
                    Phase::Leaving => client.close_side(&mut self.driver),
                    _ => {}
                }
            }
        }
        self.pump_client(key);
    }

    /// Goes on with what a client sent, as long as there is somewhere for it to go.
    pub(super) fn pump_client(&mut self, key: usize) {
        if let Some(Phase::Console(console)) = self.clients.get_mut(key).map(|one| &mut one.phase) {
            console.rests = false;
        }
        for _ in 0..READS_PER_TURN {
            let Some(client) = self.clients.get_mut(key) else { return };
            if self.is_suspended && client.stands_still() {
                return;
            }
            if matches!(&client.phase, Phase::Console(console) if console.rests) {
                return;
            }
            let blocked = match &client.phase {
                Phase::LoggingIn(login) => login.is_asking(),
                Phase::Cancelling | Phase::Leaving => false,
                Phase::Failed { .. } => true,
                Phase::Idle => !client.takes_more(),
                Phase::Console(console) => console.waits() || !client.takes_more(),
                Phase::Waiting { .. } | Phase::Syncing { .. } => true,
                Phase::Holding { backend } => {
                    let backend = &self.backends[*backend];
                    // While both sides send, neither waits for what it has sent to be taken.
                    let is_full = !client.takes_more() && !backend.relay.replies.is_copying_both();
                    let answers = (client.terminates || client.one_batch)
                        && client.awaits_answer(&backend.relay);
                    !backend.takes_more()
                        || backend.relay.owes_a_lot()
                        || backend.is_asked()
                        || client.awaits_names
                        || is_full
                        || answers
                }
            };
            if let Phase::Holding { backend } = client.phase
                && client.terminates
                && self.backends[backend].relay.replies.is_copying_in()
            {
                // The data that the backend waits for will never come.
                return self.close_client(key, SAID_GOODBYE);
            }
            if blocked {
                // One that has said goodbye is waited for, unless it does not take the answers.
                if client.ended && !(client.has_said_goodbye() && client.takes_more()) {
                    self.close_client(key, HUNG_UP);
                }
                return;
            }
            if matches!(&client.phase, Phase::Console(console) if console.is_in_query()) {
                self.console_sent(key, &[]);
                continue;
            }
            if std::mem::take(&mut client.resumes) && !client.stash.is_empty() {
                let stash = std::mem::take(&mut client.stash);
                self.client_sent(key, &stash);
                continue;
            }
            if !client.readable && !client.ended {
                return;
            }
            self.read_client(key);
        }
        if self.clients.get(key).is_some_and(|client| client.readable) {
            self.todo.push_back(Todo::Client(key));
        }
    }

    fn read_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let mut buffer = std::mem::take(&mut self.buffer);
        let stashed = client.stash.len();
        // Nothing can be made of a long Parse before its end is there. Looking at it for each few
        // bytes that come would take the longer the more there is.
        let only_adds = stashed > READ && client.is_mid_message();
        let start = if only_adds { 0 } else { stashed };
        let end = start + READ;
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        match client.link.read(&mut buffer[start..end]) {
            Ok(0) => self.close_client(key, HUNG_UP),
            Ok(n) => {
                // A short read has drained the socket, unless its end is behind it.
                client.readable = client.link.may_have_more(n, READ) || client.ended;
                if only_adds {
                    client.stash.extend_from_slice(&buffer[..n]);
                    client.resumes |= !client.is_mid_message();
                } else {
                    buffer[..stashed].copy_from_slice(&client.stash);
                    client.stash.clear();
                    self.client_sent(key, &buffer[..stashed + n]);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                client.readable = false;
                if client.ended {
                    self.close_client(key, HUNG_UP);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => {
                if matches!(client.phase, Phase::LoggingIn(_)) && client.link.is_encrypted() {
                    self.note_no_tls(key, &error);
                }
                self.close_client(key, &error.to_string());
            }
        }
        self.buffer = buffer;
    }

    /// Handles what a client sent; what cannot be handled yet is kept.
    fn client_sent(&mut self, key: usize, input: &[u8]) {
        let mut at = 0;
        while at < input.len() {
            let Some(client) = self.clients.get_mut(key) else { return };
            if client.skip > 0 {
                let n = client.skip.min(input.len() - at);
                client.skip -= n;
                at += n;
                continue;
            }
            let used = match client.phase {
                Phase::LoggingIn(_) => self.client_login(key, &input[at..]),
                Phase::Idle => self.client_idle(key, &input[at..]),
                Phase::Holding { backend } => self.client_relay(key, backend, &input[at..]),
                Phase::Console(_) => self.console_sent(key, &input[at..]),
                Phase::Failed { .. } | Phase::Waiting { .. } | Phase::Syncing { .. } => None,
                Phase::Cancelling | Phase::Leaving => Some(input.len() - at),
            };
            match used {
                Some(used) => at += used,
                None => break,
            }
        }
        if let Some(client) = self.clients.get_mut(key) {
            client.stash.extend_from_slice(&input[at..]);
            if client.stash.is_empty() && client.stash.capacity() > 0 {
                client.stash = Vec::new();
            }
        }
    }

    fn client_idle(&mut self, key: usize, input: &[u8]) -> Option<usize> {
        let routes = self.routes(self.clients[key].account());
        let Self { clients, judge, .. } = self;
        let client = &mut clients[key];
        // What a whole session does needs the primary.
        let routes = routes && client.account().mode != PoolMode::Session;
        let judge = routes.then_some(judge as &mut dyn survey::MayRead);
        match survey::survey(&client.relay, input, judge) {
            Ok(Survey::NeedMore) => None,
            Ok(Survey::Skip(bytes)) => {
                client.skip = bytes;
                Some(0)
            }
            Ok(Survey::Ready(bytes)) => {
                let mut out = Vec::new();
                backend::put_ready(&mut out, TxStatus::Idle);
                client.send([&out[..]].into_iter());
                Some(bytes)
            }
            Ok(Survey::Terminate) => {
                self.close_client(key, SAID_GOODBYE);
                Some(0)
            }
            Ok(Survey::Acquire(_))
                if client.relay.refuses_queries && input.first() == Some(&frontend::QUERY) =>
            {
                // Not only once it has a backend, which it may have to wait for.
                self.refused(key, &Refused::SimpleQuery);
                Some(0)
            }
            Ok(Survey::Acquire(access)) => {
                client.excluded = 0;
                client.tries = 0;
                self.acquire(key, access);
                Some(0)
            }
            Err(error) => {
                self.refused(key, &error.into());
                Some(0)
            }
        }
    }

    fn client_relay(&mut self, key: usize, backend_key: usize, input: &[u8]) -> Option<usize> {
        let Self { clients, backends, splice, proxy, todo, judge, now, nanos, .. } = self;
        let (client, backend) = (&mut clients[key], &mut backends[backend_key]);
        if backend.is_asked() {
            return None;
        }
        if client.awaits_names || client.one_batch && client.awaits_answer(&backend.relay) {
            return None;
        }
        if !backend.takes_more() || backend.relay.owes_a_lot() {
            // One read may hold thousands of batches, and each may make us send more than it is
            // long: a statement that its backend has to parse first.
            client.resume();
            return None;
        }
        backend.begins(*now, *nanos);
        splice.clear();
        // What follows the one that could be run again leaves in as few writes as it came in.
        let extent = match client.one_batch || client.replay.is_recording() {
            true => Extent::OneBatch,
            false => Extent::All,
        };
        let progress = upstream::relay(
            &mut client.relay,
            &mut backend.relay,
            &mut Known { table: &proxy.statements, judge },
            input,
            extent,
            splice,
        );
        let progress = match progress {
            Ok(progress) => progress,
            Err(refused) => {
                self.refused(key, &refused);
                return Some(0);
            }
        };
        if !client.replay.is_intact() {
            client.relay.statements.end_tentative();
        }
        backend.tally.received += progress.consumed as u64;
        client.replay.record(&input[..progress.consumed], progress.stop == Stop::EndOfBatch);
        if let Err(error) = backend.outbox.write(&mut backend.link, splice.slices(input)) {
            // Its last words may still be there to read.
            backend.write_failed(error);
            todo.push_back(Todo::Backend(backend_key));
        }
        let mut made_up = Splice::default();
        downstream::made_up(Some(&mut client.relay), &mut backend.relay, &mut made_up);
        if !made_up.is_empty() {
            client.answer(made_up.slices(&[]), !backend.relay.shown);
        }
        match progress.stop {
            Stop::Open => {
                // Some may just have been answered by us.
                client.awaits_names = !client.relay.statements.is_settled();
                (progress.consumed > 0 || !client.awaits_names).then_some(progress.consumed)
            }
            Stop::Terminate if backend.relay.replies.is_ready_owed() => {
                // What it sent before is carried out, as by a server that reads it in order.
                client.terminates = true;
                Some(input.len())
            }
            Stop::Terminate => {
                self.close_client(key, SAID_GOODBYE);
                Some(progress.consumed)
            }
            Stop::NeedMore if progress.consumed == 0 => None,
            Stop::NeedMore | Stop::EndOfBatch => {
                // The rest of a COPY that has failed is answered by nothing.
                if backend.relay.is_quiet() || backend.relay.has_only_named() {
                    todo.push_back(Todo::EndLease(backend_key));
                }
                Some(progress.consumed)
            }
        }
    }

    /// Asks for a backend; the client holds it, or waits.
    fn acquire(&mut self, key: usize, access: Access) {
        let client = &self.clients[key];
        let account = client.account();
        let node = self.choose(access, account, client.excluded);
        let owner = client.replicating.map(|replicating| replicating.owner);
        let pool_key = PoolKey { owner, ..PoolKey::of(account, node) };
        let routes = self.routes(account);
        let (now, nanos) = (self.now, self.nanos);
        let client = &mut self.clients[key];
        (client.since, client.waits_from) = (now, nanos);
        client.one_batch = routes && access == Access::ReadOnly;
        client.replay.begin();
        client.awaits_names = false;
        client.relay.statements.begin_tentative();
        client.phase = Phase::Waiting { pool: pool_key, access };
        let pool = self.pool(pool_key);
        let acquired = pool.pool.acquire(key, now);
        let (shares_a_limit, has_failed) = (pool.shares_a_limit, pool.pool.retry_at().is_some());
        match acquired {
            Acquired::Lease(backend) => self.link(backend, key),
            Acquired::Queued { open: true } => self.open_backend(pool_key),
            // The proxy's pools bound their queues by the number of clients: none is full.
            Acquired::Queued { open: false } | Acquired::Full => {
                self.ask_other_cores(pool_key);
                if shares_a_limit {
                    self.balance(pool_key);
                }
                if has_failed {
                    self.fail_the_hopeless(pool_key);
                }
            }
        }
    }

    /// The client got this backend, with its parameters set.
    pub(super) fn holds(&mut self, key: usize, backend_key: usize) {
        let client = &mut self.clients[key];
        client.phase = Phase::Holding { backend: backend_key };
        if client.replicating.is_some() {
            return self.begin_replication(key, backend_key);
        }
        if client.greeting {
            self.greet_as(key, backend_key);
            // Not here: the next waiter for this backend may be one of thousands that log in.
            return self.todo.push_back(Todo::EndLease(backend_key));
        }
        client.resume();
        self.todo.push_back(Todo::Client(key));
    }

    /// The client's lease has ended.
    pub(super) fn released(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if matches!(client.phase, Phase::Holding { .. }) {
            client.phase = Phase::Idle;
        }
        client.since = self.now;
        client.replay.end();
        client.relay.statements.end_tentative();
        client.resume();
        if client.stash.is_empty() && !client.readable && !client.ended {
            if self.draining {
                self.dismiss_if_idle(key);
            }
            return;
        }
        self.todo.push_back(Todo::Client(key));
    }
}

impl<S> Client<S> {
    /// The database and the user that it has logged in with.
    fn account(&self) -> &Arc<Account> {
        self.seat.as_deref().expect("a client asks for backends once it is logged in")
    }

    /// Whether the one batch it may send at a time was sent and is not answered yet.
    fn awaits_answer(&self, backend: &crate::relay::BackendRelay) -> bool {
        self.relay.is_between_messages() && backend.replies.is_ready_owed()
    }
}
