//! Where a client stands, for whoever asks.

use std::sync::Arc;
use std::time::Instant;

use super::{Client, Phase};
use crate::auth::UserId;
use crate::databases::Account;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Standing {
    LoggingIn,
    Idle,
    Waiting,
    /// It holds this backend, or is about to.
    Linked {
        backend: usize,
    },
    Console,
    Cancelling,
    Leaving,
}

impl<S> Client<S> {
    pub(in crate::reactor) fn standing(&self) -> Standing {
        match self.phase {
            Phase::LoggingIn(_) | Phase::Failed { .. } => Standing::LoggingIn,
            Phase::Idle => Standing::Idle,
            Phase::Waiting { .. } => Standing::Waiting,
            Phase::Syncing { backend } | Phase::Holding { backend } => Standing::Linked { backend },
            Phase::Console(_) => Standing::Console,
            Phase::Cancelling => Standing::Cancelling,
            Phase::Leaving => Standing::Leaving,
        }
    }

    /// Whether it stands still while everything is suspended: all but those that log in, of which one
    /// may be a console, and those that leave.
    pub(in crate::reactor) fn stands_still(&self) -> bool {
        match self.phase {
            Phase::Idle | Phase::Waiting { .. } | Phase::Syncing { .. } | Phase::Holding { .. } => {
                true
            }
            Phase::LoggingIn(_)
            | Phase::Failed { .. }
            | Phase::Console(_)
            | Phase::Cancelling
            | Phase::Leaving => false,
        }
    }

    /// Whether it holds a backend and has begun nothing.
    pub(in crate::reactor) fn rests_with_backend(&self) -> bool {
        matches!(self.phase, Phase::Holding { .. }) && self.relay.is_between_messages()
    }

    /// Whether it is logged in to the console.
    pub(in crate::reactor) fn is_console(&self) -> bool {
        matches!(self.phase, Phase::Console(_))
    }

    /// Its database and user, if it is logged in and no console.
    pub(in crate::reactor) fn seat(&self) -> Option<&Arc<Account>> {
        self.seat.as_deref()
    }

    /// Who it is, once it is logged in.
    pub(in crate::reactor) fn user(&self) -> Option<UserId> {
        match &self.phase {
            Phase::Console(console) => Some(console.user),
            _ => self.seat.as_ref().map(|seat| seat.user),
        }
    }

    /// When it last began to wait for a backend, in nanoseconds after the start.
    pub(in crate::reactor) fn waits_from(&self) -> u64 {
        self.waits_from
    }

    pub(in crate::reactor) fn connected_at(&self) -> Instant {
        self.connected_at
    }

    pub(in crate::reactor) fn stream(&self) -> &S {
        self.link.socket()
    }

    /// What its connection is encrypted with; empty in plain.
    pub(in crate::reactor) fn encryption(&self) -> String {
        self.link.described()
    }

    /// Bytes that it has sent and that were not passed on yet.
    pub(in crate::reactor) fn unread(&self) -> usize {
        self.stash.len()
    }

    /// Bytes that it has not taken yet; within TLS those that TLS keeps, up to 64 KiB, count as one.
    pub(in crate::reactor) fn unsent(&self) -> usize {
        self.outbox.len() + usize::from(self.link.is_stalled())
    }
}
