//! Random schedules of acquires, drops, releases and deaths, checked after each step.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire,
    LendIdle,
    PollAll,
    DropAcquire(usize),
    Release(usize),
    Dies(usize),
    Ends(usize),
    Wait(u64),
    Resize(usize),
    Upkeep,
    Checks(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Acquire),
        2 => Just(Step::LendIdle),
        3 => Just(Step::PollAll),
        2 => any::<usize>().prop_map(Step::DropAcquire),
        4 => any::<usize>().prop_map(Step::Release),
        1 => any::<usize>().prop_map(Step::Dies),
        1 => any::<usize>().prop_map(Step::Ends),
        4 => (0u64..30).prop_map(Step::Wait),
        1 => (1usize..5).prop_map(Step::Resize),
        1 => Just(Step::Upkeep),
        1 => any::<bool>().prop_map(Step::Checks),
    ]
}

type Acquiring = Pin<Box<dyn Future<Output = Result<Lent<Fake>, AcquireError>>>>;

struct Schedule {
    fake: Fake,
    pool: Pool<Fake>,
    limits: Limits,
    // Those in the queue, in the order in which they came.
    waiting: Vec<Acquiring>,
    leases: Vec<Lent<Fake>>,
    // What the limit was lowered from, until so few are open.
    ceiling: usize,
    size: usize,
}

impl Schedule {
    fn new(opens: &[Behaviour], limits: Limits) -> Self {
        let fake = Fake::new(opens);
        let pool = pool(&fake, limits);
        let (ceiling, size) = (limits.size, limits.size);
        Self { fake, pool, limits, waiting: Vec::new(), leases: Vec::new(), ceiling, size }
    }

    async fn poll_all(&mut self) {
        let mut is_somebody_waiting = false;
        let mut left = Vec::new();
        for mut acquire in self.waiting.drain(..) {
            match poll!(&mut acquire) {
                std::task::Poll::Ready(Ok(lent)) => {
                    assert!(!is_somebody_waiting, "served before one who came first");
                    self.leases.push(lent);
                }
                std::task::Poll::Ready(Err(_)) => {}
                std::task::Poll::Pending => {
                    is_somebody_waiting = true;
                    left.push(acquire);
                }
            }
        }
        self.waiting = left;
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Acquire => {
                let mut acquire: Acquiring = Box::pin(self.pool.acquire());
                match poll!(&mut acquire) {
                    std::task::Poll::Ready(Ok(lent)) => self.leases.push(lent),
                    std::task::Poll::Ready(Err(_)) => {}
                    std::task::Poll::Pending => self.waiting.push(acquire),
                }
            }
            Step::LendIdle => self.leases.extend(lend_idle(&self.pool)),
            Step::PollAll => self.poll_all().await,
            Step::DropAcquire(which) => {
                if let Some(at) = which.checked_rem(self.waiting.len()) {
                    drop(self.waiting.remove(at));
                }
            }
            Step::Release(which) => {
                if let Some(at) = which.checked_rem(self.leases.len()) {
                    drop(self.leases.swap_remove(at));
                }
            }
            Step::Dies(which) => {
                if let Some(at) = which.checked_rem(self.leases.len()) {
                    self.leases[at].is_dead.store(true, Ordering::Relaxed);
                }
            }
            Step::Ends(which) => self.fake.end(which),
            Step::Wait(time) => {
                sleep(ms(time)).await;
            }
            Step::Resize(size) => {
                let load = self.pool.load();
                self.ceiling = self.ceiling.max(load.busy + load.idle + load.opening);
                self.size = size;
                self.pool.resize(size);
            }
            Step::Upkeep => self.pool.upkeep().await,
            Step::Checks(works) => {
                self.fake.checks_from_now(Behaviour { works, ..WORKS });
            }
        }
    }

    fn check(&mut self) {
        let load = self.pool.load();
        let live = load.busy + load.idle + load.opening;
        assert!(live <= self.ceiling.max(self.size), "{load} above {}", self.ceiling);
        self.ceiling = live.max(self.size);
        assert_eq!(self.fake.live(), load.busy + load.idle, "lost or doubled: {load}");
        assert!(load.opening <= self.limits.max_opening, "{load}");
        assert!(load.idle == 0 || load.waiting == 0, "waits while a backend is idle: {load}");
        assert!(load.waiting <= self.waiting.len(), "{load}");
        // Each lease is busy, and whoever else is has been handed one and was not polled since.
        assert!(load.busy >= self.leases.len(), "{load}");
        assert!(load.busy <= self.leases.len() + self.waiting.len(), "{load}");
    }

    async fn rest(mut self) {
        self.fake.opens_from_now(WORKS);
        self.fake.checks_from_now(WORKS);
        // All who wait are served in the end, or told why not.
        while !self.waiting.is_empty() {
            self.poll_all().await;
            self.leases.clear();
            sleep(ms(10)).await;
            self.check();
        }
        self.leases.clear();
        sleep(ms(2000)).await;
        self.check();
        let load = self.pool.load();
        assert_eq!((load.busy, load.opening, load.waiting), (0, 0, 0));
        assert!(load.idle >= self.limits.min_idle.min(self.size), "{load}");
        for _ in 0..self.size {
            self.leases.push(self.pool.acquire().await.expect("no slot was lost"));
        }
        self.leases.clear();
        assert_eq!(self.pool.close_within(ms(1000)).await, 0);
        assert_eq!(self.fake.live(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]
    #[test]
    fn acquires_dropped_anywhere_in_random_schedules_lose_nothing(
        size in 1usize..5,
        (min_idle, max_opening, max_waiting) in (0usize..3, 1usize..4, 1usize..9),
        opens in prop::collection::vec((0u64..20, prop::bool::weighted(0.8)), 1..20),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        let opens: Vec<_> = opens
            .into_iter()
            .map(|(delay, works)| Behaviour { delay: ms(delay), works })
            .collect();
        let limits = Limits {
            min_idle,
            max_opening,
            max_waiting,
            idle_timeout: ms(60),
            max_lifetime: ms(300),
            check_after: ms(20),
            keepalive: Some(ms(40)),
            ..limits(size)
        };
        runtime.block_on(async {
            let mut schedule = Schedule::new(&opens, limits);
            for step in steps {
                schedule.step(step).await;
                schedule.check();
            }
            schedule.rest().await;
        });
    }
}
