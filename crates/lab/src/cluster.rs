//! Coordinator, shards and replicas: brought up in seconds, gone without a trace.

use std::fs::Permissions;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Engine;
use crate::account::Account;
use crate::guardian::Guardian;
use crate::node::{Node, Role, StopMode, run};

/// Ports are taken from below the range the system takes for outgoing connections (32768 on
/// Linux), or one of those could sit on a port between our looking and the server's start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// Tries to start a node on another port when somebody took the first.
const PORT_TRIES: usize = 5;

/// The longest path of a cluster's folder: a Unix socket's path has at most 107 bytes, and
/// `/coordinator-r99/.s.PGSQL.32000` is to follow.
const PATH_LENGTH: usize = 107 - 31;

const STATE: &str = "cluster.json";

/// What to bring up.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Shards beside the coordinator.
    pub shards: u16,
    /// Replicas of the coordinator.
    pub coordinator_replicas: u16,
    /// Replicas of each shard.
    pub shard_replicas: u16,
    /// Where: a folder that is empty or does not exist yet; or a new temporary one.
    pub folder: Option<PathBuf>,
    /// Whether data survives a crash of the machine. Off: nothing is worth it in a test, and a
    /// killed server loses nothing by it.
    pub fsync: bool,
    /// Settings for every server, as lines of `postgresql.conf`.
    pub settings: Vec<String>,
    /// What the servers take encrypted connections with; without it they take none.
    pub tls: Option<ServerTls>,
    /// Lines to precede those of `pg_hba.conf`, which let everybody in with a password.
    pub hba: Vec<String>,
}

/// A server's certificate, all in PEM.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// Its certificate, and those between it and the authority.
    pub cert: String,
    /// The key of that.
    pub key: String,
    /// The authority of clients' certificates, if the server asks for any.
    pub client_ca: Option<String>,
}

impl ServerTls {
    /// Writes the files into a data folder; the settings that name them.
    fn install(&self, data: &Path, account: Account) -> Result<Vec<String>> {
        let mut settings = vec!["ssl = on".to_owned()];
        let files = [
            ("ssl_cert_file", "server.crt", Some(&self.cert)),
            ("ssl_key_file", "server.key", Some(&self.key)),
            ("ssl_ca_file", "clients.crt", self.client_ca.as_ref()),
        ];
        for (setting, name, content) in files {
            let Some(content) = content else { continue };
            let path = data.join(name);
            std::fs::write(&path, content)?;
            std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
            account.own(&path)?;
            settings.push(format!("{setting} = '{name}'"));
        }
        Ok(settings)
    }
}

impl Default for ClusterSpec {
    /// One coordinator, nothing else.
    fn default() -> Self {
        Self {
            shards: 0,
            coordinator_replicas: 0,
            shard_replicas: 0,
            folder: None,
            fsync: false,
            settings: Vec::new(),
            tls: None,
            hba: Vec::new(),
        }
    }
}

/// The role applications use in a lab: owner of the database, no superuser.
pub const USER: &str = "app";
/// Its password, and that of the superuser `postgres`.
pub const PASSWORD: &str = "app-secret";
/// The database of every node.
pub const DATABASE: &str = "app";

/// A running cluster. Dropping it ends its servers and removes its folder.
#[derive(Debug)]
pub struct Cluster {
    state: State,
    folder: PathBuf,
    guardian: Option<Guardian>,
}

#[derive(Debug, Serialize, Deserialize)]
struct State {
    version: String,
    nodes: Vec<Node>,
}

impl Cluster {
    /// Brings a cluster up: PostgreSQL is looked for by [`Engine::find`]. When this returns,
    /// every node answers and every replica streams.
    ///
    /// # Errors
    /// What failed, with the last lines of that server's log. Nothing is left behind.
    pub fn start(spec: &ClusterSpec) -> Result<Self> {
        let engine = Engine::find()?;
        let account = Account::find()?;
        let folder = make_folder(spec.folder.as_deref(), account)?;
        let guardian = Guardian::set_on(&folder)?;
        let state = State { version: engine.version().to_owned(), nodes: Vec::new() };
        let mut cluster = Self { state, folder, guardian: Some(guardian) };
        cluster.bring_up(spec, &engine, account)?;
        cluster.save()?;
        Ok(cluster)
    }

    /// The cluster that [`Self::detach`] left in a folder.
    ///
    /// # Errors
    /// When there is none.
    pub fn attach(folder: &Path) -> Result<Self> {
        let path = folder.join(STATE);
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("no cluster in {}: bring one up first", folder.display()))?;
        let state = serde_json::from_str(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok(Self { state, folder: folder.canonicalize()?, guardian: None })
    }

    /// Whether a folder holds a cluster.
    pub fn is_in(folder: &Path) -> bool {
        folder.join(STATE).exists()
    }

    /// Lets it live on after this program. `destroy` ends it.
    ///
    /// # Errors
    /// When its guardian is gone.
    pub fn detach(mut self) -> Result<()> {
        self.guardian.take().map_or(Ok(()), Guardian::detach)
    }

    /// Ends it and removes its folder, as dropping a cluster does that was not detached.
    ///
    /// # Errors
    /// When the folder is still there afterwards.
    pub fn destroy(mut self) -> Result<()> {
        let guardian = match self.guardian.take() {
            Some(guardian) => guardian,
            None => Guardian::set_on(&self.folder)?,
        };
        drop(guardian);
        if self.folder.exists() {
            bail!("{} could not be removed", self.folder.display());
        }
        Ok(())
    }

    /// All nodes: the coordinator and its replicas, then each shard and its replicas.
    pub fn nodes(&self) -> &[Node] {
        &self.state.nodes
    }

    /// The version of its servers, such as `15.18`.
    pub fn version(&self) -> &str {
        &self.state.version
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node of this name.
    ///
    /// # Errors
    /// Lists the names there are.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes().iter().find(|node| node.name == name);
        found.with_context(|| {
            let names: Vec<&str> = self.nodes().iter().map(|node| node.name.as_str()).collect();
            format!("there is no node `{name}`, only {}", names.join(", "))
        })
    }

    /// The primary of the coordinator group, as the cluster was made.
    pub fn coordinator(&self) -> &Node {
        &self.nodes()[0]
    }

    /// The replicas of a shard, or of the coordinator.
    pub fn replicas(&self, shard: Option<u16>) -> impl Iterator<Item = &Node> {
        self.nodes().iter().filter(move |node| node.role == Role::Replica && node.shard == shard)
    }

    /// The primaries of the shards, in order.
    pub fn workers(&self) -> impl Iterator<Item = &Node> {
        self.nodes().iter().filter(|node| node.role == Role::Worker)
    }

    /// Lets the guardian end what is left of this program inside the folder, too.
    ///
    /// # Errors
    /// When there is no such program.
    pub(crate) fn guard(&self, program: &Path) -> Result<()> {
        let path = program.canonicalize();
        let path = path.with_context(|| format!("there is no program {}", program.display()))?;
        let list = self.folder.join("guarded");
        let listed = std::fs::read_to_string(&list).unwrap_or_default();
        let line = path.display().to_string();
        if listed.lines().any(|known| known == line) {
            return Ok(());
        }
        Ok(std::fs::write(list, format!("{listed}{line}\n"))?)
    }

    /// Waits until each replica has replayed what its primary has written by now.
    ///
    /// # Errors
    /// As [`Node::wait_caught_up`].
    pub fn wait_caught_up(&self) -> Result<()> {
        for replica in self.nodes().iter().filter(|node| node.role == Role::Replica) {
            let primary = self
                .nodes()
                .iter()
                .find(|node| node.role != Role::Replica && node.shard == replica.shard)
                .context("a replica has a primary")?;
            replica.wait_caught_up(primary)?;
        }
        Ok(())
    }

    /// Makes a node a standby of another, from a new copy of that one's data; its own is removed.
    ///
    /// # Errors
    /// What failed; the node may then have no data.
    pub fn rejoin(&self, node: &Node, primary: &Node) -> Result<()> {
        node.stop(StopMode::Immediate)?;
        std::fs::remove_dir_all(node.data())?;
        base_backup(primary, node, Account::find()?)?;
        node.start()
    }

    /// Settings for pgherd in front of this cluster: nodes, database, user. `more` is appended.
    pub fn settings_toml(&self, more: &str) -> String {
        let mut text = format!("[cluster]\nname = \"lab\"\ndatabase = \"{DATABASE}\"\n");
        for node in self.nodes() {
            let Node { name, host, port, .. } = node;
            let role = node.role.as_str();
            text += &format!(
                "\n[[node]]\nname = \"{name}\"\nhost = \"{host}\"\nport = {port}\nrole = \"{role}\"\n"
            );
            if let Some(shard) = node.shard {
                text += &format!("shard = {shard}\n");
            }
        }
        text + &format!("\n[[user]]\nname = \"{USER}\"\npassword = \"{PASSWORD}\"\n\n{more}")
    }

    /// The same as environment variables, in the form of a `.env` file.
    pub fn settings_env(&self) -> String {
        let mut text = format!(
            "COORDINATOR_HOST={}\nCOORDINATOR_DB={DATABASE}\nCOORDINATOR_USER={USER}\n\
             COORDINATOR_PASSWORD={PASSWORD}\n",
            self.coordinator().address()
        );
        let mut add = |list: &str, shards: &str, role: Role| {
            let nodes: Vec<&Node> = self.nodes().iter().filter(|node| node.role == role).collect();
            if nodes.is_empty() {
                return;
            }
            let hosts: Vec<String> = nodes.iter().map(|node| node.address().to_string()).collect();
            let shard = |node: &&Node| node.shard.map_or(String::new(), |shard| shard.to_string());
            let ids: Vec<String> = nodes.iter().map(shard).collect();
            text += &format!("{list}={}\n{shards}={}\n", hosts.join(","), ids.join(","));
        };
        add("WORKER_HOSTS", "WORKER_SHARD_IDS", Role::Worker);
        add("REPLICA_HOSTS", "REPLICA_SHARD_IDS", Role::Replica);
        text
    }

    fn save(&self) -> Result<()> {
        let path = self.folder.join(STATE);
        Ok(std::fs::write(path, serde_json::to_vec_pretty(&self.state)?)?)
    }

    fn bring_up(&mut self, spec: &ClusterSpec, engine: &Engine, account: Account) -> Result<()> {
        let template = self.folder.join("template");
        make_template(&template, spec, engine, account)?;
        let mut primaries = vec![self.plan("coordinator", Role::Coordinator, None, engine)?];
        for shard in 0..spec.shards {
            primaries.push(self.plan(
                &format!("shard-{shard}"),
                Role::Worker,
                Some(shard),
                engine,
            )?);
        }
        let (coordinator, workers) = primaries.split_at_mut(1);
        in_parallel(workers, |worker| copy_data(&template, &worker.data(), account))?;
        std::fs::rename(&template, coordinator[0].data())?;
        in_parallel(&mut primaries, start_on_some_port)?;
        let mut replicas = Vec::new();
        for primary in &primaries {
            let count = match primary.role {
                Role::Coordinator => spec.coordinator_replicas,
                Role::Worker | Role::Replica => spec.shard_replicas,
            };
            for at in 1..=count {
                let name = format!("{}-r{at}", primary.name);
                let replica = self.plan(&name, Role::Replica, primary.shard, engine)?;
                replicas.push((primary.clone(), replica));
            }
        }
        in_parallel(&mut replicas, |(primary, replica)| {
            base_backup(primary, replica, account)?;
            start_on_some_port(replica)
        })?;
        let mut nodes = primaries;
        nodes.extend(replicas.into_iter().map(|(_, replica)| replica));
        // Stable, so that a primary stays before its replicas, and these in order.
        nodes.sort_by_key(|node| node.shard);
        self.state.nodes = nodes;
        self.wait_caught_up()
    }

    fn plan(&self, name: &str, role: Role, shard: Option<u16>, engine: &Engine) -> Result<Node> {
        let folder = self.folder.join(name);
        std::fs::create_dir(&folder)?;
        Account::find()?.own(&folder)?;
        let host = "127.0.0.1".to_owned();
        let (name, bin) = (name.to_owned(), engine.bin().to_owned());
        Ok(Node { name, role, shard, host, port: free_port()?, folder, bin })
    }
}

/// A folder of this process. One that was killed may have left its own behind, and its id to this.
fn new_folder() -> Result<PathBuf> {
    static MADE: AtomicU16 = AtomicU16::new(0);
    loop {
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("pgherd-lab-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        match std::fs::create_dir(&folder) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && number < u16::MAX => {}
            made => return made.with_context(|| cannot_make(&folder)).map(|()| folder),
        }
    }
}

fn cannot_make(folder: &Path) -> String {
    format!("cannot make the folder {}", folder.display())
}

fn make_folder(wanted: Option<&Path>, account: Account) -> Result<PathBuf> {
    let folder = match wanted {
        Some(folder) => {
            match std::fs::create_dir(folder) {
                Err(_) if is_empty(folder) => {}
                made => made.with_context(|| cannot_make(folder))?,
            }
            folder.to_owned()
        }
        None => new_folder()?,
    };
    let made = own_folder(&folder, account);
    if made.is_err() {
        // Nothing is left behind; the first error says more than one from here would.
        let _ = std::fs::remove_dir(&folder);
    }
    made
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}

fn own_folder(folder: &Path, account: Account) -> Result<PathBuf> {
    // Whoever reaches the sockets inside is let in as superuser.
    std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
    account.own(folder)?;
    let folder = folder.canonicalize()?;
    let length = folder.as_os_str().len();
    if length > PATH_LENGTH {
        let folder = folder.display();
        bail!("{folder} has {length} bytes, and sockets inside leave room for {PATH_LENGTH}");
    }
    account.check_entry(&folder)?;
    Ok(folder)
}

/// Makes a data folder with everything in it that all primaries share: `initdb` takes longer
/// than a copy of what it has made.
fn make_template(
    template: &Path,
    spec: &ClusterSpec,
    engine: &Engine,
    account: Account,
) -> Result<()> {
    let secret = template.with_extension("password");
    std::fs::write(&secret, PASSWORD)?;
    account.own(&secret)?;
    let mut initdb = Command::new(engine.program("initdb"));
    initdb
        .arg("-D")
        .arg(template)
        .args(["-U", "postgres", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"])
        .args(["--auth-host=scram-sha-256", "--auth-local=trust"])
        .arg(format!("--pwfile={}", secret.display()))
        // Where the guardian looks for what belongs to the cluster; so for each command below.
        .current_dir(folder_of(template));
    account.apply(&mut initdb);
    run(&mut initdb)?;
    std::fs::remove_file(&secret)?;
    let mut settings = vec![
        "listen_addresses = '127.0.0.1'".to_owned(),
        "max_connections = 200".to_owned(),
        "max_prepared_transactions = 64".to_owned(),
        "max_wal_senders = 10".to_owned(),
        "max_replication_slots = 10".to_owned(),
        "wal_keep_size = '256MB'".to_owned(),
        // A replica that finds its primary not ready yet asks again at once, not after 5 s.
        "wal_retrieve_retry_interval = '100ms'".to_owned(),
        "shared_buffers = '32MB'".to_owned(),
        // In files below the data folder: a killed server's memory then goes with its folder.
        "dynamic_shared_memory_type = 'mmap'".to_owned(),
        "timezone = 'UTC'".to_owned(),
        "log_line_prefix = '%m [%p] %q%u@%d '".to_owned(),
        format!("fsync = {}", if spec.fsync { "on" } else { "off" }),
    ];
    if let Some(tls) = &spec.tls {
        settings.extend(tls.install(template, account)?);
    }
    settings.extend(spec.settings.iter().cloned());
    let hba = template.join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba)?;
    std::fs::write(&hba, format!("{}\n{rules}", spec.hba.join("\n")))?;
    append(&template.join("postgresql.conf"), &settings.join("\n"))?;
    let mut single = Command::new(engine.program("postgres"));
    single.args(["--single", "-D"]).arg(template).args([
        "-c",
        "log_min_messages=fatal",
        "postgres",
    ]);
    single.current_dir(folder_of(template));
    account.apply(&mut single);
    feed(
        &mut single,
        &format!(
            "create role {USER} login password '{PASSWORD}';\n\
             create database {DATABASE} owner {USER};\n"
        ),
    )
}

fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

fn append(path: &Path, text: &str) -> Result<()> {
    let before = std::fs::read_to_string(path)?;
    Ok(std::fs::write(path, format!("{before}\n{text}\n"))?)
}

/// Runs a program with `input` as its standard input.
fn feed(command: &mut Command, input: &str) -> Result<()> {
    use std::io::Write;
    use std::process::Stdio;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run postgres --single")?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || said.contains("ERROR") {
        bail!("postgres --single failed with {}: {}", output.status, said.trim());
    }
    Ok(())
}

fn copy_data(from: &Path, to: &Path, account: Account) -> Result<()> {
    let mut copy = Command::new("cp");
    copy.arg("-a").arg(from).arg(to).current_dir(folder_of(to));
    account.apply(&mut copy);
    run(&mut copy)
}

fn base_backup(primary: &Node, replica: &Node, account: Account) -> Result<()> {
    let mut backup = Command::new(primary.bin.join("pg_basebackup"));
    // A slot, so that a replica that was away for long finds what it has missed.
    let slot = replica.name.replace('-', "_");
    backup
        .arg("-D")
        .arg(replica.data())
        .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &primary.port.to_string()])
        .args(["-R", "-X", "stream", "-c", "fast", "--no-sync", "-C", "-S", &slot])
        .env("PGPASSWORD", PASSWORD)
        .current_dir(&replica.folder);
    account.apply(&mut backup);
    run(&mut backup)
}

fn start_on_some_port(node: &mut Node) -> Result<()> {
    let mut tries = 1;
    loop {
        match node.start() {
            Err(error)
                if error.to_string().contains("Address already in use") && tries < PORT_TRIES =>
            {
                tries += 1;
                node.port = free_port()?;
            }
            result => return result,
        }
    }
}

/// A port on which nobody listens now.
///
/// # Errors
/// If there is none among a thousand.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Programs that start at the same time begin at different places.
    let time = SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos();
    let place = std::process::id().wrapping_mul(7919).wrapping_add(time / 1000);
    let width = u32::from(PORTS.end - PORTS.start);
    for _ in 0..1000 {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = PORTS.start + u16::try_from(place.wrapping_add(step) % width)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port among a thousand in {PORTS:?}")
}

fn in_parallel<T: Send>(items: &mut [T], act: impl Fn(&mut T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let running: Vec<_> = items.iter_mut().map(|item| scope.spawn(|| act(item))).collect();
        running.into_iter().try_for_each(|thread| {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    })
}
