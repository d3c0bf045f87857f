//! Retries and failover, against real servers that are killed.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgherd::{ErrorKind, Jitter, QueryType, Retry, RetryConfig};
use world::{Door, Shape, WHERE, World, at_each_door, port_of, until};

at_each_door! {
    #[tokio::test]
    an_unreachable_node_is_tried_five_times_by_the_schedule,
    #[tokio::test]
    a_statement_survives_the_restart_of_its_node_when_that_is_safe,
}

async fn an_unreachable_node_is_tried_five_times_by_the_schedule(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let plain = RetryConfig { jitter: Jitter::None, ..RetryConfig::default() };
    let pool = world.builder().retry(plain).build().unwrap();
    world.kill("coordinator");
    let error = pool.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (ErrorKind::Acquire, 5));
    assert_eq!((error.sqlstate(), error.was_sent()), (Some("08001"), false));
    assert!(format!("{error:#}").contains("refused"), "{error:#}");
    let counters = pool.statistics().counters;
    assert_eq!((counters.total, counters.errors, counters.retries), (1, 1, 4));

    let once = world.builder().retry(RetryConfig::never()).build().unwrap();
    let error = once.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.tries(), once.statistics().counters.retries), (1, 0));
}

#[tokio::test]
async fn retries_that_would_multiply_an_outage_are_not_made() {
    let world = World::start(Shape::default());
    let soon = RetryConfig { initial_backoff: Duration::from_millis(1), ..RetryConfig::default() };
    let change = |settings: &mut pgherd::Settings| {
        (settings.retry.budget_ratio, settings.retry.budget_burst) = (0.0, 10);
    };
    let pool = world.builder().retry(soon).with_settings(change).build().unwrap();
    world.kill("coordinator");
    let mut tries = 0;
    for _ in 0..20 {
        tries += pool.write().execute("SELECT 1", &[]).await.unwrap_err().tries();
    }
    // Of 80 retries ten, and one more for each second that this takes.
    let statistics = pool.statistics();
    let retries = statistics.counters.retries;
    assert_eq!(u64::from(tries), 20 + retries);
    assert!((10..40).contains(&retries) && statistics.refused_retries >= 10, "{statistics:?}");
}

async fn a_statement_survives_the_restart_of_its_node_when_that_is_safe(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    // The pooled backend is dead, so a write finds a lost connection and is sent anew.
    world.terminate_pooled("coordinator");
    assert_eq!(pool.write().execute("INSERT INTO t VALUES (1)", &[]).await.unwrap(), 1);
    // The same after a crash and a restart, with the death not noticed in between.
    let held = pool.acquire(QueryType::Write, None).await.unwrap();
    world.kill("coordinator");
    world.start_node("coordinator");
    drop(held);
    assert_eq!(pool.write().execute("INSERT INTO t VALUES (2)", &[]).await.unwrap(), 1);

    // A read in mid-flight is run again; a write is not, because it may have happened.
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(0.7)%' \
                   AND state = 'active' AND pid <> pg_backend_pid()";
    let read = tokio::spawn({
        let pool = pool.clone();
        async move { pool.read().query_one("SELECT 7 FROM pg_sleep(0.7)", &[]).await }
    });
    until("the read runs", async || world.sql("coordinator", running) == "1").await;
    world.kill("coordinator");
    world.start_node("coordinator");
    assert_eq!(read.await.unwrap().unwrap().get::<_, i32>(0), 7);

    let write = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write().execute("INSERT INTO t SELECT 3 FROM pg_sleep(0.7)", &[]).await }
    });
    until("the write runs", async || world.sql("coordinator", running) == "1").await;
    world.kill("coordinator");
    world.start_node("coordinator");
    let error = write.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::ConnectionLost, true));
    assert_eq!((error.sqlstate(), error.retry()), (Some("08007"), Retry::No));
    assert_eq!(error.tries(), 1);
}

// What follows goes beyond the two.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_killed_under_load_fails_no_read_and_comes_back() {
    let world = World::start(Shape { replicas: 2, ..Shape::default() });
    let pool = world.pool();
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let readers: Vec<_> = (0..16)
        .map(|_| {
            let (pool, stop, done) = (pool.clone(), stop.clone(), done.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    pool.read().query_one(WHERE, &[]).await?;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                Ok::<(), pgherd::Error>(())
            })
        })
        .collect();
    let more = async |count: u64| {
        let goal = done.load(Ordering::Relaxed) + count;
        until("reads go on", async || done.load(Ordering::Relaxed) >= goal).await;
    };
    more(500).await;
    world.kill("coordinator-r1");
    more(500).await;
    let id = pool.topology().node_named("coordinator-r1").unwrap().id;
    until("it is out", async || !pool.topology().health(id).is_healthy()).await;
    more(500).await;
    world.start_node("coordinator-r1");
    until("it is in", async || pool.topology().is_readable_replica(id)).await;
    more(200).await;
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap().unwrap();
    }
    let counters = pool.statistics().counters;
    assert_eq!(counters.errors, 0);
    assert!(counters.retries > 0, "the kill hit no read: {counters:?}");

    let port = world.port("coordinator-r1");
    until("it serves reads", async || {
        port_of(&pool.read().query_one(WHERE, &[]).await.unwrap()) == port
    })
    .await;
}

#[tokio::test]
async fn a_deadline_covers_the_wait_the_tries_and_the_statement() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    let soon = Duration::from_millis(200);
    let sleep = "SELECT pg_sleep(300)";
    let active = "SELECT count(*) FROM pg_stat_activity \
                  WHERE query LIKE '%pg_sleep(300)%' AND state = 'active' AND pid <> pg_backend_pid()";

    // The statement itself: cancelled, and the next one is served.
    let error = pool.read().deadline(soon).query(sleep, &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    assert_eq!((error.node(), error.was_sent()), (Some("coordinator"), true));
    assert_eq!(error.retry(), Retry::Elsewhere);
    until("it is cancelled", async || world.sql("coordinator", active) == "0").await;
    let error = pool.write().deadline(soon).query(sleep, &[]).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.retry()), (Some("08007"), Retry::No), "{error}");
    assert!(error.to_string().contains("200ms"), "{error}");

    // The wait for a backend.
    let held = pool.acquire(QueryType::Write, None).await.unwrap();
    let error = pool.write().deadline(soon).execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.was_sent()), (Some("57014"), false), "{error}");
    let error = pool.write().deadline(soon).acquire().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    drop(held);
    let one: i32 =
        pool.write().deadline(Duration::from_secs(60)).query_scalar("SELECT 1", &[]).await.unwrap();
    assert_eq!(one, 1);

    // Further tries: the fifth would come after 1.5 s. By the setting, for a change.
    let set = |settings: &mut pgherd::Settings| settings.retry.deadline = soon;
    let hurried = world.builder().with_settings(set).build().unwrap();
    world.kill("coordinator");
    let error = hurried.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Deadline, false), "{error}");
    assert!(error.tries() < 5, "{error:?}");
    // It failed before its time was up, and the error says how.
    assert_eq!(error.sqlstate(), Some("57014"), "{error}");
    assert!(format!("{error:#}").contains("refused"), "{error:#}");

    let error = hurried.listen(["news"]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
}

#[tokio::test]
async fn a_deadline_between_two_tries_is_no_doubt_about_a_write_that_was_refused() {
    let world = World::start(Shape::default());
    let patient = RetryConfig {
        initial_backoff: Duration::from_secs(60),
        max_backoff: Duration::from_secs(60),
        ..RetryConfig::default()
    };
    let pool = world.builder().retry(patient).build().unwrap();
    let refused = "DO $$ BEGIN RAISE SQLSTATE '53300' USING MESSAGE = 'no, thanks'; END $$";
    let error = pool.write().deadline(Duration::from_secs(2)).batch(refused).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Deadline, false), "{error:#}");
    assert_eq!((error.sqlstate(), error.retry()), (Some("57014"), Retry::Elsewhere));
    assert!(format!("{error:#}").contains("no, thanks"), "{error:#}");
}

#[tokio::test]
async fn an_error_tells_each_cause_once_with_detail_and_hint() {
    let world = World::start(Shape::default());
    let pool = world.pool();
    let raise = "DO $$ BEGIN RAISE 'too few' USING DETAIL = 'two', HINT = 'take three'; END $$";
    let error = pool.write().batch(raise).await.unwrap_err();
    assert_eq!(error.to_string(), "ERROR from coordinator: too few (SQLSTATE P0001)");
    assert_eq!(format!("{error:#}"), format!("{error}; DETAIL: two; HINT: take three"));
    let error = pool.read().query("SELECT $1::int4", &[&"text"]).await.unwrap_err();
    assert_eq!(format!("{error:#}").matches("serializing parameter 0").count(), 1, "{error:#}");
    world.kill("coordinator");
    let once = world.builder().retry(RetryConfig::never()).build().unwrap();
    let error = once.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(format!("{error:#}").matches("refused").count(), 1, "{error:#}");
}
