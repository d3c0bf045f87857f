//! The caches of prepared statements of all backends of one node, for whoever counts them.
//!
//! In: a cache for each backend, as they come and go. Out: how full they are, and of what use they
//! were. Each counts for itself, under the lock that its use needs anyway.

use std::fmt;
use std::sync::Arc;

use slab::Slab;
use tokio_postgres::Statement;

use super::prepared::{Prepared, Uses};
use crate::mutex::Mutex;

/// What one backend keeps prepared.
type Cache = Mutex<Prepared<Statement>>;

/// See the module's header.
#[derive(Default)]
pub(crate) struct Caches(Mutex<State>);

#[derive(Default)]
struct State {
    open: Slab<Arc<Cache>>,
    // Of backends that are no more.
    gone: Uses,
}

/// How full the caches of one node are, and of what use they were since the start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Fill {
    /// Statements, over all backends.
    pub(crate) entries: usize,
    /// Statements on the backend that keeps most.
    pub(crate) fullest: usize,
    pub(crate) uses: Uses,
}

impl Caches {
    /// A cache for one more backend, of this many statements.
    pub(super) fn add(self: &Arc<Self>, limit: usize) -> Kept {
        let cache = Arc::new(Mutex::new(Prepared::new(limit)));
        let key = self.0.lock().open.insert(cache.clone());
        Kept { cache, key, caches: self.clone() }
    }

    pub(crate) fn fill(&self) -> Fill {
        let state = self.0.lock();
        let mut fill = Fill { uses: state.gone, ..Fill::default() };
        for (_, cache) in &state.open {
            let cache = cache.lock();
            fill.entries += cache.len();
            fill.fullest = fill.fullest.max(cache.len());
            fill.uses += cache.uses();
        }
        fill
    }
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caches").field(&self.fill()).finish()
    }
}

/// The cache of one backend, for as long as that is there.
pub(super) struct Kept {
    cache: Arc<Cache>,
    key: usize,
    caches: Arc<Caches>,
}

impl std::ops::Deref for Kept {
    type Target = Cache;

    fn deref(&self) -> &Cache {
        &self.cache
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The statements themselves go with the last pointer, after this lock.
        let mut state = self.caches.0.lock();
        state.open.remove(self.key);
        state.gone += self.cache.lock().uses();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backend_kept_counts_while_it_is_there_and_its_use_for_ever() {
        let caches = Arc::new(Caches::default());
        let (one, two) = (caches.add(8), caches.add(8));
        assert!(one.lock().get("SELECT 1").is_none());
        assert!(two.lock().get("SELECT 1").is_none());
        assert!(two.lock().get("SELECT 2").is_none());
        assert_eq!(caches.fill().uses.misses, 3);
        drop(two);
        let fill = caches.fill();
        assert_eq!((fill.entries, fill.fullest, fill.uses.misses), (0, 0, 3));
    }
}
