//! Transactions that have their time, waiting included, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pgherd::{
    CommitStep, DistributedPool, Error, ErrorKind, QueryType, Retry, RetryConfig, ShardId,
};
use pgherd_lab::ClusterSpec;
use world::{Shape, World, until};

/// Long enough for what a test expects to happen before, also on a busy machine.
const SOON: Duration = Duration::from_secs(4);

/// A row with `true` makes whoever commits it wait for ten minutes.
const SLOW_COMMIT: &str = "CREATE TABLE t (id int4, slow bool); \
     CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
     'BEGIN IF NEW.slow THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END'; \
     CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
     FOR EACH ROW EXECUTE FUNCTION wait()";

/// Sessions of pools that are in a transaction, or run anything.
const AT_WORK: &str = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' \
     AND application_name NOT LIKE 'pgherd/%' AND state <> 'idle'";

async fn nothing_stays(world: &World, pool: &DistributedPool, node: &str) {
    until("nothing is left at work", async || world.sql(node, AT_WORK) == "0").await;
    let busy = || pool.statistics().node(node).unwrap().busy;
    until("every backend is back", async || busy() == 0).await;
}

#[tokio::test]
async fn a_transaction_whose_time_is_up_commits_nothing_and_leaves_nothing_behind() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    pool.write().batch(SLOW_COMMIT).await.unwrap();
    let insert = "INSERT INTO t VALUES (1, false)";

    // In a statement.
    let transaction = pool.transaction().deadline(SOON).await.unwrap();
    transaction.execute(insert, &[]).await.unwrap();
    let error = transaction.query("SELECT pg_sleep(600)", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    assert_eq!((error.node(), error.retry()), (Some("coordinator"), Retry::Same));
    assert_eq!(error.tries(), 1, "{error}");
    let text = error.to_string();
    assert!(text.contains("4s") && text.contains("a statement still ran on coordinator"), "{text}");
    // It takes no more, neither a statement nor a COMMIT.
    let error = transaction.execute(insert, &[]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deadline, "{error}");
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    nothing_stays(&world, &pool, "coordinator").await;

    // In the program itself.
    let transaction = pool.transaction().deadline(SOON).await.unwrap();
    transaction.execute(insert, &[]).await.unwrap();
    tokio::time::sleep(SOON).await;
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Deadline, true), "{error}");
    assert!(error.to_string().contains("between two statements"), "{error}");
    nothing_stays(&world, &pool, "coordinator").await;

    // In the wait for a backend.
    let held = pool.acquire(QueryType::Write, None).await.unwrap();
    let error = pool.transaction().deadline(SOON).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Deadline, false), "{error}");
    assert!(error.to_string().contains("had no backend for it (1 busy"), "{error}");
    drop(held);
    assert_eq!(world.sql("coordinator", "SELECT count(*) FROM t"), "0");

    // What is done in time is done.
    let transaction = pool.transaction().deadline(Duration::from_secs(60)).await.unwrap();
    transaction.execute(insert, &[]).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = pool.transaction().deadline(Duration::from_secs(60)).await.unwrap();
    transaction.execute(insert, &[]).await.unwrap();
    transaction.rollback().await;
    assert_eq!(world.sql("coordinator", "SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn what_became_of_a_commit_under_way_is_unknown_and_never_called_rolled_back() {
    let world = World::start(Shape::default());
    let pool = world.pool();
    pool.write().batch(SLOW_COMMIT).await.unwrap();
    let insert = "INSERT INTO t VALUES (1, true)";

    let transaction = pool.transaction().deadline(SOON).await.unwrap();
    transaction.execute(insert, &[]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    assert_eq!((error.retry(), error.node()), (Retry::No, Some("coordinator")));
    nothing_stays(&world, &pool, "coordinator").await;

    // The same of a unit of work, also one that has still a look-up to do.
    let insert = async |tx: &pgherd::Transaction| tx.execute(insert, &[]).await;
    let unit = || pool.transaction().deadline(SOON);
    let error = unit().run(insert).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    let error = unit().lookup("SELECT 1 FROM t", &[]).run(insert).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    nothing_stays(&world, &pool, "coordinator").await;
}

#[tokio::test]
async fn a_unit_of_work_has_one_time_for_all_its_runs_waits_and_statements() {
    let world = World::start(Shape { replicas: 1, ..Shape::default() });
    let set = |settings: &mut pgherd::Settings| settings.retry.transaction_deadline = SOON;
    let many = RetryConfig { max_retries: 100, max_backoff: SOON / 10, ..RetryConfig::default() };
    let wait = Duration::from_secs(60);
    let builder = world.builder().primary_wait(wait).retry(many).with_settings(set);
    let pool = builder.build().unwrap();
    world.sql_as_app("coordinator", "CREATE TABLE t (id int4)");

    // By the setting, for a change. It is dropped where it waits.
    let error = pool
        .run(async |tx| {
            tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
            std::future::pending::<Result<(), Error>>().await
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.tries()), (ErrorKind::Deadline, 1), "{error}");
    assert!(error.to_string().contains("between two statements on coordinator"), "{error}");
    nothing_stays(&world, &pool, "coordinator").await;

    // Run again and again, and why is told.
    let runs = AtomicU32::new(0);
    let error = pool
        .run(async |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            let raise = "DO $$ BEGIN RAISE SQLSTATE '40001' USING MESSAGE = 'not now'; END $$";
            tx.batch(raise).await
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.tries()), (ErrorKind::Deadline, runs.into_inner()), "{error}");
    assert!(error.tries() > 1 && format!("{error:#}").contains("not now"), "{error:#}");
    nothing_stays(&world, &pool, "coordinator").await;

    // A statement that ignores its own error does not commit.
    let error = pool
        .run(async |tx| {
            tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let _ = tx.query("SELECT pg_sleep(600)", &[]).await;
            Ok::<_, Error>(())
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    nothing_stays(&world, &pool, "coordinator").await;
    assert_eq!(world.sql("coordinator", "SELECT count(*) FROM t"), "0");

    // The wait for a primary.
    world.kill("coordinator");
    let group = pool.topology().coordinator().id;
    until("it has no primary", async || !pool.topology().has_primary(group)).await;
    let error = pool.run(async |tx| tx.batch("SELECT 1").await).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Deadline, false), "{error}");
    assert!(error.to_string().contains("its group had no primary"), "{error}");
}

/// Two shards where a commit can be made to take long, and a key of each.
fn two_shards() -> (World, [String; 2]) {
    let world = World::start_spec(&ClusterSpec {
        shards: 2,
        settings: vec!["max_prepared_transactions = 16".to_owned()],
        ..ClusterSpec::default()
    });
    for shard in ["shard-0", "shard-1"] {
        world.sql_as_app(shard, SLOW_COMMIT);
    }
    let sharding = world.builder().settings().route_policy().unwrap().sharding.unwrap();
    let key_of = |shard| {
        let keys = (0..).map(|n| format!("k{n}"));
        keys.clone().find(|key| sharding.shard_of(&key.as_str().into()) == shard).unwrap()
    };
    let keys = [key_of(ShardId(0)), key_of(ShardId(1))];
    (world, keys)
}

const SLOW: &str = "INSERT INTO t VALUES (1, true)";
const QUICK: &str = "INSERT INTO t VALUES (1, false)";
const PREPARED: &str = "SELECT count(*) FROM pg_prepared_xacts";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distributed_transaction_that_is_not_decided_in_time_is_rolled_back_on_all_shards() {
    let (world, keys) = two_shards();
    let pool = world.pool();
    pool.install_decision_table(&[]).await.unwrap();
    let nothing_is_there = async || {
        for shard in ["shard-0", "shard-1"] {
            nothing_stays(&world, &pool, shard).await;
            until("nothing is prepared", async || world.sql(shard, PREPARED) == "0").await;
            assert_eq!(world.sql(shard, "SELECT count(*) FROM t"), "0");
        }
    };
    let begin = async || {
        let transaction = pool.distributed_transaction(keys.clone()).deadline(SOON).await.unwrap();
        transaction.shard(ShardId(1)).unwrap().execute(QUICK, &[]).await.unwrap();
        transaction
    };

    // In a statement.
    let transaction = begin().await;
    let cursor = transaction.shard(ShardId(0)).unwrap();
    let error = cursor.query("SELECT pg_sleep(600)", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    assert_eq!(error.node(), Some("shard-0"));
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Deadline, Retry::Same), "{error}");
    nothing_is_there().await;

    // In PREPARE TRANSACTION, where triggers run that were put off.
    let transaction = begin().await;
    transaction.shard(ShardId(0)).unwrap().execute(SLOW, &[]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")), "{error}");
    assert!(error.to_string().contains("not all shards had said"), "{error}");
    nothing_is_there().await;

    // In the wait for a shard that is frozen, before anything is asked of it.
    world.freeze("shard-1");
    let error = pool.distributed_transaction(keys.clone()).deadline(SOON).await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Deadline, Some("shard-1")), "{error}");
    world.thaw("shard-1");
    nothing_is_there().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_that_is_under_way_when_the_time_is_up_is_in_doubt_and_ends_the_same_everywhere()
{
    let (world, keys) = two_shards();
    let pool = world.pool();
    pool.install_decision_table(&[]).await.unwrap();
    let transaction = pool.distributed_transaction(keys.clone()).deadline(SOON).await.unwrap();
    // The last shard decides.
    transaction.shard(ShardId(0)).unwrap().execute(QUICK, &[]).await.unwrap();
    transaction.shard(ShardId(1)).unwrap().execute(SLOW, &[]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    assert_eq!(error.node(), Some("shard-1"));
    let left: Vec<_> = error.in_doubt().iter().map(|left| left.node.as_str()).collect();
    assert_eq!(left, ["shard-0"]);
    // It is carried on all the same: here until its decision is refused.
    let sleeps = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(world.sql("shard-1", sleeps), "t");
    for shard in ["shard-0", "shard-1"] {
        until("nothing is prepared", async || world.sql(shard, PREPARED) == "0").await;
        nothing_stays(&world, &pool, shard).await;
        assert_eq!(world.sql(shard, "SELECT count(*) FROM t"), "0");
    }

    // Where one shard alone has written, its COMMIT is all there is.
    let transaction = pool.distributed_transaction(keys.clone()).deadline(SOON).await.unwrap();
    transaction.shard(ShardId(1)).unwrap().execute(SLOW, &[]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")), "{error}");
    assert_eq!((error.in_doubt().len(), error.node()), (0, Some("shard-1")));
    nothing_stays(&world, &pool, "shard-1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_distributed_transaction_past_its_decision_is_committed_and_pending() {
    let (world, keys) = two_shards();
    let world = Arc::new(world);
    let freezing = Arc::clone(&world);
    let hook = move |_: &str, step| {
        if step == CommitStep::Decided {
            freezing.freeze("shard-0");
        }
    };
    let pool = world.builder().on_commit_step(hook).build().unwrap();
    pool.install_decision_table(&[]).await.unwrap();
    let transaction = pool.distributed_transaction(keys.clone()).deadline(SOON).await.unwrap();
    for (_, cursor) in transaction.cursors() {
        cursor.execute(QUICK, &[]).await.unwrap();
    }
    let committed = transaction.commit().await.unwrap();
    let left: Vec<_> = committed.pending.iter().map(|left| left.node.as_str()).collect();
    assert_eq!(left, ["shard-0"]);
    world.thaw("shard-0");
    for shard in ["shard-0", "shard-1"] {
        until("it is finished", async || world.sql(shard, PREPARED) == "0").await;
        assert_eq!(world.sql(shard, "SELECT count(*) FROM t"), "1");
    }
}
