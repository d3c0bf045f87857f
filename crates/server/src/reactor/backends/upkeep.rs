//! What time and the health of nodes do to backends.

use std::sync::Arc;

use pgherd_core::id::NodeId;
use pgherd_core::pool::Slots;

use super::{Backend, Loss, Phase};
use crate::reactor::{Driver, Mail, PoolKey, Worker, primaries};

impl<D: Driver> Worker<D> {
    pub(in crate::reactor) fn time_out_backends(&mut self) {
        let (now, limit) = (self.now, self.live.connect_timeout);
        let late = self.backends_where(|backend| {
            let is_opening = matches!(
                backend.phase,
                Phase::Connecting | Phase::Encrypting | Phase::LoggingIn(_) | Phase::Introducing
            );
            is_opening && backend.opening.is_late(now)
        });
        for key in late {
            let limit = self.backends[key].opening.limit;
            self.lose_backend(key, &Loss::TimedOut(limit));
        }
        let late = self.backends_where(|backend| match backend.phase {
            Phase::Syncing { .. }
            | Phase::Asking { is_asked: true, .. }
            | Phase::Cleaning { .. } => now.saturating_duration_since(backend.asked_at) > limit,
            Phase::Abandoned { since } => now.saturating_duration_since(since) > limit,
            Phase::Connecting
            | Phase::Encrypting
            | Phase::LoggingIn(_)
            | Phase::Introducing
            | Phase::Asking { is_asked: false, .. }
            | Phase::Checking { .. }
            | Phase::Idle
            | Phase::Leased { .. }
            | Phase::Parked => false,
        });
        for key in late {
            self.lose_backend(key, &Loss::TimedOut(limit));
        }
        let still_runs = self.backends_where(|backend| {
            matches!(backend.phase, Phase::Abandoned { .. })
                && now > backend.asked_at
                && backend.cancels == 0
        });
        still_runs.into_iter().for_each(|key| self.cancel_abandoned(key));
        let check_limit = self.proxy.check_limit;
        let silent = self.backends_where(|backend| {
            matches!(backend.phase, Phase::Checking { .. })
                && now.saturating_duration_since(backend.asked_at) > check_limit
        });
        for key in silent {
            self.lose_backend(key, &Loss::TimedOut(check_limit));
        }
        self.time_out_holders();
        let old = self.backends_where(|backend| {
            matches!(backend.phase, Phase::Idle) && now >= backend.expires_at
        });
        for key in old {
            let pool_key = self.backends[key].pool;
            self.pool(pool_key).pool.remove_idle(|idle| *idle == key);
            self.say_goodbye(key);
        }
        self.time_out_cancels();
    }

    /// Dismisses clients that hold backends and do what they do for too long.
    fn time_out_holders(&mut self) {
        let mut overdue = Vec::new();
        for (_, backend) in &self.backends {
            let Phase::Leased { client } = backend.phase else { continue };
            let Some(timeouts) = self.clients[client].timeouts() else { continue };
            if let Some(over) = timeouts.overdue(backend.doing(), self.now) {
                overdue.push((client, over));
            }
        }
        for (client, over) in overdue {
            self.dismiss_overdue(client, over);
        }
    }

    /// Addresses that do not lead to a node any more are left: idle backends there are closed, the
    /// others when their leases end.
    pub(in crate::reactor) fn follow_addresses(&mut self) {
        let version = self.proxy.addresses.version();
        if version == self.addresses {
            return;
        }
        self.addresses = version;
        for (_, backend) in &mut self.backends {
            if !self.proxy.addresses.contains(backend.pool.node.index(), &backend.address) {
                backend.expires_at = self.now;
            }
        }
        self.close_outdated();
    }

    /// Whether a backend that was opened now would be another one.
    pub(super) fn has_changed(&self, backend: &Backend<D::Stream>) -> bool {
        let addresses = &self.proxy.addresses;
        self.is_outdated(backend)
            || !addresses.contains(backend.pool.node.index(), &backend.address)
    }

    /// Closes, where the settings say so, the backends of whole sessions that are to be closed and on
    /// which nothing runs, and dismisses their clients. The others follow with the end of what they run.
    pub(in crate::reactor) fn close_outdated(&mut self) {
        if !self.live.fast_close {
            return;
        }
        let idle: Vec<usize> = self
            .backends
            .iter()
            .filter_map(|(_, backend)| match backend.phase {
                Phase::Leased { client } if backend.is_session && backend.relay.is_quiet() => {
                    self.has_changed(backend).then_some(client)
                }
                _ => None,
            })
            .filter(|client| self.clients[*client].rests_with_backend())
            .collect();
        idle.into_iter().for_each(|client| self.dismiss_with_backend(client));
    }

    /// A node that was taken out of rotation may never answer again what it was asked: whoever
    /// can be served elsewhere is. A fenced node, which took writes while another was promoted, is
    /// left by everybody. Who waits for the last primary goes on to the present one.
    pub(in crate::reactor) fn follow_topology(&mut self) {
        let topology = self.proxy.topology.load_full();
        if topology.generation() == self.generation {
            return;
        }
        self.generation = topology.generation();
        let last_primaries = std::mem::replace(&mut self.primaries, primaries(&topology));
        let demoted: Vec<NodeId> = last_primaries
            .into_iter()
            .filter(|last| topology.group_of(*last).primary != *last)
            .collect();
        let is_left = |node| !topology.health(node).is_healthy() || topology.is_fenced(node);
        let stranded = self.backends_where(|backend| {
            is_left(backend.pool.node)
                && matches!(backend.phase, Phase::Leased { .. } | Phase::Syncing { .. })
        });
        for key in stranded {
            let Self { backends, clients, judge, .. } = self;
            let leaves = backends.get(key).is_some_and(|backend| match &backend.phase {
                Phase::Syncing { .. } => true,
                Phase::Leased { client } => {
                    clients[*client].may_move(judge) || topology.is_fenced(backend.pool.node)
                }
                _ => false,
            });
            if leaves {
                self.lose_backend(key, &Loss::NodeDown);
            }
        }
        let pools: Vec<PoolKey> =
            self.pools.keys().copied().filter(|pool| is_left(pool.node)).collect();
        for pool in pools {
            // Whether they are still good nobody knows before they are asked.
            let idle: Vec<usize> = self.pool(pool).pool.drain_idle().collect();
            idle.into_iter().for_each(|backend| self.drop_backend(backend));
            self.reroute_waiters(pool);
            self.balance(pool);
        }
        if !demoted.is_empty() {
            let of_last = |pool: &PoolKey| demoted.contains(&pool.node);
            let pools: Vec<PoolKey> = self.pools.keys().copied().filter(of_last).collect();
            pools.into_iter().for_each(|pool| self.reroute_waiters(pool));
            // A stream of what is no primary any more may go on for ever and bring nothing.
            let streams = self.backends_where(|backend| {
                let is_held = matches!(backend.phase, Phase::Leased { .. });
                let is_primary = !demoted.contains(&backend.pool.node);
                backend.replication.is_some() && !is_primary && is_held
            });
            streams.into_iter().for_each(|key| self.lose_backend(key, &Loss::Demoted));
        }
    }

    pub(super) fn backends_where(&self, is_it: impl Fn(&Backend<D::Stream>) -> bool) -> Vec<usize> {
        let found = self.backends.iter().filter(|(_, backend)| is_it(backend));
        found.map(|(key, _)| key).collect()
    }

    pub(in crate::reactor) fn time_out_pool(&mut self, pool_key: PoolKey) {
        let now = self.now;
        let (wait, idle) = (self.pool(pool_key).plan.acquire_timeout, self.live.idle_timeout);
        while let Some((client, waited)) = self.pool(pool_key).pool.pop_expired(now, wait) {
            self.waited_too_long(client, pool_key, waited);
        }
        self.fail_the_hopeless(pool_key);
        let notice = self.live.wait_notice;
        if !notice.is_zero() {
            for client in self.pool(pool_key).pool.untold(now, notice) {
                self.tell_waiter(client, pool_key);
            }
        }
        while let Some(backend) = self.pool(pool_key).pool.pop_surplus(now, idle) {
            self.say_goodbye(backend);
        }
        let plan = &self.pool(pool_key).plan;
        if plan.min_idle > 0 {
            let (min_idle, database) = (plan.min_idle, Arc::clone(&self.pool(pool_key).database));
            let is_ready = self.proxy.databases.is_kept_ready(&database, pool_key.user);
            let min_idle = if is_ready && !self.draining { min_idle } else { 0 };
            self.pool(pool_key).pool.keep_open(min_idle);
        }
        if self.draining {
            let all: Vec<usize> = self.pool(pool_key).pool.drain_idle().collect();
            all.into_iter().for_each(|backend| self.say_goodbye(backend));
        }
        self.balance(pool_key);
    }

    /// Databases whose clients share a login have their pool before the first of them comes. One core
    /// opens the backends.
    pub(in crate::reactor) fn keep_ready(&mut self) {
        if self.core > 0 || self.draining {
            return;
        }
        let (proxy, topology) = (Arc::clone(&self.proxy), self.proxy.topology.load_full());
        for (database, user) in proxy.databases.kept_ready() {
            let node = database.nodes(&topology).primary;
            self.pool(PoolKey { node, database: database.id, user, owner: None });
        }
    }

    /// Closes an idle backend of this core where a limit over several pools keeps a waiter of `pool`
    /// from one of its own; the one that has been idle longest.
    fn make_room(&mut self, pool_key: PoolKey, limit: &Arc<Slots>) -> bool {
        let others = self
            .pools
            .iter()
            .filter(|(key, pool)| **key != pool_key && pool.pool.slots().is_under(limit));
        let idle = others.filter_map(|(key, pool)| Some((pool.pool.oldest_idle()?, *key)));
        let Some((_, key)) = idle.min() else { return false };
        let Some(backend) = self.pool(key).pool.pop_idle_for(limit) else { return false };
        self.say_goodbye(backend);
        self.publish(key);
        true
    }

    /// The same for a pool of another core.
    pub(in crate::reactor) fn make_room_for(&mut self, core: usize, pool_key: PoolKey) {
        let Some(slots) = self.proxy.shares.slots(pool_key) else { return };
        let full = slots.above().find(|above| above.used() >= above.limit());
        if let Some(full) = full
            && self.make_room(pool_key, full)
        {
            self.driver.post(core, Mail::Balance(pool_key));
        }
    }

    /// Has others make room, if a limit over several pools keeps a waiter from a backend. `true` if it
    /// was done at once.
    pub(super) fn ask_for_room(&mut self, pool_key: PoolKey) -> bool {
        let now = self.now;
        let Some(limit) = self.pool(pool_key).pool.held_up_by(now).cloned() else { return false };
        if self.make_room(pool_key, &limit) {
            return true;
        }
        let own = self.core;
        for core in (0..self.proxy.cores).filter(|core| *core != own) {
            self.driver.post(core, Mail::MakeRoom { core: own, pool: pool_key });
        }
        false
    }

    /// Who waits for a backend that cannot come in time is told so.
    pub(in crate::reactor) fn fail_the_hopeless(&mut self, pool_key: PoolKey) {
        let (now, wait) = (self.now, self.pool(pool_key).plan.acquire_timeout);
        while let Some((client, waited)) = self.pool(pool_key).pool.pop_hopeless(now, wait) {
            self.waited_too_long(client, pool_key, waited);
        }
    }

    pub(in crate::reactor) fn say_goodbye(&mut self, key: usize) {
        self.backends[key].say_goodbye();
        self.drop_backend(key);
    }
}
