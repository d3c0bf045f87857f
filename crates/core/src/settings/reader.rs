//! Reads a settings file, and goes on after each problem so that all are reported.

use std::collections::HashMap;
use std::ops::Range as Span;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check;
use super::section::{Range, Section, Source};
use super::suggest::nearest;
use super::value::{PasswordCommand, Secret, Value};
use super::{
    DatabaseSettings, NodeSettings, PeerSettings, Settings, SettingsError, SettingsErrors,
    UserSettings,
};
use crate::id::ShardId;
use crate::topology::NodeRole;

pub(super) fn read(text: &str, file_name: &str) -> Result<Settings, SettingsErrors> {
    let mut problems = Problems { file_name, text, found: Vec::new(), lines: HashMap::new() };
    let (root, syntax) = DeTable::parse_recoverable(text);
    for error in &syntax {
        problems.add(None, error.span(), format!("not TOML: {}", one_line(error.message())));
    }
    if !syntax.is_empty() {
        return Err(SettingsErrors(problems.found));
    }
    let settings = read_root(root.get_ref(), &mut problems);
    if problems.found.is_empty() {
        for (path, problem) in check::check(&settings) {
            let line = problems.lines.get(&path).copied();
            problems.found.push(SettingsError {
                file: Some(file_name.to_owned()),
                line,
                setting: Some(path),
                problem,
            });
        }
    }
    if problems.found.is_empty() { Ok(settings) } else { Err(SettingsErrors(problems.found)) }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

struct Problems<'i> {
    file_name: &'i str,
    text: &'i str,
    found: Vec<SettingsError>,
    /// The line of each setting that was read, by path.
    lines: HashMap<String, usize>,
}

impl Problems<'_> {
    fn line(&self, span: &Span<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn add(&mut self, setting: Option<String>, span: Option<Span<usize>>, problem: String) {
        let line = span.map(|span| self.line(&span));
        let file = Some(self.file_name.to_owned());
        self.found.push(SettingsError { file, line, setting, problem });
    }
}

fn read_root(root: &DeTable<'_>, problems: &mut Problems<'_>) -> Settings {
    let mut reader = Reader::new("", root, 0..0, problems);
    let mut settings = Settings {
        cluster: reader.section(),
        nodes: reader.list("node", read_node),
        users: reader.list("user", read_user),
        databases: reader.list("database", DatabaseSettings::read),
        peers: reader.list("peer", PeerSettings::read),
        listen: reader.section(),
        pool: reader.section(),
        health: reader.section(),
        retry: reader.section(),
        routing: reader.section(),
        transactions: reader.section(),
        tls: reader.section(),
        client_tls: reader.section(),
        http: reader.section(),
        tcp: reader.section(),
        log: reader.section(),
    };
    reader.refuse_the_rest();
    check::name_nodes(&mut settings.nodes);
    // `list` noted the lines by number; checks speak of names.
    let nodes = settings.nodes.iter().map(|node| &node.name).enumerate();
    let users = settings.users.iter().map(|user| &user.name).enumerate();
    let databases = settings.databases.iter().map(|database| &database.name).enumerate();
    let named = nodes.map(|item| ("node", item));
    let named = named.chain(users.map(|item| ("user", item)));
    let named = named.chain(databases.map(|item| ("database", item)));
    let ids: Vec<String> = settings.peers.iter().map(|peer| peer.id.to_string()).collect();
    let peers = ids.iter().enumerate().map(|item| ("peer", item));
    for (list, (index, name)) in named.chain(peers) {
        if let Some(line) = problems.lines.get(&format!("{list}[{index}]")).copied() {
            problems.lines.insert(format!("{list}.{name}"), line);
        }
    }
    settings
}

fn read_node(reader: &mut Reader<'_, '_, '_>) -> Option<NodeSettings> {
    let name = reader.take("name", String::new(), &Range::Any);
    let port = reader.take("port", 5432, &Range::Between(1..=u16::MAX));
    let shard = reader.optional("shard").map(ShardId);
    let host = reader.required("host");
    let role = reader.required::<NodeRole>("role");
    let weight = reader.take("weight", 1, &Range::Between(1..=1000));
    let zone = reader.take("zone", String::new(), &Range::Any);
    let server_name = reader.take("server_name", String::new(), &Range::Any);
    let load_balance_hosts = reader.optional("load_balance_hosts");
    Some(NodeSettings {
        name,
        host: host?,
        port,
        role: role?,
        shard,
        weight,
        zone,
        server_name,
        load_balance_hosts,
    })
}

fn read_user(reader: &mut Reader<'_, '_, '_>) -> Option<UserSettings> {
    let password = reader.take("password", Secret::default(), &Range::Any);
    let password_file = reader.take("password_file", String::new(), &Range::Any);
    let password_command = reader.take("password_command", PasswordCommand::default(), &Range::Any);
    let passfile = reader.take("passfile", String::new(), &Range::Any);
    let password_hash = reader.take("password_hash", Secret::default(), &Range::Any);
    let nodes_only = reader.take("nodes_only", false, &Range::Any);
    let pool_mode = reader.optional("pool_mode");
    let pool_size = reader.optional("pool_size");
    let reserve_size = reader.optional("reserve_size");
    let max_backends = reader.optional("max_backends");
    let max_clients = reader.optional("max_clients");
    let acquire_timeout = reader.optional("acquire_timeout");
    let query_timeout = reader.optional("query_timeout");
    let transaction_timeout = reader.optional("transaction_timeout");
    let idle_transaction_timeout = reader.optional("idle_transaction_timeout");
    let client_idle_timeout = reader.optional("client_idle_timeout");
    let name = reader.required("name")?;
    Some(UserSettings {
        name,
        password,
        password_file,
        password_command,
        passfile,
        password_hash,
        nodes_only,
        pool_mode,
        pool_size,
        reserve_size,
        max_backends,
        max_clients,
        acquire_timeout,
        query_timeout,
        transaction_timeout,
        idle_transaction_timeout,
        client_idle_timeout,
    })
}

/// Takes settings out of one table and refuses what is left.
pub(super) struct Reader<'t, 'i, 'p> {
    path: String,
    table: &'t DeTable<'i>,
    span: Span<usize>,
    known: Vec<&'static str>,
    problems: &'t mut Problems<'p>,
}

impl<'t, 'i, 'p> Reader<'t, 'i, 'p> {
    fn new(
        path: &str,
        table: &'t DeTable<'i>,
        span: Span<usize>,
        problems: &'t mut Problems<'p>,
    ) -> Self {
        Self { path: path.to_owned(), table, span, known: Vec::new(), problems }
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    fn get(&mut self, name: &'static str) -> Option<&'t Spanned<DeValue<'i>>> {
        self.known.push(name);
        self.table.get(name)
    }

    pub(super) fn optional<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let value = self.get(name)?;
        let path = self.path_of(name);
        let line = self.problems.line(&value.span());
        self.problems.lines.insert(path.clone(), line);
        T::from_toml(value.get_ref())
            .map_err(|problem| self.problems.add(Some(path), Some(value.span()), problem))
            .ok()
    }

    pub(super) fn required<T: Value>(&mut self, name: &'static str) -> Option<T> {
        let is_there = self.table.get(name).is_some();
        let value = self.optional(name);
        if !is_there {
            let path = self.path_of(name);
            self.problems.add(Some(path), Some(self.span.clone()), "is required".to_owned());
        }
        value
    }

    /// A table `[name]`; absent is the same as empty.
    fn section<S: Section>(&mut self) -> S {
        let name = S::NAME;
        let empty = DeTable::new();
        let (table, span) = match self.get(name) {
            None => (&empty, 0..0),
            Some(value) => match value.get_ref().as_table() {
                Some(table) => (table, value.span()),
                None => {
                    let problem = format!("is a table: write it as [{name}]");
                    self.problems.add(Some(name.to_owned()), Some(value.span()), problem);
                    (&empty, 0..0)
                }
            },
        };
        let mut reader = Reader::new(name, table, span, self.problems);
        let section = S::read(&mut reader);
        reader.refuse_the_rest();
        section
    }

    /// Tables `[[name]]`; those with problems are left out.
    fn list<T>(
        &mut self,
        name: &'static str,
        read: fn(&mut Reader<'_, '_, '_>) -> Option<T>,
    ) -> Vec<T> {
        let Some(value) = self.get(name) else { return Vec::new() };
        let shape = format!("is a list of tables: write each as [[{name}]]");
        let Some(items) = value.get_ref().as_array() else {
            self.problems.add(Some(name.to_owned()), Some(value.span()), shape);
            return Vec::new();
        };
        let mut list = Vec::new();
        for item in items.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.problems.add(Some(name.to_owned()), Some(item.span()), shape.clone());
                continue;
            };
            let line = self.problems.line(&item.span());
            self.problems.lines.insert(format!("{name}[{}]", list.len()), line);
            let mut reader = Reader::new(name, table, item.span(), self.problems);
            list.extend(read(&mut reader));
            reader.refuse_the_rest();
        }
        list
    }

    fn refuse_the_rest(&mut self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(&name) {
                continue;
            }
            let hint = match nearest(name, self.known.iter().copied()) {
                Some(near) => format!("unknown; did you mean `{near}`?"),
                None => format!("unknown; known here are {}", self.known.join(", ")),
            };
            let path = self.path_of(name);
            self.problems.add(Some(path), Some(key.span()), hint);
        }
    }
}

impl Source for Reader<'_, '_, '_> {
    fn take<T: Value>(&mut self, name: &'static str, default: T, range: &Range<T>) -> T {
        let Some(value) = self.optional(name) else { return default };
        match range.check(&value) {
            Ok(()) => value,
            Err(problem) => {
                let span = self.table.get(name).map(Spanned::span);
                let path = self.path_of(name);
                self.problems.add(Some(path), span, problem);
                default
            }
        }
    }
}
