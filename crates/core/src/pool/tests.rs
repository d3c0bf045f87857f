use super::*;
use proptest::prelude::*;

fn pool(limit: usize) -> Pool<u32, u32> {
    Pool::new(Arc::new(Slots::new(limit)))
}

#[test]
fn the_most_recently_used_backend_is_lent_first() {
    let (mut pool, now) = (pool(2), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.opened(11, now), Placed::Lent(2, 11));
    assert_eq!(pool.release(11, now), Placed::Idle);
    assert_eq!(pool.release(10, now), Placed::Idle);
    assert_eq!(pool.acquire(3, now), Acquired::Lease(10));
}

#[test]
fn above_the_limit_waiters_are_served_in_order() {
    let (mut pool, now) = (pool(1), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: false });
    assert_eq!(pool.acquire(3, now), Acquired::Queued { open: false });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.load().to_string(), "1 busy, 0 idle, 0 opening, 2 waiting");
    assert!(pool.forget(&2));
    assert_eq!(pool.release(10, now), Placed::Lent(3, 10));
}

#[test]
fn a_dead_backend_is_replaced_while_somebody_waits() {
    let (mut pool, now) = (pool(1), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: false });
    assert!(pool.closed(now), "the waiter gets a backend of its own");
    pool.open_failed(OpenFailure::Refused, now, 0.0);
    assert_eq!(pool.slots().used(), 0);
    assert!(!pool.wants_open(now), "opening is put off");
    assert!(pool.wants_open(pool.retry_at().unwrap()));
}

#[test]
fn only_what_was_idle_too_long_is_surplus() {
    let (mut pool, start) = (pool(2), Instant::now());
    assert_eq!(pool.acquire(1, start), Acquired::Queued { open: true });
    assert!(pool.forget(&1));
    assert_eq!(pool.opened(10, start), Placed::Idle);
    let limit = Duration::from_secs(60);
    assert_eq!(pool.pop_surplus(start + limit, limit), None);
    assert_eq!(pool.pop_surplus(start + limit * 2, limit), Some(10));
    assert_eq!(pool.slots().used(), 0);
}

#[test]
fn the_least_number_is_kept_open_and_refilled() {
    let bounds = Bounds { min_open: 2, ..Bounds::default() };
    let mut pool: Pool<u32, u32> = Pool::with_bounds(Arc::new(Slots::new(3)), bounds);
    let now = Instant::now();
    assert!(pool.wants_open(now) && pool.wants_open(now) && !pool.wants_open(now));
    assert_eq!(pool.opened(10, now), Placed::Idle);
    assert_eq!(pool.opened(11, now), Placed::Idle);
    let late = now + Duration::from_secs(1000);
    assert_eq!(pool.pop_surplus(late, Duration::from_secs(1)), None, "they are to stay");
    assert_eq!(pool.acquire(1, now), Acquired::Lease(11));
    assert!(!pool.wants_open(now), "a borrowed one is open too");
    assert!(pool.closed(now), "a dead one is replaced though nobody waits");
}

#[test]
fn no_more_are_opened_at_once_than_may_and_the_rest_follows() {
    let bounds = Bounds { max_opening: 1, ..Bounds::default() };
    let mut pool: Pool<u32, u32> = Pool::with_bounds(Arc::new(Slots::new(3)), bounds);
    let now = Instant::now();
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: false });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert!(pool.wants_open(now));
}

#[test]
fn one_acquire_more_than_may_wait_is_not_queued() {
    let bounds = Bounds { max_waiting: 1, ..Bounds::default() };
    let mut pool: Pool<u32, u32> = Pool::with_bounds(Arc::new(Slots::new(1)), bounds);
    let now = Instant::now();
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Full);
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.acquire(3, now), Acquired::Queued { open: false });
}

#[test]
fn who_was_lent_a_dead_backend_comes_before_those_who_came_later() {
    let (mut pool, now) = (pool(1), Instant::now());
    let later = now + Duration::from_secs(1);
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.acquire(2, later), Acquired::Queued { open: false });
    assert_eq!(pool.reacquire(1, now, later), Acquired::Queued { open: true });
    assert_eq!(pool.opened(11, later), Placed::Lent(1, 11));
}

#[test]
fn a_smaller_pool_closes_idle_backends_at_once_and_busy_ones_as_they_are_released() {
    let (mut pool, now) = (pool(3), Instant::now());
    for waiter in 1..=3 {
        assert_eq!(pool.acquire(waiter, now), Acquired::Queued { open: true });
        assert_eq!(pool.opened(waiter + 9, now), Placed::Lent(waiter, waiter + 9));
    }
    assert_eq!(pool.release(10, now), Placed::Idle);
    assert_eq!(pool.acquire(4, now), Acquired::Lease(10));
    assert_eq!(pool.release(10, now), Placed::Idle);
    pool.slots().set_limit(1);
    assert_eq!((pool.pop_excess(), pool.pop_excess()), (Some(10), None));
    assert_eq!(pool.acquire(5, now), Acquired::Queued { open: false });
    assert_eq!(pool.release(11, now), Placed::Surplus(11));
    assert_eq!(pool.release(12, now), Placed::Lent(5, 12));
    pool.slots().set_limit(2);
    assert_eq!(pool.acquire(6, now), Acquired::Queued { open: true });
}

#[test]
fn a_pool_that_is_held_lends_and_opens_nothing_until_it_goes_on() {
    let (mut pool, now) = (pool(2), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: true });
    pool.hold(true);
    assert_eq!(pool.opened(11, now), Placed::Surplus(11));
    assert_eq!(pool.acquire(3, now), Acquired::Queued { open: false });
    assert_eq!(pool.release(10, now), Placed::Surplus(10));
    assert!(!pool.wants_open(now) && pool.held_up_by(now).is_none());
    assert_eq!((pool.slots().used(), pool.load().waiting), (0, 2));
    pool.hold(false);
    assert!(pool.wants_open(now) && pool.wants_open(now));
    assert_eq!(pool.opened(12, now), Placed::Lent(2, 12));
}

#[test]
fn what_was_only_looked_at_stays_as_old_as_it_was() {
    let (mut pool, now) = (pool(2), Instant::now());
    let later = now + Duration::from_secs(1);
    for waiter in 1..=2 {
        assert_eq!(pool.acquire(waiter, now), Acquired::Queued { open: true });
        assert_eq!(pool.opened(waiter + 9, now), Placed::Lent(waiter, waiter + 9));
    }
    assert_eq!(pool.release(10, now), Placed::Idle);
    assert_eq!(pool.release(11, later), Placed::Idle);
    assert_eq!(pool.borrow_idle(|_| true), Some((10, now)));
    assert_eq!(pool.put_back(10, now), Placed::Idle);
    assert_eq!(pool.acquire(3, later), Acquired::Lease(11));
}

#[test]
fn an_acquire_is_hopeless_where_nothing_can_come_free_before_the_next_try() {
    let (mut pool, now) = (pool(2), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: true });
    pool.open_failed(OpenFailure::Refused, now, 0.0);
    assert_eq!(pool.hopeless_waiters(), 1, "the other may still be served");
    assert!(!pool.is_hopeless(now));
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert!(pool.wants_open(now), "an open that succeeds ends the wait");
    pool.open_failed(OpenFailure::Refused, now, 0.0);
    assert_eq!(pool.hopeless_waiters(), 0, "a backend is busy on a node that is there");
    assert!(!pool.is_hopeless(now));
    let later = pool.retry_at().unwrap();
    assert!(pool.wants_open(later));
    pool.open_failed(OpenFailure::NodeAway, later, 0.0);
    assert_eq!(pool.hopeless_waiters(), 1, "what is busy there is dead or dying");
    assert!(pool.is_hopeless(later));
    assert!(!pool.is_hopeless(pool.retry_at().unwrap()));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire,
    Forget(usize),
    Opened,
    OpenFailed,
    Release(usize),
    Closed(usize),
    IdleDied(usize),
    Expire,
    Move(usize),
    Reacquire(usize),
    Look(usize),
    Resize(usize),
    Sweep,
    Rest,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Acquire),
        1 => any::<usize>().prop_map(Step::Forget),
        3 => Just(Step::Opened),
        1 => Just(Step::OpenFailed),
        4 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Closed),
        1 => any::<usize>().prop_map(Step::IdleDied),
        1 => Just(Step::Expire),
        1 => any::<usize>().prop_map(Step::Move),
        1 => any::<usize>().prop_map(Step::Reacquire),
        1 => any::<usize>().prop_map(Step::Look),
        1 => (1usize..6).prop_map(Step::Resize),
        1 => Just(Step::Sweep),
        1 => Just(Step::Rest),
    ]
}

/// Two pools under one limit, as two cores have them, beside a plain account of what they said.
struct World {
    pools: [Pool<u32, u32>; 2],
    slots: Arc<Slots>,
    bounds: Bounds,
    orders: [usize; 2],
    // With whom they were lent to, and since when that one had waited.
    busy: [Vec<Lent>; 2],
    queue: [VecDeque<(u32, Instant)>; 2],
    // What the limit was lowered from, until so few are open.
    ceiling: usize,
    next: u32,
    now: Instant,
}

#[derive(Clone, Copy)]
struct Lent {
    backend: u32,
    waiter: u32,
    since: Instant,
}

impl World {
    fn new(limit: usize, bounds: Bounds) -> Self {
        let slots = Arc::new(Slots::new(limit));
        let pool = || Pool::with_bounds(Arc::clone(&slots), bounds);
        Self {
            pools: [pool(), pool()],
            slots,
            bounds,
            orders: [0; 2],
            busy: Default::default(),
            queue: Default::default(),
            ceiling: limit,
            next: 0,
            now: Instant::now(),
        }
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn lent(&mut self, core: usize, backend: u32, waiter: u32, since: Instant) {
        assert!(self.busy[core].iter().all(|lent| lent.backend != backend), "lent twice");
        self.busy[core].push(Lent { backend, waiter, since });
    }

    fn placed(&mut self, core: usize, placed: Placed<u32, u32>) {
        match placed {
            Placed::Lent(waiter, backend) => {
                let (first, since) = self.queue[core].pop_front().expect("somebody waited");
                assert_eq!(first, waiter, "served out of turn");
                self.lent(core, backend, waiter, since);
            }
            Placed::Idle => {}
            Placed::Surplus(_) => assert!(self.ceiling > self.slots.limit(), "not shrunk"),
        }
    }

    /// Takes out one of the borrowed backends.
    fn some_busy(&mut self, core: usize, which: usize) -> Option<Lent> {
        let at = which.checked_rem(self.busy[core].len())?;
        Some(self.busy[core].swap_remove(at))
    }

    fn ask_for_orders(&mut self, core: usize) {
        while self.pools[core].wants_open(self.now) {
            self.orders[core] += 1;
        }
    }

    fn step(&mut self, core: usize, step: Step) {
        self.now += Duration::from_millis(1);
        let now = self.now;
        match step {
            Step::Acquire => {
                let waiter = self.fresh();
                match self.pools[core].acquire(waiter, now) {
                    Acquired::Lease(backend) => {
                        assert!(self.queue[core].is_empty(), "overtook a waiter");
                        self.lent(core, backend, waiter, now);
                    }
                    Acquired::Queued { open } => {
                        self.queue[core].push_back((waiter, now));
                        self.orders[core] += usize::from(open);
                    }
                    Acquired::Full => {
                        assert!(self.queue[core].len() >= self.bounds.max_waiting, "not full");
                    }
                }
            }
            Step::Forget(which) => {
                if let Some(at) = which.checked_rem(self.queue[core].len()) {
                    let (waiter, _) = self.queue[core].remove(at).expect("in range");
                    assert!(self.pools[core].forget(&waiter));
                }
            }
            Step::Opened if self.orders[core] > 0 => {
                self.orders[core] -= 1;
                let backend = self.fresh();
                let placed = self.pools[core].opened(backend, now);
                self.placed(core, placed);
                self.ask_for_orders(core);
            }
            Step::OpenFailed if self.orders[core] > 0 => {
                self.orders[core] -= 1;
                self.pools[core].open_failed(OpenFailure::Refused, now, 0.5);
                assert!(!self.pools[core].wants_open(now), "opened in spite of the failure");
            }
            Step::Release(which) => {
                if let Some(lent) = self.some_busy(core, which) {
                    let placed = self.pools[core].release(lent.backend, now);
                    self.placed(core, placed);
                }
            }
            Step::Closed(which) => {
                if self.some_busy(core, which).is_some() {
                    self.orders[core] += usize::from(self.pools[core].closed(now));
                }
            }
            Step::Reacquire(which) => {
                if let Some(Lent { waiter, since, .. }) = self.some_busy(core, which) {
                    match self.pools[core].reacquire(waiter, since, now) {
                        Acquired::Lease(backend) => self.lent(core, backend, waiter, since),
                        Acquired::Queued { open } => {
                            let queue = &mut self.queue[core];
                            let at = queue.partition_point(|(_, other)| *other < since);
                            queue.insert(at, (waiter, since));
                            self.orders[core] += usize::from(open);
                        }
                        Acquired::Full => panic!("who was lent one already is never refused"),
                    }
                }
            }
            Step::IdleDied(which) => {
                let idle = self.pools[core].load().idle;
                if let Some(at) = which.checked_rem(idle) {
                    let backend = self.pools[core].idle[at].backend;
                    assert_eq!(self.pools[core].remove_idle(|b| *b == backend), Some(backend));
                    self.ask_for_orders(core);
                }
            }
            Step::Look(which) => {
                let idle = self.pools[core].load().idle;
                if let Some(at) = which.checked_rem(idle) {
                    let backend = self.pools[core].idle[at].backend;
                    let (looked_at, since) =
                        self.pools[core].borrow_idle(|b| *b == backend).expect("it is idle");
                    let placed = self.pools[core].put_back(looked_at, since);
                    self.placed(core, placed);
                }
            }
            Step::Expire => {
                let limit = Duration::from_millis(20);
                while let Some((waiter, waited)) = self.pools[core].pop_expired(now, limit) {
                    assert!(waited >= limit);
                    assert_eq!(self.queue[core].pop_front().map(|(first, _)| first), Some(waiter));
                }
            }
            Step::Move(which) if which.is_multiple_of(2) => {
                if let Some(backend) = self.pools[core].give_idle() {
                    let placed = self.pools[1 - core].adopt(backend, now);
                    self.placed(1 - core, placed);
                }
            }
            Step::Move(which) => {
                if let Some(lent) = self.some_busy(core, which) {
                    self.pools[core].give_busy();
                    let placed = self.pools[1 - core].adopt(lent.backend, now);
                    self.placed(1 - core, placed);
                }
            }
            Step::Resize(limit) => {
                self.ceiling = self.slots.used().max(limit);
                self.slots.set_limit(limit);
                for core in 0..2 {
                    while self.pools[core].pop_excess().is_some() {}
                    self.ask_for_orders(core);
                }
            }
            Step::Sweep => {
                let limit = Duration::from_millis(10);
                while self.pools[core].pop_surplus(now, limit).is_some() {}
            }
            Step::Rest => self.rest(),
            Step::Opened | Step::OpenFailed => {}
        }
    }

    /// All is given back and every order is carried out: nobody waits in the end, and as many
    /// are open as should be.
    fn rest(&mut self) {
        // Past every wait after a failure.
        self.now += Duration::from_secs(2);
        for _ in 0..1000 {
            for core in 0..2 {
                self.ask_for_orders(core);
                if self.orders[core] > 0 {
                    self.step(core, Step::Opened);
                } else {
                    self.step(core, Step::Release(0));
                }
                // The other core's idle backends may hold the slots that are needed here.
                if !self.queue[core].is_empty() && self.pools[1 - core].load().idle > 0 {
                    self.step(1 - core, Step::Move(0));
                }
                self.check();
            }
            let is_quiet = |core: usize| {
                self.orders[core] == 0 && self.busy[core].is_empty() && self.queue[core].is_empty()
            };
            if is_quiet(0) && is_quiet(1) {
                let idle = self.pools.iter().map(|pool| pool.load().idle).collect::<Vec<_>>();
                let is_full = self.slots.used() == self.slots.limit();
                let is_stocked = idle.iter().sum::<usize>() >= self.bounds.min_open;
                assert!(is_full || is_stocked, "fewer open than should be: {idle:?}");
                return;
            }
        }
        panic!("somebody is forgotten: {:?}", self.pools);
    }

    fn check(&mut self) {
        let mut live = 0;
        for (core, pool) in self.pools.iter().enumerate() {
            let load = pool.load();
            assert_eq!(load.busy, self.busy[core].len());
            assert_eq!(load.opening, self.orders[core]);
            assert_eq!(load.waiting, self.queue[core].len());
            assert!(load.opening <= self.bounds.max_opening, "too many opened at once");
            assert!(load.idle == 0 || load.waiting == 0, "waits while a backend is idle");
            live += load.busy + load.idle + load.opening;
        }
        assert_eq!(live, self.slots.used(), "live = idle + busy + opening");
        assert!(live <= self.ceiling, "above the limit");
        self.ceiling = self.slots.limit().max(live);
    }
}

#[test]
fn a_backend_that_is_not_wanted_any_more_leaves_its_slot_to_another() {
    let (mut pool, now) = (pool(1), Instant::now());
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    // Opened in vain, with somebody who waits; and given away in vain.
    assert!(pool.opened_in_vain(now));
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    pool.give_busy();
    assert!(!pool.declined(now), "nobody waits");
    assert_eq!((pool.load(), pool.slots().used()), (PoolLoad::default(), 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn ten_thousand_schedules_lose_no_backend_and_forget_no_waiter(
        limit in 1usize..5,
        (min_open, max_opening, max_waiting) in (0usize..3, 1usize..4, 1usize..9),
        steps in prop::collection::vec((0usize..2, step()), 1..60),
    ) {
        let mut world = World::new(limit, Bounds { min_open, max_opening, max_waiting, ..Bounds::default() });
        for (core, step) in steps {
            world.step(core, step);
            world.check();
        }
        world.rest();
    }
}

#[test]
fn the_backend_that_has_been_idle_longest_is_lent_where_all_are_to_be_used_alike() {
    let bounds = Bounds { reuse: Reuse::Oldest, ..Bounds::default() };
    let mut pool: Pool<u32, u32> = Pool::with_bounds(Arc::new(Slots::new(2)), bounds);
    let now = Instant::now();
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, now), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(pool.opened(11, now), Placed::Lent(2, 11));
    assert_eq!(pool.release(10, now), Placed::Idle);
    assert_eq!(pool.release(11, now), Placed::Idle);
    for expected in [10, 11, 10] {
        assert_eq!(pool.acquire(3, now), Acquired::Lease(expected));
        assert_eq!(pool.release(expected, now), Placed::Idle);
    }
}

#[test]
fn who_waits_is_told_so_once() {
    let (mut pool, start) = (pool(1), Instant::now());
    let after = Duration::from_secs(2);
    assert_eq!(pool.acquire(1, start), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(2, start + after / 2), Acquired::Queued { open: false });
    assert!(pool.untold(start + after / 2, after).is_empty());
    assert_eq!(pool.untold(start + after, after), [1]);
    assert_eq!(pool.untold(start + after * 2, after), [2]);
    assert!(pool.untold(start + after * 3, after).is_empty());
}

#[test]
fn who_would_wait_in_vain_is_told_at_once() {
    let bounds = Bounds { open_retry: Duration::from_millis(50), ..Bounds::default() };
    let mut pool: Pool<u32, u32> = Pool::with_bounds(Arc::new(Slots::new(2)), bounds);
    let (now, ms) = (Instant::now(), Duration::from_millis);
    assert_eq!(pool.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(pool.pop_hopeless(now, ms(10)), None, "it is being opened");
    pool.open_failed(OpenFailure::Refused, now, 0.0);
    assert_eq!(pool.retry_at(), Some(now + ms(50)), "the first wait is no longer than the longest");
    assert_eq!(pool.pop_hopeless(now, ms(51)), None, "the next try comes in time");
    assert_eq!(pool.pop_hopeless(now, ms(50)), Some((1, Duration::ZERO)));

    let later = now + ms(50);
    assert_eq!(pool.acquire(2, later), Acquired::Queued { open: true });
    assert_eq!(pool.acquire(3, later), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, later), Placed::Lent(2, 10));
    pool.open_failed(OpenFailure::Refused, later, 0.0);
    assert_eq!(pool.pop_hopeless(later, ms(10)), None, "another may be released");
}

#[test]
fn who_has_waited_for_long_may_use_the_reserve() {
    let after = Duration::from_secs(5);
    let bounds = Bounds { reserve_after: after, ..Bounds::default() };
    let slots = Arc::new(Slots::within(1, 1, Vec::new()));
    let mut pool: Pool<u32, u32> = Pool::with_bounds(slots, bounds);
    let start = Instant::now();
    assert_eq!(pool.acquire(1, start), Acquired::Queued { open: true });
    assert_eq!(pool.opened(10, start), Placed::Lent(1, 10));
    assert_eq!(pool.acquire(2, start), Acquired::Queued { open: false });
    assert!(!pool.wants_open(start + after / 2));
    assert!(pool.wants_open(start + after) && !pool.wants_open(start + after));
    assert_eq!(pool.opened(11, start + after), Placed::Lent(2, 11));
    // It is kept like any other, until it has been idle for long.
    assert_eq!(pool.release(11, start + after), Placed::Idle);
    assert_eq!(pool.acquire(3, start + after), Acquired::Lease(11));
}

#[test]
fn a_pool_that_a_shared_limit_holds_up_has_the_idle_backend_of_another() {
    let limit = Arc::new(Slots::new(1));
    let [mut idle, mut short] = [(); 2].map(|()| {
        let slots = Arc::new(Slots::within(2, 0, vec![Arc::clone(&limit)]));
        Pool::<u32, u32>::new(slots)
    });
    let now = Instant::now();
    assert_eq!(idle.acquire(1, now), Acquired::Queued { open: true });
    assert_eq!(idle.opened(10, now), Placed::Lent(1, 10));
    assert_eq!(short.acquire(2, now), Acquired::Queued { open: false });
    let held_up_by = Arc::clone(short.held_up_by(now).unwrap());
    assert!(Arc::ptr_eq(&held_up_by, &limit));
    assert_eq!(idle.pop_idle_for(&held_up_by), None, "it is busy");
    assert_eq!(idle.release(10, now), Placed::Idle);
    assert_eq!(idle.oldest_idle(), Some(now));
    assert_eq!(idle.pop_idle_for(&held_up_by), Some(10));
    assert!(short.held_up_by(now).is_none());
    assert!(short.wants_open(now));
}

#[test]
fn pools_that_share_their_slots_keep_the_least_number_together() {
    let bounds = Bounds { min_open: 2, ..Bounds::default() };
    let slots = Arc::new(Slots::new(5));
    let [mut here, mut there] =
        [(); 2].map(|()| Pool::<u32, u32>::with_bounds(Arc::clone(&slots), bounds));
    let now = Instant::now();
    assert!(here.wants_open(now) && there.wants_open(now));
    assert!(!here.wants_open(now) && !there.wants_open(now));
    assert_eq!(here.opened(10, now), Placed::Idle);
    here.keep_open(0);
    let late = now + Duration::from_secs(60);
    assert_eq!(here.pop_surplus(late, Duration::from_secs(1)), Some(10));
}
