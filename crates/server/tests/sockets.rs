//! Nodes behind Unix sockets: those of real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

#[path = "../../pgherd/tests/authority/mod.rs"]
mod authority;
mod world;

use std::net::TcpListener;
use std::process::Command;

use authority::Authority;
use pgherd_core::Settings;
use pgherd_core::settings::{ChannelBinding, Secret, TlsMode, UserSettings};
use pgherd_lab::node::StopMode;
use pgherd_lab::{Cluster, ClusterSpec, Node, Pgbench, cluster};
use pgherd_server::{Server, Stopper};
use pgherd_wire::startup;
use tokio_postgres::error::SqlState;
use world::console::{ADMIN, console, find, show, with_consoles};
use world::raw::{Raw, send_cancel, text_of};
use world::{TWO_CORES, World, eventually};

/// What tells that a server was reached over a Unix socket.
const OVER_SOCKET: &str = "select inet_server_addr() is null";

/// Servers that want a password over their Unix sockets, too.
fn cluster(replicas: u16) -> Cluster {
    let hba = vec!["local all app scram-sha-256".to_owned()];
    let spec = ClusterSpec { coordinator_replicas: replicas, hba, ..ClusterSpec::default() };
    Cluster::start(&spec).unwrap()
}

/// The folder of a node's Unix socket.
fn folder(node: &Node) -> String {
    node.socket().parent().unwrap().display().to_string()
}

/// The nodes of the settings are reached over their Unix sockets.
fn behind_sockets(settings: &mut Settings, folders: &[String]) {
    for (node, folder) in settings.nodes.iter_mut().zip(folders) {
        node.host.clone_from(folder);
    }
    settings.check().unwrap();
}

fn folders(cluster: &Cluster) -> Vec<String> {
    cluster.nodes().iter().map(folder).collect()
}

fn world(cluster: Cluster, more: &str, also: impl FnOnce(&mut Settings)) -> World {
    let folders = folders(&cluster);
    let change = |settings: &mut Settings| {
        behind_sockets(settings, &folders);
        also(settings);
        settings.check().unwrap();
    };
    World::before(cluster, change, more)
}

async fn ask(client: &tokio_postgres::Client, sql: &str) -> bool {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn clients_are_served_from_primary_and_replica_behind_unix_sockets() {
    let world = world(cluster(1), TWO_CORES, with_consoles);
    let client = world.connect().await;
    client.batch_execute("create table t (a int); insert into t values (1)").await.unwrap();
    assert!(ask(&client, OVER_SOCKET).await);
    let topology = || world.server().topology();
    let is_probed =
        || topology().nodes().iter().all(|node| topology().health(node.id).rtt.is_some());
    eventually("both nodes are probed", is_probed).await;
    let reads = "select pg_is_in_recovery() and inet_server_addr() is null";
    eventually("a read goes to the replica", || {
        let (answer, _) = world.psql(reads);
        answer.trim() == "t"
    })
    .await;
    Pgbench::initialize(world.node("coordinator").address(), 1).unwrap();
    let report = world.pgbench(&["-n", "-M", "prepared", "-c", "4", "-t", "50"]);
    assert_eq!(report.failed, 0);
}

#[tokio::test]
async fn consoles_show_a_unix_socket_as_pgbouncer_does() {
    let world = world(cluster(0), TWO_CORES, with_consoles);
    let client = world.connect().await;
    client.batch_execute("begin; select 1").await.unwrap();
    let admin = console(&world, ADMIN).await;
    let node = world.node("coordinator");
    let (folder, port) = (folder(node), node.port.to_string());
    let servers = show(&admin, "SERVERS").await;
    let server = find(&servers, "state", "active");
    let own = world.server().address().port();
    assert_eq!((&*server["addr"], &server["port"]), ("unix", &port));
    assert_eq!((&*server["local_addr"], &*server["tls"]), ("unix", ""));
    // The settings' port, which is 0 here: it was to be a free one.
    assert_ne!(server["local_port"], own.to_string());
    let databases = show(&admin, "DATABASES").await;
    let database = find(&databases, "name", cluster::DATABASE);
    assert_eq!((&database["host"], &database["port"]), (&folder, &port));
    let nodes = show(&admin, "NODES").await;
    assert_eq!(nodes[0]["addr"], format!("{folder}/.s.PGSQL.{port}"));
    assert!(show(&admin, "DNS_HOSTS").await.is_empty(), "a folder is no name");
    client.batch_execute("rollback").await.unwrap();
}

#[test]
fn what_runs_behind_a_unix_socket_is_cancelled_and_replicated() {
    let more = "[listen]\nport = 0\nworkers = 2\nauth = \"trust\"\n";
    let world = world(cluster(0), more, |_| {});
    let mut client = Raw::log_in(&world, &[]);
    client.sleep(&world);
    client.cancel(&world);
    let said: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(said, ["57014: canceling statement due to user request"]);

    world.node("coordinator").psql("alter role app replication").unwrap();
    let mut walsender = Raw::log_in(&world, &[("replication", "database")]);
    let system = walsender.query("IDENTIFY_SYSTEM");
    let known = "select system_identifier from pg_control_system()";
    assert_eq!(system, [world.node("coordinator").psql(known).unwrap()]);
}

#[tokio::test]
async fn a_node_that_was_gone_is_found_again_at_its_unix_socket() {
    let more = format!("{TWO_CORES}[pool]\nacquire_timeout = \"20s\"\n");
    let world = world(cluster(0), &more, |_| {});
    let client = world.connect().await;
    client.batch_execute("select 1").await.unwrap();
    let node = world.node("coordinator");
    node.stop(StopMode::Immediate).unwrap();
    let topology = || world.server().topology();
    let is_healthy = || topology().health(topology().coordinator().primary).is_healthy();
    eventually("it is taken out of rotation", || !is_healthy()).await;
    node.start().unwrap();
    eventually("it is back", is_healthy).await;
    let client = world.connect().await;
    assert!(ask(&client, OVER_SOCKET).await);
}

#[tokio::test]
async fn tls_is_for_tcp_only_and_a_bound_login_cannot_be_had_without() {
    for mode in [TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyFull] {
        let cluster = cluster(0);
        let root = authority::file(cluster.folder(), "root.crt", &Authority::new("lab").pem());
        let world = world(cluster, TWO_CORES, |settings| {
            settings.tls.mode = mode;
            settings.tls.root_cert = root;
        });
        let client = world.connect().await;
        assert!(ask(&client, OVER_SOCKET).await, "{mode:?}");
    }
    let world = world(cluster(0), TWO_CORES, |settings| {
        settings.tls.mode = TlsMode::Require;
        settings.tls.channel_binding = ChannelBinding::Require;
    });
    let refused = world.try_connect("").await.unwrap_err();
    let said = refused.as_db_error().unwrap().message();
    assert!(said.contains("which tls.channel_binding requires: it is in plain"), "{said}");
}

#[tokio::test]
async fn a_host_list_may_mix_sockets_of_both_kinds() {
    let cluster = cluster(0);
    let node = cluster.coordinator();
    let port = node.port;
    let hosts = format!("{0}:{port},{0}/nowhere:{port},{1}", folder(node), node.address());
    let mixed = move |settings: &mut Settings| settings.nodes[0].host = hosts;
    let world = World::before(cluster, mixed, &format!("{TWO_CORES}[pool]\nsize = 6\n"));
    let mut over_sockets = 0;
    let mut holders = Vec::new();
    for _ in 0..6 {
        let client = world.connect().await;
        client.batch_execute("begin").await.unwrap();
        over_sockets += usize::from(ask(&client, OVER_SOCKET).await);
        holders.push(client);
    }
    assert!((2..=4).contains(&over_sockets), "{over_sockets} of 6 over the Unix socket");
    let topology = world.server().topology();
    assert!(topology.health(topology.coordinator().primary).is_healthy());
}

/// The name of the system's user that runs the test.
fn system_user() -> String {
    let output = Command::new("id").arg("-un").output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn a_node_may_take_us_for_the_systems_user_that_we_are() {
    let name = system_user();
    let hba = vec![format!("local app \"{name}\" peer")];
    let cluster = Cluster::start(&ClusterSpec { hba, ..ClusterSpec::default() }).unwrap();
    let role = format!("create role \"{name}\" login");
    // If it is there already, the test runs as it.
    let _ = cluster.coordinator().psql(&role);
    let more = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n";
    let world = world(cluster, more, |settings| {
        settings.users = vec![UserSettings { name: name.clone(), ..UserSettings::default() }];
    });
    let mut client = Raw::log_in(&world, &[("user", &name)]);
    let ours = client.query("select session_user");
    assert_eq!(ours, [name]);
}

/// Stops a proxy that a world does not.
struct Stops(Stopper);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop();
    }
}

#[test]
fn peers_and_poolers_may_be_at_abstract_names() {
    let free_port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let (port, own_port) = (free_port(), free_port());
    let name = format!("@pgherd-test-{}", std::process::id());
    let cluster = cluster(0);
    let first = format!(
        "[listen]\nport = {port}\nunix_socket_dir = \"{name}\"\npeer_id = 2\nauth = \"trust\"\n"
    );
    let mut first = Settings::from_toml(&cluster.settings_toml(&first), "first").unwrap();
    behind_sockets(&mut first, &folders(&cluster));
    let server = Server::start(&first).unwrap();
    let _stops = Stops(server.stopper());
    let more = format!(
        "[listen]\nport = {own_port}\npeer_id = 1\nauth = \"trust\"\nworkers = 2\n\
         [[peer]]\nid = 2\nhost = \"{name}\"\nport = {port}\n"
    );
    let before = |settings: &mut Settings| {
        (settings.nodes[0].host, settings.nodes[0].port) = (name.clone(), port);
        settings.check().unwrap();
    };
    let world = World::before(cluster, before, &more);
    // Over both proxies, the first of which is the other's node.
    let mut client = Raw::log_in(&world, &[]);
    assert_eq!(client.query(OVER_SOCKET), ["t"]);
    // A request for a client of the second arrives at the first.
    let mut other = Raw::start_at(server.address(), startup::PROTOCOL_3_0, &[]);
    other.until('Z');
    other.sleep(&world);
    send_cancel(world.address(), other.key());
    let said: Vec<String> = other.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(said, ["57014: canceling statement due to user request"]);
}

#[tokio::test]
async fn secrets_are_looked_up_over_a_unix_socket() {
    let world = world(cluster(0), TWO_CORES, |settings| {
        settings.users[0].nodes_only = true;
        settings.listen.auth_query =
            "select $1::text, rolpassword from pg_authid where rolname = $1".to_owned();
        let looks = UserSettings {
            name: "postgres".to_owned(),
            password: Secret::new(cluster::PASSWORD),
            ..UserSettings::default()
        };
        settings.users.push(looks);
        settings.listen.auth_user = "postgres".to_owned();
    });
    world.node("coordinator").psql("create role later login password 'right'").unwrap();
    let told = world.try_connect("user=later password=right").await;
    let client = told.unwrap();
    assert!(ask(&client, OVER_SOCKET).await);
    let refused = world.try_connect("user=later password=wrong").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PASSWORD));
}
