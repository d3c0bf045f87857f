//! Cancel requests on their way to a node, or to a peer.
//!
//! A request travels on a connection of its own. Until the node has closed that, the backend
//! it is meant for is not lent to anybody else: a late cancel must not hit the next client's
//! query. Until then, who has sent the request waits for the end of its connection, as with
//! PostgreSQL: what it sends to be run after that is not cancelled.

mod forwarding;

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use pgherd_wire::CancelKey;
use pgherd_wire::startup::{self, SSL_REQUEST};

use super::driver::Entry;
use super::link::Link;
use super::outbox::Outbox;
use super::{Driver, Mail, Readiness, Requester, Token, Worker};
use crate::peers::{Direction, Holder};
use crate::tls::ToNode;
pub(crate) use forwarding::MOST_FORWARDED;
use forwarding::{Forward, To};

/// One request on its way.
#[derive(Debug)]
pub(super) struct CancelConnection<S> {
    link: Link<S>,
    // Encrypted as the backend is: the request holds a secret.
    to_node: Option<ToNode>,
    outbox: Outbox,
    request: Vec<u8>,
    target: Target,
    pub(super) own_serial: u64,
    stage: Stage,
    began: Instant,
    by: Option<Requester>,
}

/// Whom a request is for.
#[derive(Debug)]
enum Target {
    /// This backend of ours.
    Backend { key: usize, serial: u64 },
    /// A client of the peer at this place.
    Peer(Forward),
}

/// How far a request has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Connecting,
    Encrypting,
    Sent,
}

/// How a client is told to name itself in a cancel request: its core and its key. Where there are
/// peers it is not: see [`crate::peers`].
///
/// 6 bits for the core, 25 for the key: as a signed number it stays positive, which some
/// drivers need.
fn cancel_pid(core: usize, client: usize) -> u32 {
    let (core, client) = (core & 0x3f, client & 0x01ff_ffff);
    u32::try_from(core << 25 | client).expect("31 bits fit into 32")
}

impl<D: Driver> Worker<D> {
    /// What a client of this core was told for a process id.
    pub(super) fn client_pid(&self, client: usize) -> u32 {
        let own = self.clients[client].peer_key;
        own.map_or_else(|| cancel_pid(self.core, client), CancelKey::pid)
    }

    /// A client of this core gets its key, of which this is the process id; its secret is the rest.
    pub(super) fn give_key(&mut self, client: usize) -> u32 {
        let Self { clients, proxy, driver, core, .. } = self;
        if let Some(peers) = &proxy.peers {
            let own = peers.register(Holder { core: *core, client }, |bytes| driver.random(bytes));
            let client = &mut clients[client];
            client.secret[..4].copy_from_slice(&own.secret());
            client.peer_key = Some(own);
        }
        self.client_pid(client)
    }

    /// A cancel request arrived here; its target may be on another core.
    pub(super) fn route_cancel(&mut self, pid: u32, secret: Vec<u8>, entry: Entry) {
        let by = Requester { core: self.core, entry };
        let direction = self.proxy.peers.as_ref().map(|peers| peers.direct(pid, &secret));
        let (core, client, secret) = match direction {
            None => ((pid >> 25) as usize, (pid & 0x01ff_ffff) as usize, secret),
            Some(Direction::Here(holder, secret)) => (holder.core, holder.client, secret),
            Some(Direction::Peer { place, pid, secret }) => {
                let mut request = Vec::new();
                startup::put_cancel(&mut request, pid, &secret);
                return self.forward_cancel(Forward::to(To::Peer(place)), request, by);
            }
            Some(Direction::Nowhere(reason)) => {
                tracing::debug!(reason, "a cancel request is for nobody here");
                return self.cancel_elsewhere(pid, &secret, by);
            }
        };
        if core == self.core {
            self.cancel(client, &secret, by);
        } else if core < self.proxy.cores {
            self.driver.post(core, Mail::Cancel { client, secret, by });
        } else {
            self.cancel_elsewhere(pid, &secret, by);
        }
    }

    /// Cancels what a client of this core runs or waits for.
    pub(super) fn cancel(&mut self, client: usize, secret: &[u8], by: Requester) {
        match self.cancel_target(client, secret) {
            None => {
                tracing::debug!(client, "a cancel request fits no client");
                // With peers, a key that fits was looked up.
                return self.cancel_elsewhere(cancel_pid(self.core, client), secret, by);
            }
            Some(None) => self.cancel_waiting(client),
            Some(Some(backend)) => return self.send_cancel(backend, Some(by)),
        }
        self.cancelled(by);
    }

    /// Who has asked hears that it is done.
    fn cancelled(&mut self, by: Requester) {
        if by.core == self.core {
            self.close_requester(by.entry);
        } else {
            self.driver.post(by.core, Mail::Cancelled(by.entry));
        }
    }

    /// Asks the node to cancel what a backend runs.
    pub(super) fn send_cancel(&mut self, key: usize, by: Option<Requester>) {
        let backend = &mut self.backends[key];
        let mut request = Vec::new();
        startup::put_cancel(&mut request, backend.pid, &backend.secret);
        let (serial, address) = (backend.serial, backend.address.clone());
        let is_encrypted = backend.link.is_encrypted();
        let node = backend.pool.node;
        let to_node = self.proxy.to_node(node, &address).filter(|_| is_encrypted);
        if is_encrypted && to_node.is_none() {
            if self.has_room_for_a_line() {
                tracing::warn!(
                    %address,
                    "a cancel request is not sent in plain, and no host is there now"
                );
            }
            if let Some(by) = by {
                self.cancelled(by);
            }
            return;
        }
        let own_serial = self.serial();
        let backend = &mut self.backends[key];
        let entry = self.cancels.vacant_entry();
        let token = Token::Cancel(Entry::new(entry.key(), own_serial));
        match self.driver.connect(&address, token) {
            Ok(stream) => {
                backend.cancels += 1;
                entry.insert(CancelConnection {
                    link: Link::plain(stream),
                    to_node,
                    outbox: Outbox::default(),
                    request,
                    target: Target::Backend { key, serial },
                    own_serial,
                    stage: Stage::Connecting,
                    began: self.now,
                    by,
                });
                return;
            }
            Err(error) => {
                if self.has_room_for_a_line() {
                    tracing::warn!(%address, %error, "cannot send a cancel request");
                }
            }
        }
        if let Some(by) = by {
            self.cancelled(by);
        }
    }

    pub(super) fn cancel_ready(&mut self, key: usize, ready: Readiness) {
        let Some(cancel) = self.cancels.get_mut(key) else { return };
        match cancel.go_on(&mut self.driver, ready) {
            Ok(false) => {}
            Ok(true) => self.end_cancel(key),
            Err(error) => self.cancel_failed(key, &error),
        }
    }

    pub(super) fn time_out_cancels(&mut self) {
        let (now, limit) = (self.now, self.live.cancel_wait_timeout);
        let late: Vec<usize> = self
            .cancels
            .iter()
            .filter(|(_, cancel)| now.saturating_duration_since(cancel.began) > limit)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            let to = self.cancels[key].target.kind();
            if self.has_room_for_a_line() {
                tracing::warn!(
                    to,
                    ?limit,
                    "a cancel request was not taken in time (listen.cancel_wait_timeout)"
                );
            }
            self.end_cancel(key);
        }
    }

    fn cancel_failed(&mut self, key: usize, error: &io::Error) {
        if self.has_room_for_a_line() {
            let to = self.cancels[key].target.kind();
            tracing::warn!(to, %error, "a cancel request did not arrive");
        }
        let cancel = &self.cancels[key];
        if matches!(cancel.target, Target::Peer(_)) && cancel.stage == Stage::Connecting {
            return self.forward_elsewhere(key);
        }
        self.end_cancel(key);
    }

    fn end_cancel(&mut self, key: usize) {
        let cancel = self.cancels.remove(key);
        if let Some(by) = cancel.by {
            self.cancelled(by);
        }
        let (key, serial) = match cancel.target {
            Target::Backend { key, serial } => (key, serial),
            Target::Peer(to) if cancel.stage != Stage::Connecting => return self.peer_reached(&to),
            Target::Peer(_) => return,
        };
        let Some(backend) = self.backends.get_mut(key) else { return };
        if backend.serial == serial {
            backend.cancels -= 1;
            if backend.cancels == 0 {
                self.place_if_parked(key);
                self.ask_if_put_off(key);
            }
        }
    }
}

impl Target {
    /// For people.
    fn kind(&self) -> &'static str {
        match self {
            Self::Backend { .. } => "a node",
            Self::Peer(_) => "a peer",
        }
    }
}

impl<S> CancelConnection<S> {
    /// The backend of ours that it is for.
    pub(super) fn backend(&self) -> Option<usize> {
        match self.target {
            Target::Backend { key, .. } => Some(key),
            Target::Peer(_) => None,
        }
    }

    /// The place of the peer that it is for.
    pub(super) fn peer(&self) -> Option<usize> {
        match &self.target {
            Target::Peer(forward) => forward.peer(),
            Target::Backend { .. } => None,
        }
    }

    /// Whether the node, or the peer, has been told.
    pub(super) fn has_left(&self) -> bool {
        self.stage == Stage::Sent
    }

    /// Whether the other end has taken the request and closed the connection.
    fn go_on<D: Driver<Stream = S>>(&mut self, driver: &mut D, ready: Readiness) -> io::Result<bool>
    where
        S: Read + io::Write,
    {
        if self.stage == Stage::Connecting {
            if !driver.is_connected(self.link.socket())? {
                return Ok(false);
            }
            if self.to_node.is_some() {
                self.stage = Stage::Encrypting;
                self.outbox.write(&mut self.link, [&SSL_REQUEST[..]].into_iter())?;
            } else {
                self.send()?;
            }
        } else if ready.writable {
            self.outbox.flush(&mut self.link)?;
        }
        if !ready.readable {
            return Ok(false);
        }
        self.link.became_readable(ready.ended);
        let mut answer = [0; 64];
        loop {
            match self.link.read(&mut answer) {
                Ok(0) if self.stage == Stage::Encrypting => {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(0) => return Ok(true),
                Ok(read) if self.stage == Stage::Encrypting => {
                    match (&answer[..read], &self.to_node) {
                        (b"S", Some((config, name))) => {
                            self.link.connect(Arc::clone(config), name.clone())?;
                            self.send()?;
                        }
                        _ => return Err(io::Error::other("the node speaks TLS no more")),
                    }
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    fn send(&mut self) -> io::Result<()>
    where
        S: Read + io::Write,
    {
        self.stage = Stage::Sent;
        self.outbox.write(&mut self.link, [&self.request[..]].into_iter())
    }
}
