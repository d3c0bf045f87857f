//! Which server runs what, by the servers' own word.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use tokio_postgres::{Client, SimpleQueryMessage};
use world::{TWO_CORES, World};

const TABLES: &str = "create table t (id int primary key, port int); create sequence s; \
     insert into t values (1, 0); \
     create view hides as select nextval('s') as n, inet_server_port() as port";

fn world() -> World {
    let world = World::start(2, TWO_CORES);
    world.psql(TABLES);
    world.cluster.wait_caught_up().unwrap();
    world
}

/// The port that the last row of a simple query names.
async fn port(client: &Client, sql: &str) -> u16 {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().rev().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    row.unwrap().get("port").unwrap().parse().unwrap()
}

#[tokio::test]
async fn selects_run_on_both_replicas_and_nowhere_else() {
    let world = world();
    let client = world.connect().await;
    let mut simple = BTreeMap::new();
    let mut prepared = BTreeMap::new();
    let statement = client.prepare("select inet_server_port() as port, $1::int4").await.unwrap();
    for _ in 0..50 {
        let sql = "select inet_server_port() as port from t where id = 1";
        *simple.entry(port(&client, sql).await).or_insert(0) += 1;
    }
    for number in 0..50 {
        let row = client.query_one(&statement, &[&number]).await.unwrap();
        *prepared.entry(row.get::<_, i32>(0)).or_insert(0) += 1;
    }
    let mut replicas: Vec<u16> = world.cluster.replicas(None).map(|node| node.port).collect();
    replicas.sort_unstable();
    assert_eq!(simple.keys().copied().collect::<Vec<_>>(), replicas, "{simple:?}");
    let replicas: Vec<i32> = replicas.into_iter().map(i32::from).collect();
    assert_eq!(prepared.keys().copied().collect::<Vec<_>>(), replicas, "{prepared:?}");
}

#[tokio::test]
async fn whatever_writes_runs_on_the_primary() {
    let world = world();
    let client = world.connect().await;
    let primary = world.node("coordinator").port;
    for (id, sql) in [
        "insert into t values ($id, 0) returning inet_server_port() as port",
        "update t set port = 0 where id = 1 returning inet_server_port() as port",
        "with x as (insert into t values ($id, 0) returning id) \
         select inet_server_port() as port from x",
        "select inet_server_port() as port from t where id = 1 for update",
        "select inet_server_port() as port from t where id = 1 for key share",
        "select nextval('s'), inet_server_port() as port",
        "select set_config('a.b', 'c', true), inet_server_port() as port",
        "select pg_advisory_xact_lock(1), inet_server_port() as port",
        "begin; select inet_server_port() as port; commit",
        "explain analyze insert into t values ($id, 0); select inet_server_port() as port",
        "create temp table x as select inet_server_port() as port; select port from x; drop table x",
    ]
    .into_iter()
    .enumerate()
    {
        let sql = sql.replace("$id", &(100 + id).to_string());
        assert_eq!(port(&client, &sql).await, primary, "{sql}");
        // What can be run twice is run as a prepared statement, too.
        if !sql.contains(';') && !sql.contains("insert") {
            let row = client.query_one(&sql, &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>("port"), i32::from(primary), "extended: {sql}");
        }
    }
    // The parser cannot see into a view. The replica refuses it, and nobody notices.
    assert_eq!(port(&client, "select port from hides").await, primary);
    let row = client.query_one("select port, 1 from hides", &[]).await.unwrap();
    assert_eq!(row.get::<_, i32>("port"), i32::from(primary));
    // Once refused, it is no read any more: the replica is not asked again.
    let log = |node: &pgherd_lab::Node| node.logs().matches("cannot execute nextval()").count();
    let refused: usize = world.cluster.replicas(None).map(log).sum();
    for _ in 0..5 {
        assert_eq!(port(&client, "select port from hides").await, primary);
    }
    assert_eq!(world.cluster.replicas(None).map(log).sum::<usize>(), refused);
    // What the client itself declares read-only is refused, as without the proxy.
    let script = "begin read only; select port from hides; rollback";
    let error = client.batch_execute(script).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "25006");
}

#[tokio::test]
async fn a_transaction_stays_on_the_server_where_it_began() {
    let world = world();
    let mut client = world.connect().await;
    let primary = i32::from(world.node("coordinator").port);
    for _ in 0..5 {
        let transaction = client.transaction().await.unwrap();
        for _ in 0..5 {
            let sql = "select inet_server_port(), pg_backend_pid()";
            let row = transaction.query_one(sql, &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), primary);
        }
        transaction.commit().await.unwrap();
    }
    // One that is declared read-only may be anywhere, but in one place.
    let transaction = client.build_transaction().read_only(true).start().await.unwrap();
    let mut pids = BTreeMap::new();
    for _ in 0..5 {
        let row = transaction.query_one("select pg_backend_pid()", &[]).await.unwrap();
        *pids.entry(row.get::<_, i32>(0)).or_insert(0) += 1;
    }
    transaction.commit().await.unwrap();
    assert_eq!(pids.len(), 1, "{pids:?}");
}

#[tokio::test]
async fn without_the_setting_no_read_leaves_the_primary() {
    let more = format!("{TWO_CORES}[routing]\nread_from_replicas = false\n");
    let world = World::start(1, &more);
    let client = world.connect().await;
    for _ in 0..4 {
        let at = port(&client, "select inet_server_port() as port").await;
        assert_eq!(at, world.node("coordinator").port);
    }
}
