//! A replica is killed under reads, the coordinator under writes: no read fails, and no write
//! is lost or done twice.
//!
//! `cargo run -p pgherd --example retry_and_failover`

mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use pgherd::{DistributedPool, Error, ErrorKind, RetryConfig, Settings};
use tokio::task::JoinHandle;
use tracing::{info, warn};
use world::{Shape, World, until};

const READERS: usize = 8;
const WRITERS: i32 = 4;

fn main() -> Result<()> {
    world::run(Shape { shards: 0, replicas: 2 }, retry_and_failover)
}

async fn retry_and_failover(world: &World) -> Result<()> {
    // At once, and after 100, 200, 400, 800 ms, each with up to a quarter more.
    let retry = RetryConfig::default();
    let waits: Vec<_> = (1..=retry.max_retries).filter_map(|n| retry.delay(n, 0.0)).collect();
    info!(?waits, "the schedule of attempts");
    // A server that has crashed takes longer than these 1.5 s to recover: more attempts.
    let mut settings = Settings::from_env(world::variable)?;
    settings.retry.max_retries = 8;
    let pool = DistributedPool::from_settings(settings)?;

    pool.ddl()
        .batch(
            "DROP TABLE IF EXISTS pgherd_example_events; \
             CREATE TABLE pgherd_example_events (id int8 PRIMARY KEY)",
        )
        .await?;
    let load = Load::start(&pool);
    load.wait_for_more(50, 20).await?;

    if let Some(lab) = world.lab() {
        for name in ["coordinator-r1", "coordinator"] {
            let node = lab.node(name)?;
            info!(node = name, "killed");
            node.kill()?;
            if name == "coordinator-r1" {
                // Its readers go on, on the other replica.
                load.wait_for_more(50, 20).await?;
            }
            node.start()?;
            info!(node = name, "started again");
            load.wait_for_more(50, 20).await?;
        }
    }

    // Each reader and writer ends with the first error that it could not live with.
    let acknowledged = load.finish().await?;
    let counted = pool
        .write()
        .query_one("SELECT count(*) FROM pgherd_example_events", &[])
        .await?
        .get::<_, i64>(0);
    let counters = pool.statistics().counters;
    info!(acknowledged, counted, ?counters, "done");
    ensure!(counted == i64::try_from(acknowledged)?, "every write is there, and there once");
    if world.lab().is_some() {
        ensure!(counters.retries > 0, "the kills have hit nobody");
    }

    pool.ddl().batch("DROP TABLE pgherd_example_events").await?;
    pool.close().await;
    Ok(())
}

/// Reads and writes without a pause, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Result<()>>>,
}

impl Load {
    fn start(pool: &DistributedPool) -> Self {
        let mut load = Self {
            stop: Arc::default(),
            reads: Arc::default(),
            writes: Arc::default(),
            tasks: vec![],
        };
        for _ in 0..READERS {
            let (pool, stop, reads) = (pool.clone(), load.stop.clone(), load.reads.clone());
            load.tasks.push(tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    // On the next replica, then on the coordinator, if this one dies.
                    pool.read().query("SELECT pg_sleep(0.005)", &[]).await?;
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        for writer in 0..WRITERS {
            let (pool, stop, writes) = (pool.clone(), load.stop.clone(), load.writes.clone());
            load.tasks.push(tokio::spawn(async move {
                let mut id = i64::from(writer);
                while !stop.load(Ordering::Relaxed) {
                    write_once(&pool, id).await?;
                    writes.fetch_add(1, Ordering::Relaxed);
                    id += i64::from(WRITERS);
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                Ok(())
            }));
        }
        load
    }

    async fn wait_for_more(&self, reads: u64, writes: u64) -> Result<()> {
        let goal = |counter: &AtomicU64, more| counter.load(Ordering::Relaxed) + more;
        let (reads, writes) = (goal(&self.reads, reads), goal(&self.writes, writes));
        until("reads and writes go on", async || {
            ensure!(
                !self.tasks.iter().any(JoinHandle::is_finished),
                "a reader or writer has failed"
            );
            Ok(self.reads.load(Ordering::Relaxed) >= reads
                && self.writes.load(Ordering::Relaxed) >= writes)
        })
        .await
    }

    /// Stops and waits; how many writes were acknowledged.
    async fn finish(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await??;
        }
        Ok(self.writes.load(Ordering::Relaxed))
    }
}

/// Writes an event once, whatever happens on the way. pgherd tries again by itself what has
/// provably not run. What was sent and not answered may have run: only its author can tell, by
/// the event's id.
async fn write_once(pool: &DistributedPool, id: i64) -> Result<()> {
    let insert = "INSERT INTO pgherd_example_events VALUES ($1)";
    loop {
        let Err(error) = pool.write().execute(insert, &[&id]).await else { return Ok(()) };
        if !is_outcome_open(&error) {
            return Err(error).context(format!("event {id}"));
        }
        warn!(id, %error, "sent, and not answered: is it there?");
        let select = "SELECT FROM pgherd_example_events WHERE id = $1";
        // As a write: a replica may not have it yet. Reading does no harm, so as often as needed.
        let rows = loop {
            match pool.write().query(select, &[&id]).await {
                Ok(rows) => break rows,
                Err(error) if is_outcome_open(&error) => {}
                Err(error) => return Err(error).context(format!("event {id}")),
            }
        };
        info!(id, is_there = !rows.is_empty(), "looked up");
        if !rows.is_empty() {
            return Ok(());
        }
    }
}

fn is_outcome_open(error: &Error) -> bool {
    // 57P02: a crash of the server, which may have come just after the commit.
    error.kind() == ErrorKind::ConnectionLost || error.sqlstate() == Some("57P02")
}
