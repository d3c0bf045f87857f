//! A replica is promoted by hand, and pgherd follows, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use pgherd::{DistributedPool, ErrorKind, NodeRole, QueryType, Retry};
use pgherd_lab::ClusterSpec;
use world::{Door, WHERE, World, at_each_door, port_of, until};

at_each_door! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    a_promoted_replica_is_followed_and_the_old_primary_shut_out_until_it_is_a_standby,
}

/// One shard with a replica.
fn one_shard() -> ClusterSpec {
    ClusterSpec { shards: 1, shard_replicas: 1, ..ClusterSpec::default() }
}

async fn port_of_write(pool: &DistributedPool) -> u16 {
    port_of(&pool.write().shard_key(1).query_one(WHERE, &[]).await.unwrap())
}

async fn port_of_read(pool: &DistributedPool) -> u16 {
    port_of(&pool.read().shard_key(1).query_one(WHERE, &[]).await.unwrap())
}

async fn a_promoted_replica_is_followed_and_the_old_primary_shut_out_until_it_is_a_standby(
    door: Door,
) {
    let Some(world) = World::at_spec(door, &one_shard()) else { return };
    let pool = world.builder().primary_wait(Duration::from_secs(60)).build().unwrap();
    let (old, new) = (world.port("shard-0"), world.port("shard-0-r1"));
    assert_eq!(port_of_write(&pool).await, old);
    until("reads on the replica", async || port_of_read(&pool).await == new).await;
    let report = pool.health_check().await;
    let node = report.node("shard-0").unwrap();
    assert_eq!((node.role, node.timeline, node.fenced), (NodeRole::Worker, Some(1), false));

    world.kill("shard-0");
    let shard = pool.topology().shards()[0].id;
    until("it has no primary", async || !pool.topology().has_primary(shard)).await;
    // A statement and a lease wait; the promotion wakes them.
    let statement = tokio::spawn({
        let pool = pool.clone();
        async move { port_of_write(&pool).await }
    });
    let lease = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(QueryType::Write, Some(1.into())).await }
    });
    world.promote("shard-0-r1");
    assert_eq!(statement.await.unwrap(), new);
    assert_eq!(lease.await.unwrap().unwrap().route().role, NodeRole::Worker);
    assert_eq!(port_of_read(&pool).await, new);

    // It returns as it died, and takes writes; from nobody here.
    world.start_node("shard-0");
    let id = pool.topology().node_named("shard-0").unwrap().id;
    until("it answers", async || pool.topology().health(id).is_healthy()).await;
    for _ in 0..10 {
        assert_eq!((port_of_write(&pool).await, port_of_read(&pool).await), (new, new));
    }
    let report = pool.health_check().await;
    let node = report.node("shard-0").unwrap();
    assert_eq!((node.role, node.timeline, node.fenced), (NodeRole::Replica, Some(1), true));
    let node = report.node("shard-0-r1").unwrap();
    assert_eq!((node.role, node.timeline, node.fenced), (NodeRole::Worker, Some(2), false));
    let workers = serde_json::to_value(&report.workers).unwrap();
    assert_eq!(workers, serde_json::json!([{"shard_id": 0, "healthy": true}]));
    assert_eq!(pool.statistics().node("shard-0-r1").unwrap().role, NodeRole::Worker);

    world.rejoin("shard-0", "shard-0-r1");
    until("reads on the old primary", async || port_of_read(&pool).await == old).await;
    assert_eq!(port_of_write(&pool).await, new);
}

#[tokio::test]
async fn whoever_waits_for_a_primary_in_vain_is_told_what_was_heard_of_each_node() {
    let world = World::start_spec(&one_shard());
    let limit = Duration::from_millis(300);
    let pool = world.builder().primary_wait(limit).build().unwrap();
    let at_once = world.builder().primary_wait(Duration::ZERO).build().unwrap();
    world.kill("shard-0");
    for (pool, limit) in [(pool, limit), (at_once, Duration::ZERO)] {
        let shard = pool.topology().shards()[0].id;
        until("it has no primary", async || !pool.topology().has_primary(shard)).await;
        let error = pool.write().shard_key(1).execute("SELECT 1", &[]).await.unwrap_err();
        assert_eq!((error.kind(), error.tries()), (ErrorKind::NoPrimary, 1));
        assert_eq!((error.sqlstate(), error.was_sent()), (Some("08001"), false));
        assert_eq!(error.retry(), Retry::Elsewhere);
        let told = error.no_primary().unwrap();
        assert_eq!((told.group, told.limit), (shard, limit));
        assert!(told.waited >= limit);
        let text = error.to_string();
        for part in ["shard 0 has no primary", "routing.primary_wait", "refused", "a standby, up"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // Reads go on.
        pool.read().shard_key(1).query_one("SELECT 1", &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_node_that_does_not_tell_its_system_is_watched_all_the_same() {
    let world = World::start_spec(&ClusterSpec::default());
    world.sql("coordinator", "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM public");
    let pool = world.pool();
    let report = pool.health_check().await;
    let node = report.node("coordinator").unwrap();
    assert_eq!((node.healthy, node.in_recovery, node.timeline), (true, Some(false), None));

    world.sql("coordinator", "GRANT EXECUTE ON FUNCTION pg_control_system() TO public");
    // Asked anew on the next connection.
    let other = world.pool();
    let report = other.health_check().await;
    assert_eq!(report.node("coordinator").unwrap().timeline, Some(1));
}
