//! PgBouncer in front of one node.

use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::account::Account;
use crate::cluster::{PASSWORD, USER, free_port};
use crate::node::answers;
use crate::{Cluster, Node};

/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Tries to start it on another port when somebody took the first.
const PORT_TRIES: usize = 5;

/// PgBouncer in transaction mode in front of one node, for the logins of the lab. It ends when it
/// is dropped, and with its cluster at the latest.
///
/// Each transaction gets another backend, as long as there are several: what works here does not
/// depend on meeting the same one again.
#[derive(Debug)]
pub struct PgBouncer {
    child: Child,
    node: String,
    port: u16,
}

impl PgBouncer {
    /// Whether there is none on this machine, so that a test cannot run. Says so aloud.
    pub fn is_missing() -> bool {
        let is_missing = find().is_none();
        if is_missing {
            let why = b"\nSKIPPED: no PgBouncer here; `cargo x setup` installs it on Debian\n";
            // Not by a macro: the test harness would keep what those print to itself.
            let _ = std::io::stderr().write_all(why);
        }
        is_missing
    }

    /// Starts one in front of a node of a cluster and waits until it takes logins.
    ///
    /// # Errors
    /// When it is not installed, and what it says if it ends instead of starting.
    pub fn start(cluster: &Cluster, node: &Node) -> Result<Self> {
        let program = find().context(
            "no PgBouncer on the PATH or in /usr/sbin: run `cargo x setup`, or \
             `apt-get install pgbouncer`",
        )?;
        // Inside the cluster's folder, so that its guardian ends it, too.
        let folder = cluster.folder().join(format!("pgbouncer-{}", node.name));
        std::fs::create_dir(&folder)?;
        let users = format!("\"{USER}\" \"{PASSWORD}\"\n\"postgres\" \"{PASSWORD}\"\n");
        std::fs::write(folder.join("userlist.txt"), users)?;
        let mut tries = 1;
        loop {
            match start_on(free_port()?, &program, &folder, node) {
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

    /// The name of the node behind it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its TCP port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Whoever is gone already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian's place, which is on the PATH of root only.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}

fn start_on(port: u16, program: &Path, folder: &Path, node: &Node) -> Result<PgBouncer> {
    let account = Account::find()?;
    let ini = folder.join("pgbouncer.ini");
    std::fs::write(&ini, settings(port, node))?;
    for path in [folder, &folder.join("userlist.txt"), &ini] {
        account.own(path)?;
    }
    let log_path = folder.join("log");
    let log = File::options().create(true).append(true).open(&log_path)?;
    let mut command = Command::new(program);
    command
        .arg("pgbouncer.ini")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    account.apply(&mut command);
    let child = command.spawn().context("cannot run pgbouncer")?;
    let mut started = PgBouncer { child, node: node.name.clone(), port };
    let words = || std::fs::read_to_string(&log_path).unwrap_or_default();
    let deadline = Instant::now() + PATIENCE;
    // Its own word before an answer: on a port that somebody else has taken meanwhile, it is
    // somebody else who answers.
    while !(words().contains(&format!("listening on 127.0.0.1:{port}"))
        && answers(SocketAddr::from(([127, 0, 0, 1], port))).unwrap_or(false))
    {
        if let Some(status) = started.child.try_wait()? {
            bail!("pgbouncer ended with {status} instead of starting: {}", words().trim());
        }
        if words().contains("Address already in use") || Instant::now() > deadline {
            bail!("pgbouncer has not started: {}", words().trim());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(started)
}

fn settings(port: u16, node: &Node) -> String {
    format!(
        "[databases]\n\
         * = host={} port={}\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\n\
         listen_port = {port}\n\
         unix_socket_dir =\n\
         auth_type = scram-sha-256\n\
         auth_file = userlist.txt\n\
         stats_users = postgres\n\
         pool_mode = transaction\n\
         max_client_conn = 500\n\
         default_pool_size = 6\n\
         ; The backend that was idle for longest: another one for each transaction.\n\
         server_round_robin = 1\n\
         ; Tests kill servers, and do not wait for 15 s afterwards.\n\
         server_login_retry = 0.1\n\
         query_wait_timeout = 3\n",
        node.host, node.port
    )
}
