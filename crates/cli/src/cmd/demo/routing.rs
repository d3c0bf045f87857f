//! The routing table, row by row, by the servers' own word.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use pgherd::tokio_postgres::Row;
use pgherd::{DistributedPool, Key, Request, ShardFunction, ShardId};
use pgherd_lab::Role;

use super::screen::Screen;
use super::stage::Stage;

const ON_COORDINATOR: &str = "CREATE TABLE users (id int PRIMARY KEY, name text NOT NULL); \
     CREATE TABLE logs (line text); \
     INSERT INTO users SELECT id, 'user ' || id FROM generate_series(1, 1000) id";

const ON_SHARDS: &str = "CREATE TABLE accounts \
     (owner text PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0), touched int DEFAULT 0)";

const READ: &str = "SELECT name, inet_server_port() FROM users WHERE id = 42";

/// One row of the table: what was run, where it has to run, where it ran.
struct Case {
    kind: &'static str,
    statement: &'static str,
    expected: Vec<String>,
    ran_on: Vec<String>,
}

/// Makes the tables that the demo's own statements use.
pub(super) async fn prepare(stage: &Stage) -> Result<()> {
    stage.pool.ddl().batch(ON_COORDINATOR).await?;
    for shard in [ShardId(0), ShardId(1)] {
        stage.pool.write().shard(shard).batch(ON_SHARDS).await?;
    }
    stage.pool.install_decision_table(&[]).await?;
    stage.cluster.wait_caught_up()
}

/// Runs each row and compares.
pub(super) async fn run(screen: Screen, stage: &Stage) -> Result<()> {
    screen.heading("The routing table, through the library; each server says itself that it ran");
    prepare(stage).await?;
    let pool = &stage.pool;
    let coordinator = vec!["coordinator".to_owned()];
    let replicas: Vec<String> =
        stage.cluster.replicas(None).map(|node| node.name.clone()).collect();

    let mut cases = Vec::new();
    let mut ran_on = BTreeSet::new();
    for _ in 0..4 {
        ran_on.insert(place(stage, &pool.read().query_one(READ, &[]).await?)?);
    }
    cases.push(Case {
        kind: "READ",
        statement: "SELECT ... FROM users, 4 times",
        expected: replicas,
        ran_on: ran_on.into_iter().collect(),
    });
    let sql = "INSERT INTO logs VALUES ('seen') RETURNING inet_server_port()";
    cases.push(Case {
        kind: "WRITE",
        statement: "INSERT INTO logs ...",
        expected: coordinator.clone(),
        ran_on: one(stage, pool.write(), sql).await?,
    });
    for (owner, statement) in [
        ("alice", "INSERT INTO accounts ... 'alice'"),
        ("bob", "INSERT INTO accounts ... 'bob'"),
        ("erin", "INSERT INTO accounts ... 'erin'"),
    ] {
        let sql =
            format!("INSERT INTO accounts VALUES ('{owner}', 100) RETURNING inet_server_port()");
        cases.push(Case {
            kind: "WRITE with a shard key",
            statement,
            expected: vec![home_of(owner)],
            ran_on: one(stage, pool.write().shard_key(owner), &sql).await?,
        });
    }
    let sql = "SELECT inet_server_port() FROM accounts WHERE owner = 'alice'";
    cases.push(Case {
        kind: "READ with a shard key",
        statement: "SELECT ... FROM accounts ... 'alice'",
        expected: vec![home_of("alice")],
        ran_on: one(stage, pool.read().shard_key("alice"), sql).await?,
    });
    pool.ddl().batch("CREATE TABLE made_by_the_demo ()").await?;
    cases.push(Case {
        kind: "DDL",
        statement: "CREATE TABLE ...",
        expected: coordinator.clone(),
        ran_on: primaries_with(stage, "made_by_the_demo")?,
    });
    let sql = "SELECT count(*), inet_server_port() FROM users";
    cases.push(Case {
        kind: "DISTRIBUTED",
        statement: "SELECT count(*) ...",
        expected: coordinator,
        ran_on: one(stage, pool.distributed(), sql).await?,
    });

    let wrong: Vec<&str> =
        cases.iter().filter(|case| case.ran_on != case.expected).map(|case| case.kind).collect();
    let row = |case: &Case| {
        let verdict = if case.ran_on == case.expected { "as promised" } else { "WRONG" };
        let ran_on = case.ran_on.join(", ");
        [case.kind.to_owned(), case.statement.to_owned(), ran_on, verdict.to_owned()]
    };
    screen.table(["TYPE", "STATEMENT", "RAN ON", ""], cases.iter().map(row).collect());
    ensure!(wrong.is_empty(), "not where the routing table says: {}", wrong.join(", "));
    Ok(())
}

/// The shard a key lives on, by the published function: MD5 modulo the number of shards.
pub(super) fn home_of(key: &str) -> String {
    format!("shard-{}", ShardFunction::Md5.bucket(&Key::from(key), 2))
}

async fn one(stage: &Stage, request: Request<'_>, sql: &str) -> Result<Vec<String>> {
    Ok(vec![place(stage, &request.query_one(sql, &[]).await?)?])
}

/// The node whose port is the last column.
fn place(stage: &Stage, row: &Row) -> Result<String> {
    let port: i32 = row.try_get(row.len() - 1)?;
    Ok(stage.node_at(u16::try_from(port)?)?.name.clone())
}

/// The primaries where a table exists.
fn primaries_with(stage: &Stage, table: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let primaries = stage.cluster.nodes().iter().filter(|node| node.role != Role::Replica);
    for node in primaries {
        if node.psql(&format!("select to_regclass('{table}') is not null"))? == "t" {
            found.push(node.name.clone());
        }
    }
    Ok(found)
}

/// The sum of all balances, over both shards.
pub(super) async fn total(pool: &DistributedPool) -> Result<i64> {
    let mut total = 0;
    for shard in [ShardId(0), ShardId(1)] {
        let sql = "SELECT coalesce(sum(balance), 0) FROM accounts";
        total += pool.read().shard(shard).query_one(sql, &[]).await?.get::<_, i64>(0);
    }
    Ok(total)
}
