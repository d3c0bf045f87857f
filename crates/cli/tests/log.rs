//! What `pgherd serve` says of its clients.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pgherd_lab::{Cluster, ClusterSpec, cluster};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

/// A pgherd that runs, before a cluster of one node.
struct World {
    cluster: Cluster,
    child: Child,
    port: u16,
}

impl World {
    /// `more` are further settings.
    fn start(more: &str) -> Self {
        let world = Self::start_telling(more, |folder| File::create(folder.join("log")).unwrap());
        world.until("it listens", |log| log.contains("listening"));
        world
    }

    /// Its log goes where `log` says, which is told its folder.
    fn start_telling<T: Into<Stdio>>(more: &str, log: impl FnOnce(&Path) -> T) -> Self {
        let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = cluster.folder().to_owned();
        fs::write(folder.join("pgherd.toml"), settings(&cluster, port, more)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pgherd"))
            .args(["serve", "--config", "pgherd.toml"])
            .current_dir(&folder)
            .stdin(Stdio::null())
            .stderr(log(&folder))
            .spawn()
            .unwrap();
        Self { cluster, child, port }
    }

    fn change(&self, more: &str) {
        fs::write(self.path("pgherd.toml"), settings(&self.cluster, self.port, more)).unwrap();
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, Signal::HUP).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cluster.folder().join(name)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap()
    }

    /// The lines that say so.
    fn lines(&self, words: &str) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    fn until(&self, what: &str, mut holds: impl FnMut(&str) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(&self.log()) {
            assert!(Instant::now() < deadline, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask(&self, password: &str, database: &str, sql: &str) -> Output {
        let mut psql = self.cluster.coordinator().psql_command();
        psql.args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", cluster::USER])
            .args(["-d", database, "-XAtw", "-c", sql])
            .env("PGPASSWORD", password)
            .env("PGCONNECT_TIMEOUT", "30")
            .env("PGAPPNAME", "a\"b\nc");
        psql.output().unwrap()
    }

    fn answers(&self, database: &str, sql: &str) {
        let output = self.ask(cluster::PASSWORD, database, sql);
        assert!(output.status.success(), "{output:?}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn settings(cluster: &Cluster, port: u16, more: &str) -> String {
    cluster.settings_toml(&format!("[listen]\nport = {port}\n{more}"))
}

#[test]
fn who_comes_who_goes_and_what_is_refused_is_told_as_the_settings_say() {
    let more = "admin_users = [\"app\"]\nlogin_delay = \"0s\"\n";
    let world = World::start(more);
    world.answers("app", "select 1");
    world.until("nobody has left", |log| log.contains("client left"));
    let [came] = &world.lines("client logged in")[..] else { panic!("{}", world.log()) };
    let [left] = &world.lines("client left")[..] else { panic!("{}", world.log()) };
    for line in [came, left] {
        assert!(line.contains(" address=\"127.0.0.1:"), "{line}");
        assert!(line.contains(" database=\"app\" user=\"app\" "), "{line}");
    }
    // No client begins a line of its own.
    assert!(came.contains(r#" tls="" application_name="a\"b"#), "{came}");
    assert!(left.contains(" reason=\"it has said goodbye\" age_seconds="), "{left}");

    assert!(!world.ask("not-the-password", "app", "select 1").status.success());
    let [refused] = &world.lines("login refused")[..] else { panic!("{}", world.log()) };
    assert!(refused.contains(" code=\"28P01\" "), "{refused}");
    assert!(refused.contains(r#"password of user \"app\" does not fit"#), "{refused}");
    world.answers("app", "begin; select 1");
    assert!(!world.ask(cluster::PASSWORD, "nowhere", "select 1").status.success());
    world.until("it is not told", |log| log.contains(" code=\"3D000\" "));
    for secret in ["not-the-password", cluster::PASSWORD] {
        assert!(!world.log().contains(secret), "{}", world.log());
    }

    world.answers("pgbouncer", "set log_connections = 0");
    let came = world.lines("client logged in").len();
    let gone = world.lines("client left").len();
    world.answers("app", "select 2");
    world.until("nobody has left", |_| world.lines("client left").len() > gone);
    assert_eq!(world.lines("client logged in").len(), came);

    world.change(&format!("{more}[log]\ndisconnections = false\n"));
    world.until("it is not read again", |log| log.contains("log.disconnections = false"));
    let gone = world.lines("client left").len();
    world.answers("app", "select 3");
    assert_eq!(world.lines("client logged in").len(), came + 1, "what the file says holds again");
    // Behind what the first one has left, if anything: connections are served in turn.
    world.answers("app", "select 4");
    world.until("nobody has come", |_| world.lines("client logged in").len() == came + 2);
    assert_eq!(world.lines("client left").len(), gone, "{}", world.log());
}

#[test]
fn statistics_are_written_each_period() {
    let world = World::start("stats_period = \"1s\"\nadmin_users = [\"app\"]\n");
    world.until("no statistics", |_| {
        world.answers("app", "select 1");
        world.lines(" statistics ").iter().any(|line| {
            line.contains(" transactions_per_second=") && !line.contains(" out_bytes_per_second=0")
        })
    });
    world.answers("pgbouncer", "set log_stats = 0");
    let config = world.ask(cluster::PASSWORD, "pgbouncer", "show config");
    assert!(String::from_utf8(config.stdout).unwrap().contains("log_stats|0|1|yes"));
}

#[test]
fn a_flood_of_failing_clients_is_told_within_bounds_and_counted() {
    const CLIENTS: usize = 300;
    let more = "auth = \"trust\"\nworkers = 2\nlogin_failures = 0\nlogin_delay = \"0s\"\n[log]\n\
                lines_per_second = 4\n";
    let world = World::start(more);
    for _ in 0..CLIENTS {
        let at = SocketAddr::from(([127, 0, 0, 1], world.port));
        assert!(refused(at, "nobody", "app").starts_with(b"E"));
    }
    let counted = || -> usize {
        let number = |line: &String| {
            let (_, number) = line.split_once(" lines=").unwrap();
            number.trim().parse::<usize>().unwrap()
        };
        world.lines("left out").iter().map(number).sum()
    };
    world.until("some are not counted", |_| {
        counted() + world.lines("login refused").len() == CLIENTS
    });
    assert!(counted() > 0, "{}", world.log());
}

#[test]
fn a_log_that_nobody_reads_holds_nobody_up() {
    let (pipe, mut writer) = io::pipe().unwrap();
    let mut filled = 0;
    let has_room = |writer: &io::PipeWriter| {
        poll(&mut [PollFd::new(writer, PollFlags::OUT)], Some(&Timespec::default())).unwrap() > 0
    };
    while has_room(&writer) {
        writer.write_all(&[b'-'; 4096]).unwrap();
        filled += 4096;
    }
    let world = World::start_telling("", |_| writer);
    let deadline = Instant::now() + Duration::from_secs(60);
    while !world.ask(cluster::PASSWORD, "app", "select 1").status.success() {
        assert!(Instant::now() < deadline, "it serves nobody");
    }
    for _ in 0..5 {
        world.answers("app", "select 1");
    }
    let mut log = BufReader::new(pipe);
    log.read_exact(&mut vec![0; filled]).unwrap();
    world.answers("app", "select 1");
    let mut told = String::new();
    log.read_line(&mut told).unwrap();
    let (_, count) = told.split_once(" WARN ").expect(&told);
    let count = count.strip_suffix(" lines before were not taken, and are left out\n");
    assert!(count.expect(&told).parse::<u32>().unwrap() > 10, "{told}");
    told.clear();
    log.read_line(&mut told).unwrap();
    assert!(told.contains(" client "), "{told}");
}

#[test]
fn no_client_writes_a_line_of_its_own() {
    let world = World::start("[[database]]\nname = \"*\"\n");
    let name = "no\nERROR forged\u{1b}[31m";
    assert!(!world.ask(cluster::PASSWORD, name, "select 1").status.success());
    world.until("it is not told", |log| log.contains("cannot open a backend"));
    let [line] = &world.lines("cannot open a backend")[..] else { panic!("{}", world.log()) };
    assert!(line.contains(r#"no\nERROR forged\u{1b}[31m"#), "{line}");
    assert!(!world.log().lines().any(|line| line.starts_with("ERROR")), "{}", world.log());
}

#[test]
fn a_syslog_daemon_is_told_the_same_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("syslog");
    let daemon = || {
        let _ = fs::remove_file(&at);
        let socket = UnixDatagram::bind(&at).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        socket
    };
    let hear = |daemon: &UnixDatagram, words: &str| {
        let mut buffer = [0; 10_000];
        loop {
            let length = daemon.recv(&mut buffer).expect(words);
            let line = str::from_utf8(&buffer[..length]).unwrap();
            if line.contains(words) {
                return line.to_owned();
            }
        }
    };
    let first = daemon();
    let more = |syslog: bool| {
        format!(
            "[log]\nsyslog = {syslog}\nsyslog_socket = \"{}\"\nsyslog_ident = \"pooler\"\n\
             syslog_facility = \"local0\"\n",
            at.display()
        )
    };
    let world = World::start(&more(true));
    let line = hear(&first, "listening");
    let pid = world.child.id();
    // local0 and info.
    assert!(line.starts_with("<134>") && line.contains(&format!(" pooler[{pid}]: listening ")));
    world.answers("app", "select 1");
    let line = hear(&first, "client logged in");
    assert!(line.contains(r#" database="app" user="app" "#), "{line}");

    drop(first);
    world.answers("app", "select 2");
    let gone = "syslog takes no lines";
    world.until("nobody is told", |log| log.contains(gone));
    world.until("it has not left", |log| log.matches("client left").count() == 2);
    let second = daemon();
    world.answers("app", "select 3");
    let line = hear(&second, "lines before were not taken");
    assert!(line.starts_with("<132>"), "{line}");
    hear(&second, "client left");
    let news = [world.lines(gone).len(), world.lines("syslog takes lines again").len()];
    assert_eq!(news, [1, 1], "{}", world.log());

    world.change(&more(false));
    world.until("it is not read again", |log| log.contains("log.syslog = false"));
    world.answers("app", "select 4");
    world.until("it has not left", |log| log.matches("client left").count() == 4);
    second.set_nonblocking(true).unwrap();
    assert!(second.recv(&mut [0; 10]).is_err(), "what is not wanted is not sent");
}

#[test]
fn settings_that_are_wrong_change_no_syslog_and_it_is_told_why() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("syslog");
    let daemon = UnixDatagram::bind(&at).unwrap();
    daemon.set_nonblocking(true).unwrap();
    let world = World::start("");
    world.change(&format!(
        "[log]\nsyslog = true\nsyslog_socket = \"{}\"\n\
         [[user]]\nname = \"clerk\"\npassword_file = \"/nowhere/password\"\n",
        at.display()
    ));
    world.until("they hold", |log| log.contains("settings stay as they were"));
    let [line] = &world.lines("settings stay as they were")[..] else { panic!("{}", world.log()) };
    assert!(line.contains("no password for the users: user `clerk`: "), "{line}");
    assert!(line.contains("/nowhere/password"), "{line}");
    world.answers("app", "select 1");
    world.until("it has not left", |log| log.contains("client left"));
    assert!(daemon.recv(&mut [0; 10]).is_err(), "it is told nothing");
}

#[test]
fn a_flood_of_names_of_no_database_is_told_within_bounds() {
    const CLIENTS: usize = 40;
    let more = "auth = \"trust\"\nworkers = 1\nlogin_failures = 0\nlogin_delay = \"0s\"\n[log]\n\
                lines_per_second = 1\n[[database]]\nname = \"*\"\n";
    let world = World::start(more);
    let at = SocketAddr::from(([127, 0, 0, 1], world.port));
    for n in 0..CLIENTS {
        assert!(refused(at, cluster::USER, &format!("no{n}")).contains(&b'E'));
    }
    let told = world.lines("cannot open a backend").len();
    assert!(told < CLIENTS / 2, "{}", world.log());
    world.until("none are counted", |log| log.contains("lines about clients left out"));
}

/// What a client is told that must not come in.
fn refused(at: SocketAddr, user: &str, database: &str) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 3, 0, 0];
    packet.extend_from_slice(format!("user\0{user}\0database\0{database}\0\0").as_bytes());
    packet[3] = u8::try_from(packet.len()).unwrap();
    let mut client = TcpStream::connect(at).unwrap();
    client.write_all(&packet).unwrap();
    let mut told = Vec::new();
    client.read_to_end(&mut told).unwrap();
    told
}
