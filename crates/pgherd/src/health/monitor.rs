//! The tasks that probe, and the snapshot they publish.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use pgherd_core::health::{ClusterWatch, GroupTransition, HealthEvent, Transition};
use pgherd_core::id::Generation;
use pgherd_core::topology::{Group, Node};
use pgherd_core::{GroupId, NodeId, Settings, Topology};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::NoPrimary;
use super::prober::Prober;
use crate::conn::{Dialer, Lines, Login, Password, Reach, Tls};
use crate::mutex::Mutex;

/// The shortest time between two probes of a node, however many failures are reported.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(20);

/// How often the nodes of a group without a primary are probed while somebody waits for one: a
/// promotion is then seen within that time, whatever `health.interval` is.
const SEARCH_INTERVAL: Duration = Duration::from_millis(100);

/// Requests for an early probe that may wait for one node; one more is dropped, because a
/// probe is due anyway.
const REQUESTS: usize = 64;

/// How a node answered one probe.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) {
/// for answer in pool.health().probe_all().await {
///     if !answer.is_ok() {
///         println!("{}: {:?}", pool.topology().node(answer.node).name, answer.error);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeAnswer {
    /// The node.
    pub node: NodeId,
    /// Why it is not well; `None` if it answered.
    pub error: Option<String>,
}

impl ProbeAnswer {
    /// Whether it answered.
    pub fn is_ok(&self) -> bool {
        self.error.is_none()
    }
}

/// Watches the nodes of a cluster. Dropping it ends its tasks without waiting for them.
///
/// ```no_run
/// # async fn f(settings: pgherd::Settings) -> Result<(), Box<dyn std::error::Error>> {
/// let topology = settings.topology()?;
/// let monitor = pgherd::HealthMonitor::spawn(settings.into(), topology);
/// for answer in monitor.probe_all().await {
///     println!("{}: {:?}", monitor.snapshot().node(answer.node).name, answer.error);
/// }
/// monitor.shutdown().await;
/// # Ok(())
/// # }
/// ```
pub struct HealthMonitor {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    topology: Arc<ArcSwap<Topology>>,
    // Also held while a snapshot is published, so that generations go up.
    watch: Mutex<ClusterWatch>,
    // As whom each node is asked, by its id.
    logins: Vec<Arc<Login>>,
    // Told the generation of each new snapshot.
    published: watch::Sender<Generation>,
    requests: Vec<mpsc::Sender<Request>>,
    names: Vec<Arc<str>>,
    reaches: Vec<Arc<Reach>>,
    // What leads to each node, by its id; where there is a pool.
    lines: OnceLock<Vec<Arc<Lines>>>,
}

/// A probe before its turn; with a sender, somebody waits for the answer.
type Request = Option<oneshot::Sender<ProbeAnswer>>;

/// Tells the monitor about failures of ordinary traffic.
#[derive(Clone)]
pub(crate) struct Reporter(Arc<Shared>);

/// Sees primaries change. Does not keep the monitor going.
#[derive(Clone)]
pub(crate) struct Follower(Arc<Shared>);

impl HealthMonitor {
    /// Starts to watch the nodes of `topology`, each probed every `health.interval` under the
    /// login of the first user of the settings, or that of [`Settings::probe_login`] on nodes that have
    /// databases of their own. Must be called inside a tokio runtime.
    ///
    /// Without any user in the settings every probe fails.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(settings: Arc<Settings>, topology: Topology) -> Self {
        let watch = ClusterWatch::new(&topology, settings.health_config());
        let instance = crate::cluster::instance_name();
        let login = |node: &Node| {
            let name = format!("pgherd/{instance}");
            Arc::new(Login::to_probe(&settings, node.group(), name).unwrap_or(Login {
                user: String::new(),
                password: Password::none(),
                database: settings.cluster.database.clone(),
                application_name: String::new(),
            }))
        };
        let (stop, stopped) = watch::channel(false);
        let (requests, receivers): (Vec<_>, Vec<_>) =
            topology.nodes().iter().map(|_| mpsc::channel(REQUESTS)).unzip();
        let names = topology.nodes().iter().map(|node| node.name.as_str().into()).collect();
        let limit = settings.health.timeout;
        let tls = Tls::of(&settings);
        let reach = |node| Arc::new(Reach::new(node));
        let reaches: Vec<_> = topology.nodes().iter().map(reach).collect();
        let logins: Vec<_> = topology.nodes().iter().map(login).collect();
        let prober = |((node, reach), login): ((&Node, &Arc<Reach>), &Arc<Login>)| {
            Prober::new(Dialer::new(node, reach.clone(), login.clone(), &tls, limit), limit)
        };
        let probers: Vec<_> =
            topology.nodes().iter().zip(&reaches).zip(&logins).map(prober).collect();
        let (published, _) = watch::channel(topology.generation());
        let shared = Arc::new(Shared {
            published,
            topology: Arc::new(ArcSwap::from_pointee(topology)),
            watch: Mutex::new(watch),
            requests,
            logins,
            names,
            reaches,
            lines: OnceLock::new(),
        });
        let tasks = (0..)
            .map(NodeId)
            .zip(receivers)
            .zip(probers)
            .map(|((id, requests), prober)| {
                let task = NodeTask { id, shared: shared.clone(), requests, prober };
                tokio::spawn(task.run(settings.health.interval, stopped.clone()))
            })
            .collect();
        Self { shared, stop, tasks: Mutex::new(tasks) }
    }

    /// Has nodes asked with the passwords of these settings from now on, where it has opened a connection
    /// anew. A password that was read from a file, or printed by a command, is not given up for one.
    ///
    /// ```no_run
    /// # fn f(monitor: &pgherd::HealthMonitor, read_again: &pgherd::Settings) {
    /// monitor.relogin(read_again);
    /// # }
    /// ```
    pub fn relogin(&self, settings: &Settings) {
        for login in &self.shared.logins {
            if let Some(user) = settings.users.iter().find(|user| user.name == login.user) {
                login.password.change(&user.password);
            }
        }
    }

    /// The newest snapshot.
    pub fn snapshot(&self) -> Arc<Topology> {
        self.shared.topology.load_full()
    }

    /// The newest snapshot, for as long as a decision takes.
    pub(crate) fn peek(&self) -> impl Deref<Target = Arc<Topology>> + use<> {
        self.shared.topology.load()
    }

    /// The pointer that every new snapshot is published through.
    ///
    /// ```no_run
    /// # fn f(monitor: &pgherd::HealthMonitor) {
    /// // Loaded anew for each decision, without a lock.
    /// let topology = monitor.shared();
    /// println!("generation {}", topology.load().generation());
    /// # }
    /// ```
    pub fn shared(&self) -> Arc<ArcSwap<Topology>> {
        self.shared.topology.clone()
    }

    /// A statement lost its connection to a node, or none could be opened. The node is probed
    /// at once; enough of these in a row take it out of rotation.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// let topology = pool.topology();
    /// pool.health().report_failure(topology.coordinator().primary, "our own check says so");
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn report_failure(&self, node: NodeId, text: &str) {
        self.reporter().report_failure(node, text);
    }

    /// Has these connections cut, given by node id, when their node is given up. Said once.
    pub(crate) fn cuts(&self, lines: Vec<Arc<Lines>>) {
        let is_first = self.shared.lines.set(lines).is_ok();
        debug_assert!(is_first, "a monitor has one pool");
    }

    /// What is known of a node's addresses, shared with the probes.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub(crate) fn reach(&self, node: NodeId) -> &Arc<Reach> {
        &self.shared.reaches[node.index()]
    }

    pub(crate) fn reporter(&self) -> Reporter {
        Reporter(self.shared.clone())
    }

    pub(crate) fn follower(&self) -> Follower {
        Follower(self.shared.clone())
    }

    /// Probes this node at once: something was seen that does not fit what is believed of it.
    pub(crate) fn probe_now(&self, node: NodeId) {
        // A full queue means that a probe is due anyway.
        let _ = self.shared.requests[node.index()].try_send(None);
    }

    /// Probes every node of a group at once.
    pub(crate) fn probe_group_now(&self, group: GroupId) {
        let topology = self.snapshot();
        let members = topology.group(group).into_iter().flat_map(Group::members);
        members.for_each(|node| self.probe_now(node));
    }

    /// Waits for a snapshot in which this group has a primary, `limit` at most; its nodes are
    /// probed often meanwhile.
    ///
    /// Dropping the future does no harm.
    pub(crate) async fn wait_for_primary(
        &self,
        group: GroupId,
        limit: Duration,
    ) -> Result<Arc<Topology>, NoPrimary> {
        let began = Instant::now();
        let found = self.shared.wait_for(|topology| topology.has_primary(group));
        let search = async {
            let mut turn = interval(SEARCH_INTERVAL);
            turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                turn.tick().await;
                self.probe_group_now(group);
            }
        };
        tokio::select! {
            biased;
            topology = found => Ok(topology),
            () = tokio::time::sleep(limit) => {
                let now = Instant::now();
                let waited = now.saturating_duration_since(began);
                Err(NoPrimary::new(&self.snapshot(), group, waited, limit, now))
            }
            () = search => unreachable!("the search has no end"),
        }
    }

    /// Probes every node now and waits for the answers, in the order of node ids. Takes at
    /// most `health.timeout` and a little more.
    ///
    /// Dropping the future leaves the probes to run to their end.
    pub async fn probe_all(&self) -> Vec<ProbeAnswer> {
        let ask = |(id, requests): (NodeId, &mpsc::Sender<Request>)| {
            let requests = requests.clone();
            async move {
                let (sender, answer) = oneshot::channel();
                let stopped = || Some("health monitoring has been stopped".to_owned());
                match requests.send(Some(sender)).await {
                    Ok(()) => {
                        answer.await.unwrap_or_else(|_| ProbeAnswer { node: id, error: stopped() })
                    }
                    Err(_) => ProbeAnswer { node: id, error: stopped() },
                }
            }
        };
        join_all((0..).map(NodeId).zip(&self.shared.requests).map(ask)).await
    }

    /// Ends the tasks and waits for them. The last snapshot stays.
    ///
    /// Dropping the future leaves them to end by themselves.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock());
        join_all(tasks).await;
    }
}

impl Drop for HealthMonitor {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

impl Reporter {
    /// See [`HealthMonitor::report_failure`].
    pub(crate) fn report_failure(&self, node: NodeId, text: &str) {
        let event = HealthEvent::TrafficFailed { error: text.to_owned() };
        let probe_now = self.0.on(node, event);
        if probe_now {
            // A full queue means that a probe is due anyway.
            let _ = self.0.requests[node.index()].try_send(None);
        }
    }
}

impl Follower {
    /// Waits until another node than this one is the primary of its group: whoever is connected
    /// to it may never be told, because a node that is frozen or cut off says nothing.
    ///
    /// Dropping the future does no harm.
    pub(crate) async fn deposed(&self, node: NodeId) {
        self.0.wait_for(|topology| topology.group_of(node).primary != node).await;
    }
}

impl Shared {
    /// Waits for a snapshot of which `is_it` holds, the newest included.
    async fn wait_for(&self, is_it: impl Fn(&Topology) -> bool) -> Arc<Topology> {
        // Before looking, so that no snapshot in between is missed.
        let mut published = self.published.subscribe();
        loop {
            published.mark_unchanged();
            let topology = self.topology.load_full();
            if is_it(&topology) {
                return topology;
            }
            published.changed().await.expect("whoever waits keeps the sender");
        }
    }

    /// Takes an observation in; whether to probe the node at once.
    fn on(&self, id: NodeId, event: HealthEvent) -> bool {
        let effects = {
            let mut watch = self.watch.lock();
            let effects = watch.on(id, event, Instant::now());
            let current = self.topology.load();
            let has_lag_changed = watch.node(id).lag_bytes != current.health(id).lag_bytes;
            if effects.publish || has_lag_changed {
                let next = current.observed(watch.health(), watch.primaries());
                let generation = next.generation();
                self.topology.store(Arc::new(next));
                self.published.send_replace(generation);
            }
            effects
        };
        let node = &self.names[id.index()];
        for transition in effects.transitions {
            match transition {
                Transition::TakenOut { failures, error } => {
                    warn!(%node, failures, %error, "node taken out of rotation");
                }
                Transition::LetIn => info!(%node, "node in rotation"),
                Transition::OnProbation { warm_up } => {
                    info!(%node, ?warm_up, "node in rotation again, with a growing share of the reads");
                }
                Transition::CannotPrepare => {
                    let topology = self.topology.load();
                    if topology.shard_count() > 1 && topology.node(id).shard.is_some() {
                        warn!(
                            %node,
                            "max_prepared_transactions is 0: transactions over several shards will \
                             fail; set it to at least the connections that write, and restart the \
                             node"
                        );
                    }
                }
                Transition::RoleChanged { in_recovery } => {
                    warn!(%node, in_recovery, "node changed its role");
                }
            }
        }
        for (gone, silent_for) in effects.cut {
            self.cut(gone, silent_for);
        }
        let group = self.topology.load().node(id).group();
        for change in effects.group_transitions {
            self.log(group, change);
        }
        effects.probe_now
    }

    fn cut(&self, id: NodeId, silent_for: Duration) {
        let Some(lines) = self.lines.get() else { return };
        let connections = lines[id.index()].cut();
        if connections > 0 {
            let node = &self.names[id.index()];
            warn!(
                %node,
                ?silent_for,
                connections,
                "node given up (health.cut_after): reads that ran there run elsewhere, what became \
                 of writes is not known"
            );
        }
    }

    fn log(&self, group: GroupId, change: GroupTransition) {
        let name = |id: NodeId| &self.names[id.index()];
        match change {
            GroupTransition::Followed { from, to, timeline } => {
                let (from, to) = (name(from), name(to));
                warn!(%group, %from, %to, timeline, "another node is the primary now");
            }
            GroupTransition::PrimaryLost { primary } => {
                let last = name(primary);
                warn!(%group, %last, "no primary: its writers wait");
            }
            GroupTransition::PrimaryBack { primary } => {
                let primary = name(primary);
                info!(%group, %primary, "the primary takes writes again");
            }
            GroupTransition::Fenced { node } => {
                let node = name(node);
                warn!(%group, %node, "takes writes and is not the primary: nothing is sent to it");
            }
        }
    }
}

struct NodeTask {
    id: NodeId,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    prober: Prober,
}

impl NodeTask {
    async fn run(mut self, every: Duration, mut stopped: watch::Receiver<bool>) {
        let mut turn = interval(every);
        turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mut waiting: Vec<oneshot::Sender<ProbeAnswer>> = Vec::new();
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                _ = turn.tick() => {}
                request = self.requests.recv() => match request {
                    Some(request) => waiting.extend(request),
                    None => return,
                },
            }
            while let Ok(request) = self.requests.try_recv() {
                waiting.extend(request);
            }
            let event = tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                event = self.prober.probe() => event,
            };
            let error = match &event {
                HealthEvent::ProbeFailed { error, .. } => Some(error.clone()),
                _ => None,
            };
            self.shared.on(self.id, event);
            for sender in waiting {
                // Whoever does not listen any more needs no answer.
                let _ = sender.send(ProbeAnswer { node: self.id, error: error.clone() });
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(SHORTEST_INTERVAL) => {}
            }
        }
    }
}
