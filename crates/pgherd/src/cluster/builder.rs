//! Settings, one call at a time.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pgherd_core::balance::Balance;
use pgherd_core::settings::{
    ChannelBinding, NodeSettings, PasswordCommand, Secret, Settings, TlsMode, UserSettings,
};
use pgherd_core::shard::ShardFunction;
use pgherd_core::{NodeRole, ShardId};
use tokio_postgres::Client;

use crate::pool::Hooks;
use crate::txn::CommitHook;
use crate::{CommitStep, DistributedPool, Error, HookError, PoolEvent, RetryConfig, Verdict};

/// Builds a [`DistributedPool`]. Whatever is not said has the default of [`Settings`].
///
/// ```no_run
/// # fn f() -> Result<pgherd::DistributedPool, pgherd::Error> {
/// use std::time::Duration;
///
/// use pgherd::{Balance, DistributedPool, RetryConfig, ShardFunction};
///
/// let pool = DistributedPool::builder()
///     .name("shop")
///     .database("shop")
///     .user("app")
///     .password("secret")
///     // The nodes: what is said of weight and zone is said of the one before.
///     .coordinator("db.example.com", 5432)
///     .replica("db-r1.example.com", 5432)
///     .weight(2)
///     .in_zone("eu-1a")
///     .worker(0, "shard-0.example.com", 5432)
///     .shard_replica(0, "shard-0-r1.example.com", 5432)
///     // Where statements go.
///     .shard_function(ShardFunction::Postgres)
///     .read_from_replicas(true)
///     .balance(Balance::LeastBusy)
///     .zone("eu-1a")
///     // The backends to each node.
///     .pool_size(50)
///     .min_idle(5)
///     .idle_timeout(Duration::from_secs(300))
///     .max_lifetime(Duration::from_secs(1800))
///     .acquire_timeout(Duration::from_secs(2))
///     .connect_timeout(Duration::from_secs(3))
///     // When something fails.
///     .retry(RetryConfig { max_retries: 3, ..RetryConfig::default() })
///     .primary_wait(Duration::from_secs(30))
///     .deadline(Duration::from_secs(10))
///     .transaction_deadline(Duration::from_secs(60))
///     .health_interval(Duration::from_millis(500))
///     // Whatever has no method of its own.
///     .with_settings(|settings| settings.pool.listener_backlog = 10_000)
///     .build()?;
/// # Ok(pool)
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until build()"]
pub struct Builder {
    settings: Settings,
    user: UserSettings,
    commit_hook: Option<CommitHook>,
    hooks: Hooks,
}

/// When a pool opens its first backends. See [`Builder::start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// When they are needed.
    Lazy,
    /// At once: a pool that cannot reach each of its nodes is not built.
    FailFast,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new() -> Self {
        let user = UserSettings { name: "postgres".to_owned(), ..UserSettings::default() };
        let (commit_hook, hooks) = (None, Hooks::default());
        Self { settings: Settings::default(), user, commit_hook, hooks }
    }

    /// The primary that takes DDL, statements over several shards, and writes without a key.
    /// A host that begins with `/` is the folder of a Unix socket, one with `@` its abstract name.
    pub fn coordinator(self, host: impl Into<String>, port: u16) -> Self {
        self.node(host, port, NodeRole::Coordinator, None)
    }

    /// The primary of a shard. Shards are numbered from 0 without gaps.
    pub fn worker(self, shard: u16, host: impl Into<String>, port: u16) -> Self {
        self.node(host, port, NodeRole::Worker, Some(ShardId(shard)))
    }

    /// A standby of the coordinator.
    pub fn replica(self, host: impl Into<String>, port: u16) -> Self {
        self.node(host, port, NodeRole::Replica, None)
    }

    /// A standby of a shard.
    pub fn shard_replica(self, shard: u16, host: impl Into<String>, port: u16) -> Self {
        self.node(host, port, NodeRole::Replica, Some(ShardId(shard)))
    }

    fn node(
        mut self,
        host: impl Into<String>,
        port: u16,
        role: NodeRole,
        shard: Option<ShardId>,
    ) -> Self {
        let group = shard.map_or("coordinator".to_owned(), |shard| format!("shard-{shard}"));
        let name = match role {
            NodeRole::Coordinator | NodeRole::Worker => group,
            NodeRole::Replica => {
                let is_sibling = |node: &&NodeSettings| node.role == role && node.shard == shard;
                let before = self.settings.nodes.iter().filter(is_sibling).count();
                format!("{group}-r{}", before + 1)
            }
        };
        let (host, weight, zone, server_name) = (host.into(), 1, String::new(), String::new());
        self.settings.nodes.push(NodeSettings {
            name,
            host,
            port,
            role,
            shard,
            weight,
            zone,
            server_name,
            load_balance_hosts: None,
        });
        self
    }

    /// What the cluster is called in gids and logs: letters, digits, `-` and `_`, at most 32.
    /// Default: `pgherd`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.cluster.name = name.into();
        self
    }

    /// The database on every node. Default: `postgres`.
    pub fn database(mut self, database: impl Into<String>) -> Self {
        self.settings.cluster.database = database.into();
        self
    }

    /// The login on every node. Default: `postgres`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user.name = user.into();
        self
    }

    /// The password on every node. It is never logged. Default: none.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.user.password = Secret::new(password);
        self
    }

    /// A file that holds the password and nothing else, in place of [`Self::password`]. It is read
    /// for each new connection, so that a rotated password is used.
    ///
    /// ```
    /// let builder = pgherd::DistributedPool::builder()
    ///     .coordinator("db-primary.example.com", 5432)
    ///     .password_file("/run/secrets/db-password");
    /// # let _ = builder;
    /// ```
    pub fn password_file(mut self, path: impl Into<String>) -> Self {
        self.user.password_file = path.into();
        self
    }

    /// A command that prints the password, in place of [`Self::password`]: the program and its
    /// arguments. What it prints serves for 30 seconds, or until a node refuses it.
    ///
    /// ```
    /// let builder = pgherd::DistributedPool::builder()
    ///     .coordinator("db-primary.example.com", 5432)
    ///     .password_command(["vault", "read", "-field=password", "database/creds/app"]);
    /// # let _ = builder;
    /// ```
    pub fn password_command(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.user.password_command = PasswordCommand::new(words);
        self
    }

    /// A file of lines `host:port:database:user:password`, as libpq's `~/.pgpass`, in place of
    /// [`Self::password`]. It is read for each new connection.
    ///
    /// ```
    /// let builder = pgherd::DistributedPool::builder()
    ///     .coordinator("db-primary.example.com", 5432)
    ///     .passfile("/home/app/.pgpass");
    /// # let _ = builder;
    /// ```
    pub fn passfile(mut self, path: impl Into<String>) -> Self {
        self.user.passfile = path.into();
        self
    }

    /// Whether connections to the nodes are encrypted, and what of a node's certificate is
    /// checked, as `sslmode` of libpq. Default: `Prefer`. The verifying modes need
    /// [`Self::root_certificate`].
    ///
    /// ```
    /// use pgherd::{ChannelBinding, DistributedPool, TlsMode};
    ///
    /// let builder = DistributedPool::builder()
    ///     .coordinator("db-primary.example.com", 5432)
    ///     .tls(TlsMode::VerifyFull)
    ///     .root_certificate("/etc/app/root.crt")
    ///     .client_certificate("/etc/app/app.crt", "/etc/app/app.key")
    ///     .channel_binding(ChannelBinding::Require);
    /// # let _ = builder;
    /// ```
    pub fn tls(mut self, mode: TlsMode) -> Self {
        self.settings.tls.mode = mode;
        self
    }

    /// A PEM file with the authorities to trust, or a node's own certificate if it has signed
    /// itself. Default: none. See [`Self::tls`].
    pub fn root_certificate(mut self, path: impl Into<String>) -> Self {
        self.settings.tls.root_cert = path.into();
        self
    }

    /// PEM files with our own certificate and its key, for nodes that ask for one. Default: none.
    /// See [`Self::tls`].
    pub fn client_certificate(mut self, cert: impl Into<String>, key: impl Into<String>) -> Self {
        self.settings.tls.cert = cert.into();
        self.settings.tls.key = key.into();
        self
    }

    /// Whether a SCRAM login proves that it goes over this very TLS connection. Default:
    /// `Prefer`. See [`Self::tls`].
    pub fn channel_binding(mut self, binding: ChannelBinding) -> Self {
        self.settings.tls.channel_binding = binding;
        self
    }

    /// Backends to one node, at most. Default: 20.
    pub fn pool_size(mut self, size: u32) -> Self {
        self.settings.pool.size = size;
        self
    }

    /// Backends to one node that are kept open also when nobody needs them. Default: 0.
    pub fn min_idle(mut self, count: u32) -> Self {
        self.settings.pool.min_idle = count;
        self
    }

    /// How long a backend may be idle before it is closed. Default: 10 min.
    pub fn idle_timeout(mut self, limit: Duration) -> Self {
        self.settings.pool.idle_timeout = limit;
        self
    }

    /// How old a backend may get; each dies up to a tenth earlier, at random. Default: 1 h.
    pub fn max_lifetime(mut self, limit: Duration) -> Self {
        self.settings.pool.max_lifetime = limit;
        self
    }

    /// How long an acquire waits for a free backend. Default: 5 s.
    pub fn acquire_timeout(mut self, limit: Duration) -> Self {
        self.settings.pool.acquire_timeout = limit;
        self
    }

    /// How long opening a backend may take, login included. Default: 5 s.
    pub fn connect_timeout(mut self, limit: Duration) -> Self {
        self.settings.pool.connect_timeout = limit;
        self
    }

    /// The retry schedule. Default: five attempts, at once and after 100, 200, 400 and 800 ms,
    /// each with up to a quarter more.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        let retry = &mut self.settings.retry;
        retry.max_retries = config.max_retries;
        retry.initial_backoff = config.initial_backoff;
        retry.multiplier = config.backoff_multiplier;
        retry.jitter = config.jitter;
        retry.max_backoff = config.max_backoff;
        self
    }

    /// Calls `hook` at each step of each commit over several shards, with the transaction's
    /// name: to trace them, or to see in a test what a crash at that step leaves. The commit
    /// waits for it.
    ///
    /// ```
    /// # let builder = pgherd::DistributedPool::builder();
    /// builder.on_commit_step(|transaction, step| println!("{transaction}: {step:?}"));
    /// ```
    pub fn on_commit_step(
        mut self,
        hook: impl Fn(&str, CommitStep) + Send + Sync + 'static,
    ) -> Self {
        self.commit_hook = Some(Arc::new(hook));
        self
    }

    /// Runs `hook` on each backend that was opened, before anybody else has it: for settings,
    /// say. What it leaves in the session stays there for every borrower. With an error the
    /// backend is closed and counts as one that could not be opened. It may take as long as
    /// opening, `pool.connect_timeout`.
    ///
    /// It is called again for a backend that was released with state in its session, after that was
    /// reset: the hook's settings went with it. See [`Lease`](crate::Lease).
    ///
    /// ```
    /// # let builder = pgherd::DistributedPool::builder();
    /// builder.on_open(|client| {
    ///     Box::pin(async move {
    ///         client.batch_execute("SET statement_timeout = '30s'").await?;
    ///         Ok(())
    ///     })
    /// });
    /// ```
    pub fn on_open(
        mut self,
        hook: impl for<'c> Fn(&'c Client) -> BoxFuture<'c, Result<(), HookError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        self.hooks.on_open = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` before a backend is lent; one that it refuses is closed, and the acquire
    /// goes on with another until its time is up. The acquire waits for it, so it should not
    /// block.
    ///
    /// ```
    /// # let builder = pgherd::DistributedPool::builder();
    /// use pgherd::Verdict;
    ///
    /// builder.on_acquire(|client| if client.is_closed() { Verdict::Close } else { Verdict::Keep });
    /// ```
    pub fn on_acquire(mut self, hook: impl Fn(&Client) -> Verdict + Send + Sync + 'static) -> Self {
        self.hooks.on_acquire = Some(Arc::new(hook));
        self
    }

    /// Calls `hook` when a clean backend is released; one that it refuses is closed. The release
    /// waits for it, so it should not block.
    ///
    /// ```
    /// # let builder = pgherd::DistributedPool::builder();
    /// use std::sync::atomic::{AtomicBool, Ordering};
    ///
    /// use pgherd::Verdict;
    ///
    /// // So that all are replaced, one after the other, once somebody says so.
    /// static IS_OUTDATED: AtomicBool = AtomicBool::new(false);
    /// builder.on_release(|_| match IS_OUTDATED.load(Ordering::Relaxed) {
    ///     true => Verdict::Close,
    ///     false => Verdict::Keep,
    /// });
    /// ```
    pub fn on_release(mut self, hook: impl Fn(&Client) -> Verdict + Send + Sync + 'static) -> Self {
        self.hooks.on_release = Some(Arc::new(hook));
        self
    }

    /// Calls `observer` for each thing that happens in a pool, with the node's name: to count
    /// and time them. Whoever acquires or releases waits for it, so it should not block.
    ///
    /// ```
    /// # let builder = pgherd::DistributedPool::builder();
    /// use pgherd::PoolEvent;
    ///
    /// builder.on_pool_event(|node, event| match event {
    ///     PoolEvent::Acquired { waited } => println!("{node}: a backend after {waited:?}"),
    ///     PoolEvent::Closed { reason } => println!("{node}: a backend was closed: {reason}"),
    ///     PoolEvent::Reset { found, .. } => println!("{node}: somebody left {found}"),
    ///     _ => {}
    /// });
    /// ```
    pub fn on_pool_event(
        mut self,
        observer: impl Fn(&str, PoolEvent<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.hooks.observer = Some(Arc::new(observer));
        self
    }

    /// Whether reads may go to replicas. Default: yes.
    pub fn read_from_replicas(mut self, may: bool) -> Self {
        self.settings.routing.read_from_replicas = may;
        self
    }

    /// How one of several replicas is picked. Default: each in turn.
    pub fn balance(mut self, balance: Balance) -> Self {
        self.settings.routing.balance = balance;
        self
    }

    /// The zone this process runs in: replicas [`Self::in_zone`] of the same name come first.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.settings.routing.zone = zone.into();
        self
    }

    /// The weight of the node named last. Default: 1. Nothing happens before the first node.
    pub fn weight(mut self, weight: u32) -> Self {
        if let Some(node) = self.settings.nodes.last_mut() {
            node.weight = weight;
        }
        self
    }

    /// The zone of the node named last. Nothing happens before the first node.
    pub fn in_zone(mut self, zone: impl Into<String>) -> Self {
        if let Some(node) = self.settings.nodes.last_mut() {
            node.zone = zone.into();
        }
        self
    }

    /// What turns a key into a bucket. Default: `Md5`. Another function moves nearly every key
    /// to another shard.
    pub fn shard_function(mut self, function: ShardFunction) -> Self {
        self.settings.routing.shard_function = function;
        self
    }

    /// How long a statement for a primary waits while its group has none, because it has failed or
    /// is being switched over; zero fails at once. Default: 10 s.
    pub fn primary_wait(mut self, limit: Duration) -> Self {
        self.settings.routing.primary_wait = limit;
        self
    }

    /// How long a statement may take in all; see [`Request::deadline`](crate::Request::deadline).
    /// Default: zero, for ever.
    pub fn deadline(mut self, limit: Duration) -> Self {
        self.settings.retry.deadline = limit;
        self
    }

    /// How long a transaction may take in all, over one shard or several; see
    /// [`TransactionRequest::deadline`](crate::TransactionRequest::deadline). Default: zero, for
    /// ever.
    pub fn transaction_deadline(mut self, limit: Duration) -> Self {
        self.settings.retry.transaction_deadline = limit;
        self
    }

    /// The time between two probes of a node. Default: 1 s.
    pub fn health_interval(mut self, interval: Duration) -> Self {
        self.settings.health.interval = interval;
        self
    }

    /// Anything else: changes the settings themselves. The login is [`Self::user`]'s.
    pub fn with_settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// The settings so far, unchecked.
    ///
    /// ```
    /// let builder = pgherd::DistributedPool::builder().coordinator("db.example.com", 5432).pool_size(50);
    /// assert_eq!(builder.settings().pool.size, 50);
    /// ```
    pub fn settings(&self) -> Settings {
        Settings { users: vec![self.user.clone()], ..self.settings.clone() }
    }

    /// Builds the pool. Backends are opened when they are first needed; watching the nodes
    /// begins now. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](crate::ErrorKind::Settings) when the nodes make no cluster, or a
    /// setting is out of its range; [`ErrorKind::NoRuntime`](crate::ErrorKind::NoRuntime).
    pub fn build(self) -> Result<DistributedPool, Error> {
        DistributedPool::new(self.settings(), self.commit_hook, self.hooks)
    }

    /// Builds the pool as [`Self::build`] does, and with [`Start::FailFast`] opens a backend on
    /// each node, or as many as `pool.min_idle` says, before it answers: within
    /// `pool.acquire_timeout`.
    ///
    /// Dropping the future drops the pool.
    ///
    /// ```no_run
    /// # async fn f(builder: pgherd::Builder) -> Result<(), pgherd::Error> {
    /// // With a wrong password or host the program ends here, and not at its first statement.
    /// let pool = builder.start(pgherd::Start::FailFast).await?;
    /// # let _ = pool;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`Self::build`]; [`ErrorKind::Acquire`](crate::ErrorKind::Acquire) of the first node
    /// on which none could be opened.
    pub async fn start(self, start: Start) -> Result<DistributedPool, Error> {
        let pool = self.build()?;
        if start == Start::FailFast {
            pool.warm_up().await?;
        }
        Ok(pool)
    }
}
