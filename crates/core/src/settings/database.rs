//! `[[database]]`: what clients may name as their database, and what holds for each.

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
    /// The `[[user]]` that pgherd logs in as at the nodes, for all clients of this database: they
    /// share one pool. Default: "", the client's own.
    pub user: String,
    /// For how long a client holds a backend, here. Default: as `pool.mode`.
    pub pool_mode: Option<PoolMode>,
    /// Backends to one node under one login, at most, here. Default: as `pool.size`.
    pub pool_size: Option<u32>,
}

impl DatabaseSettings {
    /// Whether it stands for every name that is not listed.
    pub fn is_any(&self) -> bool {
        self.name == ANY_DATABASE
    }

    /// What it is called on the nodes, by a client that asked for `name`.
    pub fn on_nodes<'n>(&'n self, name: &'n str) -> &'n str {
        if self.database.is_empty() { name } else { &self.database }
    }

    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Self> {
        let database = reader.take("database", String::new(), &Range::Any);
        let user = reader.take("user", String::new(), &Range::Any);
        let pool_mode = reader.optional("pool_mode");
        let pool_size = reader.optional("pool_size");
        let name = reader.required("name")?;
        Some(Self { name, database, user, pool_mode, pool_size })
    }
}
