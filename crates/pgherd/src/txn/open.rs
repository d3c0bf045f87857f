//! The distributed transactions of this pool that are open, and deadlocks among them.
//!
//! In: which backends run which transaction, and what the nodes say about who blocks whom.
//! Out: a statement of the youngest in a circle is cancelled, and its owner is told 40P01.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use pgherd_core::NodeId;
use pgherd_core::txn::deadlock::{Number, Waits, victims};
use tracing::{debug, warn};

use crate::conn::Backend;
use crate::mutex::Mutex;
use crate::{DistributedPool, Lease};

/// How long two looks at the locks are apart. Both have to show the circle: the first alone may
/// have been put together from moments that were never one.
const CONFIRMATION: Duration = Duration::from_millis(50);

/// An open transaction. Dropping it says that it has ended, however.
#[derive(Debug)]
pub(super) struct OpenTransaction {
    pool: DistributedPool,
    number: Number,
}

impl OpenTransaction {
    pub(super) fn begin(pool: &DistributedPool) -> Self {
        Self { pool: pool.clone(), number: pool.numbering().next() }
    }

    pub(super) fn number(&self) -> Number {
        self.number
    }

    /// A backend runs a part of it.
    pub(super) fn runs_on(&self, lease: &Lease) {
        if let Some(process_id) = lease.backend().process_id() {
            let session = Session { node: lease.pool().id(), process_id };
            self.pool.open_transactions().0.lock().sessions.insert(session, self.number);
        }
    }

    /// Whether a statement of it was cancelled to end a deadlock.
    pub(super) fn is_victim(&self) -> bool {
        self.pool.open_transactions().0.lock().victims.contains(&self.number)
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let mut state = self.pool.open_transactions().0.lock();
        state.sessions.retain(|_, of| *of != self.number);
        state.victims.remove(&self.number);
    }
}

/// One backend of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Session {
    node: NodeId,
    process_id: u32,
}

/// See the module's header. The lock is held for a look-up or a change.
#[derive(Debug, Default)]
pub(crate) struct OpenTransactions(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    sessions: HashMap<Session, Number>,
    victims: HashSet<Number>,
    deadlocks: u64,
}

impl OpenTransactions {
    /// Deadlocks that were ended.
    pub(crate) fn deadlocks(&self) -> u64 {
        self.0.lock().deadlocks
    }

    /// The sessions of each node, if more than one transaction is open.
    fn by_node(&self) -> BTreeMap<NodeId, Vec<u32>> {
        let state = self.0.lock();
        let open: HashSet<&Number> = state.sessions.values().collect();
        let mut by_node: BTreeMap<NodeId, Vec<u32>> = BTreeMap::new();
        if open.len() > 1 {
            for session in state.sessions.keys() {
                by_node.entry(session.node).or_default().push(session.process_id);
            }
        }
        by_node
    }

    fn number_of(&self, session: Session) -> Option<Number> {
        self.0.lock().sessions.get(&session).copied()
    }

    fn note_victim(&self, victim: Number) {
        let mut state = self.0.lock();
        state.victims.insert(victim);
        state.deadlocks += 1;
    }

    /// Which transaction waits for which, as far as both are of this pool.
    fn waits(&self, edges: &HashSet<Edge>) -> Waits {
        let mut waits = Waits::new();
        for Edge { waiter, holder } in edges {
            let holder = Session { process_id: *holder, ..*waiter };
            if let (Some(waiter), Some(holder)) = (self.number_of(*waiter), self.number_of(holder))
                && waiter != holder
            {
                waits.entry(waiter).or_default().insert(holder);
            }
        }
        waits
    }
}

/// Looks at the locks of the nodes where transactions of this pool meet.
#[derive(Default)]
pub(super) struct DeadlockWatch {
    backends: HashMap<NodeId, Backend>,
}

/// Who waits where, and for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Edge {
    waiter: Session,
    holder: u32,
}

impl DeadlockWatch {
    /// Ends the deadlocks there are.
    pub(super) async fn look(&mut self, pool: &DistributedPool) {
        let open = pool.open_transactions();
        let first = self.edges(pool).await;
        if victims(&open.waits(&first)).is_empty() {
            return;
        }
        tokio::time::sleep(CONFIRMATION).await;
        let second = self.edges(pool).await;
        let confirmed: HashSet<Edge> = first.intersection(&second).copied().collect();
        for victim in victims(&open.waits(&confirmed)) {
            let waiting = confirmed.iter().map(|edge| edge.waiter);
            let of_victim: HashSet<Session> =
                waiting.filter(|session| open.number_of(*session) == Some(victim)).collect();
            open.note_victim(victim);
            self.cancel(pool, of_victim).await;
        }
    }

    async fn cancel(&mut self, pool: &DistributedPool, sessions: HashSet<Session>) {
        for Session { node, process_id } in sessions {
            let name = pool.node_pool(node).node();
            warn!(node = %name, process_id, "deadlock over several shards: statement cancelled");
            let cancel = format!("SELECT pg_catalog.pg_cancel_backend({process_id})");
            if let Some(backend) = self.backend(pool, node).await
                && let Err(error) = backend.client().batch_execute(&cancel).await
            {
                debug!(%error, "the victim of a deadlock could not be cancelled");
            }
        }
    }

    async fn edges(&mut self, pool: &DistributedPool) -> HashSet<Edge> {
        let mut edges = HashSet::new();
        for (node, sessions) in pool.open_transactions().by_node() {
            let sql = "SELECT pid, holder FROM pg_catalog.pg_stat_activity, \
                       unnest(pg_catalog.pg_blocking_pids(pid)) AS holder \
                       WHERE wait_event_type = 'Lock' AND pid = ANY ($1)";
            let sessions: Vec<i32> =
                sessions.into_iter().filter_map(|id| i32::try_from(id).ok()).collect();
            let Some(backend) = self.backend(pool, node).await else { continue };
            match backend.client().query(sql, &[&sessions]).await {
                Ok(rows) => edges.extend(rows.iter().filter_map(|row| {
                    let process_id = u32::try_from(row.get::<_, i32>(0)).ok()?;
                    let holder = u32::try_from(row.get::<_, i32>(1)).ok()?;
                    Some(Edge { waiter: Session { node, process_id }, holder })
                })),
                Err(error) => {
                    debug!(%error, "the locks of a node could not be looked at");
                    self.backends.remove(&node);
                }
            }
        }
        edges
    }

    /// A connection of its own: the pool's may all be held by those who wait.
    async fn backend(&mut self, pool: &DistributedPool, node: NodeId) -> Option<&Backend> {
        let is_usable = self.backends.get(&node).is_some_and(|backend| !backend.is_dead());
        if !is_usable {
            let opened = pool.node_pool(node).dialer().open(|_| ()).await;
            match opened {
                Ok(backend) => drop(self.backends.insert(node, backend)),
                Err(error) => {
                    debug!(%error, "a node could not be asked for its locks");
                    return None;
                }
            }
        }
        self.backends.get(&node)
    }
}
