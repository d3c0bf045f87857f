//! Deadlocks between transactions that meet on several nodes, which no node sees.
//!
//! In: who waits for whom, joined over the nodes. Out: who is to give way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// Who waits for whom.
pub type Waits<T> = BTreeMap<T, BTreeSet<T>>;

/// Those that have to give way so that no cycle is left: of each cycle the greatest, which
/// should be the youngest, because it has done the least. Empty when nobody waits in a circle.
pub fn victims<T: Ord + Clone>(waits: &Waits<T>) -> BTreeSet<T> {
    let mut waits = waits.clone();
    let mut victims = BTreeSet::new();
    while let Some(cycle) = find_cycle(&waits) {
        let youngest = cycle.last().expect("a cycle has at least one member").clone();
        waits.remove(&youngest);
        victims.insert(youngest);
    }
    victims
}

/// The members of one cycle. Looks at each wait once, with a stack of its own.
fn find_cycle<T: Ord + Clone>(waits: &Waits<T>) -> Option<BTreeSet<T>> {
    let holders =
        |waiter: &T| -> Vec<T> { waits.get(waiter).into_iter().flatten().cloned().collect() };
    // Those that have been seen to lead to no cycle.
    let mut cleared = BTreeSet::new();
    for start in waits.keys() {
        let mut path = vec![(start.clone(), holders(start))];
        while let Some((waiter, unseen)) = path.last_mut() {
            let Some(next) = unseen.pop() else {
                cleared.insert(waiter.clone());
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(before, _)| *before == next) {
                return Some(path[at..].iter().map(|(member, _)| member.clone()).collect());
            }
            if !cleared.contains(&next) {
                let further = holders(&next);
                path.push((next, further));
            }
        }
    }
    None
}

/// The name of an open transaction that all its sessions carry as their `application_name`, so
/// that every process can tell which sessions of different nodes are one.
///
/// Prints as `pgherd txn 0006342f0a1b2c3d 1a2b3c4d 17`, and reads back. The later one began, the
/// greater it is, as far as the clocks agree; all processes order two of them alike.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// When it began: microseconds since 1970, by the clock of its process.
    pub began_micros: u64,
    /// The name of its process.
    pub instance: String,
    /// Its number there.
    pub number: u64,
}

impl Tag {
    /// What every tag begins with.
    pub const PREFIX: &str = "pgherd txn ";
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { began_micros, instance, number } = self;
        write!(f, "{}{began_micros:016x} {instance} {number}", Self::PREFIX)
    }
}

/// A text that is no tag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no distributed transaction")]
pub struct BadTag(String);

impl FromStr for Tag {
    type Err = BadTag;

    fn from_str(text: &str) -> Result<Self, BadTag> {
        let read = || {
            let mut words = text.strip_prefix(Self::PREFIX)?.split(' ');
            let tag = Self {
                began_micros: u64::from_str_radix(words.next()?, 16).ok()?,
                instance: words.next()?.to_owned(),
                number: words.next()?.parse().ok()?,
            };
            (words.next().is_none() && tag.to_string() == text).then_some(tag)
        };
        read().ok_or_else(|| BadTag(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(edges: &[(u64, u64)]) -> Waits<u64> {
        let mut waits = Waits::new();
        for (waiter, holder) in edges {
            waits.entry(*waiter).or_default().insert(*holder);
        }
        waits
    }

    #[test]
    fn the_youngest_of_a_circle_gives_way_and_nobody_else() {
        assert_eq!(victims(&waits(&[(1, 2), (2, 3)])), BTreeSet::new());
        assert_eq!(victims(&waits(&[(1, 2), (2, 1), (3, 1)])), BTreeSet::from([2]));
        assert_eq!(victims(&waits(&[(5, 1), (1, 4), (4, 5), (9, 5)])), BTreeSet::from([5]));
        // Two circles that share nobody.
        let two = [(1, 2), (2, 1), (3, 4), (4, 3)];
        assert_eq!(victims(&waits(&two)), BTreeSet::from([2, 4]));
        // One that waits in two circles is enough.
        let shared = [(1, 9), (9, 1), (2, 9), (9, 2)];
        assert_eq!(victims(&waits(&shared)), BTreeSet::from([9]));
        assert_eq!(victims(&waits(&[(7, 7)])), BTreeSet::from([7]));
    }

    #[test]
    fn a_long_queue_is_no_deadlock_and_takes_no_time() {
        // Each waits for all before it, as in the queue for one lock: 2^200 paths.
        let queue: Vec<(u64, u64)> =
            (1..200).flat_map(|waiter| (0..waiter).map(move |holder| (waiter, holder))).collect();
        assert_eq!(victims(&waits(&queue)), BTreeSet::new());
    }

    #[test]
    fn a_tag_fits_where_it_is_kept_and_reads_back() {
        let tag = Tag { began_micros: u64::MAX, instance: "0123abcd".to_owned(), number: u64::MAX };
        // NAMEDATALEN - 1.
        assert!(tag.to_string().len() < 64, "{tag}");
        assert_eq!(tag.to_string().parse(), Ok(tag.clone()));
        let earlier = Tag { began_micros: 7, ..tag.clone() };
        assert!(earlier < tag && earlier.to_string() < tag.to_string());
        let odd =
            ["", "pgherd txn ", "pgherd txn 1 a 1", "psql", "pgherd txn 0000000000000001 a 1 2"];
        for text in odd {
            assert!(text.parse::<Tag>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_tag_is_read_from_no_other_text(text in "(pgherd txn )?.*") {
            if let Ok(tag) = text.parse::<Tag>() {
                prop_assert_eq!(tag.to_string(), text);
            }
        }

        #[test]
        fn without_the_victims_nobody_waits_in_a_circle(
            edges in prop::collection::vec((0u64..8, 0u64..8), 0..24),
        ) {
            let mut waits = waits(&edges);
            let victims = victims(&waits);
            victims.iter().for_each(|victim| drop(waits.remove(victim)));
            // Whoever waits for nobody is done; in the end everybody is.
            loop {
                let before = waits.len();
                let waiting: BTreeSet<u64> = waits.keys().copied().collect();
                waits.retain(|_, holders| holders.iter().any(|holder| waiting.contains(holder)));
                if waits.len() == before {
                    break;
                }
            }
            prop_assert!(waits.is_empty(), "{:?}", waits);
        }
    }
}
