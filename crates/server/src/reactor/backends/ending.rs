//! Backends that are lost or closed, opens that fail or are tried without TLS, and who is served
//! instead.

use pgherd_core::pool::OpenFailure;
use pgherd_core::settings::TlsMode;
use pgherd_wire::sqlstate;

use super::loss::may_pass;
use super::{Backend, LastSeen, Loss, Phase};
use crate::backend::LoginError;
use crate::reactor::{Driver, Mail, PoolKey, Worker};

impl<S> Backend<S> {
    /// Whether it may have been TLS that it was lost by, before it was of any use. As for libpq: also a
    /// node that lets in plain connections only.
    fn has_failed_at_tls(&self, loss: &Loss) -> bool {
        match (&self.phase, loss) {
            (Phase::Encrypting, Loss::Tls(_) | Loss::Closed | Loss::Io(_)) => true,
            (Phase::LoggingIn(_), Loss::Tls(_) | Loss::Closed | Loss::Io(_)) => {
                self.link.is_handshaking()
            }
            (Phase::LoggingIn(_), Loss::Login(LoginError::Refused { code, .. })) => {
                self.link.is_encrypted() && code == sqlstate::INVALID_AUTHORIZATION
            }
            _ => false,
        }
    }
}

impl<D: Driver> Worker<D> {
    /// A backend is of no more use: closes it, and decides what becomes of its client.
    pub(in crate::reactor) fn lose_backend(&mut self, key: usize, loss: &Loss) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        let (pool_key, pid, address) = (backend.pool, backend.pid, backend.address.clone());
        if self.proxy.node_tls.mode() == TlsMode::Prefer && backend.has_failed_at_tls(loss) {
            let opening = backend.opening.take();
            tracing::debug!(node = %self.node_name(pool_key), %loss, "no TLS: trying in plain");
            self.drop_backend(key);
            return match self.connect(pool_key, &address, opening, true) {
                Ok(()) => {}
                Err((error, opening)) => self.attempt_failed(pool_key, opening, &error.into()),
            };
        }
        let phase = std::mem::replace(&mut backend.phase, Phase::Parked);
        let node = self.node_name(pool_key);
        // An idle backend may be ended by somebody, or by a time-out: the probe knows better. One that
        // was abandoned was to end. One that is being opened may be to be had elsewhere.
        let is_checked = matches!(phase, Phase::Checking { .. });
        let blames_address = match phase {
            Phase::Idle | Phase::Abandoned { .. } => false,
            Phase::Connecting | Phase::Encrypting | Phase::LoggingIn(_) | Phase::Introducing => {
                false
            }
            Phase::Checking { .. } => matches!(loss, Loss::TimedOut(_)),
            _ => loss.may_be_node(),
        };
        if blames_address && self.address_failed(pool_key.node, &address) && !is_checked {
            (self.proxy.failures)(pool_key.node, &loss.to_string());
        }
        match phase {
            Phase::Connecting | Phase::Encrypting | Phase::LoggingIn(_) | Phase::Introducing => {
                let opening = self.backends[key].opening.take();
                self.drop_backend(key);
                self.attempt_failed(pool_key, opening, loss);
            }
            Phase::Idle => {
                tracing::info!(%node, pid, %loss, "idle backend lost");
                self.pool(pool_key).pool.remove_idle(|idle| *idle == key);
                self.drop_backend(key);
                self.balance(pool_key);
            }
            Phase::Checking { client, since } => {
                tracing::info!(%node, pid, %loss, "idle backend lost");
                self.drop_backend(key);
                self.check_failed(client, since, pool_key);
            }
            Phase::Syncing { client, .. }
            | Phase::Leased { client }
            | Phase::Asking { client: Some(client), .. } => {
                tracing::warn!(%node, pid, %loss, "backend lost while in use");
                let backend = &self.backends[key];
                let is_idle = matches!(phase, Phase::Asking { .. })
                    || backend.is_kept()
                        && (backend.relay.is_quiet() || matches!(phase, Phase::Syncing { .. }));
                let last = match LastSeen::of(&backend.relay) {
                    said @ (LastSeen::Goodbye | LastSeen::HalfAMessage | LastSeen::EndOfStream) => {
                        said
                    }
                    _ if backend.replication.is_some() => LastSeen::Replication,
                    _ if is_idle => LastSeen::IdleWithState,
                    other => other,
                };
                self.drop_backend(key);
                // The client first: a backend opened in the free slot may get the same key.
                self.lost_backend(client, pool_key, loss, last);
                self.slot_freed(pool_key);
            }
            Phase::Asking { client: None, .. } | Phase::Cleaning { .. } | Phase::Parked => {
                tracing::info!(%node, pid, %loss, "backend lost");
                self.drop_backend(key);
                self.slot_freed(pool_key);
            }
            Phase::Abandoned { .. } => {
                tracing::debug!(%node, pid, %loss, "abandoned backend ended");
                self.drop_backend(key);
                self.slot_freed(pool_key);
            }
        }
    }

    /// Closes a borrowed backend.
    pub(super) fn close_backend(&mut self, key: usize) {
        let pool_key = self.backends[key].pool;
        self.drop_backend(key);
        self.slot_freed(pool_key);
    }

    pub(super) fn drop_backend(&mut self, key: usize) {
        self.unpin(key);
        self.take_tally(key);
        self.backends.remove(key);
    }

    pub(super) fn slot_freed(&mut self, pool_key: PoolKey) {
        let now = self.now;
        let opens = self.pool(pool_key).pool.closed(now);
        self.has_slot(pool_key, opens);
    }

    /// A slot of a pool is free again: for one that is to be opened here, or for another core.
    pub(super) fn has_slot(&mut self, pool_key: PoolKey, opens: bool) {
        self.publish(pool_key);
        if opens {
            self.open_backend(pool_key);
        } else if let Some(core) = self.core_in_need(pool_key) {
            self.driver.post(core, Mail::Balance(pool_key));
        }
    }

    pub(super) fn open_failed(&mut self, pool_key: PoolKey, loss: &Loss) {
        let (node, now) = (self.node_name(pool_key), self.now);
        // That a node is down is told by the probe; a client alone may ask for a database that is not.
        if self.has_room_for_a_line() {
            tracing::warn!(%node, %loss, "cannot open a backend");
        }
        self.counts(pool_key.node).failed_opens.add_one();
        let random = self.random_fraction();
        let pool = self.pool(pool_key);
        pool.pool.open_failed(OpenFailure::Refused, now, random);
        pool.last_error = Some(loss.to_string());
        let final_word = match loss {
            Loss::Login(LoginError::Refused { code, raw, .. }) if !may_pass(code) => Some(&raw[..]),
            Loss::Login(error) if error.will_last() => Some(&[][..]),
            _ => None,
        };
        match final_word {
            Some(raw) => {
                while let Some((client, _)) = self.pool(pool_key).pool.pop_waiter(now) {
                    self.refuse_waiter(client, pool_key, raw, loss);
                }
            }
            None => {
                self.reroute_waiters(pool_key);
                self.fail_the_hopeless(pool_key);
            }
        }
        self.publish(pool_key);
    }

    /// Uniform in 0 to 1, for delays: in steps of 1/255.
    pub(super) fn random_fraction(&mut self) -> f64 {
        let mut random = [0; 1];
        self.driver.random(&mut random);
        f64::from(random[0]) / f64::from(u8::MAX)
    }

    /// Waiters for a replica need not wait for it: another node serves them as well.
    pub(super) fn reroute_waiters(&mut self, pool_key: PoolKey) {
        let topology = self.proxy.topology.load_full();
        if topology.group_of(pool_key.node).primary == pool_key.node {
            return;
        }
        let now = self.now;
        while let Some((client, _)) = self.pool(pool_key).pool.pop_waiter(now) {
            self.acquire_elsewhere(client, pool_key);
        }
    }
}
