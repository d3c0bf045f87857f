//! Statements that were declared to be reads, and write.
//!
//! Each costs a try on a replica, which refuses it, before it runs on the primary.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::warn;

use super::excerpt;
use crate::mutex::Mutex;

/// Different texts that are told of, at most; then they are counted alone.
const MOST_TOLD: usize = 1024;

/// See the module's header. Each text is told of once.
#[derive(Debug, Default)]
pub(crate) struct Misplaced {
    count: AtomicU64,
    // Hashes of texts. Held for one look-up.
    told: Mutex<HashSet<u64>>,
    hasher: RandomState,
}

impl Misplaced {
    /// A replica has refused this one.
    pub(super) fn note(&self, sql: &str, node: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.is_news(sql) {
            let statement = excerpt(sql);
            warn!(
                node,
                statement,
                "declared a read, and writes: a replica refused it before it ran on the primary; \
                 use write() or auto()"
            );
        }
    }

    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    fn is_news(&self, sql: &str) -> bool {
        let hash = self.hasher.hash_one(sql);
        let mut told = self.told.lock();
        told.len() < MOST_TOLD && told.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_news_once_and_no_more_are_kept_than_that() {
        let misplaced = Misplaced::default();
        assert!(misplaced.is_news("INSERT") && !misplaced.is_news("INSERT"));
        let news = (0..2 * MOST_TOLD).filter(|n| misplaced.is_news(&format!("INSERT {n}"))).count();
        assert_eq!(news, MOST_TOLD - 1);
        assert!(!misplaced.is_news("INSERT"));
    }
}
