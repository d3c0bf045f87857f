//! Where the nodes are: what their hosts stand for, asked again from time to time, and which address
//! is tried next.
//!
//! In: hosts, what a look-up finds, what became of connections. Out: the address for the next
//! attempt. The decision is [`Ways`]', one for each node, which all cores share.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pgherd_core::hosts::{Address, Attempt, Host, Ways};
use pgherd_core::settings::HostBalance;

/// Finds the addresses of a host, given with a port. Blocks.
pub(crate) type LookUp = Arc<dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// Asks the system.
pub(crate) fn system() -> LookUp {
    Arc::new(|host, port| Ok((host, port).to_socket_addrs()?.collect()))
}

/// The addresses of several places, by their index; of nodes, by their ids.
#[derive(Debug)]
pub struct Addresses {
    places: Vec<Place>,
    // Counts changes, for whoever has to leave what is gone.
    version: AtomicU64,
}

#[derive(Debug)]
struct Place {
    name: String,
    hosts: Vec<Arc<Host>>,
    // Held for a step of the machine: once for each backend that is opened, and at a look-up.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    // What each host was last found to stand for.
    found: Vec<Vec<Address>>,
    // The last look-up that found nothing.
    not_found: Option<Arc<NotFound>>,
    ways: Ways<Address>,
}

/// A host that could not be looked up.
#[derive(Debug, thiserror::Error)]
#[error("{host} was not found: {error}")]
pub(crate) struct NotFound {
    pub(crate) host: Arc<Host>,
    pub(crate) error: io::Error,
}

impl Addresses {
    /// Of places with these names and hosts, not looked up yet, and how each uses its hosts.
    pub(crate) fn new(places: impl IntoIterator<Item = (String, Vec<Host>, HostBalance)>) -> Self {
        let place = |(name, hosts, balance): (String, Vec<Host>, _)| {
            let hosts: Vec<_> = hosts.into_iter().map(Arc::new).collect();
            let state = State {
                found: vec![Vec::new(); hosts.len()],
                not_found: None,
                ways: Ways::new(balance, []),
            };
            Place { name, hosts, state: state.into() }
        };
        Self { places: places.into_iter().map(place).collect(), version: AtomicU64::new(0) }
    }

    /// Looks up every host. The last that was not found, for each place of which none was. Blocks.
    pub(crate) fn look_up(&self, look_up: &LookUp) -> Vec<(&str, Arc<NotFound>)> {
        let mut lost = Vec::new();
        for (index, place) in self.places.iter().enumerate() {
            let found = place.hosts.iter().map(|host| place.taken(resolve(host, look_up)));
            let found = found.collect();
            place.learn(found);
            lost.extend(self.not_found(index).map(|host| (place.name.as_str(), host)));
        }
        lost
    }

    /// Why nothing is known of where this place is; `None` if something is.
    pub(crate) fn not_found(&self, place: usize) -> Option<Arc<NotFound>> {
        let state = self.places[place].lock();
        state.not_found.clone().filter(|_| state.ways.iter().next().is_none())
    }

    /// See [`Ways::attempt`].
    pub(crate) fn attempt(
        &self,
        place: usize,
        tried: &[Address],
        left: Duration,
        now: Instant,
    ) -> Option<Attempt<Address>> {
        self.places[place].lock().ways.attempt(tried, left, now)
    }

    /// A connection was made there.
    pub(crate) fn opened(&self, place: usize, at: &Address) {
        self.places[place].lock().ways.opened(at);
    }

    /// A connection there failed, or was lost.
    pub(crate) fn failed(&self, place: usize, at: &Address, now: Instant) -> Failed {
        let place = &self.places[place];
        let (passed_over, has_other) = {
            let ways = &mut place.lock().ways;
            (ways.failed(at, now), ways.has_other(at, now))
        };
        let name = &place.name;
        if let Some(wait) = passed_over {
            tracing::warn!(name, address = %at, ?wait, "an address is passed over");
        }
        Failed { is_news: passed_over.is_some(), has_other }
    }

    /// Whether this is, as far as is known, an address of that place.
    pub(crate) fn contains(&self, place: usize, at: &Address) -> bool {
        self.places[place].lock().ways.contains(at)
    }

    /// The hosts of a place, and what each was last found to stand for.
    pub(crate) fn hosts(&self, place: usize) -> Vec<(Arc<Host>, Vec<Address>)> {
        let place = &self.places[place];
        let found = place.lock().found.clone();
        place.hosts.iter().cloned().zip(found).collect()
    }

    /// The host of a place that was last found to stand for this address.
    pub(crate) fn host_at(&self, place: usize, at: &Address) -> Option<&str> {
        let place = &self.places[place];
        let index = place.lock().found.iter().position(|found| found.contains(at))?;
        Some(&place.hosts[index].name)
    }

    /// Goes up when any address is gone or new.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn learn(&self, place: usize, found: Vec<Vec<Address>>) {
        if let Some(all) = self.places[place].learn(found) {
            tracing::info!(name = self.places[place].name, ?all, "has other addresses");
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

/// What it means that an address has failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Failed {
    /// It was well until now, and there are others.
    pub(crate) is_news: bool,
    /// Another one is well: it need not be the node.
    pub(crate) has_other: bool,
}

impl Place {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was found; nothing if nothing was, which is remembered.
    fn taken(&self, found: Result<Vec<Address>, NotFound>) -> Vec<Address> {
        found.unwrap_or_else(|lost| {
            let NotFound { host, error } = &lost;
            tracing::debug!(name = self.name, %host, %error, "cannot look up");
            self.lock().not_found = Some(Arc::new(lost));
            Vec::new()
        })
    }

    /// Takes in what its hosts stand for now; a host of which nothing was found stands for what it
    /// did. All addresses, if any is gone or new.
    fn learn(&self, found: Vec<Vec<Address>>) -> Option<Vec<Address>> {
        let mut state = self.lock();
        for (known, found) in state.found.iter_mut().zip(found) {
            if !found.is_empty() {
                *known = found;
            }
        }
        let all = state.found.concat();
        state.ways.follow(all.iter().cloned()).then_some(all)
    }
}

/// What a host stands for: a Unix socket for itself, any other for what is looked up. Blocks.
fn resolve(host: &Arc<Host>, look_up: &LookUp) -> Result<Vec<Address>, NotFound> {
    if let Some(socket) = Address::of_socket(host) {
        return Ok(vec![socket]);
    }
    let lost = |error| NotFound { host: Arc::clone(host), error };
    let found = look_up(&host.name, host.port).map_err(lost)?;
    if found.is_empty() {
        return Err(lost(io::ErrorKind::NotFound.into()));
    }
    Ok(found.into_iter().map(Address::Tcp).collect())
}

/// Looks up each host again: one that was found after `ttl`, never if that is zero, and one that was not
/// after `retry`; a Unix socket stands for itself. Ends when no host is ever to be looked up again.
pub(crate) async fn keep_fresh(
    addresses: Arc<Addresses>,
    look_up: LookUp,
    ttl: Duration,
    retry: Duration,
) {
    let again = |host: &Host, is_found: bool| match (is_found, ttl.is_zero()) {
        _ if host.is_socket() => None,
        (true, true) => None,
        (true, false) => Some(Instant::now() + ttl),
        (false, _) => Some(Instant::now() + retry),
    };
    let of_place = |place: &Place| -> Vec<Option<Instant>> {
        let known = &place.lock().found;
        let hosts = place.hosts.iter().zip(known);
        hosts.map(|(host, found)| again(host, !found.is_empty())).collect()
    };
    let mut due: Vec<_> = addresses.places.iter().map(of_place).collect();
    while let Some(next) = due.iter().flatten().flatten().min().copied() {
        tokio::time::sleep_until(next.into()).await;
        let now = Instant::now();
        for ((index, place), due) in addresses.places.iter().enumerate().zip(&mut due) {
            let mut all = Vec::new();
            for (host, due) in place.hosts.iter().zip(due) {
                if due.is_none_or(|at| at > now) {
                    // It stands for what it did.
                    all.push(Vec::new());
                    continue;
                }
                let found = place.taken(look_up_aside(&look_up, host).await);
                *due = again(host, !found.is_empty());
                all.push(found);
            }
            addresses.learn(index, all);
        }
    }
}

/// What a host stands for now.
async fn look_up_aside(look_up: &LookUp, host: &Arc<Host>) -> Result<Vec<Address>, NotFound> {
    let (look_up, asked) = (Arc::clone(look_up), Arc::clone(host));
    let asking = tokio::task::spawn_blocking(move || resolve(&asked, &look_up));
    asking.await.unwrap_or_else(|panic| {
        tracing::error!(%panic, "a look-up has failed");
        Err(NotFound { host: Arc::clone(host), error: io::Error::other(panic) })
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use futures_util::FutureExt;

    use super::*;

    fn tcp(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 1))
    }

    fn at(last: u8) -> Address {
        tcp(last).into()
    }

    fn of(hosts: &[&str]) -> Addresses {
        let hosts = hosts.iter().map(|name| Host { name: (*name).to_owned(), port: 1 }).collect();
        Addresses::new([("main".to_owned(), hosts, HostBalance::RoundRobin)])
    }

    #[test]
    fn a_host_that_is_not_found_stands_for_what_it_did() {
        let works = Arc::new(AtomicBool::new(true));
        let still = Arc::clone(&works);
        let look_up: LookUp = Arc::new(move |host, _| match host {
            "one" if still.load(Ordering::Relaxed) => Ok(vec![tcp(1), tcp(2)]),
            "one" => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(vec![tcp(3)]),
        });
        let addresses = of(&["one", "two"]);
        assert!(addresses.look_up(&look_up).is_empty());
        works.store(false, Ordering::Relaxed);
        assert!(addresses.look_up(&look_up).is_empty());
        assert!([1, 2, 3].into_iter().all(|last| addresses.contains(0, &at(last))));
    }

    #[test]
    fn a_unix_socket_is_not_looked_up() {
        let look_up: LookUp = Arc::new(|host, _| match host {
            "db" => Ok(vec![tcp(1)]),
            _ => panic!("`{host}` is looked up"),
        });
        let addresses = of(&["/run/postgresql", "db", "@name"]);
        assert!(addresses.look_up(&look_up).is_empty());
        let now = Instant::now();
        let mut tried = Vec::new();
        while let Some(attempt) = addresses.attempt(0, &tried, Duration::from_secs(1), now) {
            tried.push(attempt.at);
        }
        let said: Vec<String> = tried.iter().map(ToString::to_string).collect();
        assert_eq!(said, ["/run/postgresql/.s.PGSQL.1", "10.0.0.1:1", "@name/.s.PGSQL.1"]);
    }

    #[tokio::test]
    async fn a_unix_socket_is_never_due() {
        let look_up: LookUp = Arc::new(|host, _| panic!("`{host}` is looked up"));
        let addresses = of(&["/run/postgresql", "@name"]);
        addresses.look_up(&look_up);
        let short = Duration::from_millis(10);
        let keep = keep_fresh(Arc::new(addresses), look_up, short, short);
        assert!(keep.now_or_never().is_some());
    }

    #[test]
    fn it_is_said_which_place_was_not_found_at_all() {
        let look_up: LookUp = Arc::new(|_, _| Err(io::ErrorKind::TimedOut.into()));
        let addresses = of(&["one", "two"]);
        let lost = addresses.look_up(&look_up);
        assert_eq!((lost[0].0, lost[0].1.host.name.as_str()), ("main", "two"));
        let empty: LookUp = Arc::new(|_, _| Ok(Vec::new()));
        assert_eq!(addresses.look_up(&empty).len(), 1);
        let said = addresses.not_found(0).map(|lost| lost.to_string());
        assert_eq!(said.as_deref(), Some("two:1 was not found: entity not found"));
        addresses.learn(0, vec![vec![at(1)], Vec::new()]);
        assert!(addresses.not_found(0).is_none());
    }

    #[test]
    fn a_change_is_counted_and_the_same_in_another_order_is_none() {
        let addresses = of(&["one"]);
        addresses.learn(0, vec![vec![at(1), at(2)]]);
        addresses.learn(0, vec![vec![at(2), at(1)]]);
        addresses.learn(0, vec![Vec::new()]);
        assert_eq!(addresses.version(), 1);
        addresses.learn(0, vec![vec![at(2)]]);
        assert_eq!((addresses.version(), addresses.contains(0, &at(1))), (2, false));
    }
}
