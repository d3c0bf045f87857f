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

/// What has become of settings that were read again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reloaded {
    /// What has changed and holds now: `pool.size = 30`.
    pub applied: Vec<String>,
    /// What has changed and holds in a new process only: `listen.port`, `user app`.
    pub needs_restart: Vec<String>,
}

/// The settings that hold from now on.
pub(super) fn merge(old: &Settings, new: &Settings) -> (Settings, Reloaded) {
    let (mut held, mut outcome) = (old.clone(), Reloaded::default());
    let values = old.values().into_iter().zip(new.values());
    for (setting, (before, after)) in reference().into_iter().zip(values) {
        if before == after {
            continue;
        }
        let path = format!("{}.{}", setting.section, setting.name);
        // Numbers, and durations in quotes: what is live is nothing else.
        if live::is_live(&path) && held.set(&path, after.trim_matches('"')).is_ok() {
            outcome.applied.push(format!("{path} = {after}"));
        } else {
            outcome.needs_restart.push(path);
        }
    }
    for database in &mut held.databases {
        let name = &database.name;
        match new.databases.iter().find(|one| one.name == *name) {
            Some(other) => {
                let live = of_database(database, other);
                outcome.note(format!("database {name}"), *database != live, live != *other);
                *database = live;
            }
            None => outcome.needs_restart.push(format!("database {name}")),
        }
    }
    for user in &mut held.users {
        let name = &user.name;
        match new.users.iter().find(|one| one.name == *name) {
            Some(other) => {
                let live = of_user(user, other);
                outcome.note(format!("user {name}"), *user != live, live != *other);
                *user = live;
            }
            None => outcome.needs_restart.push(format!("user {name}")),
        }
    }
    let is_new = |name: &String| !old.databases.iter().any(|one| one.name == *name);
    let databases = new.databases.iter().map(|one| &one.name).filter(|name| is_new(name));
    outcome.needs_restart.extend(databases.map(|name| format!("database {name}")));
    let is_new = |name: &String| !old.users.iter().any(|one| one.name == *name);
    let users = new.users.iter().map(|one| &one.name).filter(|name| is_new(name));
    outcome.needs_restart.extend(users.map(|name| format!("user {name}")));
    if old.nodes != new.nodes {
        outcome.needs_restart.push("node".to_owned());
    }
    if old.peers != new.peers {
        outcome.needs_restart.push("peer".to_owned());
    }
    (held, outcome)
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

/// A database with what of another may change while pgherd runs.
fn of_database(old: &DatabaseSettings, new: &DatabaseSettings) -> DatabaseSettings {
    DatabaseSettings {
        pool_size: new.pool_size,
        min_idle: new.min_idle,
        acquire_timeout: new.acquire_timeout,
        max_lifetime: new.max_lifetime,
        ..old.clone()
    }
}

fn of_user(old: &UserSettings, new: &UserSettings) -> UserSettings {
    UserSettings { pool_size: new.pool_size, acquire_timeout: new.acquire_timeout, ..old.clone() }
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
        let old =
            settings("user = [{ name = \"a\" }, { name = \"b\" }]\ndatabase = [{ name = \"d\" }]");
        let new = settings(
            "user = [{ name = \"c\" }, { name = \"a\", pool_size = 7 }]\n\
             database = [{ name = \"d\", min_idle = 2, database = \"other\" }]\n\
             [pool]\nsize = 30\nmode = \"session\"\nidle_timeout = \"90s\"\n[listen]\nport = 7000",
        );
        let (held, outcome) = merge(&old, &new);
        assert_eq!(
            outcome.applied,
            ["pool.size = 30", "pool.idle_timeout = \"90s\"", "database d", "user a"]
        );
        assert_eq!(
            outcome.needs_restart,
            ["listen.port", "pool.mode", "database d", "user b", "user c"]
        );
        assert_eq!((held.pool.size, held.listen.port), (30, 6432));
        assert_eq!((held.users[0].name.as_str(), held.users[0].pool_size), ("a", Some(7)));
        assert_eq!(
            (held.databases[0].min_idle, held.databases[0].database.as_str()),
            (Some(2), "")
        );
        assert_eq!(merge(&held, &held), (held.clone(), Reloaded::default()));
    }
}
