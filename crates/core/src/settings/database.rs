//! `[[database]]`: what clients may name as their database, and what holds for each.

use std::time::Duration;

use crate::id::{GroupId, ShardId};

use super::reader::Reader;
use super::section::{Range, Source};
use super::value::PoolMode;

/// The name that stands for any other.
pub const ANY_DATABASE: &str = "*";

/// `[[database]]`: what clients may name as their database. Without any it is `cluster.database`,
/// and nothing else. The proxy only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DatabaseSettings {
    /// What clients call it; `"*"` stands for every name that is not listed. Required, unique.
    pub name: String,
    /// What it is called on the nodes. Default: "", the name that the client gave.
    pub database: String,
    /// The shard whose nodes it is on; to hold other databases than the coordinator's is reason enough for
    /// a `worker`. Default: the coordinator's nodes.
    pub shard: Option<ShardId>,
    /// The `[[user]]` that pgherd logs in as at the nodes, for all clients of this database: they
    /// share one pool. Default: "", the client's own.
    pub user: String,
    /// For how long a client holds a backend, here. Default: as `pool.mode`.
    pub pool_mode: Option<PoolMode>,
    /// Backends to one node under one login, at most, here. Default: as `pool.size`.
    pub pool_size: Option<u32>,
    /// Backends to one node that are kept open, here. Default: as `pool.min_idle`.
    pub min_idle: Option<u32>,
    /// Backends beyond `pool_size` for who has waited for `pool.reserve_after`. Default: as
    /// `pool.reserve_size`.
    pub reserve_size: Option<u32>,
    /// Backends to one node, at most, for all logins together; 0 is no limit. Default: as
    /// `pool.max_backends_per_database`.
    pub max_backends: Option<u32>,
    /// Clients of it, at most; 0 is no limit. Default: as `listen.max_clients_per_database`.
    pub max_clients: Option<u32>,
    /// How long acquires wait for a free backend, here. Default: as `pool.acquire_timeout`.
    pub acquire_timeout: Option<Duration>,
    /// How old a backend may get, here. Default: as `pool.max_lifetime`.
    pub max_lifetime: Option<Duration>,
    /// What is run on each backend when it has been opened, before any client has it, and again when
    /// it has been reset. If it fails on a new one that is logged and no more. Default: "", nothing.
    pub connect_query: String,
    /// The `application_name` of clients that give none at their login, and what RESET goes back to
    /// for them. Default: "", the node's.
    pub application_name: String,
    /// The same of `client_encoding`. Default: "", the node's.
    pub client_encoding: String,
    /// The same of `DateStyle`. Default: "", the node's.
    pub datestyle: String,
    /// The same of `TimeZone`. Default: "", the node's.
    pub timezone: String,
    /// The `[[user]]` that looks up the secrets of clients of this database. Default: "", as
    /// `listen.auth_user`.
    pub auth_user: String,
    /// What it asks. Default: "", as `listen.auth_query`.
    pub auth_query: String,
    /// What clients would call the database in which it asks. Default: "", as `listen.auth_database`.
    pub auth_database: String,
}

impl DatabaseSettings {
    /// Whether it stands for every name that is not listed.
    pub fn is_any(&self) -> bool {
        self.name == ANY_DATABASE
    }

    /// The nodes that it is on.
    pub fn group(&self) -> GroupId {
        self.shard.map_or(GroupId::Coordinator, GroupId::Shard)
    }

    /// What it is called on the nodes, by a client that asked for `name`.
    pub fn on_nodes<'n>(&'n self, name: &'n str) -> &'n str {
        if self.database.is_empty() { name } else { &self.database }
    }

    /// Parameters that its clients begin with, unless they ask for others: names and values.
    pub fn parameters(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("application_name", &self.application_name),
            ("client_encoding", &self.client_encoding),
            ("DateStyle", &self.datestyle),
            ("TimeZone", &self.timezone),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, &**value))
    }

    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Self> {
        let database = reader.take("database", String::new(), &Range::Any);
        let shard = reader.optional("shard").map(ShardId);
        let user = reader.take("user", String::new(), &Range::Any);
        let pool_mode = reader.optional("pool_mode");
        let pool_size = reader.optional("pool_size");
        let min_idle = reader.optional("min_idle");
        let reserve_size = reader.optional("reserve_size");
        let max_backends = reader.optional("max_backends");
        let max_clients = reader.optional("max_clients");
        let acquire_timeout = reader.optional("acquire_timeout");
        let max_lifetime = reader.optional("max_lifetime");
        let connect_query = reader.take("connect_query", String::new(), &Range::Any);
        let application_name = reader.take("application_name", String::new(), &Range::Any);
        let client_encoding = reader.take("client_encoding", String::new(), &Range::Any);
        let datestyle = reader.take("datestyle", String::new(), &Range::Any);
        let timezone = reader.take("timezone", String::new(), &Range::Any);
        let auth_user = reader.take("auth_user", String::new(), &Range::Any);
        let auth_query = reader.take("auth_query", String::new(), &Range::Any);
        let auth_database = reader.take("auth_database", String::new(), &Range::Any);
        let name = reader.required("name")?;
        Some(Self {
            name,
            database,
            shard,
            user,
            pool_mode,
            pool_size,
            min_idle,
            reserve_size,
            max_backends,
            max_clients,
            acquire_timeout,
            max_lifetime,
            connect_query,
            application_name,
            client_encoding,
            datestyle,
            timezone,
            auth_user,
            auth_query,
            auth_database,
        })
    }
}
