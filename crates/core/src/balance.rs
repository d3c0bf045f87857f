//! Picks one of several equals in turn.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter that turns: each pick is the next one.
///
/// Shared by reference. Threads that pick at the same moment get different turns. In a loop
/// that owns a whole core, one per loop avoids sharing a cache line.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicUsize);

impl RoundRobin {
    /// A counter whose first turn is `start`, so that several loops do not move in step.
    pub const fn starting_at(start: usize) -> Self {
        Self(AtomicUsize::new(start))
    }

    /// The next turn. Wraps around.
    pub fn turn(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_one_another() {
        let turns = RoundRobin::starting_at(usize::MAX);
        assert_eq!([turns.turn(), turns.turn(), turns.turn()], [usize::MAX, 0, 1]);
    }
}
