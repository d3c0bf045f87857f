//! The commit: one phase for one shard that wrote, two for more.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use pgherd_core::ShardId;
use pgherd_core::txn::{Action, Decided, Gid, Outcome, Shards, TxnEvent, TxnState};
use tracing::warn;

use super::open::OpenTransaction;
use super::participant::Participant;
use super::recovery::{RESOLVE_TRIES, Resolver};
use super::{CommitError, CommitStep, Committed, Cursor, InDoubt, table};
use crate::DistributedPool;

/// Commits on all shards or rolls back on all, in a task of its own: whoever waits for it may
/// stop waiting, and what was begun is still carried to its end.
pub(super) async fn commit(
    pool: &DistributedPool,
    open: Arc<OpenTransaction>,
    cursors: BTreeMap<ShardId, Cursor>,
) -> Result<Committed, CommitError> {
    let participants: BTreeMap<ShardId, Participant> = cursors
        .into_iter()
        .map(|(shard, cursor)| (shard, Participant::new(pool, cursor)))
        .collect();
    let owned = pool.clone();
    // `open` ends with the task, and not with whoever waits for it.
    let task = pool.runtime().spawn(async move { run(&owned, open.number(), participants).await });
    task.await.unwrap_or(Err(CommitError::CutOff))
}

async fn run(
    pool: &DistributedPool,
    number: u64,
    participants: BTreeMap<ShardId, Participant>,
) -> Result<Committed, CommitError> {
    if let (1, Some(only)) = (participants.len(), participants.values().next()) {
        return only.commit_alone().await.map(|()| Committed::default());
    }
    let asked = participants.values().map(Participant::standing);
    let standings: Result<Vec<_>, CommitError> = join_all(asked).await.into_iter().collect();
    let standings = match standings {
        Ok(standings) => standings,
        Err(error) => return Err(roll_back_all(&participants, error).await),
    };
    let is_writer = standings.iter().map(|standing| standing.has_written);
    let (writers, readers): (Vec<_>, Vec<_>) =
        participants.iter().zip(is_writer).partition(|(_, has_written)| *has_written);
    let writers: Vec<_> = writers.into_iter().map(|(entry, _)| entry).collect();
    let roles: Vec<&String> = standings
        .iter()
        .filter(|standing| standing.has_written)
        .map(|standing| &standing.role)
        .collect();
    if let Some(other) = roles.iter().find(|role| **role != roles[0]) {
        let (first, second) = (roles[0].clone(), (*other).clone());
        let error = CommitError::RolesDiffer { first, second };
        return Err(roll_back_all(&participants, error).await);
    }
    let result = match &writers[..] {
        [] => Ok(Committed::default()),
        [(_, only)] => only.commit_alone().await.map(|()| Committed::default()),
        [.., (anchor, _)] => {
            let others = writers.iter().map(|(shard, _)| **shard).filter(|shard| shard != *anchor);
            let driver = Driver {
                pool,
                gid: pool.numbering().gid(**anchor, number),
                owner: roles[0].clone(),
                anchor: **anchor,
                others: others.collect(),
                participants: &participants,
            };
            driver.drive().await
        }
    };
    // Those have written nothing, so it is the end of their block and no part of the decision.
    let is_committed = result.is_ok();
    let ending = readers.into_iter().map(|((_, reader), _)| async move {
        match is_committed {
            true => drop(reader.commit_alone().await),
            false => reader.roll_back().await,
        }
    });
    join_all(ending).await;
    result
}

/// Nothing is decided: all of it is undone.
async fn roll_back_all(
    participants: &BTreeMap<ShardId, Participant>,
    error: CommitError,
) -> CommitError {
    join_all(participants.values().map(Participant::roll_back)).await;
    error
}

/// Carries out what the machine asks for and tells it what came of it.
struct Driver<'d> {
    pool: &'d DistributedPool,
    gid: Gid,
    owner: String,
    anchor: ShardId,
    others: Shards,
    participants: &'d BTreeMap<ShardId, Participant>,
}

impl Driver<'_> {
    async fn drive(&self) -> Result<Committed, CommitError> {
        self.step(CommitStep::Preparing);
        let (mut state, mut actions) = TxnState::begin(self.anchor, self.others.clone());
        let mut running = FuturesUnordered::new();
        loop {
            running.extend(actions.drain(..).map(|action| self.perform(action)));
            if state.outcome().is_some() && running.is_empty() {
                break;
            }
            let event = match running.next().await {
                Some(Some(event)) => event,
                Some(None) => continue,
                // Everything that was tried has failed for good.
                None => TxnEvent::GaveUp,
            };
            let (next, then) = state.on(event).expect("the machine's own actions cause the event");
            (state, actions) = (next, then);
        }
        drop(running);
        let TxnState::Done(outcome) = state else {
            unreachable!("the loop ends with an outcome");
        };
        self.conclude(outcome)
    }

    /// `None` where nothing has come of it, and nothing more will.
    async fn perform(&self, action: Action) -> Option<TxnEvent> {
        let participant = |shard: ShardId| &self.participants[&shard];
        match action {
            Action::Prepare(shard) => {
                let script = table::prepare(&self.gid, shard, &self.owner);
                let event = participant(shard).prepare(&script).await;
                self.step(CommitStep::Prepared(shard));
                Some(event)
            }
            Action::Decide(shard) => {
                self.step(CommitStep::Deciding);
                let script = table::decide(&self.gid, &self.others, &self.owner);
                let event = participant(shard).decide(&script).await;
                self.step(CommitStep::Decided);
                Some(event)
            }
            Action::RollBack(shard) => {
                participant(shard).roll_back().await;
                None
            }
            Action::CommitPrepared(shard) => self.finish(shard, Decided::Commit, false).await,
            Action::RollBackPrepared(shard) => self.finish(shard, Decided::Abort, false).await,
            Action::RollBackUncertain(shard) => self.finish(shard, Decided::Abort, true).await,
            Action::Resolve(shard) => {
                let resolver = Resolver::new(self.pool, shard);
                for _ in 0..RESOLVE_TRIES {
                    match resolver.resolve(&self.gid, &self.owner).await {
                        Ok(decided) => return Some(TxnEvent::Resolved(decided)),
                        Err(error) => warn!(gid = %self.gid, %error, "cannot ask the anchor yet"),
                    }
                }
                None
            }
        }
    }

    async fn finish(&self, shard: ShardId, decided: Decided, uncertain: bool) -> Option<TxnEvent> {
        let participant = &self.participants[&shard];
        let is_done = participant.finish(&self.gid, &self.owner, decided, uncertain).await;
        self.step(CommitStep::Finished(shard));
        is_done.then_some(TxnEvent::Finished(shard))
    }

    fn conclude(&self, outcome: Outcome) -> Result<Committed, CommitError> {
        let named = |shards: Shards| -> Vec<InDoubt> {
            shards.iter().map(|shard| self.participants[shard].in_doubt(&self.gid)).collect()
        };
        match outcome {
            Outcome::Committed => Ok(Committed::default()),
            Outcome::CommittedPending(left) => {
                let pending = named(left);
                warn!(gid = %self.gid, ?pending, "committed, but not finished everywhere");
                Ok(Committed { pending })
            }
            Outcome::RolledBack => Err(self.reason()),
            Outcome::RolledBackPending(left) => {
                let pending = named(left);
                warn!(gid = %self.gid, ?pending, "rolled back, but not finished everywhere");
                Err(CommitError::RolledBackPending { reason: Box::new(self.reason()), pending })
            }
            Outcome::Unknown(left) => {
                let node = self.participants[&self.anchor].node().to_owned();
                Err(CommitError::InDoubt { node, in_doubt: named(left) })
            }
        }
    }

    /// Why it was rolled back, as the first participant says that has something to say.
    fn reason(&self) -> CommitError {
        let said = self.participants.values().find_map(Participant::take_error);
        said.unwrap_or_else(|| CommitError::AbortedByRecovery { gid: self.gid.to_string() })
    }

    fn step(&self, step: CommitStep) {
        if let Some(hook) = self.pool.commit_hook() {
            hook(&self.gid.to_string(), step);
        }
    }
}
