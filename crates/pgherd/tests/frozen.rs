//! Statements under way on a node that freezes, against real servers that are stopped.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt, TryStreamExt};
use pgherd::{DistributedPool, Error, ErrorKind, QueryType, Retry, ShardId};
use pgherd_lab::ClusterSpec;
use tokio::task::JoinHandle;
use world::{Shape, World, port_of, until};

/// Gives a node up soon.
fn impatient(world: &World) -> DistributedPool {
    let set = |settings: &mut pgherd::Settings| {
        settings.health.timeout = Duration::from_millis(500);
        settings.health.cut_after = Duration::from_secs(1);
    };
    world.builder().primary_wait(Duration::from_secs(60)).with_settings(set).build().unwrap()
}

/// What runs on a node for pools, other than their probes.
fn running(world: &World, node: &str) -> usize {
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' \
                 AND application_name NOT LIKE 'pgherd/%' AND state = 'active'";
    world.sql(node, count).parse().unwrap()
}

async fn given_up<T: std::fmt::Debug + Send + 'static>(
    task: JoinHandle<Result<T, Error>>,
) -> Error {
    task.await.unwrap().unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_leave_a_replica_that_freezes_and_run_elsewhere_unless_a_row_was_handed_out() {
    let world = World::start(Shape { replicas: 2, ..Shape::ONE });
    let pool = impatient(&world);
    let slow = "SELECT inet_server_port() FROM pg_sleep(5)";
    let spawn = |times: usize| -> Vec<JoinHandle<Result<u16, Error>>> {
        let one = |_| {
            let pool = pool.clone();
            tokio::spawn(
                async move { pool.read().query_one(slow, &[]).await.map(|row| port_of(&row)) },
            )
        };
        (0..times).map(one).collect()
    };
    let statements = spawn(4);
    let stream = tokio::spawn({
        let pool = pool.clone();
        async move {
            let rows = pool.read().query_stream(slow, &[]).await?;
            rows.map_ok(|row| port_of(&row)).try_collect::<Vec<_>>().await
        }
    });
    let pipelines: Vec<_> = (0..2)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let pipeline = pool.read().pipeline().add("SELECT 1", &[]).add(slow, &[]);
                let mut answers = pipeline.run().await?;
                Ok::<_, Error>(port_of(&answers.pop().unwrap()?.rows[0]))
            })
        })
        .collect();
    let endless = "SELECT generate_series(1, 1000000000000)";
    let mut begun = Vec::new();
    for _ in 0..2 {
        let mut rows = pool.read().query_stream(endless, &[]).await.unwrap();
        rows.next().await.unwrap().unwrap();
        begun.push(rows);
    }
    let mut copy = pool.read().copy_out(&format!("COPY ({endless}) TO STDOUT")).await.unwrap();
    copy.next().await.unwrap().unwrap();
    let mut rows = begun.into_iter().find(|rows| rows.node() == "coordinator-r1").unwrap();
    until("both work", async || {
        ["coordinator-r1", "coordinator-r2"].iter().all(|node| running(&world, node) >= 3)
    })
    .await;

    world.freeze("coordinator-r1");
    let frozen = world.port("coordinator-r1");
    for statement in statements.into_iter().chain(pipelines) {
        assert_ne!(statement.await.unwrap().unwrap(), frozen);
    }
    assert_ne!(stream.await.unwrap().unwrap(), [frozen]);
    assert!(pool.statistics().counters.retries >= 3, "{:?}", pool.statistics().counters);

    let error = loop {
        if let Err(error) = rows.next().await.unwrap() {
            break error;
        }
    };
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::ConnectionLost, Some("08006")));
    assert_eq!((error.node(), error.retry()), (Some("coordinator-r1"), Retry::Elsewhere));
    assert!(rows.next().await.is_none());
    if copy.node() == "coordinator-r1" {
        let error = loop {
            if let Err(error) = copy.next().await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    }
    drop((rows, copy));
    let node = || pool.statistics().node("coordinator-r1").unwrap().clone();
    until("its backends are closed", async || node().busy + node().idle == 0).await;

    world.thaw("coordinator-r1");
    until("it serves again", async || {
        let read = pool.read().query_one(world::WHERE, &[]).await;
        port_of(&read.unwrap()) == frozen
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_on_a_frozen_primary_end_once_another_has_taken_its_place() {
    let spec = ClusterSpec { shards: 1, shard_replicas: 1, ..ClusterSpec::default() };
    let world = World::start_spec(&spec);
    let pool = impatient(&world);
    world.sql_as_app(
        "shard-0",
        "CREATE TABLE t (id int4, slow bool); \
         CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.slow THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION wait()",
    );
    world.wait_replayed();
    let shard = ShardId(0);
    let slow = "INSERT INTO t SELECT 1, false FROM pg_sleep(600)";

    let begin = async || pool.transaction().shard(shard).await.unwrap();
    let (at_work, committing) = (begin().await, begin().await);
    committing.execute("INSERT INTO t VALUES (2, true)", &[]).await.unwrap();
    let idle = begin().await;
    idle.execute("INSERT INTO t VALUES (3, false)", &[]).await.unwrap();
    let mut copy = pool.write().shard(shard).copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("4\tf\n".into()).await.unwrap();
    let lease = pool.write().shard(shard).acquire().await.unwrap();

    let write = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write().shard(shard).execute(slow, &[]).await }
    });
    let pipeline = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write().shard(shard).pipeline().add(slow, &[]).run().await }
    });
    let statement = tokio::spawn(async move { at_work.execute(slow, &[]).await });
    let commit = tokio::spawn(committing.commit());
    let on_lease = tokio::spawn(async move { lease.execute(slow, &[]).await });
    until("all run", async || running(&world, "shard-0") >= 5).await;

    world.freeze("shard-0");
    world.promote("shard-0-r1");

    let error = given_up(write).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::ConnectionLost, Some("08007")));
    assert_eq!((error.node(), error.was_sent()), (Some("shard-0"), true));
    assert_eq!(error.retry(), Retry::No);
    let answers = pipeline.await.unwrap().unwrap();
    let error = answers.into_iter().next().unwrap().unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::ConnectionLost, Some("08007")));
    let error = given_up(statement).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::RolledBack, Some("08006")), "{error}");
    let error = given_up(commit).await;
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    assert!(on_lease.await.unwrap().unwrap_err().is_closed());
    // Those who waited for nothing are told when they want something.
    let error = idle.execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RolledBack, "{error}");
    drop(idle);
    let error = copy.finish().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    let node = || pool.statistics().node("shard-0").unwrap().clone();
    until("its backends are closed", async || node().busy + node().idle == 0).await;

    // It is still frozen, and nobody waits for it.
    let row = pool.write().shard(shard).query_one(world::WHERE, &[]).await.unwrap();
    assert_eq!(port_of(&row), world.port("shard-0-r1"));
    assert_eq!(world.sql("shard-0-r1", "SELECT count(*) FROM t"), "0");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_on_a_primary_that_nobody_has_replaced_is_answered_when_it_thaws() {
    let world = World::start(Shape { replicas: 1, ..Shape::ONE });
    let pool = impatient(&world);
    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    let statement = tokio::spawn(async move {
        lease.query_one("SELECT 7 FROM pg_sleep(1)", &[]).await.map(|row| row.get::<_, i32>(0))
    });
    until("it runs", async || running(&world, "coordinator") == 1).await;
    world.freeze("coordinator");
    let group = pool.topology().coordinator().id;
    until("it is out", async || !pool.topology().has_primary(group)).await;
    // Each takes as long as a probe of the frozen node.
    for _ in 0..4 {
        assert!(!pool.health_check().await.node("coordinator").unwrap().healthy);
    }
    world.thaw("coordinator");
    assert_eq!(statement.await.unwrap().unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_for_long_on_a_node_that_answers_its_probes_is_left_alone() {
    let world = World::start(Shape { replicas: 2, ..Shape::ONE });
    let set = |settings: &mut pgherd::Settings| {
        settings.health.cut_after = Duration::from_millis(1);
    };
    let pool = world.builder().with_settings(set).build().unwrap();
    let slow = "SELECT inet_server_port() FROM pg_sleep(3)";
    let row = pool.read().query_one(slow, &[]).await.unwrap();
    assert!(world.replica_ports().contains(&port_of(&row)));
    assert_eq!(pool.statistics().counters.retries, 0);
}
