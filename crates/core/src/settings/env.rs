//! Reads environment variables.
//!
//! | Variable                                    | Meaning                                        |
//! |---------------------------------------------|------------------------------------------------|
//! | `COORDINATOR_HOST`                          | required; `host` or `host:port`                |
//! | `COORDINATOR_PORT`                          | default 5432                                   |
//! | `COORDINATOR_DB`                            | the database on every node, default `postgres` |
//! | `COORDINATOR_USER`, `COORDINATOR_PASSWORD`  | the login on every node, default `postgres`    |
//! | `WORKER_HOSTS`                              | list; items may be `host:port`                 |
//! | `WORKER_PORTS`                              | one for all, or one for each                   |
//! | `WORKER_SHARD_IDS`                          | one for each; default 0, 1, 2, ...             |
//! | `REPLICA_HOSTS`, `REPLICA_PORTS`            | as for workers; replicas of the coordinator    |
//! | `REPLICA_SHARD_IDS`                         | one for each; an empty item is the coordinator's |
//! | `PGHERD_LISTEN`                             | `address:port`, `address` or `:port`           |
//! | `PGHERD_WORKERS`                            | the same as `PGHERD_LISTEN_WORKERS`            |
//! | `PGHERD_<SECTION>_<NAME>`                   | any setting: `PGHERD_POOL_SIZE`, `PGHERD_RETRY_JITTER` |
//!
//! Lists are separated by commas. An IPv6 address with a port stands in brackets. An empty
//! variable is the same as an absent one.

use super::section::{Range, Section, Source};
use super::value::{Secret, Value};
use super::{
    ClusterSettings, ListenSettings, NodeSettings, Settings, SettingsError, SettingsErrors,
    UserSettings, check,
};
use crate::id::ShardId;
use crate::topology::NodeRole;

type Variable<'v> = &'v dyn Fn(&str) -> Option<String>;

pub(super) fn read(variable: Variable<'_>) -> Result<Settings, SettingsErrors> {
    let mut env = Environment { variable, found: Vec::new() };
    let settings = read_all(&mut env);
    if env.found.is_empty() {
        for (path, problem) in check::check(&settings) {
            env.refuse(variable_of(&path), problem);
        }
    }
    if env.found.is_empty() { Ok(settings) } else { Err(SettingsErrors(env.found)) }
}

/// The variable that a problem with a setting is about.
fn variable_of(path: &str) -> String {
    match path {
        "cluster.database" => "COORDINATOR_DB".to_owned(),
        "listen.address" => "PGHERD_LISTEN".to_owned(),
        "user" => "COORDINATOR_USER".to_owned(),
        "node" | "node.coordinator" => "COORDINATOR_HOST".to_owned(),
        node if node.starts_with("node.coordinator-r") => "REPLICA_HOSTS".to_owned(),
        node if node.starts_with("node.") => "WORKER_SHARD_IDS, REPLICA_SHARD_IDS".to_owned(),
        other => format!("PGHERD_{}", other.replace('.', "_").to_ascii_uppercase()),
    }
}

struct Environment<'v> {
    variable: Variable<'v>,
    found: Vec<SettingsError>,
}

impl Environment<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.variable)(name).filter(|value| !value.trim().is_empty())
    }

    fn refuse(&mut self, name: String, problem: String) {
        self.found.push(SettingsError { file: None, line: None, setting: Some(name), problem });
    }

    fn read<T: Value>(&mut self, name: &str, range: &Range<T>) -> Option<T> {
        let text = self.get(name)?;
        let value = T::from_text(text.trim()).and_then(|value| {
            range.check(&value)?;
            Ok(value)
        });
        value.map_err(|problem| self.refuse(name.to_owned(), problem)).ok()
    }

    fn section<S: Section>(&mut self) -> S {
        S::read(&mut SectionSource { section: S::NAME, env: self })
    }

    /// The items of a list; empty ones are kept, for lists where they mean something.
    fn list(&self, name: &str) -> Vec<String> {
        let text = self.get(name).unwrap_or_default();
        if text.is_empty() {
            return Vec::new();
        }
        text.split(',').map(|item| item.trim().to_owned()).collect()
    }

    /// One value for each of `count` nodes: a list as long, a single one for all, or none.
    fn each<T: Value + Clone>(&mut self, name: &str, count: usize, of: &str) -> Vec<Option<T>> {
        let items = self.list(name);
        let one_for_all = items.len() == 1 && count > 0;
        if !items.is_empty() && !one_for_all && items.len() != count {
            let problem = format!("has {} items for {count} in {of}", items.len());
            self.refuse(name.to_owned(), problem);
            return vec![None; count];
        }
        let mut values = Vec::with_capacity(count);
        for item in items.iter().cycle().take(if items.is_empty() { 0 } else { count }) {
            let value = (!item.is_empty()).then(|| T::from_text(item)).transpose();
            values.push(value.unwrap_or_else(|problem| {
                self.refuse(name.to_owned(), problem);
                None
            }));
        }
        values.resize(count, None);
        values
    }

    /// Hosts with their ports: the port of the item itself, else of the list, else 5432.
    fn hosts(&mut self, hosts: &str, ports: &str) -> Vec<(String, u16)> {
        let items = self.list(hosts);
        let listed: Vec<Option<u16>> = self.each(ports, items.len(), hosts);
        let mut nodes = Vec::new();
        for (item, listed) in items.iter().zip(listed) {
            let (host, own) = split_port(item);
            let own = own.map(u16::from_text).transpose();
            let own = own.unwrap_or_else(|problem| {
                self.refuse(hosts.to_owned(), format!("in `{item}`: {problem}"));
                None
            });
            if host.is_empty() {
                self.refuse(hosts.to_owned(), "an item of the list has no host".to_owned());
            }
            nodes.push((host.to_owned(), own.or(listed).unwrap_or(5432)));
        }
        nodes
    }
}

/// `host:port`, `[v6]:port`, or a host alone; an IPv6 address without brackets has no port.
fn split_port(item: &str) -> (&str, Option<&str>) {
    if let Some((host, rest)) = item.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':'));
    }
    match item.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (item, None),
    }
}

struct SectionSource<'s, 'v> {
    section: &'static str,
    env: &'s mut Environment<'v>,
}

impl Source for SectionSource<'_, '_> {
    fn take<T: Value>(&mut self, name: &'static str, default: T, range: &Range<T>) -> T {
        let variable = format!("PGHERD_{}_{name}", self.section).to_ascii_uppercase();
        self.env.read(&variable, range).unwrap_or(default)
    }
}

fn read_all(env: &mut Environment<'_>) -> Settings {
    let mut cluster: ClusterSettings = env.section();
    if let Some(database) = env.get("COORDINATOR_DB") {
        cluster.database = database;
    }
    let mut listen: ListenSettings = env.section();
    if let Some(door) = env.get("PGHERD_LISTEN") {
        let (address, port) = split_port(door.trim());
        if !address.is_empty() {
            listen.address = address.to_owned();
        }
        match port.map(u16::from_text).transpose() {
            Ok(port) => listen.port = port.unwrap_or(listen.port),
            Err(problem) => env.refuse("PGHERD_LISTEN".to_owned(), problem),
        }
    }
    if let Some(workers) = env.read("PGHERD_WORKERS", &Range::Between(0..=64)) {
        listen.workers = workers;
    }
    let name = env.get("COORDINATOR_USER").unwrap_or_else(|| "postgres".to_owned());
    // A password may end in a blank, and is taken as it is.
    let password = Secret::new((env.variable)("COORDINATOR_PASSWORD").unwrap_or_default());
    Settings {
        cluster,
        nodes: read_nodes(env),
        users: vec![UserSettings { name, password }],
        listen,
        pool: env.section(),
        health: env.section(),
        retry: env.section(),
        routing: env.section(),
        transactions: env.section(),
        tls: env.section(),
    }
}

fn read_nodes(env: &mut Environment<'_>) -> Vec<NodeSettings> {
    let mut nodes = Vec::new();
    let mut add = |host, port, role, shard: Option<u16>| {
        nodes.push(NodeSettings {
            name: String::new(),
            host,
            port,
            role,
            shard: shard.map(ShardId),
            weight: 1,
            zone: String::new(),
            server_name: String::new(),
        });
    };

    let coordinators = env.hosts("COORDINATOR_HOST", "COORDINATOR_PORT");
    match &coordinators[..] {
        [] => env.refuse("COORDINATOR_HOST".to_owned(), "is required".to_owned()),
        [(host, port)] => add(host.clone(), *port, NodeRole::Coordinator, None),
        _ => env.refuse("COORDINATOR_HOST".to_owned(), "names more than one host".to_owned()),
    }

    let workers = env.hosts("WORKER_HOSTS", "WORKER_PORTS");
    let mut shards: Vec<Option<u16>> = env.each("WORKER_SHARD_IDS", workers.len(), "WORKER_HOSTS");
    if shards.iter().all(Option::is_none) {
        shards = (0..workers.len()).map(|index| u16::try_from(index).ok()).collect();
    }
    for ((host, port), shard) in workers.into_iter().zip(shards) {
        add(host, port, NodeRole::Worker, shard);
    }

    let replicas = env.hosts("REPLICA_HOSTS", "REPLICA_PORTS");
    let shards = env.each("REPLICA_SHARD_IDS", replicas.len(), "REPLICA_HOSTS");
    for ((host, port), shard) in replicas.into_iter().zip(shards) {
        add(host, port, NodeRole::Replica, shard);
    }
    check::name_nodes(&mut nodes);
    nodes
}
