//! Whose turn it is, and numbers that follow from it.

use std::sync::atomic::{AtomicUsize, Ordering};

/// A counter that turns. Threads that ask at the same moment get different turns.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicUsize);

impl Turns {
    pub(super) const fn starting_at(start: usize) -> Self {
        Self(AtomicUsize::new(start))
    }

    /// The next turn. Wraps around.
    pub(super) fn turn(&self) -> usize {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// A point between 0 and 2^64 for each turn, such that the points of any run of turns lie
/// evenly: steps of the golden ratio never come close to where they have just been.
pub(super) fn spread(turn: usize) -> u64 {
    (turn as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A point between 0 and 2^64 for each turn that nobody would guess from the last one
/// (the finisher of SplitMix64).
pub(super) fn mix(turn: usize) -> u64 {
    let mut bits = spread(turn);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

/// A point between 0 and 2^64 as a number below `limit`.
pub(super) fn below(point: u64, limit: usize) -> usize {
    ((u128::from(point) * limit as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_follow_one_another() {
        let turns = Turns::starting_at(usize::MAX);
        assert_eq!([turns.turn(), turns.turn(), turns.turn()], [usize::MAX, 0, 1]);
    }

    #[test]
    fn points_below_a_limit_reach_all_of_it_and_no_more() {
        assert_eq!((below(0, 7), below(u64::MAX, 7), below(u64::MAX, 1)), (0, 6, 0));
    }
}
