//! For how long a client holds a backend: session, transaction, statement.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use tokio_postgres::{Client, SimpleQueryMessage};
use world::{World, eventually};

const POOL: &str = "[listen]\nport = 0\nworkers = 1\n[pool]\nsize = 1\n";

fn world(settings: &str) -> World {
    World::start(0, &format!("{POOL}{settings}"))
}

async fn ask(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    row.unwrap()
}

/// The SQLSTATE and the message of a statement that fails.
async fn fails(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

const PROCESS: &str = "select pg_backend_pid()";

#[tokio::test]
async fn in_session_mode_a_client_keeps_its_backend_until_it_leaves() {
    let world = world("mode = \"session\"\nacquire_timeout = \"2s\"\n");
    world
        .node("coordinator")
        .psql(
            "create function hidden() returns text language sql as \
         $$ select set_config('app.tenant', 'mine', false) $$",
        )
        .unwrap();
    let client = world.connect().await;
    // Until it says something it needs none.
    let other = world.connect().await;
    let process = ask(&client, PROCESS).await;
    client.simple_query("create temp table mine (a int); select hidden()").await.unwrap();
    assert_eq!(ask(&client, PROCESS).await, process);
    assert_eq!(ask(&client, "select count(*) from mine").await, "0");
    assert!(world.server().pins().is_empty(), "it needs no pin");

    let (code, said) = fails(&other, "select 1").await;
    assert_eq!(code, "53300", "{said}");

    drop(client);
    let next = world.connect().await;
    let left = "select coalesce(current_setting('app.tenant', true), '') || count(*) \
                from pg_class where relname = 'mine'";
    assert_eq!(ask(&next, left).await, "0");
    assert_eq!(ask(&next, PROCESS).await, process);
}

#[tokio::test]
async fn in_session_mode_a_lost_backend_ends_the_session() {
    let world = world("mode = \"session\"\n");
    let client = world.connect().await;
    let process = ask(&client, PROCESS).await;
    world.node("coordinator").psql(&format!("select pg_terminate_backend({process})")).unwrap();
    eventually("the client is told", || client.is_closed()).await;
    assert_ne!(ask(&world.connect().await, PROCESS).await, process);
}

#[tokio::test]
async fn in_session_mode_everything_runs_on_the_primary() {
    let settings = "[listen]\nport = 0\n[pool]\nmode = \"session\"\n";
    let world = World::start(1, settings);
    let client = world.connect().await;
    for _ in 0..3 {
        assert_eq!(ask(&client, "select pg_is_in_recovery()").await, "f");
    }
}

#[tokio::test]
async fn in_statement_mode_transaction_blocks_are_refused() {
    let world = world("mode = \"statement\"\n");
    let client = world.connect().await;
    client.simple_query("create table t (a int)").await.unwrap();
    client.simple_query("insert into t values (1); insert into t values (2)").await.unwrap();
    assert!(client.query_one("select 1", &[]).await.is_ok());
    let (code, said) = fails(&client, "begin; insert into t values (3)").await;
    assert_eq!(code, "0A000");
    assert!(said.contains("database \"app\""), "{said}");
    assert!(client.simple_query("select 1").await.is_err(), "it is dismissed");
    // What it has begun is rolled back, and its backend serves others.
    let next = world.connect().await;
    assert_eq!(ask(&next, "select string_agg(a::text, ',' order by a) from t").await, "1,2");
}

#[tokio::test]
async fn a_login_or_a_database_may_have_its_own_mode() {
    let user = "pool_mode = \"session\"\n[[user]]\nname = \"clerk\"\npassword = \"c\"\n";
    let databases = "[[database]]\nname = \"app\"\npool_mode = \"statement\"\n\
                     [[database]]\nname = \"other\"\ndatabase = \"app\"\n";
    let cluster = pgherd_lab::Cluster::start(&pgherd_lab::ClusterSpec::default()).unwrap();
    cluster.node("coordinator").unwrap().psql("create role clerk login password 'c'").unwrap();
    let world = World::before(cluster, |_| {}, &format!("{user}{databases}{POOL}"));
    // The user's goes before the database's.
    let session = world.connect().await;
    session.simple_query("begin; commit; create temp table mine (a int)").await.unwrap();
    assert_eq!(ask(&session, "select count(*) from mine").await, "0");
    assert!(world.server().pins().is_empty());
    let clerk = "user=clerk password=c";
    let statement = world.try_connect(clerk).await.unwrap();
    assert_eq!(fails(&statement, "begin").await.0, "0A000");
    let transaction = world.try_connect(&format!("{clerk} dbname=other")).await.unwrap();
    transaction.simple_query("begin").await.unwrap();
    transaction.simple_query("commit").await.unwrap();
}
