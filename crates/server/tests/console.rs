//! The console, asked by real drivers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::{BTreeMap, HashSet};

use pgherd_core::Settings;
use pgherd_core::settings::{Secret, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, cluster};
use pgherd_wire::frontend;
use tokio_postgres::{Column, SimpleColumn, SimpleQueryMessage};
use world::console::{ADMIN, STATS, console, find, show, start, with_consoles};
use world::raw::{Raw, text_of};
use world::{TWO_CORES, World, feed, text};

const ALL: [&str; 24] = [
    "databases",
    "pools",
    "stats",
    "stats_totals",
    "stats_averages",
    "totals",
    "clients",
    "servers",
    "sockets",
    "active_sockets",
    "users",
    "lists",
    "config",
    "mem",
    "state",
    "version",
    "dns_hosts",
    "dns_zones",
    "peers",
    "peer_pools",
    "pins",
    "nodes",
    "routes",
    "transactions",
];

#[tokio::test]
async fn users_that_were_looked_up_are_shown_with_those_of_the_settings() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let roles = "create role look superuser login password 'look'; \
                 create role found login password 'right'";
    cluster.coordinator().psql(roles).unwrap();
    let change = |settings: &mut Settings| {
        with_consoles(settings);
        settings.users.push(UserSettings {
            name: "look".to_owned(),
            password: Secret::new("look"),
            nodes_only: true,
            ..UserSettings::default()
        });
        settings.listen.auth_user = "look".to_owned();
        settings.listen.max_clients_per_user = 5;
    };
    let world = World::before(cluster, change, TWO_CORES);
    let console = console(&world, STATS).await;
    assert_eq!(show(&console, "users").await.len(), 4);
    let client = world.try_connect("user=found password=right").await.unwrap();
    client.simple_query("begin").await.unwrap();
    let users = show(&console, "users").await;
    let found = find(&users, "name", "found");
    assert_eq!(users.len(), 5);
    assert_eq!((&*found["pool_mode"], &*found["pool_size"]), ("NULL", ""));
    assert_eq!((&*found["current_client_connections"], &*found["current_connections"]), ("1", "1"));
    assert_eq!(found["max_user_client_connections"], "5");
}

#[tokio::test]
async fn each_table_is_the_same_in_both_protocols() {
    let world = start(1, TWO_CORES);
    let client = world.connect().await;
    client.query("select 1", &[]).await.unwrap();
    let console = console(&world, STATS).await;
    for table in ALL {
        let simple = console.simple_query(&format!("show {table}")).await.unwrap();
        let prepared = console.prepare(&format!("show {table}")).await.unwrap();
        let rows = console.query(&prepared, &[]).await.unwrap();
        let described: Vec<&str> = prepared.columns().iter().map(Column::name).collect();
        let SimpleQueryMessage::RowDescription(columns) = &simple[0] else {
            panic!("{table}: {simple:?}")
        };
        let columns: Vec<&str> = columns.iter().map(SimpleColumn::name).collect();
        assert_eq!(columns, described, "{table}");
        let count = simple.iter().filter(|m| matches!(m, SimpleQueryMessage::Row(_))).count();
        // Its averages and times may have moved, but not how many rows there are.
        assert_eq!(rows.len(), count, "{table}");
    }
    let error = console.simple_query("show fds").await.unwrap_err();
    let said = error.as_db_error().unwrap().message();
    assert!(said.contains("not supported"), "{said}");
}

#[tokio::test]
async fn numbers_in_binary_are_those_in_text() {
    let world = start(0, TWO_CORES);
    let console = console(&world, STATS).await;
    let texts = show(&console, "lists").await;
    for row in console.query("show lists", &[]).await.unwrap() {
        let (list, items): (String, i32) = (row.get(0), row.get(1));
        assert_eq!(find(&texts, "list", &list)["items"], items.to_string());
    }
    let rows = console.query("show databases", &[]).await.unwrap();
    let row = rows.iter().find(|row| row.get::<_, String>("name") == "app").unwrap();
    assert_eq!(row.get::<_, i32>("pool_size"), 20);
    assert_eq!(row.get::<_, Option<String>>("pool_mode"), None);
}

#[tokio::test]
async fn who_holds_waits_and_is_pinned_is_shown() {
    let world = start(0, "[listen]\nport = 0\nworkers = 2\n[pool]\nsize = 2\npin_limit = 1\n");
    let console = console(&world, STATS).await;
    let (holder, pinned) = (world.connect().await, world.connect().await);
    let idle = world.try_connect("application_name=resting").await.unwrap();
    idle.query("select 1", &[]).await.unwrap();
    pinned.batch_execute("listen news").await.unwrap();
    holder.batch_execute("begin").await.unwrap();
    let held: i32 = holder.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
    let waiter = world.connect().await;
    let waiting = tokio::spawn(async move { waiter.query("select 1", &[]).await.map(|_| ()) });
    let pool = async || find(&show(&console, "pools").await, "database", "app").clone();
    loop {
        let row = pool().await;
        if (&*row["cl_waiting"], &*row["sv_pinned"]) == ("1", "1") {
            break;
        }
        tokio::task::yield_now().await;
    }

    let row = pool().await;
    let shown =
        ["user", "cl_active", "cl_waiting", "sv_active", "sv_idle", "sv_pinned", "pool_mode"];
    assert_eq!(shown.map(|column| &*row[column]), ["app", "3", "1", "2", "0", "1", "transaction"]);
    let pins = show(&console, "pins").await;
    assert_eq!(pins.len(), 1, "{pins:?}");
    let pin = &pins[0];
    assert_eq!([&*pin["database"], &pin["user"], &pin["statement"]], ["app", "app", "listen news"]);
    let servers = show(&console, "servers").await;
    let server = find(&servers, "remote_pid", &held.to_string());
    let shown = ["type", "user", "database", "replication", "state", "node", "pinned"];
    assert_eq!(
        shown.map(|column| &*server[column]),
        ["S", "app", "app", "none", "active", "coordinator", "0"]
    );
    assert_eq!(find(&servers, "pinned", "1")["remote_pid"], pin["backend"]);
    let clients = show(&console, "clients").await;
    let linked = find(&clients, "ptr", &server["link"]);
    assert_eq!((&linked["link"], &*linked["state"]), (&server["ptr"], "active"));
    assert_eq!(find(&clients, "application_name", "resting")["state"], "idle");
    assert_eq!(find(&clients, "state", "waiting")["link"], "");
    assert_eq!(find(&clients, "database", "pgbouncer")["user"], STATS);
    let ids: HashSet<&String> = clients.iter().chain(&servers).map(|row| &row["id"]).collect();
    assert_eq!(ids.len(), clients.len() + servers.len());
    assert!(clients.iter().chain(&servers).all(|row| row["ptr"] != "0x0"), "{clients:?}");
    let lists = show(&console, "lists").await;
    let items = ["used_clients", "used_servers", "free_servers", "login_clients", "pools"];
    assert_eq!(items.map(|list| &*find(&lists, "list", list)["items"]), ["5", "2", "0", "0", "2"]);
    let databases = show(&console, "databases").await;
    let database = find(&databases, "name", "app");
    let shown = ["current_connections", "current_client_connections", "pool_size", "paused"];
    assert_eq!(shown.map(|column| &*database[column]), ["2", "4", "2", "0"]);

    holder.batch_execute("rollback").await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(pool().await["cl_waiting"], "0");
}

#[tokio::test]
async fn what_was_done_is_counted() {
    let world = start(0, TWO_CORES);
    let console = console(&world, STATS).await;
    let clients = [world.connect().await, world.connect().await, world.connect().await];
    let before = find(&show(&console, "stats").await, "database", "app").clone();
    // Kept, because to drop one is a batch of its own.
    let mut statements = Vec::new();
    for client in &clients {
        let statement = client.prepare("select $1::int4").await.unwrap();
        for value in 0..10 {
            client.query_one(&statement, &[&value]).await.unwrap();
        }
        client.batch_execute("begin").await.unwrap();
        client.batch_execute("select pg_sleep(0.01)").await.unwrap();
        client.batch_execute("commit").await.unwrap();
        statements.push(statement);
    }
    let after = find(&show(&console, "stats").await, "database", "app").clone();
    let grown = |column: &str| {
        let number = |row: &BTreeMap<String, String>| row[column].parse::<u64>().unwrap();
        number(&after) - number(&before)
    };
    assert_eq!(grown("total_xact_count"), 3 * (1 + 10 + 1));
    assert_eq!(grown("total_query_count"), 3 * (1 + 10 + 3));
    assert_eq!(grown("total_requests"), grown("total_query_count"));
    assert_eq!(grown("total_server_assignment_count"), 3 * 12);
    assert_eq!(grown("total_client_parse_count"), 3);
    assert!((1..=3).contains(&grown("total_server_parse_count")));
    assert_eq!(grown("total_bind_count"), 30);
    assert_eq!(grown("total_client_login_count"), 0);
    assert_eq!(after["total_client_login_count"], "3");
    assert!(grown("total_query_time") >= 30_000 && grown("total_xact_time") >= 30_000);
    assert!(grown("total_xact_time") >= grown("total_query_time"));
    assert!(grown("total_received") > 1000 && grown("total_sent") > 1000);
    let totals = show(&console, "totals").await;
    let binds = &find(&totals, "name", "total_ps_bind_count")["value"];
    assert_eq!(*binds, after["total_bind_count"]);
}

#[test]
fn psql_asks_and_is_told() {
    let world = start(1, TWO_CORES);
    let psql = |user: &str, script: &str| {
        let mut psql = world.psql_command();
        psql.args(["-A", "-t", "-q", "-U", user, "-d", "pgherd"]);
        let output = feed(&mut psql, script);
        (text(&output.stdout), text(&output.stderr))
    };
    let (printed, errors) = psql(STATS, "show version; show state;\nSELECT version;");
    let version = format!("PgBouncer 1.25.2 (pgherd {})\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(printed, format!("{version}active|yes\npaused|no\nsuspended|no\n{version}"));
    assert_eq!(errors, "");
    let (printed, errors) = psql(ADMIN, "show help;\nnonsense 1;\nshow timezone;");
    assert_eq!(printed, "GMT\n");
    assert!(errors.contains("NOTICE:  Console usage") && errors.contains("SHOW HELP|DATABASES"));
    assert!(errors.contains("ERROR:  invalid command 'nonsense 1', use SHOW HELP;"), "{errors}");
    let (_, errors) = psql(STATS, "reload");
    assert!(errors.contains("admin access needed"), "{errors}");
    let (_, errors) = psql(cluster::USER, "");
    assert!(errors.contains("not allowed"), "{errors}");
    let (printed, _) = psql(STATS, "show nodes;\nshow routes;");
    for line in ["coordinator|coordinator|coordinator|", "coordinator-r1|coordinator|replica|"] {
        assert!(printed.contains(line), "{printed}");
    }
    assert!(printed.contains("coordinator|read|coordinator-r1|yes|"), "{printed}");
}

const TRUSTING: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n";

const AT_CONSOLE: [(&str, &str); 2] = [("user", STATS), ("database", "pgbouncer")];

#[tokio::test]
async fn for_a_console_that_reads_nothing_no_more_than_one_answer_is_kept() {
    let world = start(0, TRUSTING);
    let other = console(&world, ADMIN).await;
    for (queries, statements) in [(1500, 1), (15, 100)] {
        let mut lazy = Raw::log_in(&world, &AT_CONSOLE);
        let mut out = Vec::new();
        let query = "show config;".repeat(statements);
        (0..queries).for_each(|_| frontend::put_query(&mut out, &query));
        lazy.send(&out);
        let kept = loop {
            let sockets = show(&other, "sockets").await;
            let kept: usize = find(&sockets, "user", STATS)["send_remain"].parse().unwrap();
            if kept > 0 {
                break kept;
            }
        };
        let mut one = 0;
        for _ in 0..queries {
            let answer = lazy.until('Z');
            assert_eq!(answer.iter().filter(|(tag, _)| *tag == 'C').count(), statements);
            one = answer.iter().map(|(_, body)| 5 + body.len()).sum::<usize>() / statements;
        }
        assert!(kept <= one + 64, "{kept} bytes are kept, and an answer is of {one}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_in_the_middle_of_a_message_to_the_console_is_told_that_pgherd_stops() {
    let mut world = start(0, TRUSTING);
    let other = console(&world, ADMIN).await;
    let mut half = Raw::log_in(&world, &AT_CONSOLE);
    half.send(b"Q\0\0");
    while find(&show(&other, "sockets").await, "user", STATS)["pkt_avail"] != "3" {
        tokio::task::yield_now().await;
    }
    drop(other);
    world.server().stopper().stop();
    let told = std::thread::spawn(move || text_of(half.until('E').pop().unwrap()).unwrap());
    world.wait_stopped();
    let told = told.join().unwrap();
    assert_eq!(told, "57P01: terminating connection because pgherd is shutting down");
}
