//! Backends are opened: connected, logged in, introduced by the connect query.

use std::io;
use std::sync::Arc;

use pgherd::{TlsError, tls};
use pgherd_core::hosts::Address;
use pgherd_core::pool::lifetime;
use pgherd_core::settings::{ChannelBinding, PoolMode};
use pgherd_wire::startup::SSL_REQUEST;

use super::attempts::Opening;
use super::{Backend, Loss, Phase};
use crate::backend::login::Welcome;
use crate::backend::{EndPoint, Identity, Login, LoginStep};
use crate::reactor::driver::Entry;
use crate::reactor::link::Link;
use crate::reactor::outbox::Outbox;
use crate::reactor::{Driver, PoolKey, Tally, Token, Worker};
use crate::relay::{BackendRelay, Parameters};
use crate::session::Replication;

impl<D: Driver> Worker<D> {
    /// Connects to an address of the node, on behalf of a pool; without TLS if `in_plain`.
    pub(super) fn connect(
        &mut self,
        pool: PoolKey,
        address: &Address,
        opening: Opening,
        in_plain: bool,
    ) -> Result<(), (io::Error, Opening)> {
        let serial = self.serial();
        let (replication, at_login) = self.asked_at_login(pool);
        let of_pool = self.pool(pool);
        let (database, mode) = (Arc::clone(&of_pool.database), of_pool.plan.mode);
        let max_lifetime = of_pool.plan.max_lifetime;
        let expires_at = self.now + lifetime(max_lifetime, self.random_fraction());
        let mut relay = BackendRelay::default();
        relay.refuses_blocks = mode == PoolMode::Statement;
        relay.limit = self.live.message_limit;
        let key = self.backends.vacant_key();
        match self.driver.connect(address, Token::Backend(Entry::new(key, serial))) {
            Ok(stream) => {
                self.backends.insert(Backend {
                    link: Link::plain(stream),
                    outbox: Outbox::default(),
                    stash: Vec::new(),
                    readable: false,
                    ended: false,
                    write_error: None,
                    pool,
                    database,
                    address: address.clone(),
                    phase: Phase::Connecting,
                    relay,
                    reported: Parameters::default(),
                    applied: Arc::clone(&at_login),
                    at_login,
                    pid: 0,
                    secret: Vec::new(),
                    cancels: 0,
                    serial,
                    opened_at: self.now,
                    opening,
                    expires_at,
                    asked_at: self.now,
                    lent_at: self.now,
                    idle_since: self.now,
                    began_at: self.now,
                    changed_at: self.now,
                    began: self.nanos,
                    changed: self.nanos,
                    is_pinned: false,
                    in_plain: in_plain || address.is_unix(),
                    is_session: mode == PoolMode::Session,
                    replication,
                    resets_always: mode == PoolMode::Session || self.proxy.reset_always,
                    tally: Tally::default(),
                    rows: Vec::new(),
                });
                Ok(())
            }
            Err(error) => Err((error, opening)),
        }
    }

    /// What a backend that is to be opened asks for at its login: what clients of its database begin
    /// with, or what its client does, if it is the only one that it will serve.
    fn asked_at_login(&mut self, pool: PoolKey) -> (Option<Replication>, Arc<Parameters>) {
        if pool.owner.is_some()
            && let Some(owner) = self.pool(pool).pool.first_waiter().copied()
        {
            let owner = &self.clients[owner];
            return (owner.replication(), Arc::clone(&owner.at_login));
        }
        let mut parameters = Parameters::default();
        self.pool(pool).database.settings().parameters().for_each(|(name, value)| {
            parameters.set(name, value);
        });
        (None, self.intern(parameters))
    }

    /// The node has accepted the connection.
    pub(super) fn connected(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if backend.in_plain {
            return self.begin_login(key);
        }
        backend.phase = Phase::Encrypting;
        if let Err(error) = backend.outbox.write(&mut backend.link, [&SSL_REQUEST[..]].into_iter())
        {
            self.write_failed(key, error);
        }
    }

    /// The node has answered whether it speaks TLS.
    pub(super) fn encryption_reply(&mut self, key: usize, input: &[u8]) -> Result<usize, Loss> {
        let backend = &mut self.backends[key];
        match *input {
            [b'S'] => {
                let to_node = self.proxy.to_node(backend.pool.node, &backend.address);
                // Its host may stand for other addresses meanwhile: it is opened again there.
                let (config, name) = to_node.ok_or(Loss::Io(io::ErrorKind::NotFound.into()))?;
                backend.link.connect(config, name)?;
            }
            [b'N'] if !self.proxy.node_tls.mode().is_required() => {}
            [b'N'] => return Err(Loss::Tls(TlsError::NotOffered)),
            // Also more than one byte: whoever stands in between could have added what follows.
            _ => return Err(Loss::Tls(TlsError::NoAnswer(input.last().copied().unwrap_or(0)))),
        }
        self.begin_login(key);
        Ok(1)
    }

    fn begin_login(&mut self, key: usize) {
        let Self { proxy, backends, .. } = self;
        let backend = &mut backends[key];
        let database = backend.database.on_nodes();
        let replication = backend.replication.map(|kind| ("replication", kind.value()));
        let asked = backend.at_login.iter().chain(replication);
        let mut out = Vec::new();
        let user = &proxy.users.get(backend.pool.user).name;
        let login = Login::start_with(user, &database, asked, &mut out);
        backend.phase = Phase::LoggingIn(Box::new(login));
        if let Err(error) = backend.outbox.write(&mut backend.link, [&out[..]].into_iter()) {
            self.write_failed(key, error);
        }
    }

    pub(super) fn login_reply(&mut self, key: usize, input: &[u8]) -> Result<usize, Loss> {
        let Self { proxy, backends, keys, driver, .. } = self;
        let backend = &mut backends[key];
        let Phase::LoggingIn(login) = &mut backend.phase else { return Ok(0) };
        let user = proxy.users.get(backend.pool.user);
        let database = backend.database.on_nodes();
        let credential = user.credential();
        let hash = backend.link.peer_certificate().and_then(tls::end_point);
        let end_point = end_point(proxy.node_tls.channel_binding(), hash.as_deref());
        let identity = Identity {
            user: &user.name,
            proof: credential.proof(),
            database: &database,
            end_point,
        };
        let mut out = Vec::new();
        let mut random = |bytes: &mut [u8]| driver.random(bytes);
        let step = login.on_bytes(input, identity, keys, &mut random, &mut out);
        let (used, step) = step.map_err(Loss::Login)?;
        backend.outbox.write(&mut backend.link, [&out[..]].into_iter())?;
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
        let (pool_key, pid) = (backend.pool, backend.pid);
        let replicates = backend.replication.is_some();
        let database = Arc::clone(&backend.database);
        tracing::debug!(node = %self.node_name(pool_key), pid, "backend opened");
        if database.connect_query().is_empty() || replicates {
            return self.introduced(key);
        }
        self.backends[key].phase = Phase::Introducing;
        self.ask(key, &database.connect_query());
    }

    /// A new backend is fit for clients.
    pub(super) fn introduced(&mut self, key: usize) {
        let (backend, now) = (&mut self.backends[key], self.now);
        backend.phase = Phase::Idle;
        backend.idle_since = now;
        backend.relay.shown = false;
        let pool_key = backend.pool;
        self.proxy.addresses.opened(pool_key.node.index(), &backend.address);
        self.counts(pool_key.node).opens.add_one();
        let is_outdated = self.is_outdated(&self.backends[key]);
        let pool = self.pool(pool_key);
        pool.last_error = None;
        if is_outdated {
            // Its login may have begun before settings were read again.
            let opens = pool.pool.opened_in_vain(now);
            self.say_goodbye(key);
            self.has_slot(pool_key, opens);
            return self.open_for_waiters(pool_key);
        }
        let placed = pool.pool.opened(key, now);
        self.placed(pool_key, placed);
        self.open_for_waiters(pool_key);
    }
}

/// Whether a login over a connection is bound to it; `hash` is that of the certificate there.
fn end_point(wanted: ChannelBinding, hash: Option<&[u8]>) -> EndPoint<'_> {
    match (wanted, hash) {
        (ChannelBinding::Require, hash) => EndPoint::Required(hash),
        (ChannelBinding::Prefer, Some(hash)) => EndPoint::Offered(hash),
        (ChannelBinding::Disable, _) | (ChannelBinding::Prefer, None) => EndPoint::None,
    }
}
