//! Prepared statements that backends keep: used again, bounded, and mended after migrations.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd::tokio_postgres::types::ToSql;
use pgherd::{DistributedPool, ErrorKind, QueryType, Retry};
use world::{Shape, World};

/// The statements that the only backend of a pool has prepared, and how often each was run.
const PREPARED: &str = "SELECT statement, generic_plans + custom_plans FROM pg_prepared_statements \
                        WHERE statement NOT LIKE '%pg_prepared%' ORDER BY prepare_time";

async fn prepared(pool: &DistributedPool) -> Vec<(String, i64)> {
    let rows = pool.write().query(PREPARED, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn one_backend(world: &World, keep: u32) -> DistributedPool {
    let keeping = |settings: &mut pgherd::Settings| settings.pool.prepared_per_backend = keep;
    world.builder().pool_size(1).with_settings(keeping).build().unwrap()
}

#[tokio::test]
async fn a_text_is_prepared_once_for_each_backend_and_the_oldest_is_closed() {
    let world = World::start(Shape::default());
    let pool = one_backend(&world, 4);
    for n in 0..3 {
        pool.read().query_one("SELECT $1::int4", &[&n]).await.unwrap();
        pool.write().execute("SELECT 'two'", &[]).await.unwrap();
    }
    let expected = [("SELECT $1::int4".to_owned(), 3), ("SELECT 'two'".to_owned(), 3)];
    assert_eq!(prepared(&pool).await, expected);
    for n in 0..10 {
        pool.read().query(&format!("SELECT {n}"), &[]).await.unwrap();
    }
    // With the question itself there are four.
    let expected = [7, 8, 9].map(|n| (format!("SELECT {n}"), 1));
    assert_eq!(prepared(&pool).await, expected);
    let statistics = pool.statistics();
    assert_eq!(statistics.opens, 1, "closing one leaves the backend clean");
    let kept = statistics.nodes[0].prepared;
    assert_eq!((kept.entries, kept.fullest, kept.limit), (4, 4, 4));
    // Two texts three times, the question twice, ten others once.
    assert_eq!((kept.hits, kept.misses, kept.evictions), (4, 14, 10));
    let texts = statistics.parse_cache;
    assert!(texts.bytes <= texts.limit_bytes && texts.limit_bytes == 8 * 1024 * 1024);

    let pool = one_backend(&world, 0);
    for _ in 0..2 {
        pool.read().query_one("SELECT 1", &[]).await.unwrap();
    }
    assert_eq!(prepared(&pool).await, []);
}

#[tokio::test]
async fn a_statement_that_a_migration_has_changed_is_prepared_anew_by_itself() {
    let world = World::start(Shape::default());
    let pool = one_backend(&world, 256);
    world.sql_as_app("coordinator", "CREATE TABLE t (a int4); INSERT INTO t VALUES (1)");
    let columns = async || {
        let row = pool.read().query_one("SELECT * FROM t", &[]).await.unwrap();
        row.columns().iter().map(|column| column.type_().name().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(columns().await, ["int4"]);
    world.sql_as_app("coordinator", "ALTER TABLE t ADD COLUMN b text");
    assert_eq!(columns().await, ["int4", "text"]);
    world.sql_as_app("coordinator", "ALTER TABLE t ALTER COLUMN a TYPE int8");
    assert_eq!(columns().await, ["int8", "text"]);
    world.sql_as_app("coordinator", "ALTER TABLE t DROP COLUMN b");
    let mut rows = pool.read().query_stream("SELECT * FROM t", &[]).await.unwrap();
    use futures_util::TryStreamExt;
    assert_eq!(rows.try_next().await.unwrap().unwrap().len(), 1);
    drop(rows);

    // Hidden in a function, so that nobody sees a DEALLOCATE.
    world.sql_as_app(
        "coordinator",
        "CREATE FUNCTION forget() RETURNS int4 LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$",
    );
    pool.write().query("SELECT forget()", &[]).await.unwrap();
    assert_eq!(columns().await, ["int8"]);
    assert_eq!(pool.write().execute("INSERT INTO t VALUES ($1)", &[&2_i64]).await.unwrap(), 1);
    pool.write().query("SELECT forget()", &[]).await.unwrap();
    assert_eq!(pool.write().execute("INSERT INTO t VALUES ($1)", &[&3_i64]).await.unwrap(), 1);
    assert_eq!(world.sql("coordinator", "SELECT array_agg(a) FROM t"), "{1,2,3}");
    let statistics = pool.statistics();
    assert_eq!((statistics.counters.errors, statistics.counters.retries), (0, 0));
    assert_eq!(statistics.opens, 1);
}

#[tokio::test]
async fn inside_a_transaction_the_error_is_passed_on_and_says_what_to_do() {
    let world = World::start(Shape { shards: 1, ..Shape::ONE });
    let pool = one_backend(&world, 256);
    world.sql_as_app("shard-0", "CREATE TABLE t (a int4); INSERT INTO t VALUES (1)");
    let read = "SELECT * FROM t";
    let begin = async || pool.distributed_transaction(["key"]).await.unwrap();
    let transaction = begin().await;
    transaction.for_key("key").unwrap().query(read, &[]).await.unwrap();
    transaction.commit().await.unwrap();

    world.sql_as_app("shard-0", "ALTER TABLE t ADD COLUMN b text");
    let transaction = begin().await;
    let error = transaction.for_key("key").unwrap().query(read, &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Database, Some("0A000")));
    assert_eq!((error.retry(), error.node()), (Retry::Same, Some("shard-0")));
    assert!(error.to_string().contains("with the whole transaction"), "{error}");
    transaction.rollback().await;
    // Anew, it works.
    let transaction = begin().await;
    let row = transaction.for_key("key").unwrap().query_one(read, &[]).await.unwrap();
    assert_eq!(row.len(), 2);
    transaction.commit().await.unwrap();

    // A unit of work is run again by itself.
    let unit = async || {
        let columns = async |tx: &pgherd::Transaction| {
            Ok::<_, pgherd::Error>(tx.query_one(read, &[]).await?.len())
        };
        pool.transaction().shard_key("key").run(columns).await.unwrap()
    };
    assert_eq!(unit().await, 2);
    world.sql_as_app("shard-0", "ALTER TABLE t ADD COLUMN c text");
    assert_eq!(unit().await, 3);
    world.sql_as_app("shard-0", "ALTER TABLE t DROP COLUMN c");
    assert_eq!(unit().await, 2);

    // On a lease it is the caller who throws the statement away.
    let lease = pool.acquire(QueryType::Write, Some("key".into())).await.unwrap();
    let statement = lease.prepare_cached(read).await.unwrap();
    lease.query(&statement, &[]).await.unwrap();
    world.sql_as_app("shard-0", "ALTER TABLE t DROP COLUMN b");
    let statement = lease.prepare_cached(read).await.unwrap();
    let error = lease.query(&statement, &[]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "0A000");
    lease.forget_prepared(read);
    let statement = lease.prepare_cached(read).await.unwrap();
    assert_eq!(lease.query_one(&statement, &[]).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_pipeline_prepares_anew_what_has_not_run_and_runs_nothing_twice() {
    let world = World::start(Shape::default());
    let pool = one_backend(&world, 256);
    world.sql_as_app("coordinator", "CREATE TABLE t (a int4)");
    let (insert, all) = ("INSERT INTO t VALUES ($1)", "SELECT * FROM t ORDER BY a");
    let shape = |answer: &pgherd::Answered| (answer.rows.len(), answer.rows[0].columns().len());

    // First the write, then what has gone stale: it sees the write.
    let write_and_look = async |n: i32| {
        let params: &[&(dyn ToSql + Sync)] = &[&n];
        let pipeline = pool.write().pipeline().add(insert, params).add(all, &[]);
        let answers: Result<Vec<_>, _> = pipeline.run().await.unwrap().into_iter().collect();
        shape(&answers.unwrap()[1])
    };
    assert_eq!(write_and_look(1).await, (1, 1));
    world.sql_as_app("coordinator", "ALTER TABLE t ADD COLUMN b text");
    assert_eq!(write_and_look(2).await, (2, 2));

    // Hidden in a function, so that nobody sees a DEALLOCATE: nothing has run, so all does.
    world.sql_as_app(
        "coordinator",
        "CREATE FUNCTION forget() RETURNS int4 LANGUAGE plpgsql AS \
         $$ BEGIN EXECUTE 'DEALLOCATE ALL'; RETURN 1; END $$",
    );
    pool.write().query("SELECT forget()", &[]).await.unwrap();
    assert_eq!(write_and_look(3).await, (3, 2));

    // Reads have no order among them.
    let look = async || {
        let pipeline = pool.read().pipeline().add(all, &[]).add("SELECT 7", &[]).add(all, &[]);
        let answers: Result<Vec<_>, _> = pipeline.run().await.unwrap().into_iter().collect();
        answers.unwrap().iter().map(shape).collect::<Vec<_>>()
    };
    assert_eq!(look().await, [(3, 2), (1, 1), (3, 2)]);
    world.sql_as_app("coordinator", "ALTER TABLE t ADD COLUMN c text");
    assert_eq!(look().await, [(3, 3), (1, 1), (3, 3)]);
    assert_eq!(pool.statistics().counters.errors, 0);

    // A write behind it has run: it is too late, and said.
    world.sql_as_app("coordinator", "ALTER TABLE t DROP COLUMN c");
    let look_and_write = async || {
        let pipeline = pool.write().pipeline().add(all, &[]).add(insert, &[&4]);
        let mut answers = pipeline.run().await.unwrap();
        answers.pop().unwrap().unwrap();
        answers.pop().unwrap()
    };
    let error = look_and_write().await.unwrap_err();
    assert_eq!((error.sqlstate(), error.retry()), (Some("0A000"), Retry::Same));
    assert!(error.to_string().contains("it did not run"), "{error}");
    assert_eq!(shape(&look_and_write().await.unwrap()), (4, 2));
    assert_eq!(world.sql("coordinator", "SELECT array_agg(a) FROM t"), "{1,2,3,4,4}");
    assert_eq!(pool.statistics().opens, 1);
}
