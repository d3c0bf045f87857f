//! Looks for transactions over several shards that are prepared, when a console asks.
//!
//! In: the settings, and who is primary of which group. Out: what the library finds on connections of
//! its own, which are closed again. One look at a time. It may have passed what was done since it
//! began, so whoever asks meanwhile is told what the next one finds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwap;
use pgherd::{DistributedPool, HealthMonitor, LeftTransactions};
use pgherd_core::{Settings, Topology};
use tokio::time::timeout;
use tracing::subscriber::{NoSubscriber, with_default};

/// How long a look may take, over all shards.
const LIMIT: Duration = Duration::from_secs(10);

/// What was found, or why nothing could be looked at.
pub(crate) type Left = Result<LeftTransactions, String>;

type Outcome = Arc<OnceLock<Left>>;

/// Where a console asks.
#[derive(Clone)]
pub(crate) struct LeftDesk {
    settings: Arc<ArcSwap<Settings>>,
    monitor: Arc<HealthMonitor>,
    // Held to begin a look, or to queue for one.
    looks: Arc<Mutex<Looks>>,
}

#[derive(Default)]
struct Looks {
    is_under_way: bool,
    next: Option<Outcome>,
}

impl LeftDesk {
    pub(super) fn new(settings: Arc<ArcSwap<Settings>>, monitor: Arc<HealthMonitor>) -> Self {
        Self { settings, monitor, looks: Arc::default() }
    }

    /// Begins to look, at once or behind the look that is under way; where its outcome will be.
    pub(crate) fn ask(&self) -> Outcome {
        let mut looks = self.looks();
        if looks.is_under_way {
            return Arc::clone(looks.next.get_or_insert_default());
        }
        let outcome = Outcome::default();
        let (desk, first) = (self.clone(), Arc::clone(&outcome));
        // A thread of its own, for which a stop need not wait.
        match thread::Builder::new().name("look".to_owned()).spawn(move || desk.look_for(first)) {
            Ok(_) => looks.is_under_way = true,
            Err(error) => tell(&outcome, Err(format!("the system gives no thread: {error}"))),
        }
        outcome
    }

    fn look_for(&self, mut outcome: Outcome) {
        loop {
            let (settings, topology) = (self.settings.load_full(), self.monitor.snapshot());
            let look = || look_quietly(&settings, &topology);
            // Whoever waits is told in any case.
            let found = catch_unwind(AssertUnwindSafe(look));
            tell(&outcome, found.unwrap_or_else(|_| Err("the look has panicked".to_owned())));
            let mut looks = self.looks();
            match looks.next.take() {
                Some(next) => outcome = next,
                None => {
                    looks.is_under_way = false;
                    return;
                }
            }
        }
    }

    fn looks(&self) -> MutexGuard<'_, Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell(outcome: &Outcome, found: Left) {
    // Nobody else tells.
    let _ = outcome.set(found);
}

/// Looks without a word in the log: the pool that is made for it watches the nodes anew, and would
/// call each of them back in rotation.
fn look_quietly(settings: &Settings, topology: &Topology) -> Left {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the system gives no runtime: {error}"))?;
    let looking = || runtime.block_on(look(settings, topology));
    let found = with_default(NoSubscriber::new(), looking);
    // A look-up of a name may hang in a thread of its own.
    runtime.shutdown_background();
    found
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
