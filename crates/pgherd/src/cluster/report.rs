//! What `health_check()` answers.

use pgherd_core::stats::Counters;
use pgherd_core::topology::{Circuit, Node, NodeState};
use pgherd_core::{NodeRole, ShardId, Topology};
use serde::Serialize;

use crate::ProbeAnswer;

/// How the nodes are: each was asked for this report.
///
/// Serialised it begins with `coordinator`, `workers`, `replicas` and `statistics`; what
/// follows is more of the same in detail.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) {
/// let report = pool.health_check().await;
/// if !report.is_healthy() {
///     for node in report.nodes.iter().filter(|node| node.last_error.is_some()) {
///         println!("{}: {:?}", node.name, node.last_error);
///     }
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HealthReport {
    /// The coordinator.
    pub coordinator: CoordinatorHealth,
    /// The workers, by shard.
    pub workers: Vec<WorkerHealth>,
    /// The nodes that are not the primary of their group, in the order of the settings.
    pub replicas: Vec<ReplicaHealth>,
    /// What was asked for so far.
    pub statistics: Counters,
    /// The generation of the topology that this report is of.
    pub generation: u64,
    /// Every node, in the order of the settings.
    pub nodes: Vec<NodeReport>,
}

/// The coordinator. See [`HealthReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoordinatorHealth {
    /// Its host.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whether it answered.
    pub healthy: bool,
}

/// A worker. See [`HealthReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WorkerHealth {
    /// Its shard.
    pub shard_id: ShardId,
    /// Whether it answered.
    pub healthy: bool,
}

/// A replica, or a primary that another was promoted in the place of. See [`HealthReport`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReplicaHealth {
    /// Its host.
    pub host: String,
    /// Whether it answered.
    pub healthy: bool,
}

/// A node in detail. See [`HealthReport::node`].
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// What it is to its group now: a replica that was promoted is `coordinator` or `worker`.
    pub role: NodeRole,
    /// The shard it carries.
    pub shard: Option<ShardId>,
    /// Its host.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    /// Whether it answered.
    pub healthy: bool,
    /// Whether statements are routed to it, unless it is fenced; lags behind `healthy` by the
    /// thresholds.
    pub in_rotation: bool,
    /// What is believed of it.
    pub state: NodeState,
    /// What its circuit breaker stands at.
    pub circuit: Circuit,
    /// Why it was taken out of rotation, until it has proved itself again.
    pub reason: Option<String>,
    /// Whether it last said to be a standby.
    pub in_recovery: Option<bool>,
    /// Whether it is shut out: it takes writes, or took them when it was last heard of, and another
    /// node is the primary of its group.
    pub fenced: bool,
    /// The timeline it last said to be on.
    pub timeline: Option<u32>,
    /// Where in the WAL it last said to be: written on a primary, replayed on a standby; such as
    /// `0/16B3748`.
    pub wal_position: Option<String>,
    /// `max_prepared_transactions`, as it last told: 0 takes part in no transaction over several
    /// shards.
    pub max_prepared_transactions: Option<u32>,
    /// Bytes of WAL it has yet to replay.
    pub lag_bytes: Option<u64>,
    /// How long its last answer took, in seconds.
    pub rtt_seconds: Option<f64>,
    /// The last failure; kept after a recovery.
    pub last_error: Option<String>,
}

impl HealthReport {
    /// The report of a cluster whose nodes were asked. `answers` has one entry for each node, in the
    /// order of ids.
    ///
    /// ```no_run
    /// # async fn f(monitor: pgherd::HealthMonitor) {
    /// let answers = monitor.probe_all().await;
    /// let statistics = pgherd::Counters::default();
    /// let report = pgherd::HealthReport::new(&monitor.snapshot(), &answers, statistics);
    /// println!("{}", report.is_healthy());
    /// # }
    /// ```
    ///
    /// # Panics
    /// If an answer is missing.
    pub fn new(topology: &Topology, answers: &[ProbeAnswer], statistics: Counters) -> Self {
        let is_ok = |node: &Node| answers[node.id.index()].is_ok();
        let coordinator = topology.node(topology.coordinator().primary);
        let workers = topology.shards().iter().map(|group| topology.node(group.primary));
        let is_replica = |node: &&Node| topology.role(node.id) == NodeRole::Replica;
        let replicas = topology.nodes().iter().filter(is_replica);
        Self {
            coordinator: CoordinatorHealth {
                host: coordinator.host.clone(),
                port: coordinator.port,
                healthy: is_ok(coordinator),
            },
            workers: workers
                .filter_map(|node| {
                    Some(WorkerHealth { shard_id: node.shard?, healthy: is_ok(node) })
                })
                .collect(),
            replicas: replicas
                .map(|node| ReplicaHealth { host: node.host.clone(), healthy: is_ok(node) })
                .collect(),
            statistics,
            generation: topology.generation().0,
            nodes: topology
                .nodes()
                .iter()
                .map(|node| NodeReport::new(topology, node, is_ok(node)))
                .collect(),
        }
    }

    /// Whether every node answered.
    pub fn is_healthy(&self) -> bool {
        self.nodes.iter().all(|node| node.healthy)
    }

    /// The entry of the node with this name.
    ///
    /// ```no_run
    /// # async fn f(pool: pgherd::DistributedPool) {
    /// let report = pool.health_check().await;
    /// if let Some(replica) = report.node("shard-0-r1") {
    ///     println!("{:?} bytes behind, {:?}", replica.lag_bytes, replica.circuit);
    /// }
    /// # }
    /// ```
    pub fn node(&self, name: &str) -> Option<&NodeReport> {
        self.nodes.iter().find(|node| node.name == name)
    }
}

impl NodeReport {
    fn new(topology: &Topology, node: &Node, healthy: bool) -> Self {
        let health = topology.health(node.id);
        Self {
            name: node.name.clone(),
            role: topology.role(node.id),
            shard: node.shard,
            host: node.host.clone(),
            port: node.port,
            healthy,
            in_rotation: health.is_healthy(),
            state: health.state,
            circuit: health.state.circuit(),
            reason: health.reason.as_deref().map(str::to_owned),
            in_recovery: health.in_recovery,
            fenced: topology.is_fenced(node.id),
            timeline: health.timeline,
            wal_position: health.position.map(|position| position.lsn.to_string()),
            max_prepared_transactions: health.max_prepared,
            lag_bytes: health.lag_bytes,
            rtt_seconds: health.rtt.map(|rtt| rtt.as_secs_f64()),
            last_error: health.last_error.as_deref().map(str::to_owned),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// The keys of a serialised object in the order they are written, through a format that
    /// keeps it.
    fn keys(json: &str, until: &str) -> Vec<String> {
        let mut keys: Vec<(usize, String)> = Vec::new();
        for key in ["coordinator", "workers", "replicas", "statistics", "generation", "nodes"] {
            keys.extend(json.find(&format!("\"{key}\":")).map(|at| (at, key.to_owned())));
        }
        keys.sort();
        keys.into_iter().map(|(_, key)| key).take_while(|key| key != until).collect()
    }

    #[test]
    fn the_report_has_the_promised_shape_and_its_own_fields_after_it() {
        let nodes = vec![
            Node::new("coordinator", "localhost", 5432, NodeRole::Coordinator, None),
            Node::new("shard-0", "h0", 5432, NodeRole::Worker, Some(ShardId(0))),
            Node::new("shard-1", "h1", 5432, NodeRole::Worker, Some(ShardId(1))),
            Node::new("coordinator-r1", "replica-1", 5432, NodeRole::Replica, None),
        ];
        let topology = Topology::new(nodes).unwrap();
        let answers: Vec<_> = topology
            .nodes()
            .iter()
            .map(|node| ProbeAnswer {
                node: node.id,
                error: (node.name == "shard-1").then(|| "no answer".to_owned()),
            })
            .collect();
        let counters = Counters { total: 1523, reads: 892, writes: 631, errors: 12, retries: 5 };
        let report = HealthReport::new(&topology, &answers, counters);
        assert!(!report.is_healthy());

        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(keys(&json, "generation"), ["coordinator", "workers", "replicas", "statistics"]);
        let value: BTreeMap<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "coordinator": {"host": "localhost", "port": 5432, "healthy": true},
            "workers": [{"shard_id": 0, "healthy": true}, {"shard_id": 1, "healthy": false}],
            "replicas": [{"host": "replica-1", "healthy": true}],
            "statistics":
                {"total": 1523, "reads": 892, "writes": 631, "errors": 12, "retries": 5},
        });
        for (key, part) in expected.as_object().unwrap() {
            assert_eq!(&value[key], part, "{key}");
        }
    }
}
