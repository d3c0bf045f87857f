//! The server that all contenders stand before.

use anyhow::Result;
use pgherd_lab::{Cluster, ClusterSpec, Node, Pgbench, cluster};

/// pgbench's scale: 1,000,000 accounts, 150 MB, which fit into the server's memory.
pub(super) const SCALE: u32 = 10;

/// Settings of the server: it is to be in nobody's way.
pub(super) const SETTINGS: [&str; 4] = [
    "max_connections = 300",
    "shared_buffers = '512MB'",
    "autovacuum = off",
    "checkpoint_timeout = '1h'",
];

/// A server with pgbench's tables in it, and in memory.
pub(super) struct Stage {
    cluster: Cluster,
    secret: String,
}

impl Stage {
    /// Starts it.
    pub(super) fn set() -> Result<Self> {
        let spec = ClusterSpec {
            settings: SETTINGS.map(str::to_owned).to_vec(),
            // What a pooler's login at the server costs is none of the questions.
            hba: vec![format!("host {} {} 127.0.0.1/32 trust", cluster::DATABASE, cluster::USER)],
            ..ClusterSpec::default()
        };
        let cluster = Cluster::start(&spec)?;
        let node = cluster.coordinator();
        Pgbench::initialize(node.address(), SCALE)?;
        node.psql("vacuum analyze")?;
        node.psql("select sum(abalance) from pgbench_accounts")?;
        let user = cluster::USER;
        let secret =
            node.psql(&format!("select rolpassword from pg_authid where rolname = '{user}'"))?;
        Ok(Self { cluster, secret })
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    pub(super) fn node(&self) -> &Node {
        self.cluster.coordinator()
    }

    /// What the server keeps of the clients' password.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }
}
