//! Decides which node of a group is its primary, from what the nodes say of themselves.
//!
//! In: what is believed of each node. Out: the primary, and what has changed in the group.
//!
//! pgherd promotes nobody. It follows a node that says that it is no standby and whose timeline
//! shows that it was promoted after the primary so far; timelines only count within one system
//! identifier.
//!
//! | The primary so far                         | Another node takes writes              | Then           |
//! |--------------------------------------------|----------------------------------------|----------------|
//! | takes writes                               | proven same system, higher timeline    | that one leads |
//! | is down or a standby                       | not another system, higher timeline    | that one leads |
//! | is down or a standby, timeline never heard | not another system; the highest of all | that one leads |
//! | any                                        | anything else                          | it is fenced   |

use super::NodeHealth;
use crate::id::{GroupId, NodeId};
use crate::topology::Group;

/// What has changed in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupTransition {
    /// Another node is its primary now.
    Followed {
        /// The primary before.
        from: NodeId,
        /// The primary now.
        to: NodeId,
        /// The timeline of the new one.
        timeline: Option<u32>,
    },
    /// It has no node that takes writes.
    PrimaryLost {
        /// The last one.
        primary: NodeId,
    },
    /// Its primary takes writes again.
    PrimaryBack {
        /// Which.
        primary: NodeId,
    },
    /// A node takes writes and is not the primary: nothing is sent to it.
    Fenced {
        /// Which.
        node: NodeId,
    },
}

/// The opinion of one group.
#[derive(Debug, Clone)]
pub struct GroupWatch {
    id: GroupId,
    members: Vec<NodeId>,
    primary: NodeId,
    // What the primary last said while it took writes: stays when it is gone.
    timeline: Option<u32>,
    system_id: Option<u64>,
    has_primary: bool,
    // Those in rotation that take writes and should not.
    fenced: Vec<NodeId>,
}

impl GroupWatch {
    /// Nothing heard yet: the primary is the one of `group`.
    pub fn new(group: &Group) -> Self {
        let mut members: Vec<NodeId> = group.members().collect();
        members.sort_unstable();
        Self {
            id: group.id,
            members,
            primary: group.primary,
            timeline: None,
            system_id: None,
            has_primary: true,
            fenced: Vec::new(),
        }
    }

    /// Which group it is.
    pub fn id(&self) -> GroupId {
        self.id
    }

    /// The primary, or the last there was.
    pub fn primary(&self) -> NodeId {
        self.primary
    }

    /// Looks at the nodes anew; see the table of this module.
    pub fn look<'h>(&mut self, health: impl Fn(NodeId) -> &'h NodeHealth) -> Vec<GroupTransition> {
        let mut changes = Vec::new();
        self.note_primary(health(self.primary));
        if let Some(to) = self.successor(&health) {
            let from = std::mem::replace(&mut self.primary, to);
            self.note_primary(health(to));
            changes.push(GroupTransition::Followed { from, to, timeline: self.timeline });
            // Said by the line above.
            self.has_primary = true;
        }
        let primary = self.primary;
        let had_primary = std::mem::replace(&mut self.has_primary, health(primary).takes_writes());
        match (had_primary, self.has_primary) {
            (true, false) => changes.push(GroupTransition::PrimaryLost { primary }),
            (false, true) => changes.push(GroupTransition::PrimaryBack { primary }),
            _ => {}
        }
        let others = self.members.iter().copied().filter(|id| *id != primary);
        let fenced: Vec<NodeId> = others.filter(|id| is_seen_writing(health(*id))).collect();
        let new = fenced.iter().copied().filter(|id| !self.fenced.contains(id));
        changes.extend(new.map(|node| GroupTransition::Fenced { node }));
        self.fenced = fenced;
        changes
    }

    fn note_primary(&mut self, primary: &NodeHealth) {
        if is_seen_writing(primary) {
            self.timeline = primary.timeline.or(self.timeline);
            self.system_id = primary.system_id.or(self.system_id);
        }
    }

    fn successor<'h>(&self, health: &impl Fn(NodeId) -> &'h NodeHealth) -> Option<NodeId> {
        let is_led = health(self.primary).takes_writes();
        let others = self.members.iter().copied().filter(|id| *id != self.primary);
        let mut best: Option<(NodeId, Option<u32>)> = None;
        for id in others {
            let node = health(id);
            let is_same_system = match (self.system_id, node.system_id) {
                (Some(own), Some(other)) => own == other,
                // A primary that is there is left only for proof.
                _ => !is_led,
            };
            let is_better = best.is_none_or(|(_, timeline)| node.timeline > timeline);
            if is_seen_writing(node) && is_same_system && is_better {
                best = Some((id, node.timeline));
            }
        }
        let (id, timeline) = best?;
        let follows = match (self.timeline, timeline) {
            (Some(own), Some(other)) => other > own,
            (Some(_), None) => false,
            (None, _) => !is_led,
        };
        follows.then_some(id)
    }
}

/// Whether a node is in rotation and has said that it is no standby.
fn is_seen_writing(health: &NodeHealth) -> bool {
    health.is_healthy() && health.in_recovery == Some(false)
}

#[cfg(test)]
mod tests;
