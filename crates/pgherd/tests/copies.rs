//! Copies that are given up, refused, or fail: nobody waits, and each statement has its own answer.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, StreamExt};
use pgherd::tokio_postgres::{Client, Statement};
use pgherd::{DistributedPool, Error, Lease};
use world::{Door, Shape, World, at_each_door};

at_each_door! {
    #[tokio::test]
    after_a_copy_that_is_given_up_nothing_is_kept_and_nobody_waits,
    #[tokio::test]
    a_copy_that_fails_costs_no_connection_and_shifts_no_answer,
    #[tokio::test]
    a_copy_that_nobody_goes_on_with_keeps_nobody_waiting,
}

const COPY: &str = "COPY t FROM STDIN";

/// Ends a test that would wait without end.
async fn in_time(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(90), test).await.expect("somebody waits without end");
}

/// One backend: whoever comes next has the same, if it is used again.
async fn pool_of_one(world: &World) -> DistributedPool {
    let pool = world.builder().pool_size(1).build().unwrap();
    pool.ddl().batch("CREATE TABLE t (n int4)").await.unwrap();
    pool
}

async fn rows(pool: &DistributedPool) -> i64 {
    pool.write().query_scalar("SELECT count(*) FROM t", &[]).await.unwrap()
}

/// Begins a copy with the driver's client, sends some data and gives it up.
async fn give_up(client: &Client) {
    let copy = client.copy_in::<_, Bytes>(COPY).await.unwrap();
    let mut copy = std::pin::pin!(copy);
    copy.send("1\n2\n".into()).await.unwrap();
    copy.flush().await.unwrap();
}

async fn after_a_copy_that_is_given_up_nothing_is_kept_and_nobody_waits(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = pool_of_one(&world).await;
    in_time(async {
        for _ in 0..10 {
            // Before it has begun, by chance at one step or another.
            for steps in 0..4 {
                let request = pool.write();
                let mut copy = std::pin::pin!(request.copy_in(COPY));
                for _ in 0..steps {
                    assert!(copy.as_mut().now_or_never().is_none_or(|begun| begun.is_ok()));
                    tokio::task::yield_now().await;
                }
            }
            assert_eq!(rows(&pool).await, 0);

            let lease = pool.write().acquire().await.unwrap();
            give_up(&lease).await;
            assert_eq!(lease.query_one("SELECT 1", &[]).await.unwrap().get::<_, i32>(0), 1);
            drop(lease);
            assert_eq!(rows(&pool).await, 0);

            // The transaction has failed, however it ends.
            let transaction = pool.transaction().begin().await.unwrap();
            give_up(transaction.client()).await;
            let error = transaction.query("SELECT 1", &[]).await.unwrap_err();
            assert_eq!(error.sqlstate(), Some("25P02"));
            transaction.rollback().await;
            let transaction = pool.transaction().begin().await.unwrap();
            give_up(transaction.client()).await;
            drop(transaction);
            assert_eq!(rows(&pool).await, 0);
            let committed = pool.run(async |transaction| {
                give_up(transaction.client()).await;
                Ok::<(), Error>(())
            });
            committed.await.unwrap_err();
            assert_eq!(rows(&pool).await, 0);

            for sql in
                ["COPY (SELECT 1) TO STDOUT", "COPY (SELECT generate_series(1, 100000)) TO STDOUT"]
            {
                let mut copy = pool.read().copy_out(sql).await.unwrap();
                copy.next().await.unwrap().unwrap();
                drop(copy);
                assert_eq!(rows(&pool).await, 0);
            }
        }
    })
    .await;
    world.assert_no_answer_went_astray();
}

/// Runs statements at once that were prepared before: an answer too many would be taken for that
/// of the first, and each answer for that of the next.
async fn assert_in_step(lease: &Lease, prepared: &[Statement]) {
    let answers = prepared.iter().map(|statement| lease.query_one(statement, &[]));
    let answers = futures_util::future::try_join_all(answers).await.unwrap();
    let answers: Vec<i32> = answers.iter().map(|row| row.get(0)).collect();
    assert_eq!(answers, [0, 1, 2]);
}

async fn a_copy_that_fails_costs_no_connection_and_shifts_no_answer(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = pool_of_one(&world).await;
    pool.ddl()
        .batch(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS \
             'BEGIN RAISE ''refused''; END'; \
             CREATE TABLE refusing (n int4); \
             CREATE TRIGGER refuse BEFORE INSERT ON refusing EXECUTE FUNCTION refuse()",
        )
        .await
        .unwrap();
    let opens = pool.statistics().opens;
    in_time(async {
        for _ in 0..10 {
            // Before PostgreSQL asks for data, before it reads any, at the data, and with them.
            for (sql, data, sqlstate) in [
                ("COPY nowhere FROM STDIN", "", "42P01"),
                ("COPY refusing FROM STDIN", "1\n", "P0001"),
                (COPY, "1\nno number\n", "22P02"),
            ] {
                let error = match pool.write().copy_in(sql).await {
                    Ok(mut copy) => match copy.send(data.into()).await {
                        Ok(()) => copy.finish().await.unwrap_err(),
                        Err(error) => error,
                    },
                    Err(error) => error,
                };
                assert_eq!(error.sqlstate(), Some(sqlstate));
                assert_eq!(rows(&pool).await, 0);

                let lease = pool.write().acquire().await.unwrap();
                let mut prepared = Vec::new();
                for n in 0..3 {
                    prepared.push(lease.prepare(&format!("SELECT {n}")).await.unwrap());
                }
                // Prepared before, so that nothing is written behind the copy on its behalf.
                let statement = lease.prepare(sql).await.unwrap();
                match lease.copy_in::<_, Bytes>(&statement).await {
                    Ok(copy) => {
                        let mut copy = std::pin::pin!(copy);
                        // It may have heard of the failure by now.
                        let _ = copy.send(data.into()).await;
                        copy.finish().await.unwrap_err();
                    }
                    Err(error) => assert_eq!(error.code().unwrap().code(), sqlstate),
                }
                assert_in_step(&lease, &prepared).await;
            }
        }
    })
    .await;
    assert_eq!(pool.statistics().opens, opens);
    world.assert_no_answer_went_astray();
}

async fn a_copy_that_nobody_goes_on_with_keeps_nobody_waiting(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = pool_of_one(&world).await;
    in_time(async {
        for _ in 0..3 {
            // These cannot send data.
            pool.write().execute(COPY, &[]).await.unwrap_err();
            assert_eq!(rows(&pool).await, 0);
            pool.write().batch(COPY).await.unwrap_err();
            assert_eq!(rows(&pool).await, 0);
            pool.write().batch("COPY t TO STDOUT").await.unwrap_err();
            assert_eq!(rows(&pool).await, 0);

            let lease = pool.write().acquire().await.unwrap();
            lease.batch_execute(COPY).await.unwrap_err();
            lease.query_one("SELECT 1", &[]).await.unwrap_err();
            drop(lease);
            let lease = pool.write().acquire().await.unwrap();
            lease
                .batch_execute("COPY (SELECT generate_series(1, 100000)) TO STDOUT")
                .await
                .unwrap_err();
            lease.query_one("SELECT 1", &[]).await.unwrap();
            drop(lease);

            // A copy that outlives its lease.
            let lease = pool.write().acquire().await.unwrap();
            let copy = lease.copy_in::<_, Bytes>(COPY).await.unwrap();
            drop(lease);
            assert_eq!(rows(&pool).await, 0);
            let mut copy = std::pin::pin!(copy);
            let _ = copy.send("1\n".into()).await;
            copy.finish().await.unwrap_err();
            assert_eq!(rows(&pool).await, 0);
        }
    })
    .await;
    world.assert_no_answer_went_astray();
}
