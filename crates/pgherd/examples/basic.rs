//! One server: statements, parameters, a transaction, and what the pool counts.
//!
//! `cargo run -p pgherd --example basic`

mod world;

use anyhow::{Result, ensure};
use pgherd::{DistributedPool, ErrorKind, QueryType};
use tracing::info;
use world::{Shape, World};

fn main() -> Result<()> {
    world::run(Shape { shards: 0, replicas: 0 }, basic)
}

async fn basic(_: &World) -> Result<()> {
    // Opens nothing yet: backends are opened when they are first needed.
    let pool = DistributedPool::from_env()?;

    pool.ddl()
        .batch(
            "DROP TABLE IF EXISTS pgherd_example_users; \
             CREATE TABLE pgherd_example_users (id int4 PRIMARY KEY, name text NOT NULL)",
        )
        .await?;
    let insert = "INSERT INTO pgherd_example_users VALUES ($1, $2)";
    for (id, name) in [(1, "alice"), (2, "bob")] {
        let count = pool.write().execute(insert, &[&id, &name]).await?;
        ensure!(count == 1, "one row was written, not {count}");
    }

    // Without a word about what it is: PostgreSQL's own parser says that this one reads.
    let select = pool.auto("SELECT id, name FROM pgherd_example_users ORDER BY id");
    ensure!(select.query_type() == QueryType::Read);
    // As a write all the same, for this table is new, and a replica may not have it yet.
    let rows = pool
        .write()
        .query("SELECT id, name FROM pgherd_example_users WHERE id < $1 ORDER BY id", &[&10])
        .await?;
    let users: Vec<(i32, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    info!(?users, "read");
    ensure!(users == [(1, "alice".to_owned()), (2, "bob".to_owned())]);

    // PostgreSQL's errors arrive whole.
    let error = pool.write().execute(insert, &[&1, &"alice again"]).await.err();
    let error = error.expect("the primary key refuses a second 1");
    info!(%error, tries = error.tries(), "refused");
    ensure!(error.kind() == ErrorKind::Database && error.sqlstate() == Some("23505"));

    // Several statements on one backend, all or nothing. Dropped without a commit: rolled back.
    let mut lease = pool.write().acquire().await?;
    let transaction = lease.transaction().await?;
    transaction.execute("UPDATE pgherd_example_users SET name = 'carol' WHERE id = 1", &[]).await?;
    transaction.execute("DELETE FROM pgherd_example_users WHERE id = 2", &[]).await?;
    transaction.commit().await?;
    drop(lease);
    let row = pool.write().query_one("SELECT name FROM pgherd_example_users", &[]).await?;
    ensure!(row.get::<_, &str>(0) == "carol");

    let statistics = pool.statistics();
    let (opens, reuse) = (statistics.opens, statistics.reuse_ratio);
    info!(counters = ?statistics.counters, opens, reuse, "what was done");
    ensure!(opens == 1, "one after the other, they need one backend, not {opens}");

    pool.ddl().batch("DROP TABLE pgherd_example_users").await?;
    pool.close().await;
    Ok(())
}
