//! Who has failed to log in, how long the next failure is kept waiting for its answer, and who is not
//! heard at all for some time.
//!
//! In: failures, by address and by name, and the time. Out: a delay, or a refusal before anything is
//! looked at. Whether there is a user of that name makes no difference.
//!
//! A failure counts three times: for its address together with the name, for the address, and for the
//! name. The first two bar; a name alone only slows, or anybody could lock its owner out from
//! everywhere. Each count falls by one in [`GuardConfig::forgiven_in`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// How long the answer to the first failure is kept: doubled for each further one.
const FIRST_DELAY: Duration = Duration::from_millis(100);

/// What an address may have for all names together, in limits for one name: many programs may come
/// from one host, or through one gateway, and one of them have a wrong password.
const NAMES_PER_ADDRESS: u32 = 10;

/// Counts kept, at most twice as many; beyond them the older half is forgotten. An entry has some
/// hundred bytes.
const MOST_KEPT: usize = 20_000;

/// Counts below which nobody looks for forgiven ones.
const LEAST_SWEPT: usize = 64;

/// Bytes of a name that count: PostgreSQL's `NAMEDATALEN`, less one.
const NAME: usize = 63;

/// The limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardConfig {
    /// Failures of an address under one name at which it is barred; 0 bars nobody.
    pub most: u32,
    /// In what time one of them is forgiven.
    pub forgiven_in: Duration,
    /// The longest that an answer is kept.
    pub longest_delay: Duration,
}

/// Remembers who has failed to log in. See the module's header.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use pgherd_core::guard::{Guard, GuardConfig};
///
/// let (most, forgiven_in) = (2, Duration::from_secs(10));
/// let config = GuardConfig { most, forgiven_in, longest_delay: Duration::from_secs(2) };
/// let (mut guard, now) = (Guard::new(config), Instant::now());
/// let thief = "203.0.113.9".parse().ok();
/// assert_eq!(guard.failed(thief, "ann", now), Duration::from_millis(100));
/// assert_eq!(guard.barred(thief, "ann", now), None);
/// assert_eq!(guard.failed(thief, "ann", now), Duration::from_millis(200));
/// assert_eq!(guard.barred(thief, "ann", now), Some(Duration::from_secs(10)));
/// // Ann herself is somewhere else.
/// assert_eq!(guard.barred("203.0.113.10".parse().ok(), "ann", now), None);
/// ```
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    // What is counted goes to the young ones; when they are many, they become the old ones.
    young: HashMap<Whose, Count>,
    old: HashMap<Whose, Count>,
    // When there are so many young ones, those that are forgiven are let go.
    sweeps_at: usize,
}

/// Whose failures are counted: those of an address, of a name, or of the two together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Whose {
    address: Option<IpAddr>,
    name: Option<Box<str>>,
}

/// Failures that are not forgiven yet: as many as fit into the time until they all are.
#[derive(Debug, Clone, Copy)]
struct Count {
    forgiven_at: Instant,
}

impl Guard {
    /// Nobody has failed yet.
    pub fn new(config: GuardConfig) -> Self {
        Self { config, young: HashMap::new(), old: HashMap::new(), sweeps_at: LEAST_SWEPT }
    }

    /// Whether nobody has failed of whom anything is remembered.
    pub fn is_empty(&self) -> bool {
        self.young.is_empty() && self.old.is_empty()
    }

    /// How long a client at this address is not heard under this name, if it is not. Without an
    /// address, over a Unix socket, nobody is barred.
    pub fn barred(&self, address: Option<IpAddr>, name: &str, now: Instant) -> Option<Duration> {
        let address = address.map(network)?;
        if self.config.most == 0 {
            return None;
        }
        let both = Whose { address: Some(address), name: Some(short(name)) };
        let alone = Whose { address: Some(address), name: None };
        let all = self.config.most.saturating_mul(NAMES_PER_ADDRESS);
        [(both, self.config.most), (alone, all)]
            .into_iter()
            .filter_map(|(whose, most)| {
                let left = self.left(&whose, now);
                // As soon as it may fail once more it is heard.
                let heard_at = self.config.forgiven_in.saturating_mul(most - 1);
                (left > heard_at).then(|| left - heard_at)
            })
            .max()
    }

    /// A login has failed. How long its client is kept waiting before it is told.
    pub fn failed(&mut self, address: Option<IpAddr>, name: &str, now: Instant) -> Duration {
        let (address, name) = (address.map(network), Some(short(name)));
        let of_name = self.add(Whose { address: None, name: name.clone() }, now);
        if address.is_none() {
            return self.delay(of_name);
        }
        let of_both = self.add(Whose { address, name }, now);
        let of_address = self.add(Whose { address, name: None }, now);
        self.delay(of_name.max(of_both).max(of_address / NAMES_PER_ADDRESS))
    }

    /// A login has succeeded: what this address has failed under this name is forgiven, and no more.
    /// Whoever knows one password gets no further tries at others.
    pub fn succeeded(&mut self, address: Option<IpAddr>, name: &str) {
        let whose = Whose { address: address.map(network), name: Some(short(name)) };
        self.young.remove(&whose);
        self.old.remove(&whose);
    }

    /// Counts one more; how many that makes.
    fn add(&mut self, whose: Whose, now: Instant) -> u32 {
        let left = self.left(&whose, now) + self.config.forgiven_in;
        if self.young.len() >= MOST_KEPT && !self.young.contains_key(&whose) {
            self.old = std::mem::take(&mut self.young);
        }
        if self.young.len() >= self.sweeps_at {
            self.young.retain(|_, count| count.forgiven_at > now);
            self.old.retain(|_, count| count.forgiven_at > now);
            self.sweeps_at = LEAST_SWEPT.max(2 * self.young.len());
        }
        self.young.insert(whose, Count { forgiven_at: now + left });
        let one = self.config.forgiven_in.as_nanos().max(1);
        u32::try_from(left.as_nanos().div_ceil(one)).unwrap_or(u32::MAX)
    }

    /// In what time all failures are forgiven.
    fn left(&self, whose: &Whose, now: Instant) -> Duration {
        let count = self.young.get(whose).or_else(|| self.old.get(whose));
        count.map_or(Duration::ZERO, |count| count.forgiven_at.saturating_duration_since(now))
    }

    fn delay(&self, failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        FIRST_DELAY.saturating_mul(doubled).min(self.config.longest_delay)
    }
}

/// Whom an address belongs to: of IPv6 64 bits are one network, in which anybody has as many
/// addresses as they like.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & !u128::from(u64::MAX)).into(),
        address => address,
    }
}

/// The part of a name that counts.
fn short(name: &str) -> Box<str> {
    name[..name.floor_char_boundary(NAME)].into()
}

#[cfg(test)]
mod tests;
