//! One PostgreSQL server of a cluster.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

use crate::account::Account;
use crate::cluster::DATABASE;
use crate::engine::program;

/// How long a server may take to start, stop, promote or catch up: 60 s. A busy machine with two
/// cores and several clusters starting needs a few.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Primary of the coordinator group.
    Coordinator,
    /// Primary of a shard.
    Worker,
    /// Replica of the coordinator group, or of a shard.
    Replica,
}

impl Role {
    /// As in settings: `coordinator`, `worker`, `replica`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Coordinator => "coordinator",
            Self::Worker => "worker",
            Self::Replica => "replica",
        }
    }
}

/// Where a node is and what it is; what `pgherd dev --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// `coordinator`, `coordinator-r1`, `shard-0`, `shard-0-r1`, ...
    pub name: String,
    /// Its role when the cluster was made.
    pub role: Role,
    /// The shard it carries.
    pub shard: Option<u16>,
    /// Always `127.0.0.1`.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
    pub(crate) folder: PathBuf,
    pub(crate) bin: PathBuf,
}

/// How a server is asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends the sessions, writes everything out.
    Fast,
    /// Ends at once; the next start recovers.
    Immediate,
}

/// How a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It takes logins.
    Ready,
    /// It runs and takes no logins yet.
    Starting,
    /// Its processes are stopped, as by [`Node::freeze`].
    Frozen,
    /// It does not run.
    Down,
}

impl Health {
    /// `ready`, `starting`, `frozen`, `down`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Frozen => "frozen",
            Self::Down => "down",
        }
    }
}

impl Node {
    /// The folder of the data.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The postmaster's process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let pid: u32 = text.lines().next()?.trim().parse().ok()?;
        // A killed server leaves its file behind, and ids are used again.
        let runs_in = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
        (runs_in == self.data().canonicalize().ok()?).then_some(pid)
    }

    /// Whether it answers a login.
    pub fn is_ready(&self) -> bool {
        answers(self.address(), "postgres", "postgres").unwrap_or(false)
    }

    /// How it is, by its processes and by whether it answers.
    pub fn health(&self) -> Health {
        match self.pid() {
            None => Health::Down,
            Some(pid) if is_stopped(pid) => Health::Frozen,
            Some(_) if self.is_ready() => Health::Ready,
            Some(_) => Health::Starting,
        }
    }

    /// What it has logged since it was made.
    pub fn logs(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The path of its log.
    pub fn log_path(&self) -> PathBuf {
        self.folder.join("log")
    }

    /// Waits until it answers.
    ///
    /// # Errors
    /// The end of its log, after a minute.
    pub fn wait_ready(&self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_ready() {
            if Instant::now() > deadline {
                bail!("{} is not ready after {PATIENCE:?}: {}", self.name, self.last_words());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Starts it, unless it runs, and waits until it answers.
    ///
    /// # Errors
    /// The end of its log, if it ends instead.
    pub fn start(&self) -> Result<()> {
        if self.pid().is_some() {
            return self.wait_ready();
        }
        self.clear_locks()?;
        let log = File::options().create(true).append(true).open(self.log_path())?;
        let mut command = Command::new(self.bin.join("postgres"));
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string(), "-k"])
            .arg(&self.folder)
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        Account::find()?.apply(&mut command);
        let mut child = command.spawn().context("cannot run postgres")?;
        let deadline = Instant::now() + PATIENCE;
        // Its own word before an answer: on a port that somebody else has taken meanwhile, it is
        // somebody else who answers.
        while !self.says_ready(child.id()) {
            if let Some(status) = child.try_wait()? {
                let (name, words) = (&self.name, self.last_words());
                bail!("{name} ended with {status} instead of starting: {words}");
            }
            if Instant::now() > deadline {
                // It is not needed any more, and nobody else would end it.
                let _ = child.kill();
                bail!("{} has not started after {PATIENCE:?}: {}", self.name, self.last_words());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        // Whoever ends it reads the status; nobody else waits for it.
        std::thread::spawn(move || child.wait());
        self.wait_ready()
    }

    /// Stops it, frozen or not, and waits until it is gone.
    ///
    /// # Errors
    /// When it is still there after a minute.
    pub fn stop(&self, mode: StopMode) -> Result<()> {
        let signal = match mode {
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        let Some(pid) = self.pid() else { return Ok(()) };
        send(pid, signal)?;
        if is_stopped(pid) {
            self.thaw()?;
        }
        self.wait_gone(pid)
    }

    /// Stops and starts it.
    ///
    /// # Errors
    /// As [`Self::stop`] and [`Self::start`].
    pub fn restart(&self, mode: StopMode) -> Result<()> {
        self.stop(mode)?;
        self.start()
    }

    /// Kills it and all its processes with SIGKILL, as a power failure would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        let pid = self.running()?;
        // A child born between the list and the kill would outlive its parent for a query.
        self.hold(pid)?;
        let children = children(pid);
        // The parent first, or it would take a dead child for a crash and restart.
        send(pid, Signal::KILL)?;
        for &child in &children {
            // May have gone by itself: its parent is dead.
            let _ = send(child, Signal::KILL);
        }
        // All of them: a start finds the memory in use as long as one is there.
        children.into_iter().chain([pid]).try_for_each(|pid| self.wait_gone(pid))
    }

    /// Freezes it and all its processes: connections stay open and nothing answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        let pid = self.running()?;
        self.hold(pid)?;
        for child in children(pid) {
            // A session may end just now.
            let _ = send(child, Signal::STOP);
        }
        Ok(())
    }

    /// Lets a frozen server go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        let pid = self.running()?;
        for child in children(pid) {
            // One that was killed meanwhile is a matter for its parent.
            let _ = send(child, Signal::CONT);
        }
        send(pid, Signal::CONT)
    }

    /// Makes a replica the primary of its group, and waits until it is.
    ///
    /// # Errors
    /// When it is no replica, or does not run; else what `pg_ctl promote` says.
    pub fn promote(&self) -> Result<()> {
        self.running()?;
        if !self.data().join("standby.signal").exists() {
            bail!("{} is a primary already", self.name);
        }
        let mut command = Command::new(self.bin.join("pg_ctl"));
        command.args(["promote", "-w", "-D"]).arg(self.data()).current_dir(&self.folder);
        Account::find()?.apply(&mut command);
        run(&mut command).with_context(|| format!("cannot promote {}", self.name))
    }

    /// Runs SQL as superuser in the cluster's database; returns the rows, unaligned.
    ///
    /// # Errors
    /// What psql says.
    pub fn psql(&self, sql: &str) -> Result<String> {
        let output = self
            .psql_command()
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .context("cannot run psql")?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{} refused `{sql}`: {}", self.name, said.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// Its Unix socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{}", self.port))
    }

    /// psql, about to log in as superuser to the cluster's database through the Unix socket.
    pub fn psql_command(&self) -> Command {
        let mut psql = Command::new(program(&self.bin, "psql"));
        psql.arg("-h").arg(&self.folder).args(["-p", &self.port.to_string()]);
        psql.args(["-U", "postgres", "-d", DATABASE]);
        psql
    }

    /// Waits until this replica has replayed all that `primary` has written by now.
    ///
    /// # Errors
    /// After a minute, with both positions.
    pub fn wait_caught_up(&self, primary: &Self) -> Result<()> {
        // A record of our own: the position by itself may lie behind a page's header, where no
        // replay arrives until something is written. Transactional, so that it is flushed.
        let written = primary.psql("select pg_logical_emit_message(true, 'lab', '')")?;
        let question = format!("select pg_last_wal_replay_lsn() >= '{written}'::pg_lsn");
        let deadline = Instant::now() + PATIENCE;
        while self.psql(&question)? != "t" {
            if Instant::now() > deadline {
                let replayed = self.psql("select pg_last_wal_replay_lsn()")?;
                bail!("{} has replayed {replayed} of {written} after {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn running(&self) -> Result<u32> {
        self.pid().with_context(|| format!("{} does not run", self.name))
    }

    /// Stops one process, and returns when it does nothing any more: its children stay what
    /// they are, because a stopped parent neither forks nor reaps.
    fn hold(&self, pid: u32) -> Result<()> {
        send(pid, Signal::STOP)?;
        let deadline = Instant::now() + PATIENCE;
        while !is_stopped(pid) {
            if Instant::now() > deadline {
                bail!("{} (pid {pid}) has not stopped after {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn wait_gone(&self, pid: u32) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while Path::new(&format!("/proc/{pid}/cwd")).read_link().is_ok() {
            if Instant::now() > deadline {
                bail!("{} (pid {pid}) is still there after {PATIENCE:?}", self.name);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Removes what a killed server has left. One that nobody has waited for, as in a container
    /// without an init, keeps its process id, and its successor would take it for alive.
    fn clear_locks(&self) -> Result<()> {
        let socket = self.folder.join(format!(".s.PGSQL.{}.lock", self.port));
        for lock in [self.data().join("postmaster.pid"), socket] {
            if lock.exists() {
                std::fs::remove_file(lock)?;
            }
        }
        Ok(())
    }

    /// Whether the server with this process id has written down that it takes connections.
    fn says_ready(&self, pid: u32) -> bool {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid"));
        let text = text.unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        // `standby` is a replica that takes no queries yet: `wait_ready` sees to that.
        lines.next() == Some(pid.to_string().as_str())
            && matches!(lines.nth(6), Some("ready" | "standby"))
    }

    fn last_words(&self) -> String {
        let logs = self.logs();
        let lines: Vec<&str> = logs.lines().collect();
        lines[lines.len().saturating_sub(8)..].join(" | ")
    }
}

/// Runs a program to its end; fails with what it printed.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let output = command.stdin(Stdio::null()).output();
    let name = command.get_program().to_string_lossy().into_owned();
    let output = output.with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed with {}: {}", output.status, said.trim());
    }
    Ok(())
}

/// Whether a server at `address` asks this user for a password, or asks for none, which it does
/// once it takes logins.
pub(crate) fn answers(address: SocketAddr, user: &str, database: &str) -> Result<bool> {
    let limit = Duration::from_millis(500);
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    stream.set_read_timeout(Some(limit))?;
    let body = format!("\0\x03\0\0user\0{user}\0database\0{database}\0\0");
    let length = u32::try_from(body.len() + 4)?;
    stream.write_all(&length.to_be_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    Ok(answer == *b"R")
}

fn children(pid: u32) -> Vec<u32> {
    let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let list = list.unwrap_or_default();
    list.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

fn is_stopped(pid: u32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold anything, so the state is behind the last one.
    text.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'))
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("not a process id")?;
    Ok(kill_process(pid, signal)?)
}
