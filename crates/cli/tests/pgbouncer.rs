//! `pgherd pgbouncer` beside PgBouncer, on the same files.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use pgherd_lab::{
    Cluster, ClusterSpec, Node, PgBouncer, Pooler, PoolerSpec, RunsAs, cluster, pooler,
};
use rustix::process::{Pid, Signal, geteuid, kill_process};

/// A coordinator with a login of each kind: `app`, of whom the password is known, `md` and `sc`, of
/// whom the md5 and the SCRAM secret are.
struct World {
    cluster: Cluster,
    userlist: String,
    program: PathBuf,
}

impl World {
    fn start() -> Self {
        let hba = vec!["host all md 127.0.0.1/32 md5".to_owned()];
        let spec = ClusterSpec { hba, shards: 1, ..ClusterSpec::default() };
        let cluster = Cluster::start(&spec).unwrap();
        let node = cluster.coordinator();
        node.psql("set password_encryption = 'md5'; create role md login password 'right'")
            .unwrap();
        node.psql("create role sc login password 'right'").unwrap();
        let secrets = "select string_agg(format('\"%s\" \"%s\"', rolname, rolpassword), chr(10)) \
                       from pg_authid where rolname in ('md', 'sc')";
        let secrets = node.psql(secrets).unwrap();
        let userlist = format!("\"app\" \"{}\"\n{secrets}\n", cluster::PASSWORD);
        // Where the servers' account finds it: its way to the build may be closed.
        let program = cluster.folder().join("pgherd");
        fs::copy(env!("CARGO_BIN_EXE_pgherd"), &program).unwrap();
        Self { cluster, userlist, program }
    }

    fn ini(&self, port: u16, more: &str) -> String {
        let (node, second) = (self.cluster.coordinator(), self.cluster.node("shard-0").unwrap());
        format!(
            "[databases]\napp = host={0} port={1}\nother = host={0} port={1} dbname=app pool_size=2\n\
             shared = host={0} port={1} dbname=app user=app\nsecond = host={0} port={2} dbname=app\n\
             behind = host={3} port={1} dbname=app\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
             auth_file = userlist.txt\nserver_login_retry = 0.1\nquery_wait_timeout = 5\n\
             ignore_startup_parameters = extra_float_digits\n{more}\n",
            node.host,
            node.port,
            second.port,
            folder(node)
        )
    }

    /// One of the two, under the servers' account.
    fn serve(&self, name: &str, program: PathBuf, arguments: &[&str], more: &str) -> Pooler {
        self.serve_ini(name, program, arguments, |port| self.ini(port, more))
    }

    /// The same with a whole ini, by the port that it is to listen at.
    fn serve_ini(
        &self,
        name: &str,
        program: PathBuf,
        arguments: &[&str],
        ini: impl Fn(u16) -> String,
    ) -> Pooler {
        let spec = |port| {
            Ok(PoolerSpec {
                name: name.to_owned(),
                program: program.clone(),
                arguments: arguments.iter().map(ToString::to_string).collect(),
                files: vec![
                    ("pgbouncer.ini".to_owned(), ini(port)),
                    ("userlist.txt".to_owned(), self.userlist.clone()),
                ],
                says: Some("listening".to_owned()),
                runs_as: RunsAs::Server,
            })
        };
        Pooler::start(&self.cluster, spec).unwrap()
    }

    fn pgherd(&self, more: &str) -> Pooler {
        self.serve("pgherd-proxy", self.program.clone(), &["pgbouncer", "pgbouncer.ini"], more)
    }

    fn pgbouncer(&self, more: &str) -> Pooler {
        let program = pooler::find("pgbouncer").unwrap();
        self.serve("pgbouncer", program, &["pgbouncer.ini"], more)
    }

    /// What psql prints, or complains of.
    fn ask(
        &self,
        port: u16,
        who: (&str, &str),
        database: &str,
        sql: &str,
    ) -> Result<String, String> {
        let mut psql = self.cluster.coordinator().psql_command();
        let (user, password) = who;
        let output = psql
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", user, "-d", database])
            .args(["-XAtw", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", sql])
            .env("PGPASSWORD", password)
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().trim().to_owned();
        match output.status.success() {
            true => Ok(text(output.stdout)),
            false => Err(text(output.stderr)),
        }
    }
}

/// The folder of a node's Unix socket.
fn folder(node: &Node) -> String {
    node.socket().parent().unwrap().display().to_string()
}

const APP: (&str, &str) = ("app", cluster::PASSWORD);

#[test]
fn both_answer_the_same_on_the_same_files() {
    if PgBouncer::is_missing() {
        return;
    }
    let world = World::start();
    for pool_mode in ["session", "transaction", "statement"] {
        let more = format!("auth_type = scram-sha-256\npool_mode = {pool_mode}");
        let poolers = [world.pgherd(&more), world.pgbouncer(&more)];
        for (database, sql) in [
            ("app", "select current_user, current_database(), 1 + 1"),
            ("other", "select current_database()"),
            ("shared", "select current_user"),
            ("second", "select inet_server_port()"),
            ("app", "select generate_series(1, 3)"),
            ("app", "select 1/0"),
            ("app", "select nothing"),
            ("app", "begin; select 1; commit"),
            ("app", "show extra_float_digits"),
            ("app", "copy (select 1, 'a') to stdout"),
            ("nowhere", "select 1"),
        ] {
            let [ours, theirs] = poolers
                .each_ref()
                .map(|pooler| world.ask(pooler.address().port(), APP, database, sql));
            match (&ours, &theirs) {
                // What a pooler says of itself it says in its own words.
                (Err(ours), Err(_)) if database == "nowhere" => {
                    assert!(ours.contains("database \"nowhere\" does not exist"), "{ours}");
                }
                (Err(ours), Err(theirs)) if ours.contains("transaction") => {
                    assert!(theirs.contains("transaction"), "{theirs}");
                }
                _ => assert_eq!(ours, theirs, "{pool_mode}: {sql}"),
            }
        }
    }
}

#[test]
fn both_reach_nodes_behind_unix_sockets_and_show_them_alike() {
    if PgBouncer::is_missing() {
        return;
    }
    let world = World::start();
    let (node, name) = (world.cluster.coordinator(), format!("@pgherd-{}", std::process::id()));
    let (folder, port) = (folder(node), node.port);
    let global = |port: u16, folder: &str| {
        format!(
            "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_file = userlist.txt\n\
             unix_socket_dir = {folder}\nauth_type = trust\nadmin_users = app\n\
             pool_mode = transaction\nserver_tls_sslmode = require\nserver_login_retry = 0.1\n\
             ignore_startup_parameters = extra_float_digits\n"
        )
    };
    let ours = ["pgbouncer", "pgbouncer.ini"];
    // What listens at an abstract name.
    let first = world.serve_ini("first", world.program.clone(), &ours, |own| {
        format!("[databases]\n* = host={folder} port={port}\n{}", global(own, &name))
    });
    let at = first.address().port();
    let ini = |own| {
        format!(
            "[databases]\napp = host={folder} port={port}\nabstract = host={name} port={at} dbname=app\n\
             mixed = host={folder},{folder}/nowhere port={port} dbname=app\n\
             unnamed = port={port} dbname=app\n{}",
            global(own, &folder)
        )
    };
    let theirs = pooler::find("pgbouncer").unwrap();
    let poolers = [
        world.serve_ini("pgherd-proxy", world.program.clone(), &ours, ini),
        world.serve_ini("pgbouncer", theirs, &["pgbouncer.ini"], ini),
    ];
    let [ours, theirs] = poolers.each_ref().map(|pooler| pooler.address().port());
    let served = "select current_user, current_database(), inet_server_addr() is null";
    for database in ["app", "abstract", "mixed", "unnamed"] {
        for port in [ours, theirs] {
            let said = world.ask(port, APP, database, served);
            assert_eq!(said.as_deref(), Ok("app|app|t"), "{database}");
        }
    }
    // Columns by their numbers: those of name, host and port.
    let shown = |port, table: &str, columns: &[usize]| {
        let shown = world.ask(port, APP, "pgbouncer", &format!("show {table}")).unwrap();
        let of = |line: &str| {
            let cells: Vec<&str> = line.split('|').collect();
            columns.iter().map(|at| cells[*at].to_owned()).collect::<Vec<_>>()
        };
        let mut rows: Vec<_> = shown.lines().map(of).collect();
        rows.sort();
        rows.dedup();
        rows.retain(|row| row[0] != "pgbouncer");
        rows
    };
    let databases = [0, 1, 2];
    let mut expected = shown(theirs, "databases", &databases);
    // What PgBouncer leaves empty is told here.
    expected.iter_mut().filter(|row| row[1].is_empty()).for_each(|row| row[1].clone_from(&folder));
    assert_eq!(shown(ours, "databases", &databases), expected);
    // Database, address, port and our own address: before the latter PgBouncer has no column
    // `replication` yet.
    let servers = [2, 5, 6, 7];
    let theirs_has = servers.map(|at| if at > 3 { at - 1 } else { at });
    assert_eq!(shown(ours, "servers", &servers), shown(theirs, "servers", &theirs_has));
    assert_eq!(shown(ours, "dns_hosts", &[0]), shown(theirs, "dns_hosts", &[0]));
}

#[test]
fn both_let_in_the_same_and_a_stranger_reads_as_a_wrong_password() {
    if PgBouncer::is_missing() {
        return;
    }
    let world = World::start();
    for (method, lets_in) in [
        ("trust", &["app", "md"][..]),
        ("plain", &["app", "md", "sc"]),
        ("md5", &["app", "md", "sc"]),
        ("scram-sha-256", &["app", "sc"]),
    ] {
        let more = format!("auth_type = {method}\npool_mode = transaction");
        let poolers = [world.pgherd(&more), world.pgbouncer(&more)];
        let ports = poolers.each_ref().map(|pooler| pooler.address().port());
        for user in ["app", "md", "sc"] {
            let right = if user == "app" { cluster::PASSWORD } else { "right" };
            let [ours, theirs] =
                ports.map(|port| world.ask(port, (user, right), "app", "select current_user"));
            if lets_in.contains(&user) {
                assert_eq!(ours.as_deref(), Ok(user), "{method}");
            } else {
                assert!(ours.is_err(), "{method} {user}: {ours:?}");
            }
            // PgBouncer does not log in to a node with the key of a client that came in plain.
            if (method, user) != ("plain", "sc") {
                assert_eq!(ours.is_ok(), theirs.is_ok(), "{method} {user}: {ours:?} {theirs:?}");
            }
        }
        let said = |port, user: &str| {
            let said = world.ask(port, (user, "wrong"), "app", "select 1").unwrap_err();
            said.replace(user, "USER")
        };
        if method == "trust" {
            let stranger = ports.map(|port| world.ask(port, ("nobody", ""), "app", "select 1"));
            assert!(stranger.iter().all(Result::is_err), "{stranger:?}");
            continue;
        }
        let wrong = said(ports[0], "sc");
        assert!(
            wrong.ends_with("FATAL:  password authentication failed for user \"USER\""),
            "{wrong}"
        );
        for user in ["app", "md", "nobody"] {
            assert_eq!(said(ports[0], user), wrong, "{method} {user}");
            assert!(said(ports[1], user).contains("authentication failed"), "{method} {user}");
        }
    }
}

/// A folder that the servers' account may write into.
fn open_folder(world: &World) -> PathBuf {
    let folder = world.cluster.folder().join("open");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

fn signal(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

/// Whether a process has ended; nobody may have waited for it yet, and what is left has no folder.
fn is_gone(pid: i32) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_err()
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// The files of a pgherd, which the servers' account may write beside, and its port.
fn installed(world: &World, more: &str) -> (PathBuf, u16) {
    let folder = open_folder(world);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!(
        "auth_type = scram-sha-256\npidfile = pgherd.pid\nlogfile = pgherd.log\nadmin_users = app\n\
         {more}"
    );
    fs::write(folder.join("pgbouncer.ini"), world.ini(port, &more)).unwrap();
    fs::write(folder.join("userlist.txt"), &world.userlist).unwrap();
    (folder, port)
}

fn run(world: &World, folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(&world.program);
    command.arg("pgbouncer").args(arguments).current_dir(folder).stdin(Stdio::null());
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// How it is started in the background, under an account that it runs as.
fn in_background() -> Vec<&'static str> {
    match geteuid().is_root() {
        true => vec!["-d", "-q", "-u", "postgres", "pgbouncer.ini"],
        false => vec!["--daemon", "--quiet", "pgbouncer.ini"],
    }
}

fn pid_in(pidfile: &Path) -> i32 {
    fs::read_to_string(pidfile).unwrap().trim().parse().unwrap()
}

#[test]
fn it_runs_in_the_background_under_another_user_and_obeys_signals() {
    let world = World::start();
    let (folder, port) =
        installed(&world, "pkt_buf = 1\nstats_period = 1\nlog_disconnections = 0\n");
    let run = |arguments: &[&str]| run(&world, &folder, arguments);
    let is_root = geteuid().is_root();
    if is_root {
        let refused = run(&["pgbouncer.ini"]);
        assert!(said(&refused).contains("does not run as root"), "{}", said(&refused));
    }
    let start = in_background();
    let started = run(&start);
    assert!(started.status.success(), "{}", said(&started));
    let pidfile = folder.join("pgherd.pid");
    let read_pid = || pid_in(&pidfile);
    let pid = read_pid();
    assert_eq!(world.ask(port, APP, "app", "select 1").as_deref(), Ok("1"));
    if is_root {
        let owner =
            std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).unwrap());
        assert_ne!(owner, 0);
    }
    let again = run(&start);
    assert!(!again.status.success() && said(&again).contains(&format!("names process {pid}")));

    let log = || fs::read_to_string(folder.join("pgherd.log")).unwrap_or_default();
    assert!(log().contains("pkt_buf has no effect"), "{}", log());
    assert!(log().contains("client logged in") && !log().contains("client left"), "{}", log());
    eventually("no statistics", || log().contains(" statistics transactions_per_second="));
    fs::rename(folder.join("pgherd.log"), folder.join("pgherd.log.1")).unwrap();
    signal(pid, Signal::HUP);
    eventually("no new log", || log().contains("settings are read again"));
    let is_paused =
        || world.ask(port, APP, "pgbouncer", "show state").unwrap().contains("paused|yes");
    signal(pid, Signal::USR1);
    eventually("it is not paused", is_paused);
    signal(pid, Signal::USR2);
    eventually("it stays paused", || !is_paused());
    assert_eq!(world.ask(port, APP, "app", "select 2").as_deref(), Ok("2"));
    signal(pid, Signal::TERM);
    eventually("it runs on", || is_gone(pid));
    eventually("the pidfile stays", || !pidfile.exists());

    // A pidfile that a crash has left is no obstacle.
    fs::write(&pidfile, "999999999\n").unwrap();
    fs::set_permissions(&pidfile, fs::Permissions::from_mode(0o666)).unwrap();
    let started = run(&start);
    assert!(started.status.success(), "{}", said(&started));
    let pid = read_pid();
    signal(pid, Signal::QUIT);
    eventually("the pidfile stays", || !pidfile.exists());
    eventually("it runs on", || is_gone(pid));

    fs::write(folder.join("pgbouncer.ini"), "[pgbouncer]\nfoo = 1\n").unwrap();
    let refused = run(&start);
    assert_eq!(refused.status.code(), Some(1));
    assert!(said(&refused).contains("pgbouncer.ini:2: foo: unknown"), "{}", said(&refused));
}

#[test]
fn a_reboot_takes_the_place_of_the_process_in_the_background() {
    let world = World::start();
    let (folder, port) = installed(&world, "unix_socket_dir = .\n");
    let start = in_background();
    let started = run(&world, &folder, &start);
    assert!(started.status.success(), "{}", said(&started));
    let pidfile = folder.join("pgherd.pid");
    let first = pid_in(&pidfile);
    let over_socket = || world.ask(port, APP, "behind", "select inet_server_addr() is null");
    assert_eq!(over_socket().as_deref(), Ok("t"));
    let log = || fs::read_to_string(folder.join("pgherd.log")).unwrap_or_default();
    signal(first, Signal::HUP);
    eventually("it does not reload", || log().contains("settings are read again"));
    assert_eq!(over_socket().as_deref(), Ok("t"));

    let rebooted = run(&world, &folder, &[&["-R"][..], &start].concat());
    assert!(rebooted.status.success(), "{}", said(&rebooted));
    let second = pid_in(&pidfile);
    assert_ne!(first, second);
    // It has no clients.
    eventually("the first runs on", || is_gone(first));
    assert_eq!(pid_in(&pidfile), second, "the first has removed what names the second");
    assert_eq!(over_socket().as_deref(), Ok("t"));
    signal(second, Signal::TERM);
    eventually("the second runs on", || is_gone(second));
    assert!(!pidfile.exists());
}
