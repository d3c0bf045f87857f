//! Statements of every kind on one door: a row or none, rows as they come, COPY, pipelines.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, TryStreamExt};
use pgherd::{DistributedPool, ErrorKind, Retry};
use pgherd_lab::Link;
use pgherd_lab::link::Mode;
use world::{Door, Shape, World, at_each_door, port_of, until};

at_each_door! {
    #[tokio::test]
    one_row_or_none_or_a_value_is_taken_or_it_is_said_why_not,
    #[tokio::test]
    rows_come_in_order_and_the_backend_is_free_behind_the_last,
    #[tokio::test]
    copies_carry_data_both_ways,
    #[tokio::test]
    an_abandoned_copy_leaves_no_row_and_a_clean_backend,
    #[tokio::test]
    a_pipeline_answers_in_order_and_an_error_stops_nothing,
    #[tokio::test]
    an_error_does_not_cost_whoever_comes_next_a_new_backend,
}

/// A table of the numbers from 1 to 100000.
async fn numbers(pool: &DistributedPool) {
    let script =
        "CREATE TABLE t (n int4 PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100000)";
    pool.ddl().batch(script).await.unwrap();
}

async fn one_row_or_none_or_a_value_is_taken_or_it_is_said_why_not(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    let series = "SELECT n, 'x' FROM generate_series(1, $1::int4) n";
    let read = pool.read();
    assert!(read.query_opt(series, &[&0]).await.unwrap().is_none());
    assert_eq!(read.query_opt(series, &[&1]).await.unwrap().unwrap().get::<_, i32>(0), 1);
    let error = read.query_opt(series, &[&2]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Usage, Retry::No));

    assert_eq!(read.query_scalar::<i32>(series, &[&1]).await.unwrap(), 1);
    let none: Option<i64> = pool.auto("SELECT NULL::int8").query_scalar(&[]).await.unwrap();
    assert_eq!(none, None);
    let error = read.query_scalar::<String>(series, &[&1]).await.unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::Usage, true));
    let error = read.query_scalar::<i32>(series, &[&0]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
}

async fn rows_come_in_order_and_the_backend_is_free_behind_the_last(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.builder().pool_size(1).build().unwrap();
    numbers(&pool).await;
    let sql = "SELECT n FROM t WHERE n > $1 ORDER BY n";
    let mut rows = pool.read().query_stream(sql, &[&0]).await.unwrap();
    assert_eq!(rows.node(), "coordinator");
    let mut expected = 1;
    while let Some(row) = rows.try_next().await.unwrap() {
        assert_eq!(row.get::<_, i32>(0), expected);
        expected += 1;
    }
    assert_eq!(expected, 100_001);
    // The only backend, while the stream that has ended is still held.
    pool.read().query("SELECT 1", &[]).await.unwrap();
    assert!(rows.next().await.is_none());

    let mut none = pool.auto(sql).query_stream(&[&100_000]).await.unwrap();
    assert!(none.next().await.is_none());
    let error = pool.read().query_stream("SELECT 1/0", &[]).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("22012"));
    let late = "SELECT 1 / (50000 - n) FROM t ORDER BY n";
    let rows = pool.read().query_stream(late, &[]).await.unwrap();
    let rows: Vec<_> = rows.collect().await;
    assert_eq!(rows.len(), 50_000, "49999 rows and the error");
    let error = rows.into_iter().next_back().unwrap().unwrap_err();
    assert_eq!((error.sqlstate(), error.node()), (Some("22012"), Some("coordinator")));
}

async fn copies_carry_data_both_ways(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.builder().pool_size(1).build().unwrap();
    numbers(&pool).await;
    pool.ddl().batch("CREATE TABLE copied (n int4 PRIMARY KEY)").await.unwrap();
    let out = pool.read().copy_out("COPY (SELECT n FROM t ORDER BY n) TO STDOUT").await.unwrap();
    assert_eq!(out.node(), "coordinator");
    let data: Vec<Bytes> = out.try_collect().await.unwrap();
    let mut copy = pool.write().copy_in("COPY copied FROM STDIN").await.unwrap();
    for piece in &data {
        copy.send(piece.clone()).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 100_000);
    let sum: i64 = pool.read().query_scalar("SELECT sum(n) FROM copied", &[]).await.unwrap();
    assert_eq!(sum, 5_000_050_000);

    // What the node says of the data, and of the statement.
    let mut copy = pool.auto("COPY copied FROM STDIN").copy_in().await.unwrap();
    copy.send("100001\nno number\n".into()).await.unwrap();
    let error = copy.finish().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Database, Some("22P02")));
    let error = pool.write().copy_in("COPY nowhere FROM STDIN").await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42P01"));
    let error = pool.read().copy_out("SELECT 1").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    let count: i64 = pool.auto("SELECT count(*) FROM copied").query_scalar(&[]).await.unwrap();
    assert_eq!(count, 100_000);
    let empty = pool.read().copy_out("COPY (SELECT 1 WHERE false) TO STDOUT").await.unwrap();
    assert!(empty.try_collect::<Vec<_>>().await.unwrap().is_empty());
}

async fn an_abandoned_copy_leaves_no_row_and_a_clean_backend(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.builder().pool_size(1).build().unwrap();
    pool.ddl().batch("CREATE TABLE t (n int4)").await.unwrap();
    // A node that is slow to say so loses the backend: not each time.
    until("the backend of an abandoned copy is used again", async || {
        let before = pool.statistics().opens;
        let mut copy = pool.write().copy_in("COPY t FROM STDIN").await.unwrap();
        copy.send("1\n2\n".into()).await.unwrap();
        copy.flush().await.unwrap();
        drop(copy);
        let count: i64 = pool.write().query_scalar("SELECT count(*) FROM t", &[]).await.unwrap();
        assert_eq!(count, 0);
        before > 0 && pool.statistics().opens == before
    })
    .await;
    world.assert_no_answer_went_astray();
}

/// PostgreSQL sends an error before it says that it is ready again, which may be a little later.
async fn an_error_does_not_cost_whoever_comes_next_a_new_backend(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    let wrong = "SELECT 1 / ($1::int4 - 1)";
    for _ in 0..20 {
        pool.write().query(wrong, &[&1]).await.unwrap_err();
        pool.write().execute(wrong, &[&1]).await.unwrap_err();
        pool.write().batch("SELECT 1 / 0").await.unwrap_err();
        pool.write().query_stream(wrong, &[&1]).await.err().unwrap();
        let pipeline = pool.write().pipeline().add("SELECT 1", &[]).add(wrong, &[&1]);
        pipeline.run().await.unwrap()[1].as_ref().unwrap_err();
        let lease = pool.write().acquire().await.unwrap();
        lease.simple_query("SELECT 1 / 0").await.unwrap_err();
    }
    assert_eq!(pool.statistics().opens, 1);
}

async fn a_pipeline_answers_in_order_and_an_error_stops_nothing(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.pool();
    pool.ddl().batch("CREATE TABLE t (n int4 PRIMARY KEY)").await.unwrap();
    let insert = "INSERT INTO t VALUES ($1), ($1 + 100)";
    for turn in 0..2 {
        let answers = pool
            .write()
            .pipeline()
            .add(insert, &[&turn])
            .add(insert, &[&turn])
            .add("SELECT n FROM t WHERE n % 100 = $1 ORDER BY n", &[&turn])
            .add("SELECT nonsense", &[])
            .add("DELETE FROM t WHERE n = $1", &[&(100 + turn)])
            .run()
            .await
            .unwrap();
        let [first, again, read, nonsense, deleted] = <[_; 5]>::try_from(answers).unwrap();
        assert_eq!(first.unwrap().affected, 2);
        assert_eq!(again.unwrap_err().sqlstate(), Some("23505"));
        let read = read.unwrap();
        let found: Vec<i32> = read.rows.iter().map(|row| row.get(0)).collect();
        assert_eq!((found, read.affected), (vec![turn, 100 + turn], 2));
        assert_eq!(nonsense.unwrap_err().sqlstate(), Some("42703"));
        assert_eq!(deleted.unwrap().affected, 1);
    }
    assert!(pool.read().pipeline().run().await.unwrap().is_empty());
    let counters = pool.statistics().counters;
    assert_eq!((counters.total, counters.writes, counters.errors), (11, 11, 4));
}

// What follows needs the node itself, or a link to it.

fn linked(world: &World) -> (Link, DistributedPool) {
    let link = Link::to(SocketAddr::from(([127, 0, 0, 1], world.port("coordinator")))).unwrap();
    let port = link.address().port();
    (link, world.builder_at(|_| port).build().unwrap())
}

#[tokio::test]
async fn a_pipeline_leaves_in_one_go_and_a_known_statement_without_asking() {
    let world = World::start(Shape::default());
    let (link, pool) = linked(&world);
    pool.ddl().batch("CREATE TABLE t (n int4)").await.unwrap();
    let insert = "INSERT INTO t VALUES ($1)";
    let run = async |pool: DistributedPool, n: i32| {
        let pipeline = pool.write().pipeline();
        pipeline.add(insert, &[&n]).add(insert, &[&(n + 1)]).add(insert, &[&(n + 2)]).run().await
    };
    run(pool.clone(), 0).await.unwrap();
    let count = async || world.sql("coordinator", "SELECT count(*) FROM t");
    assert_eq!(count().await, "3");

    // Requests arrive and answers do not: what runs has not waited for one.
    link.set(Mode::HalfOpen);
    let unanswered = tokio::spawn({
        let pool = pool.clone();
        async move { run(pool, 10).await.map(drop) }
    });
    until("all three have run", async || count().await == "6").await;
    unanswered.abort();
    let _ = unanswered.await;

    // The same for a single statement that the backend knows.
    link.cut();
    link.set(Mode::Healthy);
    pool.write().execute(insert, &[&20]).await.unwrap();
    link.set(Mode::HalfOpen);
    let unanswered = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write().execute(insert, &[&21]).await.map(drop) }
    });
    until("it has run", async || count().await == "8").await;
    unanswered.abort();
    let _ = unanswered.await;
}

#[tokio::test]
async fn a_stream_that_nobody_reads_makes_the_node_wait_and_ends_when_it_is_dropped() {
    let world = World::start(Shape::default());
    let pool = world.builder().pool_size(1).build().unwrap();
    let sql = "SELECT repeat('x', 1000) FROM generate_series(1, 100000000)";
    let state = async || {
        let sql = "SELECT coalesce(wait_event, state) FROM pg_stat_activity \
                   WHERE application_name = 'pgherd pgherd' AND query LIKE '%repeat(%'";
        world.sql("coordinator", sql)
    };
    let mut rows = pool.read().query_stream(sql, &[]).await.unwrap();
    for _ in 0..1000 {
        rows.try_next().await.unwrap().unwrap();
    }
    until("the node waits for the reader", async || state().await == "ClientWrite").await;
    drop(rows);
    until("the rest is cancelled", async || state().await.is_empty()).await;
    let copy = "COPY (SELECT repeat('x', 1000) FROM generate_series(1, 100000000)) TO STDOUT";
    let mut data = pool.read().copy_out(copy).await.unwrap();
    data.try_next().await.unwrap().unwrap();
    until("the node waits for the reader", async || state().await == "ClientWrite").await;
    drop(data);
    pool.read().query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_stream_is_begun_again_until_its_first_row_and_not_after() {
    let world = World::start(Shape { replicas: 1, ..Shape::ONE });
    let pool = world.pool();
    let replica = world.port("coordinator-r1");
    let begun = tokio::spawn({
        let pool = pool.clone();
        let sql = "SELECT inet_server_port() FROM pg_sleep(1)";
        async move { pool.read().query_stream(sql, &[]).await }
    });
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1)' \
                   AND state = 'active' AND pid <> pg_backend_pid()";
    until("it runs", async || world.sql("coordinator-r1", running) == "1").await;
    world.kill("coordinator-r1");
    let mut rows = begun.await.unwrap().unwrap();
    assert_ne!(port_of(&rows.try_next().await.unwrap().unwrap()), replica);
    assert_eq!(pool.statistics().counters.retries, 1);

    world.start_node("coordinator-r1");
    let id = pool.topology().node_named("coordinator-r1").unwrap().id;
    until("it is in again", async || pool.topology().is_readable_replica(id)).await;
    let sql = "SELECT n, repeat('x', 1000) FROM generate_series(1, 1000000) n";
    let mut rows = pool.read().query_stream(sql, &[]).await.unwrap();
    assert_eq!(rows.node(), "coordinator-r1");
    let mut read = 0;
    let error = loop {
        match rows.next().await.unwrap() {
            Ok(row) => {
                read += 1;
                assert_eq!(row.get::<_, i32>(0), read);
            }
            Err(error) => break error,
        }
        if read == 1000 {
            world.kill("coordinator-r1");
        }
    };
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::ConnectionLost, Some("08006")));
    assert!(rows.next().await.is_none(), "the error is the last item");
    assert_eq!(pool.statistics().counters.retries, 1);
}

#[tokio::test]
async fn a_copy_that_loses_its_connection_says_whether_its_rows_may_be_there() {
    let world = World::start(Shape::default());
    let (link, pool) = linked(&world);
    pool.ddl().batch("CREATE TABLE t (n int4)").await.unwrap();
    // Before the end of the data has left: no row can be there.
    let mut copy = pool.write().copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("1\n".into()).await.unwrap();
    link.cut();
    let error = loop {
        match copy.send("1\n".repeat(10_000).into()).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::ConnectionLost, false));
    assert_eq!(error.sqlstate(), Some("08006"));
    drop(copy);
    assert_eq!(world.sql("coordinator", "SELECT count(*) FROM t"), "0");

    // Behind it: they may, and here they are.
    let mut copy = pool.write().copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("1\n".into()).await.unwrap();
    link.set(Mode::HalfOpen);
    let finish = tokio::spawn(copy.finish());
    let count = "SELECT count(*) FROM t";
    until("the row is there", async || world.sql("coordinator", count) == "1").await;
    link.cut();
    let error = finish.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.was_sent()), (ErrorKind::ConnectionLost, true));
    assert_eq!((error.sqlstate(), error.retry()), (Some("08007"), Retry::No));
}
