//! The decision table: how it is made, and the statements that use it.

use pgherd_core::ShardId;
use pgherd_core::txn::{Gid, Shards};

/// Makes schema, tables and functions where they are missing; replaces older functions.
const SCHEMA: &str = include_str!("schema.sql");

/// Whether a role can use the table here: one row with one column, `t` or `f`. Looks into the
/// catalog, so that a missing schema is an answer and not an error.
pub(super) const IS_THERE: &str = "SELECT coalesce(bool_and(\
         pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
         AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')), false) \
     FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_proc p ON p.pronamespace = n.oid \
     WHERE n.nspname = 'pgherd' AND p.proname IN ('decide', 'mark', 'abort')";

/// The script that makes the table, for these roles to use. Needs a superuser, or the owner of
/// the database. May be run again, also to admit more roles.
///
/// ```
/// let script = pgherd::decision_table_script(["app"]);
/// assert!(script.contains("CREATE SCHEMA IF NOT EXISTS pgherd"));
/// assert!(script.ends_with("GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgherd TO \"app\";\n"));
/// ```
pub fn decision_table_script<'r>(roles: impl IntoIterator<Item = &'r str>) -> String {
    let mut script = SCHEMA.to_owned();
    for role in roles {
        let role = quote_identifier(role);
        script += &format!(
            "GRANT USAGE ON SCHEMA pgherd TO {role};\n\
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgherd TO {role};\n"
        );
    }
    script
}

pub(crate) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as a literal, whatever `standard_conforming_strings` is.
pub(super) fn quote_literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// The marker and PREPARE TRANSACTION, in one write.
pub(super) fn prepare(gid: &Gid, shard: ShardId, owner: &str) -> String {
    let (owner, prepared) = (quote_literal(owner), gid.prepared(shard));
    format!("SELECT pgherd.mark('{gid}', {owner}); PREPARE TRANSACTION '{prepared}'")
}

/// The decision and COMMIT, in one write.
pub(super) fn decide(gid: &Gid, others: &Shards, owner: &str) -> String {
    let owner = quote_literal(owner);
    let others: Vec<String> = others.iter().map(ToString::to_string).collect();
    let others = others.join(",");
    format!("SELECT pgherd.decide('{gid}', {owner}, '{{{others}}}'); COMMIT")
}

/// An abort row, by a transaction of its own that does not wait forever.
pub(super) fn abort(gid: &Gid, owner: &str) -> String {
    let owner = quote_literal(owner);
    format!("BEGIN; SET LOCAL lock_timeout = '3s'; SELECT pgherd.abort('{gid}', {owner}); COMMIT")
}

/// What the row says: one row with one column, which is null without a row.
pub(super) fn outcome(gid: &Gid, owner: &str) -> String {
    format!("SELECT pgherd.outcome('{gid}', {})", quote_literal(owner))
}
