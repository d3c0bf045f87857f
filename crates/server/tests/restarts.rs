//! Clients on a Unix socket; settings that are read again, and a new process in the place of the old
//! one, while clients are at work.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};

use pgherd_core::Settings;
use pgherd_core::settings::AuthMethod;
use pgherd_lab::{Cluster, ClusterSpec, Engine, Pgbench, PgbenchReport, cluster};
use pgherd_server::{Inherited, Server};
use pgherd_wire::{frontend, startup};
use tempfile::TempDir;
use world::raw::{Raw, send_cancel, text_of};
use world::{World, eventually, feed, text, until};

/// A proxy with a Unix socket in a folder that everybody may see.
fn with_unix_socket(more: &str) -> (World, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let more = format!(
        "[listen]\nport = 0\nworkers = 2\nadmin_users = [\"app\"]\nunix_socket_dir = \"{}\"\n\
         address = \"127.0.0.1, 127.0.0.2\"\n{more}",
        folder.path().display()
    );
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    (World::before(cluster, |_| {}, &more), folder)
}

/// The settings that a world was started with, with the port that it was given.
fn settings_of(world: &World, folder: &Path) -> Settings {
    let more = format!(
        "[listen]\nport = {}\nworkers = 2\nadmin_users = [\"app\"]\nunix_socket_dir = \"{}\"\n\
         address = \"127.0.0.1, 127.0.0.2\"\n",
        world.address().port(),
        folder.display()
    );
    Settings::from_toml(&world.cluster.settings_toml(&more), "test").unwrap()
}

fn psql(host: &str, port: u16, database: &str, sql: &str) -> String {
    let output = psql_output(host, port, database, sql);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

fn psql_output(host: &str, port: u16, database: &str, sql: &str) -> Output {
    let mut psql = Command::new(Engine::find().unwrap().program("psql"));
    psql.args(["-XAtq", "-h", host, "-p", &port.to_string(), "-U", cluster::USER, "-d", database])
        .env("PGPASSWORD", cluster::PASSWORD);
    feed(&mut psql, sql)
}

#[test]
fn clients_come_over_a_unix_socket_and_over_each_address() {
    let (mut world, folder) = with_unix_socket("");
    let (host, port) = (folder.path().to_str().unwrap(), world.address().port());
    for host in [host, "127.0.0.1", "127.0.0.2"] {
        assert_eq!(psql(host, port, cluster::DATABASE, "select 1"), "1");
    }
    let clients = psql(host, port, "pgbouncer", "show clients");
    assert!(clients.contains("|unix|"), "{clients}");
    // There is no TLS on it, and a client that would like some goes on without.
    assert_eq!(psql(host, port, "pgbouncer", "show clients").matches("TLS").count(), 0);

    let file = folder.path().join(format!(".s.PGSQL.{port}"));
    UnixStream::connect(&file).unwrap();
    world.server().stopper().stop();
    world.wait_stopped();
    assert!(!file.exists(), "the file stays");
}

#[test]
fn a_process_that_takes_over_gives_the_socket_its_mode_and_group() {
    let (world, folder) = with_unix_socket("");
    let file = folder.path().join(format!(".s.PGSQL.{}", world.address().port()));
    let mode = || std::fs::metadata(&file).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o777);
    let mut settings = settings_of(&world, folder.path());
    settings.listen.unix_socket_mode = "0700".to_owned();
    settings.listen.unix_socket_group = std::fs::metadata(&file).unwrap().gid().to_string();
    // One that does not start has changed nothing.
    let mut wrong = settings.clone();
    (wrong.listen.auth, wrong.listen.hba_file) = (AuthMethod::Hba, "no-such-file".to_owned());
    let before = Inherited::take_over(&wrong.listen).unwrap().unwrap();
    Server::start_inheriting(&wrong, before).unwrap_err();
    assert_eq!(mode(), 0o777);
    let mut unknown = settings.clone();
    unknown.listen.unix_socket_group = "nobody is called so".to_owned();
    let before = Inherited::take_over(&unknown.listen).unwrap().unwrap();
    let refused = Server::start_inheriting(&unknown, before).unwrap_err();
    assert!(refused.to_string().contains("cannot listen on the Unix socket"), "{refused}");

    let second = take_over(&settings);
    assert_eq!(mode(), 0o700);
    second.stopper().stop();
}

/// Starts another proxy in the place of a world's.
fn take_over(settings: &Settings) -> Server {
    let before = Inherited::take_over(&settings.listen).unwrap();
    let before = before.expect("somebody is there");
    Server::start_inheriting(settings, before).unwrap()
}

#[test]
fn old_clients_stay_with_the_old_process_which_ends_with_the_last() {
    let (mut world, folder) = with_unix_socket("auth = \"trust\"\n");
    let settings = settings_of(&world, folder.path());
    let mut client = Raw::start_at(world.address(), startup::PROTOCOL_3_0, &[]);
    client.until('Z');

    let second = take_over(&settings);
    assert_eq!(second.addresses(), world.server().addresses());
    client.sleep(&world);
    // It arrives at the new process, and is for a client of the old one.
    send_cancel(world.address(), client.key());
    let said: Vec<String> = client.until('Z').into_iter().filter_map(text_of).collect();
    assert_eq!(said, ["57014: canceling statement due to user request"]);

    // A third one, after the second has served: the key travels over both.
    let third = take_over(&settings);
    second.wait().unwrap();
    let port = world.address().port();
    for host in [folder.path().to_str().unwrap(), "127.0.0.1", "127.0.0.2"] {
        assert_eq!(psql(host, port, cluster::DATABASE, "select 1"), "1");
    }
    let served: u64 = third.statistics().iter().map(|node| node.batches).sum();
    assert!(served > 0, "the third has served nobody");

    drop(client);
    world.wait_stopped();
    third.stopper().stop();
    third.wait().unwrap();
}

#[test]
fn a_process_that_does_not_start_takes_nothing_over() {
    let (world, folder) = with_unix_socket("");
    let mut settings = settings_of(&world, folder.path());
    let before = Inherited::take_over(&settings.listen).unwrap().unwrap();
    settings.users.clear();
    Server::start_inheriting(&settings, before).unwrap_err();
    // Nor one that has the sockets already when it finds out.
    let mut settings = settings_of(&world, folder.path());
    let before = Inherited::take_over(&settings.listen).unwrap().unwrap();
    (settings.listen.auth, settings.listen.hba_file) = (AuthMethod::Hba, "no-such-file".to_owned());
    Server::start_inheriting(&settings, before).unwrap_err();
    let port = world.address().port();
    for host in [folder.path().to_str().unwrap(), "127.0.0.1"] {
        assert_eq!(psql(host, port, cluster::DATABASE, "select 1"), "1");
    }
    // It can still be asked.
    let settings = settings_of(&world, folder.path());
    let second = take_over(&settings);
    second.stopper().stop();
}

#[test]
fn a_process_that_stops_leaves_its_place_to_who_has_asked_for_it() {
    let (mut world, folder) = with_unix_socket("");
    let mut settings = settings_of(&world, folder.path());
    settings.listen.auth = AuthMethod::Trust;
    let before = Inherited::take_over(&settings.listen).unwrap().unwrap();
    world.server().stopper().stop();
    world.wait_stopped();
    let second = Server::start_inheriting(&settings, before).unwrap();
    let port = world.address().port();
    for host in [folder.path().to_str().unwrap(), "127.0.0.1"] {
        assert_eq!(psql(host, port, cluster::DATABASE, "select 1"), "1");
    }

    // From one that is stopping already there is nothing to be had: another one just starts.
    let mut client = Raw::start_at(world.address(), startup::PROTOCOL_3_0, &[]);
    client.until('Z');
    let mut out = Vec::new();
    frontend::put_query(&mut out, "begin");
    client.send(&out);
    client.until('Z');
    second.stopper().stop();
    until("it accepts no more", || std::net::TcpStream::connect(world.address()).is_err());
    assert!(Inherited::take_over(&settings.listen).unwrap().is_none());
    let third = Server::start(&settings).unwrap();
    drop(client);
    second.wait().unwrap();
    assert_eq!(psql("127.0.0.1", port, cluster::DATABASE, "select 1"), "1");
    third.stopper().stop();
}

#[test]
fn reload_applies_what_it_can_and_refuses_what_is_wrong() {
    let (world, folder) = with_unix_socket("");
    let file = Arc::new(Mutex::new(Ok(settings_of(&world, folder.path()))));
    let source = Arc::clone(&file);
    let reloader = world.server().reload_from(move || source.lock().unwrap().clone());
    let port = world.address().port();
    let at_console = |sql: &str| psql_output("127.0.0.1", port, "pgbouncer", sql);
    let size = || {
        let shown = text(&at_console("show config").stdout);
        let line = shown.lines().find(|line| line.starts_with("pool.size|")).unwrap();
        line.split('|').nth(1).unwrap().to_owned()
    };
    let before = size();

    *file.lock().unwrap() = Err("pgherd.toml:3: pool.size: 0 is out of range".to_owned());
    let refused = text(&at_console("reload").stderr);
    assert!(refused.contains("RELOAD failed: pgherd.toml:3: pool.size"), "{refused}");
    assert_eq!(size(), before);

    let mut changed = settings_of(&world, folder.path());
    changed.pool.size = 3;
    changed.listen.workers = 1;
    *file.lock().unwrap() = Ok(changed);
    let done = at_console("reload");
    assert!(done.stderr.is_empty(), "{}", text(&done.stderr));
    assert_eq!(size(), "3");
    // Once more, and there is nothing left but what needs a new process: the port was any free one.
    let again = reloader.reload().unwrap();
    assert_eq!(again.applied, Vec::<String>::new());
    assert_eq!(again.needs_restart, ["listen.port", "listen.workers"]);

    // The pools that are there have it.
    Pgbench::initialize(world.node("coordinator").address(), 1).unwrap();
    world.pgbench(&["-n", "-c", "8", "-t", "50", "-S"]);
    assert!(world.backends_at("coordinator") <= 3);
}

#[tokio::test]
async fn reload_takes_users_passwords_and_databases() {
    let listed = "[[database]]\nname = \"app\"\n[[database]]\nname = \"old\"\ndatabase = \"app\"\n";
    let world = World::before(Cluster::start(&ClusterSpec::default()).unwrap(), |_| {}, listed);
    let node = world.node("coordinator");
    node.psql("create database other").unwrap();
    let (app, old) = (world.connect().await, world.try_connect("dbname=old").await.unwrap());
    let name = "select current_database()::text";
    assert_eq!(ask(&old, name).await, "app");

    node.psql("alter role app password 'changed'").unwrap();
    // One more backend, which the server refuses by the password that is known yet.
    let second = world.connect().await;
    app.batch_execute("begin").await.unwrap();
    second.simple_query("select 1").await.unwrap_err();
    app.batch_execute("commit").await.unwrap();
    node.psql("create role clerk login password 'clerk-secret'").unwrap();
    let text = world.cluster.settings_toml(
        "[[user]]\nname = \"clerk\"\npassword = \"clerk-secret\"\n\
         [[database]]\nname = \"app\"\ndatabase = \"other\"\n\
         [[database]]\nname = \"new\"\ndatabase = \"app\"\nuser = \"clerk\"\n",
    );
    let text = text.replace(&format!("\"{}\"", cluster::PASSWORD), "\"changed\"");
    let settings = Settings::from_toml(&text, "test").unwrap();
    let outcome = world.server().reload_from(move || Ok(settings.clone())).reload().unwrap();
    let applied = ["user app", "user clerk", "database app", "database new"];
    assert_eq!(outcome.applied[..4], applied, "{outcome:?}");

    // Who was there stays, also in a database that is no more; and has what its name means now.
    assert_eq!(ask(&old, name).await, "app");
    assert_eq!(ask(&app, name).await, "other");
    let refused = |options: &str| {
        let options = options.to_owned();
        let world = &world;
        async move {
            let error = world.try_connect(&options).await.err().unwrap();
            error.code().unwrap().code().to_owned()
        }
    };
    assert_eq!(refused("").await, "28P01", "by the password that it had");
    assert_eq!(refused("password=changed dbname=old").await, "3D000");
    let again = world.try_connect("password=changed").await.unwrap();
    assert_eq!(ask(&again, name).await, "other");
    for who in ["password=changed", "user=clerk password=clerk-secret"] {
        let new = world.try_connect(&format!("{who} dbname=new")).await.unwrap();
        let both = "select current_database() || ' ' || session_user";
        assert_eq!(ask(&new, both).await, "app clerk");
    }

    // The node is still watched: by the password that it has now.
    node.psql("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'pgherd/%'")
        .unwrap();
    let is_watched = "select count(*) from pg_stat_activity where application_name like 'pgherd/%'";
    eventually("it is watched again", || node.psql(is_watched).unwrap() == "1").await;
}

async fn ask(client: &tokio_postgres::Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

#[test]
fn under_load_nothing_fails_at_a_reload_and_a_take_over() {
    for connects_anew in [false, true] {
        let (world, folder) = with_unix_socket("max_clients = 200\n");
        let settings = settings_of(&world, folder.path());
        let port = world.address().port();
        Pgbench::initialize(world.node("coordinator").address(), 1).unwrap();
        let reloaded = settings.clone();
        let reloader = world.server().reload_from(move || Ok(reloaded.clone()));

        let (address, running) = (world.address(), Arc::new(Mutex::new(false)));
        let is_running = Arc::clone(&running);
        let load = std::thread::spawn(move || -> PgbenchReport {
            let mut arguments = vec!["-n", "-c", "50", "-j", "2", "-T", "8", "-P", "1", "-N"];
            arguments.extend(connects_anew.then_some("-C"));
            let mark = |_: &str| *is_running.lock().unwrap() = true;
            Pgbench::new(address, &arguments).run(mark).unwrap()
        });
        until("it runs", || *running.lock().unwrap());
        reloader.reload().unwrap();
        let second = take_over(&settings);
        let served = || -> u64 { second.statistics().iter().map(|node| node.batches).sum() };
        if connects_anew {
            until("new clients come to the new process", || served() > 0);
        }
        assert_eq!(psql("127.0.0.1", port, cluster::DATABASE, "select 1"), "1");
        let report = load.join().unwrap();
        assert_eq!(report.failed, 0);
        assert!(report.transactions > 0);
        second.stopper().stop();
    }
}

#[test]
fn at_a_stop_no_transaction_is_cut() {
    let (mut world, folder) = with_unix_socket("");
    let node = world.node("coordinator");
    node.psql("create table halves (x int); grant all on halves to app").unwrap();
    let script = folder.path().join("halves.sql");
    std::fs::write(
        &script,
        "begin;\ninsert into halves values (1);\ninsert into halves values (2);\nend;\n",
    )
    .unwrap();
    let mut pgbench = Command::new(Engine::find().unwrap().program("pgbench"));
    let child = pgbench
        .args(["-n", "-c", "50", "-j", "2", "-T", "60", "-h", "127.0.0.1"])
        .args(["-p", &world.address().port().to_string(), "-U", cluster::USER])
        .args(["-f", script.to_str().unwrap(), cluster::DATABASE])
        .env("PGPASSWORD", cluster::PASSWORD)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("it runs", || node.psql("select count(*) > 500 from halves").unwrap() == "t");
    world.server().stopper().stop();
    let output = child.wait_with_output().unwrap();
    world.wait_stopped();
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    let processed = "number of transactions actually processed: ";
    let processed = said.lines().find_map(|line| line.strip_prefix(processed)).unwrap();
    let processed: u64 = processed.split('/').next().unwrap().trim().parse().unwrap();
    let rows = world.node("coordinator").psql("select count(*) from halves").unwrap();
    assert_eq!(rows.parse::<u64>().unwrap(), 2 * processed, "{errors}");
    // Each was told why, and between two transactions.
    let told = errors.matches("terminating connection because pgherd is shutting down").count();
    assert_eq!(told, 50, "{errors}");
}
