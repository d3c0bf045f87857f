//! What happens in a pool, for whoever counts it.

use std::fmt;
use std::time::Duration;

use pgherd_core::reset::Leftovers;

use crate::ConnectError;

/// Something that happened in the pool of one node. See
/// [`Builder::on_pool_event`](crate::Builder::on_pool_event).
///
/// Each is told by the task in which it happens: who was handed a backend may tell that, on another
/// thread, before it is told that the backend was opened or released.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum PoolEvent<'e> {
    /// A backend was opened.
    Opened {
        /// How long that took, login included.
        took: Duration,
    },
    /// A backend could not be opened.
    OpenFailed {
        /// Why.
        error: &'e ConnectError,
    },
    /// A backend was lent.
    Acquired {
        /// How long the acquire took.
        waited: Duration,
    },
    /// A lease ended.
    Released {
        /// How long it was held.
        held: Duration,
    },
    /// A session that might hold state was reset when its lease ended; the backend is kept.
    Reset {
        /// What it held, beside settings.
        found: Leftovers,
        /// How long that took.
        took: Duration,
    },
    /// An acquire had no backend in time.
    TimedOut {
        /// How long it waited.
        waited: Duration,
    },
    /// An acquire was refused at once, because as many waited as may.
    QueueFull,
    /// A backend was closed, or had ended by itself.
    Closed {
        /// Why.
        reason: CloseReason,
    },
    /// A lease is held for longer than `pool.leak_after`. Once for each lease.
    Overdue {
        /// Where it was taken.
        taken_at: &'static std::panic::Location<'static>,
        /// For how long it has been held.
        held: Duration,
    },
}

/// Why a backend was closed. See [`Builder::on_pool_event`](crate::Builder::on_pool_event).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// It was idle for longer than `pool.idle_timeout`.
    Idle,
    /// It was older than `pool.max_lifetime` allows.
    Lifetime,
    /// Its connection had ended.
    Ended,
    /// It did not answer when it was asked before it was lent, or to be kept alive.
    CheckFailed,
    /// It was released inside a transaction, or with state in its session that could not be
    /// reset.
    Unclean,
    /// It was released with a statement under way, which was cancelled.
    Cancelled,
    /// A hook said so.
    Hook,
    /// The pool was made smaller.
    Resized,
    /// The pool was closed.
    PoolClosed,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "idle for too long",
            Self::Lifetime => "too old",
            Self::Ended => "its connection ended",
            Self::CheckFailed => "no answer to a check",
            Self::Unclean => {
                "released in a transaction, or with state in its session that no reset undoes"
            }
            Self::Cancelled => "released with a statement under way",
            Self::Hook => "a hook said so",
            Self::Resized => "the pool was made smaller",
            Self::PoolClosed => "the pool was closed",
        })
    }
}
