//! What the simulation looks at in a backend.

use super::Backend;

impl<S> Backend<S> {
    /// Bytes that are kept for it.
    pub(in crate::reactor) fn kept(&self) -> usize {
        self.stash.len() + self.outbox.len()
    }
}
