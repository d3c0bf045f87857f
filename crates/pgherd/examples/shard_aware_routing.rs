//! Each row lives on the shard of its key, and statements with that key go there.
//!
//! `cargo run -p pgherd --example shard_aware_routing`

mod world;

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use pgherd::{DistributedPool, ShardId};
use tracing::info;
use world::{Shape, World, until};

const USERS: i32 = 40;

fn main() -> Result<()> {
    world::run(Shape { shards: 2, replicas: 0 }, shard_aware_routing)
}

async fn shard_aware_routing(_: &World) -> Result<()> {
    let pool = DistributedPool::from_env()?;
    let shards: Vec<ShardId> = (0..pool.topology().shard_count()).map(ShardId).collect();
    for &shard in &shards {
        // `.ddl()` would go to the coordinator; this names the shard itself.
        pool.write()
            .shard(shard)
            .batch(
                "DROP TABLE IF EXISTS pgherd_example_users; \
                 CREATE TABLE pgherd_example_users (id int4 PRIMARY KEY, name text NOT NULL)",
            )
            .await?;
    }

    let insert = "INSERT INTO pgherd_example_users VALUES ($1, $2)";
    for id in 0..USERS {
        pool.write().shard_key(id).execute(insert, &[&id, &format!("user {id}")]).await?;
    }

    // Every user is on one shard, and on the one that the key leads to.
    let mut home: BTreeMap<i32, ShardId> = BTreeMap::new();
    for &shard in &shards {
        let select = "SELECT id FROM pgherd_example_users ORDER BY id";
        let rows = pool.write().shard(shard).query(select, &[]).await?;
        let ids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        info!(%shard, users = ids.len(), ?ids, "what a shard holds");
        ensure!(!ids.is_empty(), "keys spread over all shards");
        for id in ids {
            ensure!(home.insert(id, shard).is_none(), "user {id} is on two shards");
        }
    }
    ensure!(home.len() == usize::try_from(USERS)?, "{} users of {USERS}", home.len());
    for (&id, &shard) in &home {
        let lease = pool.write().shard_key(id).acquire().await?;
        ensure!(lease.route().group.shard() == Some(shard), "user {id} is on {shard}");
    }
    // The text of a number is the same key, so a program in another language agrees.
    let lease = pool.write().shard_key("7").acquire().await?;
    ensure!(lease.route().group.shard() == home.get(&7).copied());
    drop(lease);

    // Reads with a key: a replica of that shard if it has one, so a moment later; else its worker.
    let select = "SELECT name FROM pgherd_example_users WHERE id = $1";
    for id in [0, 7, 39] {
        until("the shard shows the user", async || {
            match pool.read().shard_key(id).query(select, &[&id]).await {
                Ok(rows) => Ok(rows.len() == 1),
                Err(error) if error.sqlstate() == Some("42P01") => Ok(false),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
    }

    // Without a key the coordinator is asked, which has no such table.
    let error = pool.write().query("SELECT FROM pgherd_example_users", &[]).await.err();
    let error = error.context("the coordinator has no table pgherd_example_users")?;
    info!(%error, node = error.node(), "no key");
    ensure!(error.sqlstate() == Some("42P01") && error.node() == Some("coordinator"));

    for &shard in &shards {
        pool.write().shard(shard).batch("DROP TABLE pgherd_example_users").await?;
    }
    pool.close().await;
    Ok(())
}
