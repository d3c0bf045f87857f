//! `DistributedPool` itself.

use std::fmt;
use std::panic::Location;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use pgherd_core::balance::Balancer;
use pgherd_core::retry::{RetryBudget, RetryConfig};
use pgherd_core::route::{OnlyRoutes, OwnWrites, RoutePolicy, WriteToken};
use pgherd_core::sql::{ClassCache, Classified, Classifier, QueryType};
use pgherd_core::stats::Counters;
use pgherd_core::{Key, NodeId, Settings, Topology};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::{Builder, Counting, HealthReport, NodeStatistics};
use super::{ParseCacheStatistics, Statistics};
use crate::conn::{Classes, Dialer, Login, Tls};
use crate::error::Cause;
use crate::mutex::Mutex;
use crate::pool::{Hooks, Limits, NodePool};
use crate::session::Listeners;
use crate::txn::{CommitHook, Keeper, Numbering, OpenTransactions, Recovered};
use crate::txn::{LeftTransactions, Resolve, ResolveError, Resolved};
use crate::txn::{decision_table_script, look, recover, resolve};
use crate::{
    Auto, DistributedTransactionRequest, Error, HealthMonitor, Lease, Listener, Request, Session,
};
use crate::{Transaction, TransactionRequest};

/// Pooled, routed, retried connections to a cluster. Cheap to clone; all clones are one pool.
///
/// | Statement              | Runs on                                                     |
/// |------------------------|-------------------------------------------------------------|
/// | read                   | a replica of the coordinator, else the coordinator          |
/// | read with a shard key  | a replica of that shard, else its worker                    |
/// | write                  | the coordinator                                             |
/// | write with a shard key | the worker of that shard                                    |
/// | DDL, distributed       | the coordinator                                             |
///
/// Of several replicas the next one in turn serves, or as `routing.balance` says.
///
/// When the last clone is dropped, idle backends are closed and watching ends; leases that are
/// still out work on. [`Self::close`] does the same, waits, and refuses further acquires.
///
/// ```no_run
/// # async fn f() -> Result<(), pgherd::Error> {
/// use pgherd::{DistributedPool, QueryType};
///
/// // From COORDINATOR_HOST, WORKER_HOSTS, REPLICA_HOSTS and the others.
/// let pool = DistributedPool::from_env()?;
/// let users = pool.query(QueryType::Read, "SELECT id FROM users", &[]).await?;
/// let created = pool.auto("INSERT INTO users (name) VALUES ($1)").execute(&[&"alice"]).await?;
/// println!("{} users and {created} more; {:?}", users.len(), pool.statistics());
/// pool.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct DistributedPool(Arc<Inner>);

pub(crate) struct Inner {
    settings: Arc<Settings>,
    policy: RoutePolicy,
    only_routes: Option<OnlyRoutes>,
    retry: RetryConfig,
    balancer: Balancer,
    budget: RetryBudget,
    // By node id.
    pools: Vec<Arc<NodePool>>,
    monitor: HealthMonitor,
    counting: Counting,
    classes: Classes,
    listeners: Listeners,
    numbering: Numbering,
    open: OpenTransactions,
    commit_hook: Option<CommitHook>,
    runtime: Handle,
    // Says `true` once the pool is closed.
    closing: watch::Sender<bool>,
    sweeper: JoinHandle<()>,
    _keeper: Option<Keeper>,
}

impl DistributedPool {
    /// Starts to build a pool. See [`Builder`].
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// A pool from settings, under the login of their first user. Backends are opened when
    /// they are first needed; watching the nodes begins now. Must be called inside a tokio
    /// runtime, which the pool then uses for its own tasks.
    ///
    /// ```no_run
    /// # async fn f() -> Result<(), Box<dyn std::error::Error>> {
    /// use pgherd::{DistributedPool, Settings};
    ///
    /// let text = std::fs::read_to_string("pgherd.toml")?;
    /// let pool = DistributedPool::from_settings(Settings::from_toml(&text, "pgherd.toml")?)?;
    /// # let _ = pool;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) when they make no cluster, or one is out
    /// of its range; [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime).
    pub fn from_settings(settings: Settings) -> Result<Self, Error> {
        Self::new(settings, None, Hooks::default())
    }

    pub(crate) fn of(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    pub(super) fn new(
        settings: Settings,
        commit_hook: Option<CommitHook>,
        hooks: Hooks,
    ) -> Result<Self, Error> {
        let bad = |problem: String| Error::new(Cause::BadSettings(problem));
        let runtime = Handle::try_current().map_err(|_| Error::new(Cause::NoRuntime))?;
        settings.check()?;
        let topology = settings.topology().map_err(|error| bad(error.to_string()))?;
        let policy = settings.route_policy().map_err(|error| bad(error.to_string()))?;
        let login = Login::of(&settings, format!("pgherd {}", settings.cluster.name))
            .ok_or_else(|| bad("no [[user]]: a login for the nodes is needed".to_owned()))?;
        let numbering = Numbering::new(&settings.cluster.name).map_err(bad)?;
        let tls = Tls::of(&settings);
        tls.check().map_err(|error| bad(error.to_string()))?;
        login.password.check().map_err(|error| bad(error.to_string()))?;

        let settings = Arc::new(settings);
        let login = Arc::new(login);
        let limits = (Limits::new(&settings.pool), settings.pool.connect_timeout);
        let monitor = HealthMonitor::spawn(settings.clone(), topology.clone());
        let classifier = Classifier::new(settings.routing.read_only_functions.iter().cloned());
        let classes = ClassCache::new(classifier, settings.pool.statement_cache_bytes.0);
        let classes: Classes = Arc::new(Mutex::new(classes));
        let counting = Counting::new(topology.nodes().len());
        let pools: Vec<_> = topology
            .nodes()
            .iter()
            .map(|node| {
                let (reach, limit) =
                    (monitor.reach(node.id).clone(), settings.pool.connect_timeout);
                let dialer = Dialer::new(node, reach, login.clone(), &tls, limit)
                    .unconfirmed_for(settings.pool.tcp_user_timeout)
                    .keeping(settings.pool.prepared_per_backend as usize)
                    .watching(classes.clone());
                let (reporter, hooks, runtime) =
                    (monitor.reporter(), hooks.clone(), runtime.clone());
                Arc::new(NodePool::new(node.id, dialer, limits, reporter, hooks, runtime))
            })
            .collect();
        monitor.cuts(pools.iter().map(|pool| pool.dialer().lines().clone()).collect());
        let sweeper = runtime
            .spawn(sweep(pools.iter().map(Arc::downgrade).collect(), limits.0.upkeep_interval()));
        let only_routes = OnlyRoutes::of(&topology, &policy);
        let balancer = Balancer::new(policy.balance, topology.nodes().len(), 0);
        let budget = RetryBudget::new(settings.retry_budget(), Instant::now());
        let has_shards = topology.shard_count() > 0;
        Ok(Self(Arc::new_cyclic(|inner| Inner {
            _keeper: has_shards.then(|| Keeper::spawn(inner.clone(), &settings.transactions)),
            only_routes,
            policy,
            retry: settings.retry_config(),
            balancer,
            budget,
            pools,
            monitor,
            counting,
            classes,
            listeners: Listeners::default(),
            numbering,
            open: OpenTransactions::default(),
            commit_hook,
            runtime,
            closing: watch::Sender::new(false),
            sweeper,
            settings,
        })))
    }

    /// A session that reads what it wrote; see [`Session`].
    pub fn session(&self) -> Session {
        Session::new(self, OwnWrites::default())
    }

    /// A session that also reads what the session wrote that gave this token, in this process or
    /// another. See [`Session`].
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) for the token of another cluster.
    pub fn session_after(&self, token: &WriteToken) -> Result<Session, Error> {
        let name = &self.0.settings.cluster.name;
        if token.cluster != *name {
            let other = &token.cluster;
            let problem = format!("the token is of the cluster `{other}`, and this is `{name}`");
            return Err(Error::new(Cause::Usage(problem)));
        }
        Ok(Session::new(self, token.into()))
    }

    /// Statements that write nothing. See [`Request`].
    pub fn read(&self) -> Request<'_> {
        self.request(QueryType::Read)
    }

    /// Statements that write. See [`Request`].
    pub fn write(&self) -> Request<'_> {
        self.request(QueryType::Write)
    }

    /// Statements that define.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// pool.ddl().batch("CREATE TABLE users (id int PRIMARY KEY, name text)").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn ddl(&self) -> Request<'_> {
        self.request(QueryType::Ddl)
    }

    /// Statements over several shards, which the coordinator is set up to run.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// // The coordinator sees the rows of all shards, over postgres_fdw or Citus.
    /// let all: i64 = pool.distributed().query_scalar("SELECT count(*) FROM users", &[]).await?;
    /// # let _ = all;
    /// # Ok(())
    /// # }
    /// ```
    pub fn distributed(&self) -> Request<'_> {
        self.request(QueryType::Distributed)
    }

    /// Statements of this type.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// use pgherd::QueryType;
    ///
    /// let query_type: QueryType = "read".parse().unwrap_or(QueryType::Write);
    /// let users = pool.request(query_type).query("SELECT id FROM users", &[]).await?;
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    pub fn request(&self, query_type: QueryType) -> Request<'_> {
        Request::new(self, query_type)
    }

    /// A statement whose type PostgreSQL's own parser decides; when in doubt it is a write.
    pub fn auto<'p>(&'p self, sql: &'p str) -> Auto<'p> {
        Auto::new(self, sql, self.classify(sql))
    }

    /// What the parser says about a text of any number of statements.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// let class = pool.classify("SELECT nextval('ids')");
    /// println!("a {}, because nextval() writes", class.query_type);
    /// # }
    /// ```
    pub fn classify(&self, sql: &str) -> Classified {
        self.0.classes.lock().classify(sql)
    }

    /// Runs a statement of this type, without a shard key, and collects its rows; see
    /// [`Request::query`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn query(
        &self,
        query_type: QueryType,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.request(query_type).query(sql, params).await
    }

    /// Runs a statement of this type, without a shard key, and answers how many rows it
    /// concerned; see [`Request::execute`].
    ///
    /// # Errors
    /// [`Error`], of the last try.
    pub async fn execute(
        &self,
        query_type: QueryType,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.request(query_type).execute(sql, params).await
    }

    /// Borrows a backend for statements of this type; see [`Request::acquire`].
    ///
    /// Dropping the future leaves the queue as if it had never been called.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use pgherd::QueryType;
    ///
    /// let lease = pool.acquire(QueryType::Write, Some(42.into())).await?;
    /// lease.batch_execute("VACUUM users").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Route`](crate::ErrorKind::Route) and
    /// [`ErrorKind::Acquire`](crate::ErrorKind::Acquire).
    #[track_caller]
    pub fn acquire(
        &self,
        query_type: QueryType,
        shard_key: Option<Key>,
    ) -> impl Future<Output = Result<Lease, Error>> + Send {
        let taken_at = Some(Location::caller());
        async move { self.request(query_type).maybe_key(shard_key).acquire_at(taken_at).await }
    }

    /// A transaction on one node: awaited, it begins. See [`Transaction`], and
    /// [`TransactionRequest`] for its shard, its isolation level, and units of work that survive a
    /// failover.
    pub fn transaction(&self) -> TransactionRequest<'_> {
        TransactionRequest::new(self)
    }

    /// Runs a unit of work on the coordinator: a transaction that is run again when, and only
    /// when, that is safe. See [`UnitOfWork::run`](crate::UnitOfWork::run); with a shard key, or
    /// with what to do about a lost answer to COMMIT, begin at [`Self::transaction`].
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// let visits: i64 = pool
    ///     .run(async |tx| {
    ///         tx.execute("UPDATE pages SET visits = visits + 1 WHERE id = 7", &[]).await?;
    ///         let row = tx.query_one("SELECT visits FROM pages WHERE id = 7", &[]).await?;
    ///         Ok::<_, pgherd::Error>(row.get(0))
    ///     })
    ///     .await?;
    /// # let _ = visits;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As there.
    pub async fn run<T, E>(&self, work: impl AsyncFn(&Transaction) -> Result<T, E>) -> Result<T, E>
    where
        E: From<Error>,
    {
        self.transaction().run(work).await
    }

    /// Listens to channels on the coordinator, on a connection of its own; see [`Listener`], and
    /// [`Request::listen`] for a shard.
    ///
    /// Dropping the future closes what was opened.
    ///
    /// # Errors
    /// [`Error`], of the last try to connect; [`ErrorKind::Usage`](crate::ErrorKind::Usage) behind
    /// a pooler, and for a channel whose name PostgreSQL would cut.
    pub async fn listen<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Listener, Error> {
        self.write().listen(channels).await
    }

    /// A transaction on the shards of these keys, which commits on all or on none: awaited, it
    /// begins. See [`DistributedTransaction`](crate::DistributedTransaction), and
    /// [`DistributedTransactionRequest::deadline`] for the time it may take.
    ///
    /// Dropping the future rolls back what was begun.
    ///
    /// # Errors
    /// Once awaited, [`ErrorKind::Route`](crate::ErrorKind::Route) in a cluster without shards,
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) without keys or on a node that takes no
    /// prepared transactions, and what acquiring and BEGIN say.
    pub fn distributed_transaction<K: Into<Key>>(
        &self,
        keys: impl IntoIterator<Item = K>,
    ) -> DistributedTransactionRequest<'_> {
        let keys = keys.into_iter().map(Into::into).collect();
        DistributedTransactionRequest::new(self, keys, None)
    }

    /// Makes the decision table on every shard, for the pool's own login and `roles` to use. The
    /// login has to be a superuser or own the database; `pgherd init` does the same under
    /// another. May be run again.
    ///
    /// Dropping the future leaves the table on some of the shards.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
    /// pool.install_decision_table(&["app"]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error`] of the first shard that refused.
    pub async fn install_decision_table(&self, roles: &[&str]) -> Result<(), Error> {
        let own = self.0.settings.users.first().map(|user| user.name.as_str());
        let script = decision_table_script(own.into_iter().chain(roles.iter().copied()));
        for group in self.topology().shards() {
            if let Some(shard) = group.id.shard() {
                self.write().shard(shard).batch(&script).await?;
            }
        }
        Ok(())
    }

    /// Finishes what has been left prepared for longer than `grace` on any shard, by this
    /// process or another, as its decision says. The pool does the same by itself, each
    /// `transactions.recovery_interval`.
    ///
    /// Dropping the future leaves what is not finished to the next time.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) {
    /// use std::time::Duration;
    ///
    /// let recovered = pool.recover(Duration::from_secs(60)).await;
    /// println!("{} committed, {} rolled back", recovered.committed.len(), recovered.rolled_back.len());
    /// for problem in recovered.problems {
    ///     eprintln!("left as it is: {problem}");
    /// }
    /// # }
    /// ```
    pub async fn recover(&self, grace: Duration) -> Recovered {
        recover(self, grace).await
    }

    /// What is prepared on any shard, with what was decided about it and what recovery will do. It
    /// changes nothing; `pgherd txn list` prints it. See [`LeftTransactions`].
    ///
    /// Dropping the future does no harm.
    pub async fn left_transactions(&self) -> LeftTransactions {
        look(self).await
    }

    /// Finishes one transaction by hand, on every shard where it is prepared; answers what was
    /// finished. `gid` is its name, or one that a shard has prepared it under.
    ///
    /// What contradicts a decision is refused, and so is a commit that was never decided.
    /// `is_lost` declares that the shard that decides is lost for good with its decision: then,
    /// and only then, the caller decides. If that shard ever comes back, it may differ. See
    /// [`LeftTransactions`].
    ///
    /// Dropping the future leaves what is not finished prepared.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(
        &self,
        gid: &str,
        how: Resolve,
        is_lost: bool,
    ) -> Result<Resolved, ResolveError> {
        resolve(self, gid, how, is_lost).await
    }

    /// Asks every node how it is and waits for the answers: at most `health.timeout` and a
    /// little more. See [`HealthReport`].
    ///
    /// Dropping the future does no harm.
    pub async fn health_check(&self) -> HealthReport {
        let answers = self.0.monitor.probe_all().await;
        HealthReport::new(&self.topology(), &answers, self.counters())
    }

    fn counters(&self) -> Counters {
        self.0.counting.counters(self.0.pools.iter().map(|pool| pool.leased()))
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        let Inner { pools, counting, open, classes, listeners, settings, .. } = &*self.0;
        let topology = self.topology();
        let prepared = settings.pool.prepared_per_backend;
        let nodes = pools
            .iter()
            .map(|pool| NodeStatistics::new(pool, topology.role(pool.id()), counting, prepared))
            .collect();
        let parse_cache = ParseCacheStatistics::new(&classes.lock());
        let (counters, deadlocks) = (self.counters(), open.deadlocks());
        Statistics::new(nodes, counting, counters, deadlocks, parse_cache, listeners.all())
    }

    /// The newest snapshot of the cluster.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// let topology = pool.topology();
    /// for group in topology.groups() {
    ///     println!("{}: {} takes writes", group.id, topology.node(group.primary).name);
    /// }
    /// # }
    /// ```
    pub fn topology(&self) -> Arc<Topology> {
        self.0.monitor.snapshot()
    }

    /// The watch over the nodes. See [`HealthMonitor`].
    pub fn health(&self) -> &HealthMonitor {
        &self.0.monitor
    }

    /// The settings the pool was built from.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// println!("{} backends to each node, at most", pool.settings().pool.size);
    /// # }
    /// ```
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Refuses acquires from now on, fails those that wait, closes idle backends and ends the
    /// watch over the nodes. Leases that are out work on, and are closed when they come back.
    ///
    /// Dropping the future leaves the pool closed.
    pub async fn close(&self) {
        self.0.closing.send_replace(true);
        for pool in &self.0.pools {
            pool.backends().close();
        }
        self.0.monitor.shutdown().await;
    }

    /// The same, and waits for the leases that are out, `limit` at most. How many backends were
    /// still in use then; their leases work on.
    ///
    /// Dropping the future leaves the pool closed.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) {
    /// use std::time::Duration;
    ///
    /// let left = pool.close_within(Duration::from_secs(30)).await;
    /// if left > 0 {
    ///     eprintln!("{left} backends are still in use");
    /// }
    /// # }
    /// ```
    pub async fn close_within(&self, limit: Duration) -> usize {
        let closing = self.0.pools.iter().map(|pool| pool.backends().close_within(limit));
        let left = join_all(closing).await.into_iter().sum();
        self.close().await;
        left
    }

    /// Changes how many backends each node may have at most, `pool.size`; at least 1. A larger
    /// pool serves those who wait at once; a smaller one closes surplus idle backends at once
    /// and busy ones as they are released.
    ///
    /// ```no_run
    /// # fn f(pool: &pgherd::DistributedPool) {
    /// // More for a rush, and as many as before after it.
    /// pool.resize(100);
    /// pool.resize(pool.settings().pool.size as usize);
    /// # }
    /// ```
    pub fn resize(&self, size: usize) {
        for pool in &self.0.pools {
            pool.backends().resize(size);
        }
    }

    /// Opens a backend on each node, or as many as `pool.min_idle` says, and waits for them.
    ///
    /// # Errors
    /// [`Error`] of the first that cannot be had.
    pub(super) async fn warm_up(&self) -> Result<(), Error> {
        let count = self.0.settings.pool.min_idle.clamp(1, self.0.settings.pool.size);
        let pools = self.0.pools.iter();
        let acquires = pools.flat_map(|pool| {
            std::iter::repeat_n(pool.backends(), count as usize).map(|pool| pool.acquire_at(None))
        });
        // Held until all are there, so that each is another one.
        try_join_all(acquires).await?;
        Ok(())
    }

    pub(crate) fn node_pool(&self, node: NodeId) -> &Arc<NodePool> {
        &self.0.pools[node.index()]
    }

    pub(crate) fn policy(&self) -> &RoutePolicy {
        &self.0.policy
    }

    /// Where statements run, if there is but one node.
    pub(crate) fn only_routes(&self) -> Option<&OnlyRoutes> {
        self.0.only_routes.as_ref()
    }

    pub(crate) fn balancer(&self) -> &Balancer {
        &self.0.balancer
    }

    pub(crate) fn budget(&self) -> &RetryBudget {
        &self.0.budget
    }

    pub(crate) fn retry_config(&self) -> &RetryConfig {
        &self.0.retry
    }

    pub(crate) fn counting(&self) -> &Counting {
        &self.0.counting
    }

    pub(crate) fn numbering(&self) -> &Numbering {
        &self.0.numbering
    }

    pub(crate) fn open_transactions(&self) -> &OpenTransactions {
        &self.0.open
    }

    pub(crate) fn commit_hook(&self) -> Option<&CommitHook> {
        self.0.commit_hook.as_ref()
    }

    /// Says `true` once the pool is closed, and ends with it.
    pub(crate) fn closing(&self) -> watch::Receiver<bool> {
        self.0.closing.subscribe()
    }

    pub(crate) fn listeners(&self) -> &Listeners {
        &self.0.listeners
    }

    pub(crate) fn downgrade(&self) -> Weak<Inner> {
        Arc::downgrade(&self.0)
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }
}

impl fmt::Debug for DistributedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DistributedPool")
            .field("cluster", &self.0.settings.cluster.name)
            .field("nodes", &self.0.pools.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.sweeper.abort();
        for pool in &self.pools {
            pool.backends().close();
        }
    }
}

/// Looks after the backends of all nodes, as long as the pools exist.
async fn sweep(pools: Vec<Weak<NodePool>>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pools) = pools.iter().map(Weak::upgrade).collect::<Option<Vec<_>>>() else {
            return;
        };
        join_all(pools.iter().map(|pool| pool.backends().upkeep())).await;
    }
}
