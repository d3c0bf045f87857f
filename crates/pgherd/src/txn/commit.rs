//! The commit: one phase for one shard that wrote, two for more.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use pgherd_core::ShardId;
use pgherd_core::txn::{Action, Decided, Gid, Outcome, Shards, TxnEvent, TxnState};
use tokio::time::timeout;
use tracing::warn;

use super::open::OpenTransaction;
use super::participant::Participant;
use super::recovery::{RESOLVE_TRIES, Resolver};
use super::stage::Stage;
use super::{CommitError, CommitStep, Committed, Cursor, InDoubt, table};
use crate::pool::ANSWER_DELAY;
use crate::{DistributedPool, Error, ErrorKind};

/// Commits on all shards or rolls back on all, in a task of its own: whoever waits for it may
/// stop waiting, and what was begun is still carried to its end.
pub(super) async fn commit(
    pool: &DistributedPool,
    open: Arc<OpenTransaction>,
    cursors: BTreeMap<ShardId, Cursor>,
) -> Result<Committed, Error> {
    let participants: BTreeMap<ShardId, Participant> = cursors
        .into_iter()
        .map(|(shard, cursor)| (shard, Participant::new(pool, cursor)))
        .collect();
    let (owned, stage) = (pool.clone(), Arc::new(Stage::new()));
    let task = pool.runtime().spawn({
        // It ends with the task, and not with whoever waits for it.
        let (open, stage) = (Arc::clone(&open), Arc::clone(&stage));
        async move { run(&owned, open.number(), participants, &stage).await }
    });
    tokio::select! {
        biased;
        done = task => done.ok().flatten().unwrap_or(Err(CommitError::CutOff)).map_err(Error::from),
        () = open.progress().over() => stage.give_up(open.progress()),
    }
}

/// `None`: it was given up before anything was decided.
async fn run(
    pool: &DistributedPool,
    number: u64,
    participants: BTreeMap<ShardId, Participant>,
    stage: &Stage,
) -> Option<Result<Committed, CommitError>> {
    if let (1, Some(only)) = (participants.len(), participants.values().next()) {
        return commit_alone(only, stage).await;
    }
    let asked = join_all(participants.values().map(Participant::standing));
    let standings: Result<Vec<_>, CommitError> = tokio::select! {
        biased;
        standings = asked => standings.into_iter().collect(),
        // The leases end as those of a transaction that is dropped.
        () = stage.given_up() => return None,
    };
    let standings = match standings {
        Ok(standings) => standings,
        Err(error) => return Some(Err(roll_back_all(&participants, error).await)),
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
        return Some(Err(roll_back_all(&participants, error).await));
    }
    let result = match &writers[..] {
        [] => Some(Ok(Committed::default())),
        [(_, only)] => commit_alone(only, stage).await,
        [.., (anchor, _)] => {
            let others = writers.iter().map(|(shard, _)| **shard).filter(|shard| shard != *anchor);
            let driver = Driver {
                pool,
                gid: pool.numbering().gid(**anchor, number),
                owner: roles[0].clone(),
                anchor: **anchor,
                others: others.collect(),
                participants: &participants,
                stage,
            };
            Some(driver.drive().await)
        }
    };
    // Those have written nothing, so it is the end of their block and no part of the decision.
    let is_committed = matches!(result, Some(Ok(_)));
    let ending = readers.into_iter().map(|((_, reader), _)| async move {
        match is_committed {
            true => drop(reader.commit_alone().await),
            false => reader.roll_back().await,
        }
    });
    join_all(ending).await;
    result
}

/// COMMIT on the only shard that has anything to commit.
async fn commit_alone(only: &Participant, stage: &Stage) -> Option<Result<Committed, CommitError>> {
    if !stage.may_decide(only.node_pool(), Vec::new()) {
        only.roll_back().await;
        return None;
    }
    let done = tokio::select! {
        biased;
        done = only.commit_alone() => done,
        // Nobody is there to be told, and its lease ends as one that was dropped.
        () = stage.given_up() => return None,
    };
    match &done {
        Ok(()) => stage.is_committed(Vec::new()),
        Err(error) if error.kind() == ErrorKind::InDoubt => {}
        Err(error) => stage.is_rolled_back(|| error.to_string()),
    }
    Some(done.map(|()| Committed::default()))
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
    stage: &'d Stage,
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
            self.tell(&state);
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
                let mut preparing = pin!(participant(shard).prepare(&script));
                let event = tokio::select! {
                    biased;
                    event = &mut preparing => event,
                    () = self.stage.given_up() => {
                        // An answer that is on its way is the better end. Else its lease ends as
                        // one that was dropped, and it may be prepared or not.
                        let event = timeout(ANSWER_DELAY, preparing).await;
                        event.unwrap_or(TxnEvent::MaybePrepared(shard))
                    }
                };
                self.step(CommitStep::Prepared(shard));
                Some(event)
            }
            Action::Decide(shard) => {
                self.step(CommitStep::Deciding);
                let participant = participant(shard);
                if !self.stage.may_decide(participant.node_pool(), self.named(&self.others)) {
                    participant.roll_back().await;
                    return Some(TxnEvent::AnchorRefused);
                }
                let script = table::decide(&self.gid, &self.others, &self.owner);
                let event = participant.decide(&script).await;
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

    /// Says how far it has come, for whoever runs out of time.
    fn tell(&self, state: &TxnState) {
        match state {
            TxnState::CommittingOthers { pending } => self.stage.is_committed(self.named(pending)),
            TxnState::Aborting { .. } => {
                let why = || self.participants.values().find_map(Participant::error_text);
                self.stage.is_rolled_back(|| why().unwrap_or_default());
            }
            TxnState::Done(Outcome::Committed) => self.stage.is_committed(Vec::new()),
            TxnState::Done(Outcome::CommittedPending(left)) => {
                self.stage.is_committed(self.named(left));
            }
            TxnState::PreparingOthers { .. }
            | TxnState::DecidingOnAnchor { .. }
            | TxnState::InDoubt { .. }
            | TxnState::Done(_) => {}
        }
    }

    fn named(&self, shards: &Shards) -> Vec<InDoubt> {
        shards.iter().map(|shard| self.participants[shard].in_doubt(&self.gid)).collect()
    }

    fn conclude(&self, outcome: Outcome) -> Result<Committed, CommitError> {
        match outcome {
            Outcome::Committed => Ok(Committed::default()),
            Outcome::CommittedPending(left) => {
                let pending = self.named(&left);
                warn!(gid = %self.gid, ?pending, "committed, but not finished everywhere");
                Ok(Committed { pending })
            }
            Outcome::RolledBack => Err(self.reason()),
            Outcome::RolledBackPending(left) => {
                let pending = self.named(&left);
                warn!(gid = %self.gid, ?pending, "rolled back, but not finished everywhere");
                Err(CommitError::RolledBackPending { reason: Box::new(self.reason()), pending })
            }
            Outcome::Unknown(left) => {
                let node = self.participants[&self.anchor].node().to_owned();
                Err(CommitError::InDoubt { node, in_doubt: self.named(&left) })
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
