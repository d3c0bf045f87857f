use proptest::prelude::*;

use super::*;

const CONFIG: GuardConfig = GuardConfig {
    most: 3,
    forgiven_in: Duration::from_secs(10),
    longest_delay: Duration::from_secs(1),
};

fn address(last: u8) -> Option<IpAddr> {
    Some(IpAddr::from([203, 0, 113, last]))
}

fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

#[test]
fn who_fails_waits_longer_each_time_and_is_barred_in_the_end() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    let delays: Vec<u128> =
        (0..6).map(|_| guard.failed(address(1), "ann", now).as_millis()).collect();
    assert_eq!(delays, [100, 200, 400, 800, 1000, 1000]);
    assert_eq!(guard.barred(address(1), "ann", now), Some(seconds(40)));
    // Heard again once two are left, and barred again by the next failure.
    let later = now + seconds(40);
    assert_eq!(guard.barred(address(1), "ann", later), None);
    guard.failed(address(1), "ann", later);
    assert_eq!(guard.barred(address(1), "ann", later), Some(seconds(10)));
    assert_eq!(guard.barred(address(1), "ann", later + seconds(30)), None);
}

#[test]
fn a_name_is_barred_nowhere_but_where_it_failed() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    for last in 1..=100 {
        guard.failed(address(last), "ann", now);
    }
    assert_eq!(guard.barred(address(101), "ann", now), None);
    assert_eq!(guard.barred(address(1), "ann", now), None);
    // But its failures are slow everywhere.
    assert_eq!(guard.failed(address(101), "ann", now), CONFIG.longest_delay);
    assert_eq!(guard.failed(address(101), "bob", now), FIRST_DELAY);
}

#[test]
fn an_address_that_tries_many_names_is_barred_from_all() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    for number in 0..30 {
        assert_eq!(guard.barred(address(1), "ann", now), None, "{number}");
        guard.failed(address(1), &format!("user-{number}"), now);
    }
    assert_eq!(guard.barred(address(1), "ann", now), Some(seconds(10)));
    assert_eq!(guard.barred(address(2), "ann", now), None);
}

#[test]
fn a_success_forgives_its_own_name_only() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    for name in ["ann", "bob"] {
        for _ in 0..3 {
            guard.failed(address(1), name, now);
        }
    }
    guard.succeeded(address(1), "ann");
    assert_eq!(guard.barred(address(1), "ann", now), None);
    assert!(guard.barred(address(1), "bob", now).is_some());
}

#[test]
fn a_network_of_ipv6_is_one_and_a_socket_none() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    let ip = |text: &str| text.parse().ok();
    for host in 1..=3 {
        guard.failed(ip(&format!("2001:db8::{host}")), "ann", now);
        guard.failed(None, "bob", now);
    }
    assert!(guard.barred(ip("2001:db8::77"), "ann", now).is_some());
    assert_eq!(guard.barred(ip("2001:db8:0:1::1"), "ann", now), None);
    assert_eq!(guard.barred(None, "bob", now), None);
    guard.failed(ip("::ffff:203.0.113.1"), "ann", now);
    assert!(guard.left(&Whose { address: address(1), name: None }, now) > Duration::ZERO);
}

#[test]
fn where_nothing_is_limited_nobody_is_barred() {
    let config = GuardConfig { most: 0, longest_delay: Duration::ZERO, ..CONFIG };
    let (mut guard, now) = (Guard::new(config), Instant::now());
    for _ in 0..100 {
        assert_eq!(guard.failed(address(1), "ann", now), Duration::ZERO);
        assert_eq!(guard.barred(address(1), "ann", now), None);
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    for number in 0..u32::try_from(3 * MOST_KEPT).unwrap() {
        guard.failed(Some(IpAddr::from(number.to_be_bytes())), &number.to_string(), now);
        assert!(guard.young.len() <= MOST_KEPT && guard.old.len() <= MOST_KEPT);
    }
    guard.failed(address(1), &"é".repeat(100), now);
    assert!(
        guard.young.keys().all(|whose| whose.name.as_ref().is_none_or(|name| name.len() <= NAME))
    );
}

#[test]
fn what_is_forgiven_is_let_go() {
    let (mut guard, now) = (Guard::new(CONFIG), Instant::now());
    for number in 0..200 {
        guard.failed(None, &number.to_string(), now + seconds(20 * number));
        assert!(guard.young.len() <= LEAST_SWEPT);
    }
}

proptest! {
    /// Whoever keeps to less than one failure in the time that forgives one is never barred, and
    /// whoever is barred is heard again in the time that was told.
    #[test]
    fn patience_is_rewarded(waits in prop::collection::vec(0u64..30, 1..60)) {
        let (mut guard, mut now) = (Guard::new(CONFIG), Instant::now());
        for wait in waits {
            now += seconds(wait);
            match guard.barred(address(1), "ann", now) {
                None => prop_assert!(guard.failed(address(1), "ann", now) <= CONFIG.longest_delay),
                Some(bar) => {
                    prop_assert!(bar <= CONFIG.forgiven_in);
                    prop_assert!(guard.barred(address(1), "ann", now + bar).is_none());
                }
            }
        }
    }
}
