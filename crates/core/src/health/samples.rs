//! Where a primary was when: what a replica has to have replayed to know a write.
//!
//! A write was answered, then the primary was asked for its position: the answer is at or behind
//! the write. A replica that has replayed up to it has replayed the write.

use std::collections::VecDeque;
use std::time::Instant;

use crate::id::NodeId;
use crate::units::WalPosition;

/// Samples kept of one primary. A replica that is further behind counts as not caught up at all.
const MOST: usize = 64;

#[derive(Debug, Clone, Copy)]
struct Sample {
    asked: Instant,
    position: WalPosition,
}

/// The newest samples of one primary.
#[derive(Debug, Clone)]
pub(super) struct Samples {
    primary: NodeId,
    // Oldest first.
    kept: VecDeque<Sample>,
}

impl Samples {
    pub(super) fn new(primary: NodeId) -> Self {
        Self { primary, kept: VecDeque::new() }
    }

    /// This node is the primary. What another one said means nothing any more.
    pub(super) fn follow(&mut self, primary: NodeId) {
        if primary != self.primary {
            *self = Self::new(primary);
        }
    }

    /// A node has said where it is. Standbys are not listened to.
    pub(super) fn note(&mut self, node: NodeId, asked: Instant, position: Option<WalPosition>) {
        let Some(position) = position.filter(|_| node == self.primary) else { return };
        if self.kept.len() == MOST {
            self.kept.pop_front();
        }
        self.kept.push_back(Sample { asked, position });
    }

    /// Every write that was answered before this moment is known to whoever has replayed this.
    pub(super) fn caught_up_to(&self, replayed: WalPosition) -> Option<Instant> {
        let known = |sample: &&Sample| replayed.has_reached(sample.position);
        self.kept.iter().rev().find(known).map(|sample| sample.asked)
    }
}
