//! Every setting, defined once.
//!
//! In: the text of `pgherd.toml`, or environment variables through a function. Out: checked
//! [`Settings`], or every problem found, each with its line.
//!
//! The struct's documentation, the reader, the defaults, the ranges and
//! [`reference()`] come from one declaration for each setting (see `section.rs`). No file and no
//! environment is read here.

mod check;
mod database;
mod env;
mod error;
mod listen;
mod peer;
mod plan;
mod reader;
mod section;
mod sections;
mod suggest;
mod value;
mod writer;

pub(crate) use suggest::nearest;

pub use database::{ANY_DATABASE, DatabaseSettings};
pub use env::{VariableInfo, variables};
pub use error::{SettingsError, SettingsErrors};
pub use peer::PeerSettings;
pub use plan::PoolPlan;
pub use section::{SettingInfo, reference};
pub use sections::{
    ClientTlsSettings, ClusterSettings, HealthSettings, HttpSettings, ListenSettings, LogSettings,
    NodeSettings, PoolSettings, RetrySettings, RoutingSettings, TcpSettings, TlsSettings,
    TransactionSettings, UserSettings,
};
pub use value::{
    AuthMethod, ByteSize, ChannelBinding, HostBalance, PasswordCommand, PinPolicy, PoolMode,
    Secret, SyslogFacility, TlsMode, TlsVersion,
};

use crate::guard::GuardConfig;
use crate::health::HealthConfig;
use crate::id::GroupId;
use crate::retry::{BudgetConfig, RetryConfig};
use crate::route::RoutePolicy;
use crate::topology::{Node, Topology, TopologyError};

/// All settings of one cluster.
///
/// ```
/// use pgherd_core::Settings;
///
/// let text = r#"
///     [[node]]
///     host = "db.example.com"
///     role = "coordinator"
///
///     [[user]]
///     name = "app"
///
///     [pool]
///     size = 50
/// "#;
/// let settings = Settings::from_toml(text, "pgherd.toml")?;
/// assert_eq!((settings.pool.size, settings.nodes[0].port), (50, 5432));
/// assert_eq!(settings.topology().unwrap().nodes()[0].name, "coordinator");
/// // What the parts of pgherd are given.
/// assert_eq!(settings.retry_config().max_retries, 5);
/// assert_eq!(settings.retry_budget().burst, 100);
/// assert_eq!(settings.health_config().failures, 3);
/// assert!(settings.route_policy().unwrap().read_from_replicas);
///
/// let errors = Settings::from_toml("[pool]\nsize = 0", "pgherd.toml").unwrap_err();
/// let first = errors.0[0].to_string();
/// assert_eq!(first, "pgherd.toml:2: pool.size: 0 is out of range (1 to 10000)");
/// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// `[cluster]`
    pub cluster: ClusterSettings,
    /// `[[node]]`, one for each server.
    pub nodes: Vec<NodeSettings>,
    /// `[[user]]`, one for each login.
    pub users: Vec<UserSettings>,
    /// `[[database]]`, one for each name that clients may give. See [`Self::served_databases`].
    pub databases: Vec<DatabaseSettings>,
    /// `[[peer]]`, one for each other process that clients may reach in place of this one.
    pub peers: Vec<PeerSettings>,
    /// `[listen]`
    pub listen: ListenSettings,
    /// `[pool]`
    pub pool: PoolSettings,
    /// `[health]`
    pub health: HealthSettings,
    /// `[retry]`
    pub retry: RetrySettings,
    /// `[routing]`
    pub routing: RoutingSettings,
    /// `[transactions]`
    pub transactions: TransactionSettings,
    /// `[tls]`
    pub tls: TlsSettings,
    /// `[client_tls]`
    pub client_tls: ClientTlsSettings,
    /// `[http]`
    pub http: HttpSettings,
    /// `[tcp]`
    pub tcp: TcpSettings,
    /// `[log]`
    pub log: LogSettings,
}

impl Settings {
    /// Reads the text of a settings file. `file_name` appears in errors only.
    ///
    /// # Errors
    /// Every problem that was found: what is not TOML, unknown settings, wrong types, values
    /// out of range, nodes that make no cluster.
    pub fn from_toml(text: &str, file_name: &str) -> Result<Self, SettingsErrors> {
        reader::read(text, file_name)
    }

    /// Reads the environment through `variable`, which answers the value of a name.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let variable = |name: &str| (name == "COORDINATOR_HOST").then(|| "db.example.com".to_owned());
    /// let settings = Settings::from_env(variable).unwrap();
    /// assert_eq!(settings.nodes[0].host, "db.example.com");
    /// ```
    ///
    /// # Errors
    /// Every problem that was found, by the variable's name.
    pub fn from_env(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingsErrors> {
        env::read(&variable)
    }

    /// Reads environment variables as pairs of name and value, and refuses names that are probably
    /// misspelt ones of ours.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let pair = |name: &str| (name.to_owned(), "db.example.com".to_owned());
    /// assert!(Settings::from_variables([pair("COORDINATOR_HOST")]).is_ok());
    /// let errors = Settings::from_variables([pair("COORDINATOR_HOST"), pair("WORKER_HSTS")]).unwrap_err();
    /// assert!(errors.to_string().contains("WORKER_HOSTS"), "{errors}");
    /// ```
    ///
    /// # Errors
    /// Every problem that was found, by the variable's name.
    pub fn from_variables(
        pairs: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, SettingsErrors> {
        env::read_pairs(pairs)
    }

    /// The text of a settings file that says the same: what is not as it would be by itself. It
    /// holds the passwords.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let text = "[[node]]\nname = \"coordinator\"\nhost = \"db\"\nrole = \"coordinator\"\n\n\
    ///             [[user]]\nname = \"app\"\n\n[pool]\nsize = 50\n";
    /// assert_eq!(Settings::from_toml(text, "pgherd.toml").unwrap().to_toml(), text);
    /// ```
    pub fn to_toml(&self) -> String {
        writer::write(self)
    }

    /// Whether each setting is in its range and all together make a cluster, wherever they came
    /// from.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let variable = |name: &str| (name == "COORDINATOR_HOST").then(|| "db.example.com".to_owned());
    /// let mut settings = Settings::from_env(variable)?;
    /// assert!(settings.check().is_ok());
    /// settings.pool.size = 0;
    /// assert!(settings.check().is_err());
    /// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
    /// ```
    ///
    /// # Errors
    /// Every problem that was found; none for settings that came from [`Self::from_toml`] or
    /// [`Self::from_env`], which check it.
    pub fn check(&self) -> Result<(), SettingsErrors> {
        let problem = |(path, problem)| SettingsError {
            file: None,
            line: None,
            setting: Some(path),
            problem,
        };
        let found: Vec<_> = check::check(self).into_iter().map(problem).collect();
        if found.is_empty() { Ok(()) } else { Err(SettingsErrors(found)) }
    }

    /// What the settings of all sections are set to, as it is written in TOML, in the order of
    /// [`reference()`].
    ///
    /// ```
    /// use pgherd_core::Settings;
    /// use pgherd_core::settings::reference;
    ///
    /// let values = Settings::default().values();
    /// let all = reference();
    /// assert!(all.iter().zip(&values).all(|(setting, value)| setting.default == *value));
    /// assert_eq!(all.len(), values.len());
    /// ```
    pub fn values(&self) -> Vec<String> {
        sections::values_of_all(self)
    }

    /// Sets one setting from a text, as an environment variable would.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let mut settings = Settings::default();
    /// settings.set("pool.idle_timeout", "90s")?;
    /// assert_eq!(settings.pool.idle_timeout.as_secs(), 90);
    /// let error = settings.set("pool.idle_timeout", "90").unwrap_err();
    /// assert!(error.contains("90"), "{error}");
    /// assert!(settings.set("pool.nonsense", "1").is_err());
    /// # Ok::<(), String>(())
    /// ```
    ///
    /// # Errors
    /// What is wrong with the value or the path, which is `section.name`. Nothing is changed then.
    pub fn set(&mut self, path: &str, text: &str) -> Result<(), String> {
        let unknown = || format!("there is no setting `{path}`");
        let (section, name) = path.split_once('.').ok_or_else(unknown)?;
        sections::set(self, section, name, text).unwrap_or_else(|| Err(unknown()))
    }

    /// Takes one setting over from others, if there is one at that path.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let (mut settings, mut other) = (Settings::default(), Settings::default());
    /// other.listen.login_notice = "a \"pooler\"".to_owned();
    /// assert!(settings.copy("listen.login_notice", &other));
    /// assert_eq!(settings, other);
    /// assert!(!settings.copy("listen.nonsense", &other));
    /// ```
    pub fn copy(&mut self, path: &str, from: &Self) -> bool {
        let Some((section, name)) = path.split_once('.') else { return false };
        sections::copy(self, section, name, from)
    }

    /// The nodes as a topology, with nothing known about their health.
    ///
    /// # Errors
    /// [`TopologyError`]; never for settings that came from [`Self::from_toml`] or
    /// [`Self::from_env`], which check it.
    pub fn topology(&self) -> Result<Topology, TopologyError> {
        let node = |node: &NodeSettings| Node {
            weight: node.weight,
            zone: (!node.zone.is_empty()).then(|| node.zone.clone()),
            balance: node.load_balance_hosts.unwrap_or(self.pool.load_balance_hosts),
            ..Node::new(&*node.name, &*node.host, node.port, node.role, node.shard)
        };
        Topology::new(self.nodes.iter().map(node).collect())
    }

    /// What clients of the proxy may name as their database: `[[database]]`, or `cluster.database`.
    ///
    /// ```
    /// use pgherd_core::Settings;
    ///
    /// let variable = |name: &str| (name == "COORDINATOR_HOST").then(|| "db.example.com".to_owned());
    /// let served = Settings::from_env(variable)?.served_databases();
    /// assert_eq!((served.len(), served[0].name.as_str()), (1, "postgres"));
    /// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
    /// ```
    pub fn served_databases(&self) -> Vec<DatabaseSettings> {
        if self.databases.is_empty() {
            let name = self.cluster.database.clone();
            return vec![DatabaseSettings { name, ..DatabaseSettings::default() }];
        }
        self.databases.clone()
    }

    /// Who asks the nodes of a group how they do, and in which database, which has to be there: the first
    /// that is listed with this shard (for `"*"` it is "postgres"), else `cluster.database`. `None` where there are no users.
    ///
    /// ```
    /// use pgherd_core::Settings;
    /// use pgherd_core::id::{GroupId, ShardId};
    ///
    /// let text = "user = [{ name = \"app\" }, { name = \"books\" }]\n\
    ///     node = [{ host = \"a\", role = \"coordinator\" }, { host = \"b\", role = \"worker\", shard = 0 }]\n\
    ///     database = [{ name = \"shop\" }, { name = \"ledger\", shard = 0, user = \"books\" }]";
    /// let settings = Settings::from_toml(text, "pgherd.toml")?;
    /// let asks = |group| settings.probe_login(group).map(|(user, database)| (&*user.name, database));
    /// assert_eq!(asks(GroupId::Coordinator), Some(("app", "postgres")));
    /// assert_eq!(asks(GroupId::Shard(ShardId(0))), Some(("books", "ledger")));
    /// # Ok::<(), pgherd_core::settings::SettingsErrors>(())
    /// ```
    pub fn probe_login(&self, group: GroupId) -> Option<(&UserSettings, &str)> {
        let first = self.users.first()?;
        let is_there = |one: &&DatabaseSettings| one.shard.is_some() && one.group() == group;
        let Some(there) = self.databases.iter().find(is_there) else {
            return Some((first, &self.cluster.database));
        };
        let user = self.users.iter().find(|user| user.name == there.user).unwrap_or(first);
        let nameless = there.is_any() && there.database.is_empty();
        let database = if nameless { "postgres" } else { there.on_nodes(&there.name) };
        Some((user, database))
    }

    /// How statements are routed in this cluster.
    ///
    /// # Errors
    /// [`BadShardMap`](crate::shard::BadShardMap); never for settings that were read here.
    pub fn route_policy(&self) -> Result<RoutePolicy, crate::shard::BadShardMap> {
        let workers = self.nodes.iter().filter(|n| n.role == crate::NodeRole::Worker).count();
        let shards = u16::try_from(workers).unwrap_or(u16::MAX);
        let routing = &self.routing;
        let policy = RoutePolicy::new(routing.shard_function, routing.buckets, shards)?;
        Ok(RoutePolicy {
            read_from_replicas: routing.read_from_replicas,
            fall_back_to_primary: routing.fall_back_to_primary,
            balance: routing.balance,
            zone: (!routing.zone.is_empty()).then(|| routing.zone.clone()),
            zone_limit: if routing.zone_limit == 0 { self.pool.size } else { routing.zone_limit },
            ..policy
        })
    }

    /// How many retries all statements together may make.
    pub fn retry_budget(&self) -> BudgetConfig {
        BudgetConfig { ratio: self.retry.budget_ratio, burst: self.retry.budget_burst }
    }

    /// The thresholds of the health machine.
    pub fn health_config(&self) -> HealthConfig {
        let HealthSettings { failures, successes, warm_up, most_hold_off, cut_after, .. } =
            self.health;
        let reads_on_primary = self.routing.fall_back_to_primary;
        HealthConfig { failures, successes, warm_up, most_hold_off, cut_after, reads_on_primary }
    }

    /// What failed logins lead to.
    ///
    /// ```
    /// let mut settings = pgherd_core::Settings::default();
    /// settings.listen.login_failures = 5;
    /// assert_eq!(settings.guard_config().most, 5);
    /// ```
    pub fn guard_config(&self) -> GuardConfig {
        let ListenSettings { login_failures, login_forgiven_in, login_delay, .. } = self.listen;
        GuardConfig {
            most: login_failures,
            forgiven_in: login_forgiven_in,
            longest_delay: login_delay,
        }
    }

    /// The retry schedule.
    pub fn retry_config(&self) -> RetryConfig {
        RetryConfig {
            max_retries: self.retry.max_retries,
            initial_backoff: self.retry.initial_backoff,
            backoff_multiplier: self.retry.multiplier,
            jitter: self.retry.jitter,
            max_backoff: self.retry.max_backoff,
        }
    }
}

#[cfg(test)]
mod tests;
