//! Basic pool operations, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::time::Duration;

use pgherd::{DistributedPool, ErrorKind, HealthMonitor, Key, NodeState, QueryType, Retry, Start};
use world::{Door, Shape, World, at_each_door, until};

at_each_door! {
    #[tokio::test]
    a_pool_is_built_lazily_and_refuses_settings_that_make_no_cluster,
    #[tokio::test]
    a_simple_query_gives_its_rows,
    #[tokio::test]
    writes_ddl_and_batches_take_effect,
    #[tokio::test]
    statistics_count_statements_by_kind,
    #[tokio::test]
    a_health_check_asks_every_node,
    #[tokio::test]
    a_closed_pool_refuses_and_leaves_no_session,
}

async fn a_pool_is_built_lazily_and_refuses_settings_that_make_no_cluster(door: Door) {
    let error = DistributedPool::builder().worker(1, "h", 1).build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    let empty = DistributedPool::builder().coordinator("h", 1).pool_size(0);
    let error = empty.start(Start::FailFast).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("pool.size: 0 is out of range"), "{error}");
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    let statistics = pool.statistics();
    assert_eq!((statistics.opens, statistics.acquires, statistics.counters.total), (0, 0, 0));
    assert!(!format!("{pool:?} {:?}", pool.settings()).contains(world::PASSWORD));
}

async fn a_simple_query_gives_its_rows(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    let rows = pool
        .query(QueryType::Read, "SELECT n, 'x' || n FROM generate_series(1, $1::int4) n", &[&3])
        .await
        .unwrap();
    let rows: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows, [(1, "x1".to_owned()), (2, "x2".to_owned()), (3, "x3".to_owned())]);
    let error = pool.read().query_one("SELECT 1 WHERE false", &[]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "one row was expected from coordinator and 0 came: SELECT 1 WHERE false"
    );
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Usage, Retry::No));
}

async fn writes_ddl_and_batches_take_effect(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    pool.ddl()
        .batch("CREATE TABLE t (a int4 PRIMARY KEY); INSERT INTO t VALUES (0)")
        .await
        .unwrap();
    let sql = "INSERT INTO t SELECT generate_series(1, 10)";
    assert_eq!(pool.write().execute(sql, &[]).await.unwrap(), 10);
    assert_eq!(pool.distributed().execute("DELETE FROM t WHERE a > 8", &[]).await.unwrap(), 2);
    let auto = pool.auto("SELECT count(*) FROM t");
    assert_eq!(auto.query_type(), QueryType::Read);
    assert_eq!(auto.query_one(&[]).await.unwrap().get::<_, i64>(0), 9);
    assert_eq!(pool.auto("INSERT INTO t VALUES (99)").query_type(), QueryType::Write);

    let error = pool.write().execute("INSERT INTO t VALUES (0)", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Database, Some("23505")));
    assert_eq!((error.node(), error.tries()), (Some("coordinator"), 1));
    assert_eq!(error.db_error().unwrap().constraint(), Some("t_pkey"));
}

async fn statistics_count_statements_by_kind(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    for _ in 0..20 {
        pool.read().query("SELECT 1", &[]).await.unwrap();
    }
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    pool.write().execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    pool.write().execute("nonsense", &[]).await.unwrap_err();
    // The error is handed out before the backend has said that it is ready for more.
    let is_back = async || pool.statistics().node("coordinator").unwrap().busy == 0;
    until("the backend is back", is_back).await;
    let mut lease = pool.acquire(QueryType::Write, None::<Key>).await.unwrap();
    let transaction = lease.transaction().await.unwrap();
    transaction.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    drop(lease);

    let statistics = pool.statistics();
    let counters = statistics.counters;
    // 20 reads; of the writes three statements and BEGIN, INSERT, COMMIT.
    assert_eq!((counters.total, counters.reads, counters.writes), (26, 20, 6));
    assert_eq!((counters.errors, counters.retries), (1, 0));
    assert_eq!((statistics.acquires, statistics.opens), (24, 1));
    assert!(statistics.reuse_ratio > 0.95, "{}", statistics.reuse_ratio);
    assert!(statistics.mean_latency_seconds > 0.0 && statistics.mean_latency_seconds < 1.0);
    let reads = statistics.latency(QueryType::Read);
    assert!(reads.count > 0 && reads.p50_seconds > 0.0, "{reads:?}");
    assert!(reads.p50_seconds <= reads.p99_seconds && reads.p99_seconds <= reads.max_seconds);
    // The statement that failed is not among what the node answered.
    let counts = QueryType::ALL.map(|query_type| statistics.latency(query_type).count);
    assert_eq!(counts, [20, 2, 1, 0]);
    assert_eq!(statistics.node("coordinator").unwrap().latency.count, 22);
    assert_eq!(statistics.node("coordinator").unwrap().acquires, 24);
    let json = serde_json::to_value(&statistics).unwrap();
    assert_eq!((&json["total"], &json["reads"]), (&26.into(), &20.into()));
}

async fn a_health_check_asks_every_node(door: Door) {
    let Some(world) = World::at(door, Shape { shards: 1, replicas: 1, ..Shape::default() }) else {
        return;
    };
    let pool = world.pool();
    let report = pool.health_check().await;
    assert!(report.is_healthy(), "{report:?}");
    let json = serde_json::to_value(&report).unwrap();
    let coordinator = serde_json::json!(
        {"host": "127.0.0.1", "port": world.door("coordinator"), "healthy": true}
    );
    assert_eq!(json["coordinator"], coordinator);
    assert_eq!(json["workers"], serde_json::json!([{"shard_id": 0, "healthy": true}]));
    assert_eq!(json["replicas"], serde_json::json!([{"host": "127.0.0.1", "healthy": true}]));
    assert_eq!(report.node("coordinator-r1").unwrap().in_recovery, Some(true));

    world.kill("shard-0");
    let report = pool.health_check().await;
    assert!(report.coordinator.healthy && report.replicas[0].healthy);
    assert!(!report.workers[0].healthy);
    assert!(report.node("shard-0").unwrap().last_error.is_some());
}

async fn a_closed_pool_refuses_and_leaves_no_session(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    pool.read().query("SELECT 1", &[]).await.unwrap();
    pool.close().await;
    let error = pool.read().query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Acquire, Retry::No));
    lease.query("SELECT 1", &[]).await.unwrap();
    drop(lease);
    until("all sessions end", async || world.sessions("coordinator").await == 0).await;
}

// What follows goes beyond the six: how a lease ends.

#[tokio::test]
async fn a_backend_that_is_left_in_a_transaction_is_never_lent_again() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    let process = "SELECT pg_backend_pid()";
    let pid = async |pool: &DistributedPool| -> i32 {
        pool.write().query_one(process, &[]).await.unwrap().get(0)
    };
    let mut before = pid(&pool).await;
    assert_eq!(pid(&pool).await, before, "a clean backend is used again");
    for sql in ["BEGIN", "BEGIN; SELECT 1/0"] {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        let _ = lease.batch_execute(sql).await;
        drop(lease);
        let after = pid(&pool).await;
        assert_ne!(after, before, "{sql}");
        before = after;
    }
    // A transaction left half-way is rolled back by the driver, and the backend is kept.
    let mut lease = pool.acquire(QueryType::Write, None).await.unwrap();
    drop(lease.transaction().await.unwrap());
    drop(lease);
    assert_eq!(pid(&pool).await, before, "rolled back, so clean");
}

#[tokio::test]
async fn a_future_that_is_dropped_leaves_nothing_running_and_nothing_behind() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    let sleep = pool.read();
    let sleep = sleep.query("SELECT pg_sleep(600)", &[]);
    tokio::time::timeout(Duration::from_millis(300), sleep).await.unwrap_err();
    // The only slot is free again, well before the sleep would have ended: an acquire waits 5 s.
    pool.read().query("SELECT 1", &[]).await.unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' \
                   AND state = 'active'";
    until("the sleep is cancelled", async || world.sql("coordinator", running) == "0").await;

    pool.ddl().batch("CREATE TABLE t ()").await.unwrap();
    // BEGIN was queued but its future is gone: nobody may get a backend inside a transaction.
    for _ in 0..50 {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        {
            let begin = lease.batch_execute("BEGIN");
            let mut begin = std::pin::pin!(begin);
            assert!(futures_util::poll!(begin.as_mut()).is_pending());
        }
        drop(lease);
        // Refused inside a transaction block.
        pool.write().batch("VACUUM t").await.unwrap();
    }
}

#[tokio::test]
async fn an_acquire_that_waits_too_long_says_why() {
    let world = World::start(Shape::default());
    let limit = Duration::from_millis(200);
    let pool = world.builder().pool_size(1).acquire_timeout(limit).build().unwrap();
    let held = pool.acquire(QueryType::Write, None).await.unwrap();
    let error = pool.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Acquire, false));
    assert_eq!((error.node(), error.retry()), (Some("coordinator"), Retry::Elsewhere));
    let text = error.to_string();
    assert!(text.contains("limit 200ms") && text.contains("1 busy, 0 idle, 0 opening"), "{text}");
    drop(held);
    pool.write().execute("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_not_tried_again_and_not_printed() {
    let world = World::start(Shape::default());
    let pool = world.builder().password("wrong password").build().unwrap();
    let error = pool.read().query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Acquire, Some("28P01")));
    assert_eq!((error.retry(), error.tries()), (Retry::No, 1));
    let text = format!("{error:#} {error:?} {:?}", pool.settings());
    assert!(text.contains("refused the login") && !text.contains("wrong password"), "{text}");
}

#[tokio::test]
async fn a_copy_leaves_a_clean_backend() {
    use futures_util::SinkExt;
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    for _ in 0..3 {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        let sink = lease.copy_in("COPY t FROM STDIN").await.unwrap();
        let mut sink = std::pin::pin!(sink);
        sink.send(&b"1\n2\n"[..]).await.unwrap();
        assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    }
    let count = pool.read().query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 6);
    assert_eq!(pool.statistics().opens, 1);
}

#[tokio::test]
async fn the_monitor_works_without_a_pool_and_ends_when_told() {
    let world = World::start(Shape { replicas: 1, ..Shape::default() });
    let settings = Arc::new(world.builder().settings());
    let topology = settings.topology().unwrap();
    let monitor = HealthMonitor::spawn(settings, topology);
    let shared = monitor.shared();
    let replica = monitor.snapshot().node_named("coordinator-r1").unwrap().id;
    until("the replica is known", async || {
        monitor.snapshot().health(replica).state == NodeState::Up
    })
    .await;
    let health = shared.load().health(replica).clone();
    assert_eq!(health.in_recovery, Some(true));
    assert!(health.rtt.is_some());

    world.kill("coordinator-r1");
    // Failures of traffic alone take it out, and say why.
    for _ in 0..3 {
        monitor.report_failure(replica, "a test says so");
    }
    assert!(!monitor.snapshot().is_readable_replica(replica));
    let generation = monitor.snapshot().generation();
    monitor.shutdown().await;
    let answers = monitor.probe_all().await;
    assert!(answers.iter().all(|answer| !answer.is_ok()));
    assert!(monitor.snapshot().generation() >= generation);
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgherd/%'";
    until("its sessions end", async || world.sql("coordinator", count) == "0").await;
}
