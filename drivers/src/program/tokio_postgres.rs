//! tokio-postgres: the extended protocol in binary, statements prepared by hand.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use futures_util::{SinkExt, TryStreamExt, stream};
use rust_decimal::Decimal;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio_postgres::{AsyncMessage, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    AMOUNT, AT, CONNECTIONS, INTS, RAW, TEXTS, TRANSACTIONS, at_in_milliseconds, copied, doc,
    introduce, lock_timeout, tell,
};

pub(super) async fn run() {
    introduce("tokio-postgres");
    tell("login", login().await);
    tell("prepared", prepared().await);
    tell("copy", copy().await);
    tell("errors", errors().await);
    tell("cancel", cancel().await);
    tell("notices", notices().await);
    tell("pipeline", pipeline().await);
    tell("parts", parts().await);
    tell("listen", listen().await);
    tell("types", types().await);
}

fn tls() -> Result<MakeRustlsConnect> {
    let root = std::env::var("PGSSLROOTCERT")?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(root)?)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(MakeRustlsConnect::new(config))
}

async fn connect() -> Result<Client> {
    Ok(connect_to_hear().await?.0)
}

/// A client, and what it is told beside its answers.
async fn connect_to_hear() -> Result<(Client, UnboundedReceiver<AsyncMessage>)> {
    let of = |name| std::env::var(name).with_context(|| format!("{name} is not set"));
    let mut config = Config::new();
    config
        .host(of("PGHOST")?)
        .port(of("PGPORT")?.parse()?)
        .user(of("PGUSER")?)
        .password(of("PGPASSWORD")?)
        .dbname(of("PGDATABASE")?)
        .ssl_mode(tokio_postgres::config::SslMode::Require);
    let (client, mut connection) = config.connect(tls()?).await?;
    let (sender, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut messages = pin!(stream::poll_fn(move |context| connection.poll_message(context)));
        // Its end shows in the client's next call.
        while let Ok(Some(message)) = messages.try_next().await {
            let _ = sender.send(message);
        }
    });
    Ok((client, receiver))
}

async fn login() -> Result<Value> {
    let row = connect().await?.query_one("select current_user::text", &[]).await?;
    Ok(json!(row.get::<_, String>(0)))
}

async fn worker(number: i32, mut client: Client) -> Result<(i32, bool)> {
    let insert = "insert into done (driver, worker, n) values ($1, $2, $3)";
    let done = client.prepare(insert).await?;
    let more = client.prepare("select $1::int + 1").await?;
    let mut right = 0;
    for n in 0..TRANSACTIONS {
        let transaction = client.transaction().await?;
        transaction.execute(&done, &[&"tokio-postgres", &number, &n]).await?;
        let row = transaction.query_one(&more, &[&n]).await?;
        right += i32::from(row.get::<_, i32>(0) == n + 1);
        transaction.commit().await?;
    }
    let kept: String = client.query_one("show lock_timeout", &[]).await?.get(0);
    Ok((right, kept == lock_timeout(number)))
}

async fn prepared() -> Result<Value> {
    let clients = try_join_all(CONNECTIONS.map(async |number| {
        let client = connect().await?;
        client.batch_execute(&format!("set lock_timeout = '{}'", lock_timeout(number))).await?;
        anyhow::Ok(client)
    }))
    .await?;
    let workers = CONNECTIONS.zip(clients).map(|(number, client)| worker(number, client));
    let results = try_join_all(workers).await?;
    let right: i32 = results.iter().map(|(right, _)| right).sum();
    Ok(json!([right, results.iter().filter(|(_, kept)| *kept).count()]))
}

async fn copy() -> Result<Value> {
    let client = connect().await?;
    let mut sink = pin!(client.copy_in("copy copied (id, body) from stdin").await?);
    sink.send(Bytes::from(copied())).await?;
    sink.finish().await?;
    let out = "copy (select id, body from copied order by id) to stdout";
    let chunks: Vec<Bytes> = client.copy_out(out).await?.try_collect().await?;
    Ok(json!(chunks.concat() == copied().as_bytes()))
}

async fn state_of<T>(
    query: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<Value> {
    match query.await {
        Ok(_) => bail!("it was not refused"),
        Err(error) => Ok(json!(error.code().context(error.to_string())?.code())),
    }
}

async fn errors() -> Result<Value> {
    let client = connect().await?;
    let mut states = Vec::new();
    states.push(state_of(client.query("insert into once values (1)", &[])).await?);
    states.push(state_of(client.query("select 1 / 0", &[])).await?);
    client.batch_execute("begin").await?;
    states.push(state_of(client.query("select * from missing", &[])).await?);
    states.push(state_of(client.query("select 1", &[])).await?);
    client.batch_execute("rollback").await?;
    states.push(json!(client.query_one("select 1", &[]).await?.get::<_, i32>(0)));
    Ok(json!(states))
}

async fn cancel() -> Result<Value> {
    let (client, other) = (connect().await?, connect().await?);
    let token = client.cancel_token();
    let is_sleeping = "select count(*) from pg_stat_activity where state = 'active' \
                       and pid <> pg_backend_pid() and query like '%sleeper of tokio-postgres%'";
    let sleep =
        state_of(client.batch_execute("select pg_sleep(60) /* sleeper of tokio-postgres */"));
    let cancel = async {
        while other.query_one(is_sleeping, &[]).await?.get::<_, i64>(0) != 1 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        anyhow::Ok(token.cancel_query(tls()?).await?)
    };
    let (state, sent) = tokio::join!(sleep, cancel);
    sent?;
    let alive: i32 = client.query_one("select 1", &[]).await?.get(0);
    Ok(json!([state?, alive]))
}

async fn notices() -> Result<Value> {
    let (client, mut told) = connect_to_hear().await?;
    client.batch_execute("do $$ begin raise notice 'seen'; end $$").await?;
    match told.recv().await {
        Some(AsyncMessage::Notice(notice)) => Ok(json!([notice.message()])),
        told => bail!("it was told {told:?}"),
    }
}

async fn pipeline() -> Result<Value> {
    let client = connect().await?;
    let statement = client.prepare("select $1::int").await?;
    let rows = join_all((0..100).map(async |n: i32| client.query_one(&statement, &[&n]).await));
    let numbers: Result<Vec<i32>, _> =
        rows.await.into_iter().map(|row| row.map(|row| row.get(0))).collect();
    Ok(json!(numbers?.iter().sum::<i32>()))
}

async fn parts() -> Result<Value> {
    let mut client = connect().await?;
    let transaction = client.transaction().await?;
    let portal = transaction.bind("select id from many order by id", &[]).await?;
    let mut count = 0;
    loop {
        let rows = transaction.query_portal(&portal, 100).await?.len();
        count += rows;
        if rows < 100 {
            return Ok(json!(count));
        }
    }
}

async fn listen() -> Result<Value> {
    let (client, mut told) = connect_to_hear().await?;
    client.batch_execute("listen pgherd_tokio").await?;
    connect().await?.batch_execute("notify pgherd_tokio, 'heard'").await?;
    match told.recv().await {
        Some(AsyncMessage::Notification(heard)) => Ok(json!([heard.payload()])),
        told => bail!("it was told {told:?}"),
    }
}

async fn types() -> Result<Value> {
    let client = connect().await?;
    let insert = "insert into kept (driver, ints, texts, doc, raw, amount, at) \
                  values ($1, $2, $3, $4, $5, $6, $7)";
    let (ints, texts, raw) = (INTS.to_vec(), TEXTS.to_vec(), RAW.to_vec());
    let amount: Decimal = AMOUNT.parse()?;
    client.execute(insert, &[&"tokio-postgres", &ints, &texts, &doc(), &raw, &amount, &AT]).await?;
    let select = "select ints, texts, doc, raw, amount, at from kept where driver = $1";
    let row = client.query_one(select, &[&"tokio-postgres"]).await?;
    Ok(json!({
        "array": [row.get::<_, Vec<Option<i32>>>(0), row.get::<_, Vec<Option<String>>>(1)],
        "json": row.get::<_, Value>(2),
        "bytea": row.get::<_, Vec<u8>>(3).iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "numeric": row.get::<_, Decimal>(4).to_string(),
        "timestamptz": at_in_milliseconds(row.get(5)),
    }))
}
