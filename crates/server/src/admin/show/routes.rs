//! `SHOW ROUTES`.

use pgherd_core::id::NodeId;

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::View;

pub(super) static TABLE: Table = Table {
    name: "routes",
    about: "A node that statements of a kind may go to, or why they do not.",
    columns: &COLUMNS,
    theirs: 0,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 6] = [
    text("group", "The group of nodes: coordinator, or shard N."),
    text("access", "write, or read: batches that only read."),
    text("node", "The node."),
    text(
        "used",
        "yes: such statements go to it; no: they do not; spare: only where nobody else can.",
    ),
    text("reason", "Why."),
    int4("weight", "Its part of the reads, where `routing.balance` goes by weight."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let topology = view.proxy.topology.load();
    let policy = &view.proxy.policy;
    let mut rows = Vec::new();
    for group in topology.groups() {
        let mut add = |access: &'static str, node: NodeId, used: &'static str, reason: String| {
            let node = topology.node(node);
            rows.push(vec![
                Cell::shown(group.id),
                access.into(),
                node.name.to_string().into(),
                used.into(),
                reason.into(),
                node.weight.into(),
            ]);
        };
        let primary = topology.health(group.primary);
        let takes_writes = primary.takes_writes() && !topology.is_fenced(group.primary);
        match takes_writes {
            true => add("write", group.primary, "yes", "the primary".to_owned()),
            false => add("write", group.primary, "no", "the group has no primary".to_owned()),
        }
        let readable: Vec<NodeId> = group
            .replicas
            .iter()
            .copied()
            .filter(|node| policy.read_from_replicas && topology.is_readable_replica(*node))
            .collect();
        for replica in &group.replicas {
            let health = topology.health(*replica);
            let (used, reason) = if readable.contains(replica) {
                ("yes", format!("a replica that gets {} % of its part", health.share))
            } else if !policy.read_from_replicas {
                ("no", "routing.read_from_replicas is off".to_owned())
            } else {
                let reason = health.reason.as_deref().or(health.last_error.as_deref());
                ("no", format!("out of rotation: {}", reason.unwrap_or("it is no standby")))
            };
            add("read", *replica, used, reason);
        }
        let (used, reason) = match (readable.is_empty(), policy.fall_back_to_primary) {
            (true, true) => ("yes", "the primary: there is no replica to read from"),
            (true, false) if group.replicas.is_empty() || !policy.read_from_replicas => {
                ("yes", "the primary: there is no replica to read from")
            }
            (true, false) => ("no", "routing.fall_back_to_primary is off"),
            (false, true) => ("spare", "the primary: for when no replica can be had"),
            (false, false) => ("no", "routing.fall_back_to_primary is off"),
        };
        add("read", group.primary, used, reason.to_owned());
    }
    Ok(rows)
}
