//! What holds for one database and one login, out of all that the settings say.

use super::value::PoolMode;
use super::{DatabaseSettings, Settings, UserSettings};

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
    /// Those of them that may be pinned, at most.
    pub pin_limit: usize,
}

impl PoolPlan {
    /// The plan for a database and the login at the nodes.
    pub fn new(settings: &Settings, database: &DatabaseSettings, login: &UserSettings) -> Self {
        let Settings { pool, .. } = settings;
        let size = login.pool_size.or(database.pool_size).unwrap_or(pool.size) as usize;
        Self {
            mode: login.pool_mode.or(database.pool_mode).unwrap_or(pool.mode),
            size,
            pin_limit: match pool.pin_limit {
                0 => size.div_ceil(2),
                limit => limit as usize,
            },
        }
    }
}
