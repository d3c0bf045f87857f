//! Why a backend is of no more use.

use std::io;
use std::sync::Arc;

use pgherd::{TlsError, tls};
use pgherd_core::hosts::Address;
use pgherd_wire::frame::MAX_MESSAGE;
use pgherd_wire::{WireError, sqlstate};

use crate::addresses::NotFound;
use crate::backend::LoginError;
use crate::relay::BackendRelay;

/// What a client last saw of a backend that is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum LastSeen {
    /// An error that ends the connection.
    Goodbye,
    /// The beginning of a message: whatever it is sent next it takes for the rest.
    HalfAMessage,
    /// Everything it had asked for, in a transaction that is still open.
    IdleInTransaction,
    /// Everything it had asked for, and its session holds something.
    IdleWithState,
    /// What it replicates, up to some place.
    Replication,
    /// The end of what it replicates.
    EndOfStream,
    /// Something else.
    Unfinished,
}

impl LastSeen {
    pub(super) fn of(relay: &BackendRelay) -> Self {
        if relay.said_goodbye {
            Self::Goodbye
        } else if relay.is_mid_message() {
            Self::HalfAMessage
        } else if relay.has_ended_stream {
            Self::EndOfStream
        } else if relay.is_answered() && !relay.tx.is_idle() {
            Self::IdleInTransaction
        } else {
            Self::Unfinished
        }
    }
}

/// Why a backend is of no more use.
#[derive(Debug, thiserror::Error)]
pub(in crate::reactor) enum Loss {
    #[error("the node closed the connection")]
    Closed,
    #[error("the connection failed: {0}")]
    Io(io::Error),
    #[error("cannot connect to {at}: {error}")]
    Unreached { at: Address, error: io::Error },
    /// The node is there, and has more to accept than it can keep.
    #[error("the queue of the Unix socket {0} is full")]
    QueueFull(Address),
    /// Not one of the node's hosts was ever found.
    #[error("{0}")]
    NotFound(Arc<NotFound>),
    #[error("{0}")]
    Tls(TlsError),
    #[error("the node broke the protocol: {0}")]
    Protocol(WireError),
    /// It has sent a sound message that is longer than the settings let through.
    #[error(
        "the node has sent a message {tag:?} of {bytes} bytes, longer than listen.message_limit lets through"
    )]
    TooLong { tag: char, bytes: u64 },
    #[error("{0}")]
    Login(LoginError),
    #[error("no answer within {0:?}")]
    TimedOut(std::time::Duration),
    #[error("{0}")]
    Said(String),
    #[error("{0}")]
    ReadOnly(String),
    /// The node refused the parameters that a client asked for at login, in these words.
    #[error("{said}")]
    Parameters { said: String, raw: Vec<u8> },
    #[error("the node was taken out of rotation")]
    NodeDown,
    /// Of a backend that serves replication.
    #[error("another node is the primary now")]
    Demoted,
}

impl Loss {
    /// Whether it may be the whole node that is gone, and not just this one connection, refused
    /// login or session.
    pub(super) fn may_be_node(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) | Self::Unreached { .. } | Self::TimedOut(_) => true,
            Self::NotFound(_) => true,
            Self::Tls(error) => matches!(error, TlsError::Handshake(_)),
            Self::Login(LoginError::Refused { code, .. }) => {
                may_pass(code) && code != sqlstate::TOO_MANY_CONNECTIONS
            }
            Self::Protocol(_)
            | Self::TooLong { .. }
            | Self::QueueFull(_)
            | Self::Login(_)
            | Self::Said(_)
            | Self::ReadOnly(_)
            | Self::Parameters { .. }
            | Self::NodeDown
            | Self::Demoted => false,
        }
    }

    /// That no connection was made to this address.
    pub(super) fn unreached(at: &Address, error: io::Error) -> Self {
        match error.kind() {
            // The system has begun nothing that could be waited for.
            io::ErrorKind::WouldBlock if at.is_unix() => Self::QueueFull(at.clone()),
            _ => Self::Unreached { at: at.clone(), error },
        }
    }

    /// The SQLSTATE for a client that has waited for this backend in vain.
    pub(in crate::reactor) fn code(&self) -> &'static str {
        match self {
            // As of a node that has said so itself.
            Self::Login(
                LoginError::Unprovable(..) | LoginError::NoClientYet | LoginError::OtherSecret,
            ) => sqlstate::INVALID_PASSWORD,
            _ => sqlstate::CANNOT_CONNECT,
        }
    }
}

impl From<WireError> for Loss {
    fn from(error: WireError) -> Self {
        match error {
            WireError::Length { tag, length: length @ 4..=MAX_MESSAGE, .. } => {
                Self::TooLong { tag, bytes: u64::from(length) + 1 }
            }
            error => Self::Protocol(error),
        }
    }
}

impl From<io::Error> for Loss {
    fn from(error: io::Error) -> Self {
        match error.get_ref() {
            Some(cause) if cause.is::<rustls::Error>() => Self::Tls(tls::handshake_error(error)),
            _ => Self::Io(error),
        }
    }
}

/// Whether a refused login may be accepted a moment later: the node starts up, shuts down, or
/// has no connection left.
pub(super) fn may_pass(code: &str) -> bool {
    matches!(
        code,
        sqlstate::ADMIN_SHUTDOWN
            | sqlstate::CRASH_SHUTDOWN
            | sqlstate::CANNOT_CONNECT_NOW
            | sqlstate::TOO_MANY_CONNECTIONS
    )
}
