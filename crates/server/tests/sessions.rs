//! What a session is to its client, although its backends change.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use futures_util::future::join_all;
use pgherd_core::Settings;
use pgherd_core::settings::Secret;
use pgherd_lab::cluster::PASSWORD;
use pgherd_lab::{Cluster, ClusterSpec};
use pgherd_server::Server;
use tokio_postgres::{Client, NoTls};
use world::{TWO_CORES, World, eventually};

const POOL_OF_TWO: &str = "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 2\n";

async fn pid(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn prepared_statements_survive_a_change_of_backend() {
    let world = World::start(0, POOL_OF_TWO);
    let clients: Vec<Client> = join_all((0..8).map(|_| world.connect())).await;
    let prepared = join_all(clients.iter().enumerate().map(|(number, client)| async move {
        // The same name in every client, another text in some.
        let sql = format!("select $1::int4 * {}, pg_backend_pid()", number % 3);
        client.prepare(&sql).await.unwrap()
    }))
    .await;
    // The backend that is left is the one of all, and then it is the other one.
    let [first, second] = [world.connect().await, world.connect().await];
    let hold = async |holder: &Client| {
        holder.batch_execute("begin").await.unwrap();
        pid(holder).await
    };
    let (left, held) = (hold(&first).await, hold(&second).await);
    assert_ne!(left, held);
    let run = |number: usize, backend: i32| {
        let (client, statement) = (&clients[number], &prepared[number]);
        async move {
            let factor = i32::try_from(number % 3).unwrap();
            for value in 0..20i32 {
                let row = client.query_one(statement, &[&value]).await.unwrap();
                assert_eq!((row.get(0), row.get(1)), (value * factor, backend));
            }
        }
    };
    first.batch_execute("commit").await.unwrap();
    join_all((0..8).map(|number| run(number, left))).await;
    assert_eq!(hold(&first).await, left);
    second.batch_execute("commit").await.unwrap();
    join_all((0..8).map(|number| run(number, held))).await;
}

#[tokio::test]
async fn a_transaction_keeps_its_backend_and_others_wait_for_it() {
    let world = World::start(0, "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 1\n");
    let mut first = world.connect().await;
    let second = world.connect().await;
    let transaction = first.transaction().await.unwrap();
    let held: i32 = transaction.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let waiting = pid(&second);
    let transacting = async {
        for _ in 0..20 {
            let row = transaction.query_one("select pg_backend_pid()", &[]).await.unwrap();
            assert_eq!(row.get::<_, i32>(0), held);
        }
        transaction.commit().await.unwrap();
    };
    let (after, ()) = tokio::join!(waiting, transacting);
    assert_eq!(after, held, "the pool has only one");
}

#[tokio::test]
async fn what_a_client_sets_follows_it_and_reaches_nobody_else() {
    let world = World::start(0, "[listen]\nport = 0\nworkers = 1\n[pool]\nsize = 1\n");
    let warsaw = world.try_connect("application_name=one options='-c TimeZone=Europe/Warsaw'");
    let warsaw = warsaw.await.unwrap();
    let tokyo = world.connect().await;
    tokyo.batch_execute("set timezone to 'Asia/Tokyo'").await.unwrap();
    let zone = "select current_setting('timezone'), current_setting('application_name')";
    for _ in 0..20 {
        let row = warsaw.query_one(zone, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), ("Europe/Warsaw", "one"));
        let row = tokyo.query_one(zone, &[]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), ("Asia/Tokyo", ""));
    }
}

#[tokio::test]
async fn nothing_of_a_client_is_left_for_the_next_one() {
    let world = World::start(0, "[listen]\nport = 0\nworkers = 1\n[pool]\nsize = 1\n");
    for leave in [
        "create temp table mine (id int)",
        "select pg_advisory_lock(7)",
        "select set_config('my.secret', '1', false)",
        "listen something",
        "declare c cursor with hold for select 1",
        "prepare mine as select 1",
        "begin; create table half (id int); select pg_advisory_lock(8)",
    ] {
        let client = world.connect().await;
        client.batch_execute(leave).await.unwrap();
        drop(client);
        let next = world.connect().await;
        let left = "select (select count(*) from pg_class where relpersistence = 't') \
            + (select count(*) from pg_locks where locktype = 'advisory') \
            + (select count(*) from pg_listening_channels()) \
            + (select count(*) from pg_cursors where name = 'c') \
            + (select count(*) from pg_prepared_statements where name = 'mine') \
            + (select count(*) from pg_class where relname = 'half') \
            + coalesce(length(nullif(current_setting('my.secret', true), '')), 0)";
        let left: i64 = next.query_one(left, &[]).await.unwrap().get(0);
        assert_eq!(left, 0, "{leave}");
    }
}

#[tokio::test]
async fn a_client_that_vanishes_leaves_no_transaction_and_no_query() {
    let world = World::start(0, TWO_CORES);
    let coordinator = world.node("coordinator");
    coordinator.psql("create table t (id int); grant all on t to app").unwrap();
    let client = world.connect().await;
    client.batch_execute("begin; insert into t values (1)").await.unwrap();
    let (sleeper, connection) = world.connect_with_task("").await.unwrap();
    let token = sleeper.cancel_token();
    tokio::spawn(async move { sleeper.batch_execute("select pg_sleep(600)").await });
    let active = "select count(*) from pg_stat_activity where query like '%pg_sleep(600)%' \
                  and state = 'active' and pid <> pg_backend_pid()";
    eventually("it sleeps", || coordinator.psql(active).unwrap() == "1").await;
    drop(client);
    connection.abort();
    eventually("the query is gone", || coordinator.psql(active).unwrap() == "0").await;
    let open = "select count(*) from pg_stat_activity where state like 'idle in transaction%'";
    eventually("the transaction is gone", || coordinator.psql(open).unwrap() == "0").await;
    assert_eq!(coordinator.psql("select count(*) from t").unwrap(), "0");
    // A late request to cancel hits nobody.
    let next = world.connect().await;
    token.cancel_query(NoTls).await.unwrap();
    assert_eq!(next.query_one("select 1", &[]).await.unwrap().get::<_, i32>(0), 1);
}

#[tokio::test]
async fn a_cancel_also_reaches_a_client_that_waits_for_a_backend() {
    let world = World::start(0, "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 1\n");
    let holder = world.connect().await;
    let waiter = world.connect().await;
    holder.batch_execute("begin; select 1").await.unwrap();
    let token = waiter.cancel_token();
    // Again and again: a request that overtakes the query finds nothing to cancel.
    let cancel = async {
        loop {
            token.cancel_query(NoTls).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let answer = tokio::select! {
        answer = waiter.simple_query("select 1") => answer,
        () = cancel => unreachable!("it is never done"),
    };
    assert_eq!(answer.unwrap_err().code().unwrap().code(), "57014");
    holder.batch_execute("commit").await.unwrap();
    waiter.simple_query("select 1").await.unwrap();
}

#[tokio::test]
async fn a_pipeline_of_statements_comes_back_in_order_errors_included() {
    let world = World::start(1, TWO_CORES);
    world.psql("create table t (id int primary key)");
    world.cluster.wait_caught_up().unwrap();
    let client = world.connect().await;
    let insert = client.prepare("insert into t values ($1)").await.unwrap();
    let select = client.prepare("select $1::int4").await.unwrap();
    let answers = join_all((0..300i32).map(|number| {
        let (client, insert, select) = (&client, &insert, &select);
        async move {
            match number % 3 {
                0 => client.execute(insert, &[&number]).await.map(|_| number),
                1 => client.query_one(select, &[&number]).await.map(|row| row.get(0)),
                _ => client.execute(insert, &[&(number - 2)]).await.map(|_| number),
            }
        }
    }))
    .await;
    for (number, answer) in (0..300).zip(answers) {
        match (number % 3, answer) {
            (2, Err(error)) => assert_eq!(error.code().unwrap().code(), "23505"),
            (0 | 1, Ok(answered)) => assert_eq!(answered, number),
            (_, other) => panic!("{number}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn who_may_not_log_in_is_told_why() {
    let world = World::start(0, TWO_CORES);
    let told = async |more: &str| {
        let error = world.try_connect(more).await.err().unwrap();
        let error = error.as_db_error().unwrap().clone();
        (error.code().code().to_owned(), error.message().to_owned())
    };
    let (code, message) = told("password=wrong").await;
    assert_eq!((&*code, &*message), ("28P01", "password authentication failed for user \"app\""));
    // Nobody learns from the answer which users there are.
    let stranger = format!("password={PASSWORD} user=stranger");
    let (code, message) = told(&stranger).await;
    assert_eq!(
        (&*code, &*message),
        ("28P01", "password authentication failed for user \"stranger\"")
    );
    let (code, message) = told("dbname=nowhere").await;
    assert_eq!((&*code, &*message), ("3D000", "database \"nowhere\" does not exist"));
    let (code, message) = told("options='-c nonsense=1'").await;
    assert_eq!(code, "42704", "{message}");
}

#[tokio::test]
async fn a_users_password_may_be_in_a_file_or_come_from_a_command() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let file = cluster.folder().join("password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let file = file.display().to_string();
    let from_file = |settings: &mut Settings| {
        let user = &mut settings.users[0];
        user.password = Secret::default();
        user.password_file = file.clone();
    };
    let world = World::before(cluster, from_file, "[listen]\nport = 0\n");
    // The client has proved that it knows it, and a node has believed the proxy.
    let answer = world.connect().await.query_one("select 1", &[]).await.unwrap();
    assert_eq!(answer.get::<_, i32>(0), 1);
    assert!(world.try_connect("password=another").await.is_err());
    let settings = |line: &str| {
        let text = format!(
            "[[node]]\nhost = \"localhost\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n{line}"
        );
        Settings::from_toml(&text, "test").unwrap()
    };
    for (line, expected) in [
        ("password_command = \"exit 3\"", "status: 3"),
        ("password_file = \"/nowhere\"", "/nowhere"),
        ("passfile = \"/nowhere\"", "one password for all nodes"),
    ] {
        let refused = Server::start(&settings(line)).unwrap_err();
        let cause = std::error::Error::source(&refused).unwrap().to_string();
        assert!(cause.contains(expected), "{cause}");
    }
}
