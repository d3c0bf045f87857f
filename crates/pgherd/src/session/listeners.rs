//! The listeners of a pool, for whoever counts what waits for their readers.

use std::sync::{Arc, Weak};

use super::listen::Shared;
use crate::ListenerStatistics;
use crate::mutex::Mutex;

/// See the module's header. The lock is held for one walk over those that there are.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<Weak<Shared>>>);

impl Listeners {
    pub(super) fn note(&self, listener: &Arc<Shared>) {
        let mut listeners = self.0.lock();
        // So that there are never more than were there at a time.
        listeners.retain(|listener| listener.strong_count() > 0);
        listeners.push(Arc::downgrade(listener));
    }

    /// How the reader of each keeps up.
    pub(crate) fn all(&self) -> Vec<ListenerStatistics> {
        let listeners = self.0.lock();
        listeners.iter().filter_map(|listener| listener.upgrade()?.statistics()).collect()
    }
}
