//! What holds for one database and one login, out of all that the settings say.

use std::time::Duration;

use super::value::PoolMode;
use super::{DatabaseSettings, Settings, UserSettings};
use crate::pool::Reuse;
use crate::timeouts::Timeouts;

/// What holds for the pools of one database under one login, one for each node. `[[user]]` goes before
/// `[[database]]`, and that before `[pool]`.
///
/// ```
/// use pgherd_core::Settings;
/// use pgherd_core::settings::PoolPlan;
///
/// let text = r#"
///     node = [{ host = "db.example.com", role = "coordinator" }]
///     user = [{ name = "app" }, { name = "batch", pool_size = 3 }]
///     database = [{ name = "reports", pool_size = 7 }, { name = "*" }]
/// "#;
/// let settings = Settings::from_toml(text, "pgherd.toml")?;
/// let size = |database: usize, user: usize| {
///     PoolPlan::new(&settings, &settings.databases[database], &settings.users[user]).size
/// };
/// assert_eq!([size(0, 0), size(0, 1), size(1, 0)], [7, 3, 20]);
/// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolPlan {
    /// For how long a client holds a backend.
    pub mode: PoolMode,
    /// Backends to one node, at most.
    pub size: usize,
    /// So many more, once somebody has waited for [`Self::reserve_after`].
    pub reserve: usize,
    /// How long that is.
    pub reserve_after: Duration,
    /// Backends to one node that are kept open.
    pub min_idle: usize,
    /// Backends to one node of the database, at most, for all logins.
    pub database_limit: Option<usize>,
    /// Backends to one node under the login, at most, for all databases.
    pub login_limit: Option<usize>,
    /// Those of them that may be pinned, at most.
    pub pin_limit: usize,
    /// How long an acquire waits.
    pub acquire_timeout: Duration,
    /// How old a backend may get.
    pub max_lifetime: Duration,
    /// Which idle backend is lent.
    pub reuse: Reuse,
    /// The longest wait between two tries to open one.
    pub open_retry: Duration,
}

impl PoolPlan {
    /// The plan for a database and the login at the nodes.
    pub fn new(settings: &Settings, database: &DatabaseSettings, login: &UserSettings) -> Self {
        let Settings { pool, .. } = settings;
        let size = login.pool_size.or(database.pool_size).unwrap_or(pool.size) as usize;
        Self {
            mode: login.pool_mode.or(database.pool_mode).unwrap_or(pool.mode),
            size,
            reserve: login.reserve_size.or(database.reserve_size).unwrap_or(pool.reserve_size)
                as usize,
            reserve_after: pool.reserve_after,
            min_idle: (database.min_idle.unwrap_or(pool.min_idle) as usize).min(size),
            database_limit: limit(database.max_backends, pool.max_backends_per_database),
            login_limit: limit(login.max_backends, pool.max_backends_per_user),
            pin_limit: match pool.pin_limit {
                0 => size.div_ceil(2),
                limit => limit as usize,
            },
            acquire_timeout: login
                .acquire_timeout
                .or(database.acquire_timeout)
                .unwrap_or(pool.acquire_timeout),
            max_lifetime: database.max_lifetime.unwrap_or(pool.max_lifetime),
            reuse: if pool.round_robin { Reuse::Oldest } else { Reuse::Newest },
            open_retry: pool.open_retry,
        }
    }
}

impl Settings {
    /// How many clients a database may have.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let text = r#"
    ///     node = [{ host = "db.example.com", role = "coordinator" }]
    ///     user = [{ name = "app" }, { name = "batch", max_clients = 5 }]
    ///     database = [{ name = "app" }, { name = "reports", max_clients = 0 }]
    ///     listen = { max_clients_per_database = 100 }
    /// "#;
    /// let settings = Settings::from_toml(text, "pgherd.toml")?;
    /// let database = |at: usize| settings.client_limit_of_database(&settings.databases[at]);
    /// let user = |at: usize| settings.client_limit_of_user(&settings.users[at]);
    /// assert_eq!([database(0), database(1)], [Some(100), None]);
    /// assert_eq!([user(0), user(1)], [None, Some(5)]);
    /// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
    /// ```
    pub fn client_limit_of_database(&self, database: &DatabaseSettings) -> Option<usize> {
        limit(database.max_clients, self.listen.max_clients_per_database)
    }

    /// How many clients a user may have. See [`Self::client_limit_of_database`].
    pub fn client_limit_of_user(&self, user: &UserSettings) -> Option<usize> {
        limit(user.max_clients, self.listen.max_clients_per_user)
    }

    /// The limits of a user's clients: its own, or those of `[listen]`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use pgherd_core::Settings;
    ///
    /// let text = r#"
    ///     node = [{ host = "db.example.com", role = "coordinator" }]
    ///     user = [{ name = "app" }, { name = "batch", query_timeout = "0s" }]
    ///     listen = { query_timeout = "1m" }
    /// "#;
    /// let settings = Settings::from_toml(text, "pgherd.toml")?;
    /// let query = |user: usize| settings.client_timeouts(&settings.users[user]).query;
    /// assert_eq!([query(0), query(1)], [Some(Duration::from_secs(60)), None]);
    /// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
    /// ```
    pub fn client_timeouts(&self, user: &UserSettings) -> Timeouts {
        let limit = |own: Option<Duration>, all: Duration| {
            Some(own.unwrap_or(all)).filter(|limit| !limit.is_zero())
        };
        let all = &self.listen;
        Timeouts {
            query: limit(user.query_timeout, all.query_timeout),
            transaction: limit(user.transaction_timeout, all.transaction_timeout),
            idle_transaction: limit(user.idle_transaction_timeout, all.idle_transaction_timeout),
            idle: limit(user.client_idle_timeout, all.client_idle_timeout),
        }
    }
}

/// A limit that 0 switches off.
fn limit(own: Option<u32>, all: u32) -> Option<usize> {
    Some(own.unwrap_or(all) as usize).filter(|limit| *limit > 0)
}
