//! Replica routing, against real servers with streaming replication.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;

use pgherd::{DistributedPool, NodeRole, QueryType, Rule};
use world::{Door, Shape, WHERE, World, at_each_door, port_of, until};

const SHAPE: Shape = Shape { replicas: 2, ..Shape::ONE };

async fn ports_of_reads(pool: &DistributedPool, reads: usize) -> BTreeMap<u16, usize> {
    let mut ports = BTreeMap::new();
    for _ in 0..reads {
        let row = pool.read().query_one(WHERE, &[]).await.unwrap();
        *ports.entry(port_of(&row)).or_default() += 1;
    }
    ports
}

at_each_door! {
    #[tokio::test]
    reads_go_to_the_replicas_in_turn,
    #[tokio::test]
    writes_and_ddl_go_to_the_coordinator,
    #[tokio::test]
    reads_fall_back_to_the_coordinator_without_replicas_and_return_to_them,
}

async fn reads_go_to_the_replicas_in_turn(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    let ports = ports_of_reads(&pool, 20).await;
    let expected: BTreeMap<_, _> =
        world.replica_ports().into_iter().map(|port| (port, 10)).collect();
    assert_eq!(ports, expected);
    let lease = pool.acquire(QueryType::Read, None).await.unwrap();
    assert_eq!((lease.route().role, lease.route().rule), (NodeRole::Replica, Rule::ReadOnReplica));
    assert!(lease.node().starts_with("coordinator-r"));
}

async fn writes_and_ddl_go_to_the_coordinator(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    let coordinator = world.port("coordinator");
    for query_type in [QueryType::Write, QueryType::Ddl, QueryType::Distributed] {
        for _ in 0..4 {
            let rows = pool.query(query_type, WHERE, &[]).await.unwrap();
            assert_eq!(port_of(&rows[0]), coordinator, "{query_type}");
        }
    }
    pool.ddl().execute("CREATE TABLE t (port int4)", &[]).await.unwrap();
    pool.ddl().execute("CREATE SEQUENCE s", &[]).await.unwrap();
    world.wait_replayed();
    let insert = "WITH x AS (INSERT INTO t VALUES (inet_server_port()) RETURNING port) \
                  SELECT port FROM x";
    for sql in [
        insert,
        "SELECT inet_server_port() FROM t FOR UPDATE",
        "SELECT inet_server_port() + 0 * nextval('s')::int4",
    ] {
        let auto = pool.auto(sql);
        assert_eq!(auto.query_type(), QueryType::Write, "{sql}");
        assert_eq!(port_of(&auto.query(&[]).await.unwrap()[0]), coordinator, "{sql}");
    }
    let row = pool.auto(WHERE).query_one(&[]).await.unwrap();
    assert!(world.replica_ports().contains(&port_of(&row)));
}

async fn reads_fall_back_to_the_coordinator_without_replicas_and_return_to_them(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    world.kill("coordinator-r1");
    world.kill("coordinator-r2");
    let coordinator = world.port("coordinator");
    let ports = ports_of_reads(&pool, 6).await;
    let replicas = world.replica_ports();
    assert_eq!(ports, BTreeMap::from([(coordinator, 6)]), "replicas on {replicas:?}");
    until("both replicas are out", async || {
        let topology = pool.topology();
        let replicas = &topology.coordinator().replicas;
        replicas.iter().all(|id| !topology.health(*id).is_healthy())
    })
    .await;
    let lease = pool.acquire(QueryType::Read, None).await.unwrap();
    assert_eq!(lease.route().rule, Rule::ReadOnCoordinator);

    world.start_node("coordinator-r1");
    world.start_node("coordinator-r2");
    let replicas = world.replica_ports();
    // Not any two nodes: while the first is let in, the coordinator may serve a part of the reads.
    until("both replicas serve reads", async || {
        let ports = ports_of_reads(&pool, 4).await;
        replicas.iter().all(|port| ports.contains_key(port))
    })
    .await;
    let ports = ports_of_reads(&pool, 10).await;
    let expected: BTreeMap<_, _> = replicas.into_iter().map(|port| (port, 5)).collect();
    assert_eq!(ports, expected);
}

// What follows goes beyond the three.

#[tokio::test]
async fn a_read_that_writes_after_all_runs_on_the_coordinator() {
    let world = World::start(Shape { replicas: 1, ..SHAPE });
    let pool = world.pool();
    pool.ddl().execute("CREATE TABLE t (a int4)", &[]).await.unwrap();
    world.wait_replayed();
    // Declared a read by its caller, refused by the replica (25006).
    let count = pool.read().execute("INSERT INTO t VALUES (1)", &[]).await.unwrap();
    assert_eq!((count, pool.statistics().counters.retries), (1, 1));
    assert_eq!(pool.statistics().misplaced_reads, 1);
    assert_eq!(world.sql("coordinator", "SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn reads_stay_on_the_primary_when_that_is_the_setting() {
    let world = World::start(Shape { replicas: 1, ..SHAPE });
    let pool = world.builder().read_from_replicas(false).build().unwrap();
    assert_eq!(ports_of_reads(&pool, 4).await, BTreeMap::from([(world.port("coordinator"), 4)]));
}
