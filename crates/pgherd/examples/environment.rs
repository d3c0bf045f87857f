//! The cluster comes from environment variables, as in `.env.example`.
//!
//! `cargo run -p pgherd --example environment`

mod world;

use anyhow::{Context, Result, ensure};
use pgherd::{DistributedPool, Key, QueryType, Settings};
use tracing::info;
use world::{Shape, World};

fn main() -> Result<()> {
    // A `.env` file, if there is one, was read into the environment here.
    world::run(Shape { shards: 2, replicas: 1 }, environment)
}

async fn environment(_: &World) -> Result<()> {
    for (name, value) in std::env::vars() {
        let is_ours = ["COORDINATOR_", "WORKER_", "REPLICA_", "PGHERD_"];
        if is_ours.iter().any(|prefix| name.starts_with(prefix)) && !name.ends_with("_PASSWORD") {
            info!(name, value, "variable");
        }
    }
    let pool = DistributedPool::from_env()?;

    // Every node that was named has its place.
    let topology = pool.topology();
    for node in topology.nodes() {
        let (host, port, role) = (&node.host, node.port, node.role);
        info!(node = node.name, host, port, %role, group = %node.group(), "node");
    }
    let named = |list: &str| world::variable(list).map_or(0, |hosts| hosts.split(',').count());
    let count = 1 + named("WORKER_HOSTS") + named("REPLICA_HOSTS");
    ensure!(topology.nodes().len() == count, "{count} nodes are named");
    ensure!(usize::from(topology.shard_count()) == named("WORKER_HOSTS"));

    // And each primary takes a statement.
    let mut keys: Vec<Option<Key>> = vec![None];
    keys.extend((0..8).map(|key| Some(key.into())));
    for key in keys {
        let lease = pool.acquire(QueryType::Write, key.clone()).await?;
        let row = lease.query_one("SELECT current_database(), current_user", &[]).await?;
        let (database, user): (String, String) = (row.get(0), row.get(1));
        info!(?key, node = lease.node(), database, user, "answered");
        ensure!(database == pool.settings().cluster.database);
    }

    // Any setting has a variable, and one that is wrong is named, with what is wrong.
    let with_bad_size = |name: &str| match name {
        "PGHERD_POOL_SIZE" => Some("many".to_owned()),
        name => world::variable(name),
    };
    let errors = Settings::from_env(with_bad_size).err().context("`many` is no size")?;
    info!(%errors, "refused");
    ensure!(errors.to_string().contains("PGHERD_POOL_SIZE"));

    pool.close().await;
    Ok(())
}
