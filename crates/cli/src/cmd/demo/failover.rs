//! A replica dies under load, and comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pgherd_lab::PgbenchReport;

use super::load::pgbench;
use super::screen::{Screen, Step};
use super::stage::Stage;

/// The replica that is killed.
const VICTIM: &str = "coordinator-r1";

/// Tasks that read through the library meanwhile.
const READERS: usize = 4;

/// What became of the reads through the library.
#[derive(Default)]
struct Reads {
    stop: AtomicBool,
    succeeded: AtomicU64,
    failed: AtomicU64,
    first_error: Mutex<Option<String>>,
}

/// Reads all the while through proxy and library; no read may fail.
pub(super) fn run(screen: Screen, stage: &Stage) -> Result<()> {
    screen.heading("A replica is killed under load, and comes back");
    let step = screen.begin("50 clients read through the proxy, 4 tasks through the library");
    let reads = Arc::new(Reads::default());
    let readers: Vec<_> = (0..READERS)
        .map(|_| stage.runtime.spawn(read(stage.pool.clone(), Arc::clone(&reads))))
        .collect();
    let began = Instant::now();
    let (report, events) = std::thread::scope(|scope| {
        let trouble = scope.spawn(|| make_trouble(&step, stage, began));
        let load = ["-S", "-c", "50", "-j", "2", "-M", "prepared"];
        let report = pgbench(stage, &load, 8, |line| step.progress(line));
        let events = trouble.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (report, events)
    });
    let (report, events) = (report?, events?);
    let seen = wait_in_use(stage, &reads);
    reads.stop.store(true, Ordering::Relaxed);
    for reader in readers {
        stage.runtime.block_on(reader).context("a reader panicked")?;
    }
    seen?;
    let PgbenchReport { transactions, failed, .. } = report;
    step.done(&format!("{transactions} reads through the proxy, {failed} failed"));
    events.iter().for_each(|event| screen.say(&format!("    {event}")));
    let (succeeded, errors) =
        (reads.succeeded.load(Ordering::Relaxed), reads.failed.load(Ordering::Relaxed));
    let (proxy, library) = (stage.server.statistics(), stage.pool.statistics());
    let moved: u64 = proxy.iter().map(|node| node.retries).sum();
    screen.say(&format!("  {succeeded} reads through the library, {errors} failed"));
    screen.say(&format!(
        "  reads that were begun again elsewhere: {moved} by the proxy, {} by the library",
        library.counters.retries
    ));
    screen.say(&format!("  {VICTIM} serves reads of both again"));
    ensure!(failed == 0, "{failed} reads through the proxy failed");
    let first = reads.first_error.lock().unwrap_or_else(PoisonError::into_inner).take();
    ensure!(
        errors == 0,
        "{errors} reads through the library failed: {}",
        first.unwrap_or_default()
    );
    Ok(())
}

async fn read(pool: pgherd::DistributedPool, reads: Arc<Reads>) {
    let sql = "SELECT abalance FROM pgbench_accounts WHERE aid = $1";
    let mut account = 0;
    while !reads.stop.load(Ordering::Relaxed) {
        account = account % 100_000 + 1;
        match pool.read().query_one(sql, &[&account]).await {
            Ok(_) => {
                reads.succeeded.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                reads.failed.fetch_add(1, Ordering::Relaxed);
                let mut first = reads.first_error.lock().unwrap_or_else(PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

fn make_trouble(step: &Step, stage: &Stage, began: Instant) -> Result<Vec<String>> {
    let victim = stage.cluster.node(VICTIM)?;
    let at = || format!("{:.1} s:", began.elapsed().as_secs_f64());
    let mut events = Vec::new();
    let mut note = |event: String| {
        step.progress(&event);
        events.push(event);
    };
    std::thread::sleep(Duration::from_secs(2));
    victim.kill()?;
    note(format!("{} {VICTIM} killed with SIGKILL", at()));
    wait_for_health(stage, false)?;
    note(format!("{} out of rotation", at()));
    std::thread::sleep(Duration::from_secs(1));
    victim.start()?;
    note(format!("{} started again", at()));
    wait_for_health(stage, true)?;
    note(format!("{} back in rotation", at()));
    Ok(events)
}

fn wait_for_health(stage: &Stage, wanted: bool) -> Result<()> {
    wait(&format!("{VICTIM} becomes healthy: {wanted}"), || {
        [stage.server.topology(), stage.pool.topology()].iter().all(|topology| {
            let node = topology.node_named(VICTIM);
            node.is_some_and(|node| topology.health(node.id).is_healthy() == wanted)
        })
    })
}

/// Waits until both have read from the replica that is back.
fn wait_in_use(stage: &Stage, reads: &Reads) -> Result<()> {
    let counts = || {
        let of_proxy = stage.server.statistics();
        let of_proxy = of_proxy.iter().find(|node| node.name == VICTIM).map(|node| node.batches);
        let of_library = stage.pool.statistics();
        let of_library = of_library.node(VICTIM).map(|node| node.statements);
        (of_proxy.unwrap_or(0), of_library.unwrap_or(0))
    };
    let before = counts();
    wait("reads reach the replica that is back", || {
        // pgbench has ended; a few reads of its kind do.
        let load = ["-S", "-c", "4", "-M", "simple"];
        let more = pgbench(stage, &load, 1, |_| {});
        if !more.is_ok_and(|report| report.failed == 0) {
            reads.failed.fetch_add(1, Ordering::Relaxed);
        }
        let now = counts();
        now.0 > before.0 && now.1 > before.1
    })
}

fn wait(what: &str, is_so: impl Fn() -> bool) -> Result<()> {
    let deadline = Instant::now() + Stage::PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "did not happen in {:?}: {what}", Stage::PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
