//! What the simulation looks at in a backend.

use super::{Backend, Phase};

impl<S> Backend<S> {
    /// Whom it serves, if it serves somebody.
    pub(in crate::reactor) fn client(&self) -> Option<usize> {
        match self.phase {
            Phase::Syncing { client, .. }
            | Phase::Checking { client, .. }
            | Phase::Leased { client }
            | Phase::Asking { client: Some(client), .. } => Some(client),
            _ => None,
        }
    }

    /// Bytes that are kept for it.
    pub(in crate::reactor) fn kept(&self) -> usize {
        self.stash.len() + self.outbox.len()
    }
}
