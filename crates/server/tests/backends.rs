//! Backends from their opening to their end: asked, set up, reset, lent in turn, closed.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::link::Mode;
use pgherd_lab::{Cluster, ClusterSpec, Link};
use tokio_postgres::{Client, SimpleQueryMessage};
use world::{World, eventually};

fn world(pool: &str) -> World {
    World::start(0, &settings("", pool))
}

/// One core; `before` comes before the sections, where `[[user]]` stands last.
fn settings(before: &str, pool: &str) -> String {
    format!("{before}\n[listen]\nport = 0\nworkers = 1\n[pool]\n{pool}\n")
}

async fn ask(client: &Client, sql: &str) -> String {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default().to_owned()),
        _ => None,
    });
    row.unwrap()
}

const PROCESS: &str = "select pg_backend_pid()";

/// Opens two backends, and returns who is served by them then, one statement after the other.
async fn served_in_turn(world: &World) -> Vec<String> {
    let clients = [world.connect().await, world.connect().await];
    for client in &clients {
        client.simple_query("begin").await.unwrap();
    }
    for client in &clients {
        client.simple_query("commit").await.unwrap();
    }
    let mut processes = Vec::new();
    for _ in 0..4 {
        processes.push(ask(&clients[0], PROCESS).await);
    }
    processes
}

#[tokio::test]
async fn the_backend_used_last_is_lent_or_all_in_turn() {
    let served = served_in_turn(&world("size = 2")).await;
    assert!(served.iter().all(|process| *process == served[0]), "{served:?}");
    let served = served_in_turn(&world("size = 2\nround_robin = true")).await;
    assert!(
        served[0] != served[1] && served[0] == served[2] && served[1] == served[3],
        "{served:?}"
    );
}

#[tokio::test]
async fn a_backend_that_was_idle_is_asked_whether_it_is_there() {
    let world =
        world("size = 1\ncheck_after = \"0s\"\ncheck_query = \"set application_name = 'asked'\"");
    let client = world.connect().await;
    client.simple_query("select 1").await.unwrap();
    // What it was asked shows, because it was asked in its own session.
    assert_eq!(ask(&client, "select current_setting('application_name')").await, "asked");
}

#[tokio::test]
async fn an_idle_backend_that_does_not_answer_is_replaced_unseen() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let port = link.address().port();
    let pool = "size = 2\ncheck_after = \"0s\"\nacquire_timeout = \"8s\"\nconnect_timeout = \"1s\"\n\
                [health]\ninterval = \"10m\"";
    let before = |settings: &mut pgherd_core::Settings| settings.nodes[0].port = port;
    let world = World::before(cluster, before, &settings("", pool));
    let client = world.connect().await;
    let process = ask(&client, PROCESS).await;
    // Answers are lost on the connections that there are, as behind a firewall that has forgotten them.
    link.set(Mode::HalfOpen);
    let before = link.made();
    let answer = ask(&client, PROCESS);
    let heal = async {
        eventually("another connection", || link.made() > before).await;
        link.set(Mode::Healthy);
    };
    let (another, ()) = tokio::join!(answer, heal);
    assert_ne!(another, process);
}

#[tokio::test]
async fn a_check_that_fails_replaces_the_backend() {
    let world = world("size = 1\ncheck_after = \"0s\"\ncheck_query = \"select 1 / 0\"");
    let client = world.connect().await;
    let first = ask(&client, PROCESS).await;
    assert_ne!(ask(&client, PROCESS).await, first);
}

#[tokio::test]
async fn the_connect_query_is_run_before_any_client_and_again_behind_a_reset() {
    let before = "[[database]]\nname = \"app\"\nconnect_query = \"set app.tenant = 'all'\"";
    let world = World::start(0, &settings(before, "size = 1"));
    let tenant = "select current_setting('app.tenant', true)";
    let client = world.connect().await;
    assert_eq!(ask(&client, tenant).await, "all");
    client.simple_query("create temp table mine (a int); drop table mine").await.unwrap();
    client.simple_query("prepare p as select 1").await.unwrap();
    drop(client);
    assert_eq!(ask(&world.connect().await, tenant).await, "all");
}

#[tokio::test]
async fn a_connect_query_that_fails_keeps_nobody_out() {
    let before = "[[database]]\nname = \"app\"\nconnect_query = \"select 1 / 0\"";
    let world = World::start(0, &settings(before, "size = 1"));
    assert_eq!(ask(&world.connect().await, "select 'in'").await, "in");
}

/// What another client finds of a setting that the body of a function has made, which nobody sees.
async fn left_behind(pool: &str) -> String {
    let world = world(pool);
    let node = world.node("coordinator");
    node.psql(
        "create function hidden() returns text language sql as \
         $$ select set_config('app.tenant', 'mine', false) $$",
    )
    .unwrap();
    world.connect().await.simple_query("select hidden()").await.unwrap();
    ask(&world.connect().await, "select coalesce(current_setting('app.tenant', true), '')").await
}

#[tokio::test]
async fn a_backend_may_be_reset_after_each_lease() {
    assert_eq!(left_behind("size = 1").await, "mine");
    assert_eq!(left_behind("size = 1\nreset_always = true").await, "");
}

#[tokio::test]
async fn more_may_be_run_when_a_backend_is_reset() {
    let pool = "size = 1\nreset_always = true\nreset_query = \"set app.tenant = 'was reset'\"";
    assert_eq!(left_behind(pool).await, "was reset");
    // One that fails ends the backend.
    let failing = world("size = 1\nreset_always = true\nreset_query = \"select 1 / 0\"");
    let client = failing.connect().await;
    let first = ask(&client, PROCESS).await;
    assert_ne!(ask(&client, PROCESS).await, first);
}

#[tokio::test]
async fn a_backend_that_is_too_old_is_closed_in_a_database_that_says_so() {
    let before = "[[database]]\nname = \"app\"\nmax_lifetime = \"1s\"";
    let world = World::start(0, &settings(before, "size = 1"));
    let client = world.connect().await;
    let first = ask(&client, PROCESS).await;
    // In use it is not closed, and then at once.
    client.simple_query("begin; select pg_sleep(1.1)").await.unwrap();
    assert_eq!(ask(&client, PROCESS).await, first);
    client.simple_query("commit").await.unwrap();
    assert_ne!(ask(&client, PROCESS).await, first);
    eventually("the idle one is closed", || world.backends_at("coordinator") == 0).await;
}

#[tokio::test]
async fn who_would_wait_in_vain_for_the_next_try_is_told_at_once() {
    let world =
        world("acquire_timeout = \"2s\"\nopen_retry = \"10m\"\n[health]\ninterval = \"100ms\"");
    let client = world.connect().await;
    client.simple_query("select 1").await.unwrap();
    world.node("coordinator").kill().unwrap();
    let mut said = Vec::new();
    // The tries come after 100 ms, 200 ms, and so on; at last the next one is too far away.
    loop {
        let Ok(client) = world.try_connect("").await else { break };
        let error = client.simple_query("select 1").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        said.push(format!("{} {:?}", error.message(), error.detail()));
        let last = said.last().unwrap();
        if last.contains("after 0.0ns ") && last.contains("(pool.open_retry)") {
            return;
        }
        assert!(said.len() < 50, "{said:#?}");
    }
    panic!("not let in: {said:#?}");
}
