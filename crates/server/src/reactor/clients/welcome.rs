//! How clients log in, and what they are told then.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use pgherd::tls;
use pgherd_core::settings::TlsMode;
use pgherd_wire::backend::{self, Authentication, Report, Severity};
use pgherd_wire::startup::PROTOCOL_3_2;
use pgherd_wire::{TxStatus, sqlstate};

use super::parameters::NAME;
use super::{Client, Phase, Replicating};
use crate::auth::{Answer, Method, Question};
use crate::reactor::backends::fatal;
use crate::reactor::driver::{Entry, Requester, Via};
use crate::reactor::link::{LONG_HANDSHAKE, SHORT_HANDSHAKE};
use crate::reactor::{Driver, PARAMETER_SETS, Todo, WelcomeKey, Worker};
use crate::relay::survey::Access;
use crate::session::{Encryption, Login, LoginFailure, LoginStep, Request, Rules, Within};

impl<D: Driver> Worker<D> {
    /// `None` when the rest has to wait.
    pub(super) fn client_login(&mut self, key: usize, input: &[u8]) -> Option<usize> {
        let mut out = Vec::new();
        let (used, step) = self.with_login(key, |login, rules, random| {
            login.on_bytes(input, rules, random, &mut out)
        })?;
        let cancels = matches!(step, LoginStep::Cancel { .. });
        let client = &mut self.clients[key];
        if let Some(surplus) = client.surplus
            && !cancels
            && let Phase::LoggingIn(login) = &client.phase
            && login.has_begun()
        {
            self.too_many(key, surplus);
            return Some(used);
        }
        match step {
            LoginStep::NeedMore => {
                client.send([&out[..]].into_iter());
                return (used > 0).then_some(used);
            }
            LoginStep::Encrypt => {
                client.send([&out[..]].into_iter());
                self.encrypt(key, &input[used..]);
                return Some(input.len());
            }
            step => self.login_step(key, step, out),
        }
        Some(used)
    }

    /// What has come of a question of a client's login.
    pub(in crate::reactor) fn login_answered(&mut self, to: Entry, answer: Answer) {
        let key = to.key;
        let is_it = |client: &Client<_>| to == Entry::new(key, client.serial);
        if !self.clients.get(key).is_some_and(is_it) {
            return;
        }
        let mut out = Vec::new();
        let step = self.with_login(key, |login, rules, random| {
            login.is_asking().then(|| login.on_answer(answer, rules, random, &mut out))
        });
        if let Some(Some(step)) = step {
            self.login_step(key, step, out);
            if let Some(client) = self.clients.get_mut(key) {
                client.resume();
                self.todo.push_back(Todo::Client(key));
            }
        }
    }

    /// Lets a client's login do something by the rules there are; `None` if it is none.
    fn with_login<T>(
        &mut self,
        key: usize,
        work: impl FnOnce(&mut Login, Rules<'_>, &mut dyn FnMut(&mut [u8])) -> T,
    ) -> Option<T> {
        let Self { clients, proxy, driver, now, .. } = self;
        let client = &mut clients[key];
        let mode = match client.via {
            Via::Tcp => proxy.client_tls.mode(),
            Via::Unix | Via::Successor => TlsMode::Disable,
        };
        let hba = (proxy.method == Method::Hba).then(|| proxy.hba.files());
        let guard = Some(&proxy.guard).filter(|guard| !guard.is_empty());
        let address = match (&hba, guard, client.via) {
            (None, None, _) | (_, _, Via::Unix) => None,
            _ => driver.ends(client.link.socket()).0.map(|at| at.ip()),
        };
        let is_local = client.via == Via::Unix;
        let system_user = match proxy.method {
            Method::Peer | Method::Hba if is_local => driver.system_user(client.link.socket()),
            _ => None,
        };
        let Phase::LoggingIn(login) = &mut client.phase else { return None };
        let made_out_to = match mode.verifies() {
            true => client.link.peer_certificate().and_then(tls::common_name),
            false => None,
        };
        let within = client.link.is_encrypted().then(|| Within {
            is_named: client.link.has_agreed_on_a_name(),
            made_out_to: made_out_to.as_deref(),
            end_point: client.link.end_point_shown(),
        });
        let rules = Rules {
            method: proxy.method,
            users: &proxy.users,
            databases: &proxy.databases,
            encryption: Encryption { mode, within },
            hba: hba.as_deref(),
            guard,
            address,
            is_local,
            system_user,
            now: *now,
        };
        Some(work(login, rules, &mut |bytes| driver.random(bytes)))
    }

    /// Does what a login wants; `said` is what it says.
    fn login_step(&mut self, key: usize, step: LoginStep, said: Vec<u8>) {
        let client = &mut self.clients[key];
        match step {
            LoginStep::Authenticated(request) => return self.authenticated(key, request, said),
            LoginStep::Refused { code, failure, reason, failed_as } => {
                self.note_refusal(key, code, failure, &reason);
                return self.login_refused(key, failed_as.as_deref(), said);
            }
            _ => client.send([&said[..]].into_iter()),
        }
        match step {
            LoginStep::Cancel { pid, secret } => {
                client.phase = Phase::Cancelling;
                let entry = Entry::new(key, client.serial);
                self.route_cancel(pid, secret, entry);
            }
            LoginStep::Ask(question) => {
                let by = Requester { core: self.core, entry: Entry::new(key, client.serial) };
                if !(self.proxy.questions)(question, by) {
                    let message = "too many logins are being looked at: try again";
                    let code = sqlstate::TOO_MANY_CONNECTIONS;
                    self.login_failed(LoginFailure::Unavailable);
                    self.dismiss(key, &fatal(code, message, "", ""));
                }
            }
            _ => {}
        }
    }

    /// A login was refused. Who has tried to prove something is told a moment later.
    fn login_refused(&mut self, key: usize, failed: Option<&str>, told: Vec<u8>) {
        let address = self.address_of(key);
        if let Some(name) = failed
            && self.proxy.users.has_room()
        {
            // It may be that the password was changed meanwhile.
            let by =
                Requester { core: self.core, entry: Entry::new(key, self.clients[key].serial) };
            (self.proxy.questions)(Question::Forget(name.to_owned()), by);
        }
        let delay = failed.map(|name| self.proxy.guard.failed(address, name, self.now));
        let client = &mut self.clients[key];
        match delay.filter(|delay| !delay.is_zero()) {
            Some(delay) => {
                client.phase = Phase::Failed { told };
                let (at, serial) = (self.now + delay, client.serial);
                self.deadline(at, key, serial);
            }
            None => {
                client.send([&told[..]].into_iter());
                self.leave(key, "its login was refused");
            }
        }
    }

    /// A client is told that its login has failed.
    pub(super) fn tell_failed(&mut self, key: usize) {
        let client = &mut self.clients[key];
        let Phase::Failed { told } = &mut client.phase else { return };
        let told = std::mem::take(told);
        client.send([&told[..]].into_iter());
        self.leave(key, "its login was refused");
    }

    fn address_of(&self, key: usize) -> Option<IpAddr> {
        self.driver.ends(self.clients[key].stream()).0.map(|at| at.ip())
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
                self.note_no_tls(key, &error);
                self.close_client(key, &error.to_string());
            }
        }
    }

    /// `said` is what the login has still to say.
    fn authenticated(&mut self, key: usize, request: Request, said: Vec<u8>) {
        let guard = &self.proxy.guard;
        if self.proxy.method != Method::Any && !guard.is_empty() {
            guard.succeeded(self.address_of(key), &self.proxy.users.get(request.user).name);
        }
        if self.proxy.databases.is_console(&request.database)
            && let Some(rights) = self.proxy.databases.console_rights(request.user)
        {
            return self.open_console(key, &request, rights, said);
        }
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
        let parameters = self.begins_with(key, request.parameters, &account.database);
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
        self.note_login(key);
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
        put_login_notice(&mut out, &self.live.login_notice);
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

/// What each client is told that has logged in, if it is anything.
fn put_login_notice(out: &mut Vec<u8>, message: &str) {
    if !message.is_empty() {
        let (severity, code) = (Severity::Notice, sqlstate::SUCCESS);
        Report { severity, code, message, detail: "", hint: "" }.put(out);
    }
}
