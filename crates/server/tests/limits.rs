//! Clients that take their time, or want everything at once: the proxy's memory stays within its
//! bounds, and others are served meanwhile.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use cap::Cap;
use pgherd_wire::{Frame, HEADER, frontend, startup};
use world::raw::{Raw, parse, run, sync, text_of};
use world::{World, until};

/// Counts the bytes that this process holds: the proxy's, and what the test itself needs.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// What the test needs is all that may be held beside the proxy.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

const SETTINGS: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n[pool]\nsize = 2\n\
     [health]\ninterval = \"1s\"\n";

const MIB: usize = 1 << 20;

/// A connection that is read byte by byte, or not at all, without keeping anything.
struct Slow(TcpStream);

impl Slow {
    fn log_in(world: &World) -> Self {
        let stream = TcpStream::connect(world.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut slow = Self(stream);
        let mut out = Vec::new();
        let login = [("user", "app"), ("database", "app")];
        startup::put_startup(&mut out, startup::PROTOCOL_3_0, login);
        slow.0.write_all(&out).unwrap();
        while slow.pass_message().0 != b'Z' {}
        slow
    }

    fn query(&mut self, sql: &str) {
        let mut out = Vec::new();
        frontend::put_query(&mut out, sql);
        self.0.write_all(&out).unwrap();
    }

    /// Reads a message without keeping it: its type and size.
    fn pass_message(&mut self) -> (u8, usize) {
        let mut header = [0; HEADER];
        self.0.read_exact(&mut header).unwrap();
        let frame = Frame::read(&header, u32::MAX).unwrap().unwrap();
        let body = (frame.size - HEADER) as u64;
        let read = std::io::copy(&mut (&self.0).take(body), &mut std::io::sink()).unwrap();
        assert_eq!(read, body, "the end in the middle of a message");
        (frame.tag, frame.size)
    }
}

/// Runs queries of somebody who has nothing to do with it.
fn others_are_served(world: &World) {
    let mut other = Raw::log_in(world, &[]);
    for number in 0..20 {
        assert_eq!(other.query(&format!("select {number}")), [number.to_string()]);
    }
}

#[test]
fn a_client_that_does_not_read_its_gigabyte_costs_little_and_holds_nobody_up() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    others_are_served(&world);
    let mut slow = Slow::log_in(&world);
    let before = MEMORY.allocated();
    slow.query("select repeat('x', 1000000) from generate_series(1, 1000)");
    // What was sent before the sockets were full is on its way.
    let coordinator = world.node("coordinator");
    let waits = "select count(*) from pg_stat_activity \
                 where usename = 'app' and wait_event = 'ClientWrite'";
    until("the backend waits for the client", || coordinator.psql(waits).unwrap() == "1");
    others_are_served(&world);
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < MIB, "{held} bytes were held for a client that does not read");

    // It reads a tenth, and everything else stays where it is.
    let mut read = 0;
    while read < 100 * 1_000_000 {
        read += slow.pass_message().1;
    }
    others_are_served(&world);
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < MIB, "{held} bytes were held for a client that reads slowly");

    drop(slow);
    until("its backend is free", || coordinator.psql(waits).unwrap() == "0");
    others_are_served(&world);
}

#[test]
fn whoever_reads_at_last_gets_everything() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let mut slow = Slow::log_in(&world);
    slow.query("select repeat('x', 1000000) from generate_series(1, 100)");
    others_are_served(&world);
    let mut rows = 0;
    loop {
        match slow.pass_message() {
            (b'D', size) => {
                assert_eq!(size, HEADER + 2 + 4 + 1_000_000);
                rows += 1;
            }
            (b'Z', _) => break,
            _ => {}
        }
    }
    assert_eq!(rows, 100);
}

/// Statements of the pipeline, and how many of them are between two Syncs.
const STATEMENTS: usize = 1_000_000;
const BATCH: usize = 100;

#[test]
fn a_pipeline_of_a_million_statements_is_answered_in_order_with_little_memory() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let mut client = Slow::log_in(&world);
    let mut prepare = Vec::new();
    parse_with_number(&mut prepare);
    sync(&mut prepare);
    client.0.write_all(&prepare).unwrap();
    while client.pass_message().0 != b'Z' {}
    let before = MEMORY.allocated();
    let stream = client.0.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut stream = stream;
            let mut batch = Vec::new();
            for number in 0..STATEMENTS {
                run_with_number(&mut batch, number as u32);
                if number % BATCH == BATCH - 1 {
                    sync(&mut batch);
                    stream.write_all(&batch).unwrap();
                    batch.clear();
                }
            }
        });
        let mut reader = std::io::BufReader::new(&client.0);
        let (mut expected, mut ready) = (0_u32, 0);
        while ready < STATEMENTS / BATCH {
            let mut header = [0; HEADER];
            reader.read_exact(&mut header).unwrap();
            let frame = Frame::read(&header, u32::MAX).unwrap().unwrap();
            let mut body = [0; 64];
            let body = &mut body[..frame.size - HEADER];
            reader.read_exact(body).unwrap();
            match frame.tag {
                b'D' => {
                    assert_eq!(body[6..], expected.to_be_bytes(), "in order");
                    expected += 1;
                }
                b'Z' => ready += 1,
                b'2' | b'C' => {}
                other => panic!("{} in the answer", char::from(other)),
            }
        }
        assert_eq!(expected as usize, STATEMENTS);
    });
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < MIB, "{held} bytes were held for a pipeline");
    others_are_served(&world);
}

/// Parse of `select $1::int4` under the name `n`.
fn parse_with_number(out: &mut Vec<u8>) {
    frontend::put_parse(out, b"n", b"select $1::int4", &[0, 1, 0, 0, 0, 23]);
}

/// Bind of it to a number, in binary both ways, and Execute.
fn run_with_number(out: &mut Vec<u8>, number: u32) {
    let number = number.to_be_bytes();
    let parameters = [&[0, 1, 0, 1, 0, 1, 0, 0, 0, 4][..], &number, &[0, 1, 0, 1]].concat();
    frontend::put_bind(out, b"", b"n", &parameters);
    pgherd_wire::frame::put(out, frontend::EXECUTE, |out| out.extend_from_slice(&[0; 5]));
}

// Each of them makes us send the whole statement to a backend that has not confirmed it yet.
#[test]
fn a_few_bytes_that_make_us_send_a_lot_are_not_gathered() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    parse(&mut out, "long", &format!("select 7 /* {} */", "x".repeat(MIB)));
    sync(&mut out);
    client.send(&out);
    client.until('Z');
    drop(out);
    // Another backend, which does not know it.
    let terminate = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity \
                     where usename = 'app' and application_name not like 'pgherd/%'";
    world.node("coordinator").psql(terminate).unwrap();
    let mut out = Vec::new();
    for _ in 0..500 {
        run(&mut out, "long");
        sync(&mut out);
    }
    let before = MEMORY.allocated();
    client.send(&out);
    let mut rows = 0;
    while rows < 500 {
        rows += usize::from(client.next().and_then(text_of).is_some_and(|text| text == "7"));
    }
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < 8 * MIB, "{held} bytes were held for 500 times 1 MiB");
}

#[test]
fn a_long_query_passes_through_and_is_not_kept() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let mut client = Slow::log_in(&world);
    let before = MEMORY.allocated();
    // 64 MiB, written bit by bit.
    let parts = 1024;
    let part = vec![b'x'; 64 * 1024];
    let (head, tail) = (&b"select length('"[..], &b"')\0"[..]);
    let length = u32::try_from(4 + head.len() + parts * part.len() + tail.len()).unwrap();
    client.0.write_all(b"Q").unwrap();
    client.0.write_all(&length.to_be_bytes()).unwrap();
    client.0.write_all(head).unwrap();
    for _ in 0..parts {
        client.0.write_all(&part).unwrap();
    }
    client.0.write_all(tail).unwrap();
    while client.pass_message().0 != b'Z' {}
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < MIB, "{held} bytes were held for a query that passes through");
}

#[test]
fn messages_that_are_too_long_or_no_messages_are_refused_at_once() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let before = MEMORY.allocated();
    for (header, code) in [
        // Shorter than its own length, longer than any, and of types that no client sends.
        (&b"Q\0\0\0\x03"[..], "08P01"),
        (b"Q\xff\xff\xff\xff", "08P01"),
        (b"Q\x40\0\0\0", "08P01"),
        (b"R\0\0\0\x08", "08P01"),
        (b"\0\0\0\0\x08", "08P01"),
    ] {
        let mut client = Raw::log_in(&world, &[]);
        client.send(header);
        let told: Vec<String> = client.until('E').into_iter().filter_map(text_of).collect();
        assert!(told[0].starts_with(code), "{header:?}: {told:?}");
        assert_eq!(client.next(), None);
    }
    // Of these we want to see the whole, so there is a limit; the beginning shows what it is.
    for (tag, length) in [(b'P', 17 * MIB), (b'D', 70_000), (b'C', 70_000), (b'E', 70_000)] {
        let mut client = Raw::log_in(&world, &[]);
        let length = u32::try_from(length).unwrap();
        client.send(&[&[tag][..], &length.to_be_bytes(), &[b'S'; 65_600]].concat());
        let told: Vec<String> = client.until('E').into_iter().filter_map(text_of).collect();
        assert!(told[0].starts_with("08P01"), "{}: {told:?}", char::from(tag));
    }
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < MIB, "{held} bytes were held for what was refused");
    others_are_served(&world);
}

#[test]
fn a_long_statement_that_comes_in_drops_is_kept_once() {
    let _alone = alone();
    let world = World::start(0, SETTINGS);
    let mut client = Raw::log_in(&world, &[]);
    let mut out = Vec::new();
    parse(&mut out, "", &format!("select 7 /* {} */", "x".repeat(8 * MIB)));
    run(&mut out, "");
    sync(&mut out);
    let (all_but_drops, drops) = out.split_at(8 * MIB - 1000);
    let before = MEMORY.allocated();
    client.send(all_but_drops);
    for drop in drops.chunks(1) {
        client.send(drop);
    }
    let told: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(told, ["7"]);
    // As it came, as it is kept for other backends, and on its way to this one: and each may have
    // grown to twice of it.
    let held = MEMORY.max_allocated().saturating_sub(before);
    assert!(held < 60 * MIB, "{held} bytes were held for 8 MiB");
}

#[test]
fn a_login_that_takes_too_long_is_ended_and_told_why() {
    let world = World::start(0, &SETTINGS.replace("[pool]", "login_timeout = \"300ms\"\n[pool]"));
    let mut client = Raw::log_in(&world, &[]);
    for said in [&b""[..], b"\0", b"\0\0\0\x20\0\x03\0\0user\0", &[0, 0, 0, 8, 4, 210, 22, 47]] {
        let mut stream = TcpStream::connect(world.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(said).unwrap();
        others_are_served(&world);
        let mut told = Vec::new();
        stream.read_to_end(&mut told).unwrap();
        let told = String::from_utf8_lossy(&told);
        assert!(told.contains("FATAL") && told.contains("not complete after 300ms"), "{told}");
    }
    assert_eq!(client.query("select 1"), ["1"], "logged in, it has all the time it likes");
}
