//! What time and the health of nodes do to backends.

use pgherd_wire::frontend;

use super::{Backend, Loss, Phase};
use crate::reactor::{Driver, PoolKey, Worker};

impl<D: Driver> Worker<D> {
    pub(in crate::reactor) fn time_out_backends(&mut self) {
        let (now, limit) = (self.now, self.proxy.connect_timeout);
        let age = |backend: &Backend<_>| now.saturating_duration_since(backend.opened_at);
        let late = self.backends_where(|backend| match backend.phase {
            Phase::Connecting | Phase::LoggingIn(_) => age(backend) > limit,
            Phase::Syncing { .. } | Phase::Asking { .. } | Phase::Cleaning => {
                now.saturating_duration_since(backend.asked_at) > limit
            }
            Phase::Abandoned { since } => now.saturating_duration_since(since) > limit,
            Phase::Idle | Phase::Leased { .. } | Phase::Parked => false,
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
        let lifetime = self.proxy.max_lifetime;
        let old = self.backends_where(|backend| {
            matches!(backend.phase, Phase::Idle) && age(backend) > lifetime
        });
        for key in old {
            let pool_key = self.backends[key].pool;
            self.pool(pool_key).pool.remove_idle(|idle| *idle == key);
            self.say_goodbye(key);
        }
        self.time_out_cancels();
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
        let primary = topology.coordinator().primary;
        let last_primary = std::mem::replace(&mut self.primary, primary);
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
        if last_primary != primary {
            let of_last = |pool: &PoolKey| pool.node == last_primary;
            let pools: Vec<PoolKey> = self.pools.keys().copied().filter(of_last).collect();
            pools.into_iter().for_each(|pool| self.reroute_waiters(pool));
        }
    }

    pub(super) fn backends_where(&self, is_it: impl Fn(&Backend<D::Stream>) -> bool) -> Vec<usize> {
        let found = self.backends.iter().filter(|(_, backend)| is_it(backend));
        found.map(|(key, _)| key).collect()
    }

    pub(in crate::reactor) fn time_out_pool(&mut self, pool_key: PoolKey) {
        let now = self.now;
        let (wait, idle) = (self.proxy.acquire_timeout, self.proxy.idle_timeout);
        while let Some((client, waited)) = self.pool(pool_key).pool.pop_expired(now, wait) {
            self.waited_too_long(client, pool_key, waited);
        }
        while let Some(backend) = self.pool(pool_key).pool.pop_surplus(now, idle) {
            self.say_goodbye(backend);
        }
        if self.draining {
            let all: Vec<usize> = self.pool(pool_key).pool.drain_idle().collect();
            all.into_iter().for_each(|backend| self.say_goodbye(backend));
        }
        self.balance(pool_key);
    }

    pub(super) fn say_goodbye(&mut self, key: usize) {
        let mut out = Vec::new();
        frontend::put_terminate(&mut out);
        let backend = &mut self.backends[key];
        // Best effort: it is closed either way.
        let _ = backend.outbox.write(&mut backend.stream, [&out[..]].into_iter());
        self.drop_backend(key);
    }
}
