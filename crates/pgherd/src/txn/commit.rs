//! The commit: one phase for one shard, two for more.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use pgherd_core::ShardId;
use tracing::warn;

use super::finish::{Participant, Verb};
use super::gid::gid;
use super::{CommitError, Cursor, Decision, InDoubt};
use crate::{DistributedPool, Lease};

/// Commits on all shards or rolls back on all, in a task of its own: whoever waits for it may
/// stop waiting, and what was begun is still carried to its end.
pub(super) async fn commit(
    pool: &DistributedPool,
    cursors: BTreeMap<ShardId, Cursor>,
) -> Result<(), CommitError> {
    let transaction = pool.numbering().next();
    let participants: Vec<_> = cursors
        .into_iter()
        .map(|(shard, cursor)| Participant::new(pool, cursor, gid(&transaction, shard)))
        .collect();
    let names: Vec<InDoubt> = participants.iter().map(Participant::in_doubt).collect();
    let task = pool.runtime().spawn(async move {
        match &participants[..] {
            [only] => commit_alone(only).await,
            _ => commit_together(participants).await,
        }
    });
    task.await.unwrap_or_else(|_| {
        Err(CommitError::Unfinished { decision: Decision::Unknown, in_doubt: names })
    })
}

async fn commit_alone(participant: &Participant) -> Result<(), CommitError> {
    let lease = participant.lease();
    let node = participant.node().to_owned();
    let before = lease.statements();
    match lease.batch_execute("COMMIT").await {
        Ok(()) => match lease.backend().last_tag() {
            tag if tag == "COMMIT" => Ok(()),
            tag => Err(CommitError::Ended { node, tag }),
        },
        Err(error) if !lease.is_closed() => Err(CommitError::Refused { node, error }),
        Err(error) if lease.statements() == before => Err(CommitError::Lost { node, error }),
        Err(error) => Err(CommitError::Unknown { node, error }),
    }
}

/// What came of one PREPARE TRANSACTION.
enum Prepared {
    /// It is prepared.
    Yes,
    /// It is not, and its transaction is rolled back.
    No(CommitError),
    /// The connection was lost: it may be.
    Maybe(CommitError),
}

async fn commit_together(participants: Vec<Participant>) -> Result<(), CommitError> {
    let outcomes = join_all(participants.iter().map(prepare)).await;
    if outcomes.iter().all(|outcome| matches!(outcome, Prepared::Yes)) {
        let left = finish_all(participants.into_iter().map(|one| (one, false)), Verb::Commit).await;
        return match left.is_empty() {
            true => Ok(()),
            false => Err(CommitError::Unfinished { decision: Decision::Commit, in_doubt: left }),
        };
    }

    let mut reason = None;
    let mut to_undo = Vec::new();
    for (participant, outcome) in participants.into_iter().zip(outcomes) {
        match outcome {
            Prepared::Yes => to_undo.push((participant, false)),
            Prepared::No(error) => reason = reason.or(Some(error)),
            Prepared::Maybe(error) => {
                to_undo.push((participant, true));
                reason = reason.or(Some(error));
            }
        }
    }
    let left = finish_all(to_undo, Verb::Rollback).await;
    let reason = reason.expect("some outcome was not Yes, and each of those has an error");
    if left.is_empty() {
        return Err(reason);
    }
    warn!(%reason, "a distributed transaction could not be rolled back everywhere");
    Err(CommitError::Unfinished { decision: Decision::Rollback, in_doubt: left })
}

async fn prepare(participant: &Participant) -> Prepared {
    const TAG: &str = "PREPARE TRANSACTION";
    let lease: &Lease = participant.lease();
    let node = participant.node().to_owned();
    let before = lease.statements();
    match lease.batch_execute(&format!("{TAG} '{}'", participant.gid())).await {
        Ok(()) => match lease.backend().last_tag() {
            tag if tag == TAG => Prepared::Yes,
            tag => Prepared::No(CommitError::Ended { node, tag }),
        },
        Err(error) if !lease.is_closed() => Prepared::No(CommitError::Refused { node, error }),
        Err(error) if lease.statements() == before => {
            Prepared::No(CommitError::Lost { node, error })
        }
        Err(error) => Prepared::Maybe(CommitError::Lost { node, error }),
    }
}

/// Finishes each; what could not be finished is returned. With each participant: whether it is
/// uncertain that it is prepared at all.
async fn finish_all(
    participants: impl IntoIterator<Item = (Participant, bool)>,
    verb: Verb,
) -> Vec<InDoubt> {
    let finishing = participants.into_iter().map(|(participant, is_uncertain)| async move {
        let in_doubt = participant.in_doubt();
        let is_finished = participant.finish(verb, is_uncertain).await;
        (!is_finished).then_some(in_doubt)
    });
    join_all(finishing).await.into_iter().flatten().collect()
}
