//! What a statement text is: a read, a write, DDL; what it does to the session.
//!
//! In: the text, and the functions declared read-only. Out: [`Classified`].
//!
//! The only module that sees the SQL parser, which is PostgreSQL's own. Nothing here fails: a
//! text that cannot be parsed, is too long or nests too deep is a write to the primary, so that
//! PostgreSQL itself answers it. When in doubt, the primary.

mod cache;
mod class;
mod functions;
mod look;
mod meaning;
mod statement;
mod tag;

pub use cache::ClassCache;
pub use class::{BadQueryType, Classified, QueryType, Remains, StateKind, TransactionControl};
pub use look::{Look, look, may_copy, suspicion};
pub use meaning::depends_on;
pub use tag::remains_of_tag;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Longer texts are not parsed, because their parse would hold up every other client of the
/// loop. 128 KiB: an INSERT of that length takes 4 ms, the worst text 16 ms.
pub const LONGEST_PARSED_BYTES: usize = 128 * 1024;

/// Classifies one text with no functions declared read-only. See [`Classifier::classify`].
///
/// ```
/// use pgherd_core::sql::{QueryType, classify};
///
/// assert_eq!(classify("SELECT * FROM users").query_type, QueryType::Read);
/// assert_eq!(classify("SELECT nextval('ids')").query_type, QueryType::Write);
/// assert_eq!(classify("CREATE TABLE t ()").query_type, QueryType::Ddl);
/// ```
pub fn classify(sql: &str) -> Classified {
    Classifier::default().classify(sql)
}

/// Classifies texts.
#[derive(Debug, Clone, Default)]
pub struct Classifier {
    declared: HashSet<Box<str>>,
}

impl Classifier {
    /// A classifier that takes these functions at their word: they write nothing.
    ///
    /// Names are as in `pg_proc`, `f` or `schema.f`; the first matches a call without a schema,
    /// the second one with it.
    pub fn new(read_only_functions: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let declared =
            read_only_functions.into_iter().map(|name| name.into().into_boxed_str()).collect();
        Self { declared }
    }

    /// Classifies a text of any number of statements. Never fails and never panics.
    pub fn classify(&self, sql: &str) -> Classified {
        if sql.len() > LONGEST_PARSED_BYTES {
            let length = sql.len();
            let limit = LONGEST_PARSED_BYTES;
            return Classified::unknown(
                format!("a text of {length} bytes is not parsed (limit {limit})").into(),
            );
        }
        // A tree's fields panic on what they do not expect, such as a text in broken UTF-8. Such
        // a text is one that we do not know.
        catch_unwind(AssertUnwindSafe(|| self.parse(sql)))
            .unwrap_or_else(|_| Classified::unknown("the parser gave up".into()))
    }

    /// Classifies bytes from the wire. What is not UTF-8 is not parsed.
    pub fn classify_bytes(&self, sql: &[u8]) -> Classified {
        match std::str::from_utf8(sql) {
            Ok(sql) => self.classify(sql),
            Err(error) => Classified::unknown(error.to_string().into()),
        }
    }

    fn parse(&self, sql: &str) -> Classified {
        let tree = match pgherd_parser::parse(sql) {
            Ok(tree) => tree,
            Err(error) => return Classified::unknown(error.to_string().into()),
        };
        let mut all = Classified::nothing();
        for statement in tree.statements() {
            let finding = statement::inspect(statement, self);
            all.statements += 1;
            all.query_type = all.query_type.stronger(finding.query_type);
            all.may_run_on_replica &= finding.may_run_on_replica;
            all.transaction = finding.transaction.or(all.transaction);
            all.leaves_state = all.leaves_state.or(finding.leaves_state);
            all.remains = all.remains.max(finding.remains());
            all.alters_meaning |= finding.alters_meaning;
        }
        // Types, functions and the like may be created in the temporary schema too, under
        // names in many places of many trees.
        let mentions_temp =
            || sql.as_bytes().windows(7).any(|window| window.eq_ignore_ascii_case(b"pg_temp"));
        if all.query_type == QueryType::Ddl && all.leaves_state.is_none() && mentions_temp() {
            all.leaves_state = Some(StateKind::Temporary);
            all.remains = all.remains.max(Remains::Resettable);
        }
        all
    }

    /// Whether a function was declared read-only.
    fn is_declared(&self, schema: Option<&str>, name: &str) -> bool {
        if self.declared.is_empty() {
            return false;
        }
        match schema {
            None => self.declared.contains(name),
            Some(schema) => self.declared.contains(format!("{schema}.{name}").as_str()),
        }
    }
}

#[cfg(test)]
mod tests;
