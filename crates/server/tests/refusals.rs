//! What clients may not do where the settings say so, beside PgBouncer: simple queries, long messages.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::net::SocketAddr;

use pgherd_lab::{Cluster, ClusterSpec, PgBouncer};
use pgherd_wire::{frame, frontend};
use world::World;
use world::beside::{Beside, log_in};
use world::raw::{Raw, copy_data, parse, run, sync, text_of};

/// A batch of the extended protocol.
fn batch(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    parse(&mut out, "", sql);
    run(&mut out, "");
    sync(&mut out);
    out
}

fn query(sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_query(&mut out, sql);
    out
}

/// The texts of what is answered up to the next ReadyForQuery, or to the end.
fn told(client: &mut Raw) -> Vec<String> {
    let mut told = Vec::new();
    while let Some((tag, body)) = client.next() {
        told.extend(text_of((tag, body)));
        if tag == 'Z' {
            return told;
        }
    }
    told.push("the end".to_owned());
    told
}

#[test]
fn simple_queries_are_refused_as_pgbouncer_refuses_them() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let beside = Beside::start(&cluster, "", "disable_pqexec = 1\n");
    let refused = ["08P01: PQexec disallowed", "the end"];
    // What is sent before it, one after the other; and with it.
    for (before, with) in [
        (vec![], vec![]),
        (vec![batch("select 1")], vec![]),
        (vec![batch("begin"), batch("select 1")], vec![]),
        (vec![], batch("select 1")),
        (vec![batch("begin")], batch("select 1")),
    ] {
        let say = |at: SocketAddr| {
            let (mut client, _) = log_in(at, &[]);
            let mut found = Vec::new();
            for one in &before {
                client.send(one);
                found.extend(told(&mut client));
            }
            client.send(&[&with[..], &query("select 2")].concat());
            found.extend(told(&mut client));
            found
        };
        let found = beside.same(say);
        assert!(found.ends_with(&refused.map(str::to_owned)), "{found:?}");
    }
    // The console speaks nothing else.
    let console = [("user", "dba"), ("database", "pgbouncer")];
    assert_eq!(log_in(beside.ours(), &console).0.query("show version").len(), 1);
}

/// The SQLSTATEs of what is told, and other texts as they are.
fn codes(mut told: Vec<String>) -> Vec<String> {
    told.iter_mut().filter(|text| text.starts_with("08P01")).for_each(|text| text.truncate(5));
    told
}

#[test]
fn longer_messages_than_the_settings_say_are_let_through_neither_way() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    cluster.coordinator().psql("create table t (a text); grant all on t to app").unwrap();
    let beside = Beside::start(&cluster, "", "max_packet_size = 3000\n");
    let comment = |length: usize| format!("select 1 -- {}", "x".repeat(length - 18));
    for length in [2999, 3000, 3001, 4000] {
        let sql = comment(length);
        assert_eq!(query(&sql).len(), length);
        let say = |at: SocketAddr| {
            let (mut client, _) = log_in(at, &[]);
            client.send(&query(&sql));
            codes(told(&mut client))
        };
        let found = beside.same(say);
        assert_eq!(found[0], if length > 3000 { "08P01" } else { "1" }, "{length}");
    }
    // A row of one column has 11 bytes beside it.
    for (length, is_too_long) in [(2989, false), (2990, true), (100_000, true)] {
        for sql in [
            format!("select repeat('x', {length})"),
            format!("copy (select repeat('x', {})) to stdout", length + 5),
            format!("do $$ begin raise exception '%', repeat('x', {length}); end $$"),
            format!("begin; select repeat('x', {length})"),
        ] {
            if sql.starts_with("do") && !is_too_long {
                continue;
            }
            let say = |at: SocketAddr| {
                let (mut client, _) = log_in(at, &[]);
                client.send(&query(&sql));
                codes(told(&mut client)).last().cloned()
            };
            let last = beside.same(say);
            assert_eq!(last.as_deref() == Some("the end"), is_too_long, "{sql}: {last:?}");
        }
    }
    // The node's data is its own: what was not let through has not been done.
    let say = |at: SocketAddr| {
        let (mut client, _) = log_in(at, &[]);
        client.send(&query("copy t from stdin"));
        client.until('G');
        let mut out = Vec::new();
        copy_data(&mut out, &"x".repeat(2995));
        client.send(&out);
        out.clear();
        copy_data(&mut out, &"x".repeat(2996));
        client.send(&out);
        codes(told(&mut client))
    };
    assert_eq!(beside.same(say), ["08P01", "the end"]);
    assert_eq!(cluster.coordinator().psql("select count(*) from t").unwrap(), "0");
}

#[test]
fn the_longest_message_can_be_changed_and_is_not_that_of_what_pgherd_asks_itself() {
    let settings = "[listen]\nport = 0\nworkers = 2\nauth = \"trust\"\nadmin_users = [\"app\"]\n\
                    message_limit = 2000\n[pool]\nsize = 1\n";
    let world = World::start(0, settings);
    let mut client = Raw::log_in(&world, &[]);
    let mut other = Raw::log_in(&world, &[]);
    // The node tells this text, when it is asked what the session holds, in a longer message.
    let sql = format!("prepare p as select '{}'", "x".repeat(2000 - 6 - 22));
    assert_eq!(query(&sql).len(), 2000);
    client.query(&sql);
    for _ in 0..3 {
        assert_eq!(other.query("select 1"), ["1"]);
        assert_eq!(client.query("execute p").len(), 1);
    }
    let mut console = Raw::log_in(&world, &[("database", "pgbouncer")]);
    assert_eq!(console.query("set max_packet_size = 1000000"), Vec::<String>::new());
    let long = "select repeat('x', 900000)";
    assert_eq!(client.query(long)[0].len(), 900_000);
    assert_eq!(console.query("set listen.message_limit = '1KiB'"), Vec::<String>::new());
    client.send(&frame_of(2000));
    assert_eq!(codes(told(&mut client)), ["08P01", "the end"]);
}

/// A Query of so many bytes.
fn frame_of(bytes: usize) -> Vec<u8> {
    let mut out = Vec::new();
    frame::put(&mut out, frontend::QUERY, |out| out.resize(bytes, b' '));
    out
}
