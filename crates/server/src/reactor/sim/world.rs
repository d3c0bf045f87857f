//! A proxy with all that is around it, and the time that goes by.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pgherd::LeftTransactions;
use pgherd_core::Settings;
use pgherd_core::id::NodeId;
use pgherd_core::topology::{NodeHealth, NodeState};

use super::client::{Client, KeyCache};
use super::driver::{FIRST_PORT, Post, SECOND, SimDriver};
use super::network::{Conn, Event, Network, Peer, SharedNetwork};
use super::random::Random;
use super::server::{Death, Node, Servers};
use super::trace::{Note, Trace};
use crate::addresses::LookUp;
use crate::auth::Hba;
use crate::peers::Peers;
use crate::reactor::{Mail, Proxy, TICK, Worker};
use crate::serve::{Doors, Health, Whereabouts, addresses_of, proxy};
use crate::tls::{ClientTls, NodeTls};

pub(super) const DATABASE: &str = "app";
pub(super) const USERS: [&str; 2] = ["app", "clerk"];
pub(super) const PASSWORD: &str = "secret";
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Everything. Where it does what is said in a file of its own, see there.
pub(super) struct World {
    pub(super) network: SharedNetwork,
    pub(super) post: Post,
    pub(super) workers: Vec<Worker<SimDriver>>,
    pub(super) proxy: Arc<Proxy>,
    pub(super) servers: Servers,
    pub(super) clients: Vec<Client>,
    pub(super) keys: KeyCache,
    pub(super) random: Random,
    pub(super) trace: Trace,
    /// Connections of processes that have died.
    pub(super) dead: BTreeSet<Conn>,
    /// A node is away, or was a moment ago.
    pub(super) trouble_until: Instant,
    pub(super) had_outage: bool,
    /// Connections that clients have made.
    pub(super) numbers: u32,
    /// Clients that may hold what keeps a backend.
    pub(super) may_hold: usize,
    /// No client begins anything any more.
    pub(super) is_closing: bool,
    pub(super) is_trusting: bool,
    has_two_addresses: bool,
    faults: usize,
    is_due: Vec<bool>,
    pub(super) transactions: u64,
    pub(super) logins: u64,
    pub(super) confirmed: u64,
    pub(super) cancelled: u64,
    pub(super) dismissed: BTreeMap<String, u64>,
    pub(super) calls: u64,
    pub(super) deaths: u64,
}

/// What a world is made of, by its seed.
#[derive(Debug)]
struct Plan {
    clients: usize,
    cores: usize,
    replicas: usize,
    size: u64,
    faults: usize,
    has_two_addresses: bool,
    has_peers: bool,
    is_wary: bool,
    is_trusting: bool,
}

impl Plan {
    fn of(random: &mut Random) -> Self {
        Self {
            clients: 100 + random.below(300),
            cores: 1 + random.below(3) / 2 + random.below(4) / 3,
            replicas: random.below(5) / 3,
            size: *random.pick(&[2, 5, 10, 10, 20, 40]),
            faults: *random.pick(&[0, 1, 1, 3]),
            has_two_addresses: random.one_in(2),
            has_peers: random.one_in(2),
            is_wary: random.one_in(3),
            is_trusting: random.one_in(2),
        }
    }

    fn settings(&self) -> Settings {
        let auth = if self.is_trusting { "trust" } else { "scram-sha-256" };
        let (acquire, login) = (ACQUIRE_TIMEOUT.as_secs(), LOGIN_TIMEOUT.as_secs());
        let (connect, idle) = (CONNECT_TIMEOUT.as_secs(), IDLE_TIMEOUT.as_secs());
        let size = self.size;
        let mut text = format!(
            "[cluster]\ndatabase = \"{DATABASE}\"\n\
             [listen]\nauth = \"{auth}\"\npeer_id = {}\nlogin_timeout = \"{login}s\"\n\
             [pool]\nsize = {size}\nacquire_timeout = \"{acquire}s\"\n\
             connect_timeout = \"{connect}s\"\nidle_timeout = \"{idle}s\"\nmax_lifetime = \"30s\"\n\
             [[node]]\nname = \"main\"\nhost = \"{}\"\n\
             role = \"coordinator\"\n",
            u8::from(self.has_peers),
            self.hosts(0)
        );
        for replica in 1..=self.replicas {
            let hosts = self.hosts(replica);
            text += &format!(
                "[[node]]\nname = \"replica-{replica}\"\nhost = \"{hosts}\"\nrole = \"replica\"\n"
            );
        }
        for user in USERS {
            text += &format!("[[user]]\nname = \"{user}\"\npassword = \"{PASSWORD}\"\n");
        }
        Settings::from_toml(&text, "simulated").expect("the settings are right")
    }

    fn hosts(&self, node: usize) -> String {
        let (first, second) = (port_of(node), port_of(node) + SECOND);
        match self.has_two_addresses {
            // As it is with both kinds of sockets.
            true => format!("127.0.0.1:{first},/simulated:{second}"),
            false => format!("127.0.0.1:{first}"),
        }
    }
}

/// The port of a node's first address.
fn port_of(node: usize) -> u16 {
    FIRST_PORT + u16::try_from(node).expect("a few nodes")
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::of(&mut random);
        let start = Instant::now();
        let settings = plan.settings();
        let topology = settings.topology().expect("the nodes make a cluster");
        let doors = Doors {
            hba: Hba::default(),
            client_tls: ClientTls::new(settings.client_tls.clone()).expect("none is set up"),
            node_tls: NodeTls::new(&settings, topology.clone()).expect("it needs no files"),
        };
        let topology = Arc::new(ArcSwap::from_pointee(topology));
        let policy = settings.route_policy().expect("the policy is right");
        let addresses = addresses_of(&topology.load());
        let look_up: LookUp =
            Arc::new(|_, port| Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))]));
        assert!(addresses.look_up(&look_up).is_empty(), "each host is found");
        let addresses = Arc::new(addresses);
        let peers = Peers::of(&settings);
        let health = Health {
            topology,
            failures: Box::new(|_, _| {}),
            questions: Box::new(|_, _| false),
            relogin: Box::new(|_| {}),
            left: Box::new(|| Arc::new(Ok(LeftTransactions::default()).into())),
        };
        let whereabouts = Whereabouts { addresses, peers, predecessor: None };
        let proxy = proxy(
            Arc::new(ArcSwap::from_pointee(settings.clone())),
            policy,
            health,
            whereabouts,
            doors,
            plan.cores,
            start,
        );
        let proxy = Arc::new(proxy);
        let network = Network::new(plan.cores, start, random.fork());
        let network: SharedNetwork = Rc::new(network.into());
        let post = Post::default();
        post.borrow_mut().resize_with(plan.cores, Default::default);
        let workers = (0..plan.cores).map(|core| {
            let (network, post) = (Rc::clone(&network), Rc::clone(&post));
            let driver = SimDriver { core, network, post, random: random.fork() };
            Worker::new(Arc::clone(&proxy), core, driver, start)
        });
        let workers = workers.collect();
        let node = |at: usize| Node {
            is_standby: at > 0,
            is_down: false,
            frozen_until: start,
            refuses: None,
            is_wary: plan.is_wary,
            is_new: at % 2 == 1 || plan.size % 2 == 1,
        };
        let servers =
            Servers { nodes: (0..=plan.replicas).map(node).collect(), ..Servers::default() };
        let clients = (0..plan.clients).map(|_| Client::new(random.fork(), start)).collect();
        let size = usize::try_from(plan.size).expect("small");
        let world = Self {
            network,
            post,
            workers,
            proxy,
            servers,
            clients,
            keys: KeyCache::default(),
            random,
            trace: Trace::new(start),
            dead: BTreeSet::new(),
            trouble_until: start,
            had_outage: false,
            numbers: 0,
            may_hold: size / 3,
            is_closing: false,
            is_trusting: plan.is_trusting,
            has_two_addresses: plan.has_two_addresses,
            faults: plan.faults,
            is_due: vec![false; plan.cores],
            transactions: 0,
            logins: 0,
            confirmed: 0,
            cancelled: 0,
            dismissed: BTreeMap::new(),
            calls: 0,
            deaths: 0,
        };
        let mut network = world.network.borrow_mut();
        for client in 0..plan.clients {
            network.schedule(Duration::from_micros(300 * client as u64), Event::Client(client));
        }
        for core in 0..plan.cores {
            network.schedule(TICK, Event::Tick(core));
        }
        network.schedule(Duration::from_millis(50), Event::Fault);
        drop(network);
        world
    }

    pub(super) fn now(&self) -> Instant {
        self.network.borrow().now
    }

    /// Runs until so many transactions are done, sees everybody off, and waits until all is quiet.
    pub(super) fn run(&mut self, transactions: u64) {
        while self.transactions < transactions {
            self.go_on();
        }
        self.is_closing = true;
        for client in 0..self.clients.len() {
            self.network.borrow_mut().schedule(Duration::from_millis(1), Event::Client(client));
        }
        while !self.clients.iter().all(Client::is_done) {
            self.go_on();
        }
        // Backends are closed when they have been idle for long enough.
        let quiet = self.now() + IDLE_TIMEOUT + 4 * CONNECT_TIMEOUT;
        while self.now() < quiet {
            self.go_on();
        }
        self.check_end();
    }

    /// Lets one thing happen.
    fn go_on(&mut self) {
        let now = self.now();
        let busy: Vec<usize> =
            (0..self.workers.len()).filter(|core| self.has_work(*core)).collect();
        let next = self.network.borrow().next_at();
        // A core is as fast as it is: other things happen meanwhile.
        let soon = now + Duration::from_micros(self.random.within(0, 40));
        let waits = busy.is_empty() || next.is_some_and(|at| at <= soon) && self.random.one_in(2);
        if !waits {
            let core = *self.random.pick(&busy);
            return self.turn(core);
        }
        let wakes = self.workers.iter().filter_map(Worker::wakes_at).min();
        if let Some(at) = wakes
            && next.is_none_or(|next| at < next)
        {
            let mut network = self.network.borrow_mut();
            network.now = network.now.max(at);
            return;
        }
        let Some(event) = self.network.borrow_mut().pop() else { return };
        self.trace.at(self.now());
        self.happens(event);
    }

    fn has_work(&self, core: usize) -> bool {
        let worker = &self.workers[core];
        self.network.borrow().has_ready(core)
            || !self.post.borrow()[core].is_empty()
            || self.is_due[core]
            || worker.has_work()
            || worker.wakes_at().is_some_and(|at| at <= self.now())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrive(..) | Event::End(_) | Event::Break(_) => {
                self.network.borrow_mut().happens(event);
            }
            Event::Connect(conn) => self.node_is_asked(conn),
            Event::Refuse(conn) => self.network.borrow_mut().refuse(conn),
            Event::Peer(conn) => {
                let peer = self.network.borrow().peer_of(conn);
                match peer {
                    Some(Peer::Client(id)) => self.client_looks(id, conn),
                    Some(Peer::Canceller(id)) => self.canceller_looks(id, conn),
                    Some(Peer::Node(_)) => self.process_looks(conn),
                    None => {}
                }
            }
            Event::Server(conn) => self.process_wakes(conn),
            Event::Client(id) => self.client_wakes(id),
            Event::Tick(core) => {
                self.is_due[core] = true;
                if core == 0 {
                    self.look_for_forgotten_clients();
                }
                self.network.borrow_mut().schedule(TICK, Event::Tick(core));
            }
            Event::Fault => self.fault(),
        }
    }

    /// One turn of a core's loop, as the real one does it.
    fn turn(&mut self, core: usize) {
        self.network.borrow_mut().now += Duration::from_micros(self.random.within(1, 15));
        let now = self.now();
        self.trace.at(now);
        let most = self.random.within(1, 30);
        let most = usize::try_from(most).expect("small");
        let letters = self.post.borrow()[core].len();
        for _ in 0..letters {
            let Some(letter) = self.post.borrow_mut()[core].pop_front() else { break };
            let kind = match &letter {
                Mail::Client(..) => "client",
                Mail::Cancel { .. } => "cancel",
                Mail::Cancelled(_) => "cancelled",
                Mail::Backend(..) => "backend",
                Mail::Balance(_) => "balance",
                _ => "other",
            };
            self.trace.note(Note::Mail { core, kind });
            self.call(core, |worker| worker.on_mail(letter, now));
        }
        let events = self.network.borrow_mut().poll(core, most);
        for (conn, token, ready) in events {
            self.trace.note(Note::Ready { core, conn, token, ready });
            self.call(core, |worker| worker.on_ready(token, ready, now));
        }
        self.call(core, |worker| worker.go_on(now));
        if std::mem::take(&mut self.is_due[core]) {
            self.call(core, |worker| worker.on_tick(now));
        }
    }

    fn call(&mut self, core: usize, call: impl FnOnce(&mut Worker<SimDriver>)) {
        let was_trouble = self.is_trouble();
        call(&mut self.workers[core]);
        self.calls += 1;
        self.excuse(was_trouble);
        self.check();
    }

    /// Something breaks.
    fn fault(&mut self) {
        let millis = self.random.within(5, 400);
        self.network.borrow_mut().schedule(Duration::from_millis(millis), Event::Fault);
        if self.is_closing {
            self.servers.nodes.iter_mut().for_each(|node| {
                node.is_down = false;
                node.refuses = None;
            });
            return;
        }
        for _ in 0..self.faults {
            self.one_fault();
        }
    }

    fn one_fault(&mut self) {
        let now = self.now();
        let at = self.random.below(self.servers.nodes.len());
        match self.random.below(22) {
            0..14 => {
                let conns: Vec<Conn> = self.servers.processes.keys().copied().collect();
                if conns.is_empty() {
                    return;
                }
                let conn = *self.random.pick(&conns);
                let death = *self.random.pick(&[Death::Told, Death::Broken, Death::Cut]);
                self.dies(conn, death);
            }
            14..16 => {
                let most = if self.random.one_in(8) { 4000 } else { 300 };
                let length = Duration::from_millis(self.random.within(10, most));
                self.trace.note(Note::Frozen { node: at });
                self.servers.nodes[at].frozen_until = now + length;
                self.trouble_until = self.trouble_until.max(now + length + CONNECT_TIMEOUT);
            }
            16..18 => {
                let node = &mut self.servers.nodes[at];
                node.is_down = !node.is_down;
                let is_down = node.is_down;
                self.trace.note(Note::Down { node: at, is_down });
                self.had_outage = true;
                self.trouble_until = now + ACQUIRE_TIMEOUT;
                if is_down && self.random.one_in(2) {
                    let conns: Vec<Conn> = self.servers.processes.keys().copied().collect();
                    for conn in conns {
                        if self.servers.processes.get(&conn).is_some_and(|it| it.node == at) {
                            self.dies(conn, Death::Told);
                        }
                    }
                }
            }
            20.. if self.has_two_addresses => {
                // Nobody is to notice: there is another.
                let second = if self.random.one_in(2) { SECOND } else { 0 };
                let is_open = self.random.one_in(3);
                self.network.borrow_mut().closed = (!is_open).then_some(port_of(at) + second);
            }
            18 => {
                let refusals = [None, Some("57P03"), Some("53300")];
                self.servers.nodes[at].refuses = *self.random.pick(&refusals);
                self.had_outage = true;
            }
            20.. => {}
            _ => {
                // The control plane has seen that a node is away, or back.
                let state = match self.servers.nodes[at].is_down {
                    true => NodeState::Down,
                    false => NodeState::Up,
                };
                let health = NodeHealth { state, ..NodeHealth::unknown() };
                let node = NodeId(u16::try_from(at).expect("a few"));
                let next = self.proxy.topology.load().with_health([(node, health)]);
                self.proxy.topology.store(Arc::new(next));
                self.trouble_until = self.trouble_until.max(now + Duration::from_secs(1));
            }
        }
    }

    fn dies(&mut self, conn: Conn, death: Death) {
        self.deaths += 1;
        self.dead.insert(conn);
        self.kill(conn, death);
    }
}
