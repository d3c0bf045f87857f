//! Several databases and logins behind one door.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::{Cluster, ClusterSpec};
use tokio_postgres::{Client, SimpleQueryMessage};
use world::{World, eventually};

const LISTEN: &str = "[listen]\nport = 0\nworkers = 2\n[pool]\nacquire_timeout = \"2s\"\n";

/// A cluster with a second database and a second login, and the proxy with these databases.
fn world(databases: &str) -> World {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let node = cluster.node("coordinator").unwrap();
    node.psql("create role clerk login password 'clerk-secret'").unwrap();
    node.psql("create database reports").unwrap();
    let user = "[[user]]\nname = \"clerk\"\npassword = \"clerk-secret\"\n";
    World::before(cluster, |_| {}, &format!("{user}{databases}{LISTEN}"))
}

async fn ask(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// The SQLSTATE and the message of a login that is refused.
async fn refused(world: &World, options: &str) -> (String, String) {
    let error = world.try_connect(options).await.err().unwrap();
    let error = error.as_db_error().unwrap();
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn a_client_has_the_database_that_it_names() {
    let world = world(
        "[[database]]\nname = \"app\"\n[[database]]\nname = \"monthly\"\ndatabase = \"reports\"\n",
    );
    let (own, reports) =
        (world.connect().await, world.try_connect("dbname=monthly").await.unwrap());
    // The same text, which is prepared in both.
    for _ in 0..3 {
        assert_eq!(ask(&own, "select current_database()::text").await, "app");
        assert_eq!(ask(&reports, "select current_database()::text").await, "reports");
    }
    let unknown = refused(&world, "dbname=reports").await;
    assert_eq!(unknown, ("3D000".to_owned(), "database \"reports\" does not exist".to_owned()));
}

#[tokio::test]
async fn all_clients_of_a_database_may_have_one_login_at_the_nodes() {
    let world = world(
        "[[database]]\nname = \"app\"\n[[database]]\nname = \"shared\"\ndatabase = \"app\"\n\
         user = \"clerk\"\npool_size = 1\n",
    );
    let clerk = "user=clerk password=clerk-secret";
    let shared = [
        world.try_connect("dbname=shared").await.unwrap(),
        world.try_connect(&format!("dbname=shared {clerk}")).await.unwrap(),
    ];
    let who = "select session_user || ' ' || pg_backend_pid()";
    let [first, second] = [ask(&shared[0], who).await, ask(&shared[1], who).await];
    assert!(first.starts_with("clerk ") && first == second, "{first}, {second}");
    assert_eq!(ask(&world.connect().await, "select session_user::text").await, "app");
}

#[tokio::test]
async fn any_other_name_leads_to_the_database_of_that_name() {
    let world = world("[[database]]\nname = \"app\"\n[[database]]\nname = \"*\"\n");
    let client = world.try_connect("dbname=reports").await.unwrap();
    assert_eq!(ask(&client, "select current_database()::text").await, "reports");
    let unknown = refused(&world, "dbname=nowhere").await;
    assert_eq!(unknown, ("3D000".to_owned(), "database \"nowhere\" does not exist".to_owned()));
}

#[tokio::test]
async fn the_size_of_a_pool_is_its_databases_or_its_logins() {
    let world = world(
        "pool_size = 3\n[[database]]\nname = \"app\"\npool_size = 2\n\
         [[database]]\nname = \"reports\"\n",
    );
    for (options, size) in [
        ("", 2),
        ("dbname=reports", 20),
        ("user=clerk password=clerk-secret", 3),
        ("user=clerk password=clerk-secret dbname=reports", 3),
    ] {
        let mut held = Vec::new();
        for _ in 0..size.min(3) {
            let client = world.try_connect(options).await.unwrap();
            client.simple_query("begin").await.unwrap();
            held.push(client);
        }
        let last = world.try_connect(options).await.unwrap();
        let answer = last.simple_query("select 1").await;
        if size > 3 {
            assert!(answer.is_ok());
            continue;
        }
        let error = answer.unwrap_err();
        let said = error.as_db_error().unwrap().message();
        assert!(said.contains(&format!("{size} of {size} in use")), "{options}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn databases_may_be_on_several_servers_each_with_replicas_of_its_own() {
    let spec = ClusterSpec { shards: 1, shard_replicas: 1, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    for node in ["coordinator", "shard-0"] {
        let node = cluster.node(node).unwrap();
        let table = format!(
            "create table place as select '{}' as name; grant all on place to app",
            node.name
        );
        node.psql(&table).unwrap();
    }
    cluster.wait_caught_up().unwrap();
    let more = "[[database]]\nname = \"app\"\n\
                [[database]]\nname = \"ledger\"\ndatabase = \"app\"\nshard = 0\n\
                [listen]\nport = 0\nworkers = 2\nadmin_users = [\"app\"]\n\
                [pool]\nacquire_timeout = \"60s\"\n[health]\ninterval = \"100ms\"\n";
    let world = World::before(cluster, |_| {}, more);
    let (app, ledger) = (world.connect().await, world.try_connect("dbname=ledger").await.unwrap());
    let health = |node: &str| {
        let topology = world.server().topology();
        topology.health(topology.node_named(node).unwrap().id).clone()
    };
    eventually("the replica is there", || health("shard-0-r1").is_healthy()).await;
    // The same text, which is prepared in both.
    for _ in 0..3 {
        assert_eq!(ask(&app, "select name from place").await, "coordinator");
        assert_eq!(ask(&ledger, "select name from place").await, "shard-0");
    }
    let port = world.node("shard-0-r1").port.to_string();
    let read_at = "select inet_server_port()::text from place";
    assert_eq!(ask(&ledger, read_at).await, port, "reads go to its own replica");
    ledger.execute("insert into place values ('more')", &[]).await.unwrap();
    let count = "select count(*) from place";
    assert_eq!(world.node("shard-0").psql(count).unwrap(), "2");
    assert_eq!(world.node("coordinator").psql(count).unwrap(), "1");

    let console = world.try_connect("dbname=pgbouncer").await.unwrap();
    let rows = console.simple_query("show databases").await.unwrap();
    let ports: Vec<String> = rows
        .iter()
        .filter_map(|row| match row {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        })
        .filter(|row| row.get("database") == Some("app"))
        .map(|row| row.get("port").unwrap().to_owned())
        .collect();
    let at = |node: &str| world.node(node).port.to_string();
    assert_eq!(ports, [at("coordinator"), at("shard-0")]);

    // Its writes follow its primary; the other server's clients do not notice.
    world.cluster.wait_caught_up().unwrap();
    world.node("shard-0").kill().unwrap();
    eventually("it is gone", || !health("shard-0").is_healthy()).await;
    world.node("shard-0-r1").promote().unwrap();
    ledger.execute("insert into place values ('after')", &[]).await.unwrap();
    assert_eq!(world.node("shard-0-r1").psql(count).unwrap(), "3");
    assert_eq!(ask(&app, "select name from place").await, "coordinator");
}
