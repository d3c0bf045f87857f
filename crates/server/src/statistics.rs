//! What the proxy has done, node by node.

use pgherd_core::topology::{Node, NodeRole, Topology};

use crate::reactor::{Count, Counts, NodeCounts};

/// What was done with one node since the proxy started, over all cores.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NodeStatistics {
    /// Its name.
    pub name: String,
    /// What it is to its group now.
    pub role: NodeRole,
    /// Batches answered to clients: a simple query each, or all up to a Sync. A statement of a
    /// driver is one batch, or two when it is prepared first.
    pub batches: u64,
    /// Backends lent to clients.
    pub leases: u64,
    /// Backends opened.
    pub opens: u64,
    /// Attempts to open one that failed.
    pub failed_opens: u64,
    /// Batches that were tried again elsewhere, because nothing of the answer had been seen.
    pub retries: u64,
    /// Clients dismissed because the node, or a free backend to it, could not be had or kept.
    pub errors: u64,
}

/// Sums the counters of the cores up.
pub(crate) fn statistics(topology: &Topology, counts: &Counts) -> Vec<NodeStatistics> {
    topology.nodes().iter().map(|node| of_node(topology, node, counts)).collect()
}

fn of_node(topology: &Topology, node: &Node, counts: &Counts) -> NodeStatistics {
    let sum = |count: fn(&NodeCounts) -> &Count| {
        counts.of_node(node.id.index()).map(|counts| count(counts).get()).sum()
    };
    NodeStatistics {
        name: node.name.to_string(),
        role: topology.role(node.id),
        batches: sum(|counts| &counts.batches),
        leases: sum(|counts| &counts.leases),
        opens: sum(|counts| &counts.opens),
        failed_opens: sum(|counts| &counts.failed_opens),
        retries: sum(|counts| &counts.retries),
        errors: sum(|counts| &counts.errors),
    }
}
