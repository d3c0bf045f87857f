//! A cluster of real servers with the proxy in front, for one test, gone with it.

// Each test binary uses a part of it, and clippy's leave for tests does not reach helpers.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod beside;
pub mod console;
pub mod login;
pub mod raw;

use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pgherd_core::Settings;
use pgherd_lab::{Cluster, ClusterSpec, Engine, Node, Pgbench, PgbenchReport, cluster};
use pgherd_server::Server;
use tokio::task::AbortHandle;
use tokio_postgres::{Client, NoTls};

/// How long anything may take that should happen soon.
const PATIENCE: Duration = Duration::from_secs(30);

/// What most tests run with: a free port, two loops, so that backends change cores.
pub const TWO_CORES: &str = "[listen]\nport = 0\nworkers = 2\n[health]\ninterval = \"100ms\"\n";

pub struct World {
    pub cluster: Cluster,
    server: Option<Server>,
    address: SocketAddr,
}

impl World {
    /// A coordinator with this many replicas; `more` is appended to the settings.
    pub fn start(replicas: u16, more: &str) -> Self {
        let spec = ClusterSpec { coordinator_replicas: replicas, ..ClusterSpec::default() };
        let cluster = Cluster::start(&spec).unwrap();
        Self::before(cluster, |_| {}, more)
    }

    /// The same in front of a cluster that is up; `change` may put something in between.
    pub fn before(cluster: Cluster, change: impl FnOnce(&mut Settings), more: &str) -> Self {
        let toml = cluster.settings_toml(more);
        let mut settings = Settings::from_toml(&toml, "test").unwrap();
        change(&mut settings);
        let server = Server::start(&settings).unwrap();
        let address = server.address();
        Self { cluster, server: Some(server), address }
    }

    /// The same cluster behind another proxy, in the place of the one that was there.
    pub fn replace(&mut self, change: impl FnOnce(&mut Settings), more: &str) {
        let mut settings = Settings::from_toml(&self.cluster.settings_toml(more), "test").unwrap();
        change(&mut settings);
        let server = Server::start(&settings).unwrap();
        self.address = server.address();
        if let Some(before) = self.server.replace(server) {
            before.stopper().stop();
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn node(&self, name: &str) -> &Node {
        self.cluster.node(name).unwrap()
    }

    pub fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Stops the proxy and waits until its last client has gone.
    pub fn wait_stopped(&mut self) {
        self.server.take().unwrap().wait().unwrap();
    }

    /// A client of the proxy, as the lab's application.
    pub async fn connect(&self) -> Client {
        self.try_connect("").await.unwrap()
    }

    /// A client with more connection options.
    pub async fn try_connect(&self, more: &str) -> Result<Client, tokio_postgres::Error> {
        Ok(self.connect_with_task(more).await?.0)
    }

    /// The same with the task that owns its connection: aborted, it cuts it off.
    pub async fn connect_with_task(
        &self,
        more: &str,
    ) -> Result<(Client, AbortHandle), tokio_postgres::Error> {
        let (user, password, database) = (cluster::USER, cluster::PASSWORD, cluster::DATABASE);
        let (ip, port) = (self.address.ip(), self.address.port());
        let options = format!(
            "host={ip} port={port} user={user} password={password} dbname={database} {more}"
        );
        let (client, connection) = tokio_postgres::connect(&options, NoTls).await?;
        // Its end shows in the client's next call.
        let task = tokio::spawn(connection).abort_handle();
        Ok((client, task))
    }

    /// psql through the proxy, as the lab's application.
    pub fn psql_command(&self) -> Command {
        let mut psql = Command::new(Engine::find().unwrap().program("psql"));
        psql.args(["-h", &self.address.ip().to_string()])
            .args(["-p", &self.address.port().to_string()])
            .args(["-U", cluster::USER, "-d", cluster::DATABASE, "-X"])
            .env("PGPASSWORD", cluster::PASSWORD);
        psql
    }

    /// Feeds a script to psql; what it prints, unaligned and without headings.
    pub fn psql(&self, script: &str) -> (String, String) {
        let mut command = self.psql_command();
        let output = feed(command.args(["-A", "-t", "-q"]), script);
        (text(&output.stdout), text(&output.stderr))
    }

    /// Runs pgbench through the proxy.
    pub fn pgbench(&self, arguments: &[&str]) -> PgbenchReport {
        Pgbench::new(self.address, arguments).run(|_| {}).unwrap()
    }

    /// Backends of the proxy at a node, the health monitor's left out.
    pub fn backends_at(&self, node: &str) -> usize {
        let count = "select count(*) from pg_stat_activity \
                     where usename = 'app' and application_name not like 'pgherd/%'";
        self.node(node).psql(count).unwrap().parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // The process ends with the test; clients that are still there are not waited for.
        if let Some(server) = &self.server {
            server.stopper().stop();
        }
    }
}

pub fn feed(command: &mut Command, input: &str) -> Output {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = child.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Waits until `is_so` holds; the message says what did not happen.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "did not happen in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The same in an async test, whose clients go on meanwhile.
pub async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "did not happen in {PATIENCE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
