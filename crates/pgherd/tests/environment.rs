//! Configuration from the environment, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::process::Command;

use pgherd::{DistributedPool, ErrorKind};
use world::{Door, PASSWORD, Shape, WHERE, World, at_each_door, port_of};

/// Set in the child process, which has an environment of its own to read.
const CHILD: &str = "PGHERD_TEST_PORTS";

at_each_door! {
    #[tokio::test]
    a_pool_is_built_from_the_environment,
}

async fn a_pool_is_built_from_the_environment(door: Door) {
    let shape = Shape { shards: 2, replicas: 1, ..Shape::default() };
    let Some(world) = World::at(door, shape) else { return };
    let names = ["coordinator", "shard-0", "shard-1", "coordinator-r1"];
    let [coordinator, shard_0, shard_1, replica] = names.map(|name| world.door(name).to_string());
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_child_reads_its_environment", "--nocapture"])
        .env(CHILD, names.map(|name| world.port(name).to_string()).join(","))
        .env("COORDINATOR_HOST", "127.0.0.1")
        .env("COORDINATOR_PORT", coordinator)
        .env("COORDINATOR_DB", "app")
        .env("COORDINATOR_USER", "app")
        .env("COORDINATOR_PASSWORD", PASSWORD)
        // Listed the other way round: the ids count, not the order.
        .env("WORKER_HOSTS", format!("127.0.0.1:{shard_1},127.0.0.1"))
        .env("WORKER_PORTS", format!("5432,{shard_0}"))
        .env("WORKER_SHARD_IDS", "1,0")
        .env("REPLICA_HOSTS", "127.0.0.1")
        .env("REPLICA_PORTS", replica)
        .env("PGHERD_POOL_SIZE", "3")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    assert!(!text.contains(PASSWORD), "{text}");
}

/// The other half of the test above, in its child; by itself it has nothing to read.
#[tokio::test]
async fn the_child_reads_its_environment() {
    let Ok(ports) = std::env::var(CHILD) else { return };
    let ports: Vec<u16> = ports.split(',').map(|port| port.parse().unwrap()).collect();
    let [coordinator, shard_0, shard_1, replica] = ports[..] else { panic!("{ports:?}") };
    let pool = DistributedPool::from_env().unwrap();
    println!("{pool:?} {:?}", pool.settings());
    assert_eq!(pool.settings().pool.size, 3);
    let port =
        async |request: pgherd::Request<'_>| port_of(&request.query_one(WHERE, &[]).await.unwrap());
    assert_eq!(port(pool.read()).await, replica);
    assert_eq!(port(pool.write()).await, coordinator);
    assert_eq!(port(pool.write().shard(pgherd::ShardId(0))).await, shard_0);
    assert_eq!(port(pool.write().shard(pgherd::ShardId(1))).await, shard_1);
}

#[tokio::test]
async fn an_environment_that_says_nothing_is_an_error_that_names_the_variable() {
    let settings = pgherd::Settings::from_env(|_| None);
    let error = settings.map_err(pgherd::Error::from).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("COORDINATOR_HOST"), "{error}");
}
