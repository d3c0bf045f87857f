//! What the cores count.
//!
//! Each core has counters of its own for each node and is the only one that writes them; others
//! read. So counting costs an addition and no traffic between cores.

use std::sync::atomic::{AtomicU64, Ordering};

use pgherd_core::metrics::{BUCKETS, bucket_of};

use crate::session::LoginFailure;

/// A number that only one thread writes.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// One more.
    #[inline]
    pub(super) fn add_one(&self) {
        self.add(1);
    }

    /// So many more. Not atomic as a whole: see the type.
    #[inline]
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How long things took, counted by how long that was.
#[derive(Debug, Default)]
pub struct Times {
    buckets: [Count; BUCKETS],
    nanos: Count,
}

impl Times {
    /// One more, which took that long.
    #[inline]
    pub(super) fn add(&self, nanos: u64) {
        self.buckets[bucket_of(nanos)].add_one();
        self.nanos.add(nanos);
    }

    /// How many there are in each bucket, and how many nanoseconds all took.
    pub fn get(&self) -> ([u64; BUCKETS], u64) {
        // Before the sum: one that is added meanwhile is in neither, or in the sum alone.
        let buckets = std::array::from_fn(|at| self.buckets[at].get());
        (buckets, self.nanos.get())
    }
}

/// What one core has counted of one node. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct NodeCounts {
    /// Batches answered to clients: a Query each, or all up to a Sync.
    pub batches: Count,
    /// Leases for a batch that was known to read only, where there are replicas for that.
    pub reads: Count,
    /// Backends lent to clients.
    pub leases: Count,
    /// Backends opened.
    pub opens: Count,
    /// Attempts to open one that failed.
    pub failed_opens: Count,
    /// Batches that were tried again elsewhere, because nothing of the answer had been seen.
    pub retries: Count,
    /// Clients dismissed because the node, or a free backend to it, could not be had or kept.
    pub errors: Count,
    /// How long the batches took.
    pub batch_times: Times,
    /// How long transactions took.
    pub transaction_times: Times,
    /// How long clients waited for the backends they were lent.
    pub wait_times: Times,
}

/// The classes of SQLSTATEs that errors of pgherd's own have; the last stands for all others.
pub const CLASSES: [&str; 11] =
    ["08", "0A", "22", "25", "28", "3D", "53", "54", "55", "57", "other"];

/// What one core has counted of its clients. On a cache line of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ClientCounts {
    /// Errors of pgherd's own that they were told, by [`CLASSES`].
    pub errors: [Count; CLASSES.len()],
    /// Logins that have failed, by [`LoginFailure::ALL`].
    pub failed_logins: [Count; LoginFailure::ALL.len()],
}

impl ClientCounts {
    /// One was told an error with this SQLSTATE.
    pub(super) fn told(&self, code: &str) {
        let class = code.get(..2).unwrap_or_default();
        let place = CLASSES.iter().position(|known| *known == class);
        self.errors[place.unwrap_or(CLASSES.len() - 1)].add_one();
    }

    /// A login has failed.
    pub(super) fn failed(&self, why: LoginFailure) {
        self.failed_logins[why as usize].add_one();
    }
}

/// The counters of all cores.
#[derive(Debug)]
pub struct Counts {
    nodes: Box<[Box<[NodeCounts]>]>,
    clients: Box<[ClientCounts]>,
}

impl Counts {
    /// Counters for `cores` cores and `nodes` nodes, all at 0.
    pub fn new(cores: usize, nodes: usize) -> Self {
        let of_core = |_| (0..nodes).map(|_| NodeCounts::default()).collect();
        let nodes = (0..cores).map(of_core).collect();
        Self { nodes, clients: (0..cores).map(|_| ClientCounts::default()).collect() }
    }

    /// A core's counters of the nodes, by node id.
    pub(super) fn of_core(&self, core: usize) -> &[NodeCounts] {
        &self.nodes[core]
    }

    /// A core's counters of its clients.
    pub(super) fn of_clients(&self, core: usize) -> &ClientCounts {
        &self.clients[core]
    }

    /// What each core has counted of its clients.
    pub fn clients(&self) -> &[ClientCounts] {
        &self.clients
    }

    /// What each core has counted of a node.
    pub fn of_node(&self, node: usize) -> impl Iterator<Item = &NodeCounts> + Clone {
        self.nodes.iter().map(move |core| &core[node])
    }
}
