//! A cluster of real PostgreSQL servers for one test, gone with it.

// Each test binary uses a part of it, and clippy's leave for tests does not reach helpers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgherd::{Builder, DistributedPool};

pub const PASSWORD: &str = "a secret of the tests";

/// Which nodes a test needs. There is always a coordinator.
#[derive(Clone, Copy)]
pub struct Shape {
    pub shards: u16,
    pub replicas: u16,
    pub max_prepared: u32,
}

impl Default for Shape {
    fn default() -> Self {
        Self { shards: 0, replicas: 0, max_prepared: 16 }
    }
}

pub struct World {
    bin: PathBuf,
    user: Option<OtherUser>,
    // The servers end before their folder goes.
    pub nodes: Vec<Node>,
    folder: tempfile::TempDir,
    shape: Shape,
}

pub struct Node {
    pub name: String,
    pub port: u16,
    data: PathBuf,
    process: Option<Child>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

impl Node {
    /// SIGKILL to the postmaster and all it started.
    fn end(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        let postmaster = process.id();
        // Stopped first, so that it starts nobody while its children are looked for.
        signal("STOP", postmaster);
        for child in children(postmaster) {
            signal("KILL", child);
        }
        let _ = process.kill();
        let _ = process.wait();
    }
}

fn signal(name: &str, pid: u32) {
    let _ = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
}

fn children(parent: u32) -> Vec<u32> {
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

impl World {
    pub fn start(shape: Shape) -> Self {
        let bin = find_postgresql();
        let user = OtherUser::if_root();
        let folder = tempfile::Builder::new().prefix("pgherd-").tempdir().unwrap();
        let mut world = Self { bin, user, nodes: Vec::new(), folder, shape };
        world.own(world.folder.path());
        fs::write(world.path("password"), PASSWORD).unwrap();
        world.own(&world.path("password"));

        let template = world.path("template");
        world.run(
            Command::new("initdb")
                .args(["-U", "app", "-E", "UTF8", "--locale=C", "--no-sync"])
                .args(["--auth-local=trust", "--auth-host=scram-sha-256", "--pwfile"])
                .arg(world.path("password"))
                .arg("-D")
                .arg(&template),
        );
        let primaries = (0..shape.shards).map(|shard| format!("shard-{shard}"));
        for name in ["coordinator".to_owned()].into_iter().chain(primaries) {
            let data = world.path(&name);
            world.run(Command::new("cp").arg("-a").arg(&template).arg(&data));
            world.add(name, data);
        }
        for number in 1..=shape.replicas {
            let name = format!("coordinator-r{number}");
            let (data, coordinator) = (world.path(&name), world.port("coordinator"));
            world.run(
                Command::new("pg_basebackup")
                    .args(["-R", "-c", "fast", "-U", "app", "--no-sync", "-h"])
                    .arg(world.folder.path())
                    .args(["-p", &coordinator.to_string(), "-D"])
                    .arg(&data),
            );
            world.add(name, data);
        }
        world
    }

    fn add(&mut self, name: String, data: PathBuf) {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.nodes.push(Node { name: name.clone(), port, data, process: None });
        self.start_node(&name);
    }

    /// A builder that knows the nodes and the login, and probes often.
    pub fn builder(&self) -> Builder {
        let mut builder = DistributedPool::builder()
            .database("postgres")
            .user("app")
            .password(PASSWORD)
            .health_interval(Duration::from_millis(100));
        for node in &self.nodes {
            builder = match node.name.split_once('-') {
                None => builder.coordinator("127.0.0.1", node.port),
                Some(("shard", shard)) => {
                    builder.worker(shard.parse().unwrap(), "127.0.0.1", node.port)
                }
                Some(_) => builder.replica("127.0.0.1", node.port),
            };
        }
        builder
    }

    pub fn pool(&self) -> DistributedPool {
        self.builder().build().unwrap()
    }

    pub fn port(&self, name: &str) -> u16 {
        self.node(name).port
    }

    pub fn replica_ports(&self) -> Vec<u16> {
        let replicas = self.nodes.iter().filter(|node| node.name.starts_with("coordinator-r"));
        replicas.map(|node| node.port).collect()
    }

    fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap()
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    /// SIGKILL to all processes of a node.
    pub fn kill(&mut self, name: &str) {
        self.node_mut(name).end();
    }

    /// Starts a node and waits until it answers. To be called from the test's own thread: the
    /// server ends with the thread that started it.
    pub fn start_node(&mut self, name: &str) {
        let socket_folder = self.folder.path().to_owned();
        let log = fs::File::create(self.path(&format!("{name}.log"))).unwrap();
        let (port, max_prepared) = (self.port(name), self.shape.max_prepared);
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "QUIT"]);
        if let Some(OtherUser { uid, gid }) = self.user {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        command.arg(self.bin.join("postgres")).arg("-D").arg(&self.node(name).data);
        command.arg("-k").arg(&socket_folder).args(["-p", &port.to_string()]);
        for setting in ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=100"] {
            command.args(["-c", setting]);
        }
        command.args(["-c", &format!("max_prepared_transactions={max_prepared}")]);
        command.args(["-c", "wal_receiver_timeout=2s", "-c", "wal_retrieve_retry_interval=200ms"]);
        command.current_dir("/").env("LC_ALL", "C").stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.node_mut(name).process = Some(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.psql(name).args(["-c", ""]).output().unwrap().status.success() {
            if Instant::now() > deadline {
                panic!("{name} did not start:\n{}", self.log(name));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Runs statements on a node past pgherd; what psql prints.
    pub fn sql(&self, name: &str, sql: &str) -> String {
        let output = self.psql(name).args(["-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn psql(&self, name: &str) -> Command {
        let mut psql = Command::new(self.bin.join("psql"));
        psql.args(["-XAtq", "-U", "app", "-d", "postgres", "-h"]).arg(self.folder.path());
        psql.args(["-p", &self.port(name).to_string()]);
        psql
    }

    /// Waits until the replicas have replayed all that the coordinator has written.
    pub fn wait_replayed(&self) {
        let written = self.sql("coordinator", "SELECT pg_current_wal_insert_lsn()");
        for number in 1..=self.shape.replicas {
            let replica = format!("coordinator-r{number}");
            let caught_up = format!("SELECT pg_last_wal_replay_lsn() >= '{written}'");
            let deadline = Instant::now() + Duration::from_secs(20);
            while self.sql(&replica, &caught_up) != "t" {
                assert!(Instant::now() < deadline, "{replica} does not catch up");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn own(&self, path: &Path) {
        if let Some(OtherUser { uid, gid }) = self.user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    }

    fn run(&self, wanted: &mut Command) {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]);
        if let Some(OtherUser { uid, gid }) = self.user {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}"));
            command.arg("--clear-groups");
        }
        let own = self.bin.join(wanted.get_program());
        command.arg(if own.is_file() { own } else { wanted.get_program().into() });
        command.args(wanted.get_args()).current_dir("/").env("LC_ALL", "C");
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} failed: {stderr}", wanted.get_program());
    }
}

/// Waits until `is_so` holds; the message says what did not happen.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so().await {
        assert!(Instant::now() < deadline, "did not happen in 20 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The port of the node that answered.
pub fn port_of(row: &tokio_postgres::Row) -> u16 {
    u16::try_from(row.get::<_, i32>(0)).unwrap()
}

pub const WHERE: &str = "SELECT inet_server_port()";

/// The user to run as, because the server refuses to run as root.
#[derive(Clone, Copy)]
struct OtherUser {
    uid: u32,
    gid: u32,
}

impl OtherUser {
    fn if_root() -> Option<Self> {
        if fs::metadata("/proc/self").unwrap().uid() != 0 {
            return None;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap();
        let find = |name: &str| {
            passwd.lines().find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
                [user, _, uid, gid, ..] if user == name => {
                    Some(Self { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
                }
                _ => None,
            })
        };
        Some(find("postgres").or_else(|| find("nobody")).expect("there is a user besides root"))
    }
}

/// `$PGHERD_PG_BIN`, `pg_config`, Debian's folders with the highest version first.
fn find_postgresql() -> PathBuf {
    let named = std::env::var_os("PGHERD_PG_BIN").map(PathBuf::from);
    let configured = Command::new("pg_config").arg("--bindir").output().ok();
    let configured =
        configured.map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    debian.sort();
    let needed = ["postgres", "initdb", "psql", "pg_basebackup"];
    named
        .into_iter()
        .chain(configured)
        .chain(debian.into_iter().rev().map(|(_, bin)| bin))
        .find(|bin| needed.iter().all(|name| bin.join(name).is_file()))
        .expect("PostgreSQL is found: install it or set PGHERD_PG_BIN")
}
