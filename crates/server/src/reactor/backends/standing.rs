//! Where a backend stands, for whoever asks.

use std::time::Instant;

use super::{Backend, Phase};
use crate::admin::report::BackendState;
use crate::session::Replication;

impl<S> Backend<S> {
    /// What it does. One that has been idle since before `stale_before` is asked first whether it is
    /// there.
    pub(in crate::reactor) fn state(&self, stale_before: Instant) -> BackendState {
        match self.phase {
            Phase::Connecting | Phase::Encrypting | Phase::LoggingIn(_) | Phase::Introducing => {
                BackendState::New
            }
            Phase::Idle if self.idle_since < stale_before => BackendState::Used,
            Phase::Idle => BackendState::Idle,
            Phase::Checking { .. }
            | Phase::Cleaning { .. }
            | Phase::Asking { client: None, .. } => BackendState::Tested,
            Phase::Syncing { .. } | Phase::Leased { .. } | Phase::Asking { .. } => {
                BackendState::Active
            }
            Phase::Parked | Phase::Abandoned { .. } => BackendState::BeingCanceled,
        }
    }

    /// The client that it is lent to, or is about to be.
    pub(in crate::reactor) fn client(&self) -> Option<usize> {
        match self.phase {
            Phase::Checking { client, .. }
            | Phase::Syncing { client, .. }
            | Phase::Leased { client } => Some(client),
            Phase::Asking { client, .. } => client,
            Phase::Connecting
            | Phase::Encrypting
            | Phase::LoggingIn(_)
            | Phase::Introducing
            | Phase::Idle
            | Phase::Cleaning { .. }
            | Phase::Parked
            | Phase::Abandoned { .. } => None,
        }
    }

    /// What it was opened for, if that is replication.
    pub(in crate::reactor) fn replication(&self) -> Option<Replication> {
        self.replication
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
