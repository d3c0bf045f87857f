//! Finishes what somebody has left prepared, and cleans up behind what is finished.
//!
//! In: the nodes' lists of prepared transactions, their decision tables. Out: COMMIT PREPARED
//! or ROLLBACK PREPARED, as the anchor's table says.
//!
//! Any instance may do it at any time, and several at once: see `pgherd_core::txn::recovery`.
//! Connections are its own, and every answer has its time ([`OwnBackend`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::future::join_all;
use pgherd_core::txn::recovery::{Found, Step, next_step};
use pgherd_core::txn::{Decided, Gid};
use pgherd_core::{GroupId, ShardId};
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

use super::own_backend::OwnBackend;
use super::participant::finishing_command;
use super::{InDoubt, RecoveryError, table};
use crate::DistributedPool;
use crate::mutex::Mutex;

/// Times an anchor that could not be reached is asked again by the transaction itself.
pub(super) const RESOLVE_TRIES: usize = 3;

/// Rounds of reading and writing before one attempt is given up.
const ROUNDS: usize = 8;

/// How long a node may take to answer one question. Longer than an abort row waits for a lock.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How long an abort row waits before it is looked whether an idle session is in its way.
const IDLE_BLOCKER: Duration = Duration::from_millis(500);

/// What one sweep has done. See [`DistributedPool::recover`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Prepared transactions that were committed.
    pub committed: Vec<InDoubt>,
    /// Prepared transactions that were rolled back.
    pub rolled_back: Vec<InDoubt>,
    /// Why a shard could not be looked at, or a transaction not finished.
    pub problems: Vec<String>,
}

/// Asks one anchor.
pub(super) struct Resolver<'p> {
    pool: &'p DistributedPool,
    anchor: ShardId,
}

impl<'p> Resolver<'p> {
    pub(super) fn new(pool: &'p DistributedPool, anchor: ShardId) -> Self {
        Self { pool, anchor }
    }

    /// What was decided; if nothing was, it is decided now that nothing will be committed.
    pub(super) async fn resolve(&self, gid: &Gid, owner: &str) -> Result<Decided, RecoveryError> {
        let backend = self.open().await?;
        let mut found = read(&backend, gid, owner).await?;
        for _ in 0..ROUNDS {
            found = match next_step(found) {
                Step::Finish(decided) => return Ok(decided),
                Step::ReadAgain => read(&backend, gid, owner).await?,
                // Ending what blocks is part of each try to write.
                Step::WriteAbort | Step::EndBlocker => self.write_abort(gid, owner).await?,
            };
        }
        Err(RecoveryError::Undecided { gid: gid.to_string(), rounds: ROUNDS })
    }

    async fn open(&self) -> Result<OwnBackend, RecoveryError> {
        OwnBackend::open_on(self.pool, self.anchor, ANSWER_LIMIT).await
    }

    async fn write_abort(&self, gid: &Gid, owner: &str) -> Result<Found, RecoveryError> {
        let writer = self.open().await?;
        let script = table::abort(gid, owner);
        let mut writing = std::pin::pin!(writer.run(&script));
        let result = loop {
            tokio::select! {
                result = &mut writing => break result,
                () = tokio::time::sleep(IDLE_BLOCKER) => {
                    self.end_idle_blockers(writer.process_id()).await?;
                }
            }
        };
        match result {
            Ok(()) => Ok(Found::Written),
            Err(error) => match error.code() {
                Some(&SqlState::UNIQUE_VIOLATION) => Ok(Found::Collided),
                Some(&SqlState::LOCK_NOT_AVAILABLE) => Ok(Found::Blocked),
                _ => Err(error),
            },
        }
    }

    /// Ends sessions that hold up the abort row and do nothing: an anchor whose client died
    /// between the decision and its commit would hold it up forever.
    async fn end_idle_blockers(&self, writer: Option<u32>) -> Result<(), RecoveryError> {
        let Some(writer) = writer else { return Ok(()) };
        let backend = self.open().await?;
        let end = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE pid = ANY (pg_catalog.pg_blocking_pids({writer})) \
             AND state IN ('idle in transaction', 'idle in transaction (aborted)')"
        );
        backend.run(&end).await
    }
}

pub(super) async fn read(
    backend: &OwnBackend,
    gid: &Gid,
    owner: &str,
) -> Result<Found, RecoveryError> {
    let outcome = backend.text(&table::outcome(gid, owner)).await?;
    Ok(match outcome.as_deref() {
        None => Found::NoRow,
        Some("commit") => Found::Row(Decided::Commit),
        Some(_) => Found::Row(Decided::Abort),
    })
}

/// A prepared transaction of this cluster.
pub(super) struct Left {
    pub(super) shard: ShardId,
    pub(super) gid: Gid,
    pub(super) prepared: String,
    pub(super) owner: String,
    // By the node's clock.
    pub(super) age: Duration,
}

/// One pass over all shards. `grace` is how long something must have been prepared, or a row
/// written, to count as left.
pub(crate) async fn recover(pool: &DistributedPool, grace: Duration) -> Recovered {
    let topology = pool.topology();
    let shards = topology.shards().iter().filter_map(|group| group.id.shard());
    let opened =
        join_all(shards.map(|shard| async move {
            (shard, OwnBackend::open_on(pool, shard, ANSWER_LIMIT).await)
        }));
    let mut recovered = Recovered::default();
    let mut backends = BTreeMap::new();
    let mut unanswering = BTreeSet::new();
    for (shard, opened) in opened.await {
        match opened {
            Ok(backend) => drop(backends.insert(shard, backend)),
            Err(error) => {
                unanswering.insert(shard);
                recovered.problems.push(format!("shard {shard}: {error}"));
            }
        }
    }
    let unanswering = Mutex::new(unanswering);
    let pass = Pass { pool, grace, unanswering: &unanswering };
    let finished = backends.iter().map(|(shard, backend)| pass.finish_left(*shard, backend));
    join_all(finished).await.into_iter().for_each(|part| recovered.add(part));
    // Nothing is cleaned up where somebody's table cannot be asked.
    for (shard, backend) in &backends {
        let cleaned = match has_table(backend).await {
            Ok(true) => clean_up(*shard, &backends, grace).await,
            Ok(false) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = cleaned {
            recovered.problems.push(format!("cleaning up on shard {shard}: {error}"));
        }
    }
    recovered
}

pub(super) async fn has_table(backend: &OwnBackend) -> Result<bool, RecoveryError> {
    let rows = backend.query(table::IS_THERE, &[]).await?;
    Ok(rows.first().is_some_and(|row| row.get(0)))
}

impl Recovered {
    fn add(&mut self, part: Self) {
        self.committed.extend(part.committed);
        self.rolled_back.extend(part.rolled_back);
        self.problems.extend(part.problems);
    }
}

/// One pass over all shards, each for itself.
#[derive(Clone, Copy)]
struct Pass<'p> {
    pool: &'p DistributedPool,
    grace: Duration,
    // Shards that were asked in vain: for what they decide they are not waited for once more.
    unanswering: &'p Mutex<BTreeSet<ShardId>>,
}

impl Pass<'_> {
    /// Finishes what is left on one shard.
    async fn finish_left(self, shard: ShardId, backend: &OwnBackend) -> Recovered {
        let mut recovered = Recovered::default();
        let left = match list(self.pool, shard, backend, self.grace).await {
            Ok(left) => left,
            Err(error) => {
                recovered.problems.push(format!("shard {shard}: {error}"));
                return recovered;
            }
        };
        for left in left {
            let outcome = match self.resolve(&left).await {
                Ok(decided) => finish(backend, &left, decided).await.map(|()| decided),
                Err(error) => Err(error),
            };
            let (node, gid) = (backend.node().to_owned(), left.prepared.clone());
            let in_doubt = InDoubt { shard: left.shard, node, gid };
            match outcome {
                Ok(Decided::Commit) => {
                    info!(%in_doubt, "recovery committed");
                    recovered.committed.push(in_doubt);
                }
                Ok(Decided::Abort) => {
                    info!(%in_doubt, "recovery rolled back");
                    recovered.rolled_back.push(in_doubt);
                }
                Err(error) => {
                    warn!(%in_doubt, %error, "recovery could not finish it");
                    recovered.problems.push(format!("{in_doubt}: {error}"));
                }
            }
        }
        recovered
    }

    async fn resolve(self, left: &Left) -> Result<Decided, RecoveryError> {
        let shard = left.gid.anchor;
        if self.unanswering.lock().contains(&shard) {
            return Err(RecoveryError::NotAsked { shard });
        }
        let resolved = Resolver::new(self.pool, shard).resolve(&left.gid, &left.owner).await;
        if matches!(resolved, Err(RecoveryError::Connect(_) | RecoveryError::TimedOut { .. })) {
            self.unanswering.lock().insert(shard);
        }
        resolved
    }
}

pub(super) fn backend_node(pool: &DistributedPool, shard: ShardId) -> String {
    let topology = pool.topology();
    let group = topology.group(GroupId::Shard(shard));
    group.map_or_else(String::new, |group| topology.node(group.primary).name.to_string())
}

/// What this cluster has left prepared on a shard.
pub(super) async fn list(
    pool: &DistributedPool,
    shard: ShardId,
    backend: &OwnBackend,
    grace: Duration,
) -> Result<Vec<Left>, RecoveryError> {
    let sql = "SELECT gid, owner::text, \
                      extract(epoch FROM pg_catalog.now() - prepared)::float8 \
               FROM pg_catalog.pg_prepared_xacts \
               WHERE database = pg_catalog.current_database() \
               AND pg_catalog.starts_with(gid, 'pgherd_') \
               AND prepared <= pg_catalog.now() - $1::float8 * interval '1 second' ORDER BY prepared";
    let rows = backend.query(sql, &[&grace.as_secs_f64()]).await?;
    let read = |row: &tokio_postgres::Row| {
        let (prepared, owner): (String, String) = (row.get(0), row.get(1));
        let (gid, of) = Gid::parse_prepared(&prepared).ok()?;
        let is_ours = gid.cluster == pool.numbering().cluster() && of == shard;
        let age = Duration::try_from_secs_f64(row.get(2)).unwrap_or_default();
        is_ours.then_some(Left { shard, gid, prepared, owner, age })
    };
    Ok(rows.iter().filter_map(read).collect())
}

/// Only its owner or a superuser may finish it, so it is done in the owner's name.
pub(super) async fn finish(
    backend: &OwnBackend,
    left: &Left,
    decided: Decided,
) -> Result<(), RecoveryError> {
    let owner = table::quote_identifier(&left.owner);
    backend.run(&format!("SET ROLE {owner}")).await?;
    let result = backend.run(&finishing_command(decided, &left.prepared)).await;
    if !matches!(result, Err(RecoveryError::TimedOut { .. })) {
        backend.run("RESET ROLE").await?;
    }
    match result {
        // Somebody else was faster.
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_OBJECT) => Ok(()),
        result => result,
    }
}

/// Names by owner.
type ByOwner = HashMap<String, Vec<String>>;

/// Removes rows of the decision table whose every participant is proven to have committed, abort
/// rows that nobody can run into any more, and markers whose decision is gone.
async fn clean_up(
    shard: ShardId,
    backends: &BTreeMap<ShardId, OwnBackend>,
    grace: Duration,
) -> Result<(), RecoveryError> {
    let backend = &backends[&shard];
    let sql = "SELECT gid, owner::text, outcome, participants \
               FROM pgherd.old_decisions($1::float8 * interval '1 second')";
    let mut finished: ByOwner = HashMap::new();
    let mut asked: HashMap<(i32, String), Vec<String>> = HashMap::new();
    let mut waiting_for: HashMap<(String, String), usize> = HashMap::new();
    for row in backend.query(sql, &[&grace.as_secs_f64()]).await? {
        let (gid, owner, participants): (String, String, Vec<i32>) =
            (row.get(0), row.get(1), row.get(3));
        if participants.is_empty() {
            finished.entry(owner).or_default().push(gid);
            continue;
        }
        waiting_for.insert((owner.clone(), gid.clone()), participants.len());
        for participant in participants {
            asked.entry((participant, owner.clone())).or_default().push(gid.clone());
        }
    }
    for ((participant, owner), gids) in asked {
        let participant = u16::try_from(participant).ok().map(ShardId);
        let Some(other) = participant.and_then(|shard| backends.get(&shard)) else { continue };
        for gid in names(other, "marked", &gids, &owner).await? {
            let key = (owner.clone(), gid);
            if let Some(left) = waiting_for.get_mut(&key) {
                *left -= 1;
                if *left == 0 {
                    finished.entry(key.0).or_default().push(key.1);
                }
            }
        }
    }
    for (owner, gids) in finished {
        forget(backend, "forget_decisions", &gids, &owner).await?;
    }
    clean_up_markers(backend, backends, grace).await
}

async fn clean_up_markers(
    backend: &OwnBackend,
    backends: &BTreeMap<ShardId, OwnBackend>,
    grace: Duration,
) -> Result<(), RecoveryError> {
    let sql = "SELECT gid, owner::text FROM pgherd.old_markers($1::float8 * interval '1 second')";
    let mut by_anchor: HashMap<(ShardId, String), Vec<String>> = HashMap::new();
    for row in backend.query(sql, &[&grace.as_secs_f64()]).await? {
        let (gid, owner): (String, String) = (row.get(0), row.get(1));
        if let Ok(read) = gid.parse::<Gid>() {
            by_anchor.entry((read.anchor, owner)).or_default().push(gid);
        }
    }
    for ((anchor, owner), mut gids) in by_anchor {
        let Some(decider) = backends.get(&anchor) else { continue };
        let decided = names(decider, "decided", &gids, &owner).await?;
        gids.retain(|gid| !decided.contains(gid));
        forget(backend, "forget_markers", &gids, &owner).await?;
    }
    Ok(())
}

/// Those of the names that a function of the table answers.
pub(super) async fn names(
    backend: &OwnBackend,
    function: &str,
    gids: &[String],
    owner: &str,
) -> Result<Vec<String>, RecoveryError> {
    let sql = format!("SELECT gid FROM pgherd.{function}($1::text[], $2::text::name) AS gid");
    Ok(backend.query(&sql, &[&gids, &owner]).await?.iter().map(|row| row.get(0)).collect())
}

async fn forget(
    backend: &OwnBackend,
    function: &str,
    gids: &[String],
    owner: &str,
) -> Result<(), RecoveryError> {
    if gids.is_empty() {
        return Ok(());
    }
    let sql = format!("SELECT pgherd.{function}($1::text[], $2::text::name)");
    backend.query(&sql, &[&gids, &owner]).await?;
    Ok(())
}
