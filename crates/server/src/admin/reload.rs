//! Reading the settings again while pgherd runs.
//!
//! In: the settings that hold, and those that their file has now. Out: the settings that hold from now
//! on, and what of the file needs a new process. Who that is takes the place of this one without loss:
//! see [`crate::takeover`].

use pgherd_core::Settings;
use pgherd_core::settings::{DatabaseSettings, UserSettings, reference};

use super::live;

/// Where settings are read again: a file and what belongs to it.
pub(crate) type Source = Box<dyn Fn() -> Result<Settings, String> + Send + Sync>;

/// Who else goes by the settings that hold, once they were read again.
pub(crate) type Follower = Box<dyn Fn(&Settings) + Send + Sync>;

/// What has become of settings that were read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// What has changed and holds now: `pool.size = 30`.
    pub applied: Vec<String>,
    /// What has changed and holds in a new process only: `listen.port`, `user app`.
    pub needs_restart: Vec<String>,
}

/// The settings that hold from now on. Users stay in their places: others come behind them, up to `most`
/// in all, and under those that are no more no client logs in.
pub(super) fn merge(old: &Settings, new: &Settings, most: usize) -> (Settings, Reloaded) {
    let (mut held, mut outcome) = (old.clone(), Reloaded::default());
    let values = old.values().into_iter().zip(new.values());
    for (setting, (before, after)) in reference().into_iter().zip(values) {
        if before == after {
            continue;
        }
        let path = format!("{}.{}", setting.section, setting.name);
        if live::is_live(&path) && held.copy(&path, new) {
            outcome.applied.push(format!("{path} = {after}"));
        } else {
            outcome.needs_restart.push(path);
        }
    }
    if old.nodes != new.nodes {
        outcome.needs_restart.push("node".to_owned());
    }
    if old.peers != new.peers {
        outcome.needs_restart.push("peer".to_owned());
    }
    users(&mut held, new, most, &mut outcome);
    databases(&mut held, new, &mut outcome);
    (held, outcome)
}

fn users(held: &mut Settings, new: &Settings, most: usize, outcome: &mut Reloaded) {
    for user in &mut held.users {
        let what = format!("user {}", user.name);
        let other = new.users.iter().find(|one| one.name == user.name);
        let now = other.map_or_else(|| nobody(user), |other| of_user(user, other));
        outcome.note(what, *user != now, other.is_some_and(|other| now != *other));
        *user = now;
    }
    for user in &new.users {
        if held.users.iter().any(|one| one.name == user.name) {
            continue;
        }
        let has_room = held.users.len() < most;
        outcome.note(format!("user {}", user.name), has_room, !has_room);
        if has_room {
            held.users.push(user.clone());
        }
    }
}

fn databases(held: &mut Settings, new: &Settings, outcome: &mut Reloaded) {
    // By a `shard` of the new nodes others would be meant.
    let may_move = held.nodes == new.nodes;
    let looks_up = !held.listen.auth_user.is_empty()
        || held.databases.iter().any(|database| !database.auth_user.is_empty());
    let mut now: Vec<DatabaseSettings> = Vec::new();
    for other in &new.databases {
        let what = format!("database {}", other.name);
        let known_user =
            |name: &String| name.is_empty() || held.users.iter().any(|u| u.name == *name);
        let is_whole = known_user(&other.user)
            && known_user(&other.auth_user)
            && (looks_up || other.auth_user.is_empty());
        match held.databases.iter().find(|one| one.name == other.name) {
            Some(database) => {
                let live = of_database(database, other, may_move && is_whole);
                outcome.note(what, *database != live, live != *other);
                now.push(live);
            }
            None => {
                let may_come = may_move && is_whole;
                outcome.note(what, may_come, !may_come);
                now.extend(may_come.then(|| other.clone()));
            }
        }
    }
    for database in held.databases.clone() {
        let is_gone = !now.iter().any(|one| one.name == database.name);
        if is_gone && may_move && !is_asked_in(&database.name, held, &now) {
            outcome.applied.push(format!("database {}, which is no more", database.name));
        } else if is_gone {
            outcome.needs_restart.push(format!("database {}", database.name));
            now.push(database);
        }
    }
    held.databases = now;
}

impl Reloaded {
    fn note(&mut self, what: String, is_applied: bool, needs_restart: bool) {
        if needs_restart {
            self.needs_restart.push(what.clone());
        }
        if is_applied {
            self.applied.push(what);
        }
    }
}

/// Whether secrets are looked up in the database that clients call so.
fn is_asked_in(name: &str, held: &Settings, databases: &[DatabaseSettings]) -> bool {
    let of_each = databases.iter().map(|database| &database.auth_database);
    of_each.chain([&held.listen.auth_database]).any(|asked| asked == name)
}

/// A database with what of another may change while pgherd runs: what it is, too, if it `may_move`.
fn of_database(old: &DatabaseSettings, new: &DatabaseSettings, may_move: bool) -> DatabaseSettings {
    let live = DatabaseSettings {
        pool_size: new.pool_size,
        min_idle: new.min_idle,
        acquire_timeout: new.acquire_timeout,
        max_lifetime: new.max_lifetime,
        ..old.clone()
    };
    if !may_move {
        return live;
    }
    DatabaseSettings {
        database: new.database.clone(),
        user: new.user.clone(),
        connect_query: new.connect_query.clone(),
        application_name: new.application_name.clone(),
        client_encoding: new.client_encoding.clone(),
        datestyle: new.datestyle.clone(),
        timezone: new.timezone.clone(),
        ..live
    }
}

fn of_user(old: &UserSettings, new: &UserSettings) -> UserSettings {
    UserSettings {
        pool_mode: old.pool_mode,
        reserve_size: old.reserve_size,
        max_backends: old.max_backends,
        max_clients: old.max_clients,
        ..new.clone()
    }
}

/// A user that is no more: for whoever is still served under it.
fn nobody(old: &UserSettings) -> UserSettings {
    UserSettings { nodes_only: true, ..old.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(more: &str) -> Settings {
        let text = format!("node = [{{ host = \"h\", role = \"coordinator\" }}]\n{more}\n");
        Settings::from_toml(&text, "test").unwrap()
    }

    #[test]
    fn what_can_be_changed_is_and_the_rest_is_named() {
        let old = settings(
            "user = [{ name = \"a\" }, { name = \"b\", password = \"secret\" }]\n\
             database = [{ name = \"d\" }, { name = \"gone\" }]",
        );
        let new = settings(
            "user = [{ name = \"c\" }, { name = \"a\", pool_size = 7, max_clients = 3 }]\n\
             database = [{ name = \"d\", min_idle = 2, database = \"other\", timezone = \"UTC\", \
             max_clients = 3 }, \
             { name = \"new\", user = \"c\" }]\n\
             [pool]\nsize = 30\nmode = \"session\"\nidle_timeout = \"90s\"\n[listen]\nport = 7000\n\
             login_notice = 'by a \"pooler\"'",
        );
        let (held, outcome) = merge(&old, &new, 3);
        assert_eq!(
            outcome.applied,
            [
                "listen.login_notice = \"by a \\\"pooler\\\"\"",
                "pool.size = 30",
                "pool.idle_timeout = \"90s\"",
                "user a",
                "user b",
                "user c",
                "database d",
                "database new",
                "database gone, which is no more"
            ]
        );
        assert_eq!(outcome.needs_restart, ["listen.port", "pool.mode", "user a", "database d"]);
        assert_eq!((held.pool.size, held.listen.port), (30, 6432));
        assert_eq!(held.listen.login_notice, "by a \"pooler\"");
        let names: Vec<&str> = held.users.iter().map(|user| user.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"], "each stays in its place");
        let [a, b, _] = &held.users[..] else { panic!("three users") };
        assert_eq!((a.pool_size, a.max_clients), (Some(7), None));
        assert!(b.nodes_only && !b.password.is_empty(), "whom it serves already it serves on");
        let [d, new_one] = &held.databases[..] else { panic!("two databases") };
        assert_eq!((d.min_idle, d.database.as_str(), d.max_clients), (Some(2), "other", None));
        assert_eq!(d.timezone, "UTC");
        assert_eq!(new_one.user, "c");
        assert_eq!(merge(&held, &held, 3), (held.clone(), Reloaded::default()));
    }

    #[test]
    fn what_there_is_no_room_for_and_what_is_on_other_nodes_needs_a_new_process() {
        let old = settings("user = [{ name = \"a\" }]\ndatabase = [{ name = \"d\" }]");
        let mut new = settings(
            "user = [{ name = \"a\" }, { name = \"b\" }, { name = \"c\" }]\n\
             database = [{ name = \"e\", user = \"c\" }, { name = \"f\" }]",
        );
        let (held, outcome) = merge(&old, &new, 2);
        assert_eq!(outcome.needs_restart, ["user c", "database e"]);
        assert_eq!(held.databases.len(), 1);
        new.nodes[0].host = "other".to_owned();
        let (held, outcome) = merge(&old, &new, 9);
        assert_eq!(outcome.needs_restart, ["node", "database e", "database f", "database d"]);
        assert_eq!(held.databases, old.databases);
    }
}
