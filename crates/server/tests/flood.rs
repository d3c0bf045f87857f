//! Thousands of connections that are no clients, or do not stay any, and what is left of them:
//! nothing.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::alloc::System;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cap::Cap;
use pgherd_lab::cluster;
use pgherd_wire::backend::Authentication;
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, ClientExchange, Keys};
use pgherd_wire::{Frame, HEADER, startup};
use world::raw::{copy_data, parse, run, sync};
use world::{World, until};

/// Counts the bytes that this process holds: the proxy's, and what the test itself needs.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

/// As many connections as there are to be, those before them, in how many parts, and how many at a time.
const CONNECTIONS: usize = 10_000;
const WARM_UP: usize = 2000;
const PARTS: usize = 10;
const AT_A_TIME: usize = 8;

/// Bytes that may be kept: 4 of each connection. The five backends have one or two thousand each, which
/// depend on who was served last, and so has the health monitor. Five times as many leave no more.
const ALLOWED: usize = 4 * CONNECTIONS;

/// Clients that are let in, those of the flood among them.
const SLOTS: usize = 100;

fn world() -> World {
    // Who fails is neither barred nor kept waiting, or those from this address that behave would be, too.
    let more = format!(
        "[listen]\nport = 0\nworkers = 2\nmax_clients = {SLOTS}\n\
         login_failures = 0\nlogin_delay = \"0s\"\n[pool]\nsize = 5\n\
         [health]\ninterval = \"1s\"\n"
    );
    let world = World::start(0, &more);
    world.node("coordinator").psql("create table t (id int); grant all on t to app").unwrap();
    world
}

/// A connection of the flood.
struct Stranger {
    stream: TcpStream,
}

impl Stranger {
    fn connect(world: &World) -> Self {
        let stream = TcpStream::connect(world.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        Self { stream }
    }

    /// Writes, to somebody who may have had enough.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// The end of the connection has to come. It may be a reset, for what nobody has read.
    fn reads_to_the_end(mut self) {
        let mut told = Vec::new();
        match self.stream.read_to_end(&mut told) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }

    /// The next message: its type and body.
    fn hear(&mut self) -> (u8, Vec<u8>) {
        let mut header = [0; HEADER];
        self.stream.read_exact(&mut header).unwrap();
        let frame = Frame::read(&header, u32::MAX).unwrap().unwrap();
        let mut body = vec![0; frame.size - HEADER];
        self.stream.read_exact(&mut body).unwrap();
        (frame.tag, body)
    }

    fn hear_until(&mut self, tag: u8) {
        while self.hear().0 != tag {}
    }

    /// Logs in up to the proof, which `spoil` may change.
    fn prove(&mut self, spoil: impl FnOnce(&mut String)) {
        // Deriving them each time would take longer than all the rest.
        static KNOWN: Mutex<Option<(Vec<u8>, Keys)>> = Mutex::new(None);
        self.say(&startup());
        self.hear();
        let (exchange, first) = ClientExchange::start(b"nonce of a stranger");
        self.say(&put(|out| {
            SaslInitial { mechanism: scram::MECHANISM, data: first.as_bytes() }.put(out);
        }));
        let (_, challenge) = self.hear();
        let Authentication::SaslContinue(challenge) = Authentication::read(&challenge).unwrap()
        else {
            panic!("no challenge")
        };
        let mut known = KNOWN.lock().unwrap();
        let keys = |salt: &[u8], iterations| match &*known {
            Some((of, keys)) if of == salt => keys.clone(),
            _ => {
                let keys = Keys::derive(cluster::PASSWORD, salt, iterations);
                *known = Some((salt.to_vec(), keys.clone()));
                keys
            }
        };
        let (_, mut proof) = exchange.prove(challenge, keys).unwrap();
        spoil(&mut proof);
        self.say(&put(|out| frontend::put_sasl_response(out, proof.as_bytes())));
    }

    fn log_in(world: &World) -> Self {
        let mut stranger = Self::connect(world);
        stranger.prove(|_| {});
        stranger.hear_until(b'Z');
        stranger
    }
}

fn put(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut out);
    out
}

fn startup() -> Vec<u8> {
    let login = [("user", cluster::USER), ("database", cluster::DATABASE)];
    put(|out| startup::put_startup(out, startup::PROTOCOL_3_0, login))
}

fn query(sql: &str) -> Vec<u8> {
    put(|out| frontend::put_query(out, sql))
}

/// Bytes that look like nothing, the same for the same number.
fn garbage(number: usize, length: usize) -> Vec<u8> {
    let mut state = number as u64 | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..length).map(|_| next()).collect()
}

/// The kinds of connections there are, before, during and after the login.
const KINDS: usize = 22;

const SSL: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GSS: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 48];

/// One connection of the flood, from its beginning to its end.
fn intrude(world: &World, number: usize) {
    let startup = startup();
    // Those that cost the server a process are rarer.
    let kind = match number % KINDS {
        kind @ 18.. if !(number / KINDS).is_multiple_of(10) => kind - 18,
        kind => kind,
    };
    let connect = || Stranger::connect(world);
    let says = |bytes: &[u8]| {
        let mut stranger = connect();
        stranger.say(bytes);
        stranger
    };
    let logged_in_says = |bytes: &[u8]| {
        let mut stranger = Stranger::log_in(world);
        stranger.say(bytes);
        stranger
    };
    match kind {
        // Vanishing at once, or in the middle of a packet.
        0 => drop(connect()),
        1 => drop(says(&startup[..number % startup.len()])),
        // Lengths that are too long, too short, or a lie.
        2 => says(&[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0]).reads_to_the_end(),
        3 => says(&[0, 0, 0, 7, 0, 3, 0]).reads_to_the_end(),
        4 => drop(says(&[&[0, 0, 0x27, 0x0f][..], &startup[4..]].concat())),
        5 => says(&[&[0xff][..], &garbage(number, 200)].concat()).reads_to_the_end(),
        // Parameters without an end, a user nobody knows, a version of long ago.
        6 => says(&[&[0, 0, 0, 20, 0, 3, 0, 0][..], &[b'a'; 12]].concat()).reads_to_the_end(),
        7 => {
            let nobody = [("user", "nobody")];
            let mut stranger =
                says(&put(|out| startup::put_startup(out, startup::PROTOCOL_3_2, nobody)));
            // Refused, or asked for a password that nobody has.
            stranger.hear();
        }
        8 => says(&[0, 0, 0, 9, 0, 2, 0, 0, 0]).reads_to_the_end(),
        // Encryption that is never begun.
        9 => {
            let mut stranger = says(&SSL);
            let mut answer = [0];
            stranger.stream.read_exact(&mut answer).unwrap();
            assert_eq!(answer, [b'N']);
            stranger.say(&[&[0x16][..], &garbage(number, 100)].concat());
            stranger.reads_to_the_end();
        }
        10 => says(&[SSL, GSS, SSL].concat()).reads_to_the_end(),
        // Cancels with keys that are nobody's, and of a client that may be there.
        11 => says(&put(|out| startup::put_cancel(out, number as u32, &[7; 4]))).reads_to_the_end(),
        12 => says(&put(|out| startup::put_cancel(out, 1 << 25 | 1, &[7; 200]))).reads_to_the_end(),
        // Half a login.
        13 => {
            let mut stranger = says(&startup);
            stranger.hear();
        }
        14 => says(&[&startup[..], b"Q\0\0\0\x05\0"].concat()).reads_to_the_end(),
        15 => says(&[&startup[..], b"p\xff", &garbage(number, 40)].concat()).reads_to_the_end(),
        16 => {
            let mut stranger = connect();
            stranger.prove(|proof| proof.replace_range(proof.len() - 6..proof.len() - 2, "AAAA"));
            stranger.reads_to_the_end();
        }
        // A whole one, and then garbage, a message that does not end, or a lie.
        17 => match number / KINDS % 4 {
            0 => logged_in_says(&[&[0][..], &garbage(number, 100)].concat()).reads_to_the_end(),
            1 => drop(logged_in_says(&query("select 1")[..9])),
            2 => logged_in_says(b"Q\0\0\0\x03").reads_to_the_end(),
            _ => logged_in_says(b"P\x7f\0\0\0a\0select 1").reads_to_the_end(),
        },
        // With a backend: a transaction, a COPY, a query, a pipeline without an end.
        18 => {
            let mut stranger = logged_in_says(&query("begin; insert into t values (1)"));
            stranger.hear_until(b'Z');
        }
        19 => {
            let mut stranger = logged_in_says(&query("copy t from stdin"));
            stranger.hear_until(b'G');
            stranger.say(&put(|out| copy_data(out, "1\n")));
            stranger.say(b"Z\0\0\0\x05I");
        }
        20 => drop(logged_in_says(&query("select pg_sleep(100)"))),
        _ => drop(logged_in_says(&put(|out| {
            for _ in 0..10 {
                parse(out, "s", "select 1");
                run(out, "s");
            }
        }))),
    }
}

/// Connections `numbers`, some at a time.
fn flood(world: &World, numbers: std::ops::Range<usize>) {
    let next = AtomicUsize::new(numbers.start);
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= numbers.end {
                        break;
                    }
                    intrude(world, number);
                }
            });
        }
    });
}

/// A client as they should be, who counts the answers until there were enough.
fn count(world: &World, answers: &AtomicUsize, enough: &AtomicBool) {
    let mut client = Stranger::log_in(world);
    while !enough.load(Ordering::Relaxed) {
        let number = answers.fetch_add(1, Ordering::Relaxed);
        let mut batch = Vec::new();
        parse(&mut batch, "", &format!("select {number}"));
        run(&mut batch, "");
        sync(&mut batch);
        client.say(&batch);
        let mut rows = Vec::new();
        loop {
            match client.hear() {
                (b'D', body) => rows.push(String::from_utf8(body[6..].to_vec()).unwrap()),
                (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                (b'Z', _) => break,
                _ => {}
            }
        }
        assert_eq!(rows, [number.to_string()]);
    }
}

#[test]
fn ten_thousand_malformed_connections_leave_nothing_behind() {
    let world = world();
    let of_the_proxy = |state: &str| {
        let sql = format!(
            "select count(*) from pg_stat_activity where usename = 'app' \
             and application_name not like 'pgherd/%' and {state}"
        );
        world.node("coordinator").psql(&sql).unwrap().parse::<usize>().unwrap()
    };
    // What is kept for good, such as the room for as many clients at a time, is there by then.
    drop((0..SLOTS).map(|_| Stranger::log_in(&world)).collect::<Vec<_>>());
    flood(&world, 0..WARM_UP);
    let before = MEMORY.allocated();
    let (answers, enough) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| count(&world, &answers, &enough));
        let enough = EndsWithScope(&enough);
        for part in 0..PARTS {
            let answered = answers.load(Ordering::Relaxed);
            let start = WARM_UP + part * CONNECTIONS / PARTS;
            flood(&world, start..start + CONNECTIONS / PARTS);
            until("who behaves is served, too", || answers.load(Ordering::Relaxed) > answered + 1);
        }
        drop(enough);
    });
    // A connection that is over may be noticed a little later.
    until("nothing runs any more", || of_the_proxy("state <> 'idle'") == 0);
    let kept = || MEMORY.allocated().saturating_sub(before);
    let deadline = Instant::now() + Duration::from_secs(20);
    while kept() > ALLOWED && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(kept() <= ALLOWED, "{} bytes are kept", kept());
    assert!(of_the_proxy("true") <= 5);
    assert_eq!(world.node("coordinator").psql("select count(*) from t").unwrap(), "0");
    drop((0..SLOTS).map(|_| Stranger::log_in(&world)).collect::<Vec<_>>());
}

/// Lets the client go that is waited for, also where the test fails.
struct EndsWithScope<'a>(&'a AtomicBool);

impl Drop for EndsWithScope<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
