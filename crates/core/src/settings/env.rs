//! Reads environment variables.
//!
//! In: variables, as pairs or through a function. Out: checked [`Settings`], or every problem with
//! the name of its variable.
//!
//! Nodes and the login have variables of their own, in [`NAMED`]. Every setting of a section has
//! one by rule, `PGHERD_<SECTION>_<NAME>`, so that none is without.

use std::collections::HashMap;

use super::section::{Range, Section, Source, reference};
use super::suggest::nearest;
use super::value::{Secret, Value};
use super::{
    ClusterSettings, ListenSettings, NodeSettings, Settings, SettingsError, SettingsErrors,
    UserSettings, check,
};
use crate::hosts::{self, split_port};
use crate::id::ShardId;
use crate::topology::NodeRole;

/// An environment variable, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VariableInfo {
    /// Its name.
    pub name: String,
    /// Its section in the file; `None` for those that describe nodes and the login.
    pub section: Option<&'static str>,
    /// The default, as it is written in TOML; empty if there is none.
    pub default: String,
    /// What it means, with unit and range.
    pub doc: String,
}

/// Variables that follow no rule: name, default, meaning.
const NAMED: [(&str, &str, &str); 28] = [
    (
        "COORDINATOR_HOST",
        "",
        "The coordinator: `host`, `host:port`, the folder of a Unix socket (`/run/postgresql`) or its abstract \
        name (`@name`); or several that lead to it, `host|host:port`. Required.",
    ),
    ("COORDINATOR_PORT", "5432", "Its port, if `COORDINATOR_HOST` has none. Range: 1 to 65535."),
    (
        "COORDINATOR_DB",
        "\"postgres\"",
        "The database on every node, as \
        `PGHERD_CLUSTER_DATABASE`.",
    ),
    ("COORDINATOR_USER", "\"postgres\"", "The login on every node."),
    ("COORDINATOR_PASSWORD", "", "Its password, taken as it is, blanks included."),
    (
        "COORDINATOR_PASSWORD_FILE",
        "",
        "In its place: a file that holds the password and nothing \
        else. Read for each new connection.",
    ),
    (
        "COORDINATOR_PASSWORD_COMMAND",
        "",
        "In its place: a command for `sh -c` that prints the \
        password. It has 10 seconds, and what it prints serves for 30.",
    ),
    (
        "PGPASSFILE",
        "",
        "Without one of the three: a file of lines \
        `host:port:database:user:password`, as for libpq.",
    ),
    ("COORDINATOR_ZONE", "\"\"", "Where it stands, for `routing.zone`."),
    (
        "COORDINATOR_SERVER_NAME",
        "\"\"",
        "The name its certificate is made out to, if that is not \
        its host.",
    ),
    (
        "COORDINATOR_LOAD_BALANCE_HOSTS",
        "",
        "How new backends are spread over its hosts: `round-robin` or `disable`. Default: as \
        `PGHERD_POOL_LOAD_BALANCE_HOSTS`.",
    ),
    ("WORKER_HOSTS", "", "The primaries of the shards: a list of hosts, as the coordinator's."),
    ("WORKER_PORTS", "5432", "Their ports, where `WORKER_HOSTS` has none."),
    ("WORKER_SHARD_IDS", "0, 1, 2, ...", "Their shards, one for each, from 0 without gaps."),
    ("WORKER_ZONES", "\"\"", "Where they stand."),
    ("WORKER_SERVER_NAMES", "\"\"", "The names of their certificates."),
    ("WORKER_LOAD_BALANCE_HOSTS", "", "How new backends are spread over their hosts."),
    ("REPLICA_HOSTS", "", "The replicas: a list of hosts."),
    ("REPLICA_PORTS", "5432", "Their ports, where `REPLICA_HOSTS` has none."),
    (
        "REPLICA_SHARD_IDS",
        "",
        "The shards they follow, one for each; an empty item is a replica of \
        the coordinator, as are all without this list.",
    ),
    ("REPLICA_WEIGHTS", "1", "Their parts of the reads, for `routing.balance`. Range: 1 to 1000."),
    ("REPLICA_ZONES", "\"\"", "Where they stand."),
    ("REPLICA_SERVER_NAMES", "\"\"", "The names of their certificates."),
    ("REPLICA_LOAD_BALANCE_HOSTS", "", "How new backends are spread over their hosts."),
    (
        "PGHERD_LISTEN",
        "\"127.0.0.1:6432\"",
        "The proxy's door: `address:port`, `address` or \
        `:port`; goes before `PGHERD_LISTEN_ADDRESS` and `PGHERD_LISTEN_PORT`.",
    ),
    ("PGHERD_WORKERS", "0", "The same as `PGHERD_LISTEN_WORKERS`, and goes before it."),
    (
        "PGHERD_LOG",
        "\"info\"",
        "What `pgherd serve` logs: error, warn, info, debug, trace, or \
        `target=level` pairs.",
    ),
    ("PGHERD_LOG_FORMAT", "\"text\"", "How `pgherd serve` logs: text or json."),
];

/// Every variable: those for nodes and the login, then one for each setting of a section.
pub fn variables() -> Vec<VariableInfo> {
    let named = NAMED.into_iter().map(|(name, default, doc)| VariableInfo {
        name: name.to_owned(),
        section: None,
        default: default.to_owned(),
        doc: doc.to_owned(),
    });
    let derived = reference().into_iter().map(|setting| VariableInfo {
        name: derived_name(setting.section, setting.name),
        section: Some(setting.section),
        default: setting.default,
        doc: setting.doc.join(" ").split_whitespace().collect::<Vec<_>>().join(" "),
    });
    named.chain(derived).collect()
}

fn derived_name(section: &str, name: &str) -> String {
    format!("PGHERD_{section}_{name}").to_ascii_uppercase()
}

/// What a name is probably meant to be that is none of ours. Names that begin as ours do may be
/// somebody else's: what is refused is `PGHERD_` and a section, and what is nearly one of ours.
fn misspelt(name: &str, known: &[VariableInfo]) -> Option<String> {
    const PREFIXES: [&str; 4] = ["PGHERD_", "COORDINATOR_", "WORKER_", "REPLICA_"];
    let is_known = |variable: &VariableInfo| variable.name == name;
    if !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || known.iter().any(is_known) {
        return None;
    }
    if let Some(near) = nearest(name, known.iter().map(|variable| variable.name.as_str())) {
        return Some(format!("unknown; did you mean `{near}`?"));
    }
    let of_section = |variable: &VariableInfo| {
        let prefix = variable.section.map(|section| derived_name(section, ""));
        prefix.is_some_and(|prefix| name.starts_with(&prefix))
    };
    let has_section = known.iter().any(of_section);
    has_section.then(|| "unknown: no setting has that name (docs/environment.md)".to_owned())
}

pub(super) fn read_pairs(
    pairs: impl IntoIterator<Item = (String, String)>,
) -> Result<Settings, SettingsErrors> {
    let pairs: HashMap<String, String> = pairs.into_iter().collect();
    let known = variables();
    let mut unknown: Vec<SettingsError> = pairs
        .keys()
        .filter_map(|name| Some((name.clone(), misspelt(name, &known)?)))
        .map(|(name, problem)| SettingsError {
            file: None,
            line: None,
            setting: Some(name),
            problem,
        })
        .collect();
    unknown.sort_by(|a, b| a.setting.cmp(&b.setting));
    match read(&|name| pairs.get(name).cloned()) {
        Ok(settings) if unknown.is_empty() => Ok(settings),
        Ok(_) => Err(SettingsErrors(unknown)),
        Err(SettingsErrors(found)) => {
            Err(SettingsErrors(unknown.into_iter().chain(found).collect()))
        }
    }
}

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
        "user.password" => "COORDINATOR_PASSWORD".to_owned(),
        "node" | "node.coordinator" => "COORDINATOR_HOST".to_owned(),
        node if node.starts_with("node.coordinator-r") => "REPLICA_HOSTS".to_owned(),
        node if node.starts_with("node.") => "WORKER_SHARD_IDS, REPLICA_SHARD_IDS".to_owned(),
        other => format!("PGHERD_{}", other.replace('.', "_").to_ascii_uppercase()),
    }
}

const PORTS: Range<u16> = Range::Between(1..=u16::MAX);

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
        let value = range.parse(text.trim());
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
    fn each<T: Value + Clone>(
        &mut self,
        name: &str,
        count: usize,
        of: &str,
        range: &Range<T>,
    ) -> Vec<Option<T>> {
        let items = self.list(name);
        let one_for_all = items.len() == 1 && count > 0;
        if !items.is_empty() && !one_for_all && items.len() != count {
            let problem = format!("has {} items for {count} in {of}", items.len());
            self.refuse(name.to_owned(), problem);
            return vec![None; count];
        }
        let mut values = Vec::with_capacity(count);
        for item in items.iter().cycle().take(if items.is_empty() { 0 } else { count }) {
            let value = (!item.is_empty()).then(|| range.parse(item));
            values.push(value.transpose().unwrap_or_else(|problem| {
                self.refuse(name.to_owned(), problem);
                None
            }));
        }
        values.resize(count, None);
        values
    }

    /// The same of texts.
    fn each_text(&mut self, name: &str, count: usize, of: &str) -> Vec<String> {
        let texts = self.each(name, count, of, &Range::Any);
        texts.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Hosts with their ports: the port of the item itself, else of the list, else 5432. An item of
    /// several hosts, `a|b`, is one node: its port is for those without one.
    fn hosts(&mut self, hosts: &str, ports: &str) -> Vec<(String, u16)> {
        let items = self.list(hosts);
        let listed: Vec<Option<u16>> = self.each(ports, items.len(), hosts, &PORTS);
        let mut nodes = Vec::new();
        for (item, listed) in items.iter().zip(listed) {
            if item.contains('|') {
                let (list, port) = (item.replace('|', ","), listed.unwrap_or(5432));
                if let Err(problem) = hosts::read(&list, port) {
                    self.refuse(hosts.to_owned(), problem.to_string());
                }
                nodes.push((list, port));
                continue;
            }
            let (host, own) = split_port(item);
            let own = own.map(|own| PORTS.parse(own)).transpose();
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

struct SectionSource<'s, 'v> {
    section: &'static str,
    env: &'s mut Environment<'v>,
}

impl Source for SectionSource<'_, '_> {
    fn take<T: Value>(&mut self, name: &'static str, default: T, range: &Range<T>) -> T {
        self.env.read(&derived_name(self.section, name), range).unwrap_or(default)
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
    Settings {
        cluster,
        nodes: read_nodes(env),
        users: vec![read_user(env)],
        databases: Vec::new(),
        peers: Vec::new(),
        listen,
        pool: env.section(),
        health: env.section(),
        retry: env.section(),
        routing: env.section(),
        transactions: env.section(),
        tls: env.section(),
        client_tls: env.section(),
        http: env.section(),
        tcp: env.section(),
        log: env.section(),
    }
}

fn read_user(env: &mut Environment<'_>) -> UserSettings {
    let name = env.get("COORDINATOR_USER").unwrap_or_else(|| "postgres".to_owned());
    // A password may end in a blank, and is taken as it is.
    let password = Secret::new((env.variable)("COORDINATOR_PASSWORD").unwrap_or_default());
    let password_file = env.get("COORDINATOR_PASSWORD_FILE").unwrap_or_default();
    let password_command =
        env.read("COORDINATOR_PASSWORD_COMMAND", &Range::Any).unwrap_or_default();
    let mut user =
        UserSettings { name, password, password_file, password_command, ..UserSettings::default() };
    // Often set for other programs: what was said to us goes before it.
    if user.password_sources().is_empty() {
        user.passfile = env.get("PGPASSFILE").unwrap_or_default();
    }
    user
}

fn read_nodes(env: &mut Environment<'_>) -> Vec<NodeSettings> {
    let mut nodes = Vec::new();
    let node = |(host, port): (String, u16), role| NodeSettings {
        name: String::new(),
        host,
        port,
        role,
        shard: None,
        weight: 1,
        zone: String::new(),
        server_name: String::new(),
        load_balance_hosts: None,
    };

    let coordinators = env.hosts("COORDINATOR_HOST", "COORDINATOR_PORT");
    match &coordinators[..] {
        [] => env.refuse("COORDINATOR_HOST".to_owned(), "is required".to_owned()),
        [coordinator] => nodes.push(NodeSettings {
            zone: env.get("COORDINATOR_ZONE").unwrap_or_default(),
            server_name: env.get("COORDINATOR_SERVER_NAME").unwrap_or_default(),
            load_balance_hosts: env.read("COORDINATOR_LOAD_BALANCE_HOSTS", &Range::Any),
            ..node(coordinator.clone(), NodeRole::Coordinator)
        }),
        _ => {
            let problem = "names more than one node (`a|b` is one node at two hosts)";
            env.refuse("COORDINATOR_HOST".to_owned(), problem.to_owned());
        }
    }

    let workers = env.hosts("WORKER_HOSTS", "WORKER_PORTS");
    let count = workers.len();
    let mut shards = env.each("WORKER_SHARD_IDS", count, "WORKER_HOSTS", &Range::Any);
    if shards.iter().all(Option::is_none) {
        shards = (0..count).map(|index| u16::try_from(index).ok()).collect();
    }
    let zones = env.each_text("WORKER_ZONES", count, "WORKER_HOSTS");
    let names = env.each_text("WORKER_SERVER_NAMES", count, "WORKER_HOSTS");
    let balances = env.each("WORKER_LOAD_BALANCE_HOSTS", count, "WORKER_HOSTS", &Range::Any);
    let workers = workers.into_iter().zip(shards).zip(zones).zip(names).zip(balances);
    for ((((host, shard), zone), server_name), load_balance_hosts) in workers {
        let (shard, worker) = (shard.map(ShardId), node(host, NodeRole::Worker));
        nodes.push(NodeSettings { shard, zone, server_name, load_balance_hosts, ..worker });
    }

    let replicas = env.hosts("REPLICA_HOSTS", "REPLICA_PORTS");
    let (count, of) = (replicas.len(), "REPLICA_HOSTS");
    let shards = env.each("REPLICA_SHARD_IDS", count, of, &Range::Any);
    let weights = env.each("REPLICA_WEIGHTS", count, of, &Range::Between(1..=1000));
    let zones = env.each_text("REPLICA_ZONES", count, of);
    let names = env.each_text("REPLICA_SERVER_NAMES", count, of);
    let balances = env.each("REPLICA_LOAD_BALANCE_HOSTS", count, of, &Range::Any);
    let replicas =
        replicas.into_iter().zip(shards).zip(weights).zip(zones).zip(names).zip(balances);
    for (((((host, shard), weight), zone), server_name), load_balance_hosts) in replicas {
        let (shard, weight) = (shard.map(ShardId), weight.unwrap_or(1));
        let replica = node(host, NodeRole::Replica);
        nodes.push(NodeSettings {
            shard,
            weight,
            zone,
            server_name,
            load_balance_hosts,
            ..replica
        });
    }
    check::name_nodes(&mut nodes);
    nodes
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::*;

    // Read by the program, and not by the settings.
    const OF_THE_PROGRAM: [&str; 2] = ["PGHERD_LOG", "PGHERD_LOG_FORMAT"];

    #[test]
    fn every_variable_that_is_read_is_documented_and_the_other_way_round() {
        let asked = RefCell::new(BTreeSet::new());
        let _ = Settings::from_env(|name| {
            asked.borrow_mut().insert(name.to_owned());
            None
        });
        let documented: BTreeSet<String> = variables()
            .into_iter()
            .map(|variable| variable.name)
            .filter(|name| !OF_THE_PROGRAM.contains(&name.as_str()))
            .collect();
        // Asked for only where there is a coordinator.
        let mut asked = asked.into_inner();
        let of_it =
            ["COORDINATOR_ZONE", "COORDINATOR_SERVER_NAME", "COORDINATOR_LOAD_BALANCE_HOSTS"];
        asked.extend(of_it.map(str::to_owned));
        assert_eq!(asked, documented);
    }

    #[test]
    fn a_misspelt_variable_is_refused_and_another_programs_is_not() {
        let known = variables();
        let hint = |name| misspelt(name, &known);
        assert_eq!(hint("WORKER_HOST").unwrap(), "unknown; did you mean `WORKER_HOSTS`?");
        assert_eq!(hint("PGHERD_POL_SIZE").unwrap(), "unknown; did you mean `PGHERD_POOL_SIZE`?");
        assert!(hint("PGHERD_POOL_COLOUR").unwrap().starts_with("unknown: no setting"));
        for others in ["WORKER_THREADS", "COORDINATOR_URL", "PGHERD_PG_BIN", "PATH", "PGHERD_LOG"] {
            assert_eq!(hint(others), None, "{others}");
        }
        let pairs = [("COORDINATOR_HOST", "h"), ("PGHERD_RETRY_JITER", "off")];
        let pairs = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let refused = Settings::from_variables(pairs).unwrap_err().to_string();
        assert_eq!(refused, "PGHERD_RETRY_JITER: unknown; did you mean `PGHERD_RETRY_JITTER`?");
    }
}
