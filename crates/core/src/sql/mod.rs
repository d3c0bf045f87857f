//! What a statement text is: a read, a write, DDL; what it does to the session.
//!
//! In: the text, and the functions declared read-only. Out: [`Classified`].
//!
//! The only module that sees the SQL parser, which is PostgreSQL's own. Nothing here fails: a
//! text that cannot be parsed, is too long or nests too deep is a write to the primary, so that
//! PostgreSQL itself answers it. When in doubt, the primary.

mod cache;
mod class;
mod suspicion;

pub use cache::ClassCache;
pub use class::{Classified, QueryType, StateKind, TransactionControl};
pub use suspicion::suspicion;

/// Classifies one text with no functions declared read-only. See [`Classifier::classify`].
pub fn classify(sql: &str) -> Classified {
    Classifier::default().classify(sql)
}

/// Classifies texts.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    read_only: std::collections::HashSet<Box<str>>,
}

impl Classifier {
    /// A classifier that takes these functions at their word: they write nothing.
    ///
    /// Names are as in `pg_proc`, `f` or `schema.f`; the first matches a call without a schema,
    /// the second one with it.
    pub fn new(read_only_functions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let read_only =
            read_only_functions.into_iter().map(|name| name.into().into_boxed_str()).collect();
        Self { read_only }
    }

    /// Classifies a text of any number of statements. Never fails.
    pub fn classify(&self, sql: &str) -> Classified {
        let _ = (&self.read_only, sql);
        Classified::unknown("not yet".into())
    }
}
