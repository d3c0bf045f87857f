//! The console beside that of Debian's PgBouncer, and read by Debian's exporter.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use pgherd_lab::{Exporter, PgBouncer, cluster};
use pgherd_wire::backend::{Authentication, data_row};
use pgherd_wire::frontend::{self, SaslInitial};
use pgherd_wire::scram::{self, ClientExchange, Keys};
use pgherd_wire::{Frame, HEADER, startup};
use world::TWO_CORES;
use world::console::{STATS, start};

/// What PgBouncer 1.18 calls a column that is called otherwise since, and is here, too.
const RENAMED: [(&str, &str); 1] = [("databases", "reserve_pool")];

/// What it shows: `SHOW HELP`, but for FDS.
const SHOWN: [&str; 18] = [
    "config",
    "databases",
    "pools",
    "clients",
    "servers",
    "users",
    "version",
    "sockets",
    "active_sockets",
    "lists",
    "mem",
    "dns_hosts",
    "dns_zones",
    "stats",
    "stats_totals",
    "stats_averages",
    "totals",
    "help",
];

/// A console over the bare protocol: only there the types of columns can be seen in answers to simple
/// queries.
struct Console(TcpStream);

/// A table: the columns with the OIDs of their types, and the texts of the rows' first columns.
#[derive(Default)]
struct Table {
    columns: Vec<(String, u32)>,
    firsts: Vec<String>,
}

impl Console {
    fn log_in(at: SocketAddr, user: &str) -> Self {
        let mut console = Self(TcpStream::connect(at).unwrap());
        let mut out = Vec::new();
        let parameters = [("user", user), ("database", "pgbouncer")];
        startup::put_startup(&mut out, startup::PROTOCOL_3_0, parameters);
        let (exchange, first) = ClientExchange::start(b"nonce");
        let mut exchange = Some(exchange);
        loop {
            console.0.write_all(&out).unwrap();
            out.clear();
            let (tag, body) = console.next();
            if tag != b'R' {
                assert!(tag != b'E', "{}", String::from_utf8_lossy(&body));
                if tag == b'Z' {
                    return console;
                }
                continue;
            }
            match Authentication::read(&body).unwrap() {
                Authentication::Sasl { .. } => {
                    let data = first.as_bytes();
                    SaslInitial { mechanism: scram::MECHANISM, data }.put(&mut out);
                }
                Authentication::SaslContinue(challenge) => {
                    let derive = |salt: &[u8], count| Keys::derive(cluster::PASSWORD, salt, count);
                    let exchange = exchange.take().unwrap();
                    let (_, proof) = exchange.prove(challenge, derive).unwrap();
                    frontend::put_sasl_response(&mut out, proof.as_bytes());
                }
                _ => {}
            }
        }
    }

    fn next(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; HEADER];
        self.0.read_exact(&mut head).unwrap();
        let frame = Frame::read(&head, u32::MAX).unwrap().unwrap();
        let mut body = vec![0; frame.size - HEADER];
        self.0.read_exact(&mut body).unwrap();
        (frame.tag, body)
    }

    fn show(&mut self, table: &str) -> Table {
        let mut out = Vec::new();
        frontend::put_query(&mut out, &format!("SHOW {table};"));
        self.0.write_all(&out).unwrap();
        let mut shown = Table::default();
        loop {
            match self.next() {
                (b'T', body) => shown.columns = columns(&body),
                (b'D', body) => {
                    let first = data_row(&body).unwrap()[0].unwrap_or_default();
                    shown.firsts.push(String::from_utf8(first.to_vec()).unwrap());
                }
                (b'Z', _) => return shown,
                (b'E', body) => panic!("{table}: {}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }
}

/// Names and type OIDs of a RowDescription.
fn columns(body: &[u8]) -> Vec<(String, u32)> {
    let (mut found, mut rest) = (Vec::new(), &body[2..]);
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = String::from_utf8(rest[..end].to_vec()).unwrap();
        // Behind the name: a table, a column of it, and the type.
        let oid = rest[end + 7..end + 11].try_into().unwrap();
        found.push((name, u32::from_be_bytes(oid)));
        rest = &rest[end + 19..];
    }
    found
}

#[test]
fn each_column_of_debians_pgbouncer_is_there_and_of_its_type() {
    if PgBouncer::is_missing() {
        return;
    }
    let world = start(0, TWO_CORES);
    let pgbouncer = PgBouncer::start(&world.cluster, world.node("coordinator")).unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], pgbouncer.port()));
    let mut theirs = Console::log_in(address, "postgres");
    let mut ours = Console::log_in(world.address(), STATS);
    for table in SHOWN {
        let (theirs, ours) = (theirs.show(table), ours.show(table));
        let places: BTreeMap<&str, (usize, u32)> = ours
            .columns
            .iter()
            .enumerate()
            .map(|(at, (name, oid))| (name.as_str(), (at, *oid)))
            .collect();
        let mut last = None;
        for (name, oid) in &theirs.columns {
            let Some((at, ours)) = places.get(name.as_str()) else {
                panic!("SHOW {table} has no {name}: {:?}", ours.columns)
            };
            assert_eq!(oid, ours, "the type of {name} in SHOW {table}");
            if !RENAMED.contains(&(table, name)) {
                assert!(last < Some(at), "{name} is out of order in SHOW {table}");
                last = Some(at);
            }
        }
        // Where rows have names, each of theirs is there.
        if matches!(table, "lists" | "totals") {
            for name in &theirs.firsts {
                assert!(ours.firsts.contains(name), "SHOW {table} has no row {name}");
            }
        }
    }
}

#[tokio::test]
async fn debians_exporter_scrapes_it_as_it_is() {
    if Exporter::is_missing() {
        return;
    }
    let world = start(0, TWO_CORES);
    let client = world.connect().await;
    for _ in 0..10 {
        client.query("select 1", &[]).await.unwrap();
    }
    let password = cluster::PASSWORD;
    let exporter = Exporter::start(&world.cluster, world.address(), STATS, password).unwrap();
    let scraped = exporter.scrape().unwrap();
    assert!(scraped.contains(" 200 OK"), "{scraped}");
    let value = |series: &str| {
        let line = scraped.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {series} in {scraped}"));
        value.parse::<f64>().unwrap()
    };
    assert!(value("pgbouncer_requests_total{database=\"app\"}") >= 10.0);
    assert!(value("pgbouncer_received_bytes_total{database=\"app\"}") > 100.0);
    assert!(value("pgbouncer_sent_bytes_total{database=\"app\"}") > 100.0);
    assert!(value("pgbouncer_query_microseconds_total{database=\"app\"}") > 0.0);
    assert_eq!(value("pgbouncer_active_clients{database=\"app\",user=\"app\"}"), 1.0);
    assert_eq!(value("pgbouncer_waiting_clients{database=\"app\",user=\"app\"}"), 0.0);
    assert_eq!(value("pgbouncer_databases"), 2.0);
    assert_eq!(value("pgbouncer_used_clients"), 2.0);
    // And again, over the same connection.
    assert!(exporter.scrape().unwrap().contains("pgbouncer_pools"));
}
