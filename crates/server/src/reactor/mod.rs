//! The loop of one core.
//!
//! In: what became ready, mail from other cores, the time.
//! Out: reads and writes on the driver's streams, mail to other cores.
//!
//! Thin: logins and relaying are pure machines ([`crate::session`], [`crate::backend`],
//! [`crate::relay`]), admission is [`pgherd_core::pool`]. What is here joins them: which client
//! holds which backend, who has to wait for whom, and what happens when one of them is gone.
//! Nothing here blocks or reads a clock.
//!
//! Work that follows from other work (serving a waiter when a backend came free) goes through
//! a queue and not through the call stack.

mod backends;
mod cancels;
mod clients;
mod counts;
mod driver;
mod link;
pub mod mio_driver;
mod orders;
mod outbox;
mod pools;
mod reporting;
#[cfg(test)]
mod sim;
mod socket_options;
mod tally;

pub use backends::Backend;
pub(crate) use cancels::MOST_FORWARDED;
pub use counts::{CLASSES, Count, Counts, NodeCounts, Times};
pub use driver::{Driver, Entry, Mail, Readiness, ReportSender, Requester, Token, Via};
pub use pools::{PoolKey, Shares};
pub(crate) use reporting::sizes;
pub use socket_options::SocketOptions;
pub(crate) use socket_options::whole_seconds;
pub use tally::Tally;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pgherd::TlsError;
use pgherd_core::balance::Balancer;
use pgherd_core::hosts::Address;
use pgherd_core::id::{Generation, NodeId};
use pgherd_core::route::{Loads, RoutePolicy, pick_replica};
use pgherd_core::settings::{PinPolicy, Settings, UserSettings};
use pgherd_core::sql::{ClassCache, Classified, Classifier};
use pgherd_core::topology::Topology;
use slab::Slab;

use crate::addresses::Addresses;
use crate::admin::{Admin, Live, Pause, Reloaded};
use crate::allowance::Allowance;
use crate::auth::{Credentials, Hba, HbaError, LoginGuard, Method, Question, UserId, Users};
use crate::backend::KeyCache;
use crate::control::Left;
use crate::databases::{Account, DatabaseId, Databases};
use crate::peers::Peers;
use crate::pins::Pins;
use crate::relay::survey::{Access, MayRead};
use crate::relay::{Classify, Parameters, Splice, StatementTable};
use crate::tls::{ClientTls, NodeTls, ToNode};

/// How often time-outs are looked at: 100 ms, so a time-out is late by up to that much.
pub const TICK: Duration = Duration::from_millis(100);

/// Bytes read at once: 64 KiB. A TLS record holds at most 16, and four of them keep a bulk
/// COPY moving.
const READ: usize = 64 * 1024;

/// Reads from one socket before others get their turn.
const READS_PER_TURN: usize = 8;

/// Told of a node that failed a client, and why.
pub type Failures = Box<dyn Fn(NodeId, &str) + Send + Sync>;

/// Told of settings that were read again.
pub type Relogin = Box<dyn Fn(&Settings) + Send + Sync>;

/// Asked what a login has to know; the answer comes by mail. Whether it is: `false` if too many are.
pub type Questions = Box<dyn Fn(Question, Requester) -> bool + Send + Sync>;

/// Asked for transactions that are prepared on some shard: where the answer will be.
pub(crate) type LookForLeft = Box<dyn Fn() -> Arc<OnceLock<Left>> + Send + Sync>;

/// What all cores share.
pub struct Proxy {
    /// How clients prove who they are.
    pub method: Method,
    /// Who may log in.
    pub users: Users,
    /// Who logs in how, where the method is by that.
    pub hba: Hba,
    /// Who has failed to log in too often.
    pub guard: LoginGuard,
    /// What they may name as their database.
    pub databases: Databases,
    /// What they are shown when they ask for TLS.
    pub client_tls: ClientTls,
    /// How nodes are talked to.
    pub node_tls: NodeTls,
    /// Nodes and their health, published by the control plane.
    pub topology: Arc<ArcSwap<Topology>>,
    /// The control plane's ear.
    pub failures: Failures,
    /// The control plane's desk, for what takes long.
    pub questions: Questions,
    /// Told of settings that were read again: what watches the nodes logs in by them.
    pub relogin: Relogin,
    /// Where consoles ask for transactions that are prepared.
    pub(crate) left: LookForLeft,
    /// Where each node of the topology is, by its id.
    pub addresses: Arc<Addresses>,
    /// Which reads go to replicas.
    pub policy: RoutePolicy,
    /// Every prepared statement.
    pub statements: StatementTable,
    /// Limits of the pools.
    pub shares: Shares,
    /// What the cores have done.
    pub counts: Counts,
    /// The number of cores.
    pub cores: usize,
    /// Clients connected, over all cores.
    pub clients: AtomicUsize,
    /// Clients on their way to the core that they were dealt out to, which does not count them yet.
    pub dealt_out: AtomicUsize,
    /// The memory held when it was last looked at.
    pub resident: AtomicU64,
    /// Other processes that cancel requests may be for.
    pub peers: Option<Peers>,
    /// Where the process that this one has taken over takes those for its clients.
    pub predecessor: Option<Address>,
    /// How connections to nodes are set up.
    pub to_nodes: SocketOptions,
    /// Sessions that are pinned to their backends.
    pub pins: Pins,
    /// Whether they may be.
    pub pin: PinPolicy,
    /// How long a backend may have been idle to be lent unasked.
    pub check_after: Duration,
    /// How long it may take to answer then.
    pub check_limit: Duration,
    /// What it is asked.
    pub check_query: String,
    /// What is run behind each reset; empty for nothing.
    pub reset_query: String,
    /// Whether a backend is reset after each lease.
    pub reset_always: bool,
    /// Picks the replica to read from.
    pub balancer: Balancer,
    /// Bytes of statement texts whose class is kept, per core.
    pub class_cache_bytes: u64,
    /// Tells reads from writes.
    pub classifier: Classifier,
    /// What consoles know and have ordered.
    pub admin: Admin,
}

/// A file is not as it has to be, and what was read before goes on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// One of `[client_tls]` or `[tls]`.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HBA file, or the one of ident maps.
    #[error(transparent)]
    Hba(#[from] HbaError),
}

impl Proxy {
    /// Reads the settings again, and the files that they name. The cores do not know of it yet. Waits for the
    /// disk.
    ///
    /// # Errors
    /// What is wrong with them. The settings stay as they were then.
    pub(crate) fn reload(&self) -> Result<Reloaded, String> {
        let apply = |settings: &Arc<Settings>, read: &Settings| {
            let listed: HashSet<&str> = read.users.iter().map(|user| &*user.name).collect();
            let login = |user: &UserSettings| {
                let is_gone = !listed.contains(&*user.name);
                Credentials { is_gone, ..Credentials::from(user) }
            };
            self.users.follow(settings.users.iter().map(login));
            let now = || self.admin.nanos(Instant::now());
            self.databases.follow(Arc::clone(settings), &self.users, &now);
            (self.relogin)(settings);
        };
        // First: if one of them is wrong, nothing else is to have changed.
        let files = self.reload_files().map_err(|error| error.to_string());
        let done = files.and_then(|()| self.admin.reload(apply));
        match &done {
            Ok(Reloaded { applied, needs_restart }) => {
                tracing::info!(?applied, "settings are read again");
                if !needs_restart.is_empty() {
                    tracing::warn!(?needs_restart, "changed, and holds in a new process only");
                }
            }
            Err(error) => tracing::error!(%error, "settings stay as they were"),
        }
        done
    }

    /// Reads certificates, keys, HBA file and ident maps again, for connections from now on. If one is not
    /// as it has to be, what was read before goes on in its place, and the first such is told.
    pub(crate) fn reload_files(&self) -> Result<(), ReloadError> {
        let clients = self.client_tls.reload();
        let nodes = self.node_tls.reload();
        self.hba.reload()?;
        clients?;
        Ok(nodes?)
    }

    /// What TLS to a node at this address is spoken with; `None` if there is none.
    fn to_node(&self, node: NodeId, at: &Address) -> Option<ToNode> {
        self.node_tls.to(node, self.addresses.host_at(node.index(), at)?)
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("databases", &self.databases).finish_non_exhaustive()
    }
}

/// Work that follows from other work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    /// Go on with what a client sent.
    Client(usize),
    /// Go on with what a backend sent.
    Backend(usize),
    /// End the lease of a backend that its client has no use for any more.
    EndLease(usize),
}

/// The loop's state: everything one core owns.
#[derive(Debug)]
pub struct Worker<D: Driver> {
    proxy: Arc<Proxy>,
    core: usize,
    driver: D,
    clients: Slab<clients::Client<D::Stream>>,
    backends: Slab<Backend<D::Stream>>,
    cancels: Slab<cancels::CancelConnection<D::Stream>>,
    // By order and not by hash: there are few, and they are looked up several times for a batch.
    pools: BTreeMap<PoolKey, CorePool>,
    // The next time at which a waiter may lose patience with this core.
    patience_ends: Option<Instant>,
    // Kept between calls, so that nothing is allocated per message.
    buffer: Vec<u8>,
    splice: Splice,
    todo: VecDeque<Todo>,
    judge: Judge,
    keys: KeyCache,
    // One Arc for each distinct set, so that "the same as last time" is a pointer compared.
    parameters: HashSet<Arc<Parameters>>,
    // How many there were when those in no use were last let go.
    parameters_kept: usize,
    welcomes: HashMap<WelcomeKey, Rc<[u8]>>,
    // Deadlines of logins and farewells, in order.
    deadlines: VecDeque<(Instant, usize, u64)>,
    next_serial: u64,
    tallies: Tallies,
    // About clients, in the log.
    lines: Allowance,
    // When idle clients are looked through next, if they have a time limit at all.
    idle_looked_at: Option<Instant>,
    // Settings that a console may change.
    live: Live,
    draining: bool,
    // Another process accepts the clients.
    is_handed_over: bool,
    // A console has everything stand still.
    is_suspended: bool,
    // The loop ends when only consoles are left, or at once.
    ends: Ends,
    // Consoles that wait for something to come to its end: looked at once a tick.
    waiting_consoles: Vec<Entry>,
    // Backends that were idle before this are asked whether they are there.
    stale_before: Instant,
    // Up to which of their changes the nodes' addresses are followed.
    addresses: u64,
    // Of the settings: what was read again has been followed.
    reloads: u64,
    // The newest snapshot whose news were acted on, and the primary of each group.
    generation: Generation,
    primaries: Vec<NodeId>,
    now: Instant,
    // The same in nanoseconds after the start, for what is counted with each batch.
    nanos: u64,
}

use orders::Ends;
use pools::CorePool;
use tally::Tallies;

/// Welcomes kept per core, and sets of parameters that are in no use.
const PARAMETER_SETS: usize = 1024;

/// Whom a welcome is for: the login, and what it asks for. `is_named`: it gives an
/// `application_name`, which is not among the parameters then.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct WelcomeKey {
    database: DatabaseId,
    user: UserId,
    parameters: Arc<Parameters>,
    is_named: bool,
}

impl<D: Driver> Worker<D> {
    /// The loop of core number `core`.
    pub fn new(proxy: Arc<Proxy>, core: usize, driver: D, now: Instant) -> Self {
        let judge = Judge(ClassCache::new(proxy.classifier.clone(), proxy.class_cache_bytes));
        let nanos = proxy.admin.nanos(now);
        let live = Live::of(&proxy.admin.settings());
        let topology = proxy.topology.load();
        let addresses = proxy.addresses.version();
        let reloads = proxy.admin.reloads();
        // A hundred years: always.
        let always = Duration::from_secs(100 * 365 * 24 * 3600);
        let stale_before = if proxy.check_after.is_zero() { now + always } else { now };
        let idle_looked_at = proxy.databases.shortest_idle_timeout().map(|limit| now + limit);
        let (generation, primaries) = (topology.generation(), primaries(&topology));
        let mut worker = Self {
            proxy,
            core,
            driver,
            clients: Slab::new(),
            backends: Slab::new(),
            cancels: Slab::new(),
            pools: BTreeMap::new(),
            patience_ends: None,
            buffer: Vec::new(),
            splice: Splice::default(),
            todo: VecDeque::new(),
            judge,
            keys: KeyCache::default(),
            parameters: HashSet::new(),
            parameters_kept: 0,
            welcomes: HashMap::new(),
            deadlines: VecDeque::new(),
            next_serial: 0,
            tallies: Tallies::new(now),
            lines: Allowance::new(now),
            idle_looked_at,
            live,
            draining: false,
            is_handed_over: false,
            is_suspended: false,
            ends: Ends::Never,
            waiting_consoles: Vec::new(),
            stale_before,
            addresses,
            reloads,
            generation,
            primaries,
            now,
            nanos,
        };
        worker.look_at_memory();
        worker
    }

    /// It is that late now.
    fn set_now(&mut self, now: Instant) {
        // Once for all events that have come together.
        if now != self.now {
            self.now = now;
            self.nanos = self.proxy.admin.nanos(now);
        }
    }

    /// The driver, to wait for events with.
    pub fn driver(&mut self) -> &mut D {
        &mut self.driver
    }

    /// Whether the loop has nothing left to do: it drains and the last client of all cores has gone, or
    /// a console has had it end.
    pub fn is_drained(&self) -> bool {
        match self.ends {
            // Not when its own has: it goes on telling consoles and monitoring what it has counted.
            Ends::Never => self.draining && self.proxy.clients.load(Ordering::Relaxed) == 0,
            // The cores end together: see `serve`.
            Ends::WithoutClients => {
                self.proxy.clients.load(Ordering::Relaxed) <= self.proxy.admin.consoles()
            }
            Ends::Now => true,
        }
    }

    /// Whether work is left that waits for no event: poll without waiting.
    pub fn has_work(&self) -> bool {
        !self.todo.is_empty()
    }

    /// Until when the loop may wait for events, if not until the next tick: it calls
    /// [`Self::go_on`] then.
    pub fn wakes_at(&self) -> Option<Instant> {
        self.patience_ends
    }

    /// Goes on with work that was put off, or whose time has come.
    pub fn go_on(&mut self, now: Instant) {
        self.set_now(now);
        if self.patience_ends.is_some_and(|ends| ends <= now) {
            self.lose_patience();
        }
        self.work_off();
    }

    /// Waiters that have waited long enough for the backends of this core are served by any.
    fn lose_patience(&mut self) {
        let pools = self.pools.iter().filter(|(_, pool)| pool.pool.oldest_wait().is_some());
        let pools: Vec<PoolKey> = pools.map(|(key, _)| *key).collect();
        for pool in pools {
            self.ask_other_cores(pool);
            // Nobody has told of a place that came free while they were patient.
            self.open_for_waiters(pool);
        }
        self.patience_ends = self.pools.values().filter_map(CorePool::patient_until).min();
    }

    /// Tells the other cores what is idle and waiting here.
    fn publish(&mut self, pool_key: PoolKey) {
        if !self.has_other_cores() {
            return;
        }
        let now = self.now;
        let proxy = Arc::clone(&self.proxy);
        let patient_until = self.pool(pool_key).publish(&proxy.shares, now);
        self.patience_ends = match (self.patience_ends, patient_until) {
            (Some(ends), Some(until)) => Some(ends.min(until)),
            (ends, until) => ends.or(until),
        };
    }

    /// The same, and asks one for an idle backend if a waiter here has lost patience.
    fn ask_other_cores(&mut self, pool_key: PoolKey) {
        if !self.has_other_cores() {
            return;
        }
        self.publish(pool_key);
        if let Some(core) = self.pool(pool_key).core_with_idle() {
            self.driver.post(core, Mail::Balance(pool_key));
        }
    }

    fn core_in_need(&self, pool_key: PoolKey) -> Option<usize> {
        if !self.has_other_cores() {
            return None;
        }
        self.pools.get(&pool_key)?.core_in_need(&self.proxy.shares)
    }

    fn has_other_cores(&self) -> bool {
        self.proxy.cores > 1
    }

    /// A socket became ready.
    pub fn on_ready(&mut self, token: Token, ready: Readiness, now: Instant) {
        self.set_now(now);
        // An event may be of somebody whose key has been given to another meanwhile.
        let is_current = |entry: Entry, serial| entry == Entry::new(entry.key, serial);
        match token {
            Token::Client(entry) => match self.clients.get(entry.key) {
                Some(client) if is_current(entry, client.serial) => {
                    self.client_ready(entry.key, ready);
                }
                _ => {}
            },
            Token::Backend(entry) => match self.backends.get(entry.key) {
                Some(backend) if is_current(entry, backend.serial) => {
                    self.backend_ready(entry.key, ready);
                }
                _ => {}
            },
            Token::Cancel(entry) => match self.cancels.get(entry.key) {
                Some(cancel) if is_current(entry, cancel.own_serial) => {
                    self.cancel_ready(entry.key, ready);
                }
                _ => {}
            },
        }
        self.work_off();
    }

    /// A message came from another core, or from the acceptor.
    pub fn on_mail(&mut self, mail: Mail<D::Stream>, now: Instant) {
        self.set_now(now);
        match mail {
            Mail::Client(stream, via) => self.accept(stream, via),
            Mail::Cancel { client, secret, by } => self.cancel(client, &secret, by),
            Mail::Cancelled(entry) => self.close_requester(entry),
            Mail::Backend(key, backend) => self.adopt_backend(key, *backend),
            // Where there is no pool, nobody waits and nothing is idle.
            Mail::Balance(key) if !self.pools.contains_key(&key) => {}
            Mail::Balance(key) => self.balance(key),
            Mail::MakeRoom { core, pool } => self.make_room_for(core, pool),
            Mail::Order { order, scope, by, round } => self.follow(order, scope, by, round),
            Mail::Reported { to, round, report } => self.reported(to, round, *report),
            Mail::Answer { to, answer } => self.login_answered(to, answer),
            Mail::Tell(scope, to) => {
                let report = scope.map(|scope| self.report(scope)).unwrap_or_default();
                // Whoever has asked may have given up.
                let _ = to.send(report);
            }
            Mail::HandedOver(_) => self.hand_over(),
            // For the loop around this one, which has the sockets.
            Mail::LendDoors(_) => {}
            Mail::Follow => self.follow_orders(),
            Mail::Drain => self.drain(),
        }
        self.work_off();
    }

    /// Looks at how much memory the process holds, on behalf of all cores.
    fn look_at_memory(&mut self) {
        if self.core == 0
            && self.live.memory_limit > 0
            && let Some(resident) = self.driver.resident()
        {
            self.proxy.resident.store(resident, Ordering::Relaxed);
        }
    }

    /// Time went by: looks at every time-out.
    pub fn on_tick(&mut self, now: Instant) {
        self.set_now(now);
        self.tell_what_was_left_out();
        self.look_at_memory();
        self.go_on_with_consoles();
        // Who logs in or leaves does not stand still.
        while let Some((_, key, serial)) = self.deadlines.pop_front_if(|(at, ..)| *at <= now) {
            self.client_deadline(key, serial);
        }
        if self.is_suspended {
            return self.work_off();
        }
        self.note_what_is_stale();
        self.follow_addresses();
        self.follow_reloads();
        self.time_out_backends();
        self.time_out_idle_clients();
        self.follow_topology();
        self.keep_ready();
        self.turn_tallies();
        let keys: Vec<PoolKey> = self.pools.keys().copied().collect();
        for key in keys {
            self.time_out_pool(key);
            if self.pools.get(&key).is_some_and(|pool| pool.is_done(now)) {
                self.pools.remove(&key);
                self.proxy.shares.dropped(key);
            }
        }
        self.work_off();
    }

    /// Does what follows from what was done, in turns: what is put off by a turn that was long
    /// enough comes after what else has become ready ([`Self::has_work`]).
    fn work_off(&mut self) {
        for _ in 0..self.todo.len() + READS_PER_TURN {
            match self.todo.pop_front() {
                Some(Todo::Client(key)) => self.pump_client(key),
                Some(Todo::Backend(key)) => self.pump_backend(key),
                Some(Todo::EndLease(key)) => self.end_lease_if_quiet(key),
                None => return,
            }
        }
    }

    fn counts(&self, node: NodeId) -> &NodeCounts {
        &self.proxy.counts.of_core(self.core)[node.index()]
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    fn intern(&mut self, parameters: Parameters) -> Arc<Parameters> {
        if let Some(known) = self.parameters.get(&parameters) {
            return Arc::clone(known);
        }
        // Not at the limit itself: when that many are in use, each login would look through all.
        if self.parameters.len() >= PARAMETER_SETS.max(2 * self.parameters_kept) {
            self.parameters.retain(|set| Arc::strong_count(set) > 1);
            self.parameters_kept = self.parameters.len();
        }
        let set = Arc::new(parameters);
        self.parameters.insert(Arc::clone(&set));
        set
    }

    /// The node for an access: a healthy replica, else the primary. `excluded` holds the nodes
    /// (by bit) that this client has just seen fail.
    fn choose(&self, access: Access, account: &Account, excluded: u64) -> NodeId {
        let topology = self.proxy.topology.load();
        let group = account.database.nodes(&topology);
        let pool_of = |node: NodeId| self.pools.get(&PoolKey::of(account, node));
        let usable = |node: &NodeId| {
            let is_excluded = excluded & node_bit(*node) != 0;
            let pool = pool_of(*node);
            let backs_off = pool.is_some_and(|pool| pool.pool.is_backing_off(self.now));
            !is_excluded && !backs_off && topology.is_readable_replica(*node)
        };
        let policy = &self.proxy.policy;
        if access != Access::ReadOnly || !policy.read_from_replicas {
            return group.primary;
        }
        let busy = |node| pool_of(node).map_or(0, |pool| pool.pool.load().busy);
        let busy = |node| u32::try_from(busy(node)).unwrap_or(u32::MAX);
        let loads = Loads { balancer: &self.proxy.balancer, busy: &busy };
        let readable = group.replicas.iter().copied().filter(usable);
        let picked = pick_replica(readable, &topology, policy, &loads);
        // Where the primary is not for reads, the attempt on a replica says what is wrong.
        let last = if policy.fall_back_to_primary { None } else { group.replicas.first() };
        picked.or(last.copied()).unwrap_or(group.primary)
    }

    fn routes(&self, account: &Account) -> bool {
        self.proxy.policy.read_from_replicas
            && !account.database.nodes(&self.proxy.topology.load()).replicas.is_empty()
    }

    fn pool(&mut self, key: PoolKey) -> &mut CorePool {
        let Self { pools, proxy, core, .. } = self;
        pools.entry(key).or_insert_with(|| {
            let pool = CorePool::new(&proxy.shares, &proxy.databases, key, *core);
            pool.held_if(proxy.admin.pause() == Pause::Paused)
        })
    }

    fn drain(&mut self) {
        self.draining = true;
        self.proxy.admin.end();
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.dismiss_if_idle(key);
            self.dismiss_if_streaming(key);
        }
    }
}

/// The primary of each group.
fn primaries(topology: &Topology) -> Vec<NodeId> {
    topology.groups().iter().map(|group| group.primary).collect()
}

fn node_bit(node: NodeId) -> u64 {
    1u64.checked_shl(u32::from(node.0)).unwrap_or(0)
}

/// Answers the survey's question from the class of a text, cached.
#[derive(Debug)]
struct Judge(ClassCache);

impl MayRead for Judge {
    fn may_read(&mut self, sql: &str) -> bool {
        self.0.classify(sql).may_run_on_replica
    }
}

impl Classify for Judge {
    fn classify(&mut self, text: &[u8]) -> Classified {
        self.0.classify_bytes(text)
    }
}

/// Strikes each text that a survey asks about from the reads: a replica has refused one of
/// them, because something that it calls writes.
struct Striking<'j>(&'j mut Judge);

impl MayRead for Striking<'_> {
    fn may_read(&mut self, sql: &str) -> bool {
        self.0.0.distrust(sql);
        true
    }
}
