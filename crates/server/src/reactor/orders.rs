//! What consoles have a core do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgherd_wire::sqlstate;

use super::backends::fatal;
use super::clients::Standing;
use super::driver::Requester;
use super::{Driver, Mail, PoolKey, Todo, Worker};
use crate::admin::{Live, Order, Pause, Report, Scope};
use crate::databases::DatabaseId;

/// When a loop ends, beside when it is told to drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    Never,
    /// When no client is left on any core but consoles.
    WithoutClients,
    Now,
}

impl<D: Driver> Worker<D> {
    /// Another core's console has something done here.
    pub(super) fn follow(&mut self, order: Order, scope: Scope, by: Requester, round: u64) {
        let report = Box::new(self.obey(order, scope));
        self.driver.post(by.core, Mail::Reported { to: by.entry, round, report });
    }

    /// Does it, and tells what there is then.
    pub(super) fn obey(&mut self, order: Order, scope: Scope) -> Report {
        let has_dismissed = match &order {
            Order::KillClient(id) => self.kill_client(*id),
            _ => false,
        };
        if matches!(order, Order::AwaitClients | Order::Drain | Order::Halt) {
            self.proxy.admin.end();
        }
        match order {
            Order::Tell | Order::KillClient(_) => {}
            Order::Follow => self.follow_orders(),
            Order::Kill(databases) => self.kill(databases.as_deref()),
            Order::Reconnect => self.reconnect(None),
            Order::AwaitClients => self.ends = Ends::WithoutClients,
            Order::Drain => self.drain(),
            Order::Halt => self.ends = Ends::Now,
        }
        Report { has_dismissed, ..self.report(scope) }
    }

    /// Settings that were read again hold here, too, whoever had them read.
    pub(super) fn follow_reloads(&mut self) {
        let reloads = self.proxy.admin.reloads();
        if std::mem::replace(&mut self.reloads, reloads) != reloads {
            self.follow_orders();
        }
    }

    /// Looks again what is set, and what is paused.
    pub(super) fn follow_orders(&mut self) {
        // Who may be idle for less long than anybody before is looked at in time.
        let due = self.proxy.databases.shortest_idle_timeout().map(|limit| self.now + limit);
        self.idle_looked_at = self.idle_looked_at.into_iter().chain(due).min();
        self.live = Live::of(&self.proxy.admin.settings());
        self.follow_message_limit();
        self.close_outdated();
        let proxy = Arc::clone(&self.proxy);
        let keys: Vec<PoolKey> = self.pools.keys().copied().collect();
        let moved: BTreeSet<DatabaseId> = keys
            .iter()
            .filter(|key| self.pool(**key).is_to_reconnect())
            .map(|key| key.database)
            .collect();
        for database in moved {
            self.reconnect(Some(database));
            // Another database may tell other parameters.
            self.welcomes.clear();
        }
        for key in keys {
            if self.pool(key).follow(&proxy.databases, key) {
                // There may be room for those who wait.
                self.balance(key);
            }
        }
        self.follow_pauses();
    }

    fn follow_message_limit(&mut self) {
        let limit = self.live.message_limit;
        self.clients.iter_mut().for_each(|(_, client)| client.relay.limit = limit);
        self.backends.iter_mut().for_each(|(_, backend)| backend.relay.limit = limit);
    }

    /// Holds the pools that are paused and lets the others go on; stands still, or goes on.
    pub(super) fn follow_pauses(&mut self) {
        let pause = self.proxy.admin.pause();
        let keys: Vec<PoolKey> = self.pools.keys().copied().collect();
        for key in keys {
            let pool = self.pool(key);
            let is_held = pause == Pause::Paused || pool.database.is_paused();
            if pool.pool.is_held() == is_held {
                continue;
            }
            pool.pool.hold(is_held);
            if is_held {
                self.close_idle(key);
            }
            // Opens for those who wait, where that is allowed now.
            self.balance(key);
        }
        let is_suspended = pause == Pause::Suspended;
        if std::mem::replace(&mut self.is_suspended, is_suspended) && !is_suspended {
            let clients = self.clients.iter().map(|(key, _)| Todo::Client(key));
            let backends = self.backends.iter().map(|(key, _)| Todo::Backend(key));
            self.todo.extend(clients.chain(backends));
        }
    }

    fn close_idle(&mut self, pool: PoolKey) {
        let idle: Vec<usize> = self.pool(pool).pool.drain_idle().collect();
        idle.into_iter().for_each(|backend| self.say_goodbye(backend));
        self.publish(pool);
    }

    fn kill(&mut self, databases: Option<&[DatabaseId]>) {
        self.follow_pauses();
        let is_it = |id: DatabaseId| databases.is_none_or(|wanted| wanted.contains(&id));
        let clients = self
            .clients
            .iter()
            .filter(|(_, client)| client.seat().is_some_and(|account| is_it(account.database.id)));
        let clients: Vec<usize> = clients.map(|(key, _)| key).collect();
        clients.into_iter().for_each(|client| self.terminate(client));
    }

    fn kill_client(&mut self, id: u64) -> bool {
        let found = self.clients.iter().find(|(_, client)| {
            self.public_id(client.serial) == id && client.standing() != Standing::Leaving
        });
        let Some((key, _)) = found else { return false };
        self.terminate(key);
        true
    }

    /// Dismisses a client in the server's own words, which drivers know.
    fn terminate(&mut self, client: usize) {
        let message = "terminating connection due to administrator command";
        let detail = "it was ended at the console of pgherd";
        self.dismiss(client, &fatal(sqlstate::ADMIN_SHUTDOWN, message, detail, ""));
    }

    fn reconnect(&mut self, database: Option<DatabaseId>) {
        let is_it = |id: DatabaseId| database.is_none_or(|wanted| wanted == id);
        let now = self.now;
        for (_, backend) in &mut self.backends {
            if is_it(backend.pool.database) {
                backend.expires_at = now;
            }
        }
        let pools: Vec<PoolKey> =
            self.pools.keys().copied().filter(|key| is_it(key.database)).collect();
        for pool in pools {
            self.close_idle(pool);
            self.balance(pool);
        }
        self.close_outdated();
    }

    /// Backends of these databases, or of all, over all cores.
    pub(super) fn backends_of(&self, databases: Option<&[DatabaseId]>) -> usize {
        self.proxy.shares.used(databases)
    }

    /// Another process has taken over.
    pub(super) fn hand_over(&mut self) {
        self.is_handed_over = true;
        if self.ends == Ends::Never {
            self.ends = Ends::WithoutClients;
        }
    }

    /// Whether nobody is to come in any more. Where another process has taken over, requests to cancel
    /// still may.
    pub(super) fn accepts_no_more(&self) -> bool {
        self.draining || (self.is_ending() && !self.is_handed_over)
    }

    /// Whether the process ends, be it in the long run: no more clients are accepted.
    pub(super) fn is_ending(&self) -> bool {
        self.draining || self.ends != Ends::Never
    }

    /// Whether clients are seen off as soon as they are idle.
    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }
}

impl<D: Driver> Drop for Worker<D> {
    fn drop(&mut self) {
        self.proxy.clients.fetch_sub(self.clients.len(), Ordering::Relaxed);
        for (_, client) in &self.clients {
            if client.is_console() {
                self.proxy.admin.console_closed();
            }
        }
    }
}
