//! For how long a client holds a backend: session, transaction, statement.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::SocketAddr;

use pgherd_core::Settings;
use pgherd_lab::{Cluster, ClusterSpec, PgBouncer};
use tokio_postgres::{Client, SimpleQueryMessage};
use world::beside::{Beside, log_in};
use world::raw::{Raw, text_of};
use world::{World, eventually, until};

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
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
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

/// What a client is told that is seen off.
fn seen_off(client: &mut Raw) -> String {
    let told = client.until('E').pop().and_then(text_of).unwrap();
    assert_eq!(client.next(), None);
    told
}

#[test]
fn in_session_mode_a_backend_that_is_to_be_closed_takes_its_client_along_if_it_may() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    for (mode, fast, takes_along) in
        [("session", 1, true), ("session", 0, false), ("transaction", 1, false)]
    {
        let more = format!("server_fast_close = {fast}\npool_mode = {mode}\n");
        let beside = Beside::start(&cluster, "", &more);
        beside.same(|at: SocketAddr| {
            let mut console = log_in(at, &[("user", "dba"), ("database", "pgbouncer")]).0;
            let [mut idle, mut busy, mut fresh] = [(); 3].map(|()| log_in(at, &[]).0);
            let of_idle = idle.query(PROCESS);
            busy.query("begin");
            let held = busy.query(PROCESS);
            assert_eq!(console.query("reconnect"), Vec::<String>::new());
            if takes_along {
                seen_off(&mut idle);
            } else {
                assert_eq!(idle.query("select 1"), ["1"]);
            }
            assert_eq!(busy.query(PROCESS), held);
            assert_eq!(busy.query("commit"), Vec::<String>::new());
            if takes_along {
                seen_off(&mut busy);
            } else {
                assert_eq!(busy.query(PROCESS) == held, mode == "session", "{mode}");
            }
            // Who has no backend loses none.
            assert_eq!(fresh.query("select 1"), ["1"]);
            let (of_idle, held) = (&of_idle[0], &held[0]);
            let open =
                format!("select count(*) from pg_stat_activity where pid in ({of_idle}, {held})");
            if takes_along {
                until("theirs are closed", || fresh.query(&open) == ["0"]);
            }
        });
    }
}

#[test]
fn a_reload_that_changes_a_database_takes_whole_sessions_along_if_it_may() {
    let more = |zone: &str| {
        format!(
            "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nmode = \"session\"\n\
             fast_close = true\n[[database]]\nname = \"app\"\ntimezone = \"{zone}\"\n"
        )
    };
    let world = World::start(0, &more("Asia/Tokyo"));
    let [mut idle, mut busy] = [(); 2].map(|()| Raw::log_in(&world, &[]));
    let zone = "show timezone";
    assert_eq!(
        (idle.query(zone), busy.query("begin; show timezone").len()),
        (vec!["Asia/Tokyo".to_owned()], 1)
    );
    let text = world.cluster.settings_toml(&more("Europe/Paris"));
    let settings = Settings::from_toml(&text, "test").unwrap();
    world.server().reload_from(move || Ok(settings.clone())).reload().unwrap();
    let told = "57P01: terminating connection because its database has changed";
    assert_eq!(seen_off(&mut idle), told);
    assert_eq!(busy.query(zone), ["Asia/Tokyo"]);
    assert_eq!(busy.query("rollback"), Vec::<String>::new());
    assert_eq!(seen_off(&mut busy), told);
    assert_eq!(Raw::log_in(&world, &[]).query(zone), ["Europe/Paris"]);
}
