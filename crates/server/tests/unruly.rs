//! Clients that do what no driver would, and what others must not notice of it.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use pgherd_wire::backend::{Report, Severity};
use pgherd_wire::{TxStatus, frontend};
use world::raw::{Raw, close, copy_data, flush, parse, run, sync, text_of};
use world::{World, until};

/// One backend for all, so that whatever is left on it meets the next client.
const ONE: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nsize = 1\n\
     acquire_timeout = \"10s\"\nconnect_timeout = \"2s\"\n[health]\ninterval = \"100ms\"\n";

fn world() -> World {
    let world = World::start(0, ONE);
    world
        .node("coordinator")
        .psql("create table t (id int primary key); grant all on t to app")
        .unwrap();
    world
}

#[test]
fn who_has_only_prepared_behind_a_flush_holds_no_backend() {
    let world = world();
    let mut clients = [Raw::log_in(&world, &[]), Raw::log_in(&world, &[])];
    // The second time it is there already, and of its Parse nothing goes to the backend.
    for client in &mut clients {
        let mut out = Vec::new();
        parse(&mut out, "xid", "select pg_current_xact_id()");
        flush(&mut out);
        client.send(&out);
        client.until('1');
    }
    let [first, second] = &mut clients;
    for client in [&mut *second, &mut *first] {
        let mut out = Vec::new();
        run(&mut out, "xid");
        sync(&mut out);
        client.send(&out);
        assert_eq!(client.until('Z').into_iter().filter_map(text_of).count(), 1);
    }
    // What else was begun goes on, in one transaction.
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut out = Vec::new();
        run(&mut out, "xid");
        flush(&mut out);
        first.send(&out);
        seen.extend(first.until('C').into_iter().filter_map(text_of));
    }
    assert_eq!(seen[0], seen[1]);
}

#[test]
fn what_was_begun_without_a_sync_ends_with_its_client() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    parse(&mut out, "", "insert into t values (42)");
    run(&mut out, "");
    flush(&mut out);
    client.send(&out);
    client.until('C');
    drop(client);
    let mut next = Raw::log_in(&world, &[]);
    assert_eq!(next.query("select count(*) from t"), ["0"]);
    assert_eq!(next.query("select count(*) from pg_locks where relation = 't'::regclass"), ["0"]);
}

#[test]
fn a_client_that_dies_in_the_middle_of_a_message_takes_its_backend_with_it() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    client.query("begin");
    let mut out = Vec::new();
    copy_data(&mut out, &"1\n".repeat(1000));
    client.send(&out[..500]);
    drop(client);
    assert_eq!(Raw::log_in(&world, &[]).query("select 1"), ["1"]);
}

#[test]
fn thousands_of_logins_that_waited_are_served() {
    let world = world();
    let coordinator = world.node("coordinator");
    coordinator.freeze().unwrap();
    let mut clients: Vec<Raw> = (0..4000).map(|_| Raw::start(&world, &[])).collect();
    coordinator.thaw().unwrap();
    for client in &mut clients {
        assert_eq!(client.until('Z').pop().unwrap(), ('Z', vec![b'I']));
    }
}

#[test]
fn a_literal_means_what_it_means_in_the_session_of_its_client() {
    let world = world();
    let sql = "select extract(epoch from '2020-01-01 00:00'::timestamptz)::int8";
    for (zone, expected) in [("UTC", "1577836800"), ("Asia/Tokyo", "1577804400")] {
        let mut client = Raw::log_in(&world, &[("TimeZone", zone)]);
        let mut out = Vec::new();
        parse(&mut out, "s", sql);
        run(&mut out, "s");
        sync(&mut out);
        client.send(&out);
        let answer: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
        assert_eq!(answer, [expected], "{zone}");
    }
}

#[test]
fn a_statement_whose_table_was_altered_fails_once_and_not_for_everybody_after() {
    let world = world();
    let run_it = || {
        let mut client = Raw::log_in(&world, &[]);
        let mut out = Vec::new();
        parse(&mut out, "s", "select * from t");
        run(&mut out, "s");
        sync(&mut out);
        client.send(&out);
        client.until('Z').into_iter().filter_map(text_of).collect::<Vec<_>>()
    };
    assert!(run_it().is_empty());
    world.node("coordinator").psql("alter table t add column more int").unwrap();
    let after: Vec<Vec<String>> = (0..3).map(|_| run_it()).collect();
    assert!(after[1].is_empty() && after[2].is_empty(), "{after:?}");
}

#[test]
fn neither_do_nor_a_function_call_leaves_anything_for_the_next_client() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    client.query("do $$ begin set work_mem = '3MB'; end $$");
    drop(client);
    assert_eq!(Raw::log_in(&world, &[]).query("show work_mem"), ["4MB"]);

    let mut client = Raw::log_in(&world, &[]);
    let oid: u32 =
        client.query("select 'pg_advisory_lock(bigint)'::regprocedure::oid")[0].parse().unwrap();
    let mut out = Vec::new();
    pgherd_wire::frame::put(&mut out, frontend::FUNCTION_CALL, |out| {
        out.extend_from_slice(&oid.to_be_bytes());
        // One format, binary; one argument of 8 bytes; a binary result.
        out.extend_from_slice(&[0, 1, 0, 1, 0, 1, 0, 0, 0, 8]);
        out.extend_from_slice(&7u64.to_be_bytes());
        out.extend_from_slice(&[0, 1]);
    });
    client.send(&out);
    client.until('Z');
    drop(client);
    let locks = "select count(*) from pg_locks where locktype = 'advisory'";
    let coordinator = world.node("coordinator");
    until("the lock is gone", || coordinator.psql(locks).unwrap() == "0");
}

#[test]
fn the_rest_of_a_copy_that_failed_does_not_keep_the_backend() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    frontend::put_query(&mut out, "copy t from stdin");
    copy_data(&mut out, "no number\n");
    // Half of a message that nobody reads any more, and its rest only after the error.
    let mut rest = Vec::new();
    copy_data(&mut rest, &"1\n".repeat(100_000));
    pgherd_wire::frame::put(&mut rest, b'c', |_| {});
    out.extend_from_slice(&rest[..1000]);
    client.send(&out);
    let answer: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(answer, ["22P02: invalid input syntax for type integer: \"no number\""]);
    client.send(&rest[1000..]);
    let mut other = Raw::log_in(&world, &[]);
    assert_eq!(other.query("select count(*) from t"), ["0"]);
    assert_eq!(client.query("select 2"), ["2"]);
}

#[test]
fn a_copy_that_fails_before_it_reads_leaves_its_client_connected() {
    let world = world();
    let coordinator = world.node("coordinator");
    coordinator
        .psql(
            "create function no() returns trigger language plpgsql as \
             'begin raise exception ''not today''; end'; \
             create trigger no before insert on t for each statement execute function no()",
        )
        .unwrap();
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    parse(&mut out, "", "copy t from stdin");
    run(&mut out, "");
    sync(&mut out);
    client.send(&out);
    let answer: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(answer, ["P0001: not today"]);
    assert_eq!(client.query("select 1"), ["1"]);
    assert_eq!(Raw::log_in(&world, &[]).query("select 2"), ["2"]);
}

/// Puts messages.
type Put = fn(&mut Vec<u8>);

/// What a client does about its unnamed statement, and what is there then: what it says, or an error.
const CHANGES: [(Put, &str); 7] = [
    (|_| {}, "old"),
    (|out| parse(out, "", "select 'new'"), "new"),
    (|out| parse(out, "", "selekt"), "26000"),
    (
        |out| {
            run(out, "nosuch");
            parse(out, "", "select 'new'");
        },
        "old",
    ),
    (
        |out| {
            parse(out, "", "select 'new'");
            run(out, "nosuch");
        },
        "new",
    ),
    (|out| close(out, ""), "26000"),
    (
        |out| {
            run(out, "nosuch");
            close(out, "");
        },
        "old",
    ),
];

#[test]
fn the_unnamed_statement_is_the_one_that_a_server_of_its_own_would_have() {
    let world = world();
    let (mut client, mut other) = (Raw::log_in(&world, &[]), Raw::log_in(&world, &[]));
    for (change, expected) in CHANGES {
        for others_come in [false, true] {
            for is_patient in [false, true] {
                let (mut begins, mut uses) = (Vec::new(), Vec::new());
                parse(&mut begins, "", "select 'old'");
                sync(&mut begins);
                change(&mut begins);
                sync(&mut begins);
                run(&mut uses, "");
                sync(&mut uses);
                if is_patient {
                    client.send(&begins);
                } else {
                    client.send(&[&begins[..], &uses].concat());
                }
                client.until('Z');
                client.until('Z');
                if others_come {
                    let mut theirs = Vec::new();
                    parse(&mut theirs, "", "select 'theirs'");
                    run(&mut theirs, "");
                    sync(&mut theirs);
                    other.send(&theirs);
                    other.until('Z');
                }
                if is_patient {
                    client.send(&uses);
                }
                let said: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
                assert!(
                    said.len() == 1 && said[0].starts_with(expected),
                    "{said:?}, not {expected}, patient: {is_patient}, others: {others_come}"
                );
            }
        }
    }
}

#[test]
fn half_a_query_holds_no_backend() {
    let world = world();
    let mut slow = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    frontend::put_query(&mut out, "select 1");
    slow.send(&out[..8]);
    assert_eq!(Raw::log_in(&world, &[]).query("select 2"), ["2"]);
    slow.send(&out[8..]);
    let answer: Vec<String> = slow.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(answer, ["1"]);
}

#[test]
fn parameters_that_the_server_refuses_fail_one_login_and_no_other() {
    let world = world();
    let mut wrong = Raw::start(&world, &[("work_mem", "bogus")]);
    let mut right = Raw::start(&world, &[]);
    let answer: Vec<String> = wrong.until('E').into_iter().filter_map(text_of).collect();
    assert_eq!(answer, ["22023: invalid value for parameter \"work_mem\": \"bogus\""]);
    assert!(wrong.next().is_none());
    assert_eq!(right.until('Z').pop().unwrap().1, [b'I']);
    assert_eq!(right.query("show work_mem"), ["4MB"]);
}

#[test]
fn reset_goes_back_to_what_the_login_asked_for() {
    let world = world();
    let mut client = Raw::log_in(&world, &[("TimeZone", "Asia/Tokyo")]);
    for reset in ["reset timezone", "discard all"] {
        client.query("set timezone to 'Europe/Warsaw'");
        assert_eq!(client.query("show timezone"), ["Europe/Warsaw"]);
        client.query(reset);
        assert_eq!(client.query("show timezone"), ["Asia/Tokyo"], "{reset}");
    }
    // What was not reset stays, and so does what was set again behind it.
    client.query("set timezone to 'Europe/Warsaw'");
    client.query("reset datestyle");
    assert_eq!(client.query("show timezone"), ["Europe/Warsaw"]);
    client.query("reset timezone; set timezone to 'America/Lima'");
    assert_eq!(client.query("show timezone"), ["America/Lima"]);
}

#[test]
fn a_terminated_backend_is_reported_once() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    client.query("begin");
    let terminate = "select pg_terminate_backend(pid) from pg_stat_activity \
                     where state = 'idle in transaction'";
    world.node("coordinator").psql(terminate).unwrap();
    let mut told = Vec::new();
    while let Some(message) = client.next() {
        told.extend(text_of(message));
    }
    assert_eq!(told, ["57P01: terminating connection due to administrator command"]);
}

#[test]
fn idle_backends_that_somebody_ends_are_no_reason_to_leave_a_node() {
    let more = ONE.replace("size = 1", "size = 5");
    let world = World::start(1, &more);
    let mut clients: Vec<Raw> = (0..5).map(|_| Raw::log_in(&world, &[])).collect();
    // Five reads at a time, so that the replica has five backends.
    let mut out = Vec::new();
    frontend::put_query(&mut out, "select 1 from pg_sleep(0.2)");
    clients.iter_mut().for_each(|client| client.send(&out));
    clients.iter_mut().for_each(|client| drop(client.until('Z')));
    let replica = world.node("coordinator-r1");
    let terminate = "select count(pg_terminate_backend(pid)) from pg_stat_activity \
                     where usename = 'app' and application_name not like 'pgherd/%'";
    assert_eq!(replica.psql(terminate).unwrap(), "5");
    let port = replica.port.to_string();
    // Each of the five may divert one read that meets it while it ends. A node out of rotation
    // would see none of them for two probes' time.
    let answers = (0..50).map(|_| clients[0].query("select inet_server_port()"));
    let elsewhere = answers.filter(|answer| *answer != [port.as_str()]).count();
    assert!(elsewhere <= 5, "{elsewhere} of 50 reads have left the node");
}

#[test]
fn a_goodbye_in_the_place_of_copy_data_frees_the_backend() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    frontend::put_query(&mut out, "copy t from stdin");
    frontend::put_terminate(&mut out);
    client.send(&out);
    assert_eq!(Raw::log_in(&world, &[]).query("select count(*) from t"), ["0"]);
}

/// A node that lets anybody in, and goes down behind its answers to the first queries that are no
/// probes.
fn dying_node(deaths: usize, last_words: fn(&mut Vec<u8>)) -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let served = served.clone();
            std::thread::spawn(move || {
                serve_as_dying_node(stream.unwrap(), deaths, &served, last_words);
            });
        }
    });
    address
}

fn serve_as_dying_node(
    mut stream: std::net::TcpStream,
    deaths: usize,
    served: &std::sync::atomic::AtomicUsize,
    last_words: fn(&mut Vec<u8>),
) {
    use std::io::{Read, Write};

    use pgherd_wire::backend::{self, Authentication};

    let mut bytes = [0; 4096];
    let startup = stream.read(&mut bytes).unwrap();
    let is_probe = bytes[..startup].windows(7).any(|window| window == b"pgherd/");
    let mut out = Vec::new();
    Authentication::Ok.put(&mut out);
    backend::put_key_data(&mut out, 1, &[0; 4]);
    backend::put_ready(&mut out, TxStatus::Idle);
    stream.write_all(&out).unwrap();
    while stream.read(&mut bytes).is_ok_and(|read| read > 0) {
        let mut out = Vec::new();
        if !is_probe && served.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < deaths {
            last_words(&mut out);
            // In one write, so that it is read together.
            let _ = stream.write_all(&out);
            return;
        }
        answer(&mut out);
        let _ = stream.write_all(&out);
    }
}

fn answer(out: &mut Vec<u8>) {
    pgherd_wire::frame::put(out, b'C', |out| out.extend_from_slice(b"SELECT 0\0"));
    pgherd_wire::backend::put_ready(out, TxStatus::Idle);
}

#[test]
fn a_farewell_behind_one_clients_answer_is_not_the_next_ones() {
    let address = dying_node(1, |out| {
        answer(out);
        Report {
            severity: Severity::Fatal,
            code: "57P01",
            message: "terminating connection due to unexpected postmaster exit",
            detail: "",
            hint: "",
        }
        .put(out);
    });
    let cluster = pgherd_lab::Cluster::start(&pgherd_lab::ClusterSpec::default()).unwrap();
    let world = World::before(cluster, |settings| settings.nodes[0].port = address.port(), ONE);
    let mut clients: Vec<Raw> = (0..5).map(|_| Raw::log_in(&world, &[])).collect();
    let mut out = Vec::new();
    // A write, as far as anybody can tell: it may not be run twice.
    frontend::put_query(&mut out, "insert into t values (1)");
    clients.iter_mut().for_each(|client| client.send(&out));
    for client in &mut clients {
        let answer: Vec<char> = client.until('Z').into_iter().map(|(tag, _)| tag).collect();
        assert_eq!(answer, ['C', 'Z']);
    }
}

#[test]
fn nothing_is_said_in_the_middle_of_a_row_that_its_backend_did_not_finish() {
    let address = dying_node(1, |out| {
        pgherd_wire::frame::put(out, b'T', |out| out.extend_from_slice(&[0, 0]));
        let row = out.len();
        pgherd_wire::frame::put(out, b'D', |out| out.extend_from_slice(&[0; 50]));
        out.truncate(row + 20);
    });
    let cluster = pgherd_lab::Cluster::start(&pgherd_lab::ClusterSpec::default()).unwrap();
    let world = World::before(cluster, |settings| settings.nodes[0].port = address.port(), ONE);
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    frontend::put_query(&mut out, "insert into t values (1) returning *");
    client.send(&out);
    assert_eq!(client.next(), Some(('T', vec![0, 0])));
    assert_eq!(client.next(), None, "the end, and no message made of whatever");
}

#[test]
fn who_was_tried_often_enough_is_told_where_to_look() {
    let address = dying_node(usize::MAX, |_| {});
    let cluster = pgherd_lab::Cluster::start(&pgherd_lab::ClusterSpec::default()).unwrap();
    let settings = format!("{ONE}failures = 100\n");
    let world =
        World::before(cluster, |settings| settings.nodes[0].port = address.port(), &settings);
    // Each backend is lost while it is told the client's time zone.
    let mut client = Raw::start(&world, &[("TimeZone", "UTC")]);
    let (_, told) = client.until('E').pop().unwrap();
    let told = String::from_utf8_lossy(&told).into_owned();
    for part in
        ["C08001", "no node could serve the statement after 5 tries", "SHOW NODES at the console"]
    {
        assert!(told.contains(part), "{told:?}");
    }
}

#[test]
fn a_cancel_reaches_a_client_whose_parameters_are_being_set() {
    let world = world();
    let coordinator = world.node("coordinator");
    let parameters = [("default_text_search_config", "pg_catalog.simple")];
    let mut client = Raw::log_in(&world, &parameters);
    // The next backend, which knows nothing yet, has to look the configuration up.
    let mut psql = coordinator.psql_command();
    let mut psql = psql.stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut script = psql.stdin.take().unwrap();
    let lock = "begin; lock table pg_ts_config in access exclusive mode;\n";
    std::io::Write::write_all(&mut script, lock.as_bytes()).unwrap();
    let locks = |granted: &str| {
        let sql = "select count(*) from pg_locks \
                   where relation = 'pg_ts_config'::regclass and granted = ";
        coordinator.psql(&format!("{sql}{granted}")).unwrap()
    };
    until("it is locked", || locks("true") == "1");
    coordinator
        .psql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity \
             where usename = 'app' and application_name not like 'pgherd/%'",
        )
        .unwrap();
    let mut out = Vec::new();
    frontend::put_query(&mut out, "select 1");
    client.send(&out);
    until("its parameters are being set", || locks("false") == "1");
    client.cancel(&world);
    let told: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(told, ["57014: canceling statement due to user request"]);
    drop(script);
    psql.wait().unwrap();
    assert_eq!(client.query("show default_text_search_config"), ["pg_catalog.simple"]);
}

#[test]
fn the_names_of_applications_need_no_backend_each() {
    let world = world();
    drop(Raw::log_in(&world, &[("application_name", "first")]));
    let mut holder = Raw::log_in(&world, &[]);
    holder.query("begin");
    // The only backend is taken.
    for number in 0..1100 {
        let name = format!("app-{number}");
        let mut client = Raw::start(&world, &[("application_name", &name)]);
        let told = client.until('Z');
        let named = [b"application_name\0", name.as_bytes(), b"\0"].concat();
        assert!(told.contains(&('S', named)), "{name}: {told:?}");
    }
}

#[test]
fn what_was_sent_before_goodbye_is_carried_out() {
    let world = world();
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    frontend::put_query(&mut out, "insert into t select 1 from pg_sleep(0.3)");
    frontend::put_terminate(&mut out);
    client.send(&out);
    drop(client);
    let coordinator = world.node("coordinator");
    until("the row is there", || coordinator.psql("select count(*) from t").unwrap() == "1");
}
