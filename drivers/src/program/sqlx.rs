//! sqlx: the extended protocol in binary, statements prepared and kept by the driver.

use anyhow::{Context, Result, bail};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use rust_decimal::Decimal;
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgListener, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Row};

use super::{
    AMOUNT, AT, CONNECTIONS, INTS, RAW, TEXTS, TRANSACTIONS, at_in_milliseconds, copied, doc,
    has_none, introduce, lock_timeout, tell,
};

pub(super) async fn run() {
    introduce("sqlx");
    tell("login", login().await);
    tell("prepared", prepared().await);
    tell("copy", copy().await);
    tell("errors", errors().await);
    has_none("cancel", "it sends no cancel requests");
    has_none("notices", "it writes notices to its log");
    has_none("pipeline", "it waits for each answer");
    tell("parts", parts().await);
    tell("listen", listen().await);
    tell("types", types().await);
}

/// Where to, and that TLS is to be verified, it reads in the environment.
async fn connect() -> Result<PgConnection> {
    Ok(PgConnection::connect_with(&PgConnectOptions::new()).await?)
}

async fn pool() -> Result<PgPool> {
    let options = PgPoolOptions::new().max_connections(20).min_connections(20);
    Ok(options.connect_with(PgConnectOptions::new()).await?)
}

async fn login() -> Result<Value> {
    let name: String =
        sqlx::query_scalar("select current_user::text").fetch_one(&mut connect().await?).await?;
    Ok(json!(name))
}

async fn worker(
    number: i32,
    mut connection: sqlx::pool::PoolConnection<sqlx::Postgres>,
) -> Result<(i32, bool)> {
    let mut right = 0;
    for n in 0..TRANSACTIONS {
        let mut transaction = connection.begin().await?;
        sqlx::query("insert into done (driver, worker, n) values ($1, $2, $3)")
            .bind("sqlx")
            .bind(number)
            .bind(n)
            .execute(&mut *transaction)
            .await?;
        let more: i32 =
            sqlx::query_scalar("select $1::int + 1").bind(n).fetch_one(&mut *transaction).await?;
        right += i32::from(more == n + 1);
        transaction.commit().await?;
    }
    let kept: String = sqlx::query_scalar("show lock_timeout").fetch_one(&mut *connection).await?;
    Ok((right, kept == lock_timeout(number)))
}

async fn prepared() -> Result<Value> {
    let pool = pool().await?;
    let connections = try_join_all(CONNECTIONS.map(async |number| {
        let mut connection = pool.acquire().await?;
        let set = format!("set lock_timeout = '{}'", lock_timeout(number));
        connection.execute(AssertSqlSafe(set)).await?;
        anyhow::Ok(connection)
    }))
    .await?;
    let workers = CONNECTIONS.zip(connections).map(|(number, one)| worker(number, one));
    let results = try_join_all(workers).await?;
    let right: i32 = results.iter().map(|(right, _)| right).sum();
    Ok(json!([right, results.iter().filter(|(_, kept)| *kept).count()]))
}

async fn copy() -> Result<Value> {
    let mut connection = connect().await?;
    let mut sink = connection.copy_in_raw("copy copied (id, body) from stdin").await?;
    sink.send(copied().into_bytes()).await?;
    sink.finish().await?;
    let out = "copy (select id, body from copied order by id) to stdout";
    let chunks: Vec<_> = connection.copy_out_raw(out).await?.try_collect().await?;
    Ok(json!(chunks.concat() == copied().as_bytes()))
}

async fn errors() -> Result<Value> {
    let mut connection = connect().await?;
    let mut states = Vec::new();
    for sql in [
        "insert into once values (1)",
        "select 1 / 0",
        "begin",
        "select * from missing",
        "select 1",
        "rollback",
    ] {
        match sqlx::query(sql).execute(&mut connection).await {
            Err(sqlx::Error::Database(error)) => {
                states.push(json!(error.code().context("it has no SQLSTATE")?));
            }
            Err(error) => bail!(error),
            Ok(_) if sql == "begin" || sql == "rollback" => {}
            Ok(_) => bail!("`{sql}` was not refused"),
        }
    }
    let alive: i32 = sqlx::query_scalar("select 1").fetch_one(&mut connection).await?;
    states.push(json!(alive));
    Ok(json!(states))
}

async fn parts() -> Result<Value> {
    let mut connection = connect().await?;
    let mut rows = sqlx::query("select id from many order by id").fetch(&mut connection);
    let mut count = 0;
    while rows.try_next().await?.is_some() {
        count += 1;
    }
    Ok(json!(count))
}

async fn listen() -> Result<Value> {
    let pool = pool().await?;
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen("pgherd_sqlx").await?;
    sqlx::query("select pg_notify('pgherd_sqlx', 'heard')").execute(&pool).await?;
    Ok(json!([listener.recv().await?.payload()]))
}

async fn types() -> Result<Value> {
    let mut connection = connect().await?;
    let amount: Decimal = AMOUNT.parse()?;
    sqlx::query(
        "insert into kept (driver, ints, texts, doc, raw, amount, at) \
         values ($1, $2, $3, $4, $5, $6, $7)",
    )
    .bind("sqlx")
    .bind(INTS.to_vec())
    .bind(TEXTS.to_vec())
    .bind(doc())
    .bind(RAW.to_vec())
    .bind(amount)
    .bind(AT)
    .execute(&mut connection)
    .await?;
    let row = sqlx::query("select ints, texts, doc, raw, amount, at from kept where driver = $1")
        .bind("sqlx")
        .fetch_one(&mut connection)
        .await?;
    let raw: Vec<u8> = row.try_get(3)?;
    Ok(json!({
        "array": [row.try_get::<Vec<Option<i32>>, _>(0)?, row.try_get::<Vec<Option<String>>, _>(1)?],
        "json": row.try_get::<Value, _>(2)?,
        "bytea": raw.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "numeric": row.try_get::<Decimal, _>(4)?.to_string(),
        "timestamptz": at_in_milliseconds(row.try_get(5)?),
    }))
}
