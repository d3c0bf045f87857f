//! Nodes behind Unix sockets, those of real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use futures_util::StreamExt;
use pgherd::{Builder, ChannelBinding, DistributedPool, ListenEvent, QueryType, TlsMode};
use pgherd_lab::node::StopMode;
use pgherd_lab::{Cluster, ClusterSpec, Node, cluster};
use world::{PASSWORD, chain, until};

/// What tells that a server was reached over a Unix socket.
const OVER_SOCKET: &str = "SELECT inet_server_addr() IS NULL";

/// Servers that want a password over their Unix sockets, too.
fn cluster(replicas: u16) -> Cluster {
    let hba = vec!["local all app scram-sha-256".to_owned()];
    let spec = ClusterSpec { coordinator_replicas: replicas, hba, ..ClusterSpec::default() };
    Cluster::start(&spec).unwrap()
}

fn folder(node: &Node) -> String {
    node.socket().parent().unwrap().display().to_string()
}

fn builder() -> Builder {
    DistributedPool::builder()
        .database(cluster::DATABASE)
        .user(cluster::USER)
        .password(PASSWORD)
        .health_interval(Duration::from_millis(100))
}

/// A pool for the coordinator behind its Unix socket.
fn to_coordinator(cluster: &Cluster) -> Builder {
    let node = cluster.coordinator();
    builder().coordinator(folder(node), node.port)
}

async fn is_over_socket(pool: &DistributedPool) -> bool {
    pool.write().query_scalar(OVER_SOCKET, &[]).await.unwrap()
}

#[tokio::test]
async fn primary_and_replica_are_reached_and_probed_over_unix_sockets() {
    let cluster = cluster(1);
    let replica = cluster.replicas(None).next().unwrap();
    let pool = to_coordinator(&cluster).replica(folder(replica), replica.port).build().unwrap();
    assert!(is_over_socket(&pool).await);
    let read = "SELECT pg_is_in_recovery() AND inet_server_addr() IS NULL";
    until("a read goes to the replica", async || {
        pool.read().query_scalar(read, &[]).await.unwrap()
    })
    .await;
    until("both are probed", async || {
        let report = pool.health_check().await;
        report.nodes.iter().all(|node| node.healthy)
    })
    .await;
}

#[tokio::test]
async fn what_takes_too_long_is_cancelled_and_a_listener_hears() {
    let cluster = cluster(0);
    let pool = to_coordinator(&cluster).build().unwrap();
    let mut listener = pool.listen(["news"]).await.unwrap();
    pool.write().execute("SELECT pg_notify('news', 'it works')", &[]).await.unwrap();
    let Some(ListenEvent::Notification(heard)) = listener.next().await else { panic!("no news") };
    assert_eq!(heard.payload(), "it works");

    let slow = pool.write().deadline(Duration::from_millis(200));
    slow.execute("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    let asleep = "select count(*) from pg_stat_activity \
                  where state = 'active' and query = 'SELECT pg_sleep(60)'";
    until("it is cancelled", async || cluster.coordinator().psql(asleep).unwrap() == "0").await;
}

#[tokio::test]
async fn tls_is_for_tcp_only_and_a_bound_login_cannot_be_had_without() {
    let cluster = cluster(0);
    for mode in [TlsMode::Prefer, TlsMode::Require] {
        let pool = to_coordinator(&cluster).tls(mode).build().unwrap();
        assert!(is_over_socket(&pool).await, "{mode:?}");
    }
    let bound = |settings: &mut pgherd::Settings| {
        settings.tls.channel_binding = ChannelBinding::Require;
    };
    let pool = to_coordinator(&cluster).tls(TlsMode::Require).with_settings(bound);
    let pool = pool.build().unwrap();
    let refused = pool.write().execute("SELECT 1", &[]).await.unwrap_err();
    assert!(chain(&refused).contains("channel binding"), "{}", chain(&refused));
}

#[tokio::test]
async fn a_host_list_may_mix_sockets_of_both_kinds() {
    let cluster = cluster(0);
    let node = cluster.coordinator();
    let hosts = format!("{0},{0}/nowhere,{1}", folder(node), node.address());
    let pool = builder().coordinator(hosts, node.port).pool_size(6).build().unwrap();
    let mut over_sockets = 0;
    let mut leases = Vec::new();
    for _ in 0..6 {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        let row = lease.query_one(OVER_SOCKET, &[]).await.unwrap();
        over_sockets += usize::from(row.get::<_, bool>(0));
        leases.push(lease);
    }
    assert!((2..=4).contains(&over_sockets), "{over_sockets} of 6 over the Unix socket");
}

#[tokio::test]
async fn a_node_that_was_gone_is_found_again() {
    let cluster = cluster(0);
    let node = cluster.coordinator();
    let pool = to_coordinator(&cluster).build().unwrap();
    assert!(is_over_socket(&pool).await);
    node.stop(StopMode::Fast).unwrap();
    pool.write().execute("SELECT 1", &[]).await.unwrap_err();
    node.start().unwrap();
    until("it answers again", async || pool.write().execute("SELECT 1", &[]).await.is_ok()).await;
    assert!(is_over_socket(&pool).await);
}

#[tokio::test]
async fn a_path_that_no_socket_has_room_for_is_refused_at_the_start() {
    let folder = format!("/{}", "x".repeat(120));
    let refused = builder().coordinator(folder, 5432).build().unwrap_err();
    let said = refused.to_string();
    assert!(said.contains("has a path of 135 bytes, and 107 are the most"), "{said}");
}
