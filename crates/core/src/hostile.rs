//! What has to hold whatever text a client sends, or stands in a file, for property tests and fuzz
//! targets.

mod files;

pub use files::{hba, ident, ini, pairs, userlist};

use crate::held::dotted_names;
use crate::sql::{Classifier, StateKind, look, may_copy, remains_of_tag, suspicion};

/// A text, or a command's tag: a class is found, always the same, and what leaves state that no tag
/// tells of is not plain at first sight.
pub fn sql(text: &[u8]) {
    let classifier = Classifier::default();
    let class = classifier.classify_bytes(text);
    let again = classifier.classify_bytes(text);
    assert_eq!(class.parse_error, again.parse_error);
    assert_eq!(class.query_type, again.query_type);
    if matches!(class.leaves_state, Some(StateKind::AdvisoryLock | StateKind::Temporary)) {
        assert!(!look(text).is_plain(), "{:?}", String::from_utf8_lossy(text));
    }
    let _ = (may_copy(text), suspicion(text), remains_of_tag(text));
    for name in dotted_names(text) {
        assert!(name.contains('.') && name.len() <= text.len());
    }
}

#[cfg(test)]
mod tests;
