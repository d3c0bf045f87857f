//! A cluster of real PostgreSQL servers for one test, gone with it.

// Each test binary uses a part of it, and clippy's leave for tests does not reach helpers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use pgherd::{Builder, DistributedPool, tokio_postgres};
use pgherd_lab::{Cluster, ClusterSpec, Node, PgBouncer, Role, cluster};

pub const PASSWORD: &str = cluster::PASSWORD;

/// Answers the port of the node that runs it. Stable, so the parser calls it a read.
pub const WHERE: &str = "SELECT inet_server_port()";

/// Which nodes a test needs. There is always a coordinator.
#[derive(Clone, Copy)]
pub struct Shape {
    pub shards: u16,
    pub replicas: u16,
    /// Of each shard.
    pub shard_replicas: u16,
    pub max_prepared: u32,
}

impl Shape {
    /// A coordinator alone.
    pub const ONE: Self = Self { shards: 0, replicas: 0, shard_replicas: 0, max_prepared: 16 };

    fn spec(self) -> ClusterSpec {
        ClusterSpec {
            shards: self.shards,
            coordinator_replicas: self.replicas,
            shard_replicas: self.shard_replicas,
            settings: vec![
                format!("max_prepared_transactions = {}", self.max_prepared),
                // A replica looks for its primary again soon after a restart.
                "wal_retrieve_retry_interval = 200ms".to_owned(),
            ],
            ..ClusterSpec::default()
        }
    }
}

impl Default for Shape {
    fn default() -> Self {
        Self::ONE
    }
}

/// How a pool reaches the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The nodes themselves.
    Direct,
    /// A PgBouncer in transaction mode in front of each node.
    PgBouncer,
}

/// Makes two tests of each function `async fn name(door: Door)`: `direct::name` and
/// `behind_pgbouncer::name`.
#[allow(unused_macros)]
macro_rules! at_each_door {
    ($(#[$test:meta] $name:ident,)+) => {
        mod direct {
            $(#[$test]
            async fn $name() {
                super::$name(crate::world::Door::Direct).await;
            })+
        }
        mod behind_pgbouncer {
            $(#[$test]
            async fn $name() {
                super::$name(crate::world::Door::PgBouncer).await;
            })+
        }
    };
}
#[allow(unused_imports)]
pub(crate) use at_each_door;

pub struct World {
    // Before the cluster whose nodes they stand in front of.
    poolers: Vec<PgBouncer>,
    cluster: Cluster,
}

impl World {
    /// A cluster whose nodes are reached through this door. `None`, said aloud, for PgBouncer's
    /// where that is not installed.
    pub fn at(door: Door, shape: Shape) -> Option<Self> {
        Self::at_spec(door, &shape.spec())
    }

    /// The same with a cluster of any kind.
    pub fn at_spec(door: Door, spec: &ClusterSpec) -> Option<Self> {
        if door == Door::Direct {
            return Some(Self::start_spec(spec));
        }
        if PgBouncer::is_missing() {
            return None;
        }
        let Self { cluster, .. } = Self::start_spec(spec);
        let start = |node| PgBouncer::start(&cluster, node).unwrap();
        Some(Self { poolers: cluster.nodes().iter().map(start).collect(), cluster })
    }

    pub fn start(shape: Shape) -> Self {
        Self::start_spec(&shape.spec())
    }

    pub fn start_spec(spec: &ClusterSpec) -> Self {
        Self { poolers: Vec::new(), cluster: Cluster::start(spec).unwrap() }
    }

    /// A builder that knows the doors and the login, and probes often.
    pub fn builder(&self) -> Builder {
        self.builder_at(|name| self.door(name))
    }

    /// The same with ports of one's own, by the names of the nodes.
    pub fn builder_at(&self, port: impl Fn(&str) -> u16) -> Builder {
        let port = |node: &Node| port(&node.name);
        let builder = DistributedPool::builder()
            .database(cluster::DATABASE)
            .user(cluster::USER)
            .password(PASSWORD)
            .health_interval(Duration::from_millis(100))
            .with_settings(|settings| settings.health.warm_up = Duration::ZERO);
        self.cluster.nodes().iter().fold(builder, |builder, node| match (node.role, node.shard) {
            (Role::Coordinator, _) => builder.coordinator(&node.host, port(node)),
            (Role::Worker, shard) => builder.worker(shard.unwrap(), &node.host, port(node)),
            (Role::Replica, None) => builder.replica(&node.host, port(node)),
            (Role::Replica, Some(shard)) => builder.shard_replica(shard, &node.host, port(node)),
        })
    }

    pub fn pool(&self) -> DistributedPool {
        self.builder().build().unwrap()
    }

    /// Where files of the test may lie; it ends with the cluster.
    pub fn folder(&self) -> &std::path::Path {
        self.cluster.folder()
    }

    fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    /// The port on which a node itself listens.
    pub fn port(&self, name: &str) -> u16 {
        self.node(name).port
    }

    /// The port on which a pool reaches a node.
    pub fn door(&self, name: &str) -> u16 {
        let pooler = self.poolers.iter().find(|pooler| pooler.node() == name);
        pooler.map_or(self.port(name), PgBouncer::port)
    }

    /// Each PgBouncer has handed every answer to whoever it is for, as far as it has noticed.
    pub fn assert_no_answer_went_astray(&self) {
        for pooler in &self.poolers {
            let log = pooler.logs();
            assert!(!log.contains("when not linked"), "an answer for nobody: {log}");
        }
    }

    pub fn replica_ports(&self) -> Vec<u16> {
        self.cluster.replicas(None).map(|node| node.port).collect()
    }

    /// Connections of pools to a node: to PgBouncer where that is in front, which keeps its own.
    pub async fn sessions(&self, name: &str) -> usize {
        if self.poolers.is_empty() {
            let count =
                "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgherd%'";
            return self.sql(name, count).parse().unwrap();
        }
        let mut config = tokio_postgres::Config::new();
        config.host("127.0.0.1").port(self.door(name));
        config.user("postgres").password(PASSWORD).dbname("pgbouncer");
        let (console, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let clients = console.simple_query("SHOW CLIENTS").await.unwrap();
        drop(console);
        connection.await.unwrap().unwrap();
        let is_pool_s = |message: &&tokio_postgres::SimpleQueryMessage| {
            matches!(message, tokio_postgres::SimpleQueryMessage::Row(row)
                if row.get("database") == Some(cluster::DATABASE))
        };
        clients.iter().filter(is_pool_s).count()
    }

    /// SIGKILL to all processes of a node.
    pub fn kill(&self, name: &str) {
        self.node(name).kill().unwrap();
    }

    /// Stops all processes of a node, which stay: connections stay open, and nothing answers.
    pub fn freeze(&self, name: &str) {
        self.node(name).freeze().unwrap();
    }

    /// Lets a frozen node go on.
    pub fn thaw(&self, name: &str) {
        self.node(name).thaw().unwrap();
    }

    /// Starts a node that was killed and waits until it answers.
    pub fn start_node(&self, name: &str) {
        self.node(name).start().unwrap();
    }

    /// Makes a replica a primary, and waits until it is.
    pub fn promote(&self, name: &str) {
        self.node(name).promote().unwrap();
    }

    /// Makes a node a standby of another, from a copy of that one's data.
    pub fn rejoin(&self, name: &str, primary: &str) {
        self.cluster.rejoin(self.node(name), self.node(primary)).unwrap();
    }

    /// Sends a signal to one process of a server.
    pub fn signal(&self, pid: i32, name: &str) {
        let mut kill = std::process::Command::new("kill");
        let status = kill.args([format!("-{name}"), pid.to_string()]).status().unwrap();
        assert!(status.success(), "kill -{name} {pid}");
    }

    /// Runs statements on a node past pgherd, as a superuser; what psql prints.
    pub fn sql(&self, name: &str, sql: &str) -> String {
        self.node(name).psql(sql).unwrap()
    }

    /// A session of the driver's own on a node, as the pool's login; it ends with the client.
    pub async fn session_on(&self, name: &str) -> tokio_postgres::Client {
        self.session_as(cluster::USER, name).await
    }

    /// The same as another role, such as the superuser `postgres`.
    pub async fn session_as(&self, user: &str, name: &str) -> tokio_postgres::Client {
        let node = self.node(name);
        let mut config = tokio_postgres::Config::new();
        config.host(&node.host).port(node.port).dbname(cluster::DATABASE);
        config.user(user).password(PASSWORD);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Runs statements on a node past pgherd, as the role that pgherd logs in with.
    pub fn sql_as_app(&self, name: &str, sql: &str) -> String {
        self.sql(name, &format!("SET ROLE {}; {sql}", cluster::USER))
    }

    /// Ends the sessions of the pool on a node.
    pub fn terminate_pooled(&self, name: &str) {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = 'pgherd pgherd' \
                         OR application_name LIKE 'pgherd txn %'";
        self.sql(name, terminate);
    }

    /// Waits until the replicas have replayed all that the coordinator has written.
    pub fn wait_replayed(&self) {
        self.cluster.wait_caught_up().unwrap();
    }
}

/// Waits until `is_so` holds; the message says what did not happen.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "did not happen in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The port of the node that answered.
pub fn port_of(row: &tokio_postgres::Row) -> u16 {
    u16::try_from(row.get::<_, i32>(0)).unwrap()
}

/// An error with its causes.
pub fn chain(error: &pgherd::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
