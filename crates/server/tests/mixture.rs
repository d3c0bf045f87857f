//! Clients that leave anything in their sessions, in any order, and what each then finds in its own.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage, Statement};
use world::{World, eventually};

/// Seven clients that may be pinned at the same time, and a backend for the others.
const SETTINGS: &str = "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 8\npin_limit = 7\n\
     acquire_timeout = \"60s\"\n";

const CLIENTS: u64 = 7;

/// Steps of each client: about 10 s of a small machine.
const STEPS: usize = 250;

/// The settings that are changed, with their values at the login.
const KNOWN: [(&str, &str); 6] = [
    ("search_path", "\"$user\", public"),
    ("TimeZone", ""),
    ("work_mem", "4MB"),
    ("statement_timeout", "0"),
    ("app.tenant", ""),
    ("role", "none"),
];

/// What is asked of a session: its settings, and what it holds.
const LOOK: &str = "select current_setting('search_path'), current_setting('TimeZone'), \
     current_setting('work_mem'), current_setting('statement_timeout'), \
     coalesce(current_setting('app.tenant', true), ''), current_setting('role'), \
     (select count(*) from pg_class where pg_table_is_visible(oid) and relname = 'mine'), \
     (select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()), \
     (select count(*) from pg_listening_channels()), \
     (select count(*) from pg_cursors where is_holdable)";

/// SplitMix64: a few lines, and the seed says all.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit as u64).unwrap()
    }
}

/// What a client's session is by all that it has done.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Model {
    settings: BTreeMap<&'static str, String>,
    holds: BTreeMap<&'static str, bool>,
}

impl Model {
    fn at_login(zone: &str) -> Self {
        let value = |(name, value): (&'static str, &str)| match name {
            "TimeZone" => (name, zone.to_owned()),
            _ => (name, value.to_owned()),
        };
        let holds = ["mine", "lock", "news", "cursor"].map(|what| (what, false));
        Self { settings: KNOWN.map(value).into(), holds: holds.into() }
    }

    fn row(&self) -> Vec<String> {
        let settings = KNOWN.map(|(name, _)| self.settings[name].clone());
        let holds = ["mine", "lock", "news", "cursor"].map(|what| i32::from(self.holds[what]));
        settings.into_iter().chain(holds.map(|count| count.to_string())).collect()
    }
}

struct Session<'w> {
    world: &'w World,
    number: u64,
    random: Random,
    zone: String,
    client: Client,
    task: AbortHandle,
    prepared: Statement,
    model: Model,
    log: Vec<String>,
}

impl<'w> Session<'w> {
    async fn start(world: &'w World, number: u64, seed: u64) -> Self {
        let zone = ["UTC", "Asia/Tokyo", "America/Lima"][usize::try_from(number % 3).unwrap()];
        let (client, task, prepared) = log_in(world, zone).await;
        let random = Random(seed.wrapping_mul(1000) + number);
        let (zone, model) = (zone.to_owned(), Model::at_login(zone));
        Self { world, number, random, zone, client, task, prepared, model, log: Vec::new() }
    }

    async fn run(mut self) {
        for _ in 0..STEPS {
            self.step().await;
            self.check().await;
        }
    }

    /// What the session shows is what it has done itself, and nothing else.
    async fn check(&self) {
        let messages = self.client.simple_query(LOOK).await;
        let told = || format!("client {}, after {:#?}", self.number, self.log);
        let messages = messages.unwrap_or_else(|error| panic!("{error:?}: {}", told()));
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let row = row.unwrap();
        let found: Vec<String> = (0..10).map(|at| row.get(at).unwrap().to_owned()).collect();
        assert_eq!(found, self.model.row(), "{}", told());
    }

    async fn step(&mut self) {
        match self.random.below(12) {
            0..4 => self.set().await,
            4 => self.reset().await,
            5..8 => self.hold().await,
            8 => {
                let row = self.client.query_one(&self.prepared, &[&7i32]).await.unwrap();
                assert_eq!(row.get::<_, i32>(0), 7);
            }
            9 => self.cancel_one().await,
            10 => {
                self.run_text("discard all").await;
                self.model = Model::at_login(&self.zone);
                // It is gone with the rest.
                self.prepared = self.client.prepare("select $1::int4").await.unwrap();
            }
            _ => {
                // Cut off in the middle of something, or not.
                if self.random.below(2) == 0 {
                    self.run_text("begin; set work_mem = '9MB'").await;
                }
                self.task.abort();
                (self.client, self.task, self.prepared) = log_in(self.world, &self.zone).await;
                self.model = Model::at_login(&self.zone);
                self.log.push("(cut off)".to_owned());
            }
        }
    }

    async fn run_text(&mut self, text: &str) {
        self.log.push(text.to_owned());
        if let Err(error) = self.client.batch_execute(text).await {
            panic!("{error:?}: client {}, {:#?}", self.number, self.log);
        }
    }

    async fn set(&mut self) {
        let (name, _) = KNOWN[self.random.below(KNOWN.len())];
        let number = self.number;
        let choice = self.random.below(3);
        let value = match name {
            "search_path" => format!("s{number}_{choice}"),
            "TimeZone" => ["Europe/Warsaw", "UTC", "Asia/Kabul"][choice].to_owned(),
            "work_mem" => format!("{}MB", 10 * (number + 1) + choice as u64),
            "statement_timeout" => format!("{}s", 100 * (number + 1) + 1 + choice as u64),
            "app.tenant" => format!("tenant {number} {choice}"),
            _ => ["none".to_owned(), format!("role{number}")][choice % 2].clone(),
        };
        let set = match self.random.below(3) {
            0 => format!("set {name} = '{value}'"),
            1 => format!("select set_config('{name}', '{value}', false)"),
            _ => format!("do $$ begin perform set_config('{name}', '{value}', false); end $$"),
        };
        match self.random.below(6) {
            0 => self.run_text(&format!("begin; {set}; rollback")).await,
            1 => self.run_text(&format!("begin; set local {name} = '{value}'; commit")).await,
            2 => {
                // The latter runs on a replica, where there is one.
                self.run_text(["begin", "begin read only"][choice % 2]).await;
                self.run_text(&set).await;
                self.run_text("commit").await;
                self.model.settings.insert(name, value);
            }
            3 => {
                // Over the other protocol, with parameters.
                let text = "select set_config($1, $2, false)";
                self.log.push(format!("{text}: {name}, {value}"));
                self.client.query_one(text, &[&name, &value]).await.unwrap();
                self.model.settings.insert(name, value);
            }
            _ => {
                self.run_text(&set).await;
                self.model.settings.insert(name, value);
            }
        }
    }

    async fn reset(&mut self) {
        let (name, _) = KNOWN[self.random.below(KNOWN.len())];
        self.run_text(&format!("reset {name}")).await;
        let at_login = Model::at_login(&self.zone).settings[name].clone();
        self.model.settings.insert(name, at_login);
    }

    async fn hold(&mut self) {
        let number = self.number;
        let (what, begin, end) = [
            (
                "mine",
                "create temp table mine (id int)".to_owned(),
                // It may belong to the login and not to the role that is set now.
                "set local role none; drop table mine".to_owned(),
            ),
            (
                "lock",
                format!("select pg_advisory_lock({number})"),
                format!("select pg_advisory_unlock({number})"),
            ),
            ("news", "listen news".to_owned(), "unlisten *".to_owned()),
            ("cursor", "declare c cursor with hold for select 1".to_owned(), "close c".to_owned()),
        ][self.random.below(4)]
        .clone();
        let held = self.model.holds[what];
        let text = if held { end } else { begin };
        // Locks, and the end of a cursor, outlive what is rolled back.
        let is_undone = what != "lock" && !(what == "cursor" && held);
        if self.random.below(4) == 0 && is_undone {
            return self.run_text(&format!("begin; {text}; rollback")).await;
        }
        self.run_text(&text).await;
        self.model.holds.insert(what, !held);
    }

    /// Something that leaves a setting if it is not cancelled, and a request that may come too late.
    async fn cancel_one(&mut self) {
        let (token, client) = (self.client.cancel_token(), &self.client);
        let value = format!("{}MB", 10 * (self.number + 1) + 5);
        let text = format!("set work_mem = '{value}'; select pg_sleep(0.002)");
        self.log.push(format!("{text} (cancelled)"));
        let cancel = cancel(token, self.world.address());
        let (answer, ()) = tokio::join!(client.batch_execute(&text), cancel);
        match answer {
            Ok(()) => drop(self.model.settings.insert("work_mem", value)),
            Err(error) => assert_eq!(error.code().map(SqlState::code), Some("57014")),
        }
    }
}

/// Sends a cancel request and waits until it is done. The driver's own method does not wait.
async fn cancel(token: CancelToken, proxy: SocketAddr) {
    let (near, mut far) = tokio::io::duplex(64);
    token.cancel_query_raw(near, NoTls).await.unwrap();
    let mut request = Vec::new();
    far.read_to_end(&mut request).await.unwrap();
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&request).await.unwrap();
    assert_eq!(stream.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

async fn log_in(world: &World, zone: &str) -> (Client, AbortHandle, Statement) {
    let options = format!("options='-c TimeZone={zone}'");
    let (client, task) = world.connect_with_task(&options).await.unwrap();
    let prepared = client.prepare("select $1::int4").await.unwrap();
    (client, task, prepared)
}

#[tokio::test]
async fn each_client_finds_in_its_session_what_it_has_left_there_and_nothing_else() {
    mix(0).await;
}

#[tokio::test]
async fn it_does_so_on_replicas_too() {
    mix(1).await;
}

async fn mix(replicas: u16) {
    let seed = std::env::var("PGHERD_TEST_SEED").ok().map_or(1, |seed| seed.parse().unwrap());
    println!("PGHERD_TEST_SEED={seed}");
    let world = World::start(replicas, SETTINGS);
    let roles: String = (0..CLIENTS)
        .map(|number| format!("create role role{number}; grant role{number} to app;"))
        .collect();
    let coordinator = world.node("coordinator");
    coordinator.psql(&roles).unwrap();
    world.cluster.wait_caught_up().unwrap();
    let started: Vec<Session<'_>> =
        join_all((0..CLIENTS).map(|number| Session::start(&world, number, seed))).await;
    join_all(started.into_iter().map(Session::run)).await;
    eventually("no session is pinned", || world.server().pins().is_empty()).await;
    let left = "select (select count(*) from pg_class where relpersistence = 't') \
         + (select count(*) from pg_locks where locktype = 'advisory')";
    eventually("nothing is left", || coordinator.psql(left).unwrap() == "0").await;
}
