//! How clients are seen off: told why, given time to read it, closed.

use std::io::{Read, Write};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pgherd_core::settings::ByteSize;
use pgherd_core::timeouts::{Doing, Limit, Overdue};
use pgherd_wire::backend::Report;
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{WireError, sqlstate};

use super::{Client, Phase, Surplus};
use crate::databases::{NoDatabase, NoSeat};
use crate::reactor::backends::fatal;
use crate::reactor::driver::Entry;
use crate::reactor::{Driver, Todo, Worker};
use crate::relay::upstream::Refused;
use crate::session::LoginFailure;

impl<S: Read + Write> Client<S> {
    /// Nothing more will be sent.
    pub(super) fn close_side(&mut self, driver: &mut impl Driver<Stream = S>) {
        self.link.say_goodbye();
        driver.shutdown_write(self.link.socket());
    }
}

/// Why a connection ends of which all is told already, or that was no client's.
const TOLD: &str = "it has had its answer";

/// How long a client that was told goodbye may take to close: 5 s.
const FAREWELL: Duration = Duration::from_secs(5);

impl<D: Driver> Worker<D> {
    pub(in crate::reactor) fn client_deadline(&mut self, key: usize, serial: u64) {
        let Some(client) = self.clients.get(key).filter(|client| client.serial == serial) else {
            return;
        };
        match client.phase {
            Phase::LoggingIn(_) => {
                let limit = self.live.login_timeout;
                self.login_failed(LoginFailure::Timeout);
                let message = format!("the login was not complete after {limit:?}");
                self.dismiss(key, &fatal(sqlstate::INVALID_AUTHORIZATION, &message, "", ""));
            }
            Phase::Failed { .. } => self.tell_failed(key),
            Phase::Cancelling | Phase::Leaving => self.close_client(key, TOLD),
            _ => {}
        }
    }

    /// Dismisses clients without a backend that have said nothing for too long.
    ///
    /// They are looked through when the first of them may be due, and not at each tick: there may be
    /// many thousands.
    pub(in crate::reactor) fn time_out_idle_clients(&mut self) {
        let (now, shortest) = (self.now, self.proxy.databases.shortest_idle_timeout());
        if self.idle_looked_at.is_none_or(|at| now < at) {
            return;
        }
        let mut next = shortest.map(|limit| now + limit);
        let mut overdue = Vec::new();
        for (key, client) in &self.clients {
            let Some(timeouts) = client.timeouts() else { continue };
            if !matches!(client.phase, Phase::Idle) {
                continue;
            }
            let doing = Doing::Idle { since: client.since };
            match timeouts.overdue(doing, now) {
                Some(over) => overdue.push((key, over)),
                None => next = next.into_iter().chain(timeouts.due(doing)).min(),
            }
        }
        self.idle_looked_at = next;
        for (key, over) in overdue {
            self.dismiss_overdue(key, over);
        }
    }

    /// A client has done what it does for too long.
    pub(in crate::reactor) fn dismiss_overdue(&mut self, key: usize, over: Overdue) {
        let (code, detail, hint) = match over.which {
            Limit::Query => (
                sqlstate::QUERY_CANCELED,
                "it is cancelled at the node",
                "raise query_timeout, or look for what it waits for",
            ),
            Limit::Transaction => (
                sqlstate::TRANSACTION_TIMEOUT,
                "it is rolled back",
                "raise transaction_timeout, or make the transaction shorter",
            ),
            Limit::IdleTransaction => (
                sqlstate::IDLE_IN_TRANSACTION,
                "it is rolled back",
                "raise idle_transaction_timeout, or look for what the program waits for",
            ),
            Limit::Idle => {
                (sqlstate::IDLE_SESSION, "", "connect again, or raise client_idle_timeout")
            }
        };
        let message = format!("the connection is ended because {over}");
        self.dismiss(key, &fatal(code, &message, detail, hint));
    }

    /// Sees a client off that neither runs nor waits for anything, because pgherd stops.
    pub(in crate::reactor) fn dismiss_if_idle(&mut self, key: usize) {
        let Some(client) = self.clients.get(key) else { return };
        let is_idle = match client.phase {
            Phase::Idle | Phase::LoggingIn(_) | Phase::Console(_) => true,
            // It is told in a moment, and leaves.
            Phase::Failed { .. } => false,
            Phase::Holding { backend } => {
                let backend = &self.backends[backend];
                backend.is_kept() && !backend.is_asked() && backend.relay.is_quiet()
            }
            Phase::Waiting { .. } | Phase::Syncing { .. } | Phase::Cancelling | Phase::Leaving => {
                false
            }
        };
        // Whatever a console or a login has begun to say, no node has heard of it.
        let has_nothing_to_lose = matches!(client.phase, Phase::Console(_) | Phase::LoggingIn(_));
        if is_idle && (client.stash.is_empty() || has_nothing_to_lose) {
            self.dismiss_because_of_stop(key);
        }
    }

    /// Sees a client off in whose session no transaction is open, because its backend is to be closed.
    pub(in crate::reactor) fn dismiss_with_backend(&mut self, key: usize) {
        let message = "terminating connection because its database has changed";
        let detail = "its backend is to be closed, and pool.fast_close is on";
        self.dismiss(key, &fatal(sqlstate::ADMIN_SHUTDOWN, message, detail, "connect again"));
    }

    pub(super) fn dismiss_because_of_stop(&mut self, key: usize) {
        let message = "terminating connection because pgherd is shutting down";
        self.dismiss(key, &fatal(sqlstate::ADMIN_SHUTDOWN, message, "", ""));
    }

    /// A client that is authenticated cannot have the database it asks for.
    pub(super) fn no_database(&mut self, key: usize, error: &NoDatabase) {
        let message = error.to_string();
        let (code, hint) = match error {
            NoDatabase::Unknown(_) => (sqlstate::NO_SUCH_DATABASE, ""),
            NoDatabase::TooMany(_) => (
                sqlstate::LIMIT_EXCEEDED,
                "list the databases in the settings, each as a [[database]]",
            ),
        };
        self.login_failed(LoginFailure::of_code(code));
        self.dismiss(key, &fatal(code, &message, "", hint));
    }

    /// A console has its database refuse new clients.
    pub(super) fn disabled(&mut self, key: usize, database: &str) {
        let message = format!("database \"{database}\" is disabled");
        let detail = "new clients are refused until it is enabled at the console of pgherd";
        let code = sqlstate::NOT_IN_PREREQUISITE_STATE;
        self.login_failed(LoginFailure::of_code(code));
        self.dismiss(key, &fatal(code, &message, detail, ""));
    }

    /// Its database or its user has as many clients as it may have.
    pub(super) fn no_seat(&mut self, key: usize, error: &NoSeat) {
        let hint = "raise its max_clients, or close what is not used";
        let message = error.to_string();
        self.login_failed(LoginFailure::Limit);
        self.dismiss(key, &fatal(sqlstate::TOO_MANY_CONNECTIONS, &message, "", hint));
    }

    /// No more clients are accepted for now.
    pub(super) fn too_many(&mut self, key: usize, surplus: Surplus) {
        let (code, why, hint) = match surplus {
            Surplus::Clients => {
                let limit = self.live.max_clients;
                let why = format!("{limit} of {limit} are connected");
                let hint = "raise max_clients, or close what is not used";
                (sqlstate::TOO_MANY_CONNECTIONS, why, hint)
            }
            Surplus::HandedOver => {
                let why = "another process has taken over".to_owned();
                (sqlstate::CANNOT_CONNECT_NOW, why, "connect to where clients connect")
            }
            Surplus::Memory { resident } => {
                let (resident, limit) = (ByteSize(resident), ByteSize(self.live.memory_limit));
                let why = format!("pgherd holds {resident} of memory (limit {limit})");
                let hint = "raise listen.memory_limit, or lower listen.prepared_bytes_per_client";
                (sqlstate::OUT_OF_MEMORY, why, hint)
            }
        };
        let message = format!("no more clients are accepted: {why}");
        self.login_failed(LoginFailure::of_code(code));
        self.dismiss(key, &fatal(code, &message, "", hint));
    }

    pub(super) fn refused(&mut self, key: usize, refused: &Refused) {
        let message = refused.to_string();
        let (code, hint) = match refused {
            Refused::Protocol(WireError::Length { limit, .. })
                if *limit < MAX_MESSAGE && *limit == self.live.message_limit.0 =>
            {
                (sqlstate::PROTOCOL_VIOLATION, "send less at once, or raise listen.message_limit")
            }
            Refused::Protocol(_) => (sqlstate::PROTOCOL_VIOLATION, ""),
            Refused::SimpleQuery => (
                sqlstate::PROTOCOL_VIOLATION,
                "use the extended protocol, or set listen.simple_queries to true",
            ),
            Refused::Statements { .. } => (
                sqlstate::LIMIT_EXCEEDED,
                "close those that are not used, or raise listen.prepared_bytes_per_client",
            ),
        };
        self.dismiss(key, &fatal(code, &message, "", hint));
    }

    /// Tells a client why it has to go, and lets it. One that has seen half a message is told
    /// nothing: it would take the text for the rest of it.
    pub(in crate::reactor) fn dismiss(&mut self, key: usize, report: &Report<'_>) {
        self.note_error(key, report.code, report.message);
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Phase::Holding { backend } = client.phase
            && self.backends[backend].relay.is_mid_message()
        {
            return self.leave(key, report.message);
        }
        let mut out = Vec::new();
        report.put(&mut out);
        client.send([&out[..]].into_iter());
        self.leave(key, report.message);
    }

    /// The client has been told goodbye. It is not closed at once: bytes it has sent and
    /// nobody read would turn into a reset, which may overtake what it was told.
    pub(super) fn leave(&mut self, key: usize, why: &str) {
        self.note_end(key, why);
        self.let_go(key);
        let deadline = self.now + FAREWELL;
        let client = &mut self.clients[key];
        client.phase = Phase::Leaving;
        client.seat = None;
        client.stash = Vec::new();
        let serial = client.serial;
        if client.takes_more() {
            client.close_side(&mut self.driver);
        }
        self.deadline(deadline, key, serial);
        self.todo.push_back(Todo::Client(key));
    }

    /// Keeps deadlines in order. Nearly always at the end: logins and farewells have one limit
    /// each. Those at the front that nobody has to meet any more are dropped, or clients that come
    /// and go by thousands would leave a long queue.
    pub(super) fn deadline(&mut self, deadline: Instant, key: usize, serial: u64) {
        let clients = &self.clients;
        let is_moot = |(_, key, serial): &mut (Instant, usize, u64)| {
            let client = clients.get(*key).filter(|client| client.serial == *serial);
            !client.is_some_and(|client| {
                matches!(
                    client.phase,
                    Phase::LoggingIn(_) | Phase::Failed { .. } | Phase::Cancelling | Phase::Leaving
                )
            })
        };
        while self.deadlines.pop_front_if(is_moot).is_some() {}
        let at = self.deadlines.partition_point(|(at, ..): &(Instant, usize, u64)| *at <= deadline);
        self.deadlines.insert(at, (deadline, key, serial));
    }

    /// Gives back whatever the client holds or waits for.
    pub(super) fn let_go(&mut self, key: usize) {
        let phase = std::mem::replace(&mut self.clients[key].phase, Phase::Leaving);
        match phase {
            Phase::Waiting { pool, .. } => {
                self.pool(pool).pool.forget(&key);
                self.publish(pool);
            }
            Phase::Syncing { backend } | Phase::Holding { backend } => {
                let is_whole = self.clients[key].relay.is_between_messages();
                self.abandon(backend, is_whole);
            }
            Phase::Console(at) => self.console_left(key, &at),
            Phase::LoggingIn(_)
            | Phase::Failed { .. }
            | Phase::Idle
            | Phase::Cancelling
            | Phase::Leaving => {}
        }
    }

    /// What came on this connection to be cancelled is.
    pub(in crate::reactor) fn close_requester(&mut self, entry: Entry) {
        let is_it = |client: &Client<_>| {
            matches!(client.phase, Phase::Cancelling)
                && entry == Entry::new(entry.key, client.serial)
        };
        if self.clients.get(entry.key).is_some_and(is_it) {
            self.clients[entry.key].link.say_goodbye();
            self.close_client(entry.key, TOLD);
        }
    }

    pub(in crate::reactor) fn close_client(&mut self, key: usize, why: &str) {
        self.note_end(key, why);
        self.let_go(key);
        let client = self.clients.remove(key);
        if let (Some(peers), Some(key)) = (&self.proxy.peers, client.peer_key) {
            peers.forget(key);
        }
        self.proxy.clients.fetch_sub(1, Ordering::Relaxed);
    }
}
