//! Money moves between shards: on both of them, or on neither.
//!
//! `cargo run -p pgherd --example distributed_transactions`

mod world;

use anyhow::{Context, Result, ensure};
use pgherd::{DistributedPool, DistributedTransaction, ErrorKind, ShardId};
use tracing::info;
use world::{Shape, World};

fn main() -> Result<()> {
    world::run(Shape { shards: 2, replicas: 0 }, distributed_transactions)
}

async fn distributed_transactions(_: &World) -> Result<()> {
    let pool = DistributedPool::from_env()?;
    // Once for a cluster; `pgherd init` does the same.
    pool.install_decision_table(&[]).await?;
    let (alice, bob) = (owner_on(&pool, ShardId(0)).await?, owner_on(&pool, ShardId(1)).await?);
    for owner in [&alice, &bob] {
        let request = pool.write().shard_key(owner.as_str());
        request
            .batch(
                "DROP TABLE IF EXISTS pgherd_example_accounts; \
                 CREATE TABLE pgherd_example_accounts \
                 (owner text PRIMARY KEY, balance int4 NOT NULL CHECK (balance >= 0))",
            )
            .await?;
        let insert = "INSERT INTO pgherd_example_accounts VALUES ($1, 100)";
        request.execute(insert, &[owner]).await?;
    }

    // Committed: both have changed.
    let transaction = transfer(&pool, &alice, &bob, 30).await?;
    ensure!(balances(&pool, [&alice, &bob]).await? == [100, 100], "nobody sees it before");
    transaction.commit().await?;
    ensure!(balances(&pool, [&alice, &bob]).await? == [70, 130]);

    // Rolled back, by name or by being dropped: neither has.
    transfer(&pool, &alice, &bob, 30).await?.rollback().await;
    drop(transfer(&pool, &alice, &bob, 30).await?);
    ensure!(balances(&pool, [&alice, &bob]).await? == [70, 130]);

    // One shard refuses: the money that the other had got is gone from there, too.
    let transaction = pool.distributed_transaction([alice.as_str(), bob.as_str()]).await?;
    let add = "UPDATE pgherd_example_accounts SET balance = balance + $2 WHERE owner = $1";
    transaction.for_key(bob.as_str())?.execute(add, &[&bob, &1000]).await?;
    let refused = transaction.for_key(alice.as_str())?.execute(add, &[&alice, &-1000]).await;
    let error = refused.err().context("a balance cannot be negative")?;
    info!(%error, node = error.node(), "refused");
    ensure!(error.sqlstate() == Some("23514"));
    let error = transaction.commit().await.err().context("what was refused cannot commit")?;
    info!(%error, "rolled back everywhere");
    ensure!(error.kind() == ErrorKind::RolledBack && error.in_doubt().is_empty());
    ensure!(balances(&pool, [&alice, &bob]).await? == [70, 130]);

    for owner in [&alice, &bob] {
        let request = pool.write().shard_key(owner.as_str());
        request.batch("DROP TABLE pgherd_example_accounts").await?;
    }
    pool.close().await;
    Ok(())
}

/// The first of some names that lives on a shard.
async fn owner_on(pool: &DistributedPool, shard: ShardId) -> Result<String> {
    for number in 0..1000 {
        let owner = format!("owner-{number}");
        let lease = pool.write().shard_key(owner.as_str()).acquire().await?;
        if lease.route().group.shard() == Some(shard) {
            info!(owner, %shard, node = lease.node(), "has an account");
            return Ok(owner);
        }
    }
    anyhow::bail!("none of a thousand names lives on shard {shard}")
}

async fn transfer(
    pool: &DistributedPool,
    from: &str,
    to: &str,
    amount: i32,
) -> Result<DistributedTransaction> {
    let transaction = pool.distributed_transaction([from, to]).await?;
    let add = "UPDATE pgherd_example_accounts SET balance = balance + $2 WHERE owner = $1";
    for (owner, change) in [(from, -amount), (to, amount)] {
        let cursor = transaction.for_key(owner)?;
        let count = cursor.execute(add, &[&owner, &change]).await?;
        info!(owner, change, shard = %cursor.shard(), node = cursor.node(), "changed");
        ensure!(count == 1, "{owner} has {count} accounts");
    }
    Ok(transaction)
}

/// On the shards' primaries, where what is committed is seen at once.
async fn balances(pool: &DistributedPool, owners: [&String; 2]) -> Result<[i32; 2]> {
    let mut balances = [0; 2];
    for (owner, balance) in owners.into_iter().zip(&mut balances) {
        let select = "SELECT balance FROM pgherd_example_accounts WHERE owner = $1";
        let row = pool.write().shard_key(owner.as_str()).query_one(select, &[owner]).await?;
        *balance = row.get(0);
    }
    info!(?balances, "committed so far");
    Ok(balances)
}
