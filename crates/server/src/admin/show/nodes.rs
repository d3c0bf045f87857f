//! `SHOW NODES`.

use pgherd_core::id::NodeId;
use pgherd_core::topology::{NodeHealth, NodeState, Topology};

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, numeric, text};
use super::Table;
use super::view::{View, micros};
use crate::reactor::{Count, NodeCounts};

pub(super) static TABLE: Table = Table {
    name: "nodes",
    about: "A node.",
    columns: &COLUMNS,
    theirs: 0,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 24] = [
    text("node", "Its name."),
    text("group", "Its group: coordinator, or shard N."),
    text("role", "What it is to its group now: coordinator, worker or replica."),
    text("host", "Its host."),
    int4("port", "Its port."),
    text("addr", "The addresses that backends are opened at."),
    text(
        "state",
        "unknown, up, suspect, down or probation; fenced: it has lost its place as primary.",
    ),
    text("since", "Since when; NULL while nothing was heard of it."),
    text("reason", "Why it was last taken out of rotation; NULL once it has proved itself again."),
    text("last_error", "Its last failure."),
    numeric("lag_bytes", "WAL that a replica has not replayed yet; NULL where that is not known."),
    numeric("rtt_us", "Microseconds that its last probe took."),
    int4("share", "How much of its part of the reads it gets, in percent."),
    int4("timeline", "The timeline that it last said to be on."),
    int4("sv_active", "Backends that clients hold."),
    int4("sv_idle", "Backends that are free."),
    int4("sv_login", "Backends that are being opened."),
    int4("cl_waiting", "Clients that wait for a backend to it."),
    numeric("leases", "Backends lent to clients, since the start."),
    numeric("batches", "Batches answered, since the start."),
    numeric("opens", "Backends opened, since the start."),
    numeric("failed_opens", "Attempts to open one that failed, since the start."),
    numeric("retries", "Batches that were tried again elsewhere, since the start."),
    numeric("errors", "Clients dismissed because of it, since the start."),
];

/// All addresses of a node, with ports.
fn addresses(view: &View<'_>, node: NodeId) -> String {
    let hosts = view.proxy.addresses.hosts(node.index());
    let addresses = hosts.into_iter().flat_map(|(_, addresses)| addresses);
    addresses.map(|address| address.to_string()).collect::<Vec<_>>().join(",")
}

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let topology = view.proxy.topology.load();
    let rows = topology.nodes().iter().map(|node| {
        let health = topology.health(node.id);
        let NodeHealth { since, reason, last_error, lag_bytes, rtt, share, timeline, .. } = health;
        let sum = view.node(node.id);
        let count = |count: fn(&NodeCounts) -> &Count| {
            let counts = view.proxy.counts.of_node(node.id.index());
            Cell::Number(counts.map(|counts| count(counts).get()).sum())
        };
        let text = |text: &Option<_>| Cell::from(text.as_deref().map(str::to_owned));
        vec![
            node.name.to_string().into(),
            Cell::shown(node.group()),
            topology.role(node.id).as_str().into(),
            node.host.to_string().into(),
            u32::from(node.port).into(),
            addresses(view, node.id).into(),
            state(&topology, node.id).into(),
            since.map(|since| view.proxy.admin.wall_time(since)).into(),
            text(reason),
            text(last_error),
            Cell::from(*lag_bytes),
            rtt.map(micros).into(),
            u32::from(*share).into(),
            Cell::from(*timeline),
            (sum.backends.total() - sum.backends.free() - sum.backends.login).into(),
            sum.backends.free().into(),
            sum.backends.login.into(),
            sum.waiting.into(),
            count(|counts| &counts.leases),
            count(|counts| &counts.batches),
            count(|counts| &counts.opens),
            count(|counts| &counts.failed_opens),
            count(|counts| &counts.retries),
            count(|counts| &counts.errors),
        ]
    });
    Ok(rows.collect())
}

fn state(topology: &Topology, node: NodeId) -> &'static str {
    if topology.is_fenced(node) {
        return "fenced";
    }
    match topology.health(node).state {
        NodeState::Unknown => "unknown",
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
        NodeState::Probation => "probation",
    }
}
