//! Money between shards, under two-phase commit.

use anyhow::{Context, Result, ensure};
use pgherd::{Committed, DistributedPool, Error};

use super::routing::{home_of, total};
use super::screen::Screen;
use super::stage::Stage;

const MOVE: &str = "UPDATE accounts SET balance = balance + $2 WHERE owner = $1";

/// A transfer that commits on both shards, and one that fails on one of them and leaves both as
/// they were.
pub(super) async fn run(screen: Screen, stage: &Stage) -> Result<()> {
    screen.heading("A transfer between shards, under two-phase commit");
    let pool = &stage.pool;
    let from = "alice";
    let to = ["bob", "carol", "dave", "erin", "frank", "grace"]
        .into_iter()
        .find(|owner| home_of(owner) != home_of(from))
        .context("of six names one lives on the other shard")?;
    let open = "INSERT INTO accounts VALUES ($1, 100) ON CONFLICT DO NOTHING";
    pool.write().shard_key(to).execute(open, &[&to]).await?;
    let before = total(pool).await?;
    let (paid, got) = (balance(pool, from).await?, balance(pool, to).await?);

    transfer(pool, from, to, 30).await?;
    ensure!(
        (balance(pool, from).await?, balance(pool, to).await?) == (paid - 30, got + 30),
        "a transfer was committed and its balances are others"
    );
    screen.say(&format!(
        "30 from {from} on {} to {to} on {}: committed on both",
        home_of(from),
        home_of(to)
    ));

    // The check on the balance refuses it on one shard, after the other has accepted it.
    let refused = transfer(pool, from, to, 1000).await;
    let error = refused.err().context("an overdraft was committed")?;
    ensure!(
        (balance(pool, from).await?, balance(pool, to).await?) == (paid - 30, got + 30),
        "a transfer was refused and has changed a balance"
    );
    screen.say(&format!("1000 more: refused ({error}), and undone on both"));

    let after = total(pool).await?;
    ensure!(before == after, "the sum of all balances was {before} and is {after}");
    for node in stage.cluster.workers() {
        let left = node.psql("select count(*) from pg_prepared_xacts")?;
        ensure!(left == "0", "{left} prepared transactions are left on {}", node.name);
    }
    screen.say(&format!("all balances sum up to {after}, as before; nothing is left prepared"));
    Ok(())
}

async fn transfer(
    pool: &DistributedPool,
    from: &str,
    to: &str,
    amount: i32,
) -> Result<Committed, Error> {
    let transaction = pool.distributed_transaction([from, to]).await?;
    transaction.for_key(to)?.execute(MOVE, &[&to, &amount]).await?;
    transaction.for_key(from)?.execute(MOVE, &[&from, &-amount]).await?;
    transaction.commit().await
}

async fn balance(pool: &DistributedPool, owner: &str) -> Result<i32> {
    let sql = "SELECT balance FROM accounts WHERE owner = $1";
    Ok(pool.read().shard_key(owner).query_one(sql, &[&owner]).await?.get(0))
}
