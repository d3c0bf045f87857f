//! Which of several replicas serves a read, against real servers with streaming replication.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use pgherd::{Balance, DistributedPool, ErrorKind, QueryType, Settings};
use world::{Shape, WHERE, World, port_of, until};

const SHAPE: Shape = Shape { replicas: 2, ..Shape::ONE };

/// Reads on the first replica, on the second, and elsewhere.
async fn reads(world: &World, pool: &DistributedPool, count: usize) -> [usize; 3] {
    let replicas = world.replica_ports();
    let mut counts = [0; 3];
    for _ in 0..count {
        let port = port_of(&pool.read().query_one(WHERE, &[]).await.unwrap());
        counts[replicas.iter().position(|replica| *replica == port).unwrap_or(2)] += 1;
    }
    counts
}

fn pool_with(world: &World, change: impl FnOnce(&mut Settings)) -> DistributedPool {
    world.builder().with_settings(change).build().unwrap()
}

fn node<'s>(settings: &'s mut Settings, name: &str) -> &'s mut pgherd::NodeSettings {
    settings.nodes.iter_mut().find(|node| node.name == name).unwrap()
}

#[tokio::test]
async fn weights_say_how_often_a_replica_is_read() {
    let world = World::start(SHAPE);
    let pool = pool_with(&world, |settings| {
        settings.routing.balance = Balance::Weighted;
        node(settings, "coordinator-r1").weight = 3;
    });
    let [first, second, elsewhere] = reads(&world, &pool, 80).await;
    assert!((58..=62).contains(&first) && elsewhere == 0, "{first} and {second}");
}

#[tokio::test]
async fn the_replica_with_the_fewest_borrowed_backends_is_read() {
    let world = World::start(SHAPE);
    let pool = pool_with(&world, |settings| settings.routing.balance = Balance::LeastBusy);
    let lease = pool.acquire(QueryType::Read, None).await.unwrap();
    let borrowed = world.port(lease.node());
    let free = *world.replica_ports().iter().find(|port| **port != borrowed).unwrap();
    for _ in 0..10 {
        assert_eq!(port_of(&pool.read().query_one(WHERE, &[]).await.unwrap()), free);
    }
    drop(lease);
    let counts = reads(&world, &pool, 10).await;
    assert_eq!(counts, [5, 5, 0]);
}

#[tokio::test]
async fn a_slow_replica_is_read_less() {
    let world = World::start(SHAPE);
    let pool = pool_with(&world, |settings| settings.routing.balance = Balance::Latency);
    let slow = *world.replica_ports().first().unwrap();
    // As a replica would be that reads from a cold disk.
    let sql = format!(
        "SELECT inet_server_port() FROM pg_sleep(CASE inet_server_port() WHEN {slow} \
         THEN 0.1 ELSE 0 END)"
    );
    let mut counts: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..200 {
        let row = pool.read().query_one(&sql, &[]).await.unwrap();
        *counts.entry(port_of(&row)).or_default() += 1;
    }
    assert!(counts[&slow] < 60, "{counts:?}");
}

#[tokio::test]
async fn replicas_of_the_own_zone_are_read_and_the_others_only_when_those_are_full_or_gone() {
    let world = World::start(SHAPE);
    let pool = pool_with(&world, |settings| {
        settings.routing.zone = "here".to_owned();
        settings.routing.zone_limit = 2;
        node(settings, "coordinator-r1").zone = "there".to_owned();
        node(settings, "coordinator-r2").zone = "here".to_owned();
    });
    assert_eq!(reads(&world, &pool, 10).await, [0, 10, 0]);
    let _leases = [
        pool.acquire(QueryType::Read, None).await.unwrap(),
        pool.acquire(QueryType::Read, None).await.unwrap(),
    ];
    assert_eq!(reads(&world, &pool, 10).await, [5, 5, 0], "two are borrowed: no more room");
    world.kill("coordinator-r2");
    let id = pool.topology().node_named("coordinator-r2").unwrap().id;
    until("it is out", async || !pool.topology().is_readable_replica(id)).await;
    assert_eq!(reads(&world, &pool, 10).await, [10, 0, 0]);
}

#[tokio::test]
async fn reads_fail_rather_than_run_on_the_primary_when_that_is_the_setting() {
    let world = World::start(Shape { replicas: 1, ..SHAPE });
    let pool = pool_with(&world, |settings| settings.routing.fall_back_to_primary = false);
    assert_eq!(reads(&world, &pool, 3).await, [3, 0, 0]);
    world.kill("coordinator-r1");
    let id = pool.topology().node_named("coordinator-r1").unwrap().id;
    until("it is out", async || !pool.topology().is_readable_replica(id)).await;
    let error = pool.read().query_one(WHERE, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Route, "{error}");
    pool.write().query_one(WHERE, &[]).await.unwrap();
}
