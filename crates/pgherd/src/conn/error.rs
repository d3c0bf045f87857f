//! Why a backend could not be opened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::{PasswordError, TlsError};

/// How far opening a backend got. See [`ConnectError`].
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectStep {
    /// There is no password to log in with. The node was not asked.
    Password(PasswordError),
    /// No connection: the name was not found, the node refused, the network failed.
    Dial(std::io::Error),
    /// The connection could not be encrypted as `tls` of the settings wants it.
    Encrypt(TlsError),
    /// The node answered, but did not let us in.
    LogIn(tokio_postgres::Error),
    /// It took longer than `pool.connect_timeout` (or, for a probe, `health.timeout`).
    TimedOut {
        /// That limit.
        limit: Duration,
    },
    /// A hook on open did not want it.
    Hook(crate::HookError),
}

/// Why a backend could not be opened. Nothing was run on it.
///
/// ```no_run
/// # fn f(error: pgherd::ConnectError) {
/// use pgherd::ConnectStep;
///
/// match &error.step {
///     ConnectStep::Dial(cause) => println!("{} is not there: {cause}", error.address),
///     ConnectStep::LogIn(_) if error.sqlstate() == Some("28P01") => println!("a wrong password"),
///     _ if error.is_passing() => println!("later, perhaps: {error}"),
///     _ => println!("never, unless somebody does something: {error}"),
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct ConnectError {
    /// The node's name.
    pub node: Arc<str>,
    /// Where it was looked for, `host:port`.
    pub address: String,
    /// What failed.
    pub step: ConnectStep,
}

impl ConnectError {
    /// The SQLSTATE of the node's refusal, if it was one.
    pub fn sqlstate(&self) -> Option<&str> {
        match &self.step {
            // A pooler's word for all that it meets, also for a node that it does not reach.
            ConnectStep::LogIn(error) if error.code() == Some(&SqlState::PROTOCOL_VIOLATION) => {
                None
            }
            ConnectStep::LogIn(error) => error.code().map(SqlState::code),
            ConnectStep::Password(_)
            | ConnectStep::Dial(_)
            | ConnectStep::Encrypt(_)
            | ConnectStep::TimedOut { .. }
            | ConnectStep::Hook(_) => None,
        }
    }

    /// Whether another try, here later or on another node, could succeed. Not when the login
    /// or the database is wrong, or a file of ours: those are the same everywhere.
    pub fn is_passing(&self) -> bool {
        match &self.step {
            ConnectStep::Encrypt(error) => return !error.is_ours(),
            ConnectStep::Password(error) => return error.is_passing(),
            ConnectStep::Dial(_)
            | ConnectStep::LogIn(_)
            | ConnectStep::TimedOut { .. }
            | ConnectStep::Hook(_) => {}
        }
        let is_about_login = |code: &str| code.starts_with("28") || code.starts_with("3D");
        !self.sqlstate().is_some_and(is_about_login)
    }

    /// Whether nothing listens there: what is still busy on the node is dead or dying.
    pub(crate) fn is_node_away(&self) -> bool {
        matches!(self.step, ConnectStep::Dial(_))
    }

    /// Whether this says something about the node's health: a node that refuses one login, has
    /// no slot left, or does not please a hook, is well.
    pub(crate) fn blames_node(&self) -> bool {
        let is_ours = matches!(self.step, ConnectStep::Password(_) | ConnectStep::Hook(_));
        self.is_passing() && !is_ours && self.sqlstate() != Some("53300")
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, address, step } = self;
        match step {
            ConnectStep::Dial(error) => write!(f, "no connection to {node} at {address}: {error}"),
            ConnectStep::Password(error) => write!(f, "no password for {node}: {error}"),
            ConnectStep::Encrypt(error) => {
                write!(f, "no encrypted connection to {node} at {address}: {error}")
            }
            ConnectStep::LogIn(error) => match error.as_db_error() {
                Some(refusal) => {
                    let (code, message) = (refusal.code().code(), refusal.message());
                    write!(f, "{node} at {address} refused the login: {message} (SQLSTATE {code})")
                }
                None => write!(f, "login to {node} at {address} failed: {error}"),
            },
            ConnectStep::TimedOut { limit } => {
                write!(f, "no backend of {node} at {address} within {limit:?}")
            }
            ConnectStep::Hook(error) => {
                write!(f, "the hook on open refused a backend of {node} at {address}: {error}")
            }
        }
    }
}

impl std::error::Error for ConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.step {
            ConnectStep::Password(error) => Some(error),
            ConnectStep::Dial(error) => Some(error),
            ConnectStep::Encrypt(error) => Some(error),
            ConnectStep::LogIn(error) => Some(error),
            ConnectStep::Hook(error) => Some(&**error),
            ConnectStep::TimedOut { .. } => None,
        }
    }
}
