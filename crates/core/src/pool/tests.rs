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
    assert!(pool.closed(), "the waiter gets a backend of its own");
    pool.open_failed();
    assert_eq!(pool.slots().used(), 0);
    assert!(pool.wants_open());
}

#[test]
fn only_what_was_idle_too_long_is_surplus() {
    let (mut pool, start) = (pool(2), Instant::now());
    assert!(pool.warm());
    assert_eq!(pool.opened(10, start), Placed::Idle);
    let limit = Duration::from_secs(60);
    assert_eq!(pool.pop_surplus(start + limit, limit), None);
    assert_eq!(pool.pop_surplus(start + limit * 2, limit), Some(10));
    assert_eq!(pool.slots().used(), 0);
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
    ]
}

/// Two pools under one limit, as two cores have them, beside a plain account of what they said.
struct World {
    pools: [Pool<u32, u32>; 2],
    slots: Arc<Slots>,
    orders: [usize; 2],
    busy: [Vec<u32>; 2],
    queue: [VecDeque<u32>; 2],
    next: u32,
    now: Instant,
}

impl World {
    fn new(limit: usize) -> Self {
        let slots = Arc::new(Slots::new(limit));
        Self {
            pools: [Pool::new(Arc::clone(&slots)), Pool::new(Arc::clone(&slots))],
            slots,
            orders: [0; 2],
            busy: Default::default(),
            queue: Default::default(),
            next: 0,
            now: Instant::now(),
        }
    }

    fn fresh(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    fn placed(&mut self, core: usize, placed: Placed<u32, u32>) {
        if let Placed::Lent(waiter, backend) = placed {
            assert_eq!(self.queue[core].pop_front(), Some(waiter), "served out of turn");
            assert!(!self.busy[core].contains(&backend), "lent twice");
            self.busy[core].push(backend);
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
                        self.busy[core].push(backend);
                    }
                    Acquired::Queued { open } => {
                        self.queue[core].push_back(waiter);
                        self.orders[core] += usize::from(open);
                    }
                }
            }
            Step::Forget(which) => {
                if let Some(at) = which.checked_rem(self.queue[core].len()) {
                    let waiter = self.queue[core].remove(at).expect("in range");
                    assert!(self.pools[core].forget(&waiter));
                }
            }
            Step::Opened if self.orders[core] > 0 => {
                self.orders[core] -= 1;
                let backend = self.fresh();
                let placed = self.pools[core].opened(backend, now);
                self.placed(core, placed);
            }
            Step::OpenFailed if self.orders[core] > 0 => {
                self.orders[core] -= 1;
                self.pools[core].open_failed();
            }
            Step::Release(which) => {
                if let Some(at) = which.checked_rem(self.busy[core].len()) {
                    let backend = self.busy[core].swap_remove(at);
                    let placed = self.pools[core].release(backend, now);
                    self.placed(core, placed);
                }
            }
            Step::Closed(which) => {
                if let Some(at) = which.checked_rem(self.busy[core].len()) {
                    self.busy[core].swap_remove(at);
                    self.orders[core] += usize::from(self.pools[core].closed());
                }
            }
            Step::IdleDied(which) => {
                let idle = self.pools[core].load().idle;
                if let Some(at) = which.checked_rem(idle) {
                    let backend = self.pools[core].idle[at].backend;
                    assert_eq!(self.pools[core].remove_idle(|b| *b == backend), Some(backend));
                }
            }
            Step::Expire => {
                let limit = Duration::from_millis(20);
                while let Some((waiter, waited)) = self.pools[core].pop_expired(now, limit) {
                    assert!(waited >= limit);
                    assert_eq!(self.queue[core].pop_front(), Some(waiter));
                }
            }
            Step::Move(which) if which.is_multiple_of(2) => {
                if let Some(backend) = self.pools[core].give_idle() {
                    let placed = self.pools[1 - core].adopt(backend, now);
                    self.placed(1 - core, placed);
                }
            }
            Step::Move(which) => {
                if let Some(at) = which.checked_rem(self.busy[core].len()) {
                    let backend = self.busy[core].swap_remove(at);
                    self.pools[core].give_busy();
                    let placed = self.pools[1 - core].adopt(backend, now);
                    self.placed(1 - core, placed);
                }
            }
            Step::Opened | Step::OpenFailed => {}
        }
    }

    fn check(&self) {
        let mut live = 0;
        for (core, pool) in self.pools.iter().enumerate() {
            let load = pool.load();
            assert_eq!(load.busy, self.busy[core].len());
            assert_eq!(load.opening, self.orders[core]);
            assert_eq!(load.waiting, self.queue[core].len());
            assert!(load.idle == 0 || load.waiting == 0, "waits while a backend is idle");
            live += load.busy + load.idle + load.opening;
        }
        assert_eq!(live, self.slots.used(), "live = idle + busy + opening");
        assert!(live <= self.slots.limit(), "above the limit");
    }
}

proptest! {
    #[test]
    fn no_order_of_events_breaks_the_account(
        limit in 1usize..5,
        steps in prop::collection::vec((0usize..2, step()), 1..200),
    ) {
        let mut world = World::new(limit);
        for (core, step) in steps {
            world.step(core, step);
            world.check();
        }
    }
}
