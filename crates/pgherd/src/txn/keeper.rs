//! The task of a pool that keeps its distributed transactions going: it ends deadlocks and
//! finishes what was left.

use std::sync::Weak;
use std::time::Instant;

use pgherd_core::settings::TransactionSettings;
use tokio::task::JoinHandle;
use tracing::warn;

use super::open::DeadlockWatch;
use super::recovery::recover;
use crate::DistributedPool;
use crate::cluster::Inner;

/// Ends with the pool. Dropping it ends the task without waiting.
pub(crate) struct Keeper(JoinHandle<()>);

impl Keeper {
    /// Begins to keep the transactions of a pool, which it does not keep alive. Must be called
    /// inside a tokio runtime.
    pub(crate) fn spawn(pool: Weak<Inner>, settings: TransactionSettings) -> Self {
        Self(tokio::spawn(keep(pool, settings)))
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn keep(pool: Weak<Inner>, settings: TransactionSettings) {
    let interval = settings.deadlock_interval.min(settings.recovery_interval);
    let mut watch = DeadlockWatch::default();
    let mut swept = Instant::now();
    let mut last_problems = Vec::new();
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade().map(DistributedPool::of) else { return };
        watch.look(&pool, settings.deadlock_interval).await;
        if swept.elapsed() >= settings.recovery_interval {
            let problems = recover(&pool, settings.grace).await.problems;
            // The same trouble as before is no news.
            if problems != last_problems {
                problems.iter().for_each(|problem| warn!(problem, "recovery of transactions"));
            }
            (swept, last_problems) = (Instant::now(), problems);
        }
    }
}
