//! Writers that survive the death of their primary: the shard replicates synchronously, its primary
//! is killed and its replica promoted by hand.
//!
//! `PGHERD_FAILOVERS=20 cargo test -p pgherd --test survival -- --nocapture` does it that
//! often; the suite does it twice, and once without look-ups.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use pgherd::{DistributedPool, Error, ShardId};
use pgherd_lab::ClusterSpec;
use tokio::task::JoinHandle;
use world::{World, until};

const WRITERS: i64 = 50;

/// Longer than any stall of this test: commits wait for the operator, and acquires for commits.
const PATIENCE: Duration = Duration::from_secs(120);

/// One shard of two nodes, and who leads it.
struct Shard {
    world: World,
    primary: &'static str,
    standby: &'static str,
}

impl Shard {
    async fn start() -> (Self, DistributedPool) {
        let spec = ClusterSpec { shards: 1, shard_replicas: 1, ..ClusterSpec::default() };
        let world = World::start_spec(&spec);
        let pool = world
            .builder()
            .primary_wait(PATIENCE)
            .with_settings(|settings| settings.pool.acquire_timeout = PATIENCE)
            .build()
            .unwrap();
        // No unique constraint: what is done twice shall be seen.
        let sql = "CREATE TABLE units (id int8); CREATE INDEX ON units (id); \
                   CREATE TABLE writers (id int8, done int8)";
        pool.write().shard(ShardId(0)).batch(sql).await.unwrap();
        let sql = format!("INSERT INTO writers SELECT w, 0 FROM generate_series(1, {WRITERS}) w");
        pool.write().shard(ShardId(0)).batch(&sql).await.unwrap();
        let shard = Self { world, primary: "shard-0", standby: "shard-0-r1" };
        shard.replicate_synchronously().await;
        (shard, pool)
    }

    /// On both: whoever is promoted asks for a standby as well.
    async fn replicate_synchronously(&self) {
        for node in [self.standby, self.primary] {
            self.world.sql(node, "ALTER SYSTEM SET synchronous_standby_names = '*'");
            self.world.sql(node, "SELECT pg_reload_conf()");
        }
        let state = "SELECT sync_state FROM pg_stat_replication";
        until("the standby is synchronous", async || self.world.sql(self.primary, state) == "sync")
            .await;
    }

    /// Kills the primary and promotes the standby. `with_commits_in_flight`: the standby is held
    /// before, so that commits wait for it when the primary dies.
    async fn fail_over(&mut self, with_commits_in_flight: bool) {
        if with_commits_in_flight {
            self.world.freeze(self.standby);
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
            until("commits wait for the standby", async || {
                self.world.sql(self.primary, waits) != "0"
            })
            .await;
        }
        self.world.kill(self.primary);
        if with_commits_in_flight {
            self.world.thaw(self.standby);
        }
        self.world.promote(self.standby);
        // As an operator has to: there is no standby now, and commits would wait for one.
        self.world.sql(self.standby, "ALTER SYSTEM RESET synchronous_standby_names");
        self.world.sql(self.standby, "SELECT pg_reload_conf()");
        std::mem::swap(&mut self.primary, &mut self.standby);
    }

    /// Makes the node that was killed a standby of the present primary.
    async fn rebuild(&self) {
        self.world.rejoin(self.standby, self.primary);
        self.replicate_synchronously().await;
    }

    fn ids(&self) -> Vec<i64> {
        let ids = self.world.sql(self.primary, "SELECT id FROM units ORDER BY id");
        ids.lines().map(|id| id.parse().unwrap()).collect()
    }
}

/// Fifty writers at work.
struct Writers {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<Tally>>,
}

/// What one writer was told, or all of them.
#[derive(Default)]
struct Tally {
    acknowledged: BTreeSet<i64>,
    unknown: BTreeSet<i64>,
    errors: Vec<String>,
    longest: Duration,
}

impl Writers {
    fn start(pool: &DistributedPool, looks_up: bool) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let tasks = (1..=WRITERS)
            .map(|writer| {
                let (pool, stop, done) = (pool.clone(), stop.clone(), done.clone());
                tokio::spawn(async move {
                    let mut tally = Tally::default();
                    let mut id = writer * 1_000_000_000;
                    while !stop.load(Ordering::Relaxed) {
                        id += 1;
                        let began = Instant::now();
                        let result = write(&pool, writer, id, looks_up).await;
                        tally.longest = tally.longest.max(began.elapsed());
                        match result {
                            Ok(()) => drop(tally.acknowledged.insert(id)),
                            Err(error) if error.sqlstate() == Some("08007") => {
                                tally.unknown.insert(id);
                            }
                            Err(error) => tally.errors.push(format!("{error:#}")),
                        }
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    tally
                })
            })
            .collect();
        Self { stop, done, tasks }
    }

    async fn go_on(&self) {
        let goal = self.done.load(Ordering::Relaxed) + 500;
        until("five hundred more units", async || self.done.load(Ordering::Relaxed) >= goal).await;
    }

    async fn finish(self) -> Tally {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Tally::default();
        for task in self.tasks {
            let one = task.await.unwrap();
            all.acknowledged.extend(one.acknowledged);
            all.unknown.extend(one.unknown);
            all.errors.extend(one.errors);
            all.longest = all.longest.max(one.longest);
        }
        all
    }
}

/// One unit: a row with an id of its own, and a count that would tell if it was done twice.
async fn write(pool: &DistributedPool, writer: i64, id: i64, looks_up: bool) -> Result<(), Error> {
    let work = async move |tx: &pgherd::Transaction| {
        tx.execute("INSERT INTO units VALUES ($1)", &[&id]).await?;
        tx.execute("UPDATE writers SET done = done + 1 WHERE id = $1", &[&writer]).await?;
        Ok(())
    };
    let unit = pool.transaction().shard(ShardId(0));
    match looks_up {
        true => unit.lookup("SELECT 1 FROM units WHERE id = $1", &[&id]).run(work).await,
        false => unit.run(work).await,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_writer_that_looks_up_its_unit_notices_that_its_primary_was_killed() {
    let rounds = std::env::var("PGHERD_FAILOVERS").map_or(2, |rounds| rounds.parse().unwrap());
    let (mut shard, pool) = Shard::start().await;
    let writers = Writers::start(&pool, true);
    for round in 0..rounds {
        writers.go_on().await;
        shard.fail_over(round % 2 == 1).await;
        writers.go_on().await;
        if round + 1 < rounds {
            shard.rebuild().await;
        }
    }
    let tally = writers.finish().await;
    assert_eq!((tally.errors, tally.unknown), (Vec::new(), BTreeSet::new()));
    let ids = shard.ids();
    let there: BTreeSet<i64> = ids.iter().copied().collect();
    let lost: Vec<_> = tally.acknowledged.difference(&there).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(ids.len(), there.len(), "some are there twice");
    assert_eq!(there, tally.acknowledged);
    let counted = shard.world.sql(shard.primary, "SELECT sum(done) FROM writers");
    assert_eq!(counted, ids.len().to_string());
    println!(
        "{rounds} failovers under {WRITERS} writers: {} units acknowledged, 0 errors, 0 lost, 0 \
         doubled, {} tries repeated, longest stall {:.2?}",
        ids.len(),
        pool.statistics().counters.retries,
        tally.longest,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_look_up_the_commits_in_flight_are_unknown_and_nothing_else_fails() {
    let (mut shard, pool) = Shard::start().await;
    let writers = Writers::start(&pool, false);
    writers.go_on().await;
    shard.fail_over(true).await;
    writers.go_on().await;
    let tally = writers.finish().await;
    assert_eq!(tally.errors, Vec::<String>::new());
    assert!(!tally.unknown.is_empty(), "the kill has hit no commit");
    let ids = shard.ids();
    let there: BTreeSet<i64> = ids.iter().copied().collect();
    assert_eq!(ids.len(), there.len(), "some are there twice");
    assert!(tally.acknowledged.is_subset(&there), "acknowledged and lost");
    let happened = tally.unknown.intersection(&there).count();
    assert_eq!(there.len(), tally.acknowledged.len() + happened, "there, and told to nobody");
    println!(
        "1 failover under {WRITERS} writers: {} units acknowledged, {} unknown (08007), of which \
         {happened} had committed; no other error, 0 lost, 0 doubled, longest stall {:.2?}",
        tally.acknowledged.len(),
        tally.unknown.len(),
        tally.longest,
    );
}
