//! A backend dies, by its server's hand or with its connection, in each state that its client can be
//! in. The client is told once, in the middle of nothing, or not at all where nothing of it is lost.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_lab::{Cluster, ClusterSpec, Link};
use pgherd_wire::frontend;
use world::raw::{Raw, copy_data, flush, parse, run, sync, text_of};
use world::{World, until};

const ONE: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nsize = 1\n\
     acquire_timeout = \"20s\"\n[health]\ninterval = \"100ms\"\n";

/// What becomes of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is told why, once, and its connection ends.
    Told,
    /// The same; but it has seen half a row, and where the server does not send the rest nobody can
    /// tell it anything.
    HalfWay,
    /// It notices nothing.
    Spared,
}
use Fate::{HalfWay, Spared, Told};

/// What brings a client into a state.
type Enter = fn(&World, &mut Raw);

const STATES: [(&str, Enter, Fate); 10] = [
    ("idle", |_, client| drop(client.query("select 1")), Spared),
    ("idle, with something prepared", prepare, Spared),
    ("a write runs", |world, client| sleep_in(world, client, "insert into t select 1 from"), Told),
    ("rows were seen", |world, client| sleep_behind_rows(world, client, ""), HalfWay),
    ("in a transaction", |_, client| drop(client.query("begin; insert into t values (1)")), Told),
    ("in a failed transaction", |_, client| drop(client.query("begin; select 1/0")), Told),
    ("a pipeline without a Sync", begin_pipeline, Told),
    ("data are copied in", begin_copy_in, Told),
    ("data are copied out", |world, client| sleep_behind_rows(world, client, "copy"), HalfWay),
    ("pinned", |_, client| drop(client.query("create temporary table mine (id int)")), Told),
];

fn prepare(_: &World, client: &mut Raw) {
    let mut out = Vec::new();
    parse(&mut out, "s", "select 1");
    sync(&mut out);
    client.send(&out);
    client.until('Z');
}

fn sleep_in(world: &World, client: &mut Raw, before: &str) {
    send_query(client, &format!("{before} pg_sleep(100)"));
    until("it runs", || sleeps(world));
}

/// Sends more than the server gathers before it sends something, and sleeps.
fn sleep_behind_rows(world: &World, client: &mut Raw, copy: &str) {
    let select = "select repeat('x', 1000), case when i > 20 then pg_sleep(100)::text end \
                  from generate_series(1, 30) i";
    let (sql, first) = match copy {
        "" => (select.to_owned(), 'D'),
        copy => (format!("{copy} ({select}) to stdout"), 'd'),
    };
    send_query(client, &sql);
    client.until(first);
    until("it sleeps", || sleeps(world));
}

fn begin_pipeline(_: &World, client: &mut Raw) {
    let mut out = Vec::new();
    parse(&mut out, "", "insert into t values (1)");
    run(&mut out, "");
    flush(&mut out);
    client.send(&out);
    client.until('C');
}

fn begin_copy_in(_: &World, client: &mut Raw) {
    send_query(client, "copy t from stdin");
    client.until('G');
    let mut out = Vec::new();
    copy_data(&mut out, "1\n");
    client.send(&out);
}

fn send_query(client: &mut Raw, sql: &str) {
    let mut out = Vec::new();
    frontend::put_query(&mut out, sql);
    client.send(&out);
}

const OF_THE_PROXY: &str =
    "from pg_stat_activity where usename = 'app' and application_name not like 'pgherd/%'";

fn sleeps(world: &World) -> bool {
    let sql = format!("select count(*) {OF_THE_PROXY} and wait_event = 'PgSleep'");
    world.node("coordinator").psql(&sql).unwrap() == "1"
}

/// `has_words`: the server says farewell.
fn each_state(world: &World, has_words: bool, kill: &dyn Fn()) {
    let code = if has_words { "57P01" } else { "08006" };
    for (state, enter, fate) in STATES {
        let mut client = Raw::log_in(world, &[]);
        enter(world, &mut client);
        kill();
        if fate != Spared {
            let mut told = Vec::new();
            while let Some(message) = client.next() {
                if message.0 == 'E' {
                    told.extend(text_of(message));
                }
            }
            let told_once = told.len() == 1 && told[0].starts_with(code);
            let as_it_should = told_once || fate == HalfWay && !has_words && told.is_empty();
            assert!(as_it_should, "{state}: {told:?}");
            client = Raw::log_in(world, &[]);
        }
        assert_eq!(client.query("select count(*) from t"), ["0"], "{state}");
    }
}

fn make_table(world: &World) {
    let tables = "create table t (id int); grant all on t to app";
    world.node("coordinator").psql(tables).unwrap();
}

#[test]
fn who_loses_a_backend_to_an_administrator_is_told_in_the_servers_words_once() {
    let world = World::start(0, ONE);
    make_table(&world);
    each_state(&world, true, &|| {
        let sql = format!("select count(pg_terminate_backend(pid, 5000)) {OF_THE_PROXY}");
        world.node("coordinator").psql(&sql).unwrap();
    });
}

#[test]
fn who_loses_a_backend_with_its_connection_is_told_by_us_once() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let link = Link::to(cluster.coordinator().address()).unwrap();
    let port = link.address().port();
    let world = World::before(cluster, |settings| settings.nodes[0].port = port, ONE);
    make_table(&world);
    each_state(&world, false, &|| {
        link.cut();
        // What ran ends once the server notices; until then its rows are not rolled back.
        let sql = format!("select count(pg_terminate_backend(pid, 5000)) {OF_THE_PROXY}");
        world.node("coordinator").psql(&sql).unwrap();
    });
}

#[test]
fn who_waits_for_a_backend_that_dies_gets_another() {
    let world = World::start(0, ONE);
    make_table(&world);
    let mut holder = Raw::log_in(&world, &[]);
    let mut waiter = Raw::log_in(&world, &[]);
    holder.query("begin");
    send_query(&mut waiter, "select 7");
    let sql = format!("select count(pg_terminate_backend(pid, 5000)) {OF_THE_PROXY}");
    assert_eq!(world.node("coordinator").psql(&sql).unwrap(), "1");
    let told: Vec<String> = waiter.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(told, ["7"]);
}

#[test]
fn a_cancel_of_somebody_who_waits_is_answered_and_the_holder_goes_on() {
    let world = World::start(0, ONE);
    let mut holder = Raw::log_in(&world, &[]);
    let mut waiter = Raw::log_in(&world, &[]);
    holder.query("begin");
    send_query(&mut waiter, "select 7");
    waiter.cancel(&world);
    let told: Vec<String> = waiter.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(told, ["57014: canceling statement due to user request"]);
    assert_eq!(holder.query("select 1; commit"), ["1"]);
    assert_eq!(waiter.query("select 8"), ["8"]);
}
