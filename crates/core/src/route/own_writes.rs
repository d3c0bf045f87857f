//! What a session has written, so that it reads it back.

use std::time::Instant;

use crate::id::GroupId;
use crate::topology::NodeHealth;
use crate::units::WalPosition;

/// The newest write of a session in each group. Empty for one that has written nothing.
///
/// Grows to the number of groups, and no further.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnWrites(Vec<Mark>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    group: GroupId,
    /// When the newest write of this process was answered.
    answered: Option<Instant>,
    /// Where the writes of another process end.
    position: Option<WalPosition>,
}

impl OwnWrites {
    /// A write in this group was answered at this moment, or may have happened by then.
    pub fn wrote(&mut self, group: GroupId, answered: Instant) {
        let mark = self.mark(group);
        mark.answered = mark.answered.max(Some(answered));
    }

    /// Somebody has written in this group, up to here.
    pub fn wrote_up_to(&mut self, group: GroupId, position: WalPosition) {
        let mark = self.mark(group);
        if mark.position.is_none_or(|known| !known.has_reached(position)) {
            mark.position = Some(position);
        }
    }

    /// The groups with writes.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + '_ {
        self.0.iter().map(|mark| mark.group)
    }

    /// Whether a replica of this group, in this health, has replayed all that the session wrote.
    pub fn are_on(&self, group: GroupId, replica: &NodeHealth) -> bool {
        let Some(mark) = self.0.iter().find(|mark| mark.group == group) else { return true };
        let has_replayed = |position| replica.position.is_some_and(|at| at.has_reached(position));
        mark.answered.is_none_or(|answered| replica.caught_up_to > Some(answered))
            && mark.position.is_none_or(has_replayed)
    }

    fn mark(&mut self, group: GroupId) -> &mut Mark {
        let at = match self.0.iter().position(|mark| mark.group == group) {
            Some(at) => at,
            None => {
                self.0.push(Mark { group, answered: None, position: None });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::ShardId;
    use crate::units::Lsn;

    const HERE: GroupId = GroupId::Coordinator;

    fn at(timeline: u32, lsn: u64) -> WalPosition {
        WalPosition { timeline: Some(timeline), lsn: Lsn(lsn) }
    }

    #[test]
    fn a_replica_that_was_asked_after_the_newest_write_has_it() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let replica = |up_to| NodeHealth { caught_up_to: Some(up_to), ..NodeHealth::unknown() };
        let mut own = OwnWrites::default();
        assert!(own.are_on(HERE, &NodeHealth::unknown()));
        own.wrote(HERE, start);
        own.wrote(HERE, start + second);
        own.wrote(HERE, start);
        assert!(!own.are_on(HERE, &NodeHealth::unknown()));
        assert!(!own.are_on(HERE, &replica(start + second)), "asked when it was answered");
        assert!(own.are_on(HERE, &replica(start + second * 2)));
        assert!(own.are_on(GroupId::Shard(ShardId(0)), &NodeHealth::unknown()));
        assert_eq!(own.groups().collect::<Vec<_>>(), [HERE]);
    }

    #[test]
    fn writes_of_another_process_are_known_by_their_position() {
        let replica = |position| NodeHealth { position: Some(position), ..NodeHealth::unknown() };
        let mut own = OwnWrites::default();
        own.wrote_up_to(HERE, at(1, 100));
        own.wrote_up_to(HERE, at(1, 90));
        assert!(!own.are_on(HERE, &NodeHealth::unknown()));
        assert!(!own.are_on(HERE, &replica(at(1, 99))));
        assert!(own.are_on(HERE, &replica(at(1, 100))));
        assert!(own.are_on(HERE, &replica(at(2, 10))), "a later timeline has all that is left");
        own.wrote_up_to(HERE, at(2, 50));
        assert!(!own.are_on(HERE, &replica(at(1, 999))));
        let unknown = WalPosition { timeline: None, lsn: Lsn(999) };
        assert!(!own.are_on(HERE, &replica(unknown)));
        // Both kinds together.
        own.wrote(HERE, Instant::now());
        assert!(!own.are_on(HERE, &replica(at(2, 50))));
    }
}
