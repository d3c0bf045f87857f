//! The async pool over a manager that opens nothing, in simulated time.

mod schedules;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::poll;
use tokio::runtime::Handle;
use tokio::time::sleep;

use super::*;
use crate::mutex::Mutex;
use crate::{ConnectError, ConnectStep};

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// What the next opens and checks do; the last one is repeated.
#[derive(Debug, Clone, Copy)]
struct Behaviour {
    delay: Duration,
    works: bool,
}

const WORKS: Behaviour = Behaviour { delay: Duration::ZERO, works: true };
const FAILS: Behaviour = Behaviour { delay: Duration::ZERO, works: false };
const NEVER: Behaviour = Behaviour { delay: Duration::from_secs(1_000_000), works: false };

#[derive(Clone)]
struct Fake(Arc<World>);

struct World {
    node: Arc<str>,
    opens: Mutex<Vec<Behaviour>>,
    check: Mutex<Behaviour>,
    checks: AtomicUsize,
    numbers: AtomicUsize,
    // Open and not closed; with what to call when one ends.
    live: Mutex<Vec<(usize, OnEnd)>>,
    closed: Mutex<Vec<(usize, CloseReason)>>,
    lends: AtomicBool,
}

type OnEnd = Option<Box<dyn FnOnce() + Send>>;

struct FakeBackend {
    number: usize,
    is_dead: AtomicBool,
}

impl Fake {
    fn new(opens: &[Behaviour]) -> Self {
        Self(Arc::new(World {
            node: "fake".into(),
            opens: Mutex::new(opens.to_vec()),
            check: Mutex::new(WORKS),
            checks: AtomicUsize::new(0),
            numbers: AtomicUsize::new(0),
            live: Mutex::default(),
            closed: Mutex::default(),
            lends: AtomicBool::new(true),
        }))
    }

    fn live(&self) -> usize {
        self.0.live.lock().len()
    }

    fn checks(&self) -> usize {
        self.0.checks.load(Ordering::Relaxed)
    }

    fn opens_from_now(&self, behaviour: Behaviour) {
        *self.0.opens.lock() = vec![behaviour];
    }

    fn checks_from_now(&self, behaviour: Behaviour) {
        *self.0.check.lock() = behaviour;
    }

    fn reasons(&self) -> Vec<CloseReason> {
        self.0.closed.lock().iter().map(|(_, reason)| *reason).collect()
    }

    /// The connection of one of the live ones ends by itself.
    fn end(&self, which: usize) {
        let on_end = {
            let mut live = self.0.live.lock();
            let Some(at) = which.checked_rem(live.len()) else { return };
            live[at].1.take()
        };
        if let Some(on_end) = on_end {
            on_end();
        }
    }
}

impl Manager for Fake {
    type Backend = FakeBackend;

    fn node(&self) -> &Arc<str> {
        &self.0.node
    }

    async fn open(
        &self,
        on_end: impl FnOnce() + Send + 'static,
    ) -> Result<FakeBackend, ConnectError> {
        let Behaviour { delay, works } = {
            let mut opens = self.0.opens.lock();
            if opens.len() > 1 { opens.remove(0) } else { opens[0] }
        };
        if !delay.is_zero() {
            sleep(delay).await;
        }
        if !works {
            let step = ConnectStep::Dial(std::io::ErrorKind::ConnectionRefused.into());
            return Err(ConnectError { node: self.0.node.clone(), address: "f:1".into(), step });
        }
        let number = self.0.numbers.fetch_add(1, Ordering::Relaxed);
        self.0.live.lock().push((number, Some(Box::new(on_end))));
        Ok(FakeBackend { number, is_dead: AtomicBool::new(false) })
    }

    fn is_alive(&self, backend: &FakeBackend) -> bool {
        !backend.is_dead.load(Ordering::Relaxed)
    }

    async fn check(&self, _: &FakeBackend) -> bool {
        self.0.checks.fetch_add(1, Ordering::Relaxed);
        let Behaviour { delay, works } = *self.0.check.lock();
        if !delay.is_zero() {
            sleep(delay).await;
        }
        works
    }

    fn may_lend(&self, _: &FakeBackend) -> bool {
        self.0.lends.load(Ordering::Relaxed)
    }

    fn fate(&self, backend: &FakeBackend) -> Fate {
        match self.is_alive(backend) {
            true => Fate::Keep,
            false => Fate::Close(CloseReason::Ended),
        }
    }

    fn close(&self, backend: FakeBackend, reason: CloseReason) {
        self.0.live.lock().retain(|(number, _)| *number != backend.number);
        self.0.closed.lock().push((backend.number, reason));
    }
}

fn limits(size: usize) -> Limits {
    Limits { size, acquire_timeout: ms(100), ..Limits::default() }
}

fn pool(fake: &Fake, limits: Limits) -> Pool<Fake> {
    Pool::new(fake.clone(), limits, Handle::current())
}

/// An acquire that does not wait.
fn lend_idle(pool: &Pool<Fake>) -> Option<Lent<Fake>> {
    let slot = pool.0.lend_idle(None)?.into_slot();
    Some(Lent::new(slot, pool.0.clone()))
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_acquire_gives_its_place_to_the_next_waiter() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, limits(1));
    let held = pool.acquire().await.unwrap();
    let (mut first, mut second) = (Box::pin(pool.acquire()), Box::pin(pool.acquire()));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(held);
    // The backend was on its way to the first.
    drop(first);
    assert!(poll!(&mut second).is_ready());
    assert_eq!((pool.load().waiting, pool.counts().opens), (0, 1));
}

/// On threads that really run at the same time: who gives up does so at any moment of a handover.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn among_threads_none_is_lent_twice_and_none_is_lost_to_those_who_give_up() {
    const SIZE: usize = 2;
    let limits = Limits { acquire_timeout: Duration::from_secs(600), ..limits(SIZE) };
    let pool = pool(&Fake::new(&[WORKS]), limits);
    let held: Arc<[AtomicBool; SIZE]> = Arc::default();
    let served = Arc::new(AtomicUsize::new(0));
    let tasks = (0..8).map(|task| {
        let (pool, held, served) = (pool.clone(), held.clone(), served.clone());
        tokio::spawn(async move {
            for turn in 0..2_000 {
                let mut acquire = Box::pin(pool.acquire());
                let lent = if (task + turn) % 3 == 0 {
                    // Woken or not, it goes a moment later.
                    let mut polled = poll!(&mut acquire);
                    for _ in 0..turn % 5 {
                        if polled.is_pending() {
                            tokio::task::yield_now().await;
                            polled = poll!(&mut acquire);
                        }
                    }
                    let std::task::Poll::Ready(lent) = polled else { continue };
                    lent.unwrap()
                } else {
                    acquire.await.unwrap()
                };
                assert!(!held[lent.number].swap(true, Ordering::AcqRel), "it is lent already");
                tokio::task::yield_now().await;
                held[lent.number].store(false, Ordering::Release);
                served.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    futures_util::future::try_join_all(tasks).await.unwrap();
    let (load, counts) = (pool.load(), pool.counts());
    assert_eq!((load.busy, load.idle, load.opening, load.waiting), (0, SIZE, 0, 0));
    let expected = (served.load(Ordering::Relaxed) as u64, SIZE as u64);
    assert_eq!((counts.acquires, counts.opens), expected);
}

#[tokio::test(start_paused = true)]
async fn an_acquire_that_waits_too_long_says_what_the_pool_held_and_why_nothing_was_opened() {
    let fake = Fake::new(&[WORKS, FAILS]);
    let pool = pool(&fake, limits(2));
    let _held = pool.acquire().await.unwrap();
    // The node is there: what is busy may come back, so an open that fails fails nobody.
    let refused = Behaviour { delay: ms(1), works: false };
    fake.opens_from_now(refused);
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::NotOpened { .. }), "nothing listens: {error}");
    fake.opens_from_now(NEVER);
    sleep(ms(2000)).await;
    let error = pool.acquire().await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        text,
        "no free backend on fake after 100ms (limit 100ms; 1 busy, 0 idle, 1 opening, 1 waiting)"
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("refused"), "{cause}");
    assert_eq!((pool.counts().timeouts, pool.load().waiting), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_more_than_may_wait_is_told_so_at_once() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, Limits { max_waiting: 1, ..limits(1) });
    let held = pool.acquire().await.unwrap();
    let mut waiting = Box::pin(pool.acquire());
    assert!(poll!(&mut waiting).is_pending());
    let error = pool.acquire().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the queue for fake is full (1 busy, 0 idle, 0 opening, 1 waiting; pool.max_waiting is 1)"
    );
    drop(held);
    drop(waiting.await.unwrap());
    assert_eq!(pool.counts().refusals, 1);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_was_idle_for_long_is_asked_and_replaced_without_failing_the_acquire() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, Limits { check_after: ms(500), ..limits(2) });
    drop(pool.acquire().await.unwrap());
    drop(pool.acquire().await.unwrap());
    assert_eq!(fake.checks(), 0, "it is fresh");
    sleep(ms(501)).await;
    assert_eq!(pool.acquire().await.unwrap().number, 0);
    assert_eq!(fake.checks(), 1);
    sleep(ms(501)).await;
    fake.checks_from_now(FAILS);
    assert_eq!(pool.acquire().await.unwrap().number, 1, "another in its place");
    assert_eq!(fake.reasons(), [CloseReason::CheckFailed]);
    // One that never answers costs a quarter of the acquire's time, and the others as old go
    // with it.
    let pair = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    drop(pair);
    sleep(ms(501)).await;
    fake.checks_from_now(NEVER);
    assert_eq!(pool.acquire().await.unwrap().number, 3);
    assert_eq!(fake.checks(), 3);
    assert_eq!(fake.live(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_idle_backend_is_lent_at_once_unless_it_has_to_be_looked_at() {
    let fake = Fake::new(&[WORKS]);
    let limits = Limits { check_after: ms(500), max_lifetime: ms(100_000), ..limits(1) };
    let pool = pool(&fake, limits);
    assert!(lend_idle(&pool).is_none(), "none is open");
    drop(pool.acquire().await.unwrap());
    let lent = lend_idle(&pool).unwrap();
    assert!(lend_idle(&pool).is_none(), "it is lent");
    lent.is_dead.store(true, Ordering::Relaxed);
    assert_eq!((pool.load().busy, pool.counts().acquires), (1, 2));
    drop(lent);
    drop(pool.acquire().await.unwrap());
    assert!(lend_idle(&pool).is_some(), "it is fresh");
    sleep(ms(501)).await;
    assert!(lend_idle(&pool).is_none(), "it is to be asked");
    assert_eq!((pool.load().busy, pool.load().idle), (0, 1));
    pool.close();
    assert!(lend_idle(&pool).is_none(), "it is closed");
}

#[tokio::test(start_paused = true)]
async fn an_idle_backend_that_is_too_old_is_not_lent_at_once() {
    let fake = Fake::new(&[WORKS]);
    let limits = Limits { max_lifetime: ms(1_000), ..limits(1) };
    let pool = pool(&fake, Limits { check_after: ms(1 << 40), ..limits });
    drop(pool.acquire().await.unwrap());
    assert!(lend_idle(&pool).is_some());
    sleep(ms(1_001)).await;
    assert!(lend_idle(&pool).is_none());
    assert_eq!((pool.load().busy, pool.load().idle), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_keeps_no_backend() {
    let fake = Fake::new(&[WORKS]);
    let is_armed = Arc::new(AtomicBool::new(false));
    let observer: hooks::Observer = {
        let is_armed = is_armed.clone();
        Arc::new(move |_: &str, event: PoolEvent<'_>| {
            let is_acquire = matches!(event, PoolEvent::Acquired { .. });
            assert!(!is_acquire || !is_armed.load(Ordering::Relaxed), "as it is meant to");
        })
    };
    let pool = Pool::observed(fake.clone(), limits(1), Handle::current(), Some(observer));
    drop(pool.acquire().await.unwrap());
    is_armed.store(true, Ordering::Relaxed);
    let lending = std::panic::AssertUnwindSafe(|| lend_idle(&pool).map(drop));
    assert!(std::panic::catch_unwind(lending).is_err());
    is_armed.store(false, Ordering::Relaxed);
    assert_eq!((pool.load().busy, pool.load().idle, fake.live()), (0, 1, 1));
    assert!(lend_idle(&pool).is_some());
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_keeps_nobody_waiting() {
    let is_armed = Arc::new(AtomicBool::new(false));
    let observer: hooks::Observer = {
        let is_armed = is_armed.clone();
        Arc::new(move |_: &str, event: PoolEvent<'_>| {
            let is_end = matches!(event, PoolEvent::Released { .. } | PoolEvent::Closed { .. });
            assert!(!is_end || !is_armed.load(Ordering::Relaxed), "as it is meant to");
        })
    };
    let fake = Fake::new(&[WORKS]);
    let pool = Pool::observed(fake.clone(), limits(1), Handle::current(), Some(observer));
    // Given back, and closed, with another opened in its place.
    for is_dead in [false, true] {
        let held = pool.acquire().await.unwrap();
        held.is_dead.store(is_dead, Ordering::Relaxed);
        let waiting = tokio::spawn(pool.acquire());
        tokio::task::yield_now().await;
        assert_eq!(pool.load().waiting, 1);
        is_armed.store(true, Ordering::Relaxed);
        let release = std::panic::AssertUnwindSafe(|| drop(held));
        assert!(std::panic::catch_unwind(release).is_err());
        is_armed.store(false, Ordering::Relaxed);
        drop(waiting.await.unwrap().unwrap());
        assert_eq!((pool.load().busy, pool.load().idle), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn backends_opened_together_do_not_die_together() {
    let fake = Fake::new(&[WORKS]);
    let limits = Limits { max_lifetime: ms(100_000), check_after: ms(1 << 40), ..limits(20) };
    let pool = pool(&fake, limits);
    let held = futures_util::future::join_all((0..20).map(|_| pool.acquire())).await;
    drop(held);
    assert_eq!(fake.live(), 20);
    sleep(ms(90_000)).await;
    pool.upkeep().await;
    assert_eq!(fake.live(), 20, "none dies before nine tenths of its life");
    let mut left = Vec::new();
    for _ in 0..10 {
        sleep(ms(1_000)).await;
        pool.upkeep().await;
        left.push(fake.live());
    }
    assert_eq!(left.last(), Some(&0));
    left.dedup();
    // 20 in ten parts at random: in three or fewer once in 10^8.
    assert!(left.len() > 3, "{left:?}");
}

#[tokio::test(start_paused = true)]
async fn the_least_number_is_opened_at_once_kept_and_refilled() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, Limits { min_idle: 2, idle_timeout: ms(1000), ..limits(4) });
    sleep(ms(1)).await;
    assert_eq!(pool.load().idle, 2);
    let four = futures_util::future::join_all((0..4).map(|_| pool.acquire())).await;
    drop(four);
    assert_eq!(pool.load().idle, 4);
    sleep(ms(1001)).await;
    pool.upkeep().await;
    assert_eq!(pool.load().idle, 2);
    fake.end(0);
    sleep(ms(1)).await;
    assert_eq!(pool.load().idle, 2);
    fake.opens_from_now(FAILS);
    fake.end(0);
    sleep(ms(1)).await;
    assert_eq!(pool.load().idle, 1);
    fake.opens_from_now(WORKS);
    sleep(ms(1000)).await;
    assert_eq!(pool.load().idle, 2, "tried again though nobody asked");
}

#[tokio::test(start_paused = true)]
async fn a_larger_pool_serves_those_who_wait_and_a_smaller_one_shrinks_as_it_can() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, limits(1));
    let first = pool.acquire().await.unwrap();
    let second = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.unwrap() }
    });
    sleep(ms(1)).await;
    pool.resize(3);
    let second = second.await.unwrap();
    drop(pool.acquire().await.unwrap());
    assert_eq!((pool.load().busy, pool.load().idle), (2, 1));
    pool.resize(1);
    assert_eq!(fake.live(), 2, "the idle one is closed at once");
    drop(first);
    assert_eq!(fake.live(), 1);
    drop(second);
    assert_eq!((fake.live(), pool.load().idle), (1, 1));
    assert_eq!(fake.reasons(), [CloseReason::Resized; 2]);
}

#[tokio::test(start_paused = true)]
async fn closing_waits_for_leases_as_long_as_it_may() {
    let fake = Fake::new(&[WORKS]);
    let pool = pool(&fake, limits(2));
    let (first, second) = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
    let mut waiting = Box::pin(pool.acquire());
    assert!(poll!(&mut waiting).is_pending());
    tokio::spawn(async move {
        sleep(ms(500)).await;
        drop(first);
    });
    assert_eq!(pool.close_within(ms(1000)).await, 1);
    assert!(matches!(waiting.await, Err(AcquireError::Closed { .. })));
    assert!(matches!(pool.acquire().await, Err(AcquireError::Closed { .. })));
    tokio::spawn(async move {
        sleep(ms(500)).await;
        drop(second);
    });
    assert_eq!(pool.close_within(ms(1000)).await, 0);
    assert_eq!(fake.reasons(), [CloseReason::PoolClosed; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_is_asked_and_stays_as_idle_as_it_was() {
    let fake = Fake::new(&[WORKS]);
    let keepalive = Some(ms(1000));
    let pool = pool(&fake, Limits { keepalive, idle_timeout: ms(2500), ..limits(2) });
    drop(pool.acquire().await.unwrap());
    sleep(ms(1000)).await;
    pool.upkeep().await;
    pool.upkeep().await;
    assert_eq!((fake.checks(), pool.load().idle), (1, 1));
    sleep(ms(1501)).await;
    pool.upkeep().await;
    assert_eq!(fake.reasons(), [CloseReason::Idle]);
    drop(pool.acquire().await.unwrap());
    fake.checks_from_now(NEVER);
    sleep(ms(1000)).await;
    pool.upkeep().await;
    assert_eq!(fake.reasons(), [CloseReason::Idle, CloseReason::CheckFailed]);
    assert_eq!(pool.load(), pgherd_core::pool::PoolLoad::default());
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_nobody_gives_back_is_reported_once_with_where_it_was_taken() {
    let fake = Fake::new(&[WORKS]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer: hooks::Observer = {
        let seen = seen.clone();
        Arc::new(move |node: &str, event: PoolEvent<'_>| {
            if let PoolEvent::Overdue { taken_at, held } = event {
                seen.lock().push((node.to_owned(), taken_at.to_string(), held));
            }
        })
    };
    let limits = Limits { leak_after: Some(ms(1000)), ..limits(2) };
    let pool = Pool::observed(fake.clone(), limits, Handle::current(), Some(observer));
    let (line, held) = (line!(), pool.acquire().await.unwrap());
    let for_one_statement = pool.acquire_at(None).await.unwrap();
    sleep(ms(999)).await;
    pool.upkeep().await;
    assert_eq!(pool.overdue(), []);
    sleep(ms(1001)).await;
    pool.upkeep().await;
    pool.upkeep().await;
    let place = format!("{}:{line}:", file!());
    let overdue = pool.overdue();
    assert_eq!(overdue.len(), 1);
    assert!(overdue[0].taken_at.starts_with(&place), "{overdue:?}, not {place}");
    assert_eq!((overdue[0].held_seconds, pool.counts().overdue), (2, 1));
    assert_eq!(seen.lock().len(), 1);
    drop((held, for_one_statement));
    assert_eq!(pool.overdue(), []);
}

#[tokio::test(start_paused = true)]
async fn each_thing_that_happens_is_told_to_the_observer() {
    let fake = Fake::new(&[Behaviour { delay: ms(3), works: true }]);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer: hooks::Observer = {
        let seen = seen.clone();
        Arc::new(move |_: &str, event: PoolEvent<'_>| seen.lock().push(format!("{event:?}")))
    };
    let pool = Pool::observed(fake.clone(), limits(1), Handle::current(), Some(observer));
    let lent = pool.acquire().await.unwrap();
    sleep(ms(7)).await;
    pool.acquire().await.unwrap_err();
    lent.is_dead.store(true, Ordering::Relaxed);
    drop(lent);
    fake.opens_from_now(FAILS);
    pool.acquire().await.unwrap_err();
    let seen = std::mem::take(&mut *seen.lock());
    assert_eq!(
        seen[0..5],
        [
            "Opened { took: 3ms }",
            "Acquired { waited: 3ms }",
            "TimedOut { waited: 100ms }",
            "Released { held: 107ms }",
            "Closed { reason: Ended }",
        ]
    );
    assert!(seen[5].starts_with("OpenFailed"), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn while_a_node_is_away_it_is_tried_rarely_and_acquires_fail_at_once() {
    let fake = Fake::new(&[FAILS]);
    let pool = pool(&fake, limits(8));
    for _ in 0..200 {
        let error = pool.acquire().await.unwrap_err();
        assert!(matches!(error, AcquireError::NotOpened { .. }), "{error}");
        sleep(ms(10)).await;
    }
    // Two seconds: tries after 0, 100, 300, 700, 1500 ms at the latest, twice as many if each
    // wait is halved by chance.
    let failed = pool.counts().failed_opens;
    assert!((5..=10).contains(&failed), "{failed}");
    fake.opens_from_now(WORKS);
    sleep(ms(1000)).await;
    drop(pool.acquire().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn an_acquire_whose_hook_refuses_every_backend_ends_with_its_time() {
    let fake = Fake::new(&[Behaviour { delay: ms(10), works: true }]);
    fake.0.lends.store(false, Ordering::Relaxed);
    let pool = pool(&fake, limits(2));
    let error = pool.acquire().await.unwrap_err();
    assert!(matches!(error, AcquireError::TimedOut { .. }), "{error}");
    let load = pool.load();
    assert_eq!((fake.live(), load.busy, load.waiting), (load.idle, 0, 0));
    fake.0.lends.store(true, Ordering::Relaxed);
    drop(pool.acquire().await.unwrap());
}

#[test]
fn a_pool_whose_runtime_has_ended_fails_acquires_instead_of_hanging() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let fake = Fake::new(&[WORKS]);
    let pool = Pool::new(fake, limits(1), runtime.handle().clone());
    let held = runtime.block_on(pool.acquire()).unwrap();
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = other.block_on(pool.acquire()).unwrap_err();
    assert!(matches!(error, AcquireError::Closed { .. }), "{error}");
    drop(held);
    drop(other.block_on(pool.acquire()).unwrap());
}

/// An acquire goes through opening, a check that fails, and another opening; dropped at each of
/// its polls it leaves nothing behind.
#[test]
fn an_acquire_that_is_dropped_at_any_of_its_polls_loses_nothing() {
    for polls in 0.. {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let is_done = runtime.block_on(async {
            let fake = Fake::new(&[Behaviour { delay: ms(2), works: true }]);
            let pool = pool(&fake, Limits { check_after: ms(10), ..limits(1) });
            drop(pool.acquire().await.unwrap());
            sleep(ms(11)).await;
            fake.checks_from_now(Behaviour { delay: ms(2), works: false });
            let mut acquire = Box::pin(pool.acquire());
            let mut lent = None;
            for _ in 0..polls {
                if let std::task::Poll::Ready(done) = poll!(&mut acquire) {
                    lent = Some(done.unwrap());
                    break;
                }
                sleep(ms(1)).await;
            }
            drop(acquire);
            let is_done = lent.is_some();
            drop(lent);
            sleep(ms(50)).await;
            let load = pool.load();
            assert_eq!((load.busy, load.opening, load.waiting), (0, 0, 0), "after {polls} polls");
            assert_eq!(fake.live(), load.idle);
            fake.checks_from_now(WORKS);
            drop(pool.acquire().await.unwrap());
            is_done
        });
        if is_done {
            assert!(polls > 4, "only {polls} polls");
            return;
        }
    }
}
