//! That a group had no primary for as long as somebody would wait.

use std::fmt;
use std::time::{Duration, Instant};

use pgherd_core::topology::{Group, NodeHealth, NodeState};
use pgherd_core::{GroupId, NodeId, Topology};

/// A group had no node that takes writes for as long as somebody would wait. Nothing was sent.
/// See [`Error::no_primary`](crate::Error::no_primary).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoPrimary {
    /// The group.
    pub group: GroupId,
    /// How long it was waited.
    pub waited: Duration,
    /// `routing.primary_wait`.
    pub limit: Duration,
    /// What was last heard of each of its nodes: the name, and a few words.
    pub nodes: Vec<(String, String)>,
}

impl NoPrimary {
    pub(super) fn new(
        topology: &Topology,
        group: GroupId,
        waited: Duration,
        limit: Duration,
        now: Instant,
    ) -> Self {
        let members = topology.group(group).into_iter().flat_map(Group::members);
        let nodes = members
            .map(|id| (topology.node(id).name.clone(), last_heard(topology, id, now)))
            .collect();
        Self { group, waited, limit, nodes }
    }
}

fn last_heard(topology: &Topology, id: NodeId, now: Instant) -> String {
    let NodeHealth { state, since, last_error, in_recovery, .. } = topology.health(id);
    let of_whom = match in_recovery {
        Some(true) => "a standby",
        Some(false) if topology.is_fenced(id) => "fenced",
        Some(false) => "the last primary",
        None => "never heard of",
    };
    let how = match state {
        NodeState::Unknown => "not asked yet",
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
        NodeState::Probation => "on probation",
    };
    let mut text = format!("{of_whom}, {how}");
    if let Some(since) = since {
        text += &format!(" for {:.1?}", now.saturating_duration_since(*since));
    }
    match (state, last_error) {
        (NodeState::Suspect | NodeState::Down, Some(error)) => text + &format!(": {error}"),
        _ => text,
    }
}

impl fmt::Display for NoPrimary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, waited, limit, nodes } = self;
        write!(f, "{group} has no primary")?;
        if limit.is_zero() {
            f.write_str(", and routing.primary_wait = 0 lets nobody wait for one")?;
        } else {
            write!(f, " after {waited:.1?} (limit routing.primary_wait = {limit:?})")?;
        }
        for (at, (name, heard)) in nodes.iter().enumerate() {
            let before = if at == 0 { ": " } else { "; " };
            write!(f, "{before}{name} is {heard}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NoPrimary {}

#[cfg(test)]
mod tests {
    use pgherd_core::NodeRole;
    use pgherd_core::topology::Node;

    use super::*;

    #[test]
    fn the_error_tells_what_was_last_heard_of_each_node_and_which_setting_it_was() {
        let nodes = vec![
            Node::new("c", "h", 1, NodeRole::Coordinator, None),
            Node::new("c-r1", "h", 2, NodeRole::Replica, None),
        ];
        let topology = Topology::new(nodes).unwrap();
        let began = Instant::now();
        let down = NodeHealth {
            state: NodeState::Down,
            since: Some(began),
            last_error: Some("refused".into()),
            in_recovery: Some(false),
            ..NodeHealth::unknown()
        };
        let standby = NodeHealth {
            state: NodeState::Up,
            since: Some(began),
            in_recovery: Some(true),
            ..NodeHealth::unknown()
        };
        let topology = topology.with_health([(NodeId(0), down), (NodeId(1), standby)]);
        let (second, now) = (Duration::from_secs(1), began + Duration::from_secs(3));
        let error = |limit| NoPrimary::new(&topology, GroupId::Coordinator, second, limit, now);
        let nodes = "c is the last primary, down for 3.0s: refused; c-r1 is a standby, up for 3.0s";
        assert_eq!(
            error(second).to_string(),
            format!(
                "coordinator has no primary after 1.0s (limit routing.primary_wait = 1s): {nodes}"
            )
        );
        let at_once = error(Duration::ZERO).to_string();
        assert!(at_once.contains("routing.primary_wait = 0") && at_once.ends_with(nodes));
    }
}
