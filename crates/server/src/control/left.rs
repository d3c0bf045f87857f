//! Looks for transactions over several shards that are prepared, when a console asks.
//!
//! In: the settings, and who is primary of which group. Out: what the library finds on connections of
//! its own, which are closed again. One look at a time, whose outcome all have who ask meanwhile.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use pgherd::{DistributedPool, HealthMonitor, LeftTransactions};
use pgherd_core::{Settings, Topology};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// How long a look may take, over all shards.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found, or why nothing could be looked at.
pub(crate) type Left = Result<LeftTransactions, String>;

/// Where a console asks.
pub(crate) struct LeftDesk {
    runtime: Handle,
    settings: Arc<ArcSwap<Settings>>,
    monitor: Arc<HealthMonitor>,
    // Held to see whether a look is under way, and to begin one.
    last: Mutex<Option<Arc<OnceLock<Left>>>>,
}

impl LeftDesk {
    pub(super) fn new(
        runtime: Handle,
        settings: Arc<ArcSwap<Settings>>,
        monitor: Arc<HealthMonitor>,
    ) -> Self {
        Self { runtime, settings, monitor, last: Mutex::default() }
    }

    /// Begins to look, unless a look is under way; where its outcome will be.
    pub(crate) fn ask(&self) -> Arc<OnceLock<Left>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = last.as_ref().filter(|last| last.get().is_none()) {
            return Arc::clone(under_way);
        }
        let outcome: Arc<OnceLock<Left>> = Arc::default();
        *last = Some(Arc::clone(&outcome));
        let (settings, topology) = (self.settings.load_full(), self.monitor.snapshot());
        let tell = Arc::clone(&outcome);
        self.runtime.spawn(async move {
            let looking = tokio::spawn(async move { look(&settings, &topology).await });
            let found = looking.await.unwrap_or_else(|panic| Err(panic.to_string()));
            // Nobody else tells.
            let _ = tell.set(found);
        });
        outcome
    }
}

async fn look(settings: &Settings, topology: &Topology) -> Left {
    if topology.shards().is_empty() {
        return Ok(LeftTransactions::default());
    }
    let mut settings = settings.clone();
    for (node, known) in settings.nodes.iter_mut().zip(topology.nodes()) {
        // It may have been promoted.
        node.role = topology.role(known.id);
    }
    // It looks, and finishes nothing: that is for the programs that use the library.
    settings.transactions.recovery_interval = Duration::from_secs(3600);
    settings.transactions.deadlock_interval = Duration::from_secs(600);
    settings.pool.min_idle = 0;
    let pool = DistributedPool::from_settings(settings).map_err(|error| format!("{error:#}"))?;
    let found = timeout(LIMIT, pool.left_transactions()).await;
    // It has no leases that could be waited for.
    let _ = timeout(LIMIT, pool.close()).await;
    found.map_err(|_| format!("no answer from all shards within {LIMIT:?}"))
}
