//! What is known about functions by their names.

mod nonvolatile;

use nonvolatile::NONVOLATILE;

/// Volatile because their result varies, or because they wait; they change nothing. Also what
/// says something of the node that runs it.
const HARMLESS: [&str; 26] = [
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "current_query",
    "gen_random_uuid",
    "pg_collation_actual_version",
    "pg_database_size",
    "pg_indexes_size",
    "pg_is_in_recovery",
    "pg_jit_available",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_partition_ancestors",
    "pg_partition_tree",
    "pg_relation_size",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_table_size",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "random",
    "random_normal",
    "timeofday",
    "uuidv7",
];

/// Whether a function of `pg_catalog` by this name changes nothing and runs on a standby,
/// whichever overload is meant.
pub(super) fn is_read_only(name: &str) -> bool {
    NONVOLATILE.binary_search(&name).is_ok() || HARMLESS.binary_search(&name).is_ok()
}

/// Whether it takes or gives back an advisory lock of the session.
pub(super) fn is_session_advisory(name: &str) -> bool {
    let call = name.strip_prefix("pg_try_advisory_").or(name.strip_prefix("pg_advisory_"));
    call.is_some_and(|rest| !rest.starts_with("xact_"))
}

/// Whether it takes an advisory lock that ends with the transaction.
pub(super) fn is_transaction_advisory(name: &str) -> bool {
    let call = name.strip_prefix("pg_try_advisory_").or(name.strip_prefix("pg_advisory_"));
    call.is_some_and(|rest| rest.starts_with("xact_"))
}

/// Whether it may leave, by its name, what no view tells of the session itself.
pub(super) fn is_untold(name: &str) -> bool {
    let parts = ["dblink", "backup", "origin_session", "replication_slot"];
    parts.into_iter().any(|part| name.contains(part)) && !is_read_only(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted_for_searching() {
        assert!(NONVOLATILE.is_sorted());
        assert!(HARMLESS.is_sorted());
        assert!(HARMLESS.iter().all(|name| NONVOLATILE.binary_search(name).is_err()));
    }

    #[test]
    fn functions_are_known_by_their_names() {
        for name in ["count", "lower", "now", "inet_server_port", "date_part", "random"] {
            assert!(is_read_only(name), "{name}");
        }
        for name in
            ["nextval", "setval", "txid_current", "pg_current_xact_id", "set_config", "mine", ""]
        {
            assert!(!is_read_only(name), "{name}");
        }
        assert!(is_session_advisory("pg_advisory_lock"));
        assert!(is_session_advisory("pg_advisory_unlock_all"));
        assert!(is_session_advisory("pg_try_advisory_lock_shared"));
        assert!(!is_session_advisory("pg_advisory_xact_lock"));
        assert!(!is_session_advisory("pg_try_advisory_xact_lock"));
        assert!(is_transaction_advisory("pg_try_advisory_xact_lock"));
        assert!(is_transaction_advisory("pg_advisory_xact_lock_shared"));
        assert!(!is_transaction_advisory("pg_advisory_lock"));
        assert!(is_untold("pg_backup_start") && is_untold("dblink_connect"));
        assert!(!is_untold("set_config") && !is_untold("pg_get_replication_slots"));
    }
}
