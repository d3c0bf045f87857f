//! Decides which nodes are in rotation, and which node of a group is its primary.
//!
//! In: answers and failures of probes, failures of ordinary traffic, and when they came.
//! Out: what is now believed of each node and group, and what the caller should do about it.
//!
//! Who probes, and how often, is not here.

mod config;
mod primary;
mod samples;

pub use config::HealthConfig;
pub use primary::{GroupTransition, GroupWatch};

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::id::{GroupId, NodeId};
use crate::topology::{NodeHealth, NodeState, Topology};
use crate::units::{Lsn, WalPosition};

use samples::Samples;

/// What was observed of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthEvent {
    /// A probe was answered.
    ProbeOk {
        /// What `pg_is_in_recovery()` said.
        in_recovery: bool,
        /// The position of the WAL: written on a primary, replayed on a standby.
        lsn: Option<Lsn>,
        /// `max_prepared_transactions`, if the node tells it.
        max_prepared: Option<u32>,
        /// The timeline, if the node tells it.
        timeline: Option<u32>,
        /// The system identifier, if the node tells it.
        system_id: Option<u64>,
        /// When the question was sent: what it was asked for is at least as new.
        asked: Instant,
        /// How long the answer took.
        rtt: Duration,
    },
    /// A probe failed or came too late.
    ProbeFailed {
        /// Why.
        error: String,
        /// Whether the node said nothing at all: an error that it reports is an answer, too.
        is_silent: bool,
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
    /// Back in rotation, with a growing share of the reads.
    OnProbation {
        /// How long until it gets its whole share.
        warm_up: Duration,
    },
    /// `max_prepared_transactions` is 0: it can take part in no transaction over several shards.
    CannotPrepare,
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
    /// Whose connections are to be cut, and for how long each has answered no probe: nobody hears
    /// from these nodes any more, and another one is there for what runs on them. Said again and
    /// again as long as it is so.
    pub cut: Vec<(NodeId, Duration)>,
}

/// The opinion of one node.
///
/// | State       | On an answer                           | On a failure                         |
/// |-------------|----------------------------------------|--------------------------------------|
/// | `Unknown`   | `Up`                                   | `Suspect`, or `Down` if enough       |
/// | `Up`        | `Up`                                   | `Suspect`, or `Down` if enough       |
/// | `Suspect`   | `Up`                                   | `Down` if enough                     |
/// | `Down`      | if enough in a row, `Up` if a primary, | `Down`, answers counted from 0       |
/// |             | `Probation` if not held off            |                                      |
/// | `Probation` | a larger share; all of it, and `Up`,   | `Down` of a probe, or if enough; the |
/// |             | after the warm-up                      | next time it is held off longer      |
///
/// Failures of traffic alone do not end a probation at once: they may come of connections that
/// died in the outage.
#[derive(Debug, Clone)]
pub struct NodeWatch {
    config: HealthConfig,
    health: NodeHealth,
    // Of the kind that would change the opinion: failures, or answers while down.
    streak: u32,
    // Probations in a row that failed.
    relapses: u32,
    // Since then every probe was left without an answer. What traffic met does not count.
    silent_since: Option<Instant>,
}

impl NodeWatch {
    /// Nothing heard yet.
    pub fn new(config: HealthConfig) -> Self {
        let health = NodeHealth::unknown();
        Self { config, health, streak: 0, relapses: 0, silent_since: None }
    }

    /// What is believed now. `lag_bytes` is filled in by [`ClusterWatch`].
    pub fn health(&self) -> &NodeHealth {
        &self.health
    }

    /// Takes an observation in.
    pub fn on(&mut self, event: HealthEvent, now: Instant) -> HealthEffects {
        match event {
            HealthEvent::ProbeOk {
                in_recovery,
                lsn,
                max_prepared,
                timeline,
                system_id,
                rtt,
                asked: _,
            } => {
                self.silent_since = None;
                let was_unable = self.health.max_prepared == Some(0);
                self.health.max_prepared = max_prepared;
                self.health.position = lsn.map(|lsn| WalPosition { timeline, lsn });
                self.health.rtt = Some(rtt);
                self.health.system_id = system_id.or(self.health.system_id);
                let is_new_timeline = self.health.timeline != timeline;
                self.health.timeline = timeline;
                let mut effects = self.on_answer(in_recovery, now);
                if max_prepared == Some(0) && !was_unable {
                    effects.transitions.push(Transition::CannotPrepare);
                }
                HealthEffects { publish: effects.publish || is_new_timeline, ..effects }
            }
            HealthEvent::ProbeFailed { error, is_silent } => {
                self.silent_since = is_silent.then(|| self.silent_since.unwrap_or(now));
                let ends_probation = self.health.state == NodeState::Probation;
                self.on_failure(error, ends_probation, now)
            }
            HealthEvent::TrafficFailed { error } => {
                let effects = self.on_failure(error, false, now);
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
                self.streak = self.streak.saturating_add(1);
                let is_enough = self.streak >= self.config.successes.max(1);
                let warm_up = self.config.warm_up;
                if is_enough && in_recovery && !warm_up.is_zero() && !self.is_held_off(now) {
                    self.enter(NodeState::Probation, now);
                    self.health.share = self.config.share(Duration::ZERO);
                    effects.transitions.push(Transition::OnProbation { warm_up });
                    effects.publish = true;
                } else if is_enough && (!in_recovery || warm_up.is_zero()) {
                    self.prove(now);
                    effects.transitions.push(Transition::LetIn);
                    effects.publish = true;
                }
            }
            NodeState::Probation => {
                self.streak = 0;
                let share = self.config.share(self.in_this_state_for(now));
                effects.publish |= share != self.health.share;
                self.health.share = share;
                // A standby that was promoted meanwhile is needed in full.
                if share == 100 || !in_recovery {
                    self.prove(now);
                    effects.transitions.push(Transition::LetIn);
                    effects.publish = true;
                }
            }
        }
        effects
    }

    /// For how long it has answered no probe, if it is out and that is long enough to give it up.
    fn is_given_up(&self, now: Instant) -> Option<Duration> {
        let silent = now.saturating_duration_since(self.silent_since?);
        let limit = self.config.cut_after;
        let is_out = self.health.state == NodeState::Down;
        (is_out && !limit.is_zero() && silent >= limit).then_some(silent)
    }

    fn in_this_state_for(&self, now: Instant) -> Duration {
        self.health.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    fn is_held_off(&self, now: Instant) -> bool {
        self.in_this_state_for(now) < self.config.hold_off(self.relapses)
    }

    /// It is as good as one that never failed.
    fn prove(&mut self, now: Instant) {
        self.enter(NodeState::Up, now);
        self.health.share = 100;
        self.health.reason = None;
        self.relapses = 0;
    }

    fn on_failure(&mut self, error: String, is_enough: bool, now: Instant) -> HealthEffects {
        let error: Arc<str> = error.into();
        self.health.last_error = Some(error.clone());
        let mut effects = HealthEffects::default();
        if self.health.state == NodeState::Down {
            self.streak = 0;
            return effects;
        }
        self.streak = self.streak.saturating_add(1);
        let failures = self.streak;
        if is_enough || failures >= self.config.failures.max(1) {
            if self.health.state == NodeState::Probation {
                self.relapses = self.relapses.saturating_add(1);
            }
            self.enter(NodeState::Down, now);
            let reason = format!("{failures} failures in a row, the last: {error}");
            self.health.reason = Some(reason.into());
            effects.transitions.push(Transition::TakenOut { failures, error });
            effects.publish = true;
        } else if !matches!(self.health.state, NodeState::Suspect | NodeState::Probation) {
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
    samples: Vec<Samples>,
    group_of: Vec<usize>,
}

impl ClusterWatch {
    /// Nothing heard yet of any node of `topology`.
    pub fn new(topology: &Topology, config: HealthConfig) -> Self {
        let groups: Vec<_> = topology.groups().iter().map(GroupWatch::new).collect();
        let index_of = |id: GroupId| id.shard().map_or(0, |shard| shard.index() + 1);
        let group_of = topology.nodes().iter().map(|node| index_of(node.group())).collect();
        let nodes = topology.nodes().iter().map(|_| NodeWatch::new(config)).collect();
        let samples = groups.iter().map(|group| Samples::new(group.primary())).collect();
        Self { nodes, groups, samples, group_of }
    }

    /// Takes an observation of one node in.
    ///
    /// # Panics
    /// If the id belongs to another topology.
    pub fn on(&mut self, id: NodeId, event: HealthEvent, now: Instant) -> HealthEffects {
        let asked = match &event {
            HealthEvent::ProbeOk { asked, .. } => Some(*asked),
            _ => None,
        };
        let mut effects = self.nodes[id.index()].on(event, now);
        let Self { nodes, groups, samples, group_of } = self;
        let at = group_of[id.index()];
        let changes = groups[at].look(|id| &nodes[id.index()].health);
        samples[at].follow(groups[at].primary());
        if let Some(asked) = asked {
            samples[at].note(id, asked, nodes[id.index()].health.position);
        }
        effects.publish |= !changes.is_empty();
        effects.group_transitions = changes;
        self.measure_lag();
        effects.publish |= self.measure_catching_up(at);
        effects.cut = self.to_cut(at, now);
        effects
    }

    /// The nodes of a group that are given up, and that another one is there for: a primary whose
    /// place is taken, a replica whose reads have somewhere to go. On a primary that nobody has
    /// taken the place of, what runs has a better chance to be answered than to be done elsewhere.
    fn to_cut(&self, group: usize, now: Instant) -> Vec<(NodeId, Duration)> {
        let primary = self.groups[group].primary();
        let is_led = self.node(primary).takes_writes();
        let members = || (0..).map(NodeId).zip(&self.group_of).filter(|(_, of)| **of == group);
        let is_another_standby = |one: NodeId| {
            members().any(|(id, _)| {
                let other = self.node(id);
                id != one && other.is_healthy() && other.in_recovery == Some(true)
            })
        };
        let has_deputy = |id: NodeId| {
            let node = &self.nodes[id.index()];
            let was_primary = node.health.in_recovery == Some(false);
            let by_primary = is_led && (was_primary || node.config.reads_on_primary);
            id != primary && (by_primary || !was_primary && is_another_standby(id))
        };
        members()
            .filter_map(|(id, _)| Some((id, self.nodes[id.index()].is_given_up(now)?)))
            .filter(|(id, _)| has_deputy(*id))
            .collect()
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

    fn lsn(&self, index: usize) -> Option<Lsn> {
        self.nodes[index].health.position.map(|position| position.lsn)
    }

    /// Whether anything has changed.
    fn measure_catching_up(&mut self, group: usize) -> bool {
        let Self { nodes, samples, group_of, .. } = self;
        let members = nodes.iter_mut().zip(group_of).filter(|(_, of)| **of == group);
        let mut has_changed = false;
        for (node, _) in members {
            let is_standby = node.health.in_recovery == Some(true);
            let replayed = node.health.position.filter(|_| is_standby);
            let up_to = replayed.and_then(|replayed| samples[group].caught_up_to(replayed));
            has_changed |= up_to != node.health.caught_up_to;
            node.health.caught_up_to = up_to;
        }
        has_changed
    }

    fn measure_lag(&mut self) {
        for index in 0..self.nodes.len() {
            let primary = self.groups[self.group_of[index]].primary().index();
            // A fenced one has written on, and has no lag that means anything.
            let is_standby = self.nodes[index].health.in_recovery == Some(true);
            let lag = match (self.lsn(primary), self.lsn(index)) {
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
