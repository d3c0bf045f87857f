//! Many users at once, against a real server.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgherd::QueryType;
use world::{Door, Shape, World, at_each_door, until};

at_each_door! {
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    many_tasks_share_few_backends_and_none_fails,
}

async fn many_tasks_share_few_backends_and_none_fails(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.builder().pool_size(10).build().unwrap();
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|task| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for turn in 0..20 {
                    let value = task * 100 + turn;
                    let row = pool.read().query_one("SELECT $1::int4", &[&value]).await?;
                    assert_eq!(row.get::<_, i32>(0), value, "an answer to somebody else");
                    pool.write().execute("INSERT INTO t VALUES ($1)", &[&value]).await?;
                }
                Ok::<(), pgherd::Error>(())
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.sql("coordinator", "SELECT count(DISTINCT a) FROM t"), "1000");
    let statistics = pool.statistics();
    assert_eq!((statistics.counters.total, statistics.counters.errors), (2001, 0));
    assert!(statistics.opens <= 10, "{} opened", statistics.opens);
    assert!(statistics.reuse_ratio > 0.95, "{}", statistics.reuse_ratio);
}

// What follows goes beyond the one.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acquires_that_are_dropped_while_they_wait_lose_no_backend() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(2).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let (pool, stop) = (pool.clone(), stop.clone());
            tokio::spawn(async move {
                let limit = Duration::from_micros(200 * (task % 5));
                while !stop.load(Ordering::Relaxed) {
                    let acquire = pool.acquire(QueryType::Write, None);
                    let lease = tokio::time::timeout(limit, acquire).await;
                    tokio::task::yield_now().await;
                    drop(lease);
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    until("all backends are idle again", async || {
        let node = &pool.statistics().nodes[0];
        (node.busy, node.opening, node.waiting, node.idle) == (0, 0, 0, 2)
    })
    .await;
    let held = [
        pool.acquire(QueryType::Write, None).await.unwrap(),
        pool.acquire(QueryType::Write, None).await.unwrap(),
    ];
    assert_eq!(pool.statistics().opens, 2);
    drop(held);
}
