//! Why a distributed transaction did not commit, and what is left of it.

use std::fmt;
use std::time::Duration;

use pgherd_core::ShardId;
use pgherd_core::retry::Retry;
use pgherd_wire::sqlstate;
use serde::Serialize;
use tokio_postgres::error::{DbError, SqlState};

use crate::{ConnectError, ErrorKind};

/// A prepared transaction that may still be waiting on a node. Prints as `'gid' on shard-0`. See
/// [`Error::in_doubt`](crate::Error::in_doubt).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// Why a transaction did not commit, or not everywhere yet. [`Error`](crate::Error) tells what that
/// means by its kind, SQLSTATE and [`in_doubt`](crate::Error::in_doubt).
///
/// ```
/// use pgherd::{CommitError, Error, ErrorKind, ShardId};
///
/// let error = Error::from(CommitError::NotAParticipant { shard: ShardId(3) });
/// assert_eq!(error.kind(), ErrorKind::Usage);
/// let error = Error::from(CommitError::CutOff);
/// assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")));
/// ```
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
    /// The connection was lost between COMMIT and its answer, in a transaction on one node.
    Unknown {
        /// The node's name.
        node: String,
        /// What was seen of it.
        error: tokio_postgres::Error,
    },
    /// Another node became the primary before this one answered. Rolled back if COMMIT had not been
    /// sent to it, else unknown.
    Deposed {
        /// The node's name.
        node: String,
        /// Whether COMMIT had been sent.
        was_sent: bool,
    },
    /// The connection was lost between COMMIT and its answer, and it could not be looked up what
    /// became of it.
    LookUpFailed {
        /// The node's name.
        node: String,
        /// Why it could not be looked up.
        reason: String,
    },
    /// A shard has no decision table, or this login may not use it.
    NoTable {
        /// The node's name.
        node: String,
    },
    /// The transaction runs under different roles on different shards, and recovery could not
    /// tell whose it is. Rolled back everywhere.
    RolesDiffer {
        /// A role on one shard.
        first: String,
        /// The role on another.
        second: String,
    },
    /// It took longer than the grace time to commit, and recovery has rolled it back everywhere.
    AbortedByRecovery {
        /// The transaction's name.
        gid: String,
    },
    /// Rolled back; recovery will finish what could not be reached.
    RolledBackPending {
        /// Why.
        reason: Box<CommitError>,
        /// What is still prepared. Never empty.
        pending: Vec<InDoubt>,
    },
    /// The connection was lost while the decision was being made, and the node that knows it
    /// cannot be reached. Recovery will finish it, one way or the other.
    InDoubt {
        /// The node that knows.
        node: String,
        /// What is prepared. Never empty.
        in_doubt: Vec<InDoubt>,
    },
    /// The runtime shut down in the middle of it. Recovery will finish it.
    CutOff,
}

impl CommitError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::NoTable { .. } => ErrorKind::Usage,
            Self::Ended { .. }
            | Self::Refused { .. }
            | Self::Lost { .. }
            | Self::RolesDiffer { .. }
            | Self::AbortedByRecovery { .. }
            | Self::RolledBackPending { .. }
            | Self::Deposed { was_sent: false, .. } => ErrorKind::RolledBack,
            Self::Unknown { .. }
            | Self::Deposed { .. }
            | Self::LookUpFailed { .. }
            | Self::InDoubt { .. }
            | Self::CutOff => ErrorKind::InDoubt,
        }
    }

    /// What a new transaction with the same statements would meet.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Refused { error, .. } => match error.code() {
                Some(state) => Retry::of_sqlstate(state.code()),
                None => Retry::No,
            },
            Self::Lost { .. }
            | Self::AbortedByRecovery { .. }
            | Self::Deposed { was_sent: false, .. } => Retry::Same,
            Self::RolledBackPending { reason, .. } => reason.retry(),
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::NoTable { .. }
            | Self::RolesDiffer { .. }
            | Self::Ended { .. }
            | Self::Unknown { .. }
            | Self::Deposed { .. }
            | Self::LookUpFailed { .. }
            | Self::InDoubt { .. }
            | Self::CutOff => Retry::No,
        }
    }

    pub(crate) fn was_sent(&self) -> bool {
        self.kind() != ErrorKind::Usage
    }

    pub(crate) fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Refused { error, .. } => error.code().map(SqlState::code),
            Self::Lost { .. } | Self::Deposed { was_sent: false, .. } => {
                Some(sqlstate::CONNECTION_FAILURE)
            }
            Self::Unknown { .. }
            | Self::Deposed { .. }
            | Self::LookUpFailed { .. }
            | Self::InDoubt { .. }
            | Self::CutOff => Some(sqlstate::TRANSACTION_UNKNOWN),
            Self::RolledBackPending { reason, .. } => reason.sqlstate(),
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::PreparedDisabled { .. }
            | Self::NoTable { .. }
            | Self::RolesDiffer { .. }
            | Self::AbortedByRecovery { .. }
            | Self::Ended { .. } => None,
        }
    }

    pub(crate) fn node(&self) -> Option<&str> {
        match self {
            Self::PreparedDisabled { node }
            | Self::NoTable { node }
            | Self::Ended { node, .. }
            | Self::Refused { node, .. }
            | Self::Lost { node, .. }
            | Self::Unknown { node, .. }
            | Self::Deposed { node, .. }
            | Self::LookUpFailed { node, .. }
            | Self::InDoubt { node, .. } => Some(node),
            Self::RolledBackPending { reason, .. } => reason.node(),
            Self::NoKeys
            | Self::NotAParticipant { .. }
            | Self::RolesDiffer { .. }
            | Self::AbortedByRecovery { .. }
            | Self::CutOff => None,
        }
    }

    pub(crate) fn db_error(&self) -> Option<&DbError> {
        match self {
            Self::Refused { error, .. }
            | Self::Lost { error, .. }
            | Self::Unknown { error, .. } => error.as_db_error(),
            Self::RolledBackPending { reason, .. } => reason.db_error(),
            _ => None,
        }
    }

    pub(crate) fn in_doubt(&self) -> &[InDoubt] {
        match self {
            Self::InDoubt { in_doubt, .. } => in_doubt,
            Self::RolledBackPending { pending, .. } => pending,
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
            Self::Deposed { node, was_sent: true } => write!(
                f,
                "another node became the primary before {node} answered COMMIT: the outcome is \
                 unknown"
            ),
            Self::Deposed { node, was_sent: false } => write!(
                f,
                "another node became the primary while the transaction was open on {node}: rolled \
                 back"
            ),
            Self::LookUpFailed { node, reason } => write!(
                f,
                "connection to {node} lost after COMMIT was sent: the outcome is unknown, and could \
                 not be looked up: {reason}"
            ),
            Self::NoTable { node } => write!(
                f,
                "{node} has no decision table that this login may use, which a transaction over \
                 several shards needs: run `pgherd init`"
            ),
            Self::RolesDiffer { first, second } => write!(
                f,
                "the transaction runs as \"{first}\" on one shard and as \"{second}\" on another: \
                 rolled back; set the same role on all, or on none"
            ),
            Self::AbortedByRecovery { gid } => write!(
                f,
                "recovery has rolled back '{gid}', which was prepared for longer than \
                 transactions.grace"
            ),
            Self::RolledBackPending { reason, pending } => {
                write!(f, "{reason}; recovery will undo {}", list(pending))
            }
            Self::InDoubt { node, in_doubt } => write!(
                f,
                "connection to {node} lost during the commit, and it cannot be asked what it \
                 decided: recovery will finish {}",
                list(in_doubt)
            ),
            Self::CutOff => f.write_str(
                "the runtime shut down during the commit: recovery will finish what is prepared",
            ),
        }
    }
}

fn list(all: &[InDoubt]) -> String {
    let names: Vec<_> = all.iter().map(InDoubt::to_string).collect();
    names.join(", ")
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Refused { error, .. }
            | Self::Lost { error, .. }
            | Self::Unknown { error, .. } => Some(error),
            Self::RolledBackPending { reason, .. } => reason.source(),
            _ => None,
        }
    }
}

/// Why recovery could not finish something now. See [`ResolveError`](crate::ResolveError).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// No connection to a node.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// A node refused.
    #[error("{}", .0.as_db_error().map_or_else(|| .0.to_string(), |report| format!(
        "{} (SQLSTATE {})", report.message(), report.code().code())))]
    Refused(#[from] tokio_postgres::Error),
    /// A node did not answer in time.
    #[error("no answer from {node} within {limit:?}")]
    TimedOut {
        /// The node's name.
        node: String,
        /// How long it was waited.
        limit: Duration,
    },
    /// The shard that decides has already failed to answer in the same pass over the shards.
    #[error("shard {shard} decides, and could not be asked before")]
    NotAsked {
        /// The shard.
        shard: ShardId,
    },
    /// The name of a prepared transaction speaks of a shard that is not there.
    #[error("shard {shard} decides, and is not part of this cluster")]
    NoShard {
        /// The shard.
        shard: ShardId,
    },
    /// Somebody keeps the anchor from saying anything.
    #[error("the decision on {gid} could be neither read nor made in {rounds} rounds")]
    Undecided {
        /// The transaction's name.
        gid: String,
        /// Rounds of reading and writing.
        rounds: usize,
    },
}

impl RecoveryError {
    /// What the node has reported, if it has.
    pub(super) fn code(&self) -> Option<&SqlState> {
        match self {
            Self::Refused(error) => error.code(),
            _ => None,
        }
    }
}
