//! pgherd beside PgBouncer, on the same ini, before the same node.

use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use pgherd_core::pgbouncer::convert;
use pgherd_lab::{Cluster, Pooler, PoolerSpec, RunsAs, cluster, pooler};
use pgherd_server::Server;
use pgherd_wire::startup::PROTOCOL_3_0;

use super::raw::Raw;

/// Both, with logins that they trust: `app`, and `dba`, whom the console is for.
pub struct Beside {
    ours: Server,
    our_folder: PathBuf,
    theirs: Pooler,
    their_folder: PathBuf,
}

impl Beside {
    /// The lines of the database `app` and of `[pgbouncer]` go to both.
    pub fn start(cluster: &Cluster, of_database: &str, more: &str) -> Self {
        let node = cluster.coordinator();
        // One after the other may be before the same cluster.
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let (our_name, their_name) = (format!("pgherd-{number}"), format!("pgbouncer-{number}"));
        let [our_folder, their_folder] =
            [&our_name, &their_name].map(|name| cluster.folder().join(name));
        let ini = |port: u16, sockets: &str| {
            format!(
                "[databases]\napp = host={} port={} {of_database}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir = {sockets}\nauth_type = trust\nauth_file = userlist.txt\n\
                 admin_users = dba\npool_mode = transaction\nserver_login_retry = 0.1\n{more}\n",
                node.host, node.port
            )
        };
        let users = format!("\"{}\" \"{}\"\n\"dba\" \"none\"\n", cluster::USER, cluster::PASSWORD);
        std::fs::create_dir(&our_folder).unwrap();
        let mut read = |_: &str| Ok(users.clone());
        let text = ini(cluster::free_port().unwrap(), our_folder.to_str().unwrap());
        let converted = convert(&text, "pgbouncer.ini", &mut read).unwrap();
        let ours = Server::start(&converted.settings).unwrap();
        let spec = |port| {
            Ok(PoolerSpec {
                name: their_name.clone(),
                program: pooler::find("pgbouncer").unwrap(),
                arguments: vec!["pgbouncer.ini".to_owned()],
                files: vec![
                    ("pgbouncer.ini".to_owned(), ini(port, ".")),
                    ("userlist.txt".to_owned(), users.clone()),
                ],
                says: Some(format!("listening on 127.0.0.1:{port}")),
                runs_as: RunsAs::Server,
            })
        };
        let theirs = Pooler::start(cluster, spec).unwrap();
        Self { ours, our_folder, theirs, their_folder }
    }

    pub fn ours(&self) -> SocketAddr {
        self.ours.address()
    }

    pub fn theirs(&self) -> SocketAddr {
        self.theirs.address()
    }

    /// What `say` finds at both, which has to be the same.
    pub fn same<T: PartialEq + std::fmt::Debug>(&self, say: impl Fn(SocketAddr) -> T) -> T {
        let (ours, theirs) = (say(self.ours()), say(self.theirs()));
        assert_eq!(ours, theirs, "ours, and theirs");
        ours
    }

    /// A client of either that has logged in over its Unix socket.
    pub fn over_unix(&self, at: SocketAddr, parameters: &[(&str, &str)]) -> Raw<UnixStream> {
        let folder = if at == self.ours() { &self.our_folder } else { &self.their_folder };
        let stream = UnixStream::connect(folder.join(format!(".s.PGSQL.{}", at.port()))).unwrap();
        let mut raw = Raw::over(stream, PROTOCOL_3_0, parameters);
        raw.until('Z');
        raw
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.ours.stopper().stop();
    }
}

/// A client that has logged in, and what it was told of its parameters.
pub fn log_in(at: SocketAddr, parameters: &[(&str, &str)]) -> (Raw, Vec<(String, String)>) {
    let mut raw = Raw::start_at(at, PROTOCOL_3_0, parameters);
    let told = raw.until('Z');
    (raw, told.into_iter().filter_map(parameter_of).collect())
}

/// Name and value of a ParameterStatus.
pub fn parameter_of((tag, body): (char, Vec<u8>)) -> Option<(String, String)> {
    let mut words = body.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word));
    (tag == 'S').then(|| (words.next().unwrap().into_owned(), words.next().unwrap().into_owned()))
}
