//! Writes go to the coordinator, reads to its replicas in turn.
//!
//! `cargo run -p pgherd --example read_write_split`

mod world;

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use pgherd::{DistributedPool, NodeRole, Request};
use tracing::info;
use world::{Shape, World, until};

fn main() -> Result<()> {
    world::run(Shape { shards: 0, replicas: 2 }, read_write_split)
}

async fn read_write_split(_: &World) -> Result<()> {
    let pool = DistributedPool::from_env()?;
    pool.ddl()
        .batch(
            "DROP TABLE IF EXISTS pgherd_example_posts; \
             CREATE TABLE pgherd_example_posts (id int4 PRIMARY KEY, text text NOT NULL)",
        )
        .await?;
    for id in 1..=3 {
        let sql = "INSERT INTO pgherd_example_posts VALUES ($1, 'a post')";
        pool.write().execute(sql, &[&id]).await?;
    }

    // The servers themselves say where a statement ran: only a replica is in recovery.
    let is_replica = async |request: Request<'_>| -> Result<bool> {
        Ok(request.query_one("SELECT pg_is_in_recovery()", &[]).await?.get(0))
    };
    ensure!(!is_replica(pool.write()).await?, "a write runs on the coordinator");
    ensure!(!is_replica(pool.ddl()).await?, "so does DDL");
    for _ in 0..8 {
        ensure!(is_replica(pool.read()).await?, "a read runs on a replica");
    }

    // In turn: each replica has had its share.
    let mut reads: BTreeMap<&str, u64> = BTreeMap::new();
    let statistics = pool.statistics();
    for node in statistics.nodes.iter().filter(|node| node.role == NodeRole::Replica) {
        reads.insert(&node.name, node.statements);
    }
    info!(?reads, "reads by replica");
    let (fewest, most) = (reads.values().min(), reads.values().max());
    ensure!(most.zip(fewest).is_some_and(|(most, fewest)| most - fewest <= 1), "{reads:?}");

    // Replication takes its time: a read finds a new row a moment later on a replica. Who must
    // see at once what was just written reads on the coordinator, as a write.
    let count = "SELECT count(*) FROM pgherd_example_posts";
    ensure!(pool.write().query_one(count, &[]).await?.get::<_, i64>(0) == 3);
    until("a replica has the rows", async || {
        match pool.read().query_one(count, &[]).await {
            Ok(row) => Ok(row.get::<_, i64>(0) == 3),
            // It may not even have the table yet.
            Err(error) if error.sqlstate() == Some("42P01") => Ok(false),
            Err(error) => Err(error.into()),
        }
    })
    .await?;

    // What the parser finds to write is no read, whatever it looks like.
    for (sql, is_read) in [
        ("SELECT text FROM pgherd_example_posts", true),
        ("SELECT text FROM pgherd_example_posts FOR UPDATE", false),
        ("WITH x AS (DELETE FROM pgherd_example_posts RETURNING id) SELECT * FROM x", false),
    ] {
        let query_type = pool.classify(sql).query_type;
        info!(%query_type, sql, "classified");
        ensure!((query_type == pgherd::QueryType::Read) == is_read, "{sql} is a {query_type}");
    }

    pool.ddl().batch("DROP TABLE pgherd_example_posts").await?;
    pool.close().await;
    Ok(())
}
