//! Transactions on one node, and units of work that are run again, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use pgherd::{DistributedPool, Error, ErrorKind, IsolationLevel, RetryConfig, ShardId};
use pgherd_lab::{Cluster, ClusterSpec, Link, cluster};
use tokio::sync::Barrier;
use tokio::task::JoinHandle;
use world::{Door, Shape, World, at_each_door, until};

at_each_door! {
    #[tokio::test]
    a_transaction_commits_rolls_back_and_is_rolled_back_when_dropped,
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    a_unit_that_was_rolled_back_by_postgresql_runs_again,
    #[tokio::test]
    a_unit_s_own_error_is_returned_as_it_is_and_not_run_again,
    #[tokio::test]
    a_unit_whose_session_is_ended_before_its_commit_runs_again,
}

const SHAPE: Shape = Shape { shards: 1, max_prepared: 0, ..Shape::ONE };

async fn shop(pool: &DistributedPool) {
    let sql = "CREATE TABLE t (id int4 PRIMARY KEY, n int4 NOT NULL); INSERT INTO t VALUES (1, 0)";
    pool.write().shard(ShardId(0)).batch(sql).await.unwrap();
}

async fn a_transaction_commits_rolls_back_and_is_rolled_back_when_dropped(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    shop(&pool).await;
    let count = async || {
        let row = pool.read().shard(ShardId(0)).query_one("SELECT count(*) FROM t", &[]).await;
        row.unwrap().get::<_, i64>(0)
    };
    let insert = "INSERT INTO t VALUES ($1, 0)";

    let transaction = pool.transaction().shard(ShardId(0)).await.unwrap();
    assert_eq!(transaction.node(), "shard-0");
    transaction.execute(insert, &[&2]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(count().await, 2);

    let transaction = pool.transaction().shard_key(7).await.unwrap();
    transaction.execute(insert, &[&3]).await.unwrap();
    transaction.rollback().await;
    let transaction = pool.transaction().shard_key(7).await.unwrap();
    transaction.execute(insert, &[&3]).await.unwrap();
    drop(transaction);
    assert_eq!(count().await, 2);

    let request = pool.transaction().shard_key(7).isolation_level(IsolationLevel::Serializable);
    let transaction = request.read_only().deferrable().await.unwrap();
    for (setting, wanted) in [
        ("transaction_isolation", "serializable"),
        ("transaction_read_only", "on"),
        ("transaction_deferrable", "on"),
    ] {
        let row = transaction.query_one("SELECT current_setting($1)", &[&setting]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), wanted, "{setting}");
    }
    let error = transaction.execute(insert, &[&3]).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.kind()), (Some("25006"), ErrorKind::Database));
    // It has failed: what COMMIT answers is ROLLBACK.
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RolledBack);
    assert!(error.to_string().contains("ROLLBACK"), "{error}");
}

async fn a_unit_that_was_rolled_back_by_postgresql_runs_again(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let patient = RetryConfig { max_retries: 50, ..RetryConfig::default() };
    let pool = world.builder().retry(patient).build().unwrap();
    shop(&pool).await;
    // All have read before the first of them writes: all but one fail.
    let have_read = Arc::new(Barrier::new(4));
    let units: Vec<JoinHandle<Result<(), Error>>> = (0..4)
        .map(|_| {
            let (pool, have_read) = (pool.clone(), have_read.clone());
            tokio::spawn(async move {
                let is_first = AtomicBool::new(true);
                pool.transaction()
                    .shard(ShardId(0))
                    .isolation_level(IsolationLevel::RepeatableRead)
                    .run(async move |tx| {
                        let row = tx.query_one("SELECT n FROM t WHERE id = 1", &[]).await?;
                        if is_first.swap(false, Ordering::Relaxed) {
                            have_read.wait().await;
                        }
                        let n = row.get::<_, i32>(0) + 1;
                        tx.execute("UPDATE t SET n = $1 WHERE id = 1", &[&n]).await?;
                        Ok(())
                    })
                    .await
            })
        })
        .collect();
    for unit in units {
        unit.await.unwrap().unwrap();
    }
    assert_eq!(world.sql("shard-0", "SELECT n FROM t WHERE id = 1"), "4");
    assert!(pool.statistics().counters.retries >= 3);
}

/// What a program has: errors of its own, and ours among them.
#[derive(Debug)]
enum ShopError {
    SoldOut,
    Database(Error),
}

impl From<Error> for ShopError {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

async fn a_unit_s_own_error_is_returned_as_it_is_and_not_run_again(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    shop(&pool).await;
    let runs = AtomicU32::new(0);
    let unit = || pool.transaction().shard(ShardId(0));
    let sold_out: Result<(), ShopError> = unit()
        .run(async |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            tx.execute("UPDATE t SET n = 5", &[]).await?;
            Err(ShopError::SoldOut)
        })
        .await;
    assert!(matches!(sold_out, Err(ShopError::SoldOut)));
    let refused: Result<(), ShopError> = unit()
        .run(async |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            tx.execute("INSERT INTO t VALUES (1, 0)", &[]).await?;
            Ok(())
        })
        .await;
    let Err(ShopError::Database(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.sqlstate(), Some("23505"));
    // One that hides the failure of a statement cannot commit.
    let hidden: Result<(), ShopError> = unit()
        .run(async |tx| {
            runs.fetch_add(1, Ordering::Relaxed);
            let _ = tx.execute("SELECT 1 / 0", &[]).await;
            Ok(())
        })
        .await;
    let Err(ShopError::Database(error)) = hidden else { panic!("{hidden:?}") };
    assert_eq!(error.kind(), ErrorKind::RolledBack);
    assert_eq!(runs.load(Ordering::Relaxed), 3);
    assert_eq!(world.sql("shard-0", "SELECT n FROM t"), "0");
}

async fn a_unit_whose_session_is_ended_before_its_commit_runs_again(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    shop(&pool).await;
    let runs = AtomicU32::new(0);
    pool.transaction()
        .shard(ShardId(0))
        .run(async |tx| {
            let run = runs.fetch_add(1, Ordering::Relaxed);
            tx.execute("UPDATE t SET n = n + 1", &[]).await?;
            if run == 0 {
                let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE usename = 'app' AND state = 'idle in transaction'";
                world.sql("shard-0", end);
            }
            tx.execute("UPDATE t SET n = n + 1", &[]).await?;
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(world.sql("shard-0", "SELECT n FROM t"), "2");
}

/// One server behind a link that can be reset, and a table where a COMMIT can be made to take long.
struct Shaky {
    cluster: Cluster,
    link: Link,
    pool: DistributedPool,
    runs: AtomicU32,
}

/// How a unit's COMMIT takes long.
#[derive(Clone, Copy)]
enum Slow {
    /// In a trigger before it: it has not happened.
    Before,
    /// In the wait for a standby that is not there: it has happened on the server itself.
    After,
}

impl Shaky {
    async fn start() -> Self {
        let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
        let link = Link::to(cluster.coordinator().address()).unwrap();
        let pool = DistributedPool::builder()
            .coordinator("127.0.0.1", link.address().port())
            .database(cluster::DATABASE)
            .user(cluster::USER)
            .password(cluster::PASSWORD)
            .build()
            .unwrap();
        let sql = "CREATE TABLE t (id int4, slow bool); \
                   CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
                   'BEGIN IF NEW.slow THEN PERFORM pg_sleep(600); END IF; RETURN NULL; END'; \
                   CREATE CONSTRAINT TRIGGER wait AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED \
                   FOR EACH ROW EXECUTE FUNCTION wait()";
        pool.write().batch(sql).await.unwrap();
        Self { cluster, link, pool, runs: AtomicU32::new(0) }
    }

    fn sql(&self, sql: &str) -> String {
        self.cluster.coordinator().psql(sql).unwrap()
    }

    /// What a unit does, the first time slowly.
    async fn work(&self, tx: &pgherd::Transaction, slow: Slow) -> Result<(), Error> {
        let is_first = self.runs.fetch_add(1, Ordering::Relaxed) == 0;
        let sleeps = is_first && matches!(slow, Slow::Before);
        tx.execute("INSERT INTO t VALUES (1, $1)", &[&sleeps]).await?;
        Ok(())
    }

    /// Resets all connections once a COMMIT waits for this.
    async fn cut_in_commit(&self, slow: Slow) {
        let wait = match slow {
            Slow::Before => "PgSleep",
            Slow::After => "SyncRep",
        };
        let count = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event = '{wait}'");
        until("a COMMIT waits", async || self.sql(&count) == "1").await;
        self.link.reset();
    }

    fn require_standby(&self, name: &str) {
        self.sql(&format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        self.sql("SELECT pg_reload_conf()");
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_reported_as_unknown() {
    let shaky = Shaky::start().await;
    let unit = shaky.pool.run(async |tx| shaky.work(tx, Slow::Before).await);
    let (result, ()) = tokio::join!(unit, shaky.cut_in_commit(Slow::Before));
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")));
    assert_eq!(shaky.runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn an_idempotent_unit_runs_again_when_the_answer_to_its_commit_is_lost() {
    let shaky = Shaky::start().await;
    let unit = shaky.pool.transaction().idempotent();
    let unit = unit.run(async |tx| shaky.work(tx, Slow::Before).await);
    let (result, ()) = tokio::join!(unit, shaky.cut_in_commit(Slow::Before));
    result.unwrap();
    assert_eq!(shaky.runs.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn a_look_up_ends_the_session_that_may_still_commit_and_then_runs_the_unit_again() {
    let shaky = Shaky::start().await;
    let unit = shaky.pool.transaction().lookup("SELECT 1 FROM t WHERE id = $1", &[&1]);
    let unit = unit.run(async |tx| shaky.work(tx, Slow::Before).await);
    // The server does not notice: the session would go on to commit.
    let (result, ()) = tokio::join!(unit, shaky.cut_in_commit(Slow::Before));
    result.unwrap();
    assert_eq!(shaky.runs.load(Ordering::Relaxed), 2);
    let sleeps = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    assert_eq!(shaky.sql(sleeps), "0");
    assert_eq!(shaky.sql("SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn what_a_look_up_finds_counts_once_it_is_on_the_standby() {
    let shaky = Shaky::start().await;
    shaky.require_standby("nobody");
    let unit = shaky.pool.transaction().lookup("SELECT 1 FROM t WHERE id = $1", &[&1]);
    let unit = unit.run(async |tx| shaky.work(tx, Slow::After).await);
    let cut = async {
        shaky.cut_in_commit(Slow::After).await;
        // Found, and not acknowledged: the look-up's own commit waits as well.
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' \
                     AND query LIKE '%pg_logical_emit_message%'";
        until("the look-up waits for the standby", async || shaky.sql(waits) == "1").await;
        shaky.require_standby("");
    };
    let (result, ()) = tokio::join!(unit, cut);
    result.unwrap();
    assert_eq!(shaky.runs.load(Ordering::Relaxed), 1);
    assert_eq!(shaky.sql("SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn a_unit_that_goes_on_behind_a_failed_statement_is_run_again_for_that_one() {
    let world = World::start(Shape::default());
    let pool = world.pool();
    world.sql(
        "coordinator",
        "CREATE TABLE c (n int); INSERT INTO c VALUES (0); GRANT ALL ON c TO app",
    );
    let runs = AtomicU32::new(0);
    pool.transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .run(async |tx| {
            tx.query("SELECT n FROM c", &[]).await?;
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                world.sql("coordinator", "UPDATE c SET n = n + 1");
            }
            // 40001 in the first run, and nobody looks; the next statement is told 25P02.
            let _ = tx.execute("UPDATE c SET n = n + 10", &[]).await;
            tx.query("SELECT n FROM c", &[]).await?;
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(world.sql("coordinator", "SELECT n FROM c"), "11");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unit_leaves_a_frozen_primary_when_another_node_is_promoted() {
    let spec = ClusterSpec { shards: 1, shard_replicas: 1, ..ClusterSpec::default() };
    let world = World::start_spec(&spec);
    let wait = Duration::from_secs(60);
    let pool = world
        .builder()
        .primary_wait(wait)
        .with_settings(|settings| settings.health.timeout = Duration::from_millis(500))
        .build()
        .unwrap();
    shop(&pool).await;
    world.wait_replayed();
    let runs = AtomicU32::new(0);
    pool.transaction()
        .shard(ShardId(0))
        .run(async |tx| {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                world.freeze("shard-0");
                world.promote("shard-0-r1");
            }
            tx.execute("UPDATE t SET n = n + 1", &[]).await?;
            Ok::<_, Error>(())
        })
        .await
        .unwrap();
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    assert_eq!(world.sql("shard-0-r1", "SELECT n FROM t"), "1");
}
