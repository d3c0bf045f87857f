//! A pooler, or whatever else stands between clients and a server.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::Cluster;
use crate::account::Account;
use crate::cluster::{DATABASE, USER, free_port};
use crate::node::answers;

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tries to start it on another port when somebody took the first.
const PORT_TRIES: usize = 5;

/// What to run, and how.
#[derive(Debug, Clone)]
pub struct PoolerSpec {
    /// The name of its folder inside the cluster's.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments. It runs in its folder.
    pub arguments: Vec<String>,
    /// Names and contents of files in its folder.
    pub files: Vec<(String, String)>,
    /// What it logs once it listens. Without it, it counts as started once the port answers.
    pub says: Option<String>,
    /// Who it runs as.
    pub runs_as: RunsAs,
}

/// Who a pooler runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunsAs {
    /// The servers' account: some programs refuse to run as root.
    Server,
    /// Whoever runs this program: the servers' account may have no way to the pooler's program.
    Caller,
}

/// A pooler that runs. It ends, with all its processes, when it is dropped, and with its cluster
/// at the latest.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    folder: PathBuf,
}

impl Pooler {
    /// Starts one and waits until it takes logins. `spec` is given the port on `127.0.0.1` that it
    /// is to listen on, again with another one if somebody else has taken that meanwhile.
    ///
    /// # Errors
    /// What it says if it ends instead of starting, or has not started after 20 s.
    pub fn start(cluster: &Cluster, spec: impl Fn(u16) -> Result<PoolerSpec>) -> Result<Self> {
        let mut tries = 1;
        loop {
            let port = free_port()?;
            match Self::start_on(port, cluster, &spec(port)?) {
                Err(error)
                    if error.to_string().contains("Address already in use")
                        && tries < PORT_TRIES =>
                {
                    tries += 1;
                }
                started => return started,
            }
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn logs(&self) -> String {
        logs(&self.folder)
    }

    fn start_on(port: u16, cluster: &Cluster, spec: &PoolerSpec) -> Result<Self> {
        cluster.guard(&spec.program)?;
        // Inside the cluster's folder, so that its guardian ends it, too.
        let folder = cluster.folder().join(&spec.name);
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let child = spec.spawn(&folder);
        let mut started = match child {
            Ok(child) => Self { child, address, folder },
            Err(error) => {
                // The error says more than a folder that stays.
                let _ = std::fs::remove_dir_all(&folder);
                return Err(error);
            }
        };
        let name = &spec.name;
        let deadline = Instant::now() + PATIENCE;
        while !started.is_up(spec) {
            let words = started.logs();
            let words = words.trim();
            if let Some(status) = started.child.try_wait()? {
                bail!("{name} ended with {status} instead of starting: {words}");
            }
            if words.contains("Address already in use") || Instant::now() > deadline {
                bail!("{name} has not started: {words}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started)
    }

    fn is_up(&self, spec: &PoolerSpec) -> bool {
        // Its own word before an answer: on a port that somebody else has taken meanwhile, it is
        // somebody else who answers.
        spec.says.as_ref().is_none_or(|says| self.logs().contains(says))
            && answers(self.address, USER, DATABASE).unwrap_or(false)
    }
}

impl PoolerSpec {
    fn spawn(&self, folder: &Path) -> Result<Child> {
        let account = Account::find()?;
        let log = File::options().create(true).append(true).open(folder.join("log"))?;
        for (name, content) in &self.files {
            let path = folder.join(name);
            std::fs::write(&path, content)?;
            account.own(&path)?;
        }
        account.own(folder)?;
        let mut command = self.in_own_session();
        command
            .args(&self.arguments)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if self.runs_as == RunsAs::Server {
            account.apply(&mut command);
        }
        command.spawn().with_context(|| format!("cannot run {}", self.program.display()))
    }
}

impl PoolerSpec {
    /// In a session of its own, as a service is: Linux deals CPU time out by session, so one that
    /// shares its session with the load has to share the load's part. Where there is no `setsid`,
    /// in a process group of its own.
    fn in_own_session(&self) -> Command {
        let Some(setsid) = find("setsid") else {
            let mut command = Command::new(&self.program);
            command.process_group(0);
            return command;
        };
        // It leads no group yet, so the program takes setsid's place and keeps its process id.
        let mut command = Command::new(setsid);
        command.arg(&self.program);
        command
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // Whoever is gone already needs no end; the folder goes with the cluster's at the latest.
        if let Some(group) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        // It may not lead its group yet.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Where a program is: on the PATH, or where Debian keeps those of administrators, which is on
/// the PATH of root only.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|program| program.is_file())
}

fn logs(folder: &Path) -> String {
    std::fs::read_to_string(folder.join("log")).unwrap_or_default()
}
