//! The pools of one core, and how cores share a limit.
//!
//! Each core has a pool of its own for each node, database and login. They share [`Slots`], and tell one
//! another how many idle backends they have and whose waiters have lost patience: a backend moves
//! only when a waiter on another core would otherwise wait for more than [`PATIENCE`], because a
//! move costs as much as a short transaction, and two if the other core has to be woken for it.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use pgherd_core::id::NodeId;
use pgherd_core::pool::{Bounds, Pool, PoolLoad, Slots};
use pgherd_core::settings::{PoolMode, PoolPlan};

use crate::auth::UserId;
use crate::databases::{Account, Database, DatabaseId, Databases};

/// A waiter of another core that has waited this much longer than our own first is served
/// before it: 10 ms, a few transactions' time.
const UNFAIR: Duration = Duration::from_millis(10);

/// How long a waiter waits for the backends of its own core before it asks for another core's:
/// 2 ms. On a core that has work, one of its own comes back before that; and where none does, it
/// is far below what a person, or a time-out, notices.
const PATIENCE: Duration = Duration::from_millis(2);

/// A client that has its backend for itself. Another one has this number only after four billion more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(NonZeroU32);

/// The backends of one login in one database at one node, shared by all clients or for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolKey {
    /// Where the backends are.
    pub node: NodeId,
    /// Which of the databases there.
    pub database: DatabaseId,
    /// Who they are logged in as.
    pub user: UserId,
    /// The only client that they serve: a pool of one.
    pub owner: Option<OwnerId>,
}

impl PoolKey {
    /// Those that serve the clients of an account at a node.
    #[inline]
    pub(super) fn of(account: &Account, node: NodeId) -> Self {
        Self { node, database: account.id, user: account.login, owner: None }
    }

    fn packed(self) -> u64 {
        let Self { node, database, user, owner: _ } = self;
        u64::from(node.0) << 48 | u64::from(user.0) << 32 | u64::from(database.0)
    }
}

// In one comparison: a pool is looked up several times for each batch.
impl Ord for PoolKey {
    #[inline]
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.packed().cmp(&other.packed()).then_with(|| self.owner.cmp(&other.owner))
    }
}

impl PartialOrd for PoolKey {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
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
    // Nanoseconds since the proxy's start at which the first waiter began to wait; 0 for none, or
    // while it is patient.
    waiting_since: AtomicU64,
}

/// The shares of all pools, made as they are needed.
#[derive(Debug)]
pub struct Shares {
    cores: usize,
    started: Instant,
    owners: AtomicU32,
    all: Mutex<All>,
}

/// The lock guards it, and is held for a look: when a pool is made, and when one is dropped.
#[derive(Debug, Default)]
struct All {
    by_key: HashMap<PoolKey, Arc<Share>>,
    // At each node: the limits over several pools.
    limits: HashMap<(NodeId, Scope), Arc<Slots>>,
}

/// What a limit over several pools is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Scope {
    Database(DatabaseId),
    Login(UserId),
}

impl Shares {
    /// For pools over `cores` cores.
    pub fn new(cores: usize, started: Instant) -> Self {
        Self { cores, started, owners: AtomicU32::new(0), all: Mutex::default() }
    }

    /// A number for a client that is to have a backend for itself.
    pub(super) fn new_owner(&self) -> OwnerId {
        let before = self.owners.fetch_add(1, Ordering::Relaxed);
        OwnerId(NonZeroU32::MIN.saturating_add(before))
    }

    fn get(&self, key: PoolKey, plan: &PoolPlan) -> Arc<Share> {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let All { by_key, limits } = &mut *all;
        let share = by_key.entry(key).or_insert_with(|| {
            let scopes = [
                (Scope::Database(key.database), plan.database_limit),
                (Scope::Login(key.user), plan.login_limit),
            ];
            let above = scopes.into_iter().filter_map(|(scope, limit)| {
                let limit = limit?;
                let slots = limits.entry((key.node, scope));
                Some(Arc::clone(slots.or_insert_with(|| Arc::new(Slots::new(limit)))))
            });
            Arc::new(Share {
                slots: Arc::new(Slots::within(plan.size, plan.reserve, above.collect())),
                cores: (0..self.cores).map(|_| CoreShare::default()).collect(),
            })
        });
        Arc::clone(share)
    }

    /// Backends of these databases, or of all, over all cores: open, and being opened.
    pub(super) fn used(&self, databases: Option<&[DatabaseId]>) -> usize {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let is_it = |key: &PoolKey| databases.is_none_or(|ids| ids.contains(&key.database));
        all.by_key.iter().filter(|(key, _)| is_it(key)).map(|(_, share)| share.slots.used()).sum()
    }

    /// What counts the backends of a pool, if a core has it.
    pub(super) fn slots(&self, key: PoolKey) -> Option<Arc<Slots>> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.by_key.get(&key).map(|share| Arc::clone(&share.slots))
    }

    /// A core has dropped its pool. The last one takes the share along.
    pub(super) fn dropped(&self, key: PoolKey) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.by_key.get(&key).is_some_and(|share| Arc::strong_count(share) == 1) {
            all.by_key.remove(&key);
            all.limits.retain(|_, limit| Arc::strong_count(limit) > 1);
        }
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
    pub(super) database: Arc<Database>,
    pub(super) plan: PoolPlan,
    // See `Database::reconnect_before`, as it was looked at last.
    reconnected: u64,
    has_owner: bool,
    /// Whether there are limits over several pools, of which this is one.
    pub(super) shares_a_limit: bool,
    share: Arc<Share>,
    core: usize,
    // Until when the first waiter waits for the backends of this core alone.
    patient_until: Option<Instant>,
    /// Why the last open failed.
    pub(super) last_error: Option<String>,
}

impl CorePool {
    // Seldom, and not to be inlined where a pool is looked up.
    #[cold]
    #[inline(never)]
    pub(super) fn new(shares: &Shares, databases: &Databases, key: PoolKey, core: usize) -> Self {
        let database = databases.get(key.database);
        let plan = plan(databases, &database, key);
        let share = shares.get(key, &plan);
        let bounds = Bounds {
            reuse: plan.reuse,
            open_retry: plan.open_retry,
            reserve_after: plan.reserve_after,
            ..Bounds::default()
        };
        let mut pool = Pool::with_bounds(Arc::clone(&share.slots), bounds);
        pool.hold(database.is_paused());
        Self {
            pool,
            reconnected: database.reconnect_before(),
            database,
            shares_a_limit: plan.database_limit.is_some() || plan.login_limit.is_some(),
            plan,
            has_owner: key.owner.is_some(),
            share,
            core,
            patient_until: None,
            last_error: None,
        }
    }

    /// Goes by the settings as they are now, but for what a pool is made with. Whether that is a change.
    pub(super) fn follow(&mut self, databases: &Databases, key: PoolKey) -> bool {
        let now = plan(databases, &self.database, key);
        let is_change = now != self.plan;
        if is_change {
            self.share.slots.set_limit(now.size);
            self.plan = PoolPlan { mode: self.plan.mode, reserve: self.plan.reserve, ..now };
        }
        is_change
    }

    /// Whether its backends are others since this was asked last: those that are open now are to be
    /// closed.
    pub(super) fn is_to_reconnect(&mut self) -> bool {
        let now = self.database.reconnect_before();
        std::mem::replace(&mut self.reconnected, now) < now
    }

    /// The same, held where that is so.
    pub(super) fn held_if(mut self, is_held: bool) -> Self {
        self.pool.hold(is_held || self.pool.is_held());
        self
    }

    /// How many backends it has, and may have: `3 of 5 in use`, and what else bounds them.
    pub(super) fn fullness(&self) -> String {
        let (slots, plan) = (self.pool.slots(), &self.plan);
        let (used, limit) = (slots.used(), slots.limit());
        let mut said = format!("{used} of {limit} in use");
        if plan.reserve > 0 {
            said += &format!(" and {} in reserve", plan.reserve);
        }
        for above in slots.above().filter(|above| above.used() >= above.limit()) {
            said +=
                &format!(", {} of {} in those it shares a limit with", above.used(), above.limit());
        }
        said
    }

    /// Whether nothing would be lost with it, and it may never be needed again.
    pub(super) fn is_done(&self, now: Instant) -> bool {
        let is_for_once =
            self.has_owner || !self.database.is_listed() && !self.pool.is_backing_off(now);
        is_for_once && self.pool.load() == PoolLoad::default()
    }

    /// Tells the other cores what is idle and waiting here. Called after each change, and
    /// before looking at theirs: of two cores that do so at once, at least one sees the other.
    ///
    /// Returns until when the first waiter is patient, if it is: then this is to be called again.
    pub(super) fn publish(&mut self, shares: &Shares, now: Instant) -> Option<Instant> {
        let mine = self.others_exist().then(|| &self.share.cores[self.core])?;
        let load = self.pool.load();
        let since = self.pool.oldest_wait();
        // Where none can come back, there is nothing to wait for.
        let patient_until = since
            .filter(|_| load.busy + load.opening > 0)
            .map(|since| since + PATIENCE)
            .filter(|until| *until > now);
        let since = since.filter(|_| patient_until.is_none());
        mine.idle.store(load.idle, Ordering::SeqCst);
        mine.waiting_since
            .store(since.map_or(0, |since| shares.since_start(since)), Ordering::SeqCst);
        self.patient_until = patient_until;
        patient_until
    }

    /// Until when the first waiter is patient, as [`Self::publish`] found last.
    pub(super) fn patient_until(&self) -> Option<Instant> {
        self.patient_until
    }

    /// A core with an idle backend, for a waiter here that no slot is left for and that has lost
    /// patience.
    pub(super) fn core_with_idle(&self) -> Option<usize> {
        if self.patient_until.is_some() || self.pool.oldest_wait().is_none() {
            return None;
        }
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

fn plan(databases: &Databases, database: &Database, key: PoolKey) -> PoolPlan {
    let plan = databases.plan(database, key.user);
    match key.owner {
        Some(_) => PoolPlan { mode: PoolMode::Session, size: 1, reserve: 0, min_idle: 0, ..plan },
        None => plan,
    }
}

#[cfg(test)]
mod tests {
    use pgherd_core::Settings;
    use pgherd_core::pool::{Acquired, Placed};

    use super::*;
    use crate::auth::{Credentials, Users};

    const KEY: PoolKey =
        PoolKey { node: NodeId(0), database: DatabaseId(0), user: UserId(0), owner: None };

    /// Two cores with a pool of `size` backends for both.
    fn two_cores(size: usize, start: Instant) -> (Shares, [CorePool; 2]) {
        let text = format!(
            "node = [{{ host = \"h\", role = \"coordinator\" }}]\nuser = [{{ name = \"u\" }}]\n\
             pool = {{ size = {size} }}"
        );
        let settings = Settings::from_toml(&text, "test").unwrap();
        let users = Users::new(settings.users.iter().map(Credentials::from), |bytes| bytes.fill(7));
        let databases = Databases::new(&settings, &users);
        let shares = Shares::new(2, start);
        let pools = [0, 1].map(|core| CorePool::new(&shares, &databases, KEY, core));
        (shares, pools)
    }

    /// A waiter gets a backend that is opened for it.
    fn lend(pool: &mut CorePool, waiter: usize, backend: usize, now: Instant) {
        assert_eq!(pool.pool.acquire(waiter, now), Acquired::Queued { open: true });
        assert_eq!(pool.pool.opened(backend, now), Placed::Lent(waiter, backend));
    }

    #[test]
    fn a_waiter_is_patient_with_its_own_core_and_then_asks_the_others() {
        let start = Instant::now();
        let (shares, [mut here, mut there]) = two_cores(2, start);
        lend(&mut here, 1, 10, start);
        lend(&mut there, 2, 20, start);
        assert_eq!(there.pool.release(20, start), Placed::Idle);
        assert_eq!(there.publish(&shares, start), None, "nobody waits there");

        assert_eq!(here.pool.acquire(3, start), Acquired::Queued { open: false });
        assert_eq!(here.publish(&shares, start), Some(start + PATIENCE));
        assert_eq!((here.core_with_idle(), there.core_in_need(&shares)), (None, None));

        assert_eq!(here.publish(&shares, start + PATIENCE), None);
        assert_eq!((here.core_with_idle(), there.core_in_need(&shares)), (Some(1), Some(0)));
    }

    #[test]
    fn where_no_backend_can_come_back_nobody_is_patient() {
        let start = Instant::now();
        let (shares, [mut here, mut there]) = two_cores(1, start);
        lend(&mut there, 1, 10, start);
        assert_eq!(here.pool.acquire(2, start), Acquired::Queued { open: false });
        assert_eq!(here.publish(&shares, start), None);
        assert_eq!(there.core_in_need(&shares), Some(0));
    }
}
