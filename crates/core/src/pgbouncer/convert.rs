//! A whole `pgbouncer.ini` as our settings.

use std::collections::{HashMap, HashSet};

use pgherd_wire::{md5, scram};

use super::FileError;
use super::catalogue::{DATABASE, Fate, GLOBAL, PEER, Row, USER};
use super::draft::{DatabaseDraft, Draft, Process, Remarks};
use super::ini::{Entry, IniSection, Place, read_ini};
use super::pairs::read_pairs;
use super::userlist::{StoredPassword, read_userlist};
use crate::NodeRole;
use crate::hosts;
use crate::id::ShardId;
use crate::settings::{
    ANY_DATABASE, DatabaseSettings, HostBalance, NodeSettings, PeerSettings, Secret, Settings,
    UserSettings, nearest,
};

/// The database by which PgBouncer's clients reach its console.
const CONSOLE: &str = "pgbouncer";

/// What becomes of a `pgbouncer.ini`.
#[derive(Debug, Clone)]
pub struct Converted {
    /// Our settings, which pass [`Settings::check`].
    pub settings: Settings,
    /// What the process does beside them.
    pub process: Process,
    /// What does not hold here as it does in PgBouncer, and why: first of the ini, line by line.
    pub warnings: Vec<FileError>,
}

/// What a `pgbouncer.ini` means here. `read` answers the text of a file by the path that stands in
/// the ini: of those that it includes, and of `auth_file`.
///
/// ```
/// use pgherd_core::pgbouncer::convert;
///
/// let ini = "[databases]\nshop = host=10.0.0.1\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
///            auth_type = scram-sha-256\nauth_file = users\npkt_buf = 8192\nquery_timeout = 1.5\n";
/// let mut read = |_: &str| Ok("\"app\" \"secret\"".to_owned());
/// let found = convert(ini, "pgbouncer.ini", &mut read).unwrap();
/// assert_eq!(found.settings.nodes[0].host, "10.0.0.1");
/// assert_eq!(found.settings.listen.query_timeout.as_millis(), 1500);
/// // What PgBouncer does where its file says nothing holds as well.
/// assert_eq!(found.settings.listen.max_clients, 100);
/// assert!(found.warnings[0].to_string().starts_with("pgbouncer.ini:7: pkt_buf has no effect: "));
///
/// let errors = convert("[pgbouncer]\npool_mod = session\n", "pgbouncer.ini", &mut read).unwrap_err();
/// assert_eq!(
///     errors[0].to_string(),
///     "pgbouncer.ini:2: pool_mod: unknown; did you mean `pool_mode`?"
/// );
/// ```
///
/// # Errors
/// Everything that PgBouncer would refuse too, and what it would be dangerous to pass over.
pub fn convert(
    text: &str,
    file_name: &str,
    read: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Result<Converted, Vec<FileError>> {
    let entries = read_ini(text, file_name, read)?;
    let mut conversion = Conversion { file_name, ..Conversion::default() };
    let settings = conversion.run(&entries, read);
    let Conversion { mut warnings, mut problems, .. } = conversion;
    for list in [&mut warnings, &mut problems] {
        // What is about no line is read last.
        let line = |of: &FileError| of.line.unwrap_or(usize::MAX);
        let place = |of: &FileError| (of.file != file_name, of.file.clone(), line(of));
        list.sort_by_cached_key(place);
    }
    if problems.is_empty() {
        let (settings, process) = settings;
        Ok(Converted { settings, process, warnings })
    } else {
        Err(problems)
    }
}

#[derive(Default)]
struct Conversion<'f> {
    file_name: &'f str,
    warnings: Vec<FileError>,
    problems: Vec<FileError>,
    // Where what became one of our settings was set, by its path: `pool.size`, `user.app`.
    places: HashMap<String, (Place, String)>,
}

/// A setting as it was given.
struct Given<'e> {
    name: &'e str,
    value: &'e str,
    place: &'e Place,
}

impl Conversion<'_> {
    fn run(
        &mut self,
        entries: &[Entry],
        read: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> (Settings, Process) {
        let of = |section| entries.iter().filter(move |entry: &&Entry| entry.section == section);
        let global: Vec<Given<'_>> = of(IniSection::Pgbouncer)
            .map(|Entry { key, value, place, .. }| Given { name: key, value, place })
            .collect();
        let mut draft = Draft::default();
        self.apply(GLOBAL, &global, true, "", &mut draft);
        let mut users = self.users(&draft, &global, read);
        let mut databases: Vec<_> =
            of(IniSection::Databases).filter_map(|entry| self.database(entry, &draft)).collect();
        // Of two lines for one name the later counts.
        let mut names = HashSet::new();
        databases.reverse();
        databases.retain(|(database, _)| names.insert(database.settings.name.clone()));
        databases.reverse();
        self.nodes(&mut draft.settings, &mut databases);
        for (database, place) in &databases {
            self.login_of(database, place, &mut users);
            draft.settings.databases.push(database.settings.clone());
            let path = format!("database.{}", database.settings.name);
            self.places.insert(path, (place.clone(), database.settings.name.clone()));
        }
        for entry in of(IniSection::Users) {
            self.user(entry, &mut users);
        }
        for entry in of(IniSection::Peers) {
            self.peer(entry, &mut draft.settings);
        }
        self.finish(draft, users)
    }

    /// What is set, and where `all` is asked for what is not.
    fn apply<T>(
        &mut self,
        rows: &'static [Row<T>],
        given: &[Given<'_>],
        all: bool,
        of: &str,
        target: &mut T,
    ) {
        let label =
            |name: &str| if of.is_empty() { name.to_owned() } else { format!("{of}: {name}") };
        for Given { name, place, .. } in given {
            if rows.iter().any(|row| row.name == *name) {
                continue;
            }
            let problem = match nearest(name, rows.iter().map(|row| row.name)) {
                Some(near) => format!("unknown; did you mean `{near}`?"),
                None => "unknown to PgBouncer and to pgherd".to_owned(),
            };
            self.problems.push(place.error(format!("{}: {problem}", label(name))));
        }
        for row in rows {
            let mut found = given.iter().filter(|given| given.name == row.name).rev();
            let last = found.next();
            for Given { place, .. } in found {
                let by = last.map_or(0, |last| last.place.line);
                let text = format!("{}: set again in line {by}, which counts", label(row.name));
                self.warnings.push(place.error(text));
            }
            if last.is_none() && !all {
                continue;
            }
            let nowhere = || FileError {
                file: self.file_name.to_owned(),
                line: None,
                problem: String::new(),
            };
            let at = |text: String| match last {
                Some(Given { place, .. }) => place.error(text),
                None => FileError { problem: text, ..nowhere() },
            };
            let text = last.map_or(row.default, |given| given.value);
            let value = match row.kind.read(text) {
                Ok(value) => value,
                Err(problem) => {
                    self.problems.push(at(format!("{}: {problem}", label(row.name))));
                    continue;
                }
            };
            let is_default = row.kind.read(row.default).as_ref() == Ok(&value);
            match &row.fate {
                Fate::Becomes(ours, _, set) => {
                    let mut remarks = Remarks::default();
                    set(target, &value, &mut remarks);
                    let Remarks { notes, problems } = remarks;
                    let line = |text: String| at(format!("{}: {text}", label(row.name)));
                    self.problems.extend(problems.into_iter().map(line));
                    let notes = notes.into_iter().filter(|_| last.is_some());
                    self.warnings.extend(notes.map(line));
                    if let (Some(Given { place, .. }), true) = (last, of.is_empty()) {
                        for path in ours.split('`').filter(|path| path.contains('.')) {
                            let set = (Place::clone(place), row.name.to_owned());
                            self.places.insert(path.to_owned(), set);
                        }
                    }
                }
                _ if is_default => {}
                Fate::NoEffect(why) => {
                    self.warnings.push(at(format!("{} has no effect: {why}", label(row.name))));
                }
            }
        }
    }

    /// The logins of `auth_file`.
    fn users(
        &mut self,
        draft: &Draft,
        global: &[Given<'_>],
        read: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Vec<UserSettings> {
        let path = &draft.auth_file;
        if path.is_empty() {
            return Vec::new();
        }
        let text = match read(path) {
            Ok(text) => text,
            Err(error) => {
                let place = global.iter().rfind(|given| given.name == "auth_file");
                let problem = format!("auth_file: cannot read `{path}`: {error}");
                self.problems.extend(place.map(|given| given.place.error(problem)));
                return Vec::new();
            }
        };
        let logins = read_userlist(&text, path).unwrap_or_else(|errors| {
            self.problems.extend(errors);
            Vec::new()
        });
        let mut users: Vec<UserSettings> = Vec::new();
        for login in logins {
            let at =
                |problem: String| FileError { file: path.clone(), line: Some(login.line), problem };
            let mut user = UserSettings { name: login.name.clone(), ..UserSettings::default() };
            match login.password {
                StoredPassword::None => {}
                StoredPassword::Plain(password) => user.password = password,
                StoredPassword::Md5(hash) | StoredPassword::Scram(hash) => {
                    user.password_hash = hash;
                }
            }
            let place = Place { file: path.as_str().into(), line: login.line };
            let known = users.iter_mut().find(|known| known.name == user.name);
            match known {
                None => users.push(user),
                Some(known) => {
                    *known = user;
                    let problem = format!("`{}` stands here again, and this counts", login.name);
                    self.warnings.push(at(problem));
                }
            }
            self.places.insert(format!("user.{}", login.name), (place, login.name));
        }
        users
    }

    fn pairs(&mut self, entry: &Entry) -> Option<Vec<(String, String)>> {
        read_pairs(&entry.value)
            .map_err(|error| {
                let problem = format!("{}: {error}", entry.key);
                self.problems.push(entry.place.error(problem));
            })
            .ok()
    }

    fn database(&mut self, entry: &Entry, draft: &Draft) -> Option<(DatabaseDraft, Place)> {
        let pairs = self.pairs(entry)?;
        if entry.key == CONSOLE {
            let problem =
                format!("a database called `{CONSOLE}` is the console: call it otherwise");
            self.problems.push(entry.place.error(problem));
            return None;
        }
        let mut database = DatabaseDraft {
            settings: DatabaseSettings::default(),
            host: String::new(),
            port: 5432,
            balance: HostBalance::RoundRobin,
            password: String::new(),
        };
        database.settings.name.clone_from(&entry.key);
        self.apply(DATABASE, &given(&pairs, entry), false, &entry.key, &mut database);
        let has_host = !database.host.is_empty();
        if !has_host {
            // In PgBouncer clients and nodes meet in the same folder.
            database.host.clone_from(&draft.settings.listen.unix_socket_dir);
        }
        let problem = match hosts::read(&database.host, database.port) {
            _ if database.host.is_empty() => "it has no host".to_owned(),
            Ok(hosts) if !has_host && !hosts[0].is_socket() => {
                "it has no host, and unix_socket_dir is no full path: name one as the host"
                    .to_owned()
            }
            Err(problem) => format!("host: {problem}"),
            Ok(_) => {
                // What it is called there.
                if database.settings.name == database.settings.database {
                    database.settings.database.clear();
                }
                return Some((database, entry.place.clone()));
            }
        };
        self.problems.push(entry.place.error(format!("{}: {problem}", entry.key)));
        None
    }

    /// A node for each server, and the database on the first that is asked whether it lives. The others
    /// have databases of their own, so each is a group of its own. A server whose hosts two databases
    /// use in different ways is two.
    fn nodes(&mut self, settings: &mut Settings, databases: &mut [(DatabaseDraft, Place)]) {
        if databases.is_empty() {
            if self.problems.is_empty() {
                self.problems.push(FileError {
                    file: self.file_name.to_owned(),
                    line: None,
                    problem: "[databases] is empty: there is nothing to serve".to_owned(),
                });
            }
            return;
        }
        let mut servers: Vec<(String, u16, HostBalance)> = Vec::new();
        for (database, _) in databases.iter_mut() {
            let server = (database.host.clone(), database.port, database.balance);
            let at = servers.iter().position(|known| *known == server).unwrap_or_else(|| {
                servers.push(server);
                servers.len() - 1
            });
            database.settings.shard = shard_of(at);
        }
        let usual = settings.pool.load_balance_hosts;
        let node = |(at, (host, port, balance))| NodeSettings {
            name: if at == 0 { "coordinator".to_owned() } else { format!("server-{}", at + 1) },
            host,
            port,
            role: if at == 0 { NodeRole::Coordinator } else { NodeRole::Worker },
            shard: shard_of(at),
            weight: 1,
            zone: String::new(),
            server_name: String::new(),
            load_balance_hosts: Some(balance).filter(|balance| *balance != usual),
        };
        settings.nodes = servers.into_iter().enumerate().map(node).collect();
        let on_first = databases.iter().filter(|(database, _)| database.settings.shard.is_none());
        let listed = on_first.map(|(database, _)| &database.settings);
        let on_node = |name: &str, there: &str| {
            if there.is_empty() { name.to_owned() } else { there.to_owned() }
        };
        let mut names = listed
            .filter(|database| database.name != ANY_DATABASE || !database.database.is_empty())
            .map(|database| on_node(&database.name, &database.database));
        settings.cluster.database = names.next().unwrap_or_else(|| "postgres".to_owned());
    }

    /// Sees to it that the user that a database has for all its clients is one of ours.
    fn login_of(&mut self, database: &DatabaseDraft, place: &Place, users: &mut Vec<UserSettings>) {
        let (name, password) = (&database.settings.user, &database.password);
        let mut problem = |text: String| {
            self.problems.push(place.error(format!("{}: {text}", database.settings.name)));
        };
        if name.is_empty() {
            if !password.is_empty() {
                let text = "password has no effect: it counts with user only";
                self.warnings.push(place.error(format!("{}: {text}", database.settings.name)));
            }
            return;
        }
        match users.iter_mut().find(|user| user.name == *name) {
            None => {
                let mut user =
                    UserSettings { name: name.clone(), nodes_only: true, ..Default::default() };
                match StoredPassword::read(password) {
                    Ok(StoredPassword::None) => {}
                    Ok(StoredPassword::Plain(password)) => user.password = password,
                    Ok(StoredPassword::Md5(hash)) => user.password_hash = hash,
                    Ok(StoredPassword::Scram(_)) => {
                        problem(format!(
                            "with a SCRAM secret nobody can log in as `{name}` but a client that \
                             knows the password: give it here as it is"
                        ));
                    }
                    Err(error) => problem(error.to_owned()),
                }
                users.push(user);
                self.places.insert(format!("user.{name}"), (place.clone(), name.clone()));
            }
            Some(known) if password.is_empty() || known.password.expose() == password => {}
            // The password itself serves for all that a hash of it does.
            Some(known) if is_hash_of(known.password_hash.expose(), name, password) => {
                known.password_hash = Secret::default();
                known.password = Secret::new(password.as_str());
            }
            Some(_) => problem(format!(
                "user `{name}` has another password in auth_file or for another database, and pgherd \
                 knows one for each user"
            )),
        }
    }

    fn peer(&mut self, entry: &Entry, settings: &mut Settings) {
        let Some(pairs) = self.pairs(entry) else { return };
        let Some(id) = entry.key.parse().ok().filter(|id| (1..=16383).contains(id)) else {
            let problem = format!("{} is no number of a peer: 1 to 16383 are", entry.key);
            return self.problems.push(entry.place.error(problem));
        };
        let mut peer = PeerSettings { id, port: 6432, ..PeerSettings::default() };
        self.apply(PEER, &given(&pairs, entry), false, &entry.key, &mut peer);
        if settings.listen.peer_id == 0 {
            let warning = format!("{id}: no effect without peer_id");
            return self.warnings.push(entry.place.error(warning));
        }
        if peer.host.is_empty() {
            peer.host.clone_from(&settings.listen.unix_socket_dir);
        }
        settings.peers.retain(|known| known.id != id);
        settings.peers.push(peer);
        self.places.insert(format!("peer.{id}"), (entry.place.clone(), id.to_string()));
    }

    fn user(&mut self, entry: &Entry, users: &mut [UserSettings]) {
        let Some(pairs) = self.pairs(entry) else { return };
        let given = given(&pairs, entry);
        match users.iter_mut().find(|user| user.name == entry.key) {
            Some(user) => self.apply(USER, &given, false, &entry.key, user),
            None => {
                // Looked at all the same: what is wrong with it is wrong anyway.
                self.apply(USER, &given, false, &entry.key, &mut UserSettings::default());
                let problem = format!("{}: no effect: no login is called so", entry.key);
                self.warnings.push(entry.place.error(problem));
            }
        }
    }

    /// Leaves those that can log in.
    fn keep_known(&mut self, setting: &str, names: &mut Vec<String>, users: &[UserSettings]) {
        let is_known =
            |name: &String| users.iter().any(|user| user.name == *name && !user.nodes_only);
        let unknown: Vec<String> = names.extract_if(.., |name| !is_known(name)).collect();
        if let Some((place, _)) = self.places.get(&format!("listen.{setting}")) {
            let warn = |name| {
                place
                    .error(format!("{setting}: `{name}` cannot log in: auth_file does not have it"))
            };
            self.warnings.extend(unknown.into_iter().map(warn));
        }
    }

    fn finish(&mut self, draft: Draft, users: Vec<UserSettings>) -> (Settings, Process) {
        let Draft { mut settings, process, reserve_is_off, check_is_off, .. } = draft;
        if reserve_is_off {
            settings.pool.reserve_size = 0;
            settings.databases.iter_mut().for_each(|database| database.reserve_size = None);
        }
        self.keep_known("admin_users", &mut settings.listen.admin_users, &users);
        self.keep_known("stats_users", &mut settings.listen.stats_users, &users);
        settings.users = users;
        if reserve_is_off {
            settings.users.iter_mut().for_each(|user| user.reserve_size = None);
        }
        if check_is_off {
            settings.pool.check_after = std::time::Duration::from_secs(7 * 24 * 3600);
        }
        // The node is asked whether it lives under the first login, which is to have a password if any
        // has. Where none has, the question is no use, and a line in the node's log each time.
        settings.users.sort_by_key(|user| user.password.is_empty());
        let first = settings.users.first();
        if first.is_some_and(|user| !user.password_hash.is_empty()) {
            settings.health.interval = std::time::Duration::from_secs(600);
        }
        if settings.users.is_empty() && self.problems.is_empty() {
            self.problems.push(FileError {
                file: self.file_name.to_owned(),
                line: None,
                problem: "there is no login: name a userlist with auth_file".to_owned(),
            });
        }
        if self.problems.is_empty()
            && let Err(errors) = settings.check()
        {
            for error in errors.0 {
                let path = error.setting.unwrap_or_default();
                self.problems.push(match self.places.get(&path) {
                    Some((place, name)) => place.error(format!("{name}: {}", error.problem)),
                    None => FileError {
                        file: self.file_name.to_owned(),
                        line: None,
                        problem: format!("{path}: {}", error.problem),
                    },
                });
            }
        }
        (settings, process)
    }
}

/// The shard that the server at this place of the list is, if it is not the first. More than there may
/// be nodes are refused where they make a cluster.
fn shard_of(at: usize) -> Option<ShardId> {
    at.checked_sub(1).map(|shard| ShardId(u16::try_from(shard).unwrap_or(u16::MAX)))
}

/// Whether a stored hash is that of a user's password.
fn is_hash_of(hash: &str, user: &str, password: &str) -> bool {
    match scram::Secret::parse(hash) {
        Some(secret) => secret.keys(password).is_some(),
        None => hash.eq_ignore_ascii_case(&md5::stored(user, password)),
    }
}

fn given<'e>(pairs: &'e [(String, String)], entry: &'e Entry) -> Vec<Given<'e>> {
    pairs.iter().map(|(name, value)| Given { name, value, place: &entry.place }).collect()
}

#[cfg(test)]
mod tests;
