//! Why a distributed transaction did not commit, and what is left of it.

use std::fmt;

use pgherd_core::ShardId;
use pgherd_core::retry::Retry;
use pgherd_wire::sqlstate;
use tokio_postgres::error::{DbError, SqlState};

use crate::ErrorKind;

/// What was decided before something was left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// Every participant had prepared: finish with COMMIT PREPARED.
    Commit,
    /// One of them had not: finish with ROLLBACK PREPARED.
    Rollback,
    /// The work was cut off (its runtime shut down) before it could say.
    Unknown,
}

impl Decision {
    fn command(self) -> &'static str {
        match self {
            Self::Commit => "COMMIT PREPARED",
            Self::Rollback => "ROLLBACK PREPARED",
            Self::Unknown => "COMMIT PREPARED if all are there, else ROLLBACK PREPARED",
        }
    }
}

/// A prepared transaction that may still be waiting on a node. Prints as `'gid' on shard-0`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InDoubt {
    /// The shard.
    pub shard: ShardId,
    /// The node's name.
    pub node: String,
    /// Its name in `pg_prepared_xacts`.
    pub gid: String,
}

impl fmt::Display for InDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}' on {}", self.gid, self.node)
    }
}

/// Why a distributed transaction did not commit, or not everywhere yet.
#[derive(Debug)]
#[non_exhaustive]
pub enum CommitError {
    /// No key was given.
    NoKeys,
    /// The shard takes no part in this transaction.
    NotAParticipant {
        /// The shard.
        shard: ShardId,
    },
    /// A node takes no prepared transactions.
    PreparedDisabled {
        /// The node's name.
        node: String,
    },
    /// The transaction on a shard had failed or been ended before. Rolled back everywhere
    /// else.
    Ended {
        /// The node's name.
        node: String,
        /// What the node answered instead of `PREPARE TRANSACTION` or `COMMIT`.
        tag: String,
    },
    /// A shard refused. Rolled back everywhere.
    Refused {
        /// The node's name.
        node: String,
        /// What it said.
        error: tokio_postgres::Error,
    },
    /// The connection was lost before it was known that a shard can commit. Rolled back
    /// everywhere.
    Lost {
        /// The node's name.
        node: String,
        /// What was seen of it.
        error: tokio_postgres::Error,
    },
    /// The connection was lost between COMMIT and its answer, in a transaction of one shard.
    Unknown {
        /// The node's name.
        node: String,
        /// What was seen of it.
        error: tokio_postgres::Error,
    },
    /// It is decided, but not finished everywhere: these wait to be finished.
    Unfinished {
        /// What was decided.
        decision: Decision,
        /// What may still wait. Never empty.
        in_doubt: Vec<InDoubt>,
    },
}

impl CommitError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKeys | Self::NotAParticipant { .. } | Self::PreparedDisabled { .. } => {
                ErrorKind::Usage
            }
            Self::Ended { .. } | Self::Refused { .. } | Self::Lost { .. } => ErrorKind::RolledBack,
            Self::Unknown { .. } | Self::Unfinished { .. } => ErrorKind::InDoubt,
        }
    }

    /// What a new transaction with the same statements would meet.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Refused { error, .. } => match error.code() {
                Some(state) => Retry::of_sqlstate(state.code()),
                None => Retry::No,
            },
            Self::Lost { .. } => Retry::Same,
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::Ended { .. }
            | Self::Unknown { .. }
            | Self::Unfinished { .. } => Retry::No,
        }
    }

    pub(crate) fn was_sent(&self) -> bool {
        match self {
            Self::NoKeys | Self::NotAParticipant { .. } | Self::PreparedDisabled { .. } => false,
            Self::Ended { .. }
            | Self::Refused { .. }
            | Self::Lost { .. }
            | Self::Unknown { .. }
            | Self::Unfinished { .. } => true,
        }
    }

    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Refused { error, .. } => error.code().map(SqlState::code),
            Self::Lost { .. } => Some(sqlstate::CONNECTION_FAILURE),
            Self::Unknown { .. } | Self::Unfinished { .. } => Some(sqlstate::TRANSACTION_UNKNOWN),
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::Ended { .. } => None,
        }
    }

    pub(crate) fn node(&self) -> Option<&str> {
        match self {
            Self::PreparedDisabled { node }
            | Self::Ended { node, .. }
            | Self::Refused { node, .. }
            | Self::Lost { node, .. }
            | Self::Unknown { node, .. } => Some(node),
            Self::Unfinished { in_doubt, .. } => in_doubt.first().map(|one| one.node.as_str()),
            Self::NoKeys | Self::NotAParticipant { .. } => None,
        }
    }

    pub(crate) fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Refused { error, .. }
            | Self::Lost { error, .. }
            | Self::Unknown { error, .. } => error.as_db_error(),
            _ => None,
        }
    }

    pub(crate) fn in_doubt(&self) -> &[InDoubt] {
        match self {
            Self::Unfinished { in_doubt, .. } => in_doubt,
            _ => &[],
        }
    }
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeys => f.write_str("a distributed transaction needs at least one key"),
            Self::NotAParticipant { shard } => {
                write!(
                    f,
                    "shard {shard} takes no part in this transaction: name a key of it at the start"
                )
            }
            Self::PreparedDisabled { node } => write!(
                f,
                "{node} takes no prepared transactions, which a transaction over several shards \
                 needs: set max_prepared_transactions there to the number of transactions at a \
                 time, and restart it"
            ),
            Self::Ended { node, tag } => write!(
                f,
                "the transaction had failed or ended on {node} before its commit (answer: {tag}): \
                 rolled back"
            ),
            Self::Refused { node, error } => match error.as_db_error() {
                Some(report) => {
                    let (message, code) = (report.message(), report.code().code());
                    write!(f, "{node} refused the commit: {message} (SQLSTATE {code}): rolled back")
                }
                None => write!(f, "{node} refused the commit: {error}: rolled back"),
            },
            Self::Lost { node, .. } => {
                write!(f, "connection to {node} lost before the commit was decided: rolled back")
            }
            Self::Unknown { node, .. } => {
                write!(f, "connection to {node} lost after COMMIT was sent: the outcome is unknown")
            }
            Self::Unfinished { decision, in_doubt } => {
                let what = match decision {
                    Decision::Commit => "committed, but not finished everywhere",
                    Decision::Rollback => "rolled back, but not finished everywhere",
                    Decision::Unknown => "the commit was cut off",
                };
                let names: Vec<_> = in_doubt.iter().map(InDoubt::to_string).collect();
                write!(f, "{what}: run {} for {}", decision.command(), names.join(", "))
            }
        }
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. }
            | Self::Lost { error, .. }
            | Self::Unknown { error, .. } => Some(error),
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::Ended { .. }
            | Self::Unfinished { .. } => None,
        }
    }
}
