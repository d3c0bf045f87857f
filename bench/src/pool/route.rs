//! The route of a statement whose text has been seen before.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::Result;
use pgherd::DistributedPool;
use pgherd_core::balance::Balancer;
use pgherd_core::route::{Loads, QuerySpec, SessionState, route};
use pgherd_core::sql::{ClassCache, Classifier};

/// How long the decision takes: class from the cache, hash of the key, node.
pub(super) struct RouteTimes {
    pub(super) median: Duration,
    pub(super) p99: Duration,
}

const SQL: &str = "SELECT id, name FROM users WHERE id = $1";

/// Decisions timed as one.
const BATCH: u32 = 1_000;

const BATCHES: u32 = 2_000;

pub(super) fn run() -> Result<RouteTimes> {
    let settings = DistributedPool::builder()
        .coordinator("c", 1)
        .replica("r", 2)
        .worker(0, "s0", 3)
        .shard_replica(0, "s0r", 4)
        .worker(1, "s1", 5)
        .shard_replica(1, "s1r", 6)
        .settings();
    let (topology, policy) = (settings.topology()?, settings.route_policy()?);
    let balancer = Balancer::new(policy.balance, topology.nodes().len(), 0);
    let loads = Loads { balancer: &balancer, busy: &|_| 0 };
    let classifier = Classifier::new(Vec::<String>::new());
    let mut cache = ClassCache::new(classifier, settings.pool.statement_cache_bytes.0);
    cache.classify(SQL);
    let mut times = Vec::new();
    for _ in 0..BATCHES {
        let began = Instant::now();
        for key in 0..i64::from(BATCH) {
            let class = cache.classify(black_box(SQL));
            let query = QuerySpec::new(class.query_type).with_key(black_box(key));
            black_box(route(&query, SessionState::default(), &topology, &policy, &loads)?);
        }
        times.push(began.elapsed() / BATCH);
    }
    times.sort();
    Ok(RouteTimes { median: times[times.len() / 2], p99: times[times.len() * 99 / 100] })
}
