//! The answer of classification.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::Serialize;

/// What kind of statement it is, which is what the routing table asks.
///
/// ```
/// use pgherd_core::sql::{QueryType, classify};
///
/// assert_eq!(classify("SELECT * FROM users FOR UPDATE").query_type, QueryType::Write);
/// assert_eq!("ddl".parse(), Ok(QueryType::Ddl));
/// assert_eq!(QueryType::Distributed.as_str(), "distributed");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryType {
    /// Writes nothing and takes no locks that a replica could not.
    Read,
    /// Writes, or may write.
    Write,
    /// Defines: CREATE, ALTER, DROP, GRANT ...
    Ddl,
    /// Runs over several shards. Never the classifier's answer: it is the caller's word.
    Distributed,
}

impl QueryType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Write, Self::Ddl, Self::Distributed];

    /// The word used in settings and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Ddl => "ddl",
            Self::Distributed => "distributed",
        }
    }
}

impl QueryType {
    /// Of two statements in one text, what the text is.
    pub(super) fn stronger(self, other: Self) -> Self {
        use QueryType::{Ddl, Distributed, Read, Write};
        match (self, other) {
            (Distributed, _) | (_, Distributed) => Distributed,
            (Ddl, _) | (_, Ddl) => Ddl,
            (Write, _) | (_, Write) => Write,
            (Read, Read) => Read,
        }
    }
}

impl fmt::Display for QueryType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no query type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of read, write, ddl, distributed")]
pub struct BadQueryType(String);

impl FromStr for QueryType {
    type Err = BadQueryType;

    fn from_str(word: &str) -> Result<Self, BadQueryType> {
        [Self::Read, Self::Write, Self::Ddl, Self::Distributed]
            .into_iter()
            .find(|query_type| query_type.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| BadQueryType(word.to_owned()))
    }
}

/// A statement that opens, ends or marks a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TransactionControl {
    /// BEGIN, START TRANSACTION.
    Begin {
        /// Whether it says READ ONLY.
        read_only: bool,
    },
    /// COMMIT, END.
    Commit {
        /// Whether AND CHAIN opens the next one.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// Whether AND CHAIN opens the next one.
        chain: bool,
    },
    /// SAVEPOINT, RELEASE, ROLLBACK TO.
    Savepoint,
    /// PREPARE TRANSACTION.
    Prepare,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
}

/// What a statement leaves in the session that outlives its transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StateKind {
    /// SET and RESET, but not SET LOCAL; `set_config(..., false)`.
    Setting,
    /// A temporary table, view or sequence.
    Temporary,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// LISTEN, UNLISTEN.
    Listen,
    /// PREPARE, DEALLOCATE.
    Prepared,
    /// A session advisory lock, taken or given back.
    AdvisoryLock,
    /// LOAD.
    Load,
    /// A connection of dblink, a backup under way, a temporary replication slot, an origin of
    /// replication: what no view tells of the session itself.
    Untold,
    /// DISCARD.
    Discard,
    /// A DO block or a procedure: anything may be in it.
    Unknown,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Setting => "a setting of the session",
            Self::Temporary => "a temporary relation",
            Self::HoldCursor => "a cursor WITH HOLD",
            Self::Listen => "LISTEN",
            Self::Prepared => "a prepared statement",
            Self::AdvisoryLock => "an advisory lock of the session",
            Self::Load => "a loaded library",
            Self::Untold => "what no view tells of",
            Self::Discard => "DISCARD",
            Self::Unknown => "whatever its code does",
        })
    }
}

impl StateKind {
    pub(super) fn remains(self) -> Remains {
        match self {
            Self::Load | Self::Untold => Remains::Lasting,
            Self::Setting
            | Self::Temporary
            | Self::HoldCursor
            | Self::Listen
            | Self::Prepared
            | Self::AdvisoryLock
            | Self::Discard
            | Self::Unknown => Remains::Resettable,
        }
    }
}

/// What may be in a session once the transactions of its user have ended, at worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Remains {
    /// Nothing that the next user could find.
    Nothing,
    /// Perhaps something, which [`reset`](crate::reset) undoes.
    Resettable,
    /// Perhaps something that ends with the session and not before.
    Lasting,
}

/// What a text is. Of several statements it is what the strongest of them is: DDL before
/// writes before reads.
///
/// ```
/// use pgherd_core::sql::{QueryType, Remains, StateKind, classify};
///
/// let class = classify("INSERT INTO log VALUES (1); SET work_mem = '1MB'");
/// assert_eq!((class.statements, class.query_type), (2, QueryType::Write));
/// assert_eq!(class.leaves_state, Some(StateKind::Setting));
/// assert_eq!(classify("SET LOCAL work_mem = '1MB'").remains, Remains::Nothing);
/// assert!(classify("SELEC 1").parse_error.is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Classified {
    /// What the routing table asks.
    pub query_type: QueryType,
    /// The *last* statement of the text that opens, ends or marks a transaction.
    pub transaction: Option<TransactionControl>,
    /// The first statement of the text that leaves state in the session.
    pub leaves_state: Option<StateKind>,
    /// What it may leave at worst. Nothing, only if every function it calls by name is one of
    /// PostgreSQL's own; what triggers, views and operators of PostgreSQL's own call is not seen.
    pub remains: Remains,
    /// Whether it may set something, be it for its transaction only, under which other texts mean
    /// something else, such as `TimeZone`. What leaves state in the session is not asked.
    pub alters_meaning: bool,
    /// Statements in the text. 0 for an empty text, and for one that could not be parsed.
    pub statements: usize,
    /// Whether every statement may run on a hot standby. Every `Read` may; so may BEGIN READ
    /// ONLY, and what marks or ends a transaction. It does not follow that the text is a `Read`.
    pub may_run_on_replica: bool,
    /// Why the text could not be parsed.
    pub parse_error: Option<Arc<str>>,
}

impl Classified {
    /// A text without statements.
    pub(super) fn nothing() -> Self {
        Self {
            query_type: QueryType::Read,
            transaction: None,
            leaves_state: None,
            remains: Remains::Nothing,
            alters_meaning: false,
            statements: 0,
            may_run_on_replica: true,
            parse_error: None,
        }
    }

    /// A text that could not be parsed: a write to the primary, and what it leaves is unknown.
    pub(super) fn unknown(error: Arc<str>) -> Self {
        Self {
            query_type: QueryType::Write,
            transaction: None,
            leaves_state: Some(StateKind::Unknown),
            remains: Remains::Lasting,
            alters_meaning: true,
            statements: 0,
            may_run_on_replica: false,
            parse_error: Some(error),
        }
    }
}
