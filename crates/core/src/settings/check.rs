//! What is wrong with settings wherever they came from: values out of range, and what a single
//! value cannot show, that together they make a cluster.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use super::section::Range;
use super::value::Value;
use super::{
    ANY_DATABASE, AuthMethod, ChannelBinding, DatabaseSettings, ListenSettings, NodeSettings,
    Settings, TlsMode, TlsSettings, UserSettings, peer, sections,
};
use crate::id::ShardId;
use crate::pgbouncer::StoredPassword;
use crate::topology::NodeRole;

/// Addresses to listen on: as many as a loop can tell apart, and more than any host has need of.
const MOST_ADDRESSES: usize = 32;

/// What clients call the console, as PgBouncer's.
const CONSOLE: &str = "pgbouncer";

/// Gives nodes without a name one from their role: `coordinator`, `shard-0`,
/// `coordinator-r1`, `shard-0-r2`.
pub(super) fn name_nodes(nodes: &mut [NodeSettings]) {
    let mut replicas: Vec<Option<ShardId>> = Vec::new();
    for node in nodes {
        let group = match node.shard {
            Some(shard) => format!("shard-{shard}"),
            None => "coordinator".to_owned(),
        };
        let name = match node.role {
            NodeRole::Coordinator | NodeRole::Worker => group,
            NodeRole::Replica => {
                replicas.push(node.shard);
                let number = replicas.iter().filter(|shard| **shard == node.shard).count();
                format!("{group}-r{number}")
            }
        };
        if node.name.is_empty() {
            node.name = name;
        }
    }
}

/// Every problem, with the path of the setting it is about: `listen.address`,
/// `node.NAME`, `node` for the nodes as a whole.
pub(super) fn check(settings: &Settings) -> Vec<(String, String)> {
    let mut problems = Vec::new();
    // Those that were read are in range: what was not has been refused, and the default taken.
    sections::check_all(settings, &mut problems);
    let mut problem = |path: &str, text: String| problems.push((path.to_owned(), text));

    let name = &settings.cluster.name;
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.is_empty() || name.len() > 32 || !name.chars().all(fits) {
        problem(
            "cluster.name",
            format!("`{name}` is not 1 to 32 letters, digits, hyphens and underscores"),
        );
    }
    if settings.cluster.database.is_empty() {
        problem("cluster.database", "a database has a name".to_owned());
    }
    for (path, text) in check_doors(&settings.listen) {
        problem(path, text);
    }

    let at = &settings.http.listen;
    if !at.is_empty() && at.parse::<SocketAddr>().is_err() {
        problem(
            "http.listen",
            format!("`{at}` is not an IP address and a port such as 127.0.0.1:9127 or [::1]:9127"),
        );
    }

    for (path, text) in check_tls(&settings.tls).into_iter().chain(check_client_tls(settings)) {
        problem(path, text.to_owned());
    }

    match settings.topology() {
        Err(error) => {
            let path = error.node().map_or("node".to_owned(), |name| format!("node.{name}"));
            problem(&path, error.to_string());
        }
        Ok(_) => {
            if let Err(error) = settings.route_policy() {
                problem("routing.buckets", error.to_string());
            }
        }
    }
    for node in &settings.nodes {
        if node.port == 0 {
            problem(&format!("node.{}", node.name), "port 0 is no port to connect to".to_owned());
        }
    }

    let mut users = HashSet::new();
    if settings.users.is_empty() {
        problem("user", "no [[user]]: at least one login for the nodes is needed".to_owned());
    }
    for user in &settings.users {
        if user.name.is_empty() {
            problem("user", "a user has no name".to_owned());
        } else if !users.insert(&user.name) {
            problem("user", format!("two users are called `{}`", user.name));
        }
        let sources = user.password_sources();
        if sources.len() > 1 {
            let (name, sources) = (&user.name, sources.join(" and "));
            problem("user.password", format!("user `{name}` has {sources}: one of them is enough"));
        }
        let hash = StoredPassword::read(user.password_hash.expose());
        if matches!(hash, Err(_) | Ok(StoredPassword::Plain(_))) {
            problem(
                &format!("user.{}", user.name),
                "password_hash is no SCRAM secret (`SCRAM-SHA-256$...`) and no md5 (`md5` and 32 \
                 hexadecimal digits), as `rolpassword` of pg_authid has them"
                    .to_owned(),
            );
        }
    }
    match settings.listen.auth {
        AuthMethod::Hba if settings.listen.hba_file.is_empty() => problem(
            "listen.hba_file",
            "is required, as listen.auth is \"hba\": a file of lines as in pg_hba.conf".to_owned(),
        ),
        AuthMethod::Peer if settings.listen.unix_socket_dir.is_empty() => problem(
            "listen.auth",
            "\"peer\" lets in who comes over a Unix socket: set listen.unix_socket_dir".to_owned(),
        ),
        AuthMethod::Cert if !settings.client_tls.mode.verifies() => problem(
            "listen.auth",
            "\"cert\" needs certificates that are checked: set client_tls.mode to \"verify-ca\" or \
             \"verify-full\""
                .to_owned(),
        ),
        _ => {}
    }
    let may = [
        ("listen.admin_users", &settings.listen.admin_users),
        ("listen.stats_users", &settings.listen.stats_users),
    ];
    for (path, names) in may {
        let unknown = names.iter().filter(|name| !users.contains(name));
        problems.extend(unknown.map(|name| (path.to_owned(), format!("`{name}` is no [[user]]"))));
    }
    problems.extend(check_databases(settings));
    problems.extend(check_look_up(settings));
    problems.extend(peer::check(settings));
    problems
}

/// Where clients come in.
fn check_doors(listen: &ListenSettings) -> Vec<(&'static str, String)> {
    let mut problems = Vec::new();
    let words: Vec<&str> = listen.address_words().collect();
    for word in &words {
        if word.parse::<IpAddr>().is_err() {
            let text = format!("`{word}` is not an IP address such as 127.0.0.1, 0.0.0.0 or ::1");
            problems.push(("listen.address", text));
        }
    }
    if words.len() > MOST_ADDRESSES {
        let text = format!("{} addresses are too many (at most {MOST_ADDRESSES})", words.len());
        problems.push(("listen.address", text));
    }
    if words.is_empty() && listen.unix_socket_dir.is_empty() {
        let text = "without an address there has to be a unix_socket_dir".to_owned();
        problems.push(("listen.address", text));
    }
    if listen.unix_mode().is_none() {
        let text = format!("`{}` is no mode such as \"0770\"", listen.unix_socket_mode);
        problems.push(("listen.unix_socket_mode", text));
    }
    problems
}

fn check_databases(settings: &Settings) -> Vec<(String, String)> {
    let (mut problems, mut names) = (Vec::new(), HashSet::new());
    if settings.listen.auth == AuthMethod::Any {
        for database in settings.served_databases().iter().filter(|one| one.user.is_empty()) {
            let text = "needs a `user`, as listen.auth is \"any\" and clients have no names";
            problems.push((format!("database.{}", database.name), text.to_owned()));
        }
    }
    for database in &settings.databases {
        let DatabaseSettings { name, user, .. } = database;
        let mut problem = |text: String| problems.push((format!("database.{name}"), text));
        if name.is_empty() {
            problem("a database has no name".to_owned());
        } else if !names.insert(name) {
            problem(format!("two databases are called `{name}`"));
        }
        if name == CONSOLE {
            problem("is the console's own, see listen.admin_users".to_owned());
        }
        if database.database == ANY_DATABASE {
            problem("`database = \"*\"` is none: leave it out".to_owned());
        }
        if let Some(shard) = database.shard
            && !settings.nodes.iter().any(|node| node.shard == Some(shard))
        {
            problem(format!("`shard = {shard}`: no [[node]] carries shard {shard}"));
        }
        if !user.is_empty() && !settings.users.iter().any(|known| known.name == *user) {
            problem(format!("`user = \"{user}\"` is no [[user]]"));
        }
        let found = [
            out_of("pool_size", database.pool_size, sections::pool_sizes()),
            out_of("min_idle", database.min_idle, sections::few_backends()),
            out_of("reserve_size", database.reserve_size, sections::few_backends()),
            out_of("max_backends", database.max_backends, sections::few_backends()),
            out_of("max_clients", database.max_clients, sections::most_clients()),
            out_of("acquire_timeout", database.acquire_timeout, sections::acquire_timeouts()),
            out_of("max_lifetime", database.max_lifetime, sections::lifetimes()),
        ];
        found.into_iter().flatten().for_each(&mut problem);
        let texts = [
            ("name", name),
            ("database", &database.database),
            ("connect_query", &database.connect_query),
            ("application_name", &database.application_name),
            ("client_encoding", &database.client_encoding),
            ("datestyle", &database.datestyle),
            ("timezone", &database.timezone),
            ("auth_query", &database.auth_query),
            ("auth_database", &database.auth_database),
        ];
        let of_text = |(name, text): (&str, &String)| out_of(name, Some(text.clone()), Range::Any);
        texts.into_iter().filter_map(of_text).for_each(problem);
    }
    for user in &settings.users {
        let limit = |name, limit| out_of(name, limit, sections::client_timeouts());
        let found = [
            out_of("pool_size", user.pool_size, sections::pool_sizes()),
            out_of("reserve_size", user.reserve_size, sections::few_backends()),
            out_of("max_backends", user.max_backends, sections::few_backends()),
            out_of("max_clients", user.max_clients, sections::most_clients()),
            out_of("acquire_timeout", user.acquire_timeout, sections::acquire_timeouts()),
            limit("query_timeout", user.query_timeout),
            limit("transaction_timeout", user.transaction_timeout),
            limit("idle_transaction_timeout", user.idle_transaction_timeout),
            limit("client_idle_timeout", user.client_idle_timeout),
            out_of("name", Some(user.name.clone()), Range::Any),
            out_of("password", Some(user.password.expose().to_owned()), Range::Any),
        ];
        let path = format!("user.{}", user.name);
        problems.extend(found.into_iter().flatten().map(|problem| (path.clone(), problem)));
    }
    problems
}

/// Whether secrets can be looked up as the settings want it.
fn check_look_up(settings: &Settings) -> Vec<(String, String)> {
    let of_all = ("listen".to_owned(), &settings.listen.auth_user, &settings.listen.auth_database);
    let of_each = settings
        .databases
        .iter()
        .map(|one| (format!("database.{}", one.name), &one.auth_user, &one.auth_database));
    let served = settings.served_databases();
    let mut problems = Vec::new();
    for (path, user, database) in std::iter::once(of_all).chain(of_each) {
        let at = |name: &str| match path.as_str() {
            "listen" => format!("listen.{name}"),
            _ => path.clone(),
        };
        match settings.users.iter().find(|known| known.name == **user) {
            _ if user.is_empty() => {}
            None => {
                problems.push((at("auth_user"), format!("`auth_user`: `{user}` is no [[user]]")));
            }
            Some(user) if !user.password_hash.is_empty() => problems.push((
                at("auth_user"),
                format!(
                    "`auth_user`: `{}` needs a password: a hash opens no node by itself",
                    user.name
                ),
            )),
            Some(_) => {}
        }
        let is_served = |name: &str| served.iter().any(|one| one.is_any() || one.name == name);
        if !database.is_empty() && !is_served(database) {
            let text = format!("`auth_database`: no database is called `{database}`");
            problems.push((at("auth_database"), text));
        }
    }
    problems
}

/// What is wrong with a setting of a database or a user, if it is out of its range.
#[expect(clippy::needless_pass_by_value, reason = "a range is made for this call")]
fn out_of<T: Value>(name: &str, value: Option<T>, range: Range<T>) -> Option<String> {
    let problem = range.check(&value?).err()?;
    Some(format!("{name}: {problem}"))
}

fn check_tls(tls: &TlsSettings) -> Vec<(&'static str, &'static str)> {
    let mut problems = Vec::new();
    if tls.mode.verifies() && tls.root_cert.is_empty() {
        problems.push(("tls.root_cert", "is required to verify: a PEM file with the authority"));
    }
    if tls.cert.is_empty() != tls.key.is_empty() {
        problems.push(("tls.key", "`cert` and `key` go together: one of them is missing"));
    }
    if tls.mode == TlsMode::Disable && tls.channel_binding == ChannelBinding::Require {
        problems.push(("tls.channel_binding", "\"require\" needs a mode other than \"disable\""));
    }
    problems
}

fn check_client_tls(settings: &Settings) -> Vec<(&'static str, &'static str)> {
    let tls = &settings.client_tls;
    let mut problems = Vec::new();
    if tls.mode != TlsMode::Disable && (tls.cert.is_empty() || tls.key.is_empty()) {
        problems.push((
            "client_tls.cert",
            "`cert` and `key` are required: what clients are shown, and its key, as PEM files",
        ));
    }
    if tls.mode.verifies() && tls.root_cert.is_empty() {
        problems.push((
            "client_tls.root_cert",
            "is required to verify: a PEM file with the authorities of the clients' certificates",
        ));
    }
    problems
}

impl UserSettings {
    /// Which of the five ways to give a password are used, by the names of their settings.
    pub fn password_sources(&self) -> Vec<&'static str> {
        let sources = [
            (self.password.is_empty(), "password"),
            (self.password_file.is_empty(), "password_file"),
            (self.password_command.is_empty(), "password_command"),
            (self.passfile.is_empty(), "passfile"),
            (self.password_hash.is_empty(), "password_hash"),
        ];
        sources.into_iter().filter(|(is_empty, _)| !is_empty).map(|(_, name)| name).collect()
    }
}
