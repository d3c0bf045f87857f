//! Remembers what texts are.

use quick_cache::Weighter;
use quick_cache::unsync::Cache;

use super::{Classified, Classifier, QueryType};

/// Classifies each distinct text once. Keyed on the exact text, bounded in bytes.
///
/// For one thread; each loop has its own.
#[derive(Debug)]
pub struct ClassCache {
    classifier: Classifier,
    cache: Cache<Box<str>, Classified, Bytes>,
    capacity_bytes: u64,
    hits: u64,
    misses: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bytes;

/// What an entry takes besides its text, roughly: the answer, the key, the table's slot.
const ENTRY_BYTES: u64 = 160;

impl Weighter<Box<str>, Classified> for Bytes {
    fn weight(&self, text: &Box<str>, class: &Classified) -> u64 {
        let error = class.parse_error.as_ref().map_or(0, |error| error.len());
        ENTRY_BYTES + text.len() as u64 + error as u64
    }
}

impl ClassCache {
    /// Longer texts are classified each time: they hardly ever repeat, and one of them would
    /// push out hundreds of others.
    pub const LONGEST_CACHED_BYTES: usize = 16 * 1024;

    /// A cache of at most `capacity_bytes` bytes. 0 remembers nothing.
    pub fn new(classifier: Classifier, capacity_bytes: u64) -> Self {
        let entries = usize::try_from(capacity_bytes / (ENTRY_BYTES + 100)).unwrap_or(usize::MAX);
        let cache = Cache::with_weighter(entries.clamp(1, 1 << 20), capacity_bytes, Bytes);
        Self { classifier, cache, capacity_bytes, hits: 0, misses: 0 }
    }

    /// What a text is. See [`Classifier::classify`].
    pub fn classify(&mut self, sql: &str) -> Classified {
        if let Some(class) = self.cache.get(sql) {
            self.hits += 1;
            return class.clone();
        }
        self.misses += 1;
        let class = self.classifier.classify(sql);
        if sql.len() <= Self::LONGEST_CACHED_BYTES && self.capacity_bytes > 0 {
            self.cache.insert(sql.into(), class.clone());
        }
        class
    }

    /// A replica has refused this text, which was taken for a read: from now on it is a write.
    /// Forgotten with the text, and not kept for texts too long to be cached.
    pub fn distrust(&mut self, sql: &str) {
        let class = self.classify(sql);
        if self.cache.get(sql).is_some() {
            let query_type = class.query_type.stronger(QueryType::Write);
            let class = Classified { query_type, may_run_on_replica: false, ..class };
            self.cache.insert(sql.into(), class);
        }
    }

    /// What bytes from the wire are. See [`Classifier::classify_bytes`].
    pub fn classify_bytes(&mut self, sql: &[u8]) -> Classified {
        match std::str::from_utf8(sql) {
            Ok(sql) => self.classify(sql),
            Err(_) => self.classifier.classify_bytes(sql),
        }
    }

    /// Bytes in use, by the estimate that bounds the cache.
    pub fn used_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// Bytes that may be in use.
    pub fn capacity_bytes(&self) -> u64 {
        self.capacity_bytes
    }

    /// Texts that were remembered when they were asked for.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// Texts that had to be parsed.
    pub fn misses(&self) -> u64 {
        self.misses
    }

    /// Texts remembered.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}
