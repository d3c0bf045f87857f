//! `pgherd serve` taken over by another process, under load.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use pgherd_lab::{Cluster, ClusterSpec, Pgbench, PgbenchReport};
use rustix::process::{Pid, Signal, kill_process};

/// A pgherd that runs; it is killed when this is dropped, if it has not ended.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let log = folder.join(name);
        let child = Command::new(env!("CARGO_BIN_EXE_pgherd"))
            .args(["serve", "--config", "pgherd.toml"])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let process = Self { child, log };
        process.until_it_says("listening");
        process
    }

    fn until_it_says(&self, words: &str) {
        eventually(words, || self.said().contains(words));
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until it has ended by itself.
    fn until_it_has_ended(mut self) {
        let mut ended = None;
        eventually("it runs on", || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        });
        assert!(ended.unwrap().success(), "{}", self.said());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// 50 clients for eight seconds; what comes of it, when it has begun.
fn load(address: SocketAddr, more: &[&str]) -> mpsc::Receiver<PgbenchReport> {
    let arguments: Vec<String> = ["-n", "-N", "-c", "50", "-j", "2", "-T", "8", "-P", "1"]
        .iter()
        .chain(more)
        .map(ToString::to_string)
        .collect();
    let (begins, has_begun) = mpsc::channel();
    let (tell, report) = mpsc::channel();
    std::thread::spawn(move || {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let first = |_: &str| {
            let _ = begins.send(());
        };
        tell.send(Pgbench::new(address, &arguments).run(first).unwrap()).unwrap();
    });
    has_begun.recv().unwrap();
    report
}

#[test]
fn reload_take_over_and_stop_of_real_processes_under_load_fail_nothing() {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    Pgbench::initialize(cluster.coordinator().address(), 1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (address, http) = (free(), free());
    let settings = |size: u32| {
        let more = format!(
            "[listen]\nport = {}\nworkers = 2\nunix_socket_dir = \"{}\"\n\
             [http]\nlisten = \"{http}\"\n[pool]\nsize = {size}\n",
            address.port(),
            folder.path().display()
        );
        fs::write(folder.path().join("pgherd.toml"), cluster.settings_toml(&more)).unwrap();
    };
    settings(20);
    let mut serving = Process::start(folder.path(), "log-0", &[]);
    for (at, connects_anew) in [&[][..], &["-C"]].into_iter().enumerate() {
        let report = load(address, connects_anew);
        settings(10 + u32::try_from(at).unwrap());
        serving.signal(Signal::HUP);
        serving.until_it_says("settings are read again");
        let next = Process::start(folder.path(), &format!("log-{}", at + 1), &["--takeover"]);
        serving.until_it_says("taken over");
        let report = report.recv().unwrap();
        assert_eq!(report.failed, 0, "{}", serving.said());
        assert!(report.transactions > 0);
        // Its last client has gone with the load.
        std::mem::replace(&mut serving, next).until_it_has_ended();
        // What answers over HTTP there is the new one: the old one has ended.
        std::net::TcpStream::connect(http).unwrap();
    }
    serving.signal(Signal::TERM);
    serving.until_it_has_ended();
    let socket = folder.path().join(format!(".s.PGSQL.{}", address.port()));
    assert!(!socket.exists(), "the socket's file stays");
}
