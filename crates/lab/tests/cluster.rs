//! A cluster of real servers: what it promises about coming up, being hurt, and going away.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use pgherd_lab::cluster::PASSWORD;
use pgherd_lab::node::StopMode;
use pgherd_lab::{Cluster, ClusterSpec, PgBouncer, Pgbench, Progress, Role};

#[test]
fn a_herd_comes_up_streams_is_hurt_and_leaves_nothing_behind() {
    let spec = ClusterSpec { shards: 2, coordinator_replicas: 2, ..ClusterSpec::default() };
    let cluster = Cluster::start(&spec).unwrap();
    let names: Vec<&str> = cluster.nodes().iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["coordinator", "coordinator-r1", "coordinator-r2", "shard-0", "shard-1"]);

    let (coordinator, replica) = (cluster.coordinator(), cluster.node("coordinator-r1").unwrap());
    coordinator.psql("create table t as select 42 as a").unwrap();
    cluster.wait_caught_up().unwrap();
    assert_eq!(replica.psql("select a from t").unwrap(), "42");
    assert_eq!(replica.role, Role::Replica);

    replica.kill().unwrap();
    assert!(replica.pid().is_none() && !replica.is_ready());
    coordinator.psql("insert into t values (43)").unwrap();
    replica.start().unwrap();
    cluster.wait_caught_up().unwrap();
    assert_eq!(replica.psql("select count(*) from t").unwrap(), "2");

    coordinator.freeze().unwrap();
    assert!(!coordinator.is_ready());
    coordinator.thaw().unwrap();
    coordinator.restart(StopMode::Immediate).unwrap();
    assert_eq!(coordinator.psql("select 1").unwrap(), "1");

    replica.promote().unwrap();
    assert_eq!(replica.psql("select pg_is_in_recovery()").unwrap(), "f");
    assert!(replica.logs().contains("promote"));

    // One that was killed and one that is frozen: they cannot tidy up after themselves.
    let killed = cluster.node("shard-1").unwrap();
    let memory = shared_memory(killed);
    assert!(segments().contains(&memory), "{memory} is a segment's id");
    killed.kill().unwrap();
    cluster.node("shard-0").unwrap().freeze().unwrap();
    let (folder, pids) = (cluster.folder().to_owned(), pids(&cluster));
    drop(cluster);
    assert_gone(&folder, &pids);
    assert!(!segments().contains(&memory), "{memory} is left");
}

#[test]
fn a_pgbouncer_answers_for_its_node_and_ends_with_its_cluster() {
    if PgBouncer::is_missing() {
        return;
    }
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let pooler = PgBouncer::start(&cluster, cluster.coordinator()).unwrap();
    let port = pooler.port();
    assert_eq!(pooler.node(), "coordinator");
    let mut psql = cluster.coordinator().psql_command();
    psql.args(["-h", "127.0.0.1", "-p", &port.to_string()]).env("PGPASSWORD", PASSWORD);
    let output = psql.args(["-XAtc", "select inet_server_port()"]).output().unwrap();
    let answered = String::from_utf8_lossy(&output.stdout);
    assert_eq!(answered.trim(), cluster.coordinator().port.to_string());
    // As when its owner is killed, and cannot end it.
    std::mem::forget(pooler);
    drop(cluster);
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
}

#[test]
fn pgbench_reports_on_the_way_and_at_the_end() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let address = cluster.coordinator().address();
    Pgbench::initialize(address, 1).unwrap();
    let mut reports = 0;
    let run = Pgbench::new(address, &["-S", "-c", "2", "-T", "2", "-P", "1"]);
    let report = run.run(|line| reports += usize::from(Progress::parse(line).is_some())).unwrap();
    assert!(reports >= 1 && report.transactions > 0 && report.failed == 0, "{report:?}");
    let lost = Pgbench::new(address, &["-S", "-f", "nowhere"]).run(|_| ()).unwrap_err();
    assert!(lost.to_string().contains("nowhere"), "{lost}");
}

#[test]
fn a_killed_owner_leaves_no_server_and_no_folder() {
    // This test's own program, told to bring a cluster up and wait.
    let folder = std::env::temp_dir().join(format!("pgherd-lab-killed-{}", std::process::id()));
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "owner_for_the_test_above", "--ignored", "--nocapture"])
        .env("PGHERD_LAB_OWNER", &folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    while !Cluster::is_in(&folder) {
        assert!(Instant::now() < deadline, "the owner brought nothing up");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pids = pids(&Cluster::attach(&folder).unwrap());
    assert!(!pids.is_empty());
    owner.kill().unwrap();
    owner.wait().unwrap();
    assert_gone(&folder, &pids);
}

/// Not a test of its own: the owner that the test above kills.
#[test]
#[ignore = "run by a_killed_owner_leaves_no_server_and_no_folder in a process of its own"]
fn owner_for_the_test_above() {
    let folder = std::env::var_os("PGHERD_LAB_OWNER").expect("set by the test that runs this");
    let spec = ClusterSpec { folder: Some(folder.into()), ..ClusterSpec::default() };
    let _cluster = Cluster::start(&spec).unwrap();
    loop {
        std::thread::park();
    }
}

/// The id of the memory segment that a server locks its data folder with.
fn shared_memory(node: &pgherd_lab::Node) -> String {
    let file = std::fs::read_to_string(node.data().join("postmaster.pid")).unwrap();
    file.lines().nth(6).unwrap().split_whitespace().nth(1).unwrap().to_owned()
}

fn segments() -> Vec<String> {
    let table = std::fs::read_to_string("/proc/sysvipc/shm").unwrap();
    let ids = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1));
    ids.map(str::to_owned).collect()
}

fn pids(cluster: &Cluster) -> Vec<u32> {
    cluster.nodes().iter().filter_map(pgherd_lab::Node::pid).collect()
}

fn assert_gone(folder: &Path, pids: &[u32]) {
    let is_there = |pid: &u32| Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok();
    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || pids.iter().any(is_there) {
        assert!(Instant::now() < deadline, "still there: {}, {pids:?}", folder.display());
        std::thread::sleep(Duration::from_millis(20));
    }
}
