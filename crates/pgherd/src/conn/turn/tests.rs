use std::sync::atomic::{AtomicBool, AtomicUsize};

use proptest::prelude::*;

use super::*;

/// A task that was woken, or not.
#[derive(Default)]
struct Woken(AtomicBool);

impl Woken {
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A line with a task, and callers who wait for one answer each.
struct World {
    turn: Turn,
    // Bytes that have come and were not moved.
    bytes: AtomicUsize,
    // Answers that were moved and not taken.
    answers: AtomicUsize,
    // Whoever waits for an answer is woken by this.
    waits: std::sync::Mutex<Vec<Waker>>,
    task: Arc<Woken>,
}

impl World {
    fn new() -> Self {
        let world = Self {
            turn: Turn::new(),
            bytes: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
            waits: std::sync::Mutex::default(),
            task: Arc::new(Woken::default()),
        };
        world.run_task();
        world
    }

    fn bytes_come(&self) {
        self.bytes.fetch_add(1, Ordering::SeqCst);
        self.turn.moves().waker().wake_by_ref();
    }

    fn move_bytes(&self) {
        if !self.turn.begin() {
            return;
        }
        let moved = self.bytes.swap(0, Ordering::SeqCst);
        self.answers.fetch_add(moved, Ordering::SeqCst);
        if moved > 0 {
            self.waits.lock().unwrap().drain(..).for_each(Waker::wake);
        }
    }

    fn run_task(&self) {
        let waker = self.task.clone().into();
        if self.turn.is_the_tasks(&Context::from_waker(&waker)) {
            self.move_bytes();
        }
    }

    fn wait(&self, cx: &Context<'_>) -> Poll<()> {
        self.waits.lock().unwrap().push(cx.waker().clone());
        let take = |answers: usize| answers.checked_sub(1);
        match self.answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(_) => Poll::Ready(()),
            Err(_) => Poll::Pending,
        }
    }
}

struct Waiting<'w> {
    world: &'w World,
    caller: Caller<'w>,
    woken: Arc<Woken>,
}

impl<'w> Waiting<'w> {
    fn enter(world: &'w World) -> Self {
        Self { world, caller: world.turn.enter(), woken: Arc::new(Woken::default()) }
    }

    fn poll(&mut self) -> Poll<()> {
        let (world, waker) = (self.world, self.woken.clone().into());
        let cx = &mut Context::from_waker(&waker);
        self.caller.poll(cx, |cx| world.wait(cx), || world.move_bytes())
    }
}

#[test]
fn a_caller_who_waits_is_woken_instead_of_the_task() {
    let world = World::new();
    let mut caller = Waiting::enter(&world);
    assert!(caller.poll().is_pending());
    world.bytes_come();
    assert!(caller.woken.take());
    assert!(!world.task.take());
    assert!(caller.poll().is_ready());
    drop(caller);
    assert!(!world.task.take(), "nothing was left to do");
}

#[test]
fn what_a_caller_leaves_undone_wakes_the_task() {
    let world = World::new();
    let mut caller = Waiting::enter(&world);
    assert!(caller.poll().is_pending());
    world.bytes_come();
    drop(caller);
    assert!(world.task.take());
    world.run_task();
    assert_eq!(world.answers.load(Ordering::SeqCst), 1);
}

#[test]
fn a_second_caller_gives_the_turn_to_the_task_until_both_have_gone() {
    let world = World::new();
    let mut first = Waiting::enter(&world);
    assert!(first.poll().is_pending());
    let mut second = Waiting::enter(&world);
    assert!(world.task.take());
    world.run_task();
    assert!(second.poll().is_pending());
    world.bytes_come();
    assert!(world.task.take());
    world.run_task();
    // Whoever comes first has it; the first is not polled, and the second need not wait for it.
    assert!(second.woken.take());
    assert!(second.poll().is_ready());
    drop((first, second));
    let mut third = Waiting::enter(&world);
    assert!(third.poll().is_pending());
    world.bytes_come();
    assert!(third.woken.take());
}

#[test]
fn what_comes_while_the_caller_runs_wakes_nobody_and_is_seen() {
    let world = World::new();
    let mut caller = world.turn.enter();
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    let mut has_sent = false;
    let wait = |cx: &mut Context<'_>| {
        let polled = world.wait(cx);
        if !std::mem::replace(&mut has_sent, true) {
            world.bytes_come();
        }
        polled
    };
    let polled = caller.poll(&mut Context::from_waker(&waker), wait, || world.move_bytes());
    assert!(polled.is_ready());
    assert!(!woken.take() && !world.task.take());
}

#[derive(Debug, Clone)]
enum Step {
    BytesCome,
    Enter,
    Leave(usize),
    RunTask,
    Run(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => Just(Step::BytesCome),
        2 => Just(Step::Enter),
        1 => (0..3usize).prop_map(Step::Leave),
        3 => Just(Step::RunTask),
        4 => (0..3usize).prop_map(Step::Run),
    ];
    proptest::collection::vec(step, 0..60)
}

fn run(callers: &mut Vec<Waiting<'_>>, at: usize) {
    if callers[at].poll().is_ready() {
        callers.swap_remove(at);
    }
}

proptest! {
    /// Tasks run only when they were woken, in any order: when nobody is left to be run, no
    /// bytes lie about and no caller waits who has an answer.
    #[test]
    fn nothing_is_left_when_all_sleep(steps in steps()) {
        let world = World::new();
        let mut callers: Vec<Waiting<'_>> = Vec::new();
        for step in steps {
            match step {
                Step::BytesCome => world.bytes_come(),
                Step::Enter if callers.len() < 3 => {
                    let mut caller = Waiting::enter(&world);
                    if caller.poll().is_pending() {
                        callers.push(caller);
                    }
                }
                Step::Leave(at) if at < callers.len() => drop(callers.swap_remove(at)),
                Step::RunTask if world.task.take() => world.run_task(),
                Step::Run(at) if at < callers.len() && callers[at].woken.take() => {
                    run(&mut callers, at);
                }
                _ => {}
            }
        }
        loop {
            if world.task.take() {
                world.run_task();
                continue;
            }
            let Some(at) = callers.iter().position(|caller| caller.woken.take()) else { break };
            run(&mut callers, at);
        }
        prop_assert_eq!(world.bytes.load(Ordering::SeqCst), 0);
        prop_assert!(callers.is_empty() || world.answers.load(Ordering::SeqCst) == 0);
    }
}

/// The same with threads, for what lies between two steps: lost, a wake-up would leave this test
/// waiting for ever.
#[test]
fn no_answer_is_lost_between_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(3).build().unwrap();
    let world: &'static World = Box::leak(Box::new(World::new()));
    let asked: &'static tokio::sync::Semaphore =
        Box::leak(Box::new(tokio::sync::Semaphore::new(0)));
    runtime.block_on(async {
        let task = tokio::spawn(std::future::poll_fn(|cx| {
            if world.turn.is_the_tasks(cx) {
                world.move_bytes();
            }
            Poll::<()>::Pending
        }));
        let server = tokio::spawn(async {
            loop {
                asked.acquire().await.unwrap().forget();
                world.bytes_come();
            }
        });
        for _ in 0..20_000 {
            let mut caller = world.turn.enter();
            let mut has_asked = false;
            std::future::poll_fn(|cx| {
                let wait = |cx: &mut Context<'_>| {
                    if !has_asked {
                        has_asked = true;
                        asked.add_permits(1);
                    }
                    world.wait(cx)
                };
                caller.poll(cx, wait, || world.move_bytes())
            })
            .await;
        }
        task.abort();
        server.abort();
    });
}
