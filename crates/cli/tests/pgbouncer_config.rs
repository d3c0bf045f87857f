//! `pgherd pgbouncer-config` and scripts/start_pgbouncer.sh, in front of real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use pgherd_lab::{Cluster, ClusterSpec, PgBouncer, cluster};

/// A folder with PgBouncer's files; whatever a failed test has left running in it is ended.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let name = format!("pgherd-pgbouncer-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    fn write_config(&self, cluster: &Cluster, arguments: &[&str]) -> Output {
        let config = self.0.join("pgherd.toml");
        std::fs::write(&config, cluster.settings_toml("")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd"));
        command.args(["pgbouncer-config", "--config"]).arg(&config).arg("--dir").arg(&self.0);
        command.args(arguments).output().unwrap()
    }

    fn script(&self, action: &str) -> Output {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/start_pgbouncer.sh");
        Command::new(script).arg(action).arg(&self.0).stdin(Stdio::null()).output().unwrap()
    }

    /// What an action of the script prints that has to work.
    fn ran(&self, action: &str) -> String {
        let output = self.script(action);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{action}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.script("stop");
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a statement answers through a door, under a database alias.
fn ask(cluster: &Cluster, door: (Ipv4Addr, u16), alias: &str, sql: &str) -> String {
    let mut psql = cluster.coordinator().psql_command();
    let output = psql
        .args(["-h", &door.0.to_string(), "-p", &door.1.to_string()])
        .args(["-U", cluster::USER, "-d", alias])
        .args(["-XAtc", sql])
        .env("PGPASSWORD", cluster::PASSWORD)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{alias}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// The first of two ports in a row that nobody listens on, from where neither the lab's servers
/// nor outgoing connections take theirs.
fn two_free_ports() -> u16 {
    // Tests of one process and of several begin at different places.
    static TEST: AtomicU16 = AtomicU16::new(0);
    let apart = TEST.fetch_add(1, Ordering::Relaxed) * 97;
    let start = u16::try_from(std::process::id() % 4000).unwrap() + apart;
    let is_free = |port: u16| std::net::TcpListener::bind((LOCAL, port)).is_ok();
    (0..4000)
        .map(|step| 10_000 + (start + step) % 4000 * 2)
        .find(|port| is_free(*port) && is_free(*port + 1))
        .unwrap()
}

#[test]
fn one_pgbouncer_leads_each_alias_to_its_nodes() {
    if PgBouncer::is_missing() {
        return;
    }
    let spec = ClusterSpec { shards: 1, coordinator_replicas: 1, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let place = Place::new("all");
    let port = two_free_ports();
    let (door, port_option) = ((LOCAL, port), port.to_string());
    let written = place.write_config(&cluster, &["--port", &port_option]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let mode = place.0.join("userlist.txt").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = place.write_config(&cluster, &[]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"));

    assert_eq!(place.script("status").status.code(), Some(3));
    assert!(place.ran("start").contains("started (pid "));
    assert!(place.ran("start").contains("runs already"));
    assert!(place.ran("status").contains(&format!("{LOCAL} port {port}")));

    let node = |name: &str| cluster.node(name).unwrap().port.to_string();
    for (alias, name) in [
        ("app", "coordinator"),
        ("coordinator", "coordinator"),
        ("coordinator-r1", "coordinator-r1"),
        ("shard-0", "shard-0"),
        ("shared_coordinator", "coordinator"),
        ("shared_coordinator_replicas", "coordinator-r1"),
        ("shared_shard_0", "shard-0"),
    ] {
        assert_eq!(ask(&cluster, door, alias, "select inet_server_port()"), node(name), "{alias}");
    }
    // The console lets the login look, and change nothing.
    assert!(ask(&cluster, door, "pgbouncer", "show pools").contains("shared_shard_0"));
    let process = std::fs::read_to_string(place.0.join("run/pgbouncer.pid")).unwrap();
    let process = format!("/proc/{}", process.trim());
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&process).unwrap());
    assert_ne!(owner, 0, "PgBouncer runs as root");

    let arguments = ["--port", &port_option, "--pool-size", "3", "--force"];
    let written = place.write_config(&cluster, &arguments);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    place.ran("reload");
    let is_reloaded =
        || ask(&cluster, door, "pgbouncer", "show config").contains("default_pool_size|3|");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !is_reloaded() {
        assert!(std::time::Instant::now() < deadline, "it has not read its files anew");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }

    assert!(place.ran("stop").contains("stopped"));
    // Nobody may have waited for it yet: what is left has no folder.
    assert!(std::fs::read_link(format!("{process}/cwd")).is_err());
    assert!(place.ran("stop").contains("does not run"));
}

#[test]
fn one_pgbouncer_for_each_node_is_started_and_a_taken_port_is_named() {
    if PgBouncer::is_missing() {
        return;
    }
    let spec = ClusterSpec { shards: 1, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let place = Place::new("each");
    let port = two_free_ports();
    let arguments = ["--per-node", "--port", &port.to_string()];
    let written = place.write_config(&cluster, &arguments);
    let said = String::from_utf8(written.stdout).unwrap();
    assert!(said.contains(&format!("COORDINATOR_HOST={LOCAL}:{port}\n")), "{said}");

    let other = std::net::TcpListener::bind((LOCAL, port + 1)).unwrap();
    let output = place.script("start");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && complaint.contains("somebody else listens"), "{complaint}");
    drop(other);
    place.ran("start");
    for (at, name) in (port..).zip(["coordinator", "shard-0"]) {
        let node = cluster.node(name).unwrap().port.to_string();
        assert_eq!(
            ask(&cluster, (LOCAL, at), cluster::DATABASE, "select inet_server_port()"),
            node
        );
    }
    place.ran("restart");
    place.ran("stop");
    assert_eq!(place.script("status").status.code(), Some(3));
}
