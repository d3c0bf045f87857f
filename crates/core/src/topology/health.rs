//! How a node was doing when the snapshot was made.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::units::WalPosition;

/// What is believed about a node.
///
/// ```
/// use pgherd_core::topology::{Circuit, NodeState};
///
/// assert_eq!(NodeState::Suspect.circuit(), Circuit::Closed);
/// assert_eq!(NodeState::Down.circuit(), Circuit::Open);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// Not heard of yet. Counts as healthy, so that a start needs no probe first.
    Unknown,
    /// Answers.
    Up,
    /// Missed something lately, but not often enough to be taken out.
    Suspect,
    /// Taken out of rotation.
    Down,
    /// Back in rotation after an outage, with a growing share of the reads. Only standbys: of a
    /// primary there is no second one to spare it.
    Probation,
}

impl NodeState {
    /// What its circuit breaker stands at.
    pub fn circuit(self) -> Circuit {
        match self {
            Self::Unknown | Self::Up | Self::Suspect => Circuit::Closed,
            Self::Down => Circuit::Open,
            Self::Probation => Circuit::Probation,
        }
    }
}

/// What a node's circuit breaker stands at. See [`NodeState::circuit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Circuit {
    /// Statements go to the node.
    Closed,
    /// None go to it, and probes ask whether it is back.
    Open,
    /// Some go to it, and a failed probe opens it again.
    Probation,
}

/// How a node was doing when the snapshot was made.
///
/// ```
/// use pgherd_core::topology::NodeHealth;
///
/// let unknown = NodeHealth::unknown();
/// assert!(unknown.is_healthy() && unknown.takes_writes());
/// let standby = NodeHealth { in_recovery: Some(true), ..unknown };
/// assert!(standby.is_healthy() && !standby.takes_writes());
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct NodeHealth {
    /// What is believed.
    pub state: NodeState,
    /// When that began. `None` while nothing has been heard.
    pub since: Option<Instant>,
    /// The text of the last failure; kept after a recovery.
    pub last_error: Option<Arc<str>>,
    /// Why it was last taken out of rotation; kept until it has proved itself again.
    pub reason: Option<Arc<str>>,
    /// Bytes of WAL between the group's primary and what this replica has replayed.
    pub lag_bytes: Option<u64>,
    /// How long the last probe took.
    pub rtt: Option<Duration>,
    /// What the node last said of itself: `true` is a standby.
    pub in_recovery: Option<bool>,
    /// How much of its part of the reads it gets, in percent: less than 100 while it is warmed
    /// up after an outage.
    pub share: u8,
    /// The timeline it last said to be on. A promotion begins a new one, with a higher number. Of
    /// a standby it may stay behind until its next restart point.
    pub timeline: Option<u32>,
    /// `max_prepared_transactions`, as it last told. 0: it can take part in no transaction over
    /// several shards.
    pub max_prepared: Option<u32>,
    /// What tells its data from those of any other cluster; its standbys have the same.
    pub system_id: Option<u64>,
    /// Where in the WAL it last said to be: written on a primary, replayed on a standby.
    pub position: Option<WalPosition>,
    /// A replica has replayed every write that was answered before this moment.
    pub caught_up_to: Option<Instant>,
}

impl NodeHealth {
    /// Nothing heard yet.
    pub fn unknown() -> Self {
        Self {
            state: NodeState::Unknown,
            since: None,
            last_error: None,
            reason: None,
            lag_bytes: None,
            rtt: None,
            in_recovery: None,
            share: 100,
            timeline: None,
            max_prepared: None,
            system_id: None,
            position: None,
            caught_up_to: None,
        }
    }

    /// Whether statements are sent to the node.
    pub fn is_healthy(&self) -> bool {
        match self.state {
            NodeState::Unknown | NodeState::Up | NodeState::Suspect | NodeState::Probation => true,
            NodeState::Down => false,
        }
    }

    /// Whether it takes writes, as far as is known: it is in rotation and no standby.
    pub fn takes_writes(&self) -> bool {
        self.is_healthy() && self.in_recovery != Some(true)
    }
}
