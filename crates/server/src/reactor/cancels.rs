//! Cancel requests on their way to a node.
//!
//! A request travels on a connection of its own. Until the node has closed that, the backend
//! it is meant for is not lent to anybody else: a late cancel must not hit the next client's
//! query. Until then, who has sent the request waits for the end of its connection, as with
//! PostgreSQL: what it sends to be run after that is not cancelled.

use std::io::{self, Read};
use std::time::Instant;

use pgherd_wire::startup;

use super::driver::Entry;
use super::outbox::Outbox;
use super::{Driver, Mail, Readiness, Requester, Token, Worker};

/// One request on its way.
#[derive(Debug)]
pub(super) struct CancelConnection<S> {
    stream: S,
    outbox: Outbox,
    request: Vec<u8>,
    pub(super) backend: usize,
    // Of the backend.
    serial: u64,
    pub(super) own_serial: u64,
    pub(super) connected: bool,
    began: Instant,
    by: Option<Requester>,
}

/// How a client is told to name itself in a cancel request: its core and its key.
///
/// 6 bits for the core, 25 for the key: as a signed number it stays positive, which some
/// drivers need.
pub(super) fn cancel_pid(core: usize, client: usize) -> u32 {
    let (core, client) = (core & 0x3f, client & 0x01ff_ffff);
    u32::try_from(core << 25 | client).expect("31 bits fit into 32")
}

impl<D: Driver> Worker<D> {
    /// A cancel request arrived here; its target may be on another core.
    pub(super) fn route_cancel(&mut self, pid: u32, secret: Vec<u8>, entry: Entry) {
        let core = (pid >> 25) as usize;
        let client = (pid & 0x01ff_ffff) as usize;
        let by = Requester { core: self.core, entry };
        if core == self.core {
            self.cancel(client, &secret, by);
        } else if core < self.proxy.cores {
            self.driver.post(core, Mail::Cancel { client, secret, by });
        } else {
            self.close_requester(entry);
        }
    }

    /// Cancels what a client of this core runs or waits for.
    pub(super) fn cancel(&mut self, client: usize, secret: &[u8], by: Requester) {
        match self.cancel_target(client, secret) {
            None => tracing::debug!(client, "a cancel request fits no client"),
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
        let (serial, address) = (backend.serial, backend.address);
        let own_serial = self.serial();
        let backend = &mut self.backends[key];
        let entry = self.cancels.vacant_entry();
        let token = Token::Cancel(Entry::new(entry.key(), own_serial));
        match self.driver.connect(address, token) {
            Ok(stream) => {
                backend.cancels += 1;
                entry.insert(CancelConnection {
                    stream,
                    outbox: Outbox::default(),
                    request,
                    backend: key,
                    serial,
                    own_serial,
                    connected: false,
                    began: self.now,
                    by,
                });
                return;
            }
            Err(error) => tracing::warn!(%address, %error, "cannot send a cancel request"),
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
            Err(error) => {
                tracing::warn!(%error, "a cancel request did not reach its node");
                self.end_cancel(key);
            }
        }
    }

    pub(super) fn time_out_cancels(&mut self) {
        let (now, limit) = (self.now, self.proxy.cancel_wait_timeout);
        let late: Vec<usize> = self
            .cancels
            .iter()
            .filter(|(_, cancel)| now.saturating_duration_since(cancel.began) > limit)
            .map(|(key, _)| key)
            .collect();
        for key in late {
            tracing::warn!(
                ?limit,
                "a node did not take a cancel request in time (listen.cancel_wait_timeout)"
            );
            self.end_cancel(key);
        }
    }

    fn end_cancel(&mut self, key: usize) {
        let cancel = self.cancels.remove(key);
        if let Some(by) = cancel.by {
            self.cancelled(by);
        }
        let Some(backend) = self.backends.get_mut(cancel.backend) else { return };
        if backend.serial == cancel.serial {
            backend.cancels -= 1;
            if backend.cancels == 0 {
                self.place_if_parked(cancel.backend);
                self.ask_if_put_off(cancel.backend);
            }
        }
    }
}

impl<S> CancelConnection<S> {
    /// Whether the node has taken the request and closed the connection.
    fn go_on<D: Driver<Stream = S>>(&mut self, driver: &mut D, ready: Readiness) -> io::Result<bool>
    where
        S: Read + io::Write,
    {
        if !self.connected {
            if !driver.is_connected(&self.stream)? {
                return Ok(false);
            }
            self.connected = true;
            self.outbox.write(&mut self.stream, [&self.request[..]].into_iter())?;
        } else if ready.writable {
            self.outbox.flush(&mut self.stream)?;
        }
        if !ready.readable {
            return Ok(false);
        }
        loop {
            match self.stream.read(&mut [0; 64]) {
                Ok(0) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}
