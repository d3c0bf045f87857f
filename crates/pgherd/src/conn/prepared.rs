//! What a backend keeps by the text of a statement, the least recently used of which goes when
//! there is too much.
//!
//! In: texts and what was made for them. Out: what was made for this text before; what has to go.
//! What the values are is not known here.

use std::collections::HashMap;
use std::ops::AddAssign;

/// Longer texts are not kept: they are mostly rows written out, and do not come again.
const LONGEST: usize = 16 * 1024;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Prepared<V> {
    limit: usize,
    kept: HashMap<Box<str>, Kept<V>>,
    // Numbers the uses, to know the oldest.
    clock: u64,
    uses: Uses,
}

/// How often it was of use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Something was kept for the text.
    pub(crate) hits: u64,
    /// Nothing was.
    pub(crate) misses: u64,
    /// Something had to go because there was too much.
    pub(crate) evictions: u64,
}

impl AddAssign for Uses {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.evictions += other.evictions;
    }
}

#[derive(Debug)]
struct Kept<V> {
    value: V,
    // The number of the use.
    last_use: u64,
}

impl<V: Clone> Prepared<V> {
    /// Keeps this many, at most; 0 keeps nothing.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, kept: HashMap::new(), clock: 0, uses: Uses::default() }
    }

    /// What is kept for this text.
    pub(super) fn get(&mut self, text: &str) -> Option<V> {
        let Some(kept) = self.kept.get_mut(text) else {
            self.uses.misses += 1;
            return None;
        };
        self.uses.hits += 1;
        self.clock += 1;
        kept.last_use = self.clock;
        Some(kept.value.clone())
    }

    /// Whatever is kept for a text is of no use this time.
    pub(super) fn pass_by(&mut self) {
        self.uses.misses += 1;
    }

    /// Keeps a value for this text, and answers one that went for it.
    #[must_use = "what went is dropped outside of the lock"]
    pub(super) fn keep(&mut self, text: &str, value: V) -> Option<V> {
        if self.limit == 0 || text.len() > LONGEST {
            return None;
        }
        self.clock += 1;
        let kept = Kept { value, last_use: self.clock };
        if let Some(before) = self.kept.insert(text.into(), kept) {
            return Some(before.value);
        }
        if self.kept.len() <= self.limit {
            return None;
        }
        // A walk over all of them: it costs microseconds, and a round trip has just been paid.
        let oldest = self.kept.iter().min_by_key(|(_, kept)| kept.last_use)?.0.clone();
        self.uses.evictions += 1;
        self.kept.remove(&oldest).map(|kept| kept.value)
    }

    /// How often it was of use.
    pub(super) fn uses(&self) -> Uses {
        self.uses
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Keeps nothing for this text any more.
    #[must_use = "what went is dropped outside of the lock"]
    pub(super) fn forget(&mut self, text: &str) -> Option<V> {
        self.kept.remove(text).map(|kept| kept.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut prepared = Prepared::new(2);
        assert_eq!(prepared.keep("a", 1), None);
        assert_eq!(prepared.keep("b", 2), None);
        assert_eq!(prepared.get("a"), Some(1));
        assert_eq!(prepared.keep("c", 3), Some(2), "b was used before a");
        assert_eq!(
            (prepared.get("a"), prepared.get("b"), prepared.get("c")),
            (Some(1), None, Some(3))
        );
        assert_eq!(prepared.uses(), Uses { hits: 3, misses: 1, evictions: 1 });
        prepared.pass_by();
        assert_eq!(prepared.uses().misses, 2);
        assert_eq!(prepared.keep("c", 4), Some(3), "a newer one takes the place");
        assert_eq!(prepared.forget("a"), Some(1));
        assert_eq!(prepared.forget("a"), None);
        assert_eq!(prepared.keep("d", 5), None, "there is room again");
    }

    #[test]
    fn nothing_is_kept_without_room_and_no_long_text() {
        let mut none = Prepared::new(0);
        assert_eq!(none.keep("a", 1), None);
        assert_eq!(none.get("a"), None);
        let mut some = Prepared::new(10);
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(some.keep(&long, 1), None);
        assert_eq!(some.get(&long), None);
        assert_eq!(some.keep(&long[1..], 1), None);
        assert_eq!(some.get(&long[1..]), Some(1));
    }
}
