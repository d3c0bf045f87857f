//! How many backends and clients there may be, and how many are kept ready.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::TcpStream;

use pgherd_lab::{Cluster, ClusterSpec};
use tokio_postgres::Client;
use world::raw::{Raw, text_of};
use world::{World, eventually, until};

/// Two databases and two logins; `users` and `databases` are lines of `[[user]]` "app" and
/// further tables.
fn world(app: &str, databases: &str, sections: &str) -> World {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let node = cluster.coordinator();
    node.psql("create role clerk login password 'clerk-secret'").unwrap();
    node.psql("create database reports").unwrap();
    let clerk = "[[user]]\nname = \"clerk\"\npassword = \"clerk-secret\"\n";
    World::before(cluster, |_| {}, &format!("{app}\n{clerk}\n{databases}\n{sections}"))
}

const CLERK: &str = "user=clerk password=clerk-secret";

const BOTH: &str = "[[database]]\nname = \"app\"\n[[database]]\nname = \"reports\"\n";

/// Backends of clients at the coordinator.
fn backends(world: &World) -> usize {
    let count = "select count(*) from pg_stat_activity where backend_type = 'client backend' \
                 and usename in ('app', 'clerk') and application_name not like 'pgherd/%'";
    world.node("coordinator").psql(count).unwrap().parse().unwrap()
}

async fn fails(client: &Client, sql: &str) -> String {
    let error = client.simple_query(sql).await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53300", "{error}");
    error.message().to_owned()
}

async fn refused(world: &World, options: &str) -> String {
    let error = world.try_connect(options).await.err().unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53300", "{error}");
    error.message().to_owned()
}

#[tokio::test]
async fn a_pool_has_its_reserve_for_who_has_waited_for_long() {
    for (user, database, pool) in [
        ("", "", "reserve_size = 1"),
        ("", "[[database]]\nname = \"app\"\nreserve_size = 1", ""),
        ("reserve_size = 1", "", ""),
    ] {
        let sections = format!(
            "[listen]\nport = 0\nworkers = 1\n[pool]\nsize = 1\nreserve_after = \"100ms\"\n\
             acquire_timeout = \"4s\"\n{pool}\n"
        );
        let world = world(user, database, &sections);
        let (first, second) = (world.connect().await, world.connect().await);
        first.simple_query("begin").await.unwrap();
        second.simple_query("begin").await.unwrap();
        let said = fails(&world.connect().await, "select 1").await;
        assert!(said.contains("2 of 1 in use and 1 in reserve"), "{said}");
    }
}

#[tokio::test]
async fn a_database_has_so_many_backends_and_idle_ones_make_room() {
    let database =
        "[[database]]\nname = \"app\"\nmax_backends = 1\n[[database]]\nname = \"reports\"";
    let whole = "[pool]\nmax_backends_per_database = 1\n";
    for (databases, pool) in [(database, "[pool]\n"), (BOTH, whole)] {
        let sections = format!("[listen]\nport = 0\nworkers = 2\n{pool}acquire_timeout = \"4s\"\n");
        let world = world("", databases, &sections);
        let (own, clerk) = (world.connect().await, world.try_connect(CLERK).await.unwrap());
        for _ in 0..3 {
            own.simple_query("select 1").await.unwrap();
            clerk.simple_query("select 1").await.unwrap();
        }
        assert_eq!(backends(&world), 1);
        own.simple_query("begin").await.unwrap();
        let said = fails(&clerk, "select 1").await;
        assert!(said.contains("1 of 1 in those it shares a limit with"), "{said}");
        // Another database is none of its business.
        let reports = world.try_connect("dbname=reports").await.unwrap();
        reports.simple_query("select 1").await.unwrap();
    }
}

#[tokio::test]
async fn a_login_has_so_many_backends_in_all_databases() {
    for (user, pool) in
        [("max_backends = 1", "[pool]\n"), ("", "[pool]\nmax_backends_per_user = 1\n")]
    {
        let sections = format!("[listen]\nport = 0\nworkers = 2\n{pool}acquire_timeout = \"4s\"\n");
        let world = world(user, BOTH, &sections);
        let own = world.connect().await;
        own.simple_query("begin").await.unwrap();
        let reports = world.try_connect("dbname=reports").await.unwrap_err();
        assert!(reports.as_db_error().unwrap().message().contains("shares a limit"), "{reports}");
        let clerk = world.try_connect(CLERK).await.unwrap();
        clerk.simple_query("select 1").await.unwrap();
        own.simple_query("commit").await.unwrap();
        let reports = world.try_connect("dbname=reports").await.unwrap();
        reports.simple_query("select 1").await.unwrap();
    }
}

#[tokio::test]
async fn backends_are_kept_ready_while_a_client_is_there() {
    let sections = "[listen]\nport = 0\nworkers = 2\n[pool]\nmin_idle = 3\nidle_timeout = \"1s\"\n";
    let world = world("", "", sections);
    assert_eq!(backends(&world), 0);
    let client = world.connect().await;
    client.simple_query("select 1").await.unwrap();
    eventually("three are ready", || backends(&world) >= 3).await;
    drop(client);
    eventually("none is", || backends(&world) == 0).await;
}

#[test]
fn backends_of_a_login_that_clients_share_are_kept_ready_from_the_start() {
    let database = "[[database]]\nname = \"app\"\nuser = \"clerk\"\nmin_idle = 2\n";
    let world = world("", database, "[listen]\nport = 0\nworkers = 2\n");
    until("two are ready", || backends(&world) == 2);
}

#[tokio::test]
async fn a_database_and_a_user_have_so_many_clients() {
    let of_database = "[[database]]\nname = \"app\"\nmax_clients = 1\n";
    for (user, databases, listen, whose) in [
        ("", of_database, "", "database \"app\""),
        ("", "", "max_clients_per_database = 1\n", "database \"app\""),
        ("max_clients = 1", "", "", "user \"app\""),
        ("", "", "max_clients_per_user = 1\n", "user \"app\""),
    ] {
        let world = world(user, databases, &format!("[listen]\nport = 0\n{listen}"));
        let (client, task) = world.connect_with_task("").await.unwrap();
        let said = refused(&world, "").await;
        assert_eq!(said, format!("no more clients of {whose} are accepted: 1 of 1 are connected"));
        assert_eq!(world.try_connect(CLERK).await.is_ok(), whose.starts_with("user"));
        client.simple_query("select 1").await.unwrap();
        task.abort();
        drop(client);
        // Its place is free as soon as the proxy knows that it has gone.
        let mut tries = 0;
        while let Err(error) = world.try_connect("").await {
            tries += 1;
            assert!(tries < 1000, "{error}");
        }
    }
}

#[tokio::test]
async fn beyond_its_memory_limit_a_proxy_accepts_nobody_else_and_says_so() {
    let roomy = World::start(0, "[listen]\nport = 0\nmemory_limit = \"64GiB\"\n");
    roomy.connect().await.simple_query("select 1").await.unwrap();
    let full = World::start(0, "[listen]\nport = 0\nmemory_limit = \"1MiB\"\n");
    let error = full.try_connect("").await.err().unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53200");
    let (said, hint) = (error.message(), error.hint().unwrap());
    assert!(said.starts_with("no more clients are accepted: pgherd holds "), "{said}");
    assert!(said.ends_with(" of memory (limit 1MiB)"), "{said}");
    assert!(hint.contains("listen.memory_limit"), "{hint}");
}

#[test]
fn a_query_is_cancelled_also_where_as_many_clients_are_there_as_may_be() {
    let world = World::start(0, "[listen]\nport = 0\nauth = \"trust\"\nmax_clients = 1\n");
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    pgherd_wire::frontend::put_query(&mut out, "select pg_sleep(600)");
    client.send(&out);
    let running = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'";
    until("it runs", || world.node("coordinator").psql(running).unwrap() == "1");
    // Another client is refused, also while one that says nothing is heard out.
    let silent = TcpStream::connect(world.address()).unwrap();
    let told = |mut raw: Raw| raw.until('E').pop().and_then(text_of).unwrap();
    assert_eq!(
        told(Raw::start(&world, &[])),
        "53300: no more clients are accepted: 1 of 1 are connected"
    );
    client.cancel(&world);
    let answer: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(answer, ["57014: canceling statement due to user request"]);
    drop(silent);
}
