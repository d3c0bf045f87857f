//! The distributed transactions of this pool that are open, and deadlocks they are part of.
//!
//! In: what the shards say about who blocks whom; the sessions of a distributed transaction, of
//! this process or another, carry its [`Tag`]. Out: a statement of the youngest in a circle is
//! cancelled by the process it belongs to, and its owner is told 40P01.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use pgherd_core::NodeId;
use pgherd_core::txn::deadlock::{Tag, Waits, victims};
use tokio_postgres::Row;
use tracing::{debug, warn};

use super::RecoveryError;
use super::own_backend::OwnBackend;
use crate::DistributedPool;
use crate::cluster::instance_name;
use crate::mutex::Mutex;
use crate::session::{Params, Progress, Writing};

/// How long two looks at the locks are apart. Both have to show the circle: the first alone may
/// have been put together from moments that were never one.
const CONFIRMATION: Duration = Duration::from_millis(50);

/// How long one node may take to answer: one that is frozen does not hold up the others.
const LIMIT: Duration = Duration::from_secs(2);

/// Who is blocked by whom on one node, with their names. `wait_event_type` is hidden from other
/// roles, and a session of ours is then asked whether it waits or not.
const BLOCKED: &str = "SELECT waiter.pid, waiter.application_name, \
     holder.pid, holder.application_name \
     FROM pg_catalog.pg_stat_activity AS waiter \
     CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(waiter.pid)) AS blocking(pid) \
     JOIN pg_catalog.pg_stat_activity AS holder ON holder.pid = blocking.pid \
     WHERE waiter.wait_event_type = 'Lock' OR \
     (waiter.wait_event_type IS NULL AND waiter.application_name LIKE 'pgherd txn %')";

/// An open transaction. Dropping it says that it has ended, however.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    pool: DistributedPool,
    tag: Tag,
    progress: Progress,
    // A session takes it that it writes until all shards have finished.
    _writing: Vec<Writing>,
}

impl OpenTransaction {
    pub(super) fn begin(pool: &DistributedPool, progress: Progress, writing: Vec<Writing>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let tag = Tag {
            began_micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX),
            instance: instance_name().to_owned(),
            number: pool.numbering().next(),
        };
        pool.open_transactions().0.lock().began.insert(tag.clone(), Instant::now());
        Self { pool: pool.clone(), tag, progress, _writing: writing }
    }

    pub(super) fn number(&self) -> u64 {
        self.tag.number
    }

    /// What its sessions are to be called.
    pub(super) fn tag(&self) -> &Tag {
        &self.tag
    }

    /// The time it has.
    pub(super) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Whether a statement of it was cancelled to end a deadlock.
    pub(super) fn is_victim(&self) -> bool {
        self.pool.open_transactions().0.lock().victims.contains(&self.tag)
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let mut state = self.pool.open_transactions().0.lock();
        state.began.remove(&self.tag);
        state.victims.remove(&self.tag);
    }
}

/// See the module's header. The lock is held for a look-up or a change.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    began: HashMap<Tag, Instant>,
    victims: HashSet<Tag>,
    deadlocks: u64,
}

impl OpenTransactions {
    /// Deadlocks that were ended by cancelling a transaction of this pool.
    pub(crate) fn deadlocks(&self) -> u64 {
        self.0.lock().deadlocks
    }

    /// Whether one has been open for so long that it may be waiting in a circle.
    fn has_waited(&self, long: Duration) -> bool {
        self.0.lock().began.values().any(|began| began.elapsed() >= long)
    }

    /// `false` if it is not of this pool, or has ended.
    fn note_victim(&self, victim: &Tag) -> bool {
        let mut state = self.0.lock();
        let is_own = state.began.contains_key(victim);
        if is_own {
            state.victims.insert(victim.clone());
            state.deadlocks += 1;
        }
        is_own
    }
}

/// Somebody who waits or is waited for. Transactions come last, so that of each circle one of
/// them gives way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Party {
    Session(NodeId, i32),
    Transaction(Tag),
}

impl Party {
    fn of(node: NodeId, process_id: i32, name: Option<&str>) -> Self {
        match name.and_then(|name| name.parse().ok()) {
            Some(tag) => Self::Transaction(tag),
            None => Self::Session(node, process_id),
        }
    }
}

/// Who waits where, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Edge {
    node: NodeId,
    process_id: i32,
    waiter: Party,
    holder: Party,
}

impl Edge {
    fn read(node: NodeId, row: &Row) -> Self {
        let (process_id, holder) = (row.get(0), row.get(2));
        let waiter = Party::of(node, process_id, row.get(1));
        Self { node, process_id, waiter, holder: Party::of(node, holder, row.get(3)) }
    }
}

fn waits<'e>(edges: impl IntoIterator<Item = &'e Edge>) -> Waits<Party> {
    let mut waits: Waits<Party> = BTreeMap::new();
    for edge in edges {
        // Workers of one statement block one another, and that is no circle.
        if edge.waiter != edge.holder {
            waits.entry(edge.waiter.clone()).or_default().insert(edge.holder.clone());
        }
    }
    waits
}

/// Looks at the locks of the shards while transactions of this pool are open.
#[derive(Default)]
pub(super) struct DeadlockWatch {
    // Kept from one look to the next.
    backends: HashMap<NodeId, OwnBackend>,
}

impl DeadlockWatch {
    /// Ends the deadlocks there are whose victim is of this pool, if a transaction of it has been
    /// open for `interval`.
    pub(super) async fn look(&mut self, pool: &DistributedPool, interval: Duration) {
        let open = pool.open_transactions();
        if !open.has_waited(interval) {
            return;
        }
        let first = self.edges(pool).await;
        if victims(&waits(&first)).is_empty() {
            return;
        }
        tokio::time::sleep(CONFIRMATION).await;
        let second = self.edges(pool).await;
        let confirmed: HashSet<&Edge> = first.intersection(&second).collect();
        for victim in victims(&waits(confirmed.iter().copied())) {
            let Party::Transaction(tag) = &victim else { continue };
            if open.note_victim(tag) {
                for edge in confirmed.iter().filter(|edge| edge.waiter == victim) {
                    self.cancel(pool, edge).await;
                }
            }
        }
    }

    async fn cancel(&mut self, pool: &DistributedPool, edge: &Edge) {
        let Edge { node, process_id, .. } = *edge;
        let name = pool.node_pool(node).node();
        warn!(node = %name, process_id, "deadlock over several shards: statement cancelled");
        // Not if the session has gone on to something else meanwhile.
        let cancel = "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
                      WHERE pid = $1 AND application_name = $2";
        let Party::Transaction(tag) = &edge.waiter else { return };
        let (kept, tag) = (self.backends.remove(&node), tag.to_string());
        match ask(pool, node, kept, cancel, &[&process_id, &tag]).await {
            Ok((backend, _)) => drop(self.backends.insert(node, backend)),
            Err(error) => debug!(%error, "the victim of a deadlock could not be cancelled"),
        }
    }

    /// Asks all shards at once, so that one that does not answer holds up no other.
    async fn edges(&mut self, pool: &DistributedPool) -> HashSet<Edge> {
        let topology = pool.topology();
        let shards = topology.shards().iter().filter(|group| topology.has_primary(group.id));
        let asked = shards.map(|group| {
            let (node, kept) = (group.primary, self.backends.remove(&group.primary));
            async move { (node, ask(pool, node, kept, BLOCKED, &[]).await) }
        });
        let mut edges = HashSet::new();
        for (node, answer) in join_all(asked).await {
            match answer {
                Ok((backend, rows)) => {
                    edges.extend(rows.iter().map(|row| Edge::read(node, row)));
                    self.backends.insert(node, backend);
                }
                Err(error) => debug!(%error, "the locks of a node could not be looked at"),
            }
        }
        edges
    }
}

/// Asks a node over the connection that was kept, or another.
async fn ask(
    pool: &DistributedPool,
    node: NodeId,
    kept: Option<OwnBackend>,
    sql: &str,
    params: Params<'_>,
) -> Result<(OwnBackend, Vec<Row>), RecoveryError> {
    let backend = match kept.filter(|backend| !backend.is_dead()) {
        Some(backend) => backend,
        None => OwnBackend::open(pool, node, LIMIT).await?,
    };
    let rows = backend.query(sql, params).await?;
    Ok((backend, rows))
}
