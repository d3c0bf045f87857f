//! Sessions that read what they wrote, against real servers with streaming replication.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use pgherd::{DistributedPool, ErrorKind, QueryType, Rule, Session, ShardId};
use world::{Shape, World, until};

const SHAPE: Shape = Shape { shards: 0, replicas: 2, shard_replicas: 0, max_prepared: 16 };

const COUNT: &str = "SELECT count(*) FROM t";

async fn with_table(world: &World) -> DistributedPool {
    let pool = world.pool();
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    world.wait_replayed();
    pool
}

/// What the replicas receive from now on stays invisible on them.
fn pause(world: &World) {
    for replica in ["coordinator-r1", "coordinator-r2"] {
        world.sql(replica, "SELECT pg_wal_replay_pause()");
        let is_paused = || world.sql(replica, "SELECT pg_get_wal_replay_pause_state()");
        // It takes hold with the next record.
        let has_paused = (0..100).any(|_| {
            world.sql("coordinator", "SELECT pg_switch_wal(), txid_current()");
            is_paused() == "paused"
        });
        assert!(has_paused, "{replica}: {}", is_paused());
    }
}

fn resume(world: &World) {
    for replica in ["coordinator-r1", "coordinator-r2"] {
        world.sql(replica, "SELECT pg_wal_replay_resume()");
    }
}

async fn count(session: &Session) -> i64 {
    session.read().query_scalar(COUNT, &[]).await.unwrap()
}

async fn rule(session: &Session) -> Rule {
    session.read().acquire().await.unwrap().route().rule
}

#[tokio::test]
async fn a_session_finds_its_writes_while_replicas_lag_and_reads_from_them_once_they_have_them() {
    let world = World::start(SHAPE);
    let pool = with_table(&world).await;
    let (session, other) = (pool.session(), pool.session());
    assert_eq!(rule(&session).await, Rule::ReadOnReplica, "it has written nothing");
    pause(&world);
    session.write().execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    for _ in 0..4 {
        assert_eq!((count(&session).await, count(&session.clone()).await), (1, 1));
        assert_eq!(count(&other).await, 0, "nobody else's concern");
    }
    assert_eq!(rule(&session).await, Rule::OwnWritesOnPrimary);
    resume(&world);
    until("its reads are back on the replicas", async || {
        assert_eq!(count(&session).await, 1);
        rule(&session).await == Rule::ReadOnReplica
    })
    .await;
    assert_eq!(count(&session).await, 1);
}

#[tokio::test]
async fn every_read_of_many_finds_the_write_before_it() {
    let world = World::start(SHAPE);
    let pool = with_table(&world).await;
    let tasks: Vec<_> = (0..4i32)
        .map(|task| {
            let session = pool.session();
            tokio::spawn(async move {
                for n in 0..100 {
                    let value = task * 1000 + n;
                    session.write().execute("INSERT INTO t VALUES ($1)", &[&value]).await.unwrap();
                    let sql = "SELECT count(*) FROM t WHERE a = $1";
                    let found: i64 = session.read().query_scalar(sql, &[&value]).await.unwrap();
                    assert_eq!(found, 1, "{value}");
                    if n % 10 != 0 {
                        continue;
                    }
                    while rule(&session).await != Rule::ReadOnReplica {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    let found: i64 = session.read().query_scalar(sql, &[&value]).await.unwrap();
                    assert_eq!(found, 1, "{value}, on a replica");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let on_replicas = ["coordinator-r1", "coordinator-r2"]
        .map(|name| pool.statistics().node(name).unwrap().statements);
    assert!(on_replicas.iter().sum::<u64>() > 0, "{on_replicas:?}");
}

#[tokio::test]
async fn a_token_carries_the_writes_to_another_process() {
    let world = World::start(SHAPE);
    let pool = with_table(&world).await;
    pause(&world);
    let session = pool.session();
    session.write().execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    let token = session.token().await.unwrap().to_string();
    assert!(token.starts_with("pgherd;coordinator=1@"), "{token}");

    let elsewhere = world.pool();
    let after = elsewhere.session_after(&token.parse().unwrap()).unwrap();
    assert_eq!(count(&after).await, 1);
    assert_eq!(count(&elsewhere.session()).await, 0);
    resume(&world);
    until("the replicas have it", async || rule(&after).await == Rule::ReadOnReplica).await;
    assert_eq!(count(&after).await, 1);
    // What it gives on names what it was given, too.
    assert!(after.token().await.unwrap().to_string().starts_with("pgherd;coordinator=1@"));

    let foreign = "shop;coordinator=1@0/1".parse().unwrap();
    let error = elsewhere.session_after(&foreign).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    assert!(error.to_string().contains("`shop`"), "{error}");
}

#[tokio::test]
async fn leases_and_transactions_of_a_session_count_as_writes_until_they_end() {
    let world = World::start(SHAPE);
    let pool = with_table(&world).await;
    let session = pool.session();
    let lease = session.request(QueryType::Write).acquire().await.unwrap();
    assert_eq!(rule(&session).await, Rule::OwnWritesOnPrimary, "it may write at any moment");
    drop(lease);
    until("nothing is under way", async || rule(&session).await == Rule::ReadOnReplica).await;
    pause(&world);
    let tx = session.transaction().await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&session).await, 1);
    // A read that turns out to write is one.
    let silent = pool.session();
    silent.read().execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    assert_eq!(count(&silent).await, 2);
    resume(&world);
}

#[tokio::test]
async fn what_a_distributed_transaction_wrote_is_found_on_every_shard() {
    let world = World::start(Shape { shards: 2, replicas: 0, shard_replicas: 1, ..SHAPE });
    let pool = world.pool();
    pool.install_decision_table(&[]).await.unwrap();
    let shards = [ShardId(0), ShardId(1)];
    for shard in shards {
        pool.write().shard(shard).batch("CREATE TABLE t (a int4)").await.unwrap();
    }
    world.wait_replayed();
    for replica in ["shard-0-r1", "shard-1-r1"] {
        world.sql(replica, "SELECT pg_wal_replay_pause()");
    }
    let session = pool.session();
    // By md5, one on each shard.
    let tx = session.distributed_transaction([1, 2]).await.unwrap();
    for (_, cursor) in tx.cursors() {
        cursor.execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    }
    tx.commit().await.unwrap();
    for shard in shards {
        let found: i64 = session.read().shard(shard).query_scalar(COUNT, &[]).await.unwrap();
        assert_eq!(found, 1, "on shard {shard}");
    }
    let token = session.token().await.unwrap().to_string();
    assert_eq!(token.split(';').count(), 3, "{token}");
}
