//! `DistributedTransaction` itself: begun, used, ended.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;

use futures_util::future::join_all;
use pgherd_core::route::RouteError;
use pgherd_core::sql::QueryType;
use pgherd_core::txn::deadlock::Tag;
use pgherd_core::{GroupId, Key, ShardId};
use tokio_postgres::SimpleQueryMessage;

use super::commit::commit;
use super::open::OpenTransaction;
use super::{CommitError, Cursor, DistributedTransactionRequest, InDoubt, table};
use crate::pool::TakenAt;
use crate::session::{Ask, Progress, WaitedFor};
use crate::{DistributedPool, Error, Lease};

/// A transaction over the shards of some keys: it commits on all of them or on none.
///
/// Each shard has a [`Cursor`] in a transaction block that is open already. Where only one
/// shard was written to, the commit is a plain COMMIT. Else all but one run PREPARE TRANSACTION;
/// the last, the anchor, commits together with a row of the decision table, which is the
/// decision; then COMMIT PREPARED on the others. Dropping it rolls back.
///
/// A deadlock with another distributed transaction of this pool, over several shards, is ended:
/// the youngest is told SQLSTATE 40P01.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let transaction = pool.distributed_transaction(["alice", "bob"]).await?;
/// let sql = "UPDATE accounts SET balance = balance + $2 WHERE owner = $1";
/// transaction.for_key("alice")?.execute(sql, &[&"alice", &-30_i32]).await?;
/// transaction.for_key("bob")?.execute(sql, &[&"bob", &30_i32]).await?;
/// let committed = transaction.commit().await?;
/// for left in &committed.pending {
///     eprintln!("committed; a node is away, and recovery will finish {left}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the transaction rolls it back"]
pub struct DistributedTransaction {
    pool: DistributedPool,
    open: Arc<OpenTransaction>,
    cursors: BTreeMap<ShardId, Cursor>,
}

/// It is committed. See [`DistributedTransaction`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Committed {
    /// Where it is decided but not finished yet, because a node could not be reached: recovery
    /// finishes it once the node is back. Until then its rows there are locked, and invisible.
    pub pending: Vec<InDoubt>,
}

impl DistributedTransaction {
    /// Opens a transaction block on each shard, in the order of their numbers: two callers
    /// that need backends of the same shards wait for one another in the same order.
    pub(super) async fn begin(
        request: &DistributedTransactionRequest<'_>,
        taken_at: TakenAt,
    ) -> Result<Self, Error> {
        let DistributedTransactionRequest { pool, keys, session, limit } = request;
        let sharding = pool.policy().sharding.as_ref().ok_or(RouteError::NoShards)?;
        let shards: BTreeSet<ShardId> = keys.iter().map(|key| sharding.shard_of(key)).collect();
        if shards.is_empty() {
            return Err(CommitError::NoKeys.into());
        }
        let needs_prepare = shards.len() > 1;
        let writing = session
            .iter()
            .flat_map(|session| shards.iter().map(|shard| session.writing(GroupId::Shard(*shard))));
        let progress = Progress::of_transaction(*limit);
        let open = Arc::new(OpenTransaction::begin(pool, progress, writing.collect()));
        let mut begun = Self { pool: (*pool).clone(), open, cursors: BTreeMap::new() };
        let open = Arc::clone(&begun.open);
        let begin = async {
            for shard in shards {
                let lease = begin_on(pool, shard, &open, needs_prepare, taken_at).await?;
                begun.cursors.insert(shard, Cursor::new(shard, lease, Arc::clone(&open)));
            }
            Ok(begun)
        };
        open.progress().within(pin!(begin)).await
    }

    /// The cursor of a shard.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::DistributedTransaction) -> Result<(), pgherd::Error> {
    /// let first = transaction.shard(pgherd::ShardId(0))?;
    /// first.execute("UPDATE stock SET count = count - 1", &[]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Usage`](crate::ErrorKind::Usage) if none of the keys lives there.
    pub fn shard(&self, shard: ShardId) -> Result<&Cursor, Error> {
        self.cursors.get(&shard).ok_or_else(|| CommitError::NotAParticipant { shard }.into())
    }

    /// The cursor of the shard where a key lives.
    ///
    /// # Errors
    /// As for [`Self::shard`].
    pub fn for_key(&self, key: impl Into<Key>) -> Result<&Cursor, Error> {
        let sharding = self.pool.policy().sharding.as_ref().ok_or(RouteError::NoShards)?;
        self.shard(sharding.shard_of(&key.into()))
    }

    /// Every shard with its cursor, by shard.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::DistributedTransaction) -> Result<(), pgherd::Error> {
    /// for (shard, cursor) in transaction.cursors() {
    ///     let changed = cursor.execute("UPDATE prices SET amount = amount * 2", &[]).await?;
    ///     println!("{changed} on shard {shard}");
    /// }
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn cursors(&self) -> impl Iterator<Item = (ShardId, &Cursor)> {
        self.cursors.iter().map(|(shard, cursor)| (*shard, cursor))
    }

    /// Commits on all shards, or rolls back on all.
    ///
    /// Dropping the future does not stop it: what was begun is carried to its end in a task of
    /// the pool's runtime.
    ///
    /// # Errors
    /// [`ErrorKind::RolledBack`](crate::ErrorKind::RolledBack): nothing was committed on any
    /// shard. [`ErrorKind::InDoubt`](crate::ErrorKind::InDoubt): connections were lost in the
    /// middle of it, or its time was up, and whether it is committed cannot be found out now; it
    /// is, or will be, committed on all shards or on none.
    /// [`ErrorKind::Deadline`](crate::ErrorKind::Deadline): its time was up before it was decided,
    /// and nothing is, or will be, committed on any shard.
    pub async fn commit(mut self) -> Result<Committed, Error> {
        self.open.progress().check()?;
        let cursors = std::mem::take(&mut self.cursors);
        commit(&self.pool, Arc::clone(&self.open), cursors).await
    }

    /// Rolls back on all shards. Where the connection is lost the node does it by itself. A
    /// statement that still runs is cancelled, and its backend closed.
    ///
    /// Dropping the future does not stop it.
    ///
    /// ```no_run
    /// # async fn f(transaction: pgherd::DistributedTransaction) -> Result<(), pgherd::Error> {
    /// transaction.for_key("alice")?.execute("DELETE FROM accounts", &[]).await?;
    /// transaction.rollback().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn rollback(mut self) {
        let cursors = std::mem::take(&mut self.cursors);
        let task = self.pool.runtime().spawn(roll_back(cursors));
        tokio::select! {
            biased;
            // It fails only with its runtime, and then the connections go too.
            _ = task => {}
            () = self.open.progress().over() => {}
        }
    }
}

impl Drop for DistributedTransaction {
    fn drop(&mut self) {
        let cursors = std::mem::take(&mut self.cursors);
        if !cursors.is_empty() {
            self.pool.runtime().spawn(roll_back(cursors));
        }
    }
}

async fn roll_back(cursors: BTreeMap<ShardId, Cursor>) {
    join_all(cursors.into_values().map(|cursor| cursor.into_lease().roll_back())).await;
}

async fn begin_on(
    pool: &DistributedPool,
    shard: ShardId,
    open: &OpenTransaction,
    needs_prepare: bool,
    taken_at: TakenAt,
) -> Result<Lease, Error> {
    let ask = Ask::new(QueryType::Write).shard(shard);
    let mut tries = 1;
    loop {
        let lease = pool.try_lease(&ask, taken_at, open.progress()).await?;
        open.progress().waits_for(lease.pool(), WaitedFor::Begin);
        let begun = begin_with(&lease, open.tag(), needs_prepare).await;
        match begun {
            Ok(Readiness::Ready) => {
                open.progress().waits_for(lease.pool(), WaitedFor::Program);
                return Ok(lease);
            }
            Ok(unready) => {
                let node = lease.node().to_owned();
                return Err(match unready {
                    Readiness::NoTable => CommitError::NoTable { node },
                    _ => CommitError::PreparedDisabled { node },
                }
                .into());
            }
            // A backend that died while it was idle: nothing was done on it, so the next.
            Err(error) if lease.is_closed() && tries < pool.retry_config().max_retries => {
                tracing::debug!(node = lease.node(), %error, "BEGIN found a lost connection");
                pool.counting().count_retry();
                tries += 1;
            }
            Err(error) => {
                let (is_lost, node) = (lease.is_closed(), lease.pool().node().clone());
                let was_sent = lease.statements() > 0;
                return Err(Error::statement(error, node, is_lost, was_sent).after_tries(tries));
            }
        }
    }
}

/// Whether a node can take part in two-phase commits.
enum Readiness {
    Ready,
    NoPrepared,
    NoTable,
}

/// Opens the block under the transaction's name, and looks whether the node can do what the commit
/// may need.
async fn begin_with(
    lease: &Lease,
    tag: &Tag,
    needs_prepare: bool,
) -> Result<Readiness, tokio_postgres::Error> {
    // A tag has no quotes in it.
    let begin = format!("BEGIN; SET LOCAL application_name = '{tag}'");
    if !needs_prepare {
        lease.batch_execute(&begin).await?;
        return Ok(Readiness::Ready);
    }
    let script = format!("SHOW max_prepared_transactions; {}; {begin}", table::IS_THERE);
    let answer = lease.simple_query(&script).await?;
    let mut values = answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    Ok(match (values.next(), values.next()) {
        (Some("0"), _) => Readiness::NoPrepared,
        (_, Some("t")) => Readiness::Ready,
        _ => Readiness::NoTable,
    })
}
