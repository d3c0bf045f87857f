//! What the demo plays on: a cluster, the proxy and the library's pool in front of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use pgherd::{DistributedPool, Settings};
use pgherd_lab::{Cluster, ClusterSpec, Node, Pgbench};
use pgherd_server::Server;
use tokio::runtime::Runtime;

use super::screen::Screen;

const SETTINGS: &str =
    "[listen]\nport = 0\n\n[pool]\nsize = 20\n\n[health]\ninterval = \"200ms\"\n";

pub(super) struct Stage {
    // In the order in which they are dropped: the cluster last.
    pub(super) pool: DistributedPool,
    pub(super) server: Server,
    pub(super) runtime: Runtime,
    pub(super) settings: Settings,
    pub(super) cluster: Cluster,
}

impl Stage {
    /// Brings up coordinator, two shards and two replicas, and starts the proxy.
    pub(super) fn set_up(screen: Screen, folder: &Path) -> Result<Self> {
        let step = screen.begin("bringing up a coordinator, 2 shards and 2 replicas");
        let spec = ClusterSpec {
            shards: 2,
            coordinator_replicas: 2,
            folder: Some(folder.to_owned()),
            ..ClusterSpec::default()
        };
        let cluster = Cluster::start(&spec)?;
        let nodes = cluster.nodes().len();
        step.done(&format!("{nodes} servers of PostgreSQL {} are up", cluster.version()));

        let settings = Settings::from_toml(&cluster.settings_toml(SETTINGS), "demo")?;
        let server = Server::start(&settings)?;
        screen.say(&format!("  the proxy listens on {}", server.address()));
        let runtime = Runtime::new().context("cannot start a tokio runtime")?;
        let pool = {
            let _inside = runtime.enter();
            DistributedPool::from_settings(settings.clone())?
        };

        let step = screen.begin("filling pgbench's tables");
        Pgbench::initialize(cluster.coordinator().address(), 10)?;
        cluster.wait_caught_up()?;
        step.done("pgbench's tables are filled, and the replicas have replayed them");
        Ok(Self { pool, server, runtime, settings, cluster })
    }

    /// Ends it all, the servers last.
    ///
    /// # Errors
    /// When the cluster's folder is still there afterwards.
    pub(super) fn tear_down(self) -> Result<()> {
        let Self { pool, server, runtime, cluster, .. } = self;
        runtime.block_on(pool.close());
        server.stopper().stop();
        server.wait().context("a loop of the proxy failed")?;
        drop(runtime);
        cluster.destroy()
    }

    /// The node that listens on a port.
    pub(super) fn node_at(&self, port: u16) -> Result<&Node> {
        let found = self.cluster.nodes().iter().find(|node| node.port == port);
        found.with_context(|| format!("no node of the cluster listens on port {port}"))
    }

    /// The time a background load may take to see something.
    pub(super) const PATIENCE: Duration = Duration::from_secs(30);
}
