use proptest::prelude::*;

use super::*;

const LIMIT: Duration = Duration::from_secs(6);

fn three(balance: HostBalance) -> Ways<char> {
    Ways::new(balance, ['a', 'b', 'c'])
}

/// The addresses that so many opens are given first.
fn firsts(ways: &mut Ways<char>, opens: usize, now: Instant) -> String {
    (0..opens).map(|_| ways.attempt(&[], LIMIT, now).unwrap().at).collect()
}

#[test]
fn opens_go_round_over_all_addresses() {
    let now = Instant::now();
    assert_eq!(firsts(&mut three(HostBalance::RoundRobin), 7, now), "abcabca");
    assert_eq!(firsts(&mut Ways::new(HostBalance::RoundRobin, ['a']), 3, now), "aaa");
}

#[test]
fn without_balancing_the_first_that_works_is_stayed_with() {
    let now = Instant::now();
    let mut ways = three(HostBalance::Disable);
    assert_eq!(firsts(&mut ways, 3, now), "aaa");
    ways.failed(&'a', now);
    assert_eq!(firsts(&mut ways, 3, now), "bbb");
    // Also once the first is there again.
    assert_eq!(firsts(&mut ways, 3, now + LONGEST), "bbb");
    ways.failed(&'b', now);
    assert_eq!(firsts(&mut ways, 2, now), "cc");
}

#[test]
fn an_address_that_failed_is_passed_over_for_longer_each_time_and_tried_by_one() {
    let mut now = Instant::now();
    let mut ways = three(HostBalance::RoundRobin);
    for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
        let wait = Duration::from_secs(expected);
        assert_eq!(ways.failed(&'b', now), Some(wait));
        // What was under way together counts once.
        assert_eq!(ways.failed(&'b', now), None);
        assert!(!firsts(&mut ways, 6, now).contains('b'));
        now += wait;
        let trial = firsts(&mut ways, 6, now);
        assert_eq!(trial.matches('b').count(), 1, "{trial}");
    }
    ways.opened(&'b');
    assert_eq!(firsts(&mut ways, 6, now).matches('b').count(), 2);
    assert_eq!(ways.failed(&'b', now), Some(FIRST));
}

#[test]
fn an_open_tries_every_address_those_passed_over_last() {
    let now = Instant::now();
    let mut ways = three(HostBalance::RoundRobin);
    ways.failed(&'c', now);
    ways.failed(&'a', now + Duration::from_millis(1));
    let mut tried = Vec::new();
    while let Some(attempt) = ways.attempt(&tried, LIMIT, now + Duration::from_millis(2)) {
        tried.push(attempt.at);
    }
    assert_eq!(tried, ['b', 'c', 'a']);
}

#[test]
fn the_time_is_shared_by_the_addresses_that_are_well() {
    let now = Instant::now();
    let mut ways = three(HostBalance::RoundRobin);
    let limit =
        |ways: &mut Ways<char>, tried: &[char], left| ways.attempt(tried, left, now).unwrap().limit;
    assert_eq!(limit(&mut ways, &[], LIMIT), LIMIT / 3);
    assert_eq!(limit(&mut ways, &['a'], LIMIT * 2 / 3), LIMIT / 3);
    ways.failed(&'a', now);
    ways.failed(&'b', now);
    assert_eq!(limit(&mut ways, &[], LIMIT), LIMIT);
    ways.failed(&'c', now);
    assert_eq!(limit(&mut ways, &['c'], LIMIT), LIMIT / 2);
    let mut one = Ways::new(HostBalance::RoundRobin, ['a']);
    one.failed(&'a', now);
    assert_eq!(limit(&mut one, &[], LIMIT), LIMIT);
}

#[test]
fn nobody_is_told_that_the_only_address_is_passed_over() {
    let now = Instant::now();
    let mut ways = Ways::new(HostBalance::RoundRobin, ['a']);
    assert_eq!(ways.failed(&'a', now), None);
    assert!(!ways.has_other(&'a', now));
    assert_eq!(firsts(&mut ways, 2, now), "aa");
}

#[test]
fn another_address_counts_only_if_it_is_well() {
    let now = Instant::now();
    let mut ways = Ways::new(HostBalance::RoundRobin, ['a', 'b']);
    assert!(ways.has_other(&'a', now));
    ways.failed(&'b', now);
    assert!(!ways.has_other(&'a', now) && ways.has_other(&'a', now + FIRST));
}

#[test]
fn addresses_that_stay_keep_their_order_and_what_is_known_of_them() {
    let now = Instant::now();
    let mut ways = three(HostBalance::RoundRobin);
    ways.failed(&'b', now);
    assert_eq!(firsts(&mut ways, 1, now), "a");
    // A name server gives its answers in any order.
    assert!(!ways.follow(['c', 'b', 'a', 'c']));
    assert!(ways.follow(['d', 'c', 'b']));
    assert_eq!(ways.iter().collect::<String>(), "bcd");
    assert_eq!(firsts(&mut ways, 4, now), "cdcd");
    assert!(ways.follow([]));
    assert_eq!(ways.attempt(&[], LIMIT, now), None);
}

proptest! {
    /// Whatever happened before, an open tries each address once and is within its time.
    #[test]
    fn an_open_tries_each_address_once(
        steps in prop::collection::vec((0..6u8, 0..5usize, 0..3000u64), 0..60),
        disabled: bool,
    ) {
        let balance = if disabled { HostBalance::Disable } else { HostBalance::RoundRobin };
        let mut ways = Ways::new(balance, 0..3usize);
        let mut now = Instant::now();
        for (kind, at, millis) in steps {
            now += Duration::from_millis(millis);
            match kind {
                0 | 1 => drop(ways.failed(&at, now)),
                2 => ways.opened(&at),
                3 => drop(ways.follow(at..5)),
                _ => drop(ways.attempt(&[at], LIMIT, now)),
            }
            let count = ways.iter().count();
            let (mut tried, mut left) = (Vec::new(), LIMIT);
            while let Some(attempt) = ways.attempt(&tried, left, now) {
                prop_assert!(!tried.contains(&attempt.at) && attempt.limit <= left);
                left -= attempt.limit;
                tried.push(attempt.at);
            }
            prop_assert_eq!(tried.len(), count);
        }
    }
}
