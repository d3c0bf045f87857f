//! A running proxy: its socket, its cores, its control plane.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use pgherd::{PasswordError, TlsError};
use pgherd_core::balance::Balancer;
use pgherd_core::hosts::Address;
use pgherd_core::route::RoutePolicy;
use pgherd_core::settings::{AuthMethod, Settings};
use pgherd_core::shard::BadShardMap;
use pgherd_core::sql::Classifier;
use pgherd_core::topology::{Node, Topology, TopologyError};

use crate::addresses::{self, Addresses, LookUp, NotFound};
use crate::admin::{Admin, Pause, Reloaded};
use crate::auth::{Credentials, Hba, HbaError, LoginGuard, Users};
use crate::control::{ControlPlane, write_statistics};
use crate::databases::Databases;
use crate::listeners::{self, Listeners};
use crate::peers::Peers;
use crate::pins::{Pin, Pins};
use crate::reactor::mio_driver::{Acceptor, Mailbox, cores};
use crate::reactor::{
    Counts, Failures, LookForLeft, Mail, Proxy, Questions, ReloadError, Relogin, Shares,
    SocketOptions,
};
use crate::relay::StatementTable;
use crate::statistics::{NodeStatistics, statistics};
use crate::takeover::{Inherited, TakeoverDesk, WebDoor};
use crate::tls::{ClientTls, NodeTls};
use crate::web::Web;

/// What a cancel request has room for: see `cancel_pid`.
const MOST_CORES: usize = 64;

/// How long clients in a transaction get to finish it when the proxy stops.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The address to listen on cannot be had.
    #[error("cannot listen on {address}:{port}")]
    Listen {
        /// As in the settings.
        address: String,
        /// As in the settings.
        port: u16,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The address to answer over HTTP at cannot be had.
    #[error("cannot listen on {at}, which http.listen is")]
    ListenHttp {
        /// As in the settings.
        at: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The Unix socket to listen on cannot be had.
    #[error("cannot listen on the Unix socket {address}")]
    ListenUnix {
        /// Where it is to be.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The nodes make no cluster.
    #[error("the nodes make no cluster")]
    Topology(#[from] TopologyError),
    /// The shard map fits no cluster.
    #[error("the shard map fits no cluster")]
    ShardMap(#[from] BadShardMap),
    /// There is nobody who could log in.
    #[error("no [[user]] is set, so nobody could log in")]
    NoUsers,
    /// A user's password cannot be had.
    #[error("no password for the users")]
    Password(#[from] PasswordError),
    /// A file for TLS is not as it has to be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HBA file, or the one of ident maps, is not as it has to be.
    #[error(transparent)]
    Hba(#[from] HbaError),
    /// The system refused a thread, a descriptor, or the like.
    #[error("cannot start the loops")]
    Io(#[from] io::Error),
}

/// A proxy that is running. Dropping it leaves it running; see [`Server::wait`].
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    http_address: Option<SocketAddr>,
    proxy: Arc<Proxy>,
    stopper: Stopper,
    cores: Vec<JoinHandle<io::Result<()>>>,
    control: ControlPlane,
}

/// Stops a proxy from wherever it is kept.
#[derive(Debug, Clone)]
pub struct Stopper(Arc<[Mailbox]>);

impl Stopper {
    /// No more clients are accepted, idle ones are told, the others may finish their
    /// transaction, for up to 30 seconds. Returns at once; a second call changes nothing.
    pub fn stop(&self) {
        self.0.iter().for_each(|mailbox| mailbox.post(Mail::Drain));
    }
}

/// The files of a proxy that are read again while it runs: certificates, keys, and who may log in how.
#[derive(Debug, Clone)]
pub struct Certificates(Arc<Proxy>);

impl Certificates {
    /// Reads the files of `[client_tls]` and `[tls]`, `listen.hba_file` and `listen.ident_file` again,
    /// for connections from now on. If one is not as it has to be, what was read before goes on in its
    /// place. Waits for the disk.
    ///
    /// # Errors
    /// [`ReloadError`] names the first such file; the others are read all the same.
    pub fn reload(&self) -> Result<(), ReloadError> {
        self.0.reload_files()
    }
}

/// Reads the settings of a proxy again, from wherever it is kept: as RELOAD at the console.
#[derive(Debug, Clone)]
pub struct Reloader {
    proxy: Arc<Proxy>,
    mailboxes: Arc<[Mailbox]>,
}

impl Reloader {
    /// Reads them again from where [`Server::reload_from`] says, and the files that they name, too. Nobody is
    /// dropped; what changed and cannot be changed while it runs is named. Logs what it does. Waits for
    /// the disk.
    ///
    /// # Errors
    /// What is wrong with them. The settings stay as they were then.
    pub fn reload(&self) -> Result<Reloaded, String> {
        let done = self.proxy.reload();
        self.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Follow));
        done
    }
}

/// Pauses a proxy, and has it go on, from wherever it is kept: as PAUSE and RESUME at the console.
#[derive(Debug, Clone)]
pub struct Pauser {
    proxy: Arc<Proxy>,
    mailboxes: Arc<[Mailbox]>,
}

impl Pauser {
    /// Lends no more backends, until [`Self::resume`], and closes those that are free. Returns at
    /// once, while clients finish what they do; whether that is a change.
    pub fn pause(&self) -> bool {
        self.change(Pause::None, Pause::Paused)
    }

    /// Has it go on; whether that is a change.
    pub fn resume(&self) -> bool {
        let is_paused = self.change(Pause::Paused, Pause::None);
        is_paused || self.change(Pause::Suspended, Pause::None)
    }

    fn change(&self, from: Pause, to: Pause) -> bool {
        let admin = &self.proxy.admin;
        let is_change = admin.pause() == from;
        if is_change {
            admin.set_pause(to, admin.next_order());
            self.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Follow));
        }
        is_change
    }
}

/// Stops the other cores when one ends, however it ends: without it clients would go on being
/// dealt out to it.
struct EndTogether(Stopper);

impl Drop for EndTogether {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Server {
    /// Starts a proxy: it listens when this returns. Backends are opened as they are needed, so
    /// nodes may still be down, and their names may still lead nowhere.
    ///
    /// # Errors
    /// [`ServeError`] says what is wrong with the settings or the system.
    pub fn start(settings: &Settings) -> Result<Self, ServeError> {
        Self::start_inheriting(settings, Inherited::default())
    }

    /// Starts one on sockets that others have opened, where they are those of the settings; and in the
    /// place of another process, if they are its: that one accepts no more when this returns.
    ///
    /// # Errors
    /// As [`Self::start`]; the other process goes on then.
    pub fn start_inheriting(settings: &Settings, inherited: Inherited) -> Result<Self, ServeError> {
        Self::start_with(settings, inherited, addresses::system())
    }

    fn start_with(
        settings: &Settings,
        Inherited { mut sockets, predecessor }: Inherited,
        look_up: LookUp,
    ) -> Result<Self, ServeError> {
        let topology = settings.topology()?;
        let policy = settings.route_policy()?;
        if settings.users.is_empty() {
            return Err(ServeError::NoUsers);
        }
        let settings = &with_passwords(settings)?;
        let addresses = Arc::new(addresses_of(&topology));
        let peers = Peers::of(settings);
        for places in peers.iter().map(Peers::addresses).chain([&addresses]) {
            for (name, lost) in places.look_up(&look_up) {
                // It may not be there yet: its name is looked up again.
                let NotFound { host, error } = &*lost;
                tracing::warn!(name, %host, %error, "a node or a peer is not found, and looked up again");
            }
        }
        let http = listeners::http(&settings.http.listen, &mut sockets)?;
        let Listeners { all, addresses: on, unix, access, owns_file } =
            Listeners::open(&settings.listen, sockets)?;
        let count = match settings.listen.workers {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_CORES),
            workers => usize::from(workers),
        };
        let client_tls = ClientTls::new(settings.client_tls.clone())?;
        let node_tls = NodeTls::new(settings, topology.clone())?;
        let hba = match settings.listen.auth {
            AuthMethod::Hba => Hba::new(&settings.listen.hba_file, &settings.listen.ident_file)?,
            _ => Hba::default(),
        };
        let held = Arc::new(ArcSwap::from_pointee(settings.clone()));
        let places = peers.iter().map(Peers::addresses).chain([&addresses]).cloned();
        let (cores, mailboxes) = cores(count)?;
        let for_answers = Arc::clone(&mailboxes);
        let control =
            ControlPlane::start(Arc::clone(&held), topology, places, look_up, for_answers)?;
        let (desk, monitor, left) = (control.desk(), control.monitor(), control.left());
        let health = Health {
            topology: control.topology(),
            failures: Box::new(control.failures()),
            questions: Box::new(move |question, by| desk.ask(question, by)),
            relogin: Box::new(move |settings| monitor.relogin(settings)),
            left: Box::new(move || left.ask()),
        };
        let now = Instant::now();
        let before = predecessor.as_ref().map(|process| process.cancels.into());
        let whereabouts = Whereabouts { addresses, peers, predecessor: before };
        let doors = Doors { client_tls, node_tls, hba };
        let proxy = proxy(held, policy, health, whereabouts, doors, count, now);
        let proxy = Arc::new(proxy);
        let stopper = Stopper(Arc::clone(&mailboxes));
        let http_address = http.as_ref().map(TcpListener::local_addr).transpose()?;
        let mut web_door = None;
        if let Some(listener) = http {
            let web = Web::new(Arc::clone(&proxy), Arc::clone(&mailboxes), control.monitor());
            let socket = OwnedFd::from(listener.try_clone()?);
            web_door = Some(WebDoor { socket, answering: control.answer(listener, web)? });
        }
        control.spawn(write_statistics(Arc::clone(&proxy), Arc::clone(&mailboxes)));
        let mut acceptor = Some(Acceptor::new(all, SocketOptions::of_clients(settings))?);
        let mut threads = Vec::new();
        for (number, core) in cores.into_iter().enumerate() {
            let (proxy, mailboxes) = (Arc::clone(&proxy), Arc::clone(&mailboxes));
            let acceptor = acceptor.take();
            let end = EndTogether(stopper.clone());
            let thread = std::thread::Builder::new().name(format!("core-{number}"));
            threads.push(thread.spawn(move || {
                let _end = end;
                core.run(proxy, mailboxes, acceptor, DRAIN_LIMIT)
            })?);
        }
        if let Some(process) = predecessor {
            match process.relieve() {
                Ok(()) => {
                    owns_file.store(true, Ordering::Relaxed);
                    // Until now the other one might have gone on with it.
                    if let Some(Err(error)) = unix.as_ref().map(|place| place.admit(access)) {
                        tracing::warn!(%error, "the Unix socket keeps its mode and its group");
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "the process that was here may still accept clients");
                }
            }
        }
        let port = on.first().map_or(settings.listen.port, SocketAddr::port);
        match TakeoverDesk::open(&settings.listen, port, owns_file) {
            Ok(Some(desk)) => control.spawn(desk.serve(Arc::clone(&mailboxes), web_door)),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no other process can take over from this one"),
        }
        let unix = unix.map(tracing::field::display);
        let nodes = settings.nodes.len();
        tracing::info!(addresses = ?on, unix, cores = count, nodes, "listening");
        Ok(Self { addresses: on, http_address, proxy, stopper, cores: threads, control })
    }

    /// Where it listens on TCP, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first of them; `0.0.0.0:0` if it listens on a Unix socket only.
    pub fn address(&self) -> SocketAddr {
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.addresses.first().copied().unwrap_or(nowhere)
    }

    /// Where it answers over HTTP.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// What it has done so far, node by node in the order of the settings.
    pub fn statistics(&self) -> Vec<NodeStatistics> {
        statistics(&self.topology(), &self.proxy.counts)
    }

    /// The sessions that are pinned to their backends now.
    pub fn pins(&self) -> Vec<Pin> {
        self.proxy.pins.all()
    }

    /// The certificates and keys it uses.
    pub fn certificates(&self) -> Certificates {
        Certificates(Arc::clone(&self.proxy))
    }

    /// The newest snapshot of the cluster.
    pub fn topology(&self) -> Arc<Topology> {
        self.proxy.topology.load_full()
    }

    /// What stops it.
    pub fn stopper(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Where its settings are read again, at SIGHUP or by RELOAD at the console: what `source` answers
    /// has passed [`Settings::check`], or it says what is wrong. Only the first call counts.
    pub fn reload_from(
        &self,
        source: impl Fn() -> Result<Settings, String> + Send + Sync + 'static,
    ) -> Reloader {
        let with_passwords =
            move || with_passwords(&source()?).map_err(|error| with_causes(&error));
        self.proxy.admin.set_source(Box::new(with_passwords));
        Reloader { proxy: Arc::clone(&self.proxy), mailboxes: Arc::clone(&self.stopper.0) }
    }

    /// Who else goes by the settings: `follow` is told those that hold after each time that they were
    /// read again, if nothing was wrong with them. Only the first call counts.
    pub fn on_reload(&self, follow: impl Fn(&Settings) + Send + Sync + 'static) {
        self.proxy.admin.set_follower(Box::new(follow));
    }

    /// What pauses it.
    pub fn pauser(&self) -> Pauser {
        Pauser { proxy: Arc::clone(&self.proxy), mailboxes: Arc::clone(&self.stopper.0) }
    }

    /// Returns when it was stopped and the last client has gone.
    ///
    /// # Errors
    /// What ended a loop, if that was not [`Stopper::stop`].
    pub fn wait(self) -> io::Result<()> {
        let mut result = Ok(());
        for core in self.cores {
            match core.join() {
                Ok(ended) => result = result.and(ended),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        self.control.stop();
        result
    }
}

/// An error with its causes, in one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The settings with passwords for the users' files and commands.
fn with_passwords(settings: &Settings) -> Result<Settings, ServeError> {
    // In a thread of its own: the caller's may belong to a runtime, which must not wait.
    let read = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(runtime.block_on(pgherd::with_passwords(settings.clone()))?)
    };
    std::thread::scope(|scope| {
        scope.spawn(read).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// What the cores and the control plane tell one another.
pub(crate) struct Health {
    pub(crate) topology: Arc<ArcSwap<Topology>>,
    pub(crate) failures: Failures,
    pub(crate) questions: Questions,
    /// Where the watch hears of other passwords.
    pub(crate) relogin: Relogin,
    /// Where consoles ask for what is prepared.
    pub(crate) left: LookForLeft,
}

/// Where the nodes are, and other proxies.
pub(crate) struct Whereabouts {
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) peers: Option<Peers>,
    pub(crate) predecessor: Option<Address>,
}

/// What is read from files for both sides: TLS, and who may log in how.
pub(crate) struct Doors {
    pub(crate) client_tls: ClientTls,
    pub(crate) node_tls: NodeTls,
    pub(crate) hba: Hba,
}

/// What all cores share, by the settings.
pub(crate) fn proxy(
    held: Arc<ArcSwap<Settings>>,
    policy: RoutePolicy,
    health: Health,
    whereabouts: Whereabouts,
    doors: Doors,
    cores: usize,
    now: Instant,
) -> Proxy {
    let settings = &*held.load_full();
    let random = |bytes: &mut [u8]| {
        getrandom::fill(bytes).expect("the system's random source works once it has started");
    };
    let pool = &settings.pool;
    let logins = settings.users.iter().map(Credentials::from);
    let users = Users::with_iterations(logins, settings.listen.scram_iterations, random);
    let looks_up = |user: &str| !user.is_empty();
    let users = match looks_up(&settings.listen.auth_user)
        || settings.databases.iter().any(|database| looks_up(&database.auth_user))
    {
        true => users.with_room(),
        false => users,
    };
    Proxy {
        method: settings.listen.auth.into(),
        databases: Databases::new(settings, &users),
        client_tls: doors.client_tls,
        node_tls: doors.node_tls,
        hba: doors.hba,
        guard: LoginGuard::new(settings.guard_config()),
        users,
        topology: health.topology,
        failures: health.failures,
        questions: health.questions,
        relogin: health.relogin,
        left: health.left,
        addresses: whereabouts.addresses,
        balancer: Balancer::new(policy.balance, settings.nodes.len(), 0),
        policy,
        statements: StatementTable::new(
            usize::try_from(pool.statement_cache_bytes.0).unwrap_or(usize::MAX),
            usize::try_from(settings.listen.prepared_bytes_per_client.0).unwrap_or(usize::MAX),
        ),
        counts: Counts::new(cores, settings.nodes.len()),
        shares: Shares::new(cores, now),
        cores,
        clients: AtomicUsize::new(0),
        dealt_out: AtomicUsize::new(0),
        resident: AtomicU64::new(0),
        peers: whereabouts.peers,
        predecessor: whereabouts.predecessor,
        to_nodes: SocketOptions::of_nodes(settings),
        pins: Pins::default(),
        pin: pool.pin,
        check_after: pool.check_after,
        // So little that there is time for another one.
        check_limit: pool.acquire_timeout / 4,
        check_query: pool.check_query.clone(),
        reset_query: pool.reset_query.clone(),
        reset_always: pool.reset_always,
        class_cache_bytes: pool.statement_cache_bytes.0,
        classifier: Classifier::new(settings.routing.read_only_functions.iter().cloned()),
        admin: Admin::new(held, now),
    }
}

/// The addresses of the nodes, to be looked up.
pub(crate) fn addresses_of(topology: &Topology) -> Addresses {
    let place = |node: &Node| {
        let hosts = node.hosts().expect("the topology has checked its nodes' hosts");
        (node.name.clone(), hosts, node.balance)
    };
    Addresses::new(topology.nodes().iter().map(place))
}

#[cfg(test)]
mod unreached;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;
    use std::sync::Mutex;

    use pgherd_wire::startup;

    use super::*;

    #[test]
    fn a_node_is_found_where_its_name_leads_now() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (first, second) = (listen(), listen());
        let leads_to = Arc::new(Mutex::new(first.local_addr().unwrap()));
        let now = Arc::clone(&leads_to);
        let look_up: LookUp = Arc::new(move |_, _| Ok(vec![*now.lock().unwrap()]));
        let server = started("dns_ttl = \"100ms\"\nconnect_timeout = \"100ms\"", look_up);
        let _client = begin_login(&server);
        // Neither says anything, so the proxy tries again and again.
        first.accept().unwrap();
        *leads_to.lock().unwrap() = second.local_addr().unwrap();
        second.accept().unwrap();
        server.stopper().stop();
    }

    #[test]
    fn a_name_that_is_not_found_is_looked_up_again_after_a_time_of_its_own() {
        let refuses = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let asking = Arc::clone(&asked);
        let look_up: LookUp = Arc::new(move |name, _| {
            let mut asked = asking.lock().unwrap();
            let is_first = !asked.iter().any(|before| before == name);
            asked.push(name.to_owned());
            match name {
                "found.test" => Ok(vec![refuses]),
                _ if is_first => Err(io::ErrorKind::NotFound.into()),
                _ => Ok(vec![at]),
            }
        });
        let more = "dns_ttl = \"1d\"\ndns_retry = \"10ms\"";
        let server = started_at("found.test, late.test", more, look_up);
        let _client = begin_login(&server);
        listener.accept().unwrap();
        assert_eq!(*asked.lock().unwrap(), ["found.test", "late.test", "late.test"]);
        server.stopper().stop();
    }

    #[test]
    fn every_address_of_a_name_is_tried() {
        let listeners = [0, 1, 2].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let [refuses, first, second] = listeners;
        drop(refuses);
        let look_up: LookUp = Arc::new(move |_, _| Ok(addresses.to_vec()));
        let server = started("connect_timeout = \"200ms\"", look_up);
        let _client = begin_login(&server);
        // Neither says anything, so the proxy goes on to the next.
        first.accept().unwrap();
        second.accept().unwrap();
        server.stopper().stop();
    }

    /// A proxy before a node whose name leads where `look_up` says.
    fn started(pool: &str, look_up: LookUp) -> Server {
        started_at("node.test", pool, look_up)
    }

    fn started_at(host: &str, pool: &str, look_up: LookUp) -> Server {
        let text = format!(
            "node = [{{ host = \"{host}\", role = \"coordinator\" }}]\nuser = [{{ name = \"u\" }}]\n\
             [listen]\nport = 0\nauth = \"trust\"\n[pool]\nacquire_timeout = \"1m\"\n{pool}"
        );
        let settings = Settings::from_toml(&text, "test").unwrap();
        Server::start_with(&settings, Inherited::default(), look_up).unwrap()
    }

    fn begin_login(server: &Server) -> TcpStream {
        let mut client = TcpStream::connect(server.address()).unwrap();
        let mut out = Vec::new();
        let parameters = [("user", "u"), ("database", "postgres")];
        startup::put_startup(&mut out, startup::PROTOCOL_3_0, parameters);
        client.write_all(&out).unwrap();
        client
    }

    #[test]
    fn what_cannot_be_had_of_tls_is_refused_at_start() {
        let refused = |tls: &str| {
            let text = format!(
                "[[node]]\nhost = \"localhost\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n\
                 {tls}"
            );
            Server::start(&Settings::from_toml(&text, "pgherd.toml").unwrap()).unwrap_err()
        };
        let error = refused("[tls]\nmode = \"verify-full\"\nroot_cert = \"no.crt\"");
        assert!(error.to_string().starts_with("tls.root_cert no.crt: "), "{error}");
        let error = refused("[client_tls]\nmode = \"prefer\"\ncert = \"no.crt\"\nkey = \"no.key\"");
        assert!(error.to_string().starts_with("client_tls.cert no.crt: "), "{error}");
    }
}
