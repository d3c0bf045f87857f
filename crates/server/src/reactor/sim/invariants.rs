//! What has to hold after each event, whatever clients and servers do.

use std::collections::BTreeMap;
use std::time::Duration;

use pgherd_core::pool::PoolLoad;

use super::network::Stream;
use super::world::World;
use crate::reactor::backends::Phase;
use crate::reactor::clients::census::Place;
use crate::reactor::{Backend, Mail, PoolKey, Worker};

/// What is promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Invariant {
    /// A backend serves one client at a time.
    NobodyShares,
    /// A client reads what a server of its own would have said, in this order.
    OwnAnswers,
    /// What was confirmed is written, and everybody is answered.
    NothingLost,
    /// Nothing that writes runs twice.
    NothingTwice,
    /// The next client finds nothing of the last one's.
    CleanOnRelease,
    /// Numbers of backends, clients and waiters agree.
    CountsAddUp,
    /// Who waits is served when a backend, or a place for one, is free.
    NobodyWaitsInVain,
    /// Buffers do not grow.
    BoundedMemory,
    /// When all have gone nothing is left.
    NothingLeft,
}

/// Bytes kept for one connection: what is read at once, twice, the beginning of what is routed by
/// what it says, and what may be run again.
const MOST_KEPT: usize = 5 * 64 * 1024;

/// After how long a core has noticed that a place came free on another, also where it was not told: a
/// tick, and turns.
const PATIENCE: Duration = Duration::from_millis(110);

pub(super) fn violated(invariant: Invariant, text: String) -> ! {
    panic!("{invariant:?}: {text}");
}

type Core = Worker<super::driver::SimDriver>;

impl World {
    /// Checks everything that can be checked at any time.
    pub(super) fn check(&mut self) {
        let mut slots: BTreeMap<PoolKey, usize> = BTreeMap::new();
        let has_mail = self.post.borrow().iter().any(|letters| !letters.is_empty());
        for letter in self.post.borrow().iter().flatten() {
            if let Mail::Backend(pool, _) = letter {
                *slots.entry(*pool).or_default() += 1;
            }
        }
        let mut clients = 0;
        for worker in &self.workers {
            clients += worker.clients.len();
            let waiting = check_clients(worker);
            let mut loads: BTreeMap<PoolKey, PoolLoad> = BTreeMap::new();
            for (key, backend) in &worker.backends {
                self.check_backend(worker, key, backend);
                let load = loads.entry(backend.pool).or_default();
                match backend.phase {
                    Phase::Connecting
                    | Phase::Encrypting
                    | Phase::LoggingIn(_)
                    | Phase::Introducing => {
                        load.opening += 1;
                    }
                    Phase::Idle => load.idle += 1,
                    _ => load.busy += 1,
                }
                *slots.entry(backend.pool).or_default() += 1;
            }
            for (key, pool) in &worker.pools {
                let waiting = waiting.get(key).copied().unwrap_or_default();
                let counted = PoolLoad { waiting, ..loads.remove(key).unwrap_or_default() };
                let said = pool.pool.load();
                if said != counted {
                    violated(Invariant::CountsAddUp, format!("{key:?}: {said}, and are {counted}"));
                }
                let has_room = pool.pool.slots().used() < pool.pool.slots().limit();
                let age = pool.pool.oldest_wait().map(|since| self.now() - since);
                let is_patient = self.workers.len() > 1 && age < Some(PATIENCE);
                // A core that cannot open backends does not tell the others, to whom its place goes.
                let mut pools = self.workers.iter().filter_map(|worker| worker.pools.get(key));
                let backs_off = pools.any(|pool| pool.pool.retry_at().is_some());
                let is_off = backs_off || self.is_trouble();
                let opens = has_room && !is_off && !has_mail && !is_patient;
                if waiting > 0 && (said.idle > 0 || opens && said.opening < waiting) {
                    let used = pool.pool.slots().used();
                    let text = format!("{key:?}: {said}, {used} places are taken, for {age:?}");
                    violated(Invariant::NobodyWaitsInVain, text);
                }
            }
            if let Some((key, load)) = loads.into_iter().next() {
                violated(Invariant::CountsAddUp, format!("{key:?}: no pool, and {load}"));
            }
        }
        let said = self.proxy.clients.load(std::sync::atomic::Ordering::Relaxed);
        if said != clients {
            violated(Invariant::CountsAddUp, format!("{said} clients, and there are {clients}"));
        }
        for (key, pool) in self.workers.iter().flat_map(|worker| &worker.pools) {
            let (said, counted) = (pool.pool.slots().used(), slots.get(key).copied());
            if said != counted.unwrap_or_default() {
                let text = format!("{key:?}: {said} places are taken, by {counted:?} backends");
                violated(Invariant::CountsAddUp, text);
            }
        }
    }

    fn check_backend(&self, worker: &Core, key: usize, backend: &Backend<Stream>) {
        if let Some(client) = backend.client() {
            let place = worker.clients.get(client).map(super::super::clients::Client::place);
            if place != Some(Place::At(key)) {
                let text = format!("backend {key} is lent to client {client}, which is {place:?}");
                violated(Invariant::NobodyShares, text);
            }
        }
        if backend.kept() > MOST_KEPT {
            let text = format!("{} bytes are kept for backend {key}", backend.kept());
            violated(Invariant::BoundedMemory, text);
        }
        if !matches!(backend.phase, Phase::Idle) {
            return;
        }
        let process = self.servers.processes.get(&backend.link.socket().conn);
        let Some(session) = process.and_then(super::server::Process::session) else { return };
        if let Some(leftovers) = session.leftovers() {
            let text = format!("backend {key} is idle, and its session has {leftovers}");
            violated(Invariant::CleanOnRelease, text);
        }
        if (session.made().next().is_some()) != backend.applied.has_prepared() {
            let text = format!("backend {key} is idle, and has what somebody made with PREPARE");
            violated(Invariant::CleanOnRelease, text);
        }
        let applied = backend.applied.iter();
        let applied: BTreeMap<String, String> =
            applied.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        for name in applied.keys().chain(session.state().settings.keys()) {
            let (is, said) = (session.value(name), applied.get(name));
            let expected = said.map_or_else(|| session.default(name), String::as_str);
            if is != expected {
                let text = format!("backend {key} is idle with {name} = {is:?}, not {said:?}");
                violated(Invariant::CleanOnRelease, text);
            }
        }
    }

    /// Checks what holds when everybody has gone and all is quiet.
    pub(super) fn check_end(&self) {
        let left = |text: String| -> ! { violated(Invariant::NothingLeft, text) };
        for worker in &self.workers {
            let (clients, backends) = (worker.clients.len(), worker.backends.len());
            let cancels = worker.cancels.len();
            if clients + backends + cancels > 0 || worker.has_work() {
                left(format!("{clients} clients, {backends} backends, {cancels} cancel requests"));
            }
        }
        if !self.proxy.pins.all().is_empty() {
            left(format!("pinned: {:?}", self.proxy.pins.all()));
        }
        let keys = self.proxy.peers.as_ref().map_or(0, crate::peers::Peers::clients);
        if keys > 0 {
            left(format!("{keys} keys of clients"));
        }
        if !self.servers.processes.is_empty() {
            left(format!("{} processes of the nodes'", self.servers.processes.len()));
        }
        let open = self.network.borrow().open_connections();
        if open > 0 {
            left(format!("{open} connections are open"));
        }
        let opens: u64 = self
            .workers
            .iter()
            .map(|worker| {
                worker
                    .proxy
                    .counts
                    .of_core(worker.core)
                    .iter()
                    .map(|node| node.opens.get())
                    .sum::<u64>()
            })
            .sum();
        if opens > self.servers.logins {
            let logins = self.servers.logins;
            let text = format!("{opens} backends were opened, and the nodes saw {logins}");
            violated(Invariant::CountsAddUp, text);
        }
    }

    /// Marks those whose backend has died, or whose node is away: they may be told so.
    pub(super) fn excuse(&mut self, was_trouble: bool) {
        if !was_trouble {
            return;
        }
        let mut excused = Vec::new();
        for worker in &self.workers {
            let is_dead =
                |backend: &Backend<Stream>| self.dead.contains(&backend.link.socket().conn);
            let may_be_told = |place| match place {
                Place::Leaving => true,
                Place::At(backend) => worker.backends.get(backend).is_some_and(is_dead),
                Place::Waiting(_) | Place::Elsewhere => false,
            };
            let told = worker.clients.iter().filter(|(_, client)| may_be_told(client.place()));
            excused.extend(told.map(|(_, client)| client.stream().conn));
        }
        for client in &mut self.clients {
            client.lost |= client.conn.is_some_and(|conn| excused.contains(&conn));
        }
    }

    /// Whether a backend that the proxy still has is dead, or was told nothing for long.
    pub(super) fn is_trouble(&self) -> bool {
        let is_dead = |backend: &Backend<Stream>| self.dead.contains(&backend.link.socket().conn);
        self.now() < self.trouble_until
            || !self.dead.is_empty()
                && self
                    .workers
                    .iter()
                    .any(|w| w.backends.iter().any(|(_, backend)| is_dead(backend)))
    }
}

/// Returns how many wait for each pool.
fn check_clients(worker: &Core) -> BTreeMap<PoolKey, usize> {
    let mut waiting: BTreeMap<PoolKey, usize> = BTreeMap::new();
    for (key, client) in &worker.clients {
        match client.place() {
            Place::Waiting(pool) => *waiting.entry(pool).or_default() += 1,
            Place::At(backend) => {
                let lent_to = worker.backends.get(backend).and_then(Backend::client);
                if lent_to != Some(key) {
                    let text = format!("client {key} has backend {backend}, lent to {lent_to:?}");
                    violated(Invariant::NobodyShares, text);
                }
            }
            Place::Leaving | Place::Elsewhere => {}
        }
        if client.kept() > MOST_KEPT {
            let text = format!("{} bytes are kept for client {key}", client.kept());
            violated(Invariant::BoundedMemory, text);
        }
    }
    waiting
}
