//! What clients may name as their database, and what holds there for each of them.
//!
//! In: the settings; the names and logins that clients come with. Out: an [`Account`] for each
//! database and user, which all its clients share.

mod account;
mod database;
mod known;
mod places;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use pgherd_core::Settings;
use pgherd_core::settings::{DatabaseSettings, PoolPlan, UserSettings};

use crate::admin::{self, Rights};
use crate::auth::question::Place;
use crate::auth::{UserId, Users};

pub use account::Account;
pub use database::{Database, DatabaseId};
pub use places::{NoSeat, Seat};

use account::Terms;
use known::Known;
use places::Places;

/// Why a client cannot have its database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDatabase {
    /// Neither is it listed, nor is there `"*"`.
    #[error("database \"{0}\" does not exist")]
    Unknown(String),
    /// As many as there may be are in use.
    #[error("{0} databases that the settings do not list are in use, and no more may be")]
    TooMany(usize),
}

/// All databases.
///
/// The lock guards those that were made for clients, and is held for a look at them: at a login, and
/// when a pool is made.
#[derive(Debug)]
pub struct Databases {
    // As they are, or as they were read again: users stand where they stood.
    settings: ArcSwap<Settings>,
    listed: ArcSwap<Vec<Arc<Database>>>,
    any: ArcSwapOption<DatabaseSettings>,
    logins: ArcSwap<HashMap<String, UserId>>,
    consoles: HashMap<UserId, Rights>,
    // What holds for users that were looked up.
    looked_up: UserSettings,
    known: Mutex<Known>,
}

impl Databases {
    /// Those of the settings, whose users these are.
    pub fn new(settings: &Settings, users: &Users) -> Self {
        let settings = Arc::new(settings.clone());
        let all = Self {
            settings: ArcSwap::new(Arc::clone(&settings)),
            listed: ArcSwap::default(),
            any: ArcSwapOption::empty(),
            logins: ArcSwap::default(),
            consoles: consoles(&settings, users),
            looked_up: UserSettings::default(),
            known: Mutex::default(),
        };
        all.follow(settings, users, &|| 0);
        all
    }

    /// These are the settings from now on, as [`admin::Admin::reload`] has made them of what was read.
    /// Clients stay where they are, also in a database that is no more. Backends that were opened until
    /// `now`, in the time of [`admin::Admin::nanos`], are to be closed as soon as they are free, if their
    /// database is another one on the nodes, or begins otherwise.
    pub(crate) fn follow(&self, settings: Arc<Settings>, users: &Users, now: &dyn Fn() -> u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.former.retain(|database| Arc::strong_count(database) > 1);
        let before = self.listed.load_full();
        let (mut listed, mut any) = (Vec::new(), None);
        for of_one in settings.served_databases() {
            if of_one.is_any() {
                any = Some(Arc::new(of_one));
                continue;
            }
            if let Some(database) = before.iter().find(|one| *one.name == of_one.name) {
                database.follow(of_one, now);
                listed.push(Arc::clone(database));
                continue;
            }
            // Who came to it by `"*"` has it as it was.
            let by_any = known.unlisted.remove(of_one.name.as_str());
            known.leave(by_any);
            let clients = Places::up_to(settings.client_limit_of_database(&of_one));
            listed.push(known.make(&of_one.name.clone(), Arc::new(of_one), true, clients));
        }
        for database in before.iter().filter(|one| !listed.iter().any(|now| now.id == one.id)) {
            database.unlist();
            known.leave([Arc::clone(database)]);
        }
        // Those who came by `"*"` stay on the nodes where they are.
        let group = any.as_ref().map(|any: &Arc<DatabaseSettings>| any.group());
        let elsewhere = known.unlisted.extract_if(|_, one| Some(one.group) != group);
        let elsewhere: Vec<_> = elsewhere.map(|(_, database)| database).collect();
        known.leave(elsewhere);
        if let Some(any) = &any {
            known.unlisted.values().for_each(|one| one.follow(DatabaseSettings::clone(any), now));
        }
        let find = |name: &String| Some((name.clone(), users.find(name)?));
        let logins = settings.users.iter().filter_map(|user| find(&user.name)).collect();
        self.listed.store(Arc::new(listed));
        self.any.store(any);
        self.logins.store(Arc::new(logins));
        self.settings.store(settings);
        // What holds for their clients is looked up anew; those who are there keep what they have.
        let Known { former, accounts, users, .. } = &mut *known;
        accounts.retain(|(id, user), account| {
            let is_former = former.iter().any(|database| database.id == *id);
            !is_former && account.is_as(&self.terms(&account.database, *user))
        });
        // Who is not there may have as many clients as the settings say now.
        users.retain(|_, places| Arc::strong_count(places) > 1);
    }

    /// Whether clients may name it.
    pub fn serves(&self, name: &str) -> bool {
        self.any.load().is_some() || self.is_console(name) || self.listed(name).is_some()
    }

    /// Whether it is the console.
    pub fn is_console(&self, name: &str) -> bool {
        admin::DATABASES.contains(&name) && self.listed(name).is_none()
    }

    /// What a user may do there; `None` is nothing at all.
    pub fn console_rights(&self, user: UserId) -> Option<Rights> {
        self.consoles.get(&user).copied()
    }

    /// The database with this name; one that only `"*"` lets in is known from now on.
    ///
    /// # Errors
    /// [`NoDatabase`].
    pub(crate) fn find(&self, name: &str) -> Result<Arc<Database>, NoDatabase> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match self.listed(name) {
            Some(database) => Ok(database),
            None => known.unlisted(name, self.any.load_full(), &self.settings.load()),
        }
    }

    /// All that clients have under this name: the one that they have who name it now, and those that others
    /// have still who came before settings were read again.
    ///
    /// # Errors
    /// [`NoDatabase`] if there is none.
    pub(crate) fn all_named(&self, name: &str) -> Result<Vec<Arc<Database>>, NoDatabase> {
        let now = self.find(name);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_held = |one: &&Arc<Database>| *one.name == *name && Arc::strong_count(one) > 1;
        let former: Vec<_> = known.former.iter().filter(is_held).cloned().collect();
        match now {
            Err(error) if former.is_empty() => Err(error),
            now => Ok(now.into_iter().chain(former).collect()),
        }
    }

    /// All that are known: those that are listed, and those that clients have named.
    pub(crate) fn all(&self) -> Vec<Arc<Database>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        self.listed.load().iter().chain(known.unlisted.values()).cloned().collect()
    }

    /// Clients that are logged in under a user.
    pub(crate) fn clients_of(&self, user: UserId) -> usize {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.users.get(&user).map_or(0, |places| places.taken())
    }

    /// The name of the first that the settings list, if they list any.
    pub fn first(&self) -> String {
        self.listed.load().first().map_or_else(String::new, |database| database.name.to_string())
    }

    /// The user as whom all clients of a database are served, if it has one.
    pub fn shared_login(&self, name: &str) -> Option<UserId> {
        let settings = self.settings_of(name)?;
        self.logins.load().get(&settings.user).copied()
    }

    /// The account of a database and a user.
    ///
    /// # Errors
    /// [`NoDatabase`].
    pub fn account(&self, name: &str, user: UserId) -> Result<Arc<Account>, NoDatabase> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        let database = match self.listed(name) {
            Some(database) => database,
            None => known.unlisted(name, self.any.load_full(), &self.settings.load())?,
        };
        let Known { accounts, users, .. } = known;
        let account = accounts.entry((database.id, user)).or_insert_with(|| {
            let Terms { login, mode, timeouts } = self.terms(&database, user);
            let of_user = users.entry(user).or_insert_with(|| {
                let settings = self.settings.load();
                let limit = settings.client_limit_of_user(self.of_user(&settings, user));
                Arc::new(Places::up_to(limit))
            });
            let of_user = Arc::clone(of_user);
            let clients = Places::default();
            let id = database.id;
            Arc::new(Account { id, database, user, login, mode, timeouts, clients, of_user })
        });
        Ok(Arc::clone(account))
    }

    /// What holds for clients that come with the two now.
    fn terms(&self, database: &Database, user: UserId) -> Terms {
        let login = self.login_of_all(database).unwrap_or(user);
        let mode = self.plan(database, login).mode;
        let settings = self.settings.load();
        Terms { login, mode, timeouts: settings.client_timeouts(self.of_user(&settings, user)) }
    }

    /// The shortest time after which an idle client is dismissed, of all users.
    pub fn shortest_idle_timeout(&self) -> Option<Duration> {
        let settings = self.settings.load();
        let users = settings.users.iter();
        users.filter_map(|user| settings.client_timeouts(user).idle).min()
    }

    /// The database with this id, which somebody has to hold.
    pub(crate) fn get(&self, id: DatabaseId) -> Arc<Database> {
        if let Some(listed) = self.listed.load().iter().find(|database| database.id == id) {
            return Arc::clone(listed);
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let mut others = known.unlisted.values().chain(&known.former);
        let found = others.find(|database| database.id == id);
        Arc::clone(found.expect("a database is known for as long as it is held"))
    }

    /// Whether a pool of a database under a login is to be kept ready: all its clients share that
    /// login, or one of them is there.
    pub(crate) fn is_kept_ready(&self, database: &Database, login: UserId) -> bool {
        if self.login_of_all(database).is_some() {
            return true;
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let account = known.accounts.get(&(database.id, login));
        account.is_some_and(|account| !account.clients.is_empty())
    }

    /// The listed databases whose clients share a login, with that, where backends are kept open.
    pub(crate) fn kept_ready(&self) -> Vec<(Arc<Database>, UserId)> {
        let listed = self.listed.load();
        let ready = listed.iter().filter_map(|database| {
            let login = self.login_of_all(database)?;
            (self.plan(database, login).min_idle > 0).then(|| (Arc::clone(database), login))
        });
        ready.collect()
    }

    fn login_of_all(&self, database: &Database) -> Option<UserId> {
        self.logins.load().get(&database.settings().user).copied()
    }

    /// What holds for the pools of a database under a login at the nodes.
    pub(crate) fn plan(&self, database: &Database, login: UserId) -> PoolPlan {
        let settings = self.settings.load();
        PoolPlan::new(&settings, &database.settings(), self.of_user(&settings, login))
    }

    /// What the settings say of a user; of one that was looked up they say nothing.
    fn of_user<'s>(&'s self, settings: &'s Settings, user: UserId) -> &'s UserSettings {
        settings.users.get(user.index()).unwrap_or(&self.looked_up)
    }

    /// Where the secret of a user who is not in the settings is looked up that wants this database;
    /// `None` if it is not.
    pub fn look_up(&self, database: &str) -> Option<Place> {
        let settings = self.settings.load();
        let listen = &settings.listen;
        let own = self.settings_of(database);
        let own = own.as_deref();
        let first = |own: Option<&String>, of_all: &String| {
            let own = own.filter(|own| !own.is_empty()).unwrap_or(of_all);
            (!own.is_empty()).then(|| own.clone())
        };
        let user = first(own.map(|own| &own.auth_user), &listen.auth_user)?;
        let query = first(own.map(|own| &own.auth_query), &listen.auth_query)?;
        let named = first(own.map(|own| &own.auth_database), &listen.auth_database);
        let named = named.as_deref().unwrap_or(database);
        let found = self.settings_of(named)?;
        let (group, database) = (found.group(), found.on_nodes(named).to_owned());
        Some(Place { user, group, database, query })
    }

    fn listed(&self, name: &str) -> Option<Arc<Database>> {
        self.listed.load().iter().find(|database| *database.name == *name).cloned()
    }

    fn settings_of(&self, name: &str) -> Option<Arc<DatabaseSettings>> {
        let listed = self.listed(name).map(|database| database.settings());
        listed.or_else(|| self.any.load_full())
    }
}

/// Who may do what at the console.
fn consoles(settings: &Settings, users: &Users) -> HashMap<UserId, Rights> {
    let with = |rights| move |name: &String| Some((users.find(name)?, rights));
    let stats = settings.listen.stats_users.iter().filter_map(with(Rights::Stats));
    // Whoever is in both may do everything.
    stats.chain(settings.listen.admin_users.iter().filter_map(with(Rights::Admin))).collect()
}

#[cfg(test)]
mod tests;
