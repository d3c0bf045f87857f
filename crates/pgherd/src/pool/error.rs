//! Why an acquire gave up.

use std::sync::Arc;
use std::time::Duration;

use pgherd_core::pool::PoolLoad;
use pgherd_core::retry::Retry;

use crate::ConnectError;

/// Why an acquire gave up. Nothing was sent.
///
/// ```no_run
/// # fn f(error: pgherd::AcquireError) {
/// use pgherd::AcquireError;
///
/// match &error {
///     AcquireError::TimedOut { load, limit, .. } => println!("{load}, within {limit:?}"),
///     AcquireError::QueueFull { limit, .. } => println!("{limit} wait already"),
///     _ => println!("{error}"),
/// }
/// if error.retry().is_worthwhile() {
///     println!("another try may work; last on {}: {:?}", error.node(), error.connect());
/// }
/// # }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// Every backend stayed busy until the deadline. `last_connect`, when present, is usually
    /// the real cause, so it is also this error's `source()`.
    #[error("no free backend on {node} after {waited:?} (limit {limit:?}; {load})")]
    TimedOut {
        /// The node's name.
        node: Arc<str>,
        /// How long the acquire waited.
        waited: Duration,
        /// `pool.acquire_timeout`.
        limit: Duration,
        /// What the pool held at the end; this acquire is one of those that wait.
        load: PoolLoad,
        /// Why the last attempt to open a backend failed, if it did.
        #[source]
        last_connect: Option<Arc<ConnectError>>,
    },
    /// As many acquires wait as may.
    #[error("the queue for {node} is full ({load}; pool.max_waiting is {limit})")]
    QueueFull {
        /// The node's name.
        node: Arc<str>,
        /// `pool.max_waiting`.
        limit: usize,
        /// What the pool held.
        load: PoolLoad,
        /// Why the last attempt to open a backend failed, if it did.
        #[source]
        last_connect: Option<Arc<ConnectError>>,
    },
    /// No backend could be opened, and there is none to wait for.
    #[error("no backend on {node}")]
    NotOpened {
        /// The node's name.
        node: Arc<str>,
        /// Why.
        #[source]
        connect: Arc<ConnectError>,
    },
    /// The pool was closed, or the runtime it was built in has ended.
    #[error("the pool of {node} is closed")]
    Closed {
        /// The node's name.
        node: Arc<str>,
    },
}

impl AcquireError {
    /// The node's name.
    pub fn node(&self) -> &Arc<str> {
        match self {
            Self::TimedOut { node, .. }
            | Self::QueueFull { node, .. }
            | Self::NotOpened { node, .. }
            | Self::Closed { node } => node,
        }
    }

    /// Whether the caller may try again. Each variant is listed, so that whoever adds one is
    /// asked the question.
    pub fn retry(&self) -> Retry {
        match self {
            Self::TimedOut { .. } | Self::QueueFull { .. } => Retry::Elsewhere,
            Self::NotOpened { connect, .. } if connect.is_passing() => Retry::Elsewhere,
            Self::NotOpened { .. } | Self::Closed { .. } => Retry::No,
        }
    }

    /// Why the last attempt to open a backend failed, if that is known.
    pub fn connect(&self) -> Option<&ConnectError> {
        match self {
            Self::TimedOut { last_connect, .. } | Self::QueueFull { last_connect, .. } => {
                last_connect.as_deref()
            }
            Self::NotOpened { connect, .. } => Some(connect),
            Self::Closed { .. } => None,
        }
    }
}
