//! Deadlocks between transactions that meet on several nodes, which no node sees.
//!
//! In: who waits for whom, joined over the nodes. Out: who is to give way.

use std::collections::{BTreeMap, BTreeSet};

/// Number of a transaction; the higher, the younger.
pub type Number = u64;

/// Who waits for whom.
pub type Waits = BTreeMap<Number, BTreeSet<Number>>;

/// The transactions that have to give way so that no cycle is left: of each cycle the youngest,
/// because it has done the least. Empty when nobody waits in a circle.
pub fn victims(waits: &Waits) -> BTreeSet<Number> {
    let mut waits = waits.clone();
    let mut victims = BTreeSet::new();
    while let Some(cycle) = find_cycle(&waits) {
        let youngest = *cycle.last().expect("a cycle has at least one transaction");
        waits.remove(&youngest);
        victims.insert(youngest);
    }
    victims
}

/// The transactions of one cycle. Looks at each wait once, with a stack of its own.
fn find_cycle(waits: &Waits) -> Option<BTreeSet<Number>> {
    let holders = |number: &Number| -> Vec<Number> {
        waits.get(number).into_iter().flatten().copied().collect()
    };
    // Those that have been seen to lead to no cycle.
    let mut cleared = BTreeSet::new();
    for start in waits.keys() {
        let mut path = vec![(*start, holders(start))];
        while let Some((number, unseen)) = path.last_mut() {
            let Some(next) = unseen.pop() else {
                cleared.insert(*number);
                path.pop();
                continue;
            };
            if let Some(at) = path.iter().position(|(before, _)| *before == next) {
                return Some(path[at..].iter().map(|(number, _)| *number).collect());
            }
            if !cleared.contains(&next) {
                path.push((next, holders(&next)));
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(edges: &[(Number, Number)]) -> Waits {
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
        let queue: Vec<(Number, Number)> =
            (1..200).flat_map(|waiter| (0..waiter).map(move |holder| (waiter, holder))).collect();
        assert_eq!(victims(&waits(&queue)), BTreeSet::new());
    }

    proptest! {
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
                let waiting: BTreeSet<Number> = waits.keys().copied().collect();
                waits.retain(|_, holders| holders.iter().any(|holder| waiting.contains(holder)));
                if waits.len() == before {
                    break;
                }
            }
            prop_assert_eq!(waits, Waits::new());
        }
    }
}
