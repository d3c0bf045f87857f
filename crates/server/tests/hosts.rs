//! A node at several addresses: links before one server, and what becomes of clients when one of
//! them fails.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::{Cluster, ClusterSpec, Link, link::Mode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use world::console::{ADMIN, console, find, show, with_consoles};
use world::{World, eventually};

/// A proxy whose only node is reached over two links.
fn world(pool: &str) -> (World, [Link; 2]) {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let links = [0, 1].map(|_| Link::to(cluster.coordinator().address()).unwrap());
    let hosts = links.each_ref().map(|link| link.address().to_string()).join(",");
    let more = format!(
        "[listen]\nport = 0\nworkers = 2\n[health]\ninterval = \"100ms\"\n[pool]\n{pool}\n"
    );
    let world = World::before(cluster, |settings| settings.nodes[0].host = hosts, &more);
    (world, links)
}

/// Clients that each hold a backend.
async fn holders(world: &World, count: usize) -> Vec<Client> {
    let mut holders = Vec::new();
    for _ in 0..count {
        let client = world.connect().await;
        client.batch_execute("begin; select 1").await.unwrap();
        holders.push(client);
    }
    holders
}

/// Many clients at once, each with some transactions: no error for any of them.
async fn all_are_served(world: &World) {
    let serve = async |client: Client| {
        for _ in 0..5 {
            client.batch_execute("begin; select pg_sleep(0.01); commit").await.unwrap();
        }
    };
    let clients = (0..20).map(async |_| serve(world.connect().await).await);
    futures_util::future::join_all(clients).await;
}

#[tokio::test]
async fn backends_are_spread_over_the_addresses_of_a_node() {
    let (world, links) = world("size = 6");
    let _holders = holders(&world, 6).await;
    // The probe has a connection of its own.
    let carried = links.each_ref().map(Link::connections);
    assert!(carried.iter().all(|carried| *carried >= 3), "{carried:?}");
}

#[tokio::test]
async fn without_balancing_they_go_to_the_first_that_works() {
    let (world, links) = world("size = 6\nload_balance_hosts = \"disable\"");
    links[0].set(Mode::Closed);
    let first = holders(&world, 2).await;
    assert!(links[1].connections() >= 2);
    // And stay there, also when the first is back.
    links[0].set(Mode::Healthy);
    let _more = holders(&world, 4).await;
    assert!(links[1].connections() >= 6);
    drop(first);
}

#[tokio::test]
async fn each_node_uses_its_addresses_as_it_says() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let links = [0, 1].map(|_| Link::to(cluster.coordinator().address()).unwrap());
    let hosts = links.each_ref().map(|link| link.address().to_string()).join(",");
    // The same server as another node, whose addresses are not used in turn.
    let more = format!(
        "node = [\n{{ host = \"{hosts}\", role = \"coordinator\" }},\n\
         {{ host = \"{hosts}\", role = \"worker\", shard = 0, load_balance_hosts = \"disable\" }}]\n\
         database = [{{ name = \"app\" }}, {{ name = \"again\", database = \"app\", shard = 0 }}]\n"
    );
    let nodes = pgherd_core::Settings::from_toml(
        &format!("{more}user = [{{ name = \"app\" }}]\n"),
        "nodes",
    )
    .unwrap();
    let change = |settings: &mut pgherd_core::Settings| {
        settings.nodes = nodes.nodes;
        settings.databases = nodes.databases;
        with_consoles(settings);
    };
    let world = World::before(cluster, change, world::TWO_CORES);
    let topology = || world.server().topology();
    let is_probed =
        || topology().nodes().iter().all(|node| topology().health(node.id).rtt.is_some());
    eventually("both nodes are probed", is_probed).await;
    let carried = || links.each_ref().map(Link::connections);
    let [first, second] = carried();
    let mut holders = Vec::new();
    for _ in 0..4 {
        let client = world.try_connect("dbname=again").await.unwrap();
        client.batch_execute("begin; select 1").await.unwrap();
        holders.push(client);
    }
    let at_one = carried();
    assert!(at_one == [first + 4, second] || at_one == [first, second + 4], "{at_one:?}");
    for _ in 0..4 {
        let client = world.connect().await;
        client.batch_execute("begin; select 1").await.unwrap();
        holders.push(client);
    }
    assert_eq!(carried(), at_one.map(|carried| carried + 2));
    let databases = show(&console(&world, ADMIN).await, "DATABASES").await;
    let balance =
        ["app", "again"].map(|name| &find(&databases, "name", name)["load_balance_hosts"]);
    assert_eq!(balance, ["round-robin", "disable"]);
}

#[tokio::test]
async fn an_address_that_lets_nobody_in_is_no_error_for_any_client() {
    let (world, links) = world("size = 10");
    links[0].set(Mode::Closed);
    all_are_served(&world).await;
    let topology = world.server().topology();
    assert!(topology.health(topology.coordinator().primary).is_healthy());
    // It is used again once it is well.
    links[0].set(Mode::Healthy);
    eventually("it carries connections", || {
        // Others are opened in their place.
        world.node("coordinator").psql(END_ALL).unwrap();
        world.psql("select 1");
        links[0].connections() > 0
    })
    .await;
}

/// Ends the proxy's backends, but not those of its probes.
const END_ALL: &str = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                       where usename = 'app' and application_name not like 'pgherd/%'";

#[tokio::test]
async fn an_address_that_says_nothing_is_no_error_for_any_client() {
    let (world, links) = world("size = 10\nconnect_timeout = \"2s\"");
    links[0].set(Mode::Stalled);
    all_are_served(&world).await;
}

#[tokio::test]
async fn what_runs_over_an_address_that_breaks_is_lost_and_nothing_else() {
    let (world, links) = world("size = 2");
    let holders = holders(&world, 2).await;
    links[0].set(Mode::Closed);
    links[0].cut();
    let mut lost = 0;
    for holder in holders {
        lost += usize::from(holder.batch_execute("commit").await.is_err());
    }
    assert_eq!(lost, 1);
    all_are_served(&world).await;
    let topology = world.server().topology();
    assert!(topology.health(topology.coordinator().primary).is_healthy());
}

#[tokio::test]
async fn a_cancel_request_goes_where_its_backend_is() {
    let (world, links) = world("size = 2");
    let holders = holders(&world, 2).await;
    // The first was opened over the first link, the second over the second.
    for (at, holder) in holders.iter().enumerate() {
        links[at].set(Mode::Healthy);
        links[1 - at].set(Mode::Closed);
        let (asleep, cancelled) =
            tokio::join!(holder.batch_execute("select pg_sleep(60)"), async {
                let sleeps = "select count(*) from pg_stat_activity \
                          where state = 'active' and query = 'select pg_sleep(60)'";
                let node = world.node("coordinator");
                eventually("it runs", || node.psql(sleeps).unwrap() == "1").await;
                holder.cancel_token().cancel_query(NoTls).await
            });
        cancelled.unwrap();
        let error = asleep.unwrap_err();
        assert_eq!(error.code().map(SqlState::code), Some("57014"), "{error}");
    }
}
