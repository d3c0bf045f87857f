//! Replication through the proxy: each client that asks for it has a backend for itself.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::path::Path;
use std::process::{Child, Command, Stdio};

use pgherd_lab::node::StopMode;
use pgherd_lab::{Cluster, ClusterSpec, Engine, cluster};
use pgherd_wire::{frame, frontend};
use world::raw::{Message, Raw, copy_data, text_of};
use world::{World, text, until};

/// No more than one backend in each pool, and every limit on a client's time.
const ONE: &str = "[listen]\nport = 0\nworkers = 2\nquery_timeout = \"1s\"\n\
     transaction_timeout = \"1s\"\nidle_transaction_timeout = \"1s\"\nclient_idle_timeout = \"1s\"\n\
     [pool]\nsize = 1\n[health]\ninterval = \"100ms\"\n";

/// The same for clients that are believed who they are, with time enough.
const TRUSTING: &str = "[listen]\nport = 0\nworkers = 1\nauth = \"trust\"\n\
     [pool]\nsize = 1\n[health]\ninterval = \"100ms\"\n";

const LOGICAL: (&str, &str) = ("replication", "database");

fn world(replicas: u16, more: &str) -> World {
    let spec = ClusterSpec {
        coordinator_replicas: replicas,
        settings: vec!["wal_level = logical".to_owned()],
        ..ClusterSpec::default()
    };
    let world = World::before(Cluster::start(&spec).unwrap(), |_| {}, more);
    world.node("coordinator").psql("alter role app replication").unwrap();
    world
}

/// A program of PostgreSQL that connects to the proxy.
fn program(world: &World, name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(Engine::find().unwrap().program(name));
    command
        .args(["-h", &world.address().ip().to_string()])
        .args(["-p", &world.address().port().to_string()])
        .args(["-U", cluster::USER])
        .args(arguments)
        .env("PGPASSWORD", cluster::PASSWORD);
    command
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Ends with the test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Those that stream from a node through the proxy.
fn streams_from(world: &World, node: &str) -> usize {
    let count = "select count(*) from pg_stat_replication where usename = 'app'";
    world.node(node).psql(count).unwrap().parse().unwrap()
}

fn nothing_is_left(world: &World) {
    until("no backend is left", || {
        streams_from(world, "coordinator") == 0 && world.backends_at("coordinator") <= 1
    });
}

fn psql(world: &World, options: &str, sql: &str) -> String {
    let mut command = Command::new(Engine::find().unwrap().program("psql"));
    let (ip, port) = (world.address().ip(), world.address().port());
    let options = format!("host={ip} port={port} user={} {options}", cluster::USER);
    command.args(["-X", "-A", "-t", &options, "-c", sql]).env("PGPASSWORD", cluster::PASSWORD);
    let output = command.output().unwrap();
    text(&output.stdout) + &text(&output.stderr)
}

/// Begins to stream on a connection that replicates; what came up to the beginning.
fn begin_stream(client: &mut Raw, slot: &str) -> Message {
    client.query(&format!("CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding"));
    start(client, &format!("START_REPLICATION SLOT {slot} LOGICAL 0/0"));
    client.next().unwrap()
}

fn start(client: &mut Raw, command: &str) {
    let mut out = Vec::new();
    frontend::put_query(&mut out, command);
    client.send(&out);
}

/// What comes up to the end of a connection, but for data: types of messages, and texts of errors.
fn rest(client: &mut Raw) -> (String, Vec<String>) {
    let (mut tags, mut errors) = (String::new(), Vec::new());
    while let Some(message) = client.next() {
        if message.0 != 'd' {
            tags.push(message.0);
            errors.extend(text_of(message));
        }
    }
    (tags, errors)
}

/// The same, with everything confirmed that comes; types of messages.
fn confirmed_rest(client: &mut Raw) -> Vec<String> {
    let mut tags = Vec::new();
    while let Some((tag, body)) = client.next() {
        match tag {
            'd' if body[0] == b'k' => {
                status(client, u64::from_be_bytes(body[1..9].try_into().unwrap()));
            }
            'd' => {}
            tag => tags.push(tag.to_string()),
        }
    }
    tags
}

/// Says up to where it has everything.
fn status(client: &mut Raw, position: u64) {
    let position = position.to_be_bytes();
    let mut out = Vec::new();
    frame::put(&mut out, b'd', |out| {
        out.push(b'r');
        [position, position, position, [0; 8]].iter().for_each(|field| out.extend(field));
        out.push(0);
    });
    client.send(&out);
}

#[test]
fn a_logical_connection_knows_both_kinds_of_commands_and_a_physical_one_needs_no_database() {
    let world = world(0, ONE);
    let coordinator = world.node("coordinator");
    let system = coordinator.psql("select system_identifier from pg_control_system()").unwrap();
    for options in ["dbname=app replication=database", "dbname=nowhere replication=yes"] {
        let identified = psql(&world, options, "IDENTIFY_SYSTEM");
        assert!(identified.starts_with(&format!("{system}|1|")), "{options}: {identified}");
    }
    // What is asked for at the login is there, and what is set is not set back.
    let options = "dbname=app replication=database application_name=mine \
                   options='-c work_mem=1234kB'";
    let shown = psql(
        &world,
        options,
        "select current_database(), current_setting('application_name'), \
         current_setting('work_mem'), set_config('work_mem', '4MB', false)",
    );
    assert_eq!(shown, "app|mine|1234kB|4MB\n");
    assert!(psql(&world, "dbname=nowhere replication=database", "select 1").contains("nowhere"));
    nothing_is_left(&world);
}

#[test]
fn a_base_backup_with_its_wal_is_what_the_node_holds() {
    let world = world(0, ONE);
    world.psql("create table t as select generate_series(1, 100000) as id");
    let folder = tempfile::tempdir().unwrap();
    for format in ["plain", "tar"] {
        let to = folder.path().join(format);
        let to = to.to_str().unwrap();
        let arguments = ["-D", to, "-X", "stream", "-c", "fast", "--no-sync", "-F", format];
        succeeds(program(&world, "pg_basebackup", &arguments));
        nothing_is_left(&world);
    }
    let verify = Engine::find().unwrap().program("pg_verifybackup");
    let mut verify = Command::new(verify);
    verify.arg(folder.path().join("plain"));
    succeeds(verify);
}

fn files_in(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn two_streams_go_on_beside_a_pool_of_one_and_leave_nothing_behind() {
    let world = world(0, ONE);
    let coordinator = world.node("coordinator");
    world.psql("create table t (id int)");
    let folder = tempfile::tempdir().unwrap();
    let (wal, changes) = (folder.path().join("wal"), folder.path().join("changes"));
    std::fs::create_dir(&wal).unwrap();
    let receives = program(&world, "pg_receivewal", &["-D", wal.to_str().unwrap(), "--no-loop"]);
    let receives = Running::start(receives);
    let slot = ["-d", "app", "--slot", "changes"];
    let recvlogical =
        |more: &[&str]| program(&world, "pg_recvlogical", &[&slot[..], more].concat());
    succeeds(recvlogical(&["--create-slot", "-P", "test_decoding"]));
    let to = ["--start", "--no-loop", "-F", "0", "-f", changes.to_str().unwrap()];
    let decodes = Running::start(recvlogical(&to));
    until("both stream", || streams_from(&world, "coordinator") == 2);

    // Longer than any time that a client has.
    let segment = coordinator.psql("select pg_walfile_name(pg_current_wal_lsn())").unwrap();
    let mut number = 0;
    let began = coordinator.psql("select now()").unwrap();
    let is_over = format!("select clock_timestamp() > '{began}'::timestamptz + interval '3 s'");
    until("three seconds of writes", || {
        number += 1;
        world.psql(&format!("insert into t values ({number})"));
        coordinator.psql(&is_over).unwrap() == "t"
    });
    coordinator.psql("select pg_switch_wal()").unwrap();
    until("the segment is received", || files_in(&wal).contains(&segment));
    let last = format!("table public.t: INSERT: id[integer]:{number}\n");
    until("the last change is decoded", || {
        std::fs::read_to_string(&changes).is_ok_and(|changes| changes.contains(&last))
    });
    assert_eq!(streams_from(&world, "coordinator"), 2);

    // The one says goodbye, the other is killed.
    let interrupted = Command::new("kill").args(["-INT", &decodes.0.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    until("one is gone", || streams_from(&world, "coordinator") == 1);
    drop(receives);
    nothing_is_left(&world);
    succeeds(recvlogical(&["--drop-slot"]));
    let said = coordinator.psql("select count(*) from pg_replication_slots").unwrap();
    assert_eq!((said.as_str(), coordinator.logs().contains("unexpected EOF")), ("0", false));
}

#[test]
fn a_standby_streams_through_the_proxy_and_finds_it_again() {
    let mut world = world(1, ONE);
    let replica = world.node("coordinator-r1").clone();
    let to = format!(
        "host=127.0.0.1 port={} user=app password={}",
        world.address().port(),
        cluster::PASSWORD
    );
    replica.psql(&format!("alter system set primary_conninfo = '{to}'")).unwrap();
    replica.psql("select pg_reload_conf()").unwrap();
    until("it streams through the proxy", || streams_from(&world, "coordinator") == 1);
    world.psql("create table t as select generate_series(1, 10000) as id");
    replica.wait_caught_up(world.node("coordinator")).unwrap();

    // The walreceiver is told to go and comes back.
    let walsender = "select pg_terminate_backend(pid) from pg_stat_replication";
    world.node("coordinator").psql(walsender).unwrap();
    world.psql("insert into t select generate_series(1, 10000)");
    replica.wait_caught_up(world.node("coordinator")).unwrap();
    assert_eq!(replica.psql("select count(*) from t").unwrap(), "20000");

    // What streams is closed by a proxy that stops, and does not hold it up.
    world.server().stopper().stop();
    world.wait_stopped();
    until("the stream is closed", || streams_from(&world, "coordinator") == 0);
    let told = "terminating connection because pgherd is shutting down";
    until("it was told why", || replica.logs().contains(told));
}

#[test]
fn a_stream_is_cancelled_and_its_connection_goes_on() {
    let world = world(0, TRUSTING);
    let mut client = Raw::log_in(&world, &[LOGICAL]);
    assert_eq!(begin_stream(&mut client, "s").0, 'W');
    client.cancel(&world);
    let error = client.until('E').pop().and_then(text_of).unwrap();
    assert!(error.starts_with("57014"), "{error}");
    client.until('Z');
    // Sent before it had heard of it.
    status(&mut client, 0);
    let mut out = Vec::new();
    frame::put(&mut out, b'c', |_| {});
    client.send(&out);
    assert_eq!(client.query("select 1"), ["1"]);

    // Both sides end it.
    assert_eq!(begin_stream(&mut client, "s2").0, 'W');
    client.send(&out);
    client.until('c');
    client.until('Z');
    assert_eq!(client.query("select 2"), ["2"]);
    drop(client);
    nothing_is_left(&world);
}

#[test]
fn a_client_that_does_not_read_is_heard() {
    let world = world(0, TRUSTING);
    let coordinator = world.node("coordinator");
    let mut client = Raw::log_in(&world, &[("replication", "true")]);
    let first = client.query("IDENTIFY_SYSTEM");
    assert_eq!(first.len(), 1);
    let lsn = coordinator.psql("select pg_current_wal_lsn()").unwrap();
    start(&mut client, &format!("START_REPLICATION PHYSICAL {lsn}"));
    assert_eq!(client.next().unwrap().0, 'W');
    world.psql("create table t as select repeat('x', 1000) from generate_series(1, 60000)");
    let sent = "select sent_lsn from pg_stat_replication where sent_lsn < pg_current_wal_lsn()";
    let mut seen = Vec::new();
    until("the node waits for the client", || {
        seen.push(coordinator.psql(sent).unwrap());
        let last = seen.last().unwrap();
        !last.is_empty() && seen.iter().rev().take_while(|sent| *sent == last).count() == 5
    });
    status(&mut client, 0x7777);
    let heard = "select flush_lsn from pg_stat_replication";
    until("what it says has arrived", || coordinator.psql(heard).unwrap() == "0/7777");
    // And everything that was held back comes as soon as it reads.
    let end = coordinator.psql("select pg_current_wal_lsn() - '0/0'").unwrap();
    let end: u64 = end.parse().unwrap();
    loop {
        let (tag, body) = client.next().unwrap();
        assert_eq!(tag, 'd');
        let at = u64::from_be_bytes(body[1..9].try_into().unwrap());
        if body[0] == b'w' && at + (body.len() as u64 - 25) >= end {
            break;
        }
    }
    drop(client);
    nothing_is_left(&world);
}

#[test]
fn a_client_that_leaves_in_the_middle_leaves_nothing_behind() {
    let world = world(0, TRUSTING);
    world.psql("create table t as select repeat('x', 1000) from generate_series(1, 60000)");
    for command in ["BASE_BACKUP (CHECKPOINT 'fast')", "select pg_sleep(1000)"] {
        let mut client = Raw::log_in(&world, &[LOGICAL]);
        start(&mut client, command);
        if command.starts_with("BASE") {
            client.until('H');
        }
        drop(client);
        nothing_is_left(&world);
    }
    let mut client = Raw::log_in(&world, &[LOGICAL]);
    assert_eq!(begin_stream(&mut client, "s").0, 'W');
    // Half a message.
    let mut out = Vec::new();
    copy_data(&mut out, "r and so on");
    client.send(&out[..9]);
    drop(client);
    nothing_is_left(&world);
}

#[test]
fn what_ends_a_stream_is_told_once() {
    let mut world = world(0, TRUSTING);
    let streaming = |world: &World| {
        let mut client = Raw::log_in(world, &[LOGICAL]);
        assert_eq!(begin_stream(&mut client, "s").0, 'W');
        client
    };
    // The node says it itself.
    let mut client = streaming(&world);
    let ended = "select pg_terminate_backend(pid) from pg_stat_replication";
    world.node("coordinator").psql(ended).unwrap();
    let (tags, errors) = rest(&mut client);
    assert_eq!(tags, "E");
    assert!(errors[0].starts_with("57P01"), "{errors:?}");
    // It ends the stream once everything has been confirmed, and closes.
    let mut client = streaming(&world);
    let client = std::thread::spawn(move || confirmed_rest(&mut client));
    world.node("coordinator").restart(StopMode::Fast).unwrap();
    assert_eq!(client.join().unwrap(), ["C"]);
    // It says nothing.
    until("the node is back", || Raw::log_in(&world, &[]).query("select 1") == ["1"]);
    let mut client = streaming(&world);
    world.node("coordinator").kill().unwrap();
    let (tags, errors) = rest(&mut client);
    assert_eq!(tags, "E");
    assert!(
        errors[0].starts_with("08006") && errors[0].contains("while it served replication"),
        "{errors:?}"
    );
    world.node("coordinator").start().unwrap();
    until("the node is back", || Raw::log_in(&world, &[]).query("select 1") == ["1"]);
    // The proxy stops.
    let mut client = streaming(&world);
    world.server().stopper().stop();
    let (tags, errors) = rest(&mut client);
    assert_eq!(tags, "E");
    assert!(errors[0].starts_with("57P01"), "{errors:?}");
    world.wait_stopped();
}

#[test]
fn a_stream_that_begins_while_the_proxy_stops_ends_with_it() {
    let mut world = world(0, TRUSTING);
    let mut client = Raw::log_in(&world, &[LOGICAL]);
    client.query("CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding");
    // Holds the other one up until it is dismissed itself.
    let mut holder = Raw::log_in(&world, &[]);
    holder.query("select pg_advisory_lock(1)");
    let mut out = Vec::new();
    frontend::put_query(&mut out, "select pg_advisory_lock(1)");
    frontend::put_query(&mut out, "START_REPLICATION SLOT s LOGICAL 0/0");
    client.send(&out);
    let waits = "select count(*) from pg_stat_activity where wait_event = 'advisory'";
    until("it waits", || world.node("coordinator").psql(waits).unwrap() == "1");
    world.server().stopper().stop();
    let (tags, errors) = rest(&mut client);
    assert_eq!(tags, "TDCZWE", "{errors:?}");
    assert!(errors[1].starts_with("57P01"), "{errors:?}");
    world.wait_stopped();
}

#[test]
fn a_promotion_ends_streams_of_the_old_primary() {
    let world = world(1, TRUSTING);
    let mut client = Raw::log_in(&world, &[LOGICAL]);
    let timeline =
        |client: &mut Raw| client.query("select timeline_id from pg_control_checkpoint()");
    assert_eq!(timeline(&mut client), ["1"]);
    assert_eq!(begin_stream(&mut client, "s").0, 'W');
    world.node("coordinator-r1").promote().unwrap();
    let (tags, errors) = rest(&mut client);
    assert_eq!(tags, "E");
    assert!(errors[0].starts_with("08006"), "{errors:?}");
    nothing_is_left(&world);
    // And the next one is of the new one.
    let mut client = Raw::log_in(&world, &[LOGICAL]);
    world.node("coordinator-r1").psql("checkpoint").unwrap();
    assert_eq!(timeline(&mut client), ["2"]);
}

#[test]
fn who_may_not_replicate_hears_it_from_the_node_and_limits_hold() {
    let limit = "[listen]\nport = 0\nworkers = 2\nauth = \"trust\"\n\
                 [pool]\nmax_backends_per_user = 2\nacquire_timeout = \"300ms\"\n";
    let world = world(0, limit);
    let coordinator = world.node("coordinator");
    // Ordinary backends that are idle make room.
    assert_eq!(Raw::log_in(&world, &[]).query("select 1"), ["1"]);
    let first = Raw::log_in(&world, &[LOGICAL]);
    let second = Raw::log_in(&world, &[("replication", "1")]);
    for parameters in [&[LOGICAL][..], &[("replication", "on")]] {
        let (tags, errors) = rest(&mut Raw::start(&world, parameters));
        assert_eq!(tags, "E");
        assert!(
            errors[0].starts_with("53300") && errors[0].contains("no free backend"),
            "{errors:?}"
        );
    }
    drop((first, second));
    nothing_is_left(&world);
    assert_eq!(Raw::log_in(&world, &[LOGICAL]).query("select 1"), ["1"]);

    coordinator.psql("alter role app noreplication").unwrap();
    let (tags, errors) = rest(&mut Raw::start(&world, &[LOGICAL]));
    assert_eq!(tags, "E");
    assert!(errors[0].starts_with("42501"), "{errors:?}");
    // Nor what the node does not know.
    coordinator.psql("alter role app replication").unwrap();
    let bad = [LOGICAL, ("work_mem", "much")];
    let (_, errors) = rest(&mut Raw::start(&world, &bad));
    assert!(errors[0].starts_with("22023"), "{errors:?}");
    assert_eq!(Raw::log_in(&world, &[]).query("select 1"), ["1"]);
}
