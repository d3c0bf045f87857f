//! A node at several addresses, against a real server behind two links.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use pgherd::{Builder, DistributedPool, HostBalance, Lease, QueryType};
use pgherd_lab::{Link, link::Mode};
use world::{PASSWORD, Shape, World, until};

struct Linked {
    world: World,
    links: [Link; 2],
}

impl Linked {
    fn start() -> Self {
        let world = World::start(Shape::ONE);
        let address = SocketAddr::from(([127, 0, 0, 1], world.port("coordinator")));
        let links = [0, 1].map(|_| Link::to(address).unwrap());
        Self { world, links }
    }

    fn builder(&self) -> Builder {
        let hosts = self.links.each_ref().map(|link| link.address().to_string()).join(",");
        DistributedPool::builder()
            .database(pgherd_lab::cluster::DATABASE)
            .user(pgherd_lab::cluster::USER)
            .password(PASSWORD)
            .health_interval(Duration::from_millis(100))
            .coordinator(hosts, 5432)
    }

    fn carried(&self) -> [usize; 2] {
        self.links.each_ref().map(Link::connections)
    }
}

async fn leases(pool: &DistributedPool, count: usize) -> Vec<Lease> {
    let mut leases = Vec::new();
    for _ in 0..count {
        leases.push(pool.acquire(QueryType::Write, None).await.unwrap());
    }
    leases
}

/// No error for any of many statements at once.
async fn all_are_served(pool: &DistributedPool) {
    let run = async || pool.write().execute("SELECT pg_sleep(0.01)", &[]).await;
    let statements = (0..40).map(|_| run());
    for answer in join_all(statements).await {
        answer.unwrap();
    }
}

fn is_healthy(pool: &DistributedPool) -> bool {
    let topology = pool.topology();
    topology.health(topology.coordinator().primary).is_healthy()
}

#[tokio::test]
async fn backends_are_spread_over_the_addresses_of_a_node() {
    let linked = Linked::start();
    let pool = linked.builder().pool_size(6).build().unwrap();
    let _leases = leases(&pool, 6).await;
    until("both links carry half", async || linked.carried().iter().all(|carried| *carried >= 3))
        .await;
}

#[tokio::test]
async fn without_balancing_they_go_to_the_first_that_works() {
    let linked = Linked::start();
    linked.links[0].set(Mode::Closed);
    let set = |settings: &mut pgherd::Settings| {
        settings.pool.load_balance_hosts = HostBalance::Disable;
    };
    let pool = linked.builder().pool_size(6).with_settings(set).build().unwrap();
    let _leases = leases(&pool, 2).await;
    linked.links[0].set(Mode::Healthy);
    let _more = leases(&pool, 4).await;
    assert!(linked.links[1].connections() >= 6);
}

#[tokio::test]
async fn an_address_that_fails_is_no_error_for_any_statement() {
    for mode in [Mode::Closed, Mode::Stalled] {
        let linked = Linked::start();
        linked.links[0].set(mode);
        let limit = Duration::from_secs(2);
        let pool = linked.builder().pool_size(10).connect_timeout(limit).build().unwrap();
        all_are_served(&pool).await;
        assert!(is_healthy(&pool), "{mode:?}");
    }
}

#[tokio::test]
async fn a_probe_goes_another_way_before_a_node_is_given_up() {
    let linked = Linked::start();
    let set = |settings: &mut pgherd::Settings| {
        settings.health.timeout = Duration::from_millis(500);
        settings.health.failures = 2;
    };
    let pool = linked.builder().with_settings(set).build().unwrap();
    pool.health().probe_all().await;
    // Only probes are connected.
    for mode in [Mode::Stalled, Mode::Closed] {
        let at = linked.carried().iter().position(|carried| *carried > 0).unwrap();
        linked.links[at].set(mode);
        if mode == Mode::Closed {
            linked.links[at].cut();
        }
        until("the other link carries it", async || {
            assert!(is_healthy(&pool));
            linked.links[1 - at].connections() > 0
        })
        .await;
        let answers = pool.health().probe_all().await;
        assert!(answers[0].is_ok() && is_healthy(&pool), "{answers:?}");
        linked.links[at].set(Mode::Healthy);
        linked.links[at].cut();
        until("nothing is left there", async || linked.links[at].connections() == 0).await;
    }
}

#[tokio::test]
async fn a_cancel_request_goes_where_its_backend_is() {
    let linked = Linked::start();
    let pool = linked.builder().pool_size(2).build().unwrap();
    pool.health().probe_all().await;
    let (mut before, mut held) = (linked.carried(), Vec::new());
    for _ in 0..2 {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        let carried = linked.carried();
        let at = usize::from(carried[1] > before[1]);
        linked.links[1 - at].set(Mode::Closed);
        let cancel = async {
            let asleep = "SELECT count(*) FROM pg_stat_activity \
                          WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'";
            let node = &linked.world;
            until("it runs", async || node.sql("coordinator", asleep) == "1").await;
            lease.cancel().await
        };
        let (ended, cancelled) = tokio::join!(lease.batch_execute("SELECT pg_sleep(60)"), cancel);
        cancelled.unwrap();
        assert_eq!(ended.unwrap_err().code().unwrap().code(), "57014");
        linked.links[1 - at].set(Mode::Healthy);
        before = carried;
        // Kept, so that the next one goes the other way.
        held.push(lease);
    }
}
