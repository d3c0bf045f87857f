//! The tasks of a pool that keep its distributed transactions going: one ends deadlocks, the
//! other finishes what was left. A shard that holds up one of them does not hold up the other.

use std::sync::Weak;
use std::time::Duration;

use pgherd_core::settings::TransactionSettings;
use tokio::task::JoinHandle;
use tracing::warn;

use super::open::DeadlockWatch;
use super::recovery::recover;
use crate::DistributedPool;
use crate::cluster::Inner;

/// Ends with the pool. Dropping it ends the tasks without waiting.
pub(crate) struct Keeper([JoinHandle<()>; 2]);

impl Keeper {
    /// Begins to keep the transactions of a pool, which it does not keep alive. Must be called
    /// inside a tokio runtime.
    pub(crate) fn spawn(pool: Weak<Inner>, settings: &TransactionSettings) -> Self {
        let TransactionSettings { grace, recovery_interval, deadlock_interval } = *settings;
        Self([
            tokio::spawn(end_deadlocks(pool.clone(), deadlock_interval)),
            tokio::spawn(finish_left(pool, recovery_interval, grace)),
        ])
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn end_deadlocks(pool: Weak<Inner>, interval: Duration) {
    let mut watch = DeadlockWatch::default();
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade().map(DistributedPool::of) else { return };
        watch.look(&pool, interval).await;
    }
}

async fn finish_left(pool: Weak<Inner>, interval: Duration, grace: Duration) {
    let mut last_problems = Vec::new();
    loop {
        tokio::time::sleep(interval).await;
        let Some(pool) = pool.upgrade().map(DistributedPool::of) else { return };
        let problems = recover(&pool, grace).await.problems;
        // The same trouble as before is no news.
        if problems != last_problems {
            problems.iter().for_each(|problem| warn!(problem, "recovery of transactions"));
        }
        last_problems = problems;
    }
}
