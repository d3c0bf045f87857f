//! What an administrator orders at the console.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_wire::frontend::put_query;
use tokio_postgres::{Client, NoTls};
use world::console::{ADMIN, console, find, show, start, until};
use world::raw::{Raw, text_of};
use world::{World, eventually};

/// Who waits waits for long enough.
const PATIENT: &str = "[listen]\nport = 0\nworkers = 2\n[pool]\nacquire_timeout = \"1m\"\n\
                       [[database]]\nname = \"app\"\n[[database]]\nname = \"other\"\n\
                       database = \"app\"\n";

async fn says(console: &Client, order: &str) -> String {
    let error = console.batch_execute(order).await.unwrap_err();
    error.as_db_error().unwrap().message().to_owned()
}

async fn pid(client: &Client) -> i32 {
    client.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn pause_waits_for_transactions_and_holds_up_who_comes_until_resume() {
    for order in ["", " app"] {
        let world = start(0, PATIENT);
        let (dba, other) = (console(&world, ADMIN).await, console(&world, ADMIN).await);
        let (holder, late) = (world.connect().await, world.connect().await);
        holder.batch_execute("begin").await.unwrap();
        let pause = format!("PAUSE{order}");
        let pausing = tokio::spawn(async move { dba.batch_execute(&pause).await });
        match order {
            "" => until(&other, "state", ["key", "paused"], ["value", "yes"]).await,
            _ => until(&other, "databases", ["name", "app"], ["paused", "1"]).await,
        }
        let waiting = tokio::spawn(async move { late.query_one("select 1", &[]).await.map(drop) });
        until(&other, "pools", ["database", "app"], ["cl_waiting", "1"]).await;
        holder.batch_execute("select 1; commit").await.unwrap();
        pausing.await.unwrap().unwrap();
        assert_eq!(world.backends_at("coordinator"), 0);
        assert!(!waiting.is_finished());
        // The other database goes on, if it is not about all.
        let elsewhere = world.try_connect("dbname=other");
        if order == " app" {
            pid(&elsewhere.await.unwrap()).await;
        }

        other.batch_execute(&format!("RESUME{order}")).await.unwrap();
        waiting.await.unwrap().unwrap();
        pid(&holder).await;
    }
}

#[tokio::test]
async fn who_waits_in_vain_is_told_that_it_is_paused() {
    let world = start(0, &PATIENT.replace("1m", "1s"));
    let dba = console(&world, ADMIN).await;
    for order in ["PAUSE", "PAUSE app"] {
        let waiter = world.connect().await;
        dba.batch_execute(order).await.unwrap();
        let error = waiter.batch_execute("select 1").await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.severity()), ("53300", "FATAL"));
        assert!(error.detail().unwrap().contains("paused"), "{error:?}");
        assert!(error.hint().unwrap().contains("RESUME"), "{error:?}");
        dba.batch_execute(&order.replace("PAUSE", "RESUME")).await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_done_is_said_in_pgbouncers_words() {
    let world = start(0, PATIENT);
    let dba = console(&world, ADMIN).await;
    for (order, error) in [
        ("pause nowhere", "no such database: nowhere"),
        ("pause pgbouncer", "cannot pause admin db: pgbouncer"),
        ("resume", "pooler is not paused/suspended"),
        ("resume app", "database app is not paused"),
        ("disable", "a database is required"),
        ("disable pgherd", "cannot disable admin db: pgherd"),
        ("kill nowhere", "no such database: nowhere"),
        ("kill_client 0", "client not found"),
        ("kill_client x", "invalid client pointer supplied"),
        ("wait_close nowhere", "no such database: nowhere"),
    ] {
        assert_eq!(says(&dba, order).await, error, "{order}");
    }
    assert!(says(&dba, "set listen.port = 1").await.starts_with("SET failed"));
    assert!(says(&dba, "reload").await.starts_with("RELOAD failed"));
    dba.batch_execute("pause").await.unwrap();
    assert_eq!(says(&dba, "pause").await, "already suspended/paused");
    assert_eq!(says(&dba, "suspend").await, "already suspended/paused");
    dba.batch_execute("resume; pause app").await.unwrap();
    assert_eq!(says(&dba, "suspend").await, "cannot suspend with paused databases");
    dba.batch_execute("resume app").await.unwrap();
}

#[tokio::test]
async fn what_is_set_holds_at_once() {
    let world = start(0, PATIENT);
    let dba = console(&world, ADMIN).await;
    let first = world.connect().await;
    dba.batch_execute("set max_client_conn = 2; set \"listen.wait_notice\" to '7s'").await.unwrap();
    let refused = world.try_connect("").await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "53300");
    let config = show(&dba, "config").await;
    for (key, value) in [("listen.max_clients", "2"), ("query_wait_notify", "7")] {
        let row = find(&config, "key", key);
        assert_eq!((&*row["value"], &*row["changeable"]), (value, "yes"));
    }
    assert!(says(&dba, "set max_client_conn = 0").await.starts_with("SET failed"));
    dba.batch_execute("set listen.max_clients = 100").await.unwrap();
    pid(&world.connect().await).await;
    pid(&first).await;
}

#[tokio::test]
async fn ctrl_c_calls_a_pause_off() {
    let world = start(0, PATIENT);
    let (dba, other) = (console(&world, ADMIN).await, console(&world, ADMIN).await);
    let holder = world.connect().await;
    holder.batch_execute("begin").await.unwrap();
    let cancel = dba.cancel_token();
    let pausing = tokio::spawn(async move { says(&dba, "pause").await });
    until(&other, "state", ["key", "paused"], ["value", "yes"]).await;
    cancel.cancel_query(NoTls).await.unwrap();
    assert_eq!(pausing.await.unwrap(), "canceling statement due to user request");
    until(&other, "state", ["key", "active"], ["value", "yes"]).await;
    let late = world.connect().await;
    pid(&late).await;
}

#[tokio::test]
async fn ctrl_c_does_not_call_off_what_another_has_ordered_since() {
    for (table, order, paused) in [
        ("state", "", [["key", "paused"], ["value", "yes"]]),
        ("databases", " app", [["name", "app"], ["paused", "1"]]),
    ] {
        let world = start(0, PATIENT);
        let (dba, other) = (console(&world, ADMIN).await, console(&world, ADMIN).await);
        let third = console(&world, ADMIN).await;
        let holder = world.connect().await;
        holder.batch_execute("begin").await.unwrap();
        let (cancel, pause) = (dba.cancel_token(), format!("pause{order}"));
        let pausing = tokio::spawn(async move { says(&dba, &pause).await });
        until(&third, table, paused[0], paused[1]).await;
        third.batch_execute(&format!("resume{order}")).await.unwrap();
        let pause = format!("pause{order}");
        let again = tokio::spawn(async move { other.batch_execute(&pause).await });
        until(&third, table, paused[0], paused[1]).await;
        cancel.cancel_query(NoTls).await.unwrap();
        assert_eq!(pausing.await.unwrap(), "canceling statement due to user request");
        let [[key, value], [column, is]] = paused;
        assert_eq!(find(&show(&third, table).await, key, value)[column], is);
        holder.batch_execute("commit").await.unwrap();
        again.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_disabled_database_takes_no_new_clients() {
    let world = start(0, PATIENT);
    let dba = console(&world, ADMIN).await;
    let before = world.connect().await;
    dba.batch_execute("disable app").await.unwrap();
    let refused = world.try_connect("").await.unwrap_err();
    assert_eq!(refused.as_db_error().unwrap().message(), "database \"app\" is disabled");
    assert_eq!(refused.code().unwrap().code(), "55000");
    pid(&before).await;
    pid(&world.try_connect("dbname=other").await.unwrap()).await;
    dba.batch_execute("enable app").await.unwrap();
    pid(&world.connect().await).await;
}

#[tokio::test]
async fn kill_ends_what_a_database_has_and_holds_it_up() {
    let world = start(0, PATIENT);
    let dba = console(&world, ADMIN).await;
    let (idle, busy) = (world.connect().await, world.connect().await);
    let other = world.try_connect("dbname=other").await.unwrap();
    pid(&idle).await;
    busy.batch_execute("begin").await.unwrap();
    pid(&other).await;
    dba.batch_execute("kill app").await.unwrap();
    for client in [&idle, &busy] {
        let error = client.query_one("select 1", &[]).await.unwrap_err();
        assert!(error.is_closed() || error.code().unwrap().code() == "57P01", "{error}");
    }
    pid(&other).await;
    eventually("its backends are gone", || world.backends_at("coordinator") == 1).await;
    assert_eq!(find(&show(&dba, "databases").await, "name", "app")["paused"], "1");
    dba.batch_execute("resume app").await.unwrap();
    pid(&world.connect().await).await;
}

#[tokio::test]
async fn kill_client_ends_that_one() {
    let world = start(0, PATIENT);
    let dba = console(&world, ADMIN).await;
    // As many as there are cores, and one more: they are on different ones.
    let mut clients = Vec::new();
    for name in ["one", "two", "three"] {
        clients.push(world.try_connect(&format!("application_name={name}")).await.unwrap());
    }
    for (client, name) in clients.iter().zip(["one", "two", "three"]) {
        pid(client).await;
        let id = find(&show(&dba, "clients").await, "application_name", name)["id"].clone();
        dba.batch_execute(&format!("kill_client {id}")).await.unwrap();
        assert!(client.query_one("select 1", &[]).await.is_err());
        assert_eq!(says(&dba, &format!("kill_client {id}")).await, "client not found");
    }
}

#[tokio::test]
async fn reconnect_closes_backends_as_they_are_released_and_wait_close_waits_for_it() {
    let world = start(0, PATIENT);
    let (dba, other) = (console(&world, ADMIN).await, console(&world, ADMIN).await);
    let (holder, idle) = (world.connect().await, world.connect().await);
    holder.batch_execute("begin").await.unwrap();
    let held = pid(&holder).await;
    let before = pid(&idle).await;
    dba.batch_execute("reconnect app").await.unwrap();
    assert_ne!(pid(&idle).await, before);
    let waiting = tokio::spawn(async move { dba.batch_execute("wait_close app").await });
    let servers = show(&other, "servers").await;
    assert_eq!(find(&servers, "remote_pid", &held.to_string())["close_needed"], "1");
    assert_eq!(pid(&holder).await, held);
    assert!(!waiting.is_finished());
    holder.batch_execute("commit").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_ne!(pid(&holder).await, held);
    other.batch_execute("reconnect; wait_close").await.unwrap();
}

#[tokio::test]
async fn suspend_stands_everything_still_until_resume_or_the_console_leaves() {
    let world = start(0, PATIENT);
    let other = console(&world, ADMIN).await;
    for leaves in [false, true] {
        let dba = console(&world, ADMIN).await;
        let client = world.connect().await;
        pid(&client).await;
        dba.batch_execute("suspend").await.unwrap();
        assert_eq!(find(&show(&other, "state").await, "key", "suspended")["value"], "yes");
        let asking = tokio::spawn(async move { pid(&client).await });
        // It would have been answered by then.
        show(&other, "pools").await;
        assert!(!asking.is_finished());
        match leaves {
            false => other.batch_execute("resume").await.unwrap(),
            true => drop(dba),
        }
        asking.await.unwrap();
        until(&other, "state", ["key", "active"], ["value", "yes"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn suspend_waits_for_who_does_not_read_as_long_as_the_settings_say() {
    let more = "[listen]\nport = 0\nworkers = 2\nauth = \"trust\"\nsuspend_timeout = \"100ms\"\n";
    let world = start(0, more);
    let (dba, other) = (console(&world, ADMIN).await, console(&world, ADMIN).await);
    let mut deaf = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    put_query(&mut out, "select repeat('x', 1000000) from generate_series(1, 100)");
    deaf.send(&out);
    let unsent = async || {
        let sockets = show(&other, "sockets").await;
        let of_clients = sockets.iter().filter(|row| row["type"] == "C" && row["user"] == "app");
        of_clients.map(|row| row["send_remain"].parse::<u64>().unwrap()).sum::<u64>()
    };
    while unsent().await == 0 {
        tokio::task::yield_now().await;
    }
    dba.batch_execute("suspend").await.unwrap();
    assert!(unsent().await > 0, "it has not taken what it was sent, and keeps it");
    dba.batch_execute("resume").await.unwrap();
    let rows = deaf.until('Z').into_iter().filter(|(tag, _)| *tag == 'D').count();
    assert_eq!(rows, 100);
}

#[tokio::test]
async fn a_login_has_its_deadline_while_everything_stands_still() {
    let world = start(0, "[listen]\nport = 0\nworkers = 1\nlogin_timeout = \"1s\"\n");
    let dba = console(&world, ADMIN).await;
    dba.batch_execute("suspend").await.unwrap();
    let mut half = Raw::start(&world, &[]);
    let told = text_of(half.until('E').pop().unwrap()).unwrap();
    assert_eq!(told, "28000: the login was not complete after 1s");
    assert!(half.next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_the_process_in_three_ways() {
    for (order, cut) in [
        ("shutdown", true),
        ("shutdown wait_for_servers", false),
        ("shutdown wait_for_clients", false),
    ] {
        let mut world = start(0, PATIENT);
        let dba = console(&world, ADMIN).await;
        let (idle, holder) = (world.connect().await, world.connect().await);
        pid(&idle).await;
        holder.batch_execute("begin").await.unwrap();
        // With the first the end may come before the answer.
        let told = dba.batch_execute(order).await;
        assert!(told.is_ok() || order != "shutdown wait_for_clients", "{order}: {told:?}");
        if !cut {
            pid(&holder).await;
            holder.batch_execute("commit").await.unwrap();
        }
        if order == "shutdown wait_for_clients" {
            pid(&idle).await;
            eventually("nobody else gets in", || refuses(&world)).await;
            pid(&idle).await;
        }
        drop((idle, holder));
        world.wait_stopped();
    }
}

fn refuses(world: &World) -> bool {
    std::net::TcpStream::connect(world.address()).is_err()
}
