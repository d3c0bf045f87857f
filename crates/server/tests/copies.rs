//! COPY in its forms, and what goes wrong with it, at each place where it can.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_wire::{frame, frontend};
use world::World;
use world::raw::{Raw, copy_data, parse, run, sync, text_of};

/// One backend for all, so that whatever is left on it meets the next client.
const ONE: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nsize = 1\n\
     acquire_timeout = \"10s\"\n";

/// What is copied, the rows that the client gives, if it does not give up, and what comes back: types
/// of messages, but for data and what only confirms, and the error.
const COPIES: [(&str, Option<&str>, &str, &str); 8] = [
    ("copy t from stdin", Some("1\n2\n"), "GCZ", ""),
    ("copy nowhere from stdin", Some("1\n"), "EZ", "42P01"),
    ("copy t from stdin", Some("3\nthree\n4\n"), "GEZ", "22P02"),
    ("copy t from stdin", None, "GEZ", "57014"),
    ("copy t from stdin", Some("5\n1\n"), "GEZ", "23505"),
    ("copy (select i from generate_series(1, 1000) i) to stdout", None, "HcCZ", ""),
    ("copy nowhere to stdout", None, "EZ", "42P01"),
    (
        "copy (select 1 / (1000 - i) from generate_series(1, 2000) i) to stdout",
        None,
        "HEZ",
        "22012",
    ),
];

/// Runs a COPY, by Query or as libpq does it by the extended protocol; what comes back.
fn copy(client: &mut Raw, sql: &str, rows: Option<&str>, is_extended: bool) -> (String, String) {
    let mut out = Vec::new();
    if is_extended {
        parse(&mut out, "", sql);
        run(&mut out, "");
        sync(&mut out);
    } else {
        frontend::put_query(&mut out, sql);
    }
    client.send(&out);
    let (mut tags, mut error) = (String::new(), String::new());
    while !tags.ends_with('Z') {
        let message = client.next().expect("the connection goes on");
        let tag = message.0;
        if !"12nd".contains(tag) {
            tags.push(tag);
        }
        if tag == 'E' {
            error = text_of(message).unwrap();
        }
        if tag == 'G' {
            let mut out = Vec::new();
            match rows {
                Some(rows) => {
                    copy_data(&mut out, rows);
                    frame::put(&mut out, b'c', |_| {});
                }
                None => frame::put(&mut out, frontend::COPY_FAIL, |out| out.extend(b"no more\0")),
            }
            if is_extended {
                sync(&mut out);
            }
            client.send(&out);
        }
    }
    (tags, error)
}

#[test]
fn each_copy_is_answered_once_and_its_backend_serves_whoever_comes_next() {
    let world = World::start(0, ONE);
    let table = "create table t (id int primary key); grant all on t to app";
    world.node("coordinator").psql(table).unwrap();
    for is_extended in [false, true] {
        let (mut client, mut other) = (Raw::log_in(&world, &[]), Raw::log_in(&world, &[]));
        for (sql, rows, tags, code) in COPIES {
            let (came, error) = copy(&mut client, sql, rows, is_extended);
            let what = format!("{sql}, {rows:?}, extended: {is_extended}");
            assert_eq!(came, tags, "{what}: {error}");
            assert!(
                error.starts_with(code) && error.is_empty() == code.is_empty(),
                "{what}: {error}"
            );
            assert_eq!(other.query("select count(*) from t"), ["2"], "{what}");
            assert_eq!(client.query("select 1"), ["1"], "{what}");
        }
        assert!(other.query("truncate t").is_empty());
    }
}

#[test]
fn a_copy_that_fails_in_a_transaction_fails_the_transaction() {
    let world = World::start(0, ONE);
    let table = "create table t (id int primary key); grant all on t to app";
    world.node("coordinator").psql(table).unwrap();
    for is_extended in [false, true] {
        let mut client = Raw::log_in(&world, &[]);
        client.query("begin; insert into t values (7)");
        let (tags, _) = copy(&mut client, "copy t from stdin", Some("x\n"), is_extended);
        assert_eq!(tags, "GEZ");
        assert!(client.query("select 1")[0].starts_with("25P02"));
        client.query("rollback");
        assert_eq!(client.query("select count(*) from t"), ["0"]);
    }
}
