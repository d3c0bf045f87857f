//! What takes too long, and what its client is told.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::{Cluster, ClusterSpec, Link, link::Mode};
use tokio_postgres::Client;
use world::raw::{Message, Raw};
use world::{World, eventually};

/// One core, one backend; `listen` and `pool` are appended to their sections.
fn world(listen: &str, pool: &str) -> World {
    World::start(0, &settings(listen, pool))
}

fn settings(listen: &str, pool: &str) -> String {
    format!(
        "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n{listen}\n\
         [pool]\nsize = 1\n{pool}\n"
    )
}

/// The SQLSTATE and the message of a statement that fails.
async fn fails(client: &Client, sql: &str) -> (String, String) {
    let error = client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap_or_else(|| panic!("{sql}: {error}"));
    (error.code().code().to_owned(), error.message().to_owned())
}

/// The fields of the error that comes next, which is the last thing that is said.
fn last_words(raw: &mut Raw) -> String {
    let mut said = raw.until('E').pop().map(text).unwrap();
    said.retain(|letter| letter != '\0');
    assert_eq!(raw.next(), None, "{said}");
    said
}

fn text((_, body): Message) -> String {
    String::from_utf8_lossy(&body).into_owned()
}

#[tokio::test]
async fn a_query_that_runs_for_too_long_is_cancelled_and_its_client_dismissed() {
    let world = world("query_timeout = \"1s\"", "");
    let client = world.connect().await;
    client.simple_query("select 1").await.unwrap();
    let (code, said) = fails(&client, "select pg_sleep(600)").await;
    assert_eq!(code, "57014");
    assert!(said.contains("(limit 1s, query_timeout)"), "{said}");
    let running = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)' \
                   and state = 'active'";
    let node = world.node("coordinator");
    eventually("it is cancelled", || node.psql(running).unwrap() == "0").await;
    world.connect().await.simple_query("select 1").await.unwrap();
}

#[tokio::test]
async fn a_transaction_that_is_open_for_too_long_is_rolled_back() {
    let world = world("transaction_timeout = \"2s\"", "");
    let mut raw = Raw::log_in(&world, &[]);
    raw.query("create table t (a int)");
    raw.query("begin");
    raw.query("insert into t values (1)");
    let said = last_words(&mut raw);
    assert!(said.contains("25P04") && said.contains("(limit 2s, transaction_timeout)"), "{said}");
    let next = world.connect().await;
    let count = next.query_one("select count(*) from t", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 0);
}

#[tokio::test]
async fn a_transaction_that_is_idle_for_too_long_is_rolled_back() {
    let world = world("idle_transaction_timeout = \"1s\"", "");
    let mut raw = Raw::log_in(&world, &[]);
    raw.query("begin");
    // Running is not idle.
    raw.query("select pg_sleep(2)");
    let said = last_words(&mut raw);
    assert!(said.contains("25P03") && said.contains("idle_transaction_timeout)"), "{said}");
    world.connect().await.simple_query("select 1").await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_idle_for_too_long_is_dismissed_whatever_it_holds() {
    for mode in ["transaction", "session"] {
        let world = world("client_idle_timeout = \"1s\"", &format!("mode = \"{mode}\""));
        let mut silent = Raw::log_in(&world, &[]);
        let said = last_words(&mut silent);
        assert!(said.contains("57P05") && said.contains("client_idle_timeout)"), "{said}");
        let mut raw = Raw::log_in(&world, &[]);
        // Neither running nor a transaction is idle.
        raw.query("begin");
        raw.query("select pg_sleep(2)");
        raw.query("commit");
        let said = last_words(&mut raw);
        assert!(said.contains("57P05"), "{mode}: {said}");
    }
}

#[tokio::test]
async fn a_user_may_have_its_own_limits() {
    let more = settings("query_timeout = \"500ms\"", "");
    let world = World::start(0, &format!("query_timeout = \"0s\"\n{more}"));
    world.connect().await.simple_query("select pg_sleep(1)").await.unwrap();

    let more = settings("", "acquire_timeout = \"10m\"");
    let limits = "acquire_timeout = \"2s\"\nidle_transaction_timeout = \"6s\"\n";
    let world = World::start(0, &format!("{limits}{more}"));
    let holder = world.connect().await;
    holder.simple_query("begin").await.unwrap();
    let (code, said) = fails(&world.connect().await, "select 1").await;
    assert!(code == "53300" && said.contains("limit 2s"), "{said}");
    eventually("the holder is dismissed", || holder.is_closed()).await;
}

#[tokio::test]
async fn a_databases_acquires_wait_for_as_long_as_it_says() {
    let database = "[[database]]\nname = \"app\"\nacquire_timeout = \"2s\"\n";
    let more = settings("", "acquire_timeout = \"10m\"");
    let world = World::start(0, &format!("{database}{more}"));
    let holder = world.connect().await;
    holder.simple_query("begin").await.unwrap();
    let (_, said) = fails(&world.connect().await, "select 1").await;
    assert!(said.contains("limit 2s"), "{said}");
}

#[test]
fn a_client_that_waits_is_told_so_once_and_served() {
    let world = world("wait_notice = \"100ms\"", "acquire_timeout = \"1m\"");
    let mut holder = Raw::log_in(&world, &[]);
    holder.query("begin");
    let mut waiter = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    pgherd_wire::frontend::put_query(&mut out, "select 1");
    waiter.send(&out);
    let notice = waiter.until('N').pop().map(text).unwrap();
    assert!(notice.contains("01000") && notice.contains("the client is queued"), "{notice}");
    assert!(notice.contains("limit 60s; 1 of 1 in use, 1 waiting"), "{notice}");
    holder.query("select pg_sleep(0.5); commit");
    let answer: Vec<char> = waiter.until('Z').into_iter().map(|(tag, _)| tag).collect();
    assert_eq!(answer, ['T', 'D', 'C', 'Z']);
}

#[test]
fn a_cancel_request_that_does_not_reach_its_node_is_given_up() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let between = link.address();
    let more = settings("cancel_wait_timeout = \"300ms\"", "connect_timeout = \"10m\"");
    let world = World::before(
        cluster,
        |settings| {
            settings.nodes[0].host = between.ip().to_string();
            settings.nodes[0].port = between.port();
        },
        &more,
    );
    let mut raw = Raw::log_in(&world, &[]);
    raw.query("select 1");
    let mut out = Vec::new();
    pgherd_wire::frontend::put_query(&mut out, "select pg_sleep(600)");
    raw.send(&out);
    let running = "select count(*) from pg_stat_activity where query like 'select pg_sleep(600)'";
    world::until("it runs", || world.node("coordinator").psql(running).unwrap() == "1");
    link.set(Mode::Stalled);
    // Returns once the proxy has closed the connection of the request.
    raw.cancel(&world);
    link.set(Mode::Healthy);
}

#[test]
fn a_client_that_does_not_log_in_is_told_so() {
    let world = World::start(0, "[listen]\nport = 0\nlogin_timeout = \"200ms\"\n");
    let mut raw = Raw::start(&world, &[]);
    let said = last_words(&mut raw);
    assert!(said.contains("28000") && said.contains("not complete after 200ms"), "{said}");
}
