//! What the simulation looks at in a client.

use super::{Client, Phase};
use crate::reactor::PoolKey;

/// Where a client stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::reactor) enum Place {
    Waiting(PoolKey),
    /// It holds this backend, or is going to.
    At(usize),
    Leaving,
    Elsewhere,
}

impl<S> Client<S> {
    pub(in crate::reactor) fn place(&self) -> Place {
        match self.phase {
            Phase::Waiting { pool, .. } => Place::Waiting(pool),
            Phase::Syncing { backend } | Phase::Holding { backend } => Place::At(backend),
            Phase::Leaving => Place::Leaving,
            Phase::LoggingIn(_)
            | Phase::Failed { .. }
            | Phase::Idle
            | Phase::Console(_)
            | Phase::Cancelling => Place::Elsewhere,
        }
    }

    /// Bytes that are kept for it, but for what it has prepared.
    pub(in crate::reactor) fn kept(&self) -> usize {
        self.stash.len() + self.outbox.len() + self.replay.len()
    }
}
