//! Decides which nodes are in rotation, and which node of a group is its primary.
//!
//! In: answers and failures of probes, failures of ordinary traffic, and when they came.
//! Out: what is now believed of each node and group, and what the caller should do about it.
//!
//! Who probes, and how often, is not here.

mod primary;

pub use primary::{GroupTransition, GroupWatch};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{GroupId, NodeId};
use crate::topology::{NodeHealth, NodeState, Topology};
use crate::units::Lsn;

/// How many observations in a row change an opinion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthConfig {
    /// Failures in a row that take a node out. 0 counts as 1.
    pub failures: u32,
    /// Answers in a row that let a node in again. 0 counts as 1.
    pub successes: u32,
}

impl Default for HealthConfig {
    fn default() -> Self {
        Self { failures: 3, successes: 2 }
    }
}

/// What was observed of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthEvent {
    /// A probe was answered.
    ProbeOk {
        /// What `pg_is_in_recovery()` said.
        in_recovery: bool,
        /// The position of the WAL: written on a primary, replayed on a standby.
        lsn: Option<Lsn>,
        /// The timeline, if the node tells it.
        timeline: Option<u32>,
        /// The system identifier, if the node tells it.
        system_id: Option<u64>,
        /// How long the answer took.
        rtt: Duration,
    },
    /// A probe failed or came too late.
    ProbeFailed {
        /// Why.
        error: String,
    },
    /// A client's statement lost its connection, or none could be opened.
    TrafficFailed {
        /// Why.
        error: String,
    },
}

/// A change of opinion about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// Taken out of rotation.
    TakenOut {
        /// Failures in a row.
        failures: u32,
        /// The last of them.
        error: Arc<str>,
    },
    /// Back in rotation, or first heard of.
    LetIn,
    /// It became a primary or a standby.
    RoleChanged {
        /// Whether it is a standby now.
        in_recovery: bool,
    },
}

/// What to do after an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct HealthEffects {
    /// Whether routing would change: publish a new snapshot.
    pub publish: bool,
    /// Whether to probe the node at once, rather than at its next turn.
    pub probe_now: bool,
    /// What changed, for the log.
    pub transitions: Vec<Transition>,
    /// What changed in the node's group, for the log.
    pub group_transitions: Vec<GroupTransition>,
}

/// The opinion of one node.
///
/// | State     | On an answer                           | On a failure                       |
/// |-----------|----------------------------------------|------------------------------------|
/// | `Unknown` | `Up`                                   | `Suspect`, or `Down` if enough     |
/// | `Up`      | `Up`                                   | `Suspect`, or `Down` if enough     |
/// | `Suspect` | `Up`                                   | `Down` if enough                   |
/// | `Down`    | `Up` if enough answers in a row        | `Down`, answers counted from 0     |
#[derive(Debug, Clone)]
pub struct NodeWatch {
    config: HealthConfig,
    health: NodeHealth,
    // Of the kind that would change the opinion: failures, or answers while down.
    streak: u32,
    lsn: Option<Lsn>,
}

impl NodeWatch {
    /// Nothing heard yet.
    pub fn new(config: HealthConfig) -> Self {
        Self { config, health: NodeHealth::unknown(), streak: 0, lsn: None }
    }

    /// What is believed now. `lag_bytes` is filled in by [`ClusterWatch`].
    pub fn health(&self) -> &NodeHealth {
        &self.health
    }

    /// Takes an observation in.
    pub fn on(&mut self, event: HealthEvent, now: Instant) -> HealthEffects {
        match event {
            HealthEvent::ProbeOk { in_recovery, lsn, timeline, system_id, rtt } => {
                self.lsn = lsn;
                self.health.rtt = Some(rtt);
                self.health.system_id = system_id.or(self.health.system_id);
                let is_new_timeline = self.health.timeline != timeline;
                self.health.timeline = timeline;
                let effects = self.on_answer(in_recovery, now);
                HealthEffects { publish: effects.publish || is_new_timeline, ..effects }
            }
            HealthEvent::ProbeFailed { error } => self.on_failure(error, now),
            HealthEvent::TrafficFailed { error } => {
                let effects = self.on_failure(error, now);
                // Traffic fails in bursts: the probe is what tells a blip from an outage.
                HealthEffects { probe_now: true, ..effects }
            }
        }
    }

    fn on_answer(&mut self, in_recovery: bool, now: Instant) -> HealthEffects {
        let mut effects = HealthEffects::default();
        let before = self.health.in_recovery.replace(in_recovery);
        if before.is_some_and(|before| before != in_recovery) {
            effects.transitions.push(Transition::RoleChanged { in_recovery });
        }
        effects.publish = before != Some(in_recovery);
        match self.health.state {
            NodeState::Up => {}
            NodeState::Unknown | NodeState::Suspect => {
                if self.health.state == NodeState::Unknown {
                    effects.transitions.push(Transition::LetIn);
                }
                self.enter(NodeState::Up, now);
                effects.publish = true;
            }
            NodeState::Down => {
                self.streak += 1;
                if self.streak >= self.config.successes.max(1) {
                    self.enter(NodeState::Up, now);
                    effects.transitions.push(Transition::LetIn);
                    effects.publish = true;
                }
            }
        }
        effects
    }

    fn on_failure(&mut self, error: String, now: Instant) -> HealthEffects {
        let error: Arc<str> = error.into();
        self.health.last_error = Some(error.clone());
        let mut effects = HealthEffects::default();
        if self.health.state == NodeState::Down {
            self.streak = 0;
            return effects;
        }
        self.streak = self.streak.saturating_add(1);
        let failures = self.streak;
        if failures >= self.config.failures.max(1) {
            self.enter(NodeState::Down, now);
            effects.transitions.push(Transition::TakenOut { failures, error });
            effects.publish = true;
        } else if self.health.state != NodeState::Suspect {
            self.enter(NodeState::Suspect, now);
            self.streak = failures;
            effects.publish = true;
        }
        effects
    }

    fn enter(&mut self, state: NodeState, now: Instant) {
        self.health.state = state;
        self.health.since = Some(now);
        self.streak = 0;
    }
}

/// The opinions of all nodes and groups of a cluster, and the lag between nodes.
#[derive(Debug, Clone)]
pub struct ClusterWatch {
    nodes: Vec<NodeWatch>,
    // In the order of the topology, and by node the index of its group.
    groups: Vec<GroupWatch>,
    group_of: Vec<usize>,
}

impl ClusterWatch {
    /// Nothing heard yet of any node of `topology`.
    pub fn new(topology: &Topology, config: HealthConfig) -> Self {
        let groups: Vec<_> = topology.groups().iter().map(GroupWatch::new).collect();
        let index_of = |id: GroupId| id.shard().map_or(0, |shard| shard.index() + 1);
        let group_of = topology.nodes().iter().map(|node| index_of(node.group())).collect();
        let nodes = topology.nodes().iter().map(|_| NodeWatch::new(config)).collect();
        Self { nodes, groups, group_of }
    }

    /// Takes an observation of one node in.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn on(&mut self, id: NodeId, event: HealthEvent, now: Instant) -> HealthEffects {
        let mut effects = self.nodes[id.index()].on(event, now);
        let Self { nodes, groups, group_of } = self;
        let changes = groups[group_of[id.index()]].look(|id| &nodes[id.index()].health);
        effects.publish |= !changes.is_empty();
        effects.group_transitions = changes;
        self.measure_lag();
        effects
    }

    /// What is believed of each node, to be given to [`Topology::observed`].
    pub fn health(&self) -> impl Iterator<Item = (NodeId, NodeHealth)> + '_ {
        (0..).map(NodeId).zip(self.nodes.iter().map(|node| node.health.clone()))
    }

    /// The primary of each group, or the last there was, to be given to [`Topology::observed`].
    pub fn primaries(&self) -> impl Iterator<Item = (GroupId, NodeId)> + '_ {
        self.groups.iter().map(|group| (group.id(), group.primary()))
    }

    /// What is believed of one node.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn node(&self, id: NodeId) -> &NodeHealth {
        &self.nodes[id.index()].health
    }

    fn measure_lag(&mut self) {
        for index in 0..self.nodes.len() {
            let primary = self.groups[self.group_of[index]].primary().index();
            // A fenced one has written on, and has no lag that means anything.
            let is_standby = self.nodes[index].health.in_recovery == Some(true);
            let lag = match (self.nodes[primary].lsn, self.nodes[index].lsn) {
                (Some(written), Some(replayed)) if primary != index && is_standby => {
                    Some(written.bytes_since(replayed))
                }
                _ => None,
            };
            self.nodes[index].health.lag_bytes = lag;
        }
    }
}

#[cfg(test)]
mod tests;
