//! Opening a backend over the addresses of its node, one after the other.

use std::io;
use std::time::{Duration, Instant};

use pgherd_core::hosts::Address;
use pgherd_core::id::NodeId;
use pgherd_core::settings::TlsMode;

use super::Loss;
use crate::reactor::{Driver, PoolKey, Worker};

/// How far opening one backend has come.
#[derive(Debug)]
pub(super) struct Opening {
    /// The addresses that were tried; the last one is being tried.
    tried: Vec<Address>,
    began: Instant,
    // When the last one's turn began, and how long it has.
    attempted: Instant,
    pub(super) limit: Duration,
    // An address had no place for it: the node is there.
    is_busy: bool,
}

impl Opening {
    fn begin(now: Instant) -> Self {
        let limit = Duration::ZERO;
        Self { tried: Vec::new(), began: now, attempted: now, limit, is_busy: false }
    }

    /// What is known of it, for whoever goes on with it.
    pub(super) fn take(&mut self) -> Self {
        Self { tried: std::mem::take(&mut self.tried), ..*self }
    }

    /// Whether the address that is being tried has had its time.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.attempted) > self.limit
    }
}

impl<D: Driver> Worker<D> {
    /// Opens one backend as the pool ordered, over one of its node's addresses.
    pub(in crate::reactor) fn open_backend(&mut self, pool: PoolKey) {
        // Where no host of the node was ever found there is nothing to try.
        let not_found = self.proxy.addresses.not_found(pool.node.index());
        let nowhere = || Loss::Io(io::ErrorKind::NotFound.into());
        let loss = not_found.map_or_else(nowhere, Loss::NotFound);
        self.open_over_next(pool, Opening::begin(self.now), &loss);
    }

    /// An attempt to open a backend has failed: the next address is tried. What tells of the node is
    /// that none is left.
    pub(super) fn attempt_failed(&mut self, pool: PoolKey, opening: Opening, loss: &Loss) {
        if !loss.may_be_node() {
            return self.open_failed(pool, loss);
        }
        if let Some(at) = opening.tried.last() {
            self.address_failed(pool.node, at);
        }
        self.open_over_next(pool, opening, loss);
    }

    /// A connection to this address failed or was lost. Whether no other address of the node is well,
    /// so that it may be the node itself.
    pub(super) fn address_failed(&mut self, node: NodeId, at: &Address) -> bool {
        let failed = self.proxy.addresses.failed(node.index(), at, self.now);
        if failed.is_news {
            // What else goes over it may be gone as well.
            self.stale_before = self.stale_before.max(self.now);
        }
        !failed.has_other
    }

    /// `last` is what the last attempt failed with.
    fn open_over_next(&mut self, pool: PoolKey, mut opening: Opening, last: &Loss) {
        let (node, mut latest) = (pool.node, None);
        let in_plain = self.proxy.node_tls.mode() == TlsMode::Disable;
        while let Some(at) = self.next_address(node, &mut opening) {
            match self.connect(pool, &at, opening, in_plain) {
                Ok(()) => return,
                Err((error, unused)) => {
                    let loss = Loss::unreached(&at, error);
                    opening = unused;
                    match loss {
                        Loss::QueueFull(_) => opening.is_busy = true,
                        _ => _ = self.address_failed(node, &at),
                    }
                    latest = Some(loss);
                }
            }
        }
        let loss = latest.as_ref().unwrap_or(last);
        if !opening.is_busy {
            (self.proxy.failures)(node, &loss.to_string());
        }
        self.open_failed(pool, loss);
    }

    fn next_address(&mut self, node: NodeId, opening: &mut Opening) -> Option<Address> {
        let spent = self.now.saturating_duration_since(opening.began);
        let left = self.live.connect_timeout.saturating_sub(spent);
        if left.is_zero() && !opening.tried.is_empty() {
            return None;
        }
        let addresses = &self.proxy.addresses;
        let attempt = addresses.attempt(node.index(), &opening.tried, left, self.now)?;
        opening.tried.push(attempt.at.clone());
        (opening.attempted, opening.limit) = (self.now, attempt.limit);
        Some(attempt.at)
    }
}
