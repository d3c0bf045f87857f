//! The pools of one core, and how cores share a limit.
//!
//! Each core has a pool of its own for each node and user. They share [`Slots`], and tell one
//! another how many idle backends and waiters they have: a backend moves only when a waiter on
//! another core would otherwise wait.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgherd_core::id::NodeId;
use pgherd_core::pool::{Pool, Slots};

use crate::auth::UserId;

/// A waiter of another core that has waited this much longer than our own first is served
/// before it: 10 ms, a few transactions' time.
const UNFAIR: Duration = Duration::from_millis(10);

/// The backends of one user at one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PoolKey {
    /// Where the backends are.
    pub node: NodeId,
    /// Who they are logged in as.
    pub user: UserId,
}

/// What the cores know of each other's pools for one key.
#[derive(Debug)]
pub(super) struct Share {
    pub(super) slots: Arc<Slots>,
    cores: Vec<CoreShare>,
}

#[derive(Debug, Default)]
struct CoreShare {
    idle: AtomicUsize,
    // Nanoseconds since the proxy's start at which the first waiter began to wait; 0 for none.
    waiting_since: AtomicU64,
}

/// The shares of all pools, made as they are needed.
#[derive(Debug)]
pub struct Shares {
    cores: usize,
    pool_size: usize,
    started: Instant,
    by_key: Mutex<HashMap<PoolKey, Arc<Share>>>,
}

impl Shares {
    /// For pools of `pool_size` backends over `cores` cores.
    pub fn new(cores: usize, pool_size: usize, started: Instant) -> Self {
        Self { cores, pool_size, started, by_key: Mutex::default() }
    }

    fn get(&self, key: PoolKey) -> Arc<Share> {
        let mut by_key = self.by_key.lock().unwrap_or_else(PoisonError::into_inner);
        let share = by_key.entry(key).or_insert_with(|| {
            Arc::new(Share {
                slots: Arc::new(Slots::new(self.pool_size)),
                cores: (0..self.cores).map(|_| CoreShare::default()).collect(),
            })
        });
        Arc::clone(share)
    }

    fn since_start(&self, at: Instant) -> u64 {
        let nanos = at.saturating_duration_since(self.started).as_nanos();
        // Never 0, which means that nobody waits. 2^64 ns are 584 years.
        u64::try_from(nanos).unwrap_or(u64::MAX).max(1)
    }
}

/// One pool on one core.
#[derive(Debug)]
pub(super) struct CorePool {
    pub(super) pool: Pool<usize, usize>,
    share: Arc<Share>,
    core: usize,
    /// Why the last open failed.
    pub(super) last_error: Option<String>,
}

impl CorePool {
    pub(super) fn new(shares: &Shares, key: PoolKey, core: usize) -> Self {
        let share = shares.get(key);
        Self { pool: Pool::new(Arc::clone(&share.slots)), share, core, last_error: None }
    }

    /// Tells the other cores what is idle and waiting here. Called after each change, and
    /// before looking at theirs: of two cores that do so at once, at least one sees the other.
    pub(super) fn publish(&self, shares: &Shares) {
        let Some(mine) = self.others_exist().then(|| &self.share.cores[self.core]) else { return };
        let since = self.pool.oldest_wait().map_or(0, |since| shares.since_start(since));
        mine.idle.store(self.pool.load().idle, Ordering::SeqCst);
        mine.waiting_since.store(since, Ordering::SeqCst);
    }

    /// A core with an idle backend, for a waiter here that no slot is left for.
    pub(super) fn core_with_idle(&self) -> Option<usize> {
        self.others().find(|(_, other)| other.idle.load(Ordering::SeqCst) > 0).map(|(at, _)| at)
    }

    /// The core whose first waiter should have the next free backend rather than anybody here.
    pub(super) fn core_in_need(&self, shares: &Shares) -> Option<usize> {
        let (since, core) = self
            .others()
            .map(|(at, other)| (other.waiting_since.load(Ordering::SeqCst), at))
            .filter(|(since, _)| *since > 0)
            .min()?;
        let Some(own) = self.pool.oldest_wait() else { return Some(core) };
        let own = shares.since_start(own);
        let unfair = u64::try_from(UNFAIR.as_nanos()).unwrap_or(u64::MAX);
        (since.saturating_add(unfair) < own).then_some(core)
    }

    fn others_exist(&self) -> bool {
        self.share.cores.len() > 1
    }

    fn others(&self) -> impl Iterator<Item = (usize, &CoreShare)> {
        let own = self.core;
        self.share.cores.iter().enumerate().filter(move |(at, _)| *at != own)
    }
}
