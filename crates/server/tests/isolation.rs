//! What is clean between clients: settings that go along, sessions that are pinned.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use futures_util::future::join;
use pgherd_server::Pin;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};
use world::raw::{Raw, parse, run, sync, text_of};
use world::{World, eventually};

const ONE: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nsize = 1\n\
     acquire_timeout = \"10s\"\n";

/// A world with a pool of this size, and `more` of its settings.
fn world(size: u32, more: &str) -> World {
    let pool = format!("size = {size}\n{more}\n");
    World::start(0, &ONE.replace("size = 1\n", &pool))
}

/// The first row, as texts.
async fn row(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap();
    let row = messages.into_iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    (0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect()
}

async fn value(client: &Client, sql: &str) -> String {
    row(client, sql).await.remove(0)
}

const SHOW: &str = "select current_setting('search_path'), current_setting('TimeZone'), \
     current_setting('role'), current_setting('statement_timeout'), \
     coalesce(current_setting('app.tenant', true), '')";

/// Sets one of five settings after another, to values of its own, and looks at all of them in each
/// transaction.
async fn alternate(client: &Client, name: &str, zones: [&str; 2], transactions: usize) {
    let settings = ["search_path", "TimeZone", "role", "statement_timeout", "app.tenant"];
    let values = |at: usize| match settings[at] {
        "search_path" => [format!("{name}, public"), format!("{name}_other")],
        "TimeZone" => zones.map(str::to_owned),
        "role" => [format!("{name}_role"), "none".to_owned()],
        "statement_timeout" if name == "one" => ["11s".to_owned(), "12s".to_owned()],
        "statement_timeout" => ["21s".to_owned(), "0".to_owned()],
        _ => [format!("{name}-1"), format!("{name}-2")],
    };
    let mut expected = row(client, SHOW).await;
    for number in 0..transactions {
        let at = number % settings.len();
        let (setting, value) = (settings[at], values(at)[number / settings.len() % 2].clone());
        let set = match number % 3 {
            0 if setting != "search_path" => format!("set {setting} to '{value}'"),
            _ => format!("select set_config('{setting}', '{value}', false)"),
        };
        client.batch_execute("begin").await.unwrap();
        assert_eq!(row(client, SHOW).await, expected, "{name}, transaction {number}");
        client.batch_execute(&set).await.unwrap();
        if number % 7 == 6 {
            client.batch_execute("rollback").await.unwrap();
        } else {
            client.batch_execute("commit").await.unwrap();
            expected[at] = value;
        }
    }
    assert_eq!(row(client, SHOW).await, expected);
}

#[tokio::test]
async fn two_clients_that_set_what_they_like_never_see_each_others_values() {
    let world = world(1, "");
    world
        .node("coordinator")
        .psql("create role one_role; create role two_role; grant one_role, two_role to app")
        .unwrap();
    let (one, two) = (world.connect().await, world.connect().await);
    join(
        alternate(&one, "one", ["Asia/Tokyo", "Europe/Warsaw"], 1000),
        alternate(&two, "two", ["America/Lima", "UTC"], 1000),
    )
    .await;
    let fresh = world.connect().await;
    let tenant = fresh.simple_query("select current_setting('app.tenant', true)").await.unwrap();
    let SimpleQueryMessage::Row(tenant) = &tenant[1] else { panic!("{tenant:?}") };
    assert!(matches!(tenant.get(0), None | Some("")), "{tenant:?}");
    assert_eq!(value(&fresh, "show search_path").await, "\"$user\", public");
    assert!(world.server().pins().is_empty());
}

/// What may be left on a node's backends, in words.
const LEFT: &str = "select (select count(*) from pg_class where relpersistence = 't' \
     and relname = 'mine') || ' tables, ' || (select count(*) from pg_locks \
     where locktype = 'advisory') || ' locks'";

/// The pids of all backends that clients have used, and of those that listen, asked of each.
async fn listening(client: &Client) -> String {
    value(client, "select count(*) from pg_listening_channels()").await
}

fn only_pin(world: &World) -> Option<Pin> {
    let mut pins = world.server().pins();
    assert!(pins.len() <= 1, "{pins:?}");
    pins.pop()
}

#[tokio::test]
async fn what_one_client_holds_the_other_never_sees_and_nothing_of_it_outlives_its_end() {
    let world = world(2, "");
    let coordinator = world.node("coordinator");
    let other = world.connect().await;
    let sees = "select (select count(*) from pg_class where relname = 'mine' \
         and pg_table_is_visible(oid)) + (select count(*) from pg_locks \
         where locktype = 'advisory' and pid = pg_backend_pid()) \
         + (select count(*) from pg_listening_channels())";
    for (hold, holds, end) in [
        ("create temp table mine (id int)", "temporary relations", "drop table mine"),
        ("select pg_advisory_lock(7)", "1 advisory lock", "select pg_advisory_unlock(7)"),
        ("listen news", "1 channel listened to", "unlisten news"),
        ("declare c cursor with hold for select 1", "1 cursor WITH HOLD", "close c"),
    ] {
        for is_killed in [false, true] {
            let (holder, task) = world.connect_with_task("").await.unwrap();
            holder.batch_execute(hold).await.unwrap();
            eventually("it is pinned", || only_pin(&world).is_some()).await;
            let pin = only_pin(&world).unwrap();
            assert_eq!((&*pin.holds, &*pin.statement), (holds, hold));
            let held = value(&holder, "select pg_backend_pid()").await;
            assert_eq!(held, pin.backend.to_string());
            for _ in 0..20 {
                assert_eq!(value(&other, sees).await, "0", "{hold}");
                assert_ne!(value(&other, "select pg_backend_pid()").await, held);
                assert_eq!(value(&holder, "select pg_backend_pid()").await, held);
            }
            if is_killed {
                task.abort();
            } else {
                holder.batch_execute(end).await.unwrap();
            }
            eventually("the pin is gone", || only_pin(&world).is_none()).await;
            eventually("nothing is left", || {
                coordinator.psql(LEFT).unwrap() == "0 tables, 0 locks"
            })
            .await;
            // Both backends are free: two transactions at once see nothing, and different ones.
            let (one, two) = (world.connect().await, world.connect().await);
            one.batch_execute("begin").await.unwrap();
            two.batch_execute("begin").await.unwrap();
            for client in [&one, &two] {
                assert_eq!(value(client, sees).await, "0", "{hold}");
                assert_eq!(listening(client).await, "0", "{hold}");
                let cursors = "select count(*) from pg_cursors where is_holdable";
                assert_eq!(value(client, cursors).await, "0", "{hold}");
            }
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_pinned_backend_is_told_what_pins_it() {
    let world = World::start(0, &ONE.replace("10s", "300ms"));
    let (holder, waiter) = (world.connect().await, world.connect().await);
    holder.batch_execute("create temp table mine (id int)").await.unwrap();
    let error = waiter.simple_query("select 1").await.unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "53300");
    let detail = error.detail().unwrap();
    let expected = "which holds temporary relations (by: create temp table mine (id int))";
    assert!(detail.ends_with(expected), "{detail}");
    holder.batch_execute("drop table mine").await.unwrap();
    let next = world.connect().await;
    assert_eq!(value(&next, "select 1").await, "1");
    assert_eq!(value(&holder, "select 2").await, "2");
}

/// Severity, SQLSTATE, message and detail of the next message, which is an error.
fn texts_of_error(client: &mut Raw) -> [String; 4] {
    let (tag, body) = client.next().unwrap();
    assert_eq!(tag, 'E', "{body:?}");
    let field = |tag: u8| {
        let fields = body.split(|byte| *byte == 0);
        let found = fields.filter_map(|field| field.strip_prefix(&[tag])).next();
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    [field(b'S'), field(b'C'), field(b'M'), field(b'D')]
}

#[tokio::test]
async fn a_pool_that_pins_nothing_says_so_or_lets_it_end() {
    let refusing = world(1, "pin = \"refuse\"");
    let mut client = Raw::log_in(&refusing, &[]);
    client.query("select pg_advisory_lock(7)");
    let told = texts_of_error(&mut client);
    assert_eq!(told[..2], ["FATAL", "0A000"]);
    assert!(told[2].contains("would keep 1 advisory lock"), "{told:?}");
    assert_eq!(told[3], "by the statement: select pg_advisory_lock(7)");
    let next = refusing.connect().await;
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    assert_eq!(value(&next, locks).await, "0");

    let off = world(1, "pin = \"off\"");
    let (client, next) = (off.connect().await, off.connect().await);
    client.batch_execute("select pg_advisory_lock(7); set work_mem = '3MB'").await.unwrap();
    assert_eq!(value(&next, locks).await, "0");
    assert_eq!(value(&client, "show work_mem").await, "3MB");
}

#[tokio::test]
async fn one_pin_too_many_is_refused_with_the_numbers() {
    let world = world(3, "pin_limit = 1");
    let (first, mut second) = (world.connect().await, Raw::log_in(&world, &[]));
    first.batch_execute("listen news").await.unwrap();
    eventually("it is pinned", || only_pin(&world).is_some()).await;
    second.query("listen news");
    let told = texts_of_error(&mut second);
    assert_eq!(told[..2], ["FATAL", "54000"]);
    assert!(told[2].contains("1 of at most 1 backends"), "{told:?}");
    assert_eq!(value(&first, "select 1").await, "1");
}

#[tokio::test]
async fn who_listens_hears_what_is_said_while_it_is_idle() {
    let world = world(2, "");
    let (user, password) = (pgherd_lab::cluster::USER, pgherd_lab::cluster::PASSWORD);
    let (ip, port) = (world.address().ip(), world.address().port());
    let options = format!("host={ip} port={port} user={user} password={password} dbname=app");
    let (listener, mut connection) = tokio_postgres::connect(&options, NoTls).await.unwrap();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        let next = |cx: &mut std::task::Context<'_>| connection.poll_message(cx);
        let mut next = std::future::poll_fn(next);
        while let Some(Ok(message)) = (&mut next).await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = tell.send(notification.payload().to_owned());
            }
        }
    });
    listener.batch_execute("listen news").await.unwrap();
    let speaker = world.connect().await;
    for number in 0..20 {
        speaker.batch_execute(&format!("notify news, '{number}'")).await.unwrap();
        // Also while the session is asked what it holds.
        listener.batch_execute("set work_mem = '3MB'").await.unwrap();
    }
    for number in 0..20 {
        let heard = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
        assert_eq!(heard.unwrap(), Some(number.to_string()));
    }
}

#[test]
fn what_was_prepared_stays_when_something_was_set() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    parse(&mut out, "s", "select count(*) from pg_prepared_statements");
    run(&mut out, "s");
    sync(&mut out);
    client.send(&out);
    client.until('Z');
    for state in [
        "begin; set local work_mem = '3MB'; commit",
        "set work_mem = '3MB'",
        "select 1 as temp",
        "do 'begin end'",
    ] {
        client.query(state);
        out.clear();
        run(&mut out, "s");
        sync(&mut out);
        client.send(&out);
        let answer = client.until('Z');
        let tags: String = answer.iter().map(|(tag, _)| *tag).collect();
        assert_eq!(tags, "2DCZ", "{state}");
        let told: Vec<String> = answer.into_iter().filter_map(text_of).collect();
        assert_eq!(told, ["1"], "{state}");
    }
}

#[test]
fn what_is_reset_in_a_pinned_session_is_what_the_login_asked_for() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[("work_mem", "3MB"), ("statement_timeout", "30s")]);
    client.query("select pg_advisory_lock(1)");
    client.query("set work_mem = '5MB'");
    assert_eq!(client.query("show work_mem"), ["5MB"]);
    client.query("reset work_mem");
    assert_eq!(client.query("show work_mem"), ["3MB"]);
    client.query("set statement_timeout = 0");
    assert_eq!(client.query("show statement_timeout"), ["0"]);
    client.query("discard all");
    assert_eq!(client.query("show work_mem"), ["3MB"]);
    assert!(world.server().pins().is_empty());
    assert_eq!(client.query("show statement_timeout"), ["30s"]);
}

#[test]
fn a_statement_timeout_of_a_millisecond_is_carried_along_too() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[]);
    for _ in 0..20 {
        client.query("set statement_timeout = '5ms'");
        assert_eq!(client.query("show statement_timeout"), ["5ms"]);
        let cancelled = client.query("select pg_sleep(1)");
        assert_eq!(cancelled, ["57014: canceling statement due to statement timeout"]);
    }
    assert_eq!(Raw::log_in(&world, &[]).query("show statement_timeout"), ["0"]);
}

#[test]
fn settings_without_end_are_refused() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[]);
    let long = "x".repeat(10_000);
    for number in 0..6 {
        client.query(&format!("set app.n{number} = '{long}'"));
    }
    assert_eq!(client.query("select length(current_setting('app.n0'))"), ["10000"]);
    client.query(&format!("set app.n6 = '{long}'"));
    let told = texts_of_error(&mut client);
    assert_eq!(told[..2], ["FATAL", "54000"]);
    assert!(told[2].contains("at most 65536"), "{told:?}");
}

#[test]
fn settings_of_a_library_that_a_text_only_mentions_are_left_alone() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[]);
    // Only superusers may set it.
    client.query("do 'begin /* plpgsql.variable_conflict */ end'; set app.x = '2'");
    assert_eq!(client.query("show app.x"), ["2"]);
}

#[tokio::test]
async fn a_stop_dismisses_who_is_pinned_and_idle() {
    let mut world = world(2, "");
    let listener = world.connect().await;
    listener.batch_execute("listen news").await.unwrap();
    eventually("it is pinned", || only_pin(&world).is_some()).await;
    world.server().stopper().stop();
    eventually("it is gone", || listener.is_closed()).await;
    world.wait_stopped();
}

#[tokio::test]
async fn a_pinned_session_that_is_lost_is_reported_and_its_backend_is_free() {
    let world = world(1, "");
    let mut client = Raw::log_in(&world, &[]);
    client.query("create temp table mine (id int)");
    eventually("it is pinned", || only_pin(&world).is_some()).await;
    let pid = only_pin(&world).unwrap().backend;
    world.node("coordinator").psql(&format!("select pg_terminate_backend({pid}, 5000)")).unwrap();
    let told = texts_of_error(&mut client);
    assert_eq!(told[..2], ["FATAL", "57P01"]);
    assert!(client.next().is_none());
    let next = world.connect().await;
    assert_eq!(value(&next, "select 1").await, "1");
    assert!(world.server().pins().is_empty());
}

/// The SQLSTATE of a statement that fails.
async fn code(client: &Client, sql: &str) -> String {
    let error = client.simple_query(sql).await.unwrap_err();
    error.code().map_or_else(|| error.to_string(), |code| code.code().to_owned())
}

#[tokio::test]
async fn statements_made_with_prepare_go_along_with_their_client() {
    let world = world(1, "");
    let (one, two) = (world.connect().await, world.connect().await);
    for (client, name) in [(&one, "one"), (&two, "two")] {
        client.batch_execute(&format!("prepare p (int) as select $1 || '{name}'")).await.unwrap();
    }
    // It outlives its transaction, whatever becomes of that.
    one.batch_execute("begin").await.unwrap();
    one.batch_execute("prepare \"Q\" as select 'q' -- of one").await.unwrap();
    one.batch_execute("rollback").await.unwrap();
    for number in 0..50 {
        for (client, name) in [(&one, "one"), (&two, "two")] {
            let said = value(client, &format!("execute p ({number})")).await;
            assert_eq!(said, format!("{number}{name}"));
        }
        assert_eq!(value(&one, "execute \"Q\"").await, "q");
        assert_eq!(code(&two, "execute \"Q\"").await, "26000");
    }
    assert_eq!(
        value(&two, "select count(*) from pg_prepared_statements where from_sql").await,
        "1"
    );
    assert!(world.server().pins().is_empty());
    one.batch_execute("deallocate p").await.unwrap();
    assert_eq!(value(&two, "execute p (7)").await, "7two");
    assert_eq!(code(&one, "execute p (7)").await, "26000");
    assert_eq!(value(&one, "execute \"Q\"").await, "q");
    two.batch_execute("discard all").await.unwrap();
    assert_eq!(code(&two, "execute p (7)").await, "26000");
    let fresh = world.connect().await;
    assert_eq!(value(&fresh, "select count(*) from pg_prepared_statements").await, "0");
}

#[tokio::test]
async fn a_statement_that_cannot_be_prepared_again_is_gone_and_its_client_is_not() {
    let world = world(1, "");
    let (one, two) = (world.connect().await, world.connect().await);
    one.batch_execute("create table gone (id int)").await.unwrap();
    one.batch_execute("prepare q as select * from gone").await.unwrap();
    one.batch_execute("set statement_timeout to '7s'").await.unwrap();
    value(&two, "select 1").await;
    two.batch_execute("drop table gone").await.unwrap();
    assert_eq!(code(&one, "execute q").await, "26000");
    assert_eq!(value(&one, "show statement_timeout").await, "7s");
}

#[tokio::test]
async fn a_statement_whose_text_holds_more_than_its_prepare_keeps_its_backend() {
    let world = world(2, "");
    let (one, two) = (world.connect().await, world.connect().await);
    one.batch_execute("create table log (id int)").await.unwrap();
    let text = "insert into log values (1); prepare p as select count(*) from log";
    one.batch_execute(text).await.unwrap();
    eventually("it is pinned", || only_pin(&world).is_some()).await;
    let pin = only_pin(&world).unwrap();
    assert_eq!((&*pin.holds, &*pin.statement), ("1 prepared statement", text));
    for _ in 0..20 {
        assert_eq!(code(&two, "execute p").await, "26000");
        assert_eq!(value(&one, "execute p").await, "1");
    }
    one.batch_execute("deallocate p").await.unwrap();
    eventually("it is not pinned any more", || only_pin(&world).is_none()).await;
    assert_eq!(code(&one, "execute p").await, "26000");
}
