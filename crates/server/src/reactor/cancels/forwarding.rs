//! Cancel requests for clients of peers.

use std::time::Instant;

use pgherd_core::hosts::Address;
use pgherd_wire::startup;

use super::{CancelConnection, Stage, Target};
use crate::reactor::driver::Entry;
use crate::reactor::link::Link;
use crate::reactor::outbox::Outbox;
use crate::reactor::{Driver, Requester, Token, Worker};

/// Requests that one core sends on at the same time; one more is dropped. As many as connections
/// beyond `listen.max_clients` are heard out: who sends more has something else in mind.
pub(crate) const MOST_FORWARDED: usize = 100;

/// Where a request is sent on to.
#[derive(Debug)]
pub(super) struct Forward {
    to: To,
    // Its addresses that were tried; the last one is being tried.
    tried: Vec<Address>,
}

/// Whom a request is sent on to.
#[derive(Debug, Clone, Copy)]
pub(super) enum To {
    /// The peer at this place.
    Peer(usize),
    /// The process that this one has taken over.
    Predecessor,
}

impl Forward {
    pub(super) fn to(to: To) -> Self {
        Self { to, tried: Vec::new() }
    }

    /// The place of the peer, if it is one.
    pub(super) fn peer(&self) -> Option<usize> {
        match self.to {
            To::Peer(place) => Some(place),
            To::Predecessor => None,
        }
    }
}

impl<D: Driver> Worker<D> {
    /// A request is for no client of this process: it may be for one of the process whose place this
    /// one has taken.
    pub(super) fn cancel_elsewhere(&mut self, pid: u32, secret: &[u8], by: Requester) {
        if self.proxy.predecessor.is_none() {
            return self.cancelled(by);
        }
        let mut request = Vec::new();
        startup::put_cancel(&mut request, pid, secret);
        self.forward_cancel(Forward::to(To::Predecessor), request, by);
    }

    /// Sends a request on to a peer. Who has sent it waits until the peer has closed.
    pub(super) fn forward_cancel(&mut self, to: Forward, request: Vec<u8>, by: Requester) {
        let is_forwarded =
            |(_, cancel): &(usize, &CancelConnection<_>)| matches!(cancel.target, Target::Peer(_));
        if self.cancels.iter().filter(is_forwarded).count() >= MOST_FORWARDED {
            if self.has_room_for_a_line() {
                let most = MOST_FORWARDED;
                tracing::warn!(most, "too many cancel requests for peers: one is dropped");
            }
            return self.cancelled(by);
        }
        self.forward_over_next(to, request, by, self.now);
    }

    /// The peer could not be reached at the last address.
    pub(super) fn forward_elsewhere(&mut self, key: usize) {
        let cancel = self.cancels.remove(key);
        let (Target::Peer(to), Some(by)) = (cancel.target, cancel.by) else { return };
        self.peer_failed(&to);
        self.forward_over_next(to, cancel.request, by, cancel.began);
    }

    fn forward_over_next(
        &mut self,
        mut to: Forward,
        request: Vec<u8>,
        by: Requester,
        began: Instant,
    ) {
        while let Some(address) = self.next_of_peer(&to) {
            to.tried.push(address.clone());
            let own_serial = self.serial();
            let entry = self.cancels.vacant_entry();
            let token = Token::Cancel(Entry::new(entry.key(), own_serial));
            match self.driver.connect(&address, token) {
                Ok(stream) => {
                    entry.insert(CancelConnection {
                        link: Link::plain(stream),
                        to_node: None,
                        outbox: Outbox::default(),
                        request,
                        target: Target::Peer(to),
                        own_serial,
                        stage: Stage::Connecting,
                        began,
                        by: Some(by),
                    });
                    return;
                }
                Err(error) => {
                    if self.has_room_for_a_line() {
                        tracing::warn!(%address, %error, "cannot reach a peer for a cancel request");
                    }
                    self.peer_failed(&to);
                }
            }
        }
        self.cancelled(by);
    }

    fn next_of_peer(&self, to: &Forward) -> Option<Address> {
        let To::Peer(place) = to.to else {
            return self.proxy.predecessor.clone().filter(|_| to.tried.is_empty());
        };
        let peers = self.proxy.peers.as_ref()?;
        let limit = self.live.cancel_wait_timeout;
        let attempt = peers.addresses().attempt(place, &to.tried, limit, self.now)?;
        Some(attempt.at)
    }

    fn peer_failed(&self, to: &Forward) {
        if let (To::Peer(place), Some(peers), Some(at)) =
            (to.to, &self.proxy.peers, to.tried.last())
        {
            peers.addresses().failed(place, at, self.now);
        }
    }

    /// A peer took a request.
    pub(super) fn peer_reached(&self, to: &Forward) {
        if let (To::Peer(place), Some(peers), Some(at)) =
            (to.to, &self.proxy.peers, to.tried.last())
        {
            peers.addresses().opened(place, at);
        }
    }
}
