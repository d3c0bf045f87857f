//! The one error of the library, with questions on it.

use std::fmt;
use std::sync::Arc;

use pgherd_core::retry::Retry;
use pgherd_core::route::RouteError;
use pgherd_core::settings::SettingsErrors;
use pgherd_wire::sqlstate;
use tokio_postgres::error::{DbError, SqlState};

use crate::session::Late;
use crate::txn::{CommitError, InDoubt};
use crate::{AcquireError, ConnectError, NoPrimary};

/// What went wrong, with where and what next.
///
/// `{err}` is one line; `{err:#}` adds the chain of causes. No password is in either.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) {
/// use pgherd::ErrorKind;
///
/// match pool.write().execute("INSERT INTO users VALUES (42)", &[]).await {
///     Err(error) if error.sqlstate() == Some("23505") => println!("it is there already"),
///     Err(error) if error.kind() == ErrorKind::ConnectionLost && error.was_sent() => {
///         println!("it may be there: {error:#}");
///     }
///     Err(error) => println!("on {:?}, then {:?}: {error:#}", error.node(), error.retry()),
///     Ok(rows) => println!("{rows} written"),
/// }
/// # }
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    cause: Cause,
    // Of the last try.
    node: Option<Arc<str>>,
    is_read: bool,
    tries: u32,
}

/// What kind of thing went wrong. See [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The settings make no cluster.
    Settings,
    /// The pool was built outside of a tokio runtime.
    NoRuntime,
    /// The statement names a shard that is not there.
    Route,
    /// No backend came free in time, or none could be opened. Nothing was sent.
    Acquire,
    /// The group had no primary for as long as `routing.primary_wait` says. Nothing was sent.
    NoPrimary,
    /// The connection was lost. [`Error::was_sent`] says whether the statement had left.
    ConnectionLost,
    /// PostgreSQL reported an error: [`Error::db_error`] has every field of it.
    Database,
    /// Its time was up; see [`Request::deadline`](crate::Request::deadline) and
    /// [`TransactionRequest::deadline`](crate::TransactionRequest::deadline).
    /// [`Error::was_sent`] says whether the statement was under way; why an earlier try failed is
    /// the `source()`. A transaction has committed nothing: one of which that is not known is
    /// [`Self::InDoubt`].
    Deadline,
    /// The statement and how it was used do not fit: wrong parameters, not one row.
    Usage,
    /// A distributed transaction was rolled back on every shard.
    RolledBack,
    /// What became of a transaction is not known, or not finished everywhere:
    /// [`Error::in_doubt`] names what is left.
    InDoubt,
}

pub(crate) enum Cause {
    Settings(SettingsErrors),
    BadSettings(String),
    NoRuntime,
    Route(RouteError),
    Acquire(AcquireError),
    NoPrimary(NoPrimary),
    Statement {
        error: tokio_postgres::Error,
        is_lost: bool,
        was_sent: bool,
    },
    /// Of this statement not one row came, but so many.
    Rows {
        found: usize,
        sql: String,
    },
    Transaction(CommitError),
    /// A statement was cancelled because its transaction had to give way in a deadlock.
    Deadlock {
        error: tokio_postgres::Error,
    },
    /// A statement that was prepared before does not fit any more, and could not be prepared anew
    /// where it stood. Nothing of it ran.
    StalePlan {
        error: tokio_postgres::Error,
    },
    /// What was asked for cannot be done like this.
    Usage(String),
    /// It took too long, waits and further tries included.
    Deadline(Late),
}

impl Error {
    pub(crate) fn new(cause: Cause) -> Self {
        Self(Box::new(Inner { cause, node: None, is_read: false, tries: 1 }))
    }

    /// A statement on a node failed. `is_lost`: the connection has ended; `was_sent`: a
    /// statement had left in full and so may have run.
    pub(crate) fn statement(
        error: tokio_postgres::Error,
        node: Arc<str>,
        is_lost: bool,
        was_sent: bool,
    ) -> Self {
        // An error report without a connection behind it is still the server's word, but
        // what follows a crash of another process (57P02) may come after our commit. Not so what
        // a pooler reports of a server that it has lost.
        let report = error.as_db_error();
        let is_lost = report.is_some_and(is_pooler_s) || is_lost && report.is_none();
        let cause = Cause::Statement { error, is_lost, was_sent };
        Self(Box::new(Inner { cause, node: Some(node), is_read: false, tries: 1 }))
    }

    /// What was read does not fit what was asked for.
    pub(crate) fn of_answer(error: tokio_postgres::Error, is_read: bool) -> Self {
        let cause = Cause::Statement { error, is_lost: false, was_sent: true };
        Self::new(cause).of_read(is_read)
    }

    pub(crate) fn at(mut self, node: Arc<str>) -> Self {
        self.0.node = Some(node);
        self
    }

    pub(crate) fn of_read(mut self, is_read: bool) -> Self {
        self.0.is_read = is_read;
        self
    }

    pub(crate) fn after_tries(mut self, tries: u32) -> Self {
        self.0.tries = tries;
        self
    }

    pub(crate) fn cause(&self) -> &Cause {
        &self.0.cause
    }

    /// What kind of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        match &self.0.cause {
            Cause::Settings(_) | Cause::BadSettings(_) => ErrorKind::Settings,
            Cause::NoRuntime => ErrorKind::NoRuntime,
            Cause::Route(_) => ErrorKind::Route,
            Cause::Acquire(_) => ErrorKind::Acquire,
            Cause::NoPrimary(_) => ErrorKind::NoPrimary,
            Cause::Statement { is_lost: true, .. } => ErrorKind::ConnectionLost,
            Cause::Statement { error, .. } if error.as_db_error().is_some() => ErrorKind::Database,
            Cause::Statement { .. } | Cause::Rows { .. } => ErrorKind::Usage,
            Cause::Transaction(error) => error.kind(),
            Cause::Deadlock { .. } | Cause::StalePlan { .. } => ErrorKind::Database,
            Cause::Usage(_) => ErrorKind::Usage,
            Cause::Deadline(late) => late.kind(),
        }
    }

    /// Whether the caller may try again, and where. [`Retry::No`] also where another try might
    /// do the same thing twice.
    pub fn retry(&self) -> Retry {
        match &self.0.cause {
            Cause::Acquire(error) => error.retry(),
            Cause::NoPrimary(_) => Retry::Elsewhere,
            Cause::Statement { is_lost: true, was_sent, .. } => {
                if self.0.is_read || !was_sent {
                    Retry::Elsewhere
                } else {
                    Retry::No
                }
            }
            Cause::Statement { error, .. } => match error.code() {
                Some(state) => {
                    let proven =
                        self.0.is_read || pgherd_core::retry::proves_no_effect(state.code());
                    if proven { Retry::of_sqlstate(state.code()) } else { Retry::No }
                }
                None => Retry::No,
            },
            Cause::Transaction(error) => error.retry(),
            Cause::Deadlock { .. } | Cause::StalePlan { .. } => Retry::Same,
            Cause::Deadline(late) => late.retry(),
            Cause::Settings(_)
            | Cause::BadSettings(_)
            | Cause::NoRuntime
            | Cause::Route(_)
            | Cause::Rows { .. }
            | Cause::Usage(_) => Retry::No,
        }
    }

    /// Whether the statement had left in full, and so may have run. A statement of which only
    /// a part was written cannot run.
    pub fn was_sent(&self) -> bool {
        match &self.0.cause {
            Cause::Statement { was_sent, .. } => *was_sent,
            Cause::Rows { .. } | Cause::Deadlock { .. } | Cause::StalePlan { .. } => true,
            Cause::Transaction(error) => error.was_sent(),
            Cause::Deadline(late) => late.was_sent(),
            Cause::Settings(_)
            | Cause::BadSettings(_)
            | Cause::NoRuntime
            | Cause::Route(_)
            | Cause::NoPrimary(_)
            | Cause::Acquire(_)
            | Cause::Usage(_) => false,
        }
    }

    /// The SQLSTATE: PostgreSQL's own where it reported one; else `08001` no node reached,
    /// `08006` connection lost and nothing written, `08007` connection lost, or time up, after a
    /// statement was sent that may have written, or a transaction whose outcome is open; `57014`
    /// time up and nothing written.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.0.cause {
            Cause::Acquire(error) => {
                let refusal = error.connect().and_then(ConnectError::sqlstate);
                refusal.or(Some(sqlstate::CANNOT_CONNECT))
            }
            Cause::NoPrimary(_) => Some(sqlstate::CANNOT_CONNECT),
            Cause::Statement { is_lost: true, was_sent, .. } => {
                let is_unknown = *was_sent && !self.0.is_read;
                Some(if is_unknown {
                    sqlstate::TRANSACTION_UNKNOWN
                } else {
                    sqlstate::CONNECTION_FAILURE
                })
            }
            Cause::Statement { error, .. } | Cause::StalePlan { error } => {
                error.code().map(SqlState::code)
            }
            Cause::Transaction(error) => error.sqlstate(),
            Cause::Deadlock { .. } => Some(sqlstate::DEADLOCK_DETECTED),
            Cause::Deadline(late) => Some(late.sqlstate()),
            Cause::Settings(_)
            | Cause::BadSettings(_)
            | Cause::NoRuntime
            | Cause::Route(_)
            | Cause::Rows { .. }
            | Cause::Usage(_) => None,
        }
    }

    /// The name of the node that the last try ran on.
    pub fn node(&self) -> Option<&str> {
        self.0.node.as_deref().or(match &self.0.cause {
            Cause::Acquire(error) => Some(error.node()),
            Cause::Transaction(error) => error.node(),
            _ => None,
        })
    }

    /// How many times it was tried.
    ///
    /// ```no_run
    /// # fn f(error: pgherd::Error) {
    /// println!("failed after {} tries: {error:#}", error.tries());
    /// # }
    /// ```
    pub fn tries(&self) -> u32 {
        self.0.tries
    }

    /// PostgreSQL's own error, every field of it, if it reported one.
    ///
    /// ```no_run
    /// # fn f(error: pgherd::Error) {
    /// if let Some(report) = error.db_error() {
    ///     println!("{} in table {:?}: {:?}", report.message(), report.table(), report.hint());
    /// }
    /// # }
    /// ```
    pub fn db_error(&self) -> Option<&DbError> {
        match &self.0.cause {
            Cause::Statement { error, .. } | Cause::StalePlan { error } => error.as_db_error(),
            Cause::Transaction(error) => error.db_error(),
            _ => None,
        }
    }

    /// Why no backend could be acquired, if that was it.
    ///
    /// ```no_run
    /// # fn f(error: pgherd::Error) {
    /// use pgherd::AcquireError;
    ///
    /// if let Some(AcquireError::TimedOut { node, waited, load, .. }) = error.acquire_error() {
    ///     println!("{node} kept us waiting for {waited:?}: {load}");
    /// }
    /// # }
    /// ```
    pub fn acquire_error(&self) -> Option<&AcquireError> {
        match &self.0.cause {
            Cause::Acquire(error) => Some(error),
            _ => None,
        }
    }

    /// Which group had no primary, and what was last heard of its nodes, if that was it.
    ///
    /// ```no_run
    /// # fn f(error: pgherd::Error) {
    /// if let Some(why) = error.no_primary() {
    ///     for (node, last_heard) in &why.nodes {
    ///         println!("{} has no primary; {node}: {last_heard}", why.group);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn no_primary(&self) -> Option<&NoPrimary> {
        match &self.0.cause {
            Cause::NoPrimary(error) => Some(error),
            _ => None,
        }
    }

    /// The prepared transactions that recovery has still to finish.
    ///
    /// ```no_run
    /// # fn f(error: pgherd::Error) {
    /// for left in error.in_doubt() {
    ///     println!("recovery will finish {left}");
    /// }
    /// # }
    /// ```
    pub fn in_doubt(&self) -> &[InDoubt] {
        match &self.0.cause {
            Cause::Transaction(error) => error.in_doubt(),
            Cause::Deadline(late) => &late.in_doubt,
            _ => &[],
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = || self.0.node.as_deref().unwrap_or("a node");
        match &self.0.cause {
            Cause::Settings(errors) => write!(f, "{}", one_line(errors))?,
            Cause::BadSettings(problem) => f.write_str(problem)?,
            Cause::NoRuntime => f.write_str("a pool is built inside a tokio runtime")?,
            Cause::Route(error) => write!(f, "{error}")?,
            Cause::Acquire(error) => write!(f, "{error}")?,
            Cause::NoPrimary(error) => write!(f, "{error}")?,
            Cause::Statement { is_lost: true, was_sent, .. } => {
                let when = if *was_sent { "after" } else { "before" };
                write!(f, "connection to {} lost {when} the statement was sent", node())?;
            }
            Cause::Statement { error, .. } => match error.as_db_error() {
                Some(report) => {
                    let (severity, message) = (report.severity(), report.message());
                    let code = report.code().code();
                    write!(f, "{severity} from {}: {message} (SQLSTATE {code})", node())?;
                }
                None => write!(f, "statement for {}: {error}", node())?,
            },
            Cause::Rows { found, sql } => {
                write!(f, "one row was expected from {} and {found} came: {sql}", node())?;
            }
            Cause::Transaction(error) => write!(f, "{error}")?,
            Cause::StalePlan { error } => write!(
                f,
                "a statement that {} had prepared does not fit any more (SQLSTATE {}), because of \
                 a migration or a DEALLOCATE: it did not run, and is prepared anew when it is run \
                 again, with the whole transaction if it was in one",
                node(),
                error.code().map_or("?", SqlState::code)
            )?,
            Cause::Usage(problem) => f.write_str(problem)?,
            Cause::Deadline(late) => late.tell(f, node())?,
            Cause::Deadlock { .. } => write!(
                f,
                "deadlock over several shards: the statement on {} was cancelled, and its \
                 transaction can only be rolled back (SQLSTATE {})",
                node(),
                sqlstate::DEADLOCK_DETECTED
            )?,
        }
        if self.0.tries > 1 {
            write!(f, " (tried {} times)", self.0.tries)?;
        }
        if f.alternate() {
            f.write_str(&untold_causes(self))?;
        }
        Ok(())
    }
}

/// The chain of causes, without what the line before tells already.
fn untold_causes(error: &Error) -> String {
    let line = error.to_string();
    let mut more = String::new();
    let mut tell = |mark: &str, text: &str| {
        if !line.contains(text) && !more.contains(text) {
            more += &format!("{mark}{text}");
        }
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(report) = error.downcast_ref::<DbError>() {
            tell(": ", report.message());
            report.detail().into_iter().for_each(|text| tell("; DETAIL: ", text));
            report.hint().into_iter().for_each(|text| tell("; HINT: ", text));
        } else if !is_report(error) {
            tell(": ", &error.to_string());
        }
        cause = error.source();
    }
    more
}

/// Whether it says no more than that there is a report behind it.
fn is_report(error: &(dyn std::error::Error + 'static)) -> bool {
    let error = error.downcast_ref::<tokio_postgres::Error>();
    error.is_some_and(|error| error.as_db_error().is_some())
}

/// Whether it is what a pooler reports of a server that it has lost.
pub(crate) fn is_pooler_s(report: &DbError) -> bool {
    report.severity() == "FATAL" && report.code() == &SqlState::PROTOCOL_VIOLATION
}

fn one_line(errors: &SettingsErrors) -> String {
    errors.to_string().replace('\n', "; ")
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind())
            .field("node", &self.node())
            .field("sqlstate", &self.sqlstate())
            .field("was_sent", &self.was_sent())
            .field("message", &format_args!("{self:#}"))
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.cause {
            // Printed by Display already; what they were caused by is the next in the chain.
            Cause::Acquire(error) => std::error::Error::source(error),
            Cause::Transaction(error) => std::error::Error::source(error),
            Cause::Statement { error, .. }
            | Cause::Deadlock { error }
            | Cause::StalePlan { error } => Some(error),
            Cause::Deadline(late) => late.last.as_deref().map(|last| last as _),
            Cause::Settings(_)
            | Cause::BadSettings(_)
            | Cause::NoRuntime
            | Cause::Route(_)
            | Cause::NoPrimary(_)
            | Cause::Rows { .. }
            | Cause::Usage(_) => None,
        }
    }
}

impl From<SettingsErrors> for Error {
    fn from(errors: SettingsErrors) -> Self {
        Self::new(Cause::Settings(errors))
    }
}

impl From<RouteError> for Error {
    fn from(error: RouteError) -> Self {
        Self::new(Cause::Route(error))
    }
}

impl From<AcquireError> for Error {
    fn from(error: AcquireError) -> Self {
        Self::new(Cause::Acquire(error))
    }
}

impl From<NoPrimary> for Error {
    fn from(error: NoPrimary) -> Self {
        Self::new(Cause::NoPrimary(error))
    }
}

impl From<CommitError> for Error {
    fn from(error: CommitError) -> Self {
        Self::new(Cause::Transaction(error))
    }
}
