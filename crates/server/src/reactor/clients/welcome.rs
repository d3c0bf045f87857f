//! How clients log in, and what they are told then.

use std::rc::Rc;
use std::sync::Arc;

use pgherd::tls;
use pgherd_core::settings::TlsMode;
use pgherd_wire::TxStatus;
use pgherd_wire::backend::{self, Authentication};
use pgherd_wire::startup::PROTOCOL_3_2;

use super::{Phase, Replicating};
use crate::reactor::driver::Entry;
use crate::reactor::link::{LONG_HANDSHAKE, SHORT_HANDSHAKE};
use crate::reactor::{Driver, PARAMETER_SETS, WelcomeKey, Worker};
use crate::relay::survey::Access;
use crate::session::{Encryption, LoginStep, Request, Rules, Within};

/// The parameter in which clients differ most and that changes nothing.
const NAME: &str = "application_name";

impl<D: Driver> Worker<D> {
    /// `None` when the rest has to wait.
    pub(super) fn client_login(&mut self, key: usize, input: &[u8]) -> Option<usize> {
        let Self { clients, proxy, driver, .. } = self;
        let client = &mut clients[key];
        let Phase::LoggingIn(login) = &mut client.phase else { return None };
        let mode = proxy.client_tls.mode();
        let made_out_to = match mode {
            TlsMode::VerifyFull => client.link.peer_certificate().and_then(tls::common_name),
            _ => None,
        };
        let within = client.link.is_encrypted().then(|| Within {
            is_named: client.link.has_agreed_on_a_name(),
            made_out_to: made_out_to.as_deref(),
        });
        let rules = Rules {
            method: proxy.method,
            users: &proxy.users,
            databases: &proxy.databases,
            encryption: Encryption { mode, within },
        };
        let mut out = Vec::new();
        let mut random = |bytes: &mut [u8]| driver.random(bytes);
        let (used, step) = login.on_bytes(input, rules, &mut random, &mut out);
        let cancels = matches!(step, LoginStep::Cancel { .. });
        if let Some(surplus) = client.surplus
            && !cancels
            && login.has_begun()
        {
            self.too_many(key, surplus);
            return Some(used);
        }
        if let LoginStep::Authenticated(request) = step {
            self.authenticated(key, request, out);
            return Some(used);
        }
        client.send([&out[..]].into_iter());
        match step {
            LoginStep::NeedMore if used == 0 => return None,
            LoginStep::NeedMore | LoginStep::Authenticated(_) => {}
            LoginStep::Encrypt => {
                self.encrypt(key, &input[used..]);
                return Some(input.len());
            }
            LoginStep::Cancel { pid, secret } => {
                client.phase = Phase::Cancelling;
                let entry = Entry::new(key, client.serial);
                self.route_cancel(pid, secret, entry);
            }
            LoginStep::Refused(reason) => {
                tracing::info!(reason, "login refused");
                self.leave(key);
            }
        }
        Some(used)
    }

    /// A client goes on within TLS, which it has begun with these bytes.
    fn encrypt(&mut self, key: usize, begun: &[u8]) {
        let config = self.proxy.client_tls.shown().expect("TLS is offered where it is set up");
        let limit = match self.proxy.client_tls.mode().verifies() {
            true => LONG_HANDSHAKE,
            false => SHORT_HANDSHAKE,
        };
        let client = &mut self.clients[key];
        // The answer to its request is one byte: a socket that does not take it is none.
        let begins = match client.outbox.is_empty() {
            true => client.link.accept(config, begun, limit),
            false => Err(std::io::ErrorKind::WouldBlock.into()),
        };
        match begins {
            // What it has sent may be whole already.
            Ok(()) => client.readable = true,
            Err(error) => {
                self.has_no_tls(key, &error);
                self.close_client(key);
            }
        }
    }

    /// A client has failed to begin TLS, or something else came in its place.
    pub(super) fn has_no_tls(&self, key: usize, error: &std::io::Error) {
        let (peer, _) = self.driver.ends(self.clients[key].stream());
        tracing::info!(?peer, %error, "no TLS with a client");
    }

    /// `said` is what the login has still to say.
    fn authenticated(&mut self, key: usize, request: Request, said: Vec<u8>) {
        if self.proxy.databases.is_console(&request.database)
            && let Some(rights) = self.proxy.databases.console_rights(request.user)
        {
            return self.open_console(key, &request, rights, said);
        }
        let parameters = self.intern(request.parameters);
        let account = match self.proxy.databases.account(&request.database, request.user) {
            Ok(account) => account,
            Err(error) => {
                self.clients[key].send([&said[..]].into_iter());
                return self.no_database(key, &error);
            }
        };
        if account.database.is_disabled() {
            self.clients[key].send([&said[..]].into_iter());
            return self.disabled(key, &account.database.name);
        }
        let seat = match account.enter(&self.proxy.users.get(request.user).name) {
            Ok(seat) => seat,
            Err(error) => {
                self.clients[key].send([&said[..]].into_iter());
                return self.no_seat(key, &error);
            }
        };
        self.tallies.of(&account.database).logins += 1;
        let client = &mut self.clients[key];
        client.seat = Some(seat);
        client.replicating = request
            .replication
            .map(|kind| Replicating { kind, owner: self.proxy.shares.new_owner() });
        client.long_key = request.protocol >= PROTOCOL_3_2;
        client.parameters = Arc::clone(&parameters);
        client.at_login = Arc::clone(&parameters);
        client.relay.statements.set_flavour(parameters.flavour());
        client.phase = Phase::Idle;
        client.since = self.now;
        let kind = self.welcome_key(key);
        match kind.and_then(|kind| Some((self.welcomes.get(&kind)?, kind.is_named))) {
            Some((welcome, is_named)) => {
                let welcome = Rc::clone(welcome);
                self.greet(key, said, &welcome, is_named);
            }
            // What the server says of a session with these parameters only a server knows.
            None => {
                self.clients[key].send([&said[..]].into_iter());
                self.acquire(key, Access::ReadWrite);
            }
        }
    }

    /// What a client's welcome is kept under: the same for all that differ in `application_name`
    /// only. `None` for one whose name the server would spell in another way, and for one that hears
    /// what its own backend says.
    fn welcome_key(&mut self, key: usize) -> Option<WelcomeKey> {
        let client = &self.clients[key];
        if client.replicating.is_some() {
            return None;
        }
        let (account, parameters) = (client.account(), Arc::clone(&client.at_login));
        let (database, user) = (account.database.id, account.login);
        let Some(name) = parameters.get(NAME) else {
            return Some(WelcomeKey { database, user, parameters, is_named: false });
        };
        let is_plain = name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        is_plain.then(|| {
            let parameters = self.intern(parameters.without(NAME));
            WelcomeKey { database, user, parameters, is_named: true }
        })
    }

    /// Tells a client that it is logged in, behind what was still to be said. `adds_name`: its
    /// `application_name` is not in the welcome.
    fn greet(&mut self, key: usize, mut out: Vec<u8>, welcome: &[u8], adds_name: bool) {
        let pid = self.give_key(key);
        let client = &mut self.clients[key];
        client.greeting = false;
        Authentication::Ok.put(&mut out);
        out.extend_from_slice(welcome);
        if adds_name && let Some(name) = client.at_login.get(NAME) {
            backend::put_parameter_status(&mut out, NAME, name);
        }
        backend::put_key_data(&mut out, pid, client.told_secret());
        backend::put_ready(&mut out, TxStatus::Idle);
        client.send([&out[..]].into_iter());
        if self.draining {
            self.dismiss_if_idle(key);
        }
    }

    /// The welcome as this backend, which has the client's parameters, would give it.
    pub(super) fn greet_as(&mut self, key: usize, backend_key: usize) {
        let kind = self.welcome_key(key);
        let is_named = kind.as_ref().is_some_and(|kind| kind.is_named);
        let mut welcome = Vec::new();
        for (name, value) in self.backends[backend_key].reported.iter() {
            if !is_named || name != NAME {
                backend::put_parameter_status(&mut welcome, name, value);
            }
        }
        let welcome: Rc<[u8]> = welcome.into();
        if let Some(kind) = kind {
            if self.welcomes.len() >= PARAMETER_SETS
                && let Some(any) = self.welcomes.keys().next().cloned()
            {
                self.welcomes.remove(&any);
            }
            self.welcomes.insert(kind, Rc::clone(&welcome));
        }
        self.greet(key, Vec::new(), &welcome, is_named);
    }
}
