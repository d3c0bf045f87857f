//! A cluster of real PostgreSQL servers for one test, gone with it.

// Each test binary uses a part of it, and clippy's leave for tests does not reach helpers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use pgherd::{Builder, DistributedPool};
use pgherd_lab::{Cluster, ClusterSpec, Node, PgBouncer, Role, cluster};

pub const PASSWORD: &str = cluster::PASSWORD;

/// Answers the port of the node that runs it. Stable, so the parser calls it a read.
pub const WHERE: &str = "SELECT inet_server_port()";

/// Which nodes a test needs. There is always a coordinator.
#[derive(Clone, Copy)]
pub struct Shape {
    pub shards: u16,
    pub replicas: u16,
    pub max_prepared: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { shards: 0, replicas: 0, max_prepared: 16 }
    }
}

pub struct World {
    cluster: Cluster,
}

impl World {
    pub fn start(shape: Shape) -> Self {
        let spec = ClusterSpec {
            shards: shape.shards,
            coordinator_replicas: shape.replicas,
            settings: vec![
                format!("max_prepared_transactions = {}", shape.max_prepared),
                // A replica looks for its primary again soon after a restart.
                "wal_retrieve_retry_interval = 200ms".to_owned(),
            ],
            ..ClusterSpec::default()
        };
        Self { cluster: Cluster::start(&spec).unwrap() }
    }

    /// A builder that knows the nodes and the login, and probes often.
    pub fn builder(&self) -> Builder {
        self.builder_through(&[])
    }

    /// The same with these in between.
    pub fn builder_through(&self, poolers: &[PgBouncer]) -> Builder {
        let port = |node: &Node| {
            let pooler = poolers.iter().find(|pooler| pooler.node() == node.name);
            pooler.map_or(node.port, PgBouncer::port)
        };
        let builder = DistributedPool::builder()
            .database(cluster::DATABASE)
            .user(cluster::USER)
            .password(PASSWORD)
            .health_interval(Duration::from_millis(100));
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

    /// A PgBouncer in front of each node; `None`, said aloud, where PgBouncer is not installed.
    pub fn poolers(&self) -> Option<Vec<PgBouncer>> {
        if PgBouncer::is_missing() {
            return None;
        }
        let start = |node| PgBouncer::start(&self.cluster, node).unwrap();
        Some(self.cluster.nodes().iter().map(start).collect())
    }

    fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    pub fn port(&self, name: &str) -> u16 {
        self.node(name).port
    }

    pub fn replica_ports(&self) -> Vec<u16> {
        self.cluster.replicas(None).map(|node| node.port).collect()
    }

    /// SIGKILL to all processes of a node.
    pub fn kill(&self, name: &str) {
        self.node(name).kill().unwrap();
    }

    /// Starts a node that was killed and waits until it answers.
    pub fn start_node(&self, name: &str) {
        self.node(name).start().unwrap();
    }

    /// Runs statements on a node past pgherd, as a superuser; what psql prints.
    pub fn sql(&self, name: &str, sql: &str) -> String {
        self.node(name).psql(sql).unwrap()
    }

    /// The same as the role that pgherd logs in with.
    pub fn sql_as_app(&self, name: &str, sql: &str) -> String {
        self.sql(name, &format!("SET ROLE {}; {sql}", cluster::USER))
    }

    /// Ends the sessions of the pool on a node.
    pub fn terminate_pooled(&self, name: &str) {
        let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                         WHERE application_name = 'pgherd pgherd'";
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
