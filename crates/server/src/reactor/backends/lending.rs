//! Who has a backend next: lent, cleaned, placed, moved to another core.

use std::sync::Arc;
use std::time::Instant;

use pgherd_core::balance::Balance;
use pgherd_core::pool::{Acquired, Placed};
use pgherd_wire::frontend;
use pgherd_wire::replies::{Expect, Show};

use super::{Backend, Loss, Phase, Rest};
use crate::reactor::driver::Entry;
use crate::reactor::outbox::Outbox;
use crate::reactor::{Driver, Mail, PoolKey, Todo, Token, Worker};
use crate::relay::{Begun, upstream};

impl<D: Driver> Worker<D> {
    /// A waiter or an acquiring client gets this backend: its parameters first.
    pub(in crate::reactor) fn link(&mut self, key: usize, client: usize) {
        let since = self.backends[key].idle_since;
        // One that has come from a login or from another client just now was not idle.
        if since < self.stale_before && since < self.now {
            return self.check(key, client);
        }
        self.link_checked(key, client);
    }

    /// The same for a backend that is there.
    pub(super) fn link_checked(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        backend.relay.begin_lease();
        let wanted = &self.clients[client].parameters;
        if Arc::ptr_eq(wanted, &backend.applied) {
            return self.lend(key, client);
        }
        let change = wanted.change_from(&backend.applied);
        if change.is_empty() {
            return self.lend(key, client);
        }
        backend.phase = Phase::Syncing { client, wanted: Arc::clone(wanted) };
        self.clients[client].syncing(key);
        change.iter().for_each(|sql| self.ask(key, sql));
    }

    /// Backends that were idle before are asked first. Once a tick: nobody counts in less.
    pub(in crate::reactor) fn note_what_is_stale(&mut self) {
        // Without a limit each is asked each time.
        if !self.proxy.check_after.is_zero()
            && let Some(before) = self.now.checked_sub(self.proxy.check_after)
        {
            self.stale_before = self.stale_before.max(before);
        }
    }

    /// Asks a backend that was idle for long whether it is there, before its client has it.
    fn check(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        backend.phase = Phase::Checking { client, since: self.clients[client].waits_since() };
        self.clients[client].syncing(key);
        let proxy = Arc::clone(&self.proxy);
        self.ask(key, &proxy.check_query);
    }

    /// It was not. Its client goes on waiting, before all who came after it.
    pub(super) fn check_failed(&mut self, client: usize, since: Instant, pool_key: PoolKey) {
        let now = self.now;
        if self.take_called_off(client) {
            self.called_off(client);
            return self.slot_freed(pool_key);
        }
        self.clients[client].waits(pool_key);
        match self.pool(pool_key).pool.reacquire(client, since, now) {
            Acquired::Lease(backend) => self.link(backend, client),
            Acquired::Queued { open: true } => self.open_backend(pool_key),
            Acquired::Queued { open: false } | Acquired::Full => self.ask_other_cores(pool_key),
        }
    }

    pub(super) fn lend(&mut self, key: usize, client: usize) {
        let backend = &mut self.backends[key];
        backend.phase = Phase::Leased { client };
        backend.lent_at = self.now;
        backend.tally.assignments += 1;
        let waited = self.nanos.saturating_sub(self.clients[client].waits_from());
        backend.tally.wait_nanos += waited;
        backend.relay.begin_lease();
        let node = backend.pool.node;
        let counts = self.counts(node);
        counts.leases.add_one();
        counts.wait_times.add(waited);
        if self.clients[client].one_batch {
            counts.reads.add_one();
        }
        self.holds(client, key);
    }

    /// Sends a query of our own, whose replies nobody sees.
    pub(super) fn ask(&mut self, key: usize, sql: &str) {
        let backend = &mut self.backends[key];
        backend.asked_at = self.now;
        backend.relay.replies.expect(Expect::Query(Show::Nobody));
        let mut out = Vec::new();
        frontend::put_query(&mut out, sql);
        if let Err(error) = backend.outbox.write(&mut backend.link, [&out[..]].into_iter()) {
            self.write_failed(key, error);
        }
    }

    pub(in crate::reactor) fn end_lease(&mut self, key: usize, client: usize) {
        self.unpin(key);
        self.released(client);
        if self.proxy.balancer.balance() == Balance::Latency {
            let backend = &self.backends[key];
            let lease = self.now.saturating_duration_since(backend.lent_at);
            self.proxy.balancer.took(backend.pool.node, lease, self.now);
        }
        if self.backends[key].relay.replies.is_uncertain() {
            return self.close_backend(key);
        }
        self.clean(key);
    }

    /// Ends a lease that its client has no use for any more, or may not have for long.
    pub(in crate::reactor) fn end_lease_if_quiet(&mut self, key: usize) {
        let Some(backend) = self.backends.get(key) else { return };
        if let Phase::Leased { client } = backend.phase
            && self.clients[client].relay.is_between_messages()
        {
            if backend.relay.is_quiet() {
                self.end_turn(key, client);
            } else if backend.relay.has_only_named() && !backend.is_kept() {
                self.end_begun(key, client);
            }
        }
    }

    /// Has the node end a transaction in which statements were prepared: the lease ends when it has.
    fn end_begun(&mut self, key: usize, client: usize) {
        let (backend, client) = (&mut self.backends[key], &mut self.clients[client]);
        let mut out = Vec::new();
        upstream::end_begun(&mut client.relay, &mut backend.relay, &mut out);
        if let Err(error) = backend.outbox.write(&mut backend.link, [&out[..]].into_iter()) {
            self.write_failed(key, error);
        }
    }

    /// Makes a backend fit for the next client and places it.
    pub(super) fn clean(&mut self, key: usize) {
        let Backend { relay, resets_always, .. } = &self.backends[key];
        match *resets_always || relay.suspicion.is_dirty() || !relay.tx.is_idle() {
            true => self.reset(key),
            false => self.place(key),
        }
    }

    /// The client of a leased backend is gone.
    ///
    /// `is_whole`: the last message it sent was relayed to its end.
    pub(in crate::reactor) fn abandon(&mut self, key: usize, is_whole: bool) {
        if !self.backends.contains(key) {
            return;
        }
        self.unpin(key);
        let backend = &mut self.backends[key];
        if let Phase::Asking { client, is_asked: true } = &mut backend.phase {
            *client = None;
            return;
        }
        let relay = &backend.relay;
        let pool_key = backend.pool;
        let is_answered = relay.owes_nothing();
        let is_fit = is_answered
            && is_whole
            && relay.begun == Begun::Nothing
            && !relay.replies.is_uncertain()
            && backend.takes_more();
        // A stream heeds a goodbye at any time.
        let ends_well =
            is_fit || relay.replies.is_copying_both() && is_whole && backend.takes_more();
        if backend.replication.is_some() && ends_well {
            self.say_goodbye(key);
            return self.slot_freed(pool_key);
        }
        backend.phase = Phase::Cleaning { rest: Rest::Nothing };
        if is_fit {
            return self.clean(key);
        }
        // Something still runs, or the backend has half a message: it ends with its connection.
        if is_answered {
            return self.close_backend(key);
        }
        // But it does not look at that before it has something to say, which may be in hours.
        backend.phase = Phase::Abandoned { since: self.now };
        backend.outbox = Outbox::default();
        self.driver.shutdown_write(backend.link.socket());
        self.cancel_abandoned(key);
        // What its client did not take may be in the way of the end.
        self.todo.push_back(Todo::Backend(key));
    }

    /// Has the node cancel what an abandoned backend runs. A request that comes before the statement
    /// that it is for does nothing, so there may have to be others.
    pub(super) fn cancel_abandoned(&mut self, key: usize) {
        self.backends[key].asked_at = self.now;
        self.send_cancel(key, None);
    }

    /// A free and clean backend goes to the next in need, unless it is too old.
    pub(super) fn place(&mut self, key: usize) {
        let backend = &mut self.backends[key];
        if backend.cancels > 0 {
            backend.phase = Phase::Parked;
            return;
        }
        if self.now >= backend.expires_at {
            return self.close_backend(key);
        }
        backend.phase = Phase::Idle;
        backend.idle_since = self.now;
        backend.relay.shown = false;
        let (pool_key, now) = (backend.pool, self.now);
        if let Some(core) = self.core_in_need(pool_key) {
            self.pool(pool_key).pool.give_busy();
            self.publish(pool_key);
            return self.move_backend(key, core);
        }
        let placed = self.pool(pool_key).pool.release(key, now);
        self.placed(pool_key, placed);
    }

    pub(in crate::reactor) fn place_if_parked(&mut self, key: usize) {
        if matches!(self.backends[key].phase, Phase::Parked) {
            self.place(key);
        }
    }

    pub(super) fn placed(&mut self, pool_key: PoolKey, placed: Placed<usize, usize>) {
        self.ask_other_cores(pool_key);
        match placed {
            Placed::Lent(client, backend) => self.link(backend, client),
            // Whom it was opened for has left.
            Placed::Idle if pool_key.owner.is_some() => {
                let idle: Vec<usize> = self.pool(pool_key).pool.drain_idle().collect();
                idle.into_iter().for_each(|backend| self.say_goodbye(backend));
            }
            Placed::Idle => self.balance(pool_key),
            Placed::Surplus(backend) => self.say_goodbye(backend),
        }
    }

    /// Gives idle backends to cores in need, and opens for waiters where slots came free.
    pub(in crate::reactor) fn balance(&mut self, pool_key: PoolKey) {
        self.publish(pool_key);
        if let Some(core) = self.core_in_need(pool_key)
            && let Some(backend) = self.pool(pool_key).pool.give_idle()
        {
            self.publish(pool_key);
            return self.move_backend(backend, core);
        }
        self.open_for_waiters(pool_key);
        if self.pool(pool_key).shares_a_limit && self.ask_for_room(pool_key) {
            self.open_for_waiters(pool_key);
        }
    }

    /// Opens as many as there are waiters and places for. Where the last try failed, one: the others
    /// follow when it is open.
    pub(in crate::reactor) fn open_for_waiters(&mut self, pool_key: PoolKey) {
        let now = self.now;
        while self.pool(pool_key).pool.wants_open(now) {
            self.open_backend(pool_key);
            if self.pool(pool_key).pool.retry_at().is_some() {
                return;
            }
        }
    }

    pub(super) fn move_backend(&mut self, key: usize, core: usize) {
        self.take_tally(key);
        let mut backend = self.backends.remove(key);
        self.driver.deregister(backend.link.socket_mut());
        self.driver.post(core, Mail::Backend(backend.pool, Box::new(backend)));
    }

    /// Whether it was opened before such are to be closed: a console has said so, or its database is
    /// another one on the nodes since.
    pub(super) fn is_outdated(&self, backend: &Backend<D::Stream>) -> bool {
        let admin = &self.proxy.admin;
        let until = admin.reconnect_before().max(backend.database.reconnect_before());
        admin.nanos(backend.opened_at) < until
    }

    pub(in crate::reactor) fn adopt_backend(
        &mut self,
        pool_key: PoolKey,
        mut backend: Backend<D::Stream>,
    ) {
        // It may have been on its way when it was to be closed.
        if self.is_outdated(&backend) {
            backend.say_goodbye();
            let now = self.now;
            let opens = self.pool(pool_key).pool.declined(now);
            return self.has_slot(pool_key, opens);
        }
        backend.serial = self.serial();
        // Whatever came while it moved was not reported to anybody.
        backend.readable = true;
        backend.link.became_readable(false);
        backend.applied = self.intern((*backend.applied).clone());
        backend.at_login = self.intern((*backend.at_login).clone());
        backend.relay.limit = self.live.message_limit;
        let entry = self.backends.vacant_entry();
        let key = entry.key();
        let token = Token::Backend(Entry::new(key, backend.serial));
        let registered = self.driver.register(backend.link.socket_mut(), token);
        entry.insert(backend);
        let now = self.now;
        let placed = self.pool(pool_key).pool.adopt(key, now);
        self.placed(pool_key, placed);
        match registered {
            Ok(()) => self.todo.push_back(Todo::Backend(key)),
            Err(error) => self.lose_backend(key, &Loss::Io(error)),
        }
    }
}
