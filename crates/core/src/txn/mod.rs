//! A transaction over several shards: what to do next, and what recovery makes of one that was
//! left.
//!
//! In: what the shards answered. Out: commands for them ([`Action`]), and in the end the
//! [`Outcome`].
//!
//! Of the shards that wrote, one is the anchor. The others prepare; then the anchor commits
//! together with a row that says so. That commit is the decision. Then the others commit what
//! they have prepared. Whoever finds something prepared asks the anchor ([`recovery`]).
//!
//! Sends nothing and waits for nothing. Time-outs are the caller's, who tells of them by
//! [`TxnEvent::GaveUp`].

pub mod deadlock;
mod gid;
pub mod recovery;
pub mod resolve;

pub use gid::{BadGid, Gid};

use std::collections::BTreeSet;

use crate::id::ShardId;

/// Some shards.
pub type Shards = BTreeSet<ShardId>;

/// One distributed transaction.
///
/// | State              | In PostgreSQL                          | Recovery that finds it            |
/// |--------------------|----------------------------------------|-----------------------------------|
/// | `PreparingOthers`  | some participants prepared             | writes an abort row, rolls back   |
/// | `DecidingOnAnchor` | all others prepared, row not committed | the same; waits for the anchor    |
/// | `InDoubt`          | all others prepared, row perhaps       | reads the row, or writes an abort row |
/// | `CommittingOthers` | decision row committed                 | commits whoever is still prepared |
/// | `Aborting`         | abort row, or nothing                  | rolls back whoever is prepared    |
/// | `Done`             | nothing                                | nothing                           |
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnState {
    /// PREPARE TRANSACTION was sent to the others.
    PreparingOthers {
        /// Who decides.
        anchor: ShardId,
        /// Who was sent PREPARE and has not answered.
        unanswered: Shards,
        /// Who is prepared.
        prepared: Shards,
        /// Who may be prepared: the connection was lost before the answer.
        uncertain: Shards,
        /// Whether somebody has refused, so that nobody will commit.
        has_failed: bool,
    },
    /// The decision row and COMMIT were sent to the anchor.
    DecidingOnAnchor {
        /// Who decides.
        anchor: ShardId,
        /// Who is prepared.
        others: Shards,
    },
    /// The anchor's connection was lost before its answer: its table is asked.
    InDoubt {
        /// Who has decided.
        anchor: ShardId,
        /// Who is prepared.
        others: Shards,
    },
    /// It is decided: COMMIT PREPARED was sent.
    CommittingOthers {
        /// Who has not confirmed it.
        pending: Shards,
    },
    /// Nobody commits: ROLLBACK PREPARED was sent.
    Aborting {
        /// Who has not confirmed it.
        pending: Shards,
    },
    /// Nothing is left to do for this process.
    Done(Outcome),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Committed everywhere.
    Committed,
    /// Committed; these shards have not confirmed it and are left to recovery.
    CommittedPending(Shards),
    /// Rolled back everywhere.
    RolledBack,
    /// Rolled back; what these shards have prepared is left to recovery.
    RolledBackPending(Shards),
    /// The anchor could not be asked: recovery will find out. These may be prepared.
    Unknown(Shards),
}

/// What became of something that was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnEvent {
    /// PREPARE TRANSACTION was answered by its own tag.
    Prepared(ShardId),
    /// It was refused, or answered by ROLLBACK, or never left: nothing is prepared there.
    NotPrepared(ShardId),
    /// The connection was lost after it had left.
    MaybePrepared(ShardId),
    /// The anchor has committed.
    AnchorCommitted,
    /// The anchor has refused, or was never asked: its transaction is rolled back.
    AnchorRefused,
    /// The anchor's connection was lost after COMMIT had left.
    AnchorLost,
    /// The anchor's table says this.
    Resolved(Decided),
    /// COMMIT PREPARED or ROLLBACK PREPARED is done there.
    Finished(ShardId),
    /// No more is tried by this process.
    GaveUp,
}

/// What the decision row says. Once it says one, it never says the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decided {
    /// Commit what is prepared.
    Commit,
    /// Roll it back.
    Abort,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The marker and PREPARE TRANSACTION.
    Prepare(ShardId),
    /// The decision row and COMMIT, in one write.
    Decide(ShardId),
    /// ROLLBACK of a transaction that is still open.
    RollBack(ShardId),
    /// COMMIT PREPARED.
    CommitPrepared(ShardId),
    /// ROLLBACK PREPARED.
    RollBackPrepared(ShardId),
    /// The same where it is uncertain that anything was prepared: nothing to be found there
    /// proves it only once the backend that was sent PREPARE is gone.
    RollBackUncertain(ShardId),
    /// Ask the anchor's table over another connection; write an abort row if it has none.
    Resolve(ShardId),
}

/// An event that the state does not expect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a distributed transaction in state {state:?} does not expect {event:?}")]
pub struct Unexpected {
    /// The state, unchanged.
    pub state: TxnState,
    /// What came.
    pub event: TxnEvent,
}

impl TxnState {
    /// Begins the commit of a transaction that wrote on `anchor` and on `others`, which are at
    /// least one.
    pub fn begin(anchor: ShardId, others: Shards) -> (Self, Vec<Action>) {
        let actions = others.iter().copied().map(Action::Prepare).collect();
        let state = Self::PreparingOthers {
            anchor,
            unanswered: others,
            prepared: Shards::new(),
            uncertain: Shards::new(),
            has_failed: false,
        };
        (state, actions)
    }

    /// Whether nothing is left to do.
    pub fn outcome(&self) -> Option<&Outcome> {
        match self {
            Self::Done(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Takes an event in; answers what to do about it.
    ///
    /// # Errors
    /// [`Unexpected`]: a bug of the caller.
    pub fn on(self, event: TxnEvent) -> Result<(Self, Vec<Action>), Box<Unexpected>> {
        match (self, event) {
            (
                Self::PreparingOthers {
                    anchor,
                    mut unanswered,
                    mut prepared,
                    mut uncertain,
                    mut has_failed,
                },
                TxnEvent::Prepared(shard)
                | TxnEvent::NotPrepared(shard)
                | TxnEvent::MaybePrepared(shard),
            ) if unanswered.contains(&shard) => {
                unanswered.remove(&shard);
                match event {
                    TxnEvent::Prepared(_) => drop(prepared.insert(shard)),
                    TxnEvent::MaybePrepared(_) => drop(uncertain.insert(shard)),
                    _ => {}
                }
                has_failed |= !matches!(event, TxnEvent::Prepared(_));
                Ok(match (unanswered.is_empty(), has_failed) {
                    (false, _) => {
                        let state = Self::PreparingOthers {
                            anchor,
                            unanswered,
                            prepared,
                            uncertain,
                            has_failed,
                        };
                        (state, Vec::new())
                    }
                    (true, false) => {
                        let state = Self::DecidingOnAnchor { anchor, others: prepared };
                        (state, vec![Action::Decide(anchor)])
                    }
                    (true, true) => abort(Some(anchor), prepared, uncertain),
                })
            }
            (Self::DecidingOnAnchor { others, .. }, TxnEvent::AnchorCommitted)
            | (Self::InDoubt { others, .. }, TxnEvent::Resolved(Decided::Commit)) => {
                let actions = others.iter().copied().map(Action::CommitPrepared).collect();
                Ok((Self::CommittingOthers { pending: others }, actions))
            }
            (Self::DecidingOnAnchor { others, .. }, TxnEvent::AnchorRefused)
            | (Self::InDoubt { others, .. }, TxnEvent::Resolved(Decided::Abort)) => {
                Ok(abort(None, others, Shards::new()))
            }
            (Self::DecidingOnAnchor { anchor, others }, TxnEvent::AnchorLost) => {
                Ok((Self::InDoubt { anchor, others }, vec![Action::Resolve(anchor)]))
            }
            (Self::InDoubt { others, .. }, TxnEvent::GaveUp) => {
                Ok((Self::Done(Outcome::Unknown(others)), Vec::new()))
            }
            (Self::CommittingOthers { mut pending }, TxnEvent::Finished(shard))
                if pending.contains(&shard) =>
            {
                pending.remove(&shard);
                Ok((Self::committing(pending), Vec::new()))
            }
            (Self::Aborting { mut pending }, TxnEvent::Finished(shard))
                if pending.contains(&shard) =>
            {
                pending.remove(&shard);
                Ok((Self::aborting(pending), Vec::new()))
            }
            (Self::CommittingOthers { pending }, TxnEvent::GaveUp) => {
                Ok((Self::Done(Outcome::CommittedPending(pending)), Vec::new()))
            }
            (Self::Aborting { pending }, TxnEvent::GaveUp) => {
                Ok((Self::Done(Outcome::RolledBackPending(pending)), Vec::new()))
            }
            (state, event) => Err(Box::new(Unexpected { state, event })),
        }
    }

    fn committing(pending: Shards) -> Self {
        match pending.is_empty() {
            true => Self::Done(Outcome::Committed),
            false => Self::CommittingOthers { pending },
        }
    }

    fn aborting(pending: Shards) -> Self {
        match pending.is_empty() {
            true => Self::Done(Outcome::RolledBack),
            false => Self::Aborting { pending },
        }
    }
}

/// Nobody commits. The anchor's own transaction, where it is still open, is rolled back.
fn abort(anchor: Option<ShardId>, prepared: Shards, uncertain: Shards) -> (TxnState, Vec<Action>) {
    let actions = anchor
        .map(Action::RollBack)
        .into_iter()
        .chain(prepared.iter().copied().map(Action::RollBackPrepared))
        .chain(uncertain.iter().copied().map(Action::RollBackUncertain))
        .collect();
    let pending = prepared.union(&uncertain).copied().collect();
    (TxnState::aborting(pending), actions)
}

#[cfg(test)]
mod tests;
