//! What is different with PgBouncer in transaction mode in front of each node, where each
//! transaction gets another backend and prepared statements stay behind on the last one.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::SinkExt;
use futures_util::future::join_all;
use pgherd::{DistributedPool, ErrorKind, QueryType, Retry};
use pgherd_lab::Link;
use pgherd_lab::link::Mode;
use world::{Door, Shape, WHERE, World, port_of, until};

/// A cluster, a PgBouncer in front of each of its nodes, and a pool that knows only those.
struct Pooled {
    pool: DistributedPool,
    world: World,
}

impl Pooled {
    /// `None` without PgBouncer on this machine: the test is skipped, and has said so.
    async fn start(shape: Shape) -> Option<Self> {
        let world = World::at(Door::PgBouncer, shape)?;
        let pooled = Self { pool: world.pool(), world };
        pooled.warm_up().await;
        Some(pooled)
    }

    /// Has PgBouncer open several backends on the coordinator.
    async fn warm_up(&self) {
        let write = self.pool.write();
        let sleeps = (0..4).map(|_| write.query("SELECT pg_sleep(0.3)", &[]));
        for slept in join_all(sleeps).await {
            slept.unwrap();
        }
    }
}

#[tokio::test]
async fn each_statement_runs_on_another_backend_and_finds_its_parameters() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let Pooled { pool, .. } = &pooled;
    let mut backends = BTreeSet::new();
    for n in 0..20 {
        let sql = "SELECT pg_backend_pid(), $1::int4 + 1, $2::text || '!'";
        let row = pool.write().query_one(sql, &[&n, &"a"]).await.unwrap();
        assert_eq!((row.get(1), row.get(2)), (n + 1, "a!"));
        backends.insert(row.get::<_, i32>(0));
    }
    assert!(backends.len() > 1, "only {backends:?} has answered: nothing was shown");

    let tasks = (0..40).map(|task| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for turn in 0..10 {
                let value = task * 100 + turn;
                let row = pool.read().query_one("SELECT $1::int4", &[&value]).await?;
                assert_eq!(row.get::<_, i32>(0), value, "an answer to somebody else");
            }
            Ok::<(), pgherd::Error>(())
        })
    });
    for task in join_all(tasks).await {
        task.unwrap().unwrap();
    }
    assert_eq!(pool.statistics().counters.errors, 0);
}

#[tokio::test]
async fn statements_that_arrive_in_parts_stay_on_one_backend() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let door = SocketAddr::from(([127, 0, 0, 1], pooled.world.door("coordinator")));
    let link = Link::to(door).unwrap();
    let port = link.address().port();
    let pool = pooled.world.builder_at(|_| port).pool_size(1).build().unwrap();
    pool.ddl().batch("CREATE TABLE t (n int4, x text)").await.unwrap();
    let opens = pool.statistics().opens;
    // Chunks of 16 KiB: the link cuts in the middle of statements, and PgBouncer has time to answer
    // those before.
    let delay = Duration::from_millis(20);
    link.set(Mode::Slow { delay, bytes_per_second: u32::MAX });
    let text = "x".repeat(10_000);
    let sql: Vec<_> =
        (0..10).map(|n| format!("INSERT INTO t VALUES ({n}, '{text}') RETURNING n")).collect();
    for _ in 0..3 {
        let pipeline = sql.iter().fold(pool.write().pipeline(), |all, sql| all.add(sql, &[]));
        let answers = pipeline.run().await.unwrap().into_iter().map(|answer| answer.unwrap());
        let answers: Vec<i32> = answers.map(|answer| answer.rows[0].get(0)).collect();
        assert_eq!(answers, Vec::from_iter(0..10));
    }
    assert_eq!(pool.statistics().opens, opens, "a connection was lost, and the rest tried again");
    pooled.world.assert_no_answer_went_astray();
}

#[tokio::test]
async fn pgbouncer_survives_cancels() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let Pooled { pool, world } = &pooled;
    let lease = pool.write().acquire().await.unwrap();
    for _ in 0..50 {
        let sleep = lease.batch_execute("SELECT pg_sleep(60)");
        let cancel = async {
            until("it sleeps", async || {
                let sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
                world.sql("coordinator", sleeping) == "1"
            })
            .await;
            lease.cancel().await.unwrap();
        };
        let (slept, ()) = tokio::join!(sleep, cancel);
        assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    }
}

#[tokio::test]
async fn writes_types_of_ones_own_copies_and_errors_are_as_without_it() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let Pooled { pool, .. } = &pooled;
    pool.ddl()
        .batch(
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); \
             CREATE TABLE t (a int4 PRIMARY KEY, m mood NOT NULL)",
        )
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1, 'happy')";
    for a in 0..10 {
        assert_eq!(pool.write().execute(insert, &[&a]).await.unwrap(), 1);
        // The driver asks PostgreSQL about a type that it does not know, in statements it keeps.
        let row = pool.write().query_one("SELECT m FROM t WHERE a = $1", &[&a]).await.unwrap();
        assert_eq!(row.columns()[0].type_().name(), "mood");
    }
    let error = pool.write().execute(insert, &[&3]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Database, Some("23505")));
    let error = pool.write().query("SELECT $1::int4 FROM nowhere", &[&3]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));

    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    let sink = lease.copy_in("COPY t FROM STDIN").await.unwrap();
    let mut sink = std::pin::pin!(sink);
    sink.send(&b"100\tsad\n101\tsad\n"[..]).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    let row = pool.write().query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 12);
}

#[tokio::test]
async fn a_lease_keeps_its_statements_and_its_transactions() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let Pooled { pool, .. } = &pooled;
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    let mut lease = pool.acquire(QueryType::Write, None).await.unwrap();
    let (double, pid) = (
        lease.prepare("SELECT $1::int4 * 2").await.unwrap(),
        lease.prepare("SELECT pg_backend_pid()").await.unwrap(),
    );
    let mut backends = BTreeSet::new();
    for n in 0..10 {
        assert_eq!(lease.query_one(&double, &[&n]).await.unwrap().get::<_, i32>(0), 2 * n);
        backends.insert(lease.query_one(&pid, &[]).await.unwrap().get::<_, i32>(0));
    }
    assert!(backends.len() > 1, "only {backends:?} has answered: nothing was shown");

    let transaction = lease.transaction().await.unwrap();
    let mut backends = BTreeSet::new();
    for a in 0..10 {
        transaction.execute("INSERT INTO t VALUES ($1)", &[&a]).await.unwrap();
        backends.insert(transaction.query_one(&pid, &[]).await.unwrap().get::<_, i32>(0));
    }
    assert_eq!(backends.len(), 1, "a transaction stays on its backend");
    let portal = transaction.bind(&double, &[&21]).await.unwrap();
    let other = transaction.query_one("SELECT $1::text", &[&"x"]).await.unwrap();
    assert_eq!(other.get::<_, &str>(0), "x");
    let rows = transaction.query_portal(&portal, 0).await.unwrap();
    assert_eq!(rows[0].get::<_, i32>(0), 42);
    transaction.commit().await.unwrap();
    drop(lease);
    let row = pool.write().query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 10);
}

#[tokio::test]
async fn reads_go_to_the_replicas_in_turn_and_keys_to_their_shards() {
    let shape = Shape { shards: 2, replicas: 2, ..Shape::default() };
    let Some(pooled) = Pooled::start(shape).await else { return };
    let Pooled { pool, world, .. } = &pooled;
    let mut reads: BTreeMap<u16, usize> = BTreeMap::new();
    for _ in 0..20 {
        *reads.entry(port_of(&pool.read().query_one(WHERE, &[]).await.unwrap())).or_default() += 1;
    }
    let expected: BTreeMap<_, _> =
        world.replica_ports().into_iter().map(|port| (port, 10)).collect();
    assert_eq!(reads, expected);
    // As in shards.rs, from Python's hashlib.
    for (key, shard) in [(2, "shard-0"), (4, "shard-0"), (1, "shard-1"), (5, "shard-1")] {
        let row = pool.write().shard_key(key).query_one(WHERE, &[]).await.unwrap();
        assert_eq!(port_of(&row), world.port(shard), "{key}");
    }
    let row = pool.write().query_one(WHERE, &[]).await.unwrap();
    assert_eq!(port_of(&row), world.port("coordinator"));
}

#[tokio::test]
async fn distributed_transactions_commit_and_roll_back_on_both_shards() {
    let shape = Shape { shards: 2, ..Shape::default() };
    let Some(pooled) = Pooled::start(shape).await else { return };
    let Pooled { pool, world, .. } = &pooled;
    pool.install_decision_table(&[]).await.unwrap();
    let keys = [2, 1];
    for (shard, key) in ["shard-0", "shard-1"].into_iter().zip(keys) {
        let sql = "CREATE TABLE accounts (id int4 PRIMARY KEY, balance int4 CHECK (balance >= 0))";
        world.sql_as_app(shard, &format!("{sql}; INSERT INTO accounts VALUES ({key}, 100)"));
    }
    let transfer = async |amount: i32| {
        let transaction = pool.distributed_transaction(keys).await.unwrap();
        let add = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
        for (key, change) in keys.into_iter().zip([-amount, amount]) {
            let cursor = transaction.for_key(key).unwrap();
            assert_eq!(cursor.execute(add, &[&key, &change]).await.unwrap(), 1);
        }
        transaction
    };
    let balances = || {
        ["shard-0", "shard-1"].map(|shard| {
            let sum = "SELECT sum(balance) || ' ' || \
                       (SELECT count(*) FROM pg_prepared_xacts) FROM accounts";
            world.sql(shard, sum)
        })
    };
    for _ in 0..5 {
        transfer(10).await.commit().await.unwrap();
    }
    transfer(10).await.rollback().await;
    drop(transfer(10).await);
    assert_eq!(balances(), ["50 0", "150 0"]);

    let transaction = transfer(10).await;
    let cursor = transaction.for_key(keys[0]).unwrap();
    let overdraw = "UPDATE accounts SET balance = balance - $1";
    let error = cursor.execute(overdraw, &[&1000]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("23514"));
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RolledBack);
    assert_eq!(balances(), ["50 0", "150 0"]);

    // Prepared by a process that died, found and finished by recovery.
    let gid = "pgherd_pgherd_deadbeef_1_1_1";
    world.sql_as_app(
        "shard-0",
        &format!(
            "BEGIN; UPDATE accounts SET balance = 0; SELECT pgherd.mark('{gid}', 'app'); \
             PREPARE TRANSACTION '{gid}_0'"
        ),
    );
    let recovered = pool.recover(Duration::ZERO).await;
    assert!(recovered.problems.is_empty(), "{recovered:?}");
    assert_eq!(balances(), ["50 0", "150 0"]);
}

#[tokio::test]
async fn a_health_check_sees_the_node_behind_the_pooler() {
    let shape = Shape { shards: 1, replicas: 1, ..Shape::default() };
    let Some(pooled) = Pooled::start(shape).await else { return };
    let Pooled { pool, world, .. } = &pooled;
    let report = pool.health_check().await;
    assert!(report.is_healthy(), "{report:?}");
    assert_eq!(report.node("coordinator-r1").unwrap().in_recovery, Some(true));
    assert_eq!(report.node("shard-0").unwrap().in_recovery, Some(false));
    // PgBouncer itself goes on.
    world.kill("shard-0");
    let report = pool.health_check().await;
    assert!(report.coordinator.healthy && report.replicas[0].healthy);
    assert!(!report.workers[0].healthy);
    world.start_node("shard-0");
    until("it is healthy again", async || pool.health_check().await.is_healthy()).await;
}

#[tokio::test]
async fn what_dies_behind_the_pooler_is_tried_again_when_that_is_safe() {
    let shape = Shape { replicas: 2, ..Shape::default() };
    let Some(pooled) = Pooled::start(shape).await else { return };
    let Pooled { pool, world, .. } = &pooled;
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();

    // Reads under way on a replica that dies: on the other one.
    let reads: Vec<_> = (0..8)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.read().query_one("SELECT $1::int4 FROM pg_sleep(3)", &[&n]).await
            })
        })
        .collect();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3)%' \
                   AND state = 'active' AND pid <> pg_backend_pid()";
    until("the reads run", async || world.sql("coordinator-r1", running) == "4").await;
    world.kill("coordinator-r1");
    for (n, read) in (0..).zip(reads) {
        assert_eq!(read.await.unwrap().unwrap().get::<_, i32>(0), n);
    }
    assert!(pool.statistics().counters.retries >= 4, "{:?}", pool.statistics().counters);
    world.start_node("coordinator-r1");
    let id = pool.topology().node_named("coordinator-r1").unwrap().id;
    until("it is in again", async || pool.topology().is_readable_replica(id)).await;

    // A write that was sent may have run, whatever the pooler says of it.
    let write = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write().execute("INSERT INTO t SELECT 1 FROM pg_sleep(3)", &[]).await }
    });
    until("the write runs", async || world.sql("coordinator", running) == "1").await;
    world.kill("coordinator");
    let error = write.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::ConnectionLost, true));
    assert_eq!((error.sqlstate(), error.retry()), (Some("08007"), Retry::No));
    world.start_node("coordinator");
    until("writes work again", async || {
        pool.write().execute("INSERT INTO t VALUES (2)", &[]).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn listening_is_refused_and_says_why() {
    let Some(pooled) = Pooled::start(Shape::default()).await else { return };
    let error = pooled.pool.listen(["news"]).await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Usage, Some("coordinator")));
    assert!(error.to_string().contains("behind a pooler"), "{error}");
}
