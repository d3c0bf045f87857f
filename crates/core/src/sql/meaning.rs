//! Which settings a text means the same under.
//!
//! PostgreSQL settles what a literal such as '2020-01-01' is when a statement is parsed, by the
//! settings of that moment. So a statement that was prepared under another `TimeZone` is not the
//! same statement, while one prepared under another `work_mem` is. (Under another `search_path`
//! or role PostgreSQL itself parses it anew.)

/// Settings that change what a statement costs, how long it may take, whose it is or how it is
/// logged, and not what it means. Those with a dot in the name are nobody's but the program's.
const HARMLESS: [&str; 33] = [
    "application_name",
    "client_min_messages",
    "commit_delay",
    "constraint_exclusion",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "deadlock_timeout",
    "effective_cache_size",
    "from_collapse_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
    "join_collapse_limit",
    "lock_timeout",
    "log_min_duration_statement",
    "log_statement",
    "maintenance_work_mem",
    "max_parallel_workers_per_gather",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "plan_cache_mode",
    "random_page_cost",
    "role",
    "row_security",
    "search_path",
    "seq_page_cost",
    "session_authorization",
    "session_replication_role",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
    "work_mem",
];

/// Whether a text may mean something else under another value of this setting. When in doubt, it
/// may. A search path and a role are not asked: under others PostgreSQL parses it anew.
pub fn depends_on(setting: &str) -> bool {
    let name = setting.to_ascii_lowercase();
    let is_harmless = name.contains('.')
        || name.starts_with("enable_")
        || HARMLESS.binary_search(&name.as_str()).is_ok();
    !is_harmless
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_settings_that_are_known_to_change_nothing_are_harmless() {
        assert!(HARMLESS.is_sorted());
        for name in ["app.tenant", "statement_timeout", "Role", "enable_seqscan", "work_mem"] {
            assert!(!depends_on(name), "{name}");
        }
        for name in ["timezone", "DateStyle", "transform_null_equals", "made_up_yesterday", ""] {
            assert!(depends_on(name), "{name}");
        }
    }
}
