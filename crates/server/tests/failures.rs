//! Servers and backends that die, freeze, or are not there.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use futures_util::future::join_all;
use pgherd_lab::{Cluster, ClusterSpec, Link};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use world::raw::{Raw, text_of};
use world::{TWO_CORES, World, eventually};

/// Reads all the while, from ten clients, whatever happens; none of the reads may fail.
struct Reading {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Reading {
    async fn start(world: &World) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let connected = join_all((0..10).map(|_| world.connect())).await;
        let clients = connected
            .into_iter()
            .enumerate()
            .map(|(number, client)| {
                // Half of them prepared, half of them simple.
                let prepared = number % 2 == 0;
                tokio::spawn(read(client, prepared, Arc::clone(&stop), Arc::clone(&done)))
            })
            .collect();
        let reading = Self { stop, done, clients };
        reading.goes_on().await;
        reading
    }

    /// Returns once a hundred more reads have succeeded.
    async fn goes_on(&self) {
        let enough = self.done.load(Ordering::Relaxed) + 100;
        eventually("a hundred reads", || self.done.load(Ordering::Relaxed) >= enough).await;
    }

    /// Fails if one of the reads has failed.
    async fn end(self) {
        self.goes_on().await;
        self.stop.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
    }
}

async fn read(client: Client, prepared: bool, stop: Arc<AtomicBool>, done: Arc<AtomicUsize>) {
    let statement = client.prepare("select count(*) from t where id < $1").await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        if prepared {
            let row = client.query_one(&statement, &[&500]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), 500);
        } else {
            client.simple_query("select count(*) from t").await.unwrap();
        }
        done.fetch_add(1, Ordering::Relaxed);
    }
}

fn filled(replicas: u16) -> World {
    let world = World::start(replicas, TWO_CORES);
    world.psql("create table t as select generate_series(0, 999) as id");
    world.cluster.wait_caught_up().unwrap();
    world
}

async fn in_rotation(world: &World, node: &str, wanted: bool) {
    eventually(&format!("{node} in rotation: {wanted}"), || {
        let topology = world.server().topology();
        let node = topology.node_named(node).unwrap();
        topology.health(node.id).is_healthy() == wanted
    })
    .await;
}

/// Batches that a node has answered so far.
fn batches(world: &World, node: &str) -> u64 {
    let statistics = world.server().statistics();
    statistics.iter().find(|of| of.name == node).unwrap().batches
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_fails_no_read_and_is_used_again_when_it_is_back() {
    let world = filled(2);
    let reading = Reading::start(&world).await;
    world.node("coordinator-r1").kill().unwrap();
    in_rotation(&world, "coordinator-r1", false).await;
    reading.goes_on().await;
    world.node("coordinator-r1").start().unwrap();
    in_rotation(&world, "coordinator-r1", true).await;
    let before = batches(&world, "coordinator-r1");
    eventually("reads are back", || batches(&world, "coordinator-r1") > before).await;
    reading.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_fails_no_read() {
    let world = filled(2);
    let reading = Reading::start(&world).await;
    world.node("coordinator-r1").freeze().unwrap();
    in_rotation(&world, "coordinator-r1", false).await;
    reading.goes_on().await;
    world.node("coordinator-r1").thaw().unwrap();
    in_rotation(&world, "coordinator-r1", true).await;
    reading.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_every_replica_fails_no_read() {
    let world = filled(1);
    let reading = Reading::start(&world).await;
    world.node("coordinator-r1").kill().unwrap();
    in_rotation(&world, "coordinator-r1", false).await;
    let before = batches(&world, "coordinator");
    eventually("reads on the primary", || batches(&world, "coordinator") > before).await;
    reading.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_takes_the_writes_and_a_primary_that_returns_as_it_died_gets_nothing() {
    let more = "[listen]\nport = 0\nworkers = 2\n[pool]\nacquire_timeout = \"60s\"\n\
                [health]\ninterval = \"100ms\"\n";
    let world = World::start(2, more);
    world.psql("create table t (id int)");
    world.cluster.wait_caught_up().unwrap();
    let (client, waiting) = (world.connect().await, world.connect().await);
    world.node("coordinator").kill().unwrap();
    in_rotation(&world, "coordinator", false).await;
    // It waits until there is somebody to run it.
    let write = tokio::spawn(async move { waiting.execute("insert into t values (1)", &[]).await });
    world.node("coordinator-r1").promote().unwrap();
    assert_eq!(write.await.unwrap().unwrap(), 1);
    client.batch_execute("begin; insert into t values (2); commit").await.unwrap();
    assert_eq!(world.node("coordinator-r1").psql("select count(*) from t").unwrap(), "2");

    world.node("coordinator").start().unwrap();
    in_rotation(&world, "coordinator", true).await;
    let before = batches(&world, "coordinator");
    for _ in 0..20 {
        client.simple_query("select count(*) from t").await.unwrap();
        client.batch_execute("insert into t values (3)").await.unwrap();
    }
    assert_eq!(batches(&world, "coordinator"), before);
    let statistics = world.server().statistics();
    let role = |node: &str| statistics.iter().find(|of| of.name == node).unwrap().role.as_str();
    assert_eq!((role("coordinator"), role("coordinator-r1")), ("replica", "coordinator"));
}

#[tokio::test]
async fn a_backend_that_dies_in_a_write_is_reported_once_and_the_next_client_is_served() {
    let world = World::start(0, TWO_CORES);
    let coordinator = world.node("coordinator");
    let client = world.connect().await;
    let terminate = async {
        let sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        eventually("it sleeps", || coordinator.psql(sleeps).unwrap() == "1").await;
        let terminate = "select pg_terminate_backend(pid) from pg_stat_activity \
                         where wait_event = 'PgSleep'";
        coordinator.psql(terminate).unwrap();
    };
    let write = client.batch_execute("create table t (id int); select pg_sleep(60)");
    let (answer, ()) = tokio::join!(write, terminate);
    let error = answer.unwrap_err();
    // PostgreSQL's own words.
    assert_eq!(error.code().unwrap().code(), "57P01", "{error}");
    let next = world.connect().await;
    assert!(next.simple_query("select * from t").await.is_err());
    next.simple_query("select 1").await.unwrap();
}

#[tokio::test]
async fn a_connection_cut_in_a_write_says_that_the_outcome_is_unknown() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let port = link.address().port();
    let world = World::before(cluster, |settings| settings.nodes[0].port = port, TWO_CORES);
    let client = world.connect().await;
    client.batch_execute("create table t (id int)").await.unwrap();
    let coordinator = world.node("coordinator");
    let cut = async {
        let sleeps = "select count(*) from pg_stat_activity where wait_event = 'PgSleep'";
        eventually("it sleeps", || coordinator.psql(sleeps).unwrap() == "1").await;
        link.reset();
    };
    let write = client.batch_execute("insert into t select 1 from pg_sleep(2)");
    let (answer, ()) = tokio::join!(write, cut);
    let error = answer.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "08006", "{error:?}");
    let (message, detail) = (error.message(), error.detail().unwrap());
    assert!(message.starts_with("connection to node coordinator lost"), "{message}");
    assert_eq!(detail, "whether the statement took effect is not known");
    eventually("the node is back", || world.psql("select 1").0.trim() == "1").await;
}

#[tokio::test]
async fn a_connection_cut_between_statements_says_that_the_transaction_is_rolled_back() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let port = link.address().port();
    let trusting = TWO_CORES.replace("workers", "auth = \"trust\"\nworkers");
    let world = World::before(cluster, |settings| settings.nodes[0].port = port, &trusting);
    let mut client = Raw::log_in(&world, &[]);
    client.query("begin");
    link.reset();
    let told: Vec<String> = client.until('E').into_iter().filter_map(text_of).collect();
    let expected = "08006: connection to node coordinator lost while a transaction was open and no \
                    statement ran";
    assert!(told[0].starts_with(expected), "{told:?}");
}

#[tokio::test]
async fn a_client_that_waits_too_long_is_told_for_what() {
    let more = "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 1\nacquire_timeout = \"300ms\"\n";
    let world = World::start(0, more);
    let holder = world.connect().await;
    let waiter = world.connect().await;
    holder.batch_execute("begin; select 1").await.unwrap();
    let error = waiter.simple_query("select 1").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53300");
    let message = error.message();
    assert!(message.starts_with("no free backend on node coordinator after "), "{message}");
    assert!(message.contains("limit 300ms"), "{message}");
    holder.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn a_node_that_is_not_there_is_named_with_what_the_system_says() {
    let more = "[listen]\nport = 0\nworkers = 1\n[pool]\nacquire_timeout = \"500ms\"\n";
    let world = World::start(0, more);
    let client = world.connect().await;
    world.node("coordinator").kill().unwrap();
    // The backend it might have used is gone with the server.
    let error = client.simple_query("create table t ()").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    let told = format!("{} {:?}", error.message(), error.detail());
    assert!(told.contains("coordinator") && told.contains("refused"), "{told}");
    world.node("coordinator").start().unwrap();
    eventually("it serves again", || world.psql("select 1").0.trim() == "1").await;
}

#[tokio::test]
async fn one_client_too_many_is_refused_with_the_numbers() {
    let world = World::start(0, "[listen]\nport = 0\nworkers = 1\nmax_clients = 2\n");
    let (_first, second) = (world.connect().await, world.connect().await);
    let error = world.try_connect("").await.err().unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53300");
    assert_eq!(error.message(), "no more clients are accepted: 2 of 2 are connected");
    drop(second);
    eventually("there is room again", || world.psql("select 1").0.trim() == "1").await;
}

#[tokio::test]
async fn a_stop_lets_transactions_finish_and_dismisses_the_idle() {
    let mut world = World::start(0, TWO_CORES);
    let (idle, busy) = (world.connect().await, world.connect().await);
    busy.batch_execute("create table t (id int); begin; insert into t values (1)").await.unwrap();
    world.server().stopper().stop();
    eventually("the idle client is gone", || idle.is_closed()).await;
    assert!(world.try_connect("").await.is_err());
    busy.batch_execute("insert into t values (2); commit").await.unwrap();
    eventually("the busy client is gone, too", || busy.is_closed()).await;
    world.wait_stopped();
    assert_eq!(world.node("coordinator").psql("select count(*) from t").unwrap(), "2");
}
