//! Transactions that are prepared, for an operator to look at and to finish by hand.
//!
//! In: the nodes' lists of prepared transactions, decision tables and markers. Out: for each
//! transaction where it stands and what recovery will make of it; and it finished, if nothing
//! speaks against it ([`pgherd_core::txn::resolve`] says what does).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use pgherd_core::ShardId;
use pgherd_core::txn::recovery::Found;
use pgherd_core::txn::resolve::{Evidence, Known, Plan, Refusal, Wish, plan};
use pgherd_core::txn::{Decided, Gid};
use serde::Serialize;
use tracing::info;

use super::own_backend::OwnBackend;
use super::recovery::{
    ANSWER_LIMIT, Left, Resolver, backend_node, finish, has_table, list, names, read,
};
use super::{InDoubt, RecoveryError};
use crate::DistributedPool;

/// A transaction over several shards of which at least one is prepared. See [`LeftTransactions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftTransaction {
    /// Its name in the decision table.
    pub gid: String,
    /// The role that runs it.
    pub owner: String,
    /// Since when it is prepared, on the shard where that is longest.
    pub age_seconds: u64,
    /// The shard that decides.
    pub anchor: ShardId,
    /// Where it is prepared, and under which name.
    pub prepared: Vec<InDoubt>,
    /// The other shards that have committed their part.
    pub committed: Vec<ShardId>,
    /// What was decided.
    pub decision: Decision,
    /// What recovery will do about it.
    pub recovery: String,
}

/// What is known of a decision. See [`LeftTransactions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Decision {
    /// To commit.
    Committed,
    /// To roll back.
    Aborted,
    /// None was made yet.
    None,
    /// The shard that decides cannot be asked.
    Unknown,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Committed => "committed",
            Self::Aborted => "aborted",
            Self::None => "none yet",
            Self::Unknown => "unknown",
        })
    }
}

/// What is prepared on the shards of a cluster.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::ResolveError> {
/// use pgherd::Resolve;
///
/// for left in pool.left_transactions().await.transactions {
///     println!("{} for {} s: recovery {}", left.gid, left.age_seconds, left.recovery);
///     pool.resolve(&left.gid, Resolve::AsDecided, false).await?;
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LeftTransactions {
    /// The oldest first.
    pub transactions: Vec<LeftTransaction>,
    /// Why a shard could not be looked at.
    pub problems: Vec<String>,
}

/// How an operator wants a transaction to end. See [`LeftTransactions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resolve {
    /// As it was decided; rolled back if nothing was, for longer than `transactions.grace`.
    AsDecided,
    /// Committed.
    Commit,
    /// Rolled back.
    RollBack,
}

/// What was finished by hand. See [`LeftTransactions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Resolved {
    /// Whether it was committed, or else rolled back.
    pub is_committed: bool,
    /// What was prepared, and is not any more.
    pub finished: Vec<InDoubt>,
}

/// Why a transaction was not finished.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) {
/// use pgherd::{Resolve, ResolveError};
///
/// match pool.resolve("pgherd_shop_1", Resolve::AsDecided, false).await {
///     Ok(resolved) => println!("finished on {} shards", resolved.finished.len()),
///     Err(ResolveError::Failed { error, .. }) => println!("a node refused: {error}"),
///     Err(error) => println!("{error}"),
/// }
/// # }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// Nothing of that name is prepared where one could look.
    #[error("`{gid}` is not prepared on any shard that could be asked{}", also(.problems))]
    NotPrepared {
        /// The name.
        gid: String,
        /// Why a shard could not be asked.
        problems: Vec<String>,
    },
    /// It would contradict what was decided, or may have been.
    #[error("`{gid}` stays as it is: {refusal}{}", also(.problems))]
    Refused {
        /// The name.
        gid: String,
        /// Why.
        refusal: Refusal,
        /// Why a shard could not be asked.
        problems: Vec<String>,
    },
    /// A node refused, or was lost. What was finished before stays so, and the rest may be
    /// finished the same way later.
    #[error("`{gid}`: {error}")]
    Failed {
        /// The name.
        gid: String,
        /// Why.
        error: RecoveryError,
    },
}

fn also(problems: &[String]) -> String {
    problems.iter().map(|problem| format!("; {problem}")).collect()
}

/// What a look at all shards has found.
struct Look {
    backends: BTreeMap<ShardId, OwnBackend>,
    // By name and owner.
    left: BTreeMap<(Gid, String), Vec<Left>>,
    problems: Vec<String>,
}

impl Look {
    async fn at(pool: &DistributedPool) -> Self {
        let mut look =
            Self { backends: BTreeMap::new(), left: BTreeMap::new(), problems: Vec::new() };
        for group in pool.topology().shards() {
            let Some(shard) = group.id.shard() else { continue };
            let listed = async {
                let backend = OwnBackend::open_on(pool, shard, ANSWER_LIMIT).await?;
                let left = list(pool, shard, &backend, Duration::ZERO).await?;
                Ok::<_, RecoveryError>((backend, left))
            };
            match listed.await {
                Ok((backend, left)) => {
                    look.backends.insert(shard, backend);
                    for left in left {
                        let key = (left.gid.clone(), left.owner.clone());
                        look.left.entry(key).or_default().push(left);
                    }
                }
                Err(error) => look.problems.push(format!("shard {shard}: {error}")),
            }
        }
        look
    }

    async fn decision(&mut self, gid: &Gid, owner: &str) -> Decision {
        let Some(backend) = self.backends.get(&gid.anchor) else { return Decision::Unknown };
        match read(backend, gid, owner).await {
            Ok(Found::Row(Decided::Commit)) => Decision::Committed,
            Ok(Found::Row(Decided::Abort)) => Decision::Aborted,
            Ok(_) => Decision::None,
            Err(error) => {
                self.problems.push(format!("shard {}: {error}", gid.anchor));
                Decision::Unknown
            }
        }
    }

    /// The shards that have a marker of it, so that their part is committed.
    async fn committed(&mut self, gid: &Gid, owner: &str) -> Vec<ShardId> {
        let gids = [gid.to_string()];
        let mut committed = Vec::new();
        for (shard, backend) in &self.backends {
            match is_marked(backend, &gids, owner).await {
                Ok(true) => committed.push(*shard),
                Ok(false) => {}
                Err(error) => self.problems.push(format!("shard {shard}: {error}")),
            }
        }
        committed
    }
}

async fn is_marked(
    backend: &OwnBackend,
    gids: &[String],
    owner: &str,
) -> Result<bool, RecoveryError> {
    Ok(has_table(backend).await? && !names(backend, "marked", gids, owner).await?.is_empty())
}

/// Looks at everything that is prepared.
pub(crate) async fn look(pool: &DistributedPool) -> LeftTransactions {
    let mut look = Look::at(pool).await;
    let left = std::mem::take(&mut look.left);
    let grace = pool.settings().transactions.grace;
    let mut transactions = Vec::new();
    for ((gid, owner), parts) in left {
        let decision = look.decision(&gid, &owner).await;
        let committed = look.committed(&gid, &owner).await;
        let age = parts.iter().map(|part| part.age).max().unwrap_or_default();
        transactions.push(LeftTransaction {
            gid: gid.to_string(),
            owner,
            age_seconds: age.as_secs(),
            anchor: gid.anchor,
            prepared: parts.iter().map(|part| in_doubt(pool, part)).collect(),
            committed,
            decision,
            recovery: what_recovery_does(decision, age, grace, gid.anchor),
        });
    }
    transactions.sort_by_key(|left| std::cmp::Reverse(left.age_seconds));
    LeftTransactions { transactions, problems: look.problems }
}

fn in_doubt(pool: &DistributedPool, left: &Left) -> InDoubt {
    let (shard, gid) = (left.shard, left.prepared.clone());
    InDoubt { shard, node: backend_node(pool, shard), gid }
}

fn what_recovery_does(
    decision: Decision,
    age: Duration,
    grace: Duration,
    anchor: ShardId,
) -> String {
    let does = match decision {
        Decision::Committed => "commits it",
        Decision::Aborted => "rolls it back",
        Decision::None => "rolls it back unless it commits before",
        Decision::Unknown => return format!("waits for shard {anchor}, which decides"),
    };
    match grace.checked_sub(age) {
        Some(left) if !left.is_zero() => format!("{does} in {} s", left.as_secs() + 1),
        _ => does.to_owned(),
    }
}

/// Finishes one transaction on every shard that has it prepared.
pub(crate) async fn resolve(
    pool: &DistributedPool,
    name: &str,
    how: Resolve,
    is_declared_lost: bool,
) -> Result<Resolved, ResolveError> {
    let mut look = Look::at(pool).await;
    let wanted = |(gid, _): &(Gid, String), parts: &[Left]| {
        gid.to_string() == name || parts.iter().any(|part| part.prepared == name)
    };
    let found = look.left.iter().find(|(key, parts)| wanted(key, parts));
    let Some(((gid, owner), _)) = found else {
        return Err(ResolveError::NotPrepared { gid: name.to_owned(), problems: look.problems });
    };
    let (gid, owner) = (gid.clone(), owner.clone());
    let parts = look.left.remove(&(gid.clone(), owner.clone())).unwrap_or_default();
    let decision = look.decision(&gid, &owner).await;
    let committed = look.committed(&gid, &owner).await;
    let others = pool.topology().shards().len().saturating_sub(1);
    let asked = look.backends.keys().filter(|shard| **shard != gid.anchor).count();
    let evidence = Evidence {
        is_old: parts.iter().any(|part| part.age >= pool.settings().transactions.grace),
        has_committed: !committed.is_empty(),
        is_declared_lost,
        is_complete: asked == others,
    };
    let known = match decision {
        Decision::Committed => Known::Decided(Decided::Commit),
        Decision::Aborted => Known::Decided(Decided::Abort),
        Decision::None => Known::Nothing,
        Decision::Unknown => Known::Unreadable,
    };
    let wish = match how {
        Resolve::AsDecided => Wish::Follow,
        Resolve::Commit => Wish::Finish(Decided::Commit),
        Resolve::RollBack => Wish::Finish(Decided::Abort),
    };
    let failed = |error| ResolveError::Failed { gid: gid.to_string(), error };
    let decided = match plan(wish, known, evidence) {
        Ok(Plan::Finish(decided)) => decided,
        Ok(Plan::AbortFirst) => {
            let resolver = Resolver::new(pool, gid.anchor);
            let decided = resolver.resolve(&gid, &owner).await.map_err(failed)?;
            if wish == Wish::Finish(Decided::Abort) && decided == Decided::Commit {
                // It has committed meanwhile.
                let refusal = Refusal::Contradiction(decided);
                let (gid, problems) = (gid.to_string(), look.problems);
                return Err(ResolveError::Refused { gid, refusal, problems });
            }
            decided
        }
        Err(refusal) => {
            let (gid, problems) = (gid.to_string(), look.problems);
            return Err(ResolveError::Refused { gid, refusal, problems });
        }
    };
    let mut finished = Vec::new();
    for part in &parts {
        let backend = &look.backends[&part.shard];
        finish(backend, part, decided).await.map_err(failed)?;
        let in_doubt = in_doubt(pool, part);
        info!(%in_doubt, ?decided, "finished by hand");
        finished.push(in_doubt);
    }
    Ok(Resolved { is_committed: decided == Decided::Commit, finished })
}
