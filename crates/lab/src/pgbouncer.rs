//! PgBouncer in front of one node.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::cluster::{PASSWORD, USER};
use crate::pooler::{self, Pooler, PoolerSpec, RunsAs};
use crate::{Cluster, Node};

/// PgBouncer in transaction mode in front of one node, for the logins of the lab. It ends when it
/// is dropped, and with its cluster at the latest.
///
/// Each transaction gets another backend, as long as there are several: what works here does not
/// depend on meeting the same one again.
#[derive(Debug)]
pub struct PgBouncer {
    pooler: Pooler,
    node: String,
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
        let users = format!("\"{USER}\" \"{PASSWORD}\"\n\"postgres\" \"{PASSWORD}\"\n");
        let spec = |port| {
            Ok(PoolerSpec {
                name: format!("pgbouncer-{}", node.name),
                program: program.clone(),
                arguments: vec!["pgbouncer.ini".to_owned()],
                files: vec![
                    ("pgbouncer.ini".to_owned(), settings(port, node)),
                    ("userlist.txt".to_owned(), users.clone()),
                ],
                says: Some(format!("listening on 127.0.0.1:{port}")),
                runs_as: RunsAs::Server,
            })
        };
        Ok(Self { pooler: Pooler::start(cluster, spec)?, node: node.name.clone() })
    }

    /// The name of the node behind it.
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Its TCP port on `127.0.0.1`.
    pub fn port(&self) -> u16 {
        self.pooler.address().port()
    }

    /// What it has logged so far.
    pub fn logs(&self) -> String {
        self.pooler.logs()
    }
}

fn find() -> Option<PathBuf> {
    pooler::find("pgbouncer")
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
