//! Every metric.

use super::{Kind, Metric};

/// Declares metrics, and [`ALL`] of them.
macro_rules! metrics {
    ($($const:ident: $kind:ident $name:literal [$($label:literal),*] $unit:expr, $about:literal;)*) => {
        $(
            #[doc = $about]
            pub static $const: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                about: $about,
            };
        )*

        /// All of them, in the order in which they are told.
        pub static ALL: &[&Metric] = &[$(&$const),*];
    };
}

const SECONDS: Option<&str> = Some("seconds");
const BYTES: Option<&str> = Some("bytes");

metrics! {
    BUILD: Info "pgherd_build" ["version"] None, "The version that runs.";
    START_TIME: Gauge "pgherd_start_time_seconds" [] SECONDS, "When it was started, in seconds since 1970.";
    WORKERS: Gauge "pgherd_workers" [] None, "Loops that serve clients, each in a thread of its own.";
    RESIDENT: Gauge "process_resident_memory_bytes" [] BYTES, "Memory that the process holds.";
    READY: Gauge "pgherd_ready" [] None, "1 while clients are accepted and the coordinator answers: what /readyz says.";
    DRAINING: Gauge "pgherd_draining" [] None, "1 once a shutdown was asked for.";
    PAUSED: Gauge "pgherd_paused" [] None, "1 while all databases are paused or suspended.";
    GENERATION: Counter "pgherd_topology_generations" [] None, "Snapshots of the cluster that were published.";

    CLIENTS: Gauge "pgherd_clients" ["state"] None, "Clients: logging_in, or logged in, or at a console.";
    CLIENTS_LIMIT: Gauge "pgherd_clients_limit" [] None, "Clients served at the same time, at most: listen.max_clients.";
    CLIENT_ERRORS: Counter "pgherd_client_errors" ["class"] None, "Errors of its own that pgherd has told clients, by the class of their SQLSTATE, but for consoles; those that nodes report are not among them.";
    FAILED_LOGINS: Counter "pgherd_failed_logins" ["reason"] None, "Logins that were refused, or not complete in time, by the reason. Who hangs up during the login is not counted.";
    CERTIFICATE: Gauge "pgherd_certificate_remaining_seconds" ["shown_to"] SECONDS, "How long the certificate that is shown to clients, or to nodes, is still valid, with those it needs; less than 0 once it has expired. There only where one is set.";
    PINS: Gauge "pgherd_pins" [] None, "Sessions that are pinned to their backends.";

    POOL_CLIENTS: Gauge "pgherd_pool_clients" ["database", "user", "state"] None, "Clients of a database and login: waiting for a backend, or active, which is all others.";
    POOL_BACKENDS: Gauge "pgherd_pool_backends" ["database", "user", "state"] None, "Backends of a database and login at all nodes, by what they do: as in SHOW POOLS.";
    POOL_PINNED: Gauge "pgherd_pool_pinned_backends" ["database", "user"] None, "Active backends that are pinned to their clients.";
    POOL_WAIT: Gauge "pgherd_pool_oldest_wait_seconds" ["database", "user"] SECONDS, "How long the first of the waiting clients has waited.";
    POOL_CANCELS: Gauge "pgherd_pool_cancel_requests" ["database", "user", "state"] None, "Cancel requests: active at a node, or waiting to reach it.";

    DATABASE_CLIENTS: Gauge "pgherd_database_clients" ["database"] None, "Clients of a database.";
    DATABASE_POOL_SIZE: Gauge "pgherd_database_pool_size" ["database"] None, "Backends of each of its pools, at most.";
    DATABASE_PAUSED: Gauge "pgherd_database_paused" ["database"] None, "1 while it is paused.";
    DATABASE_DISABLED: Gauge "pgherd_database_disabled" ["database"] None, "1 while new clients are refused.";
    DATABASE_LOGINS: Counter "pgherd_database_logins" ["database"] None, "Clients that have logged in.";
    DATABASE_LEASES: Counter "pgherd_database_leases" ["database"] None, "Backends lent to clients.";
    DATABASE_TRANSACTIONS: Counter "pgherd_database_transactions" ["database"] None, "Transactions that have ended.";
    DATABASE_QUERIES: Counter "pgherd_database_queries" ["database"] None, "Batches answered: a Query each, or all up to a Sync.";
    DATABASE_RECEIVED: Counter "pgherd_database_received_bytes" ["database"] BYTES, "Bytes from clients that were passed on.";
    DATABASE_SENT: Counter "pgherd_database_sent_bytes" ["database"] BYTES, "Bytes from nodes that were passed on.";
    DATABASE_TRANSACTION_TIME: Counter "pgherd_database_transaction_seconds" ["database"] SECONDS, "How long transactions took, in sum.";
    DATABASE_QUERY_TIME: Counter "pgherd_database_query_seconds" ["database"] SECONDS, "How long batches took, in sum.";
    DATABASE_WAIT_TIME: Counter "pgherd_database_wait_seconds" ["database"] SECONDS, "How long clients waited for backends, in sum.";
    DATABASE_CLIENT_PARSES: Counter "pgherd_database_client_parses" ["database"] None, "Statements that clients have prepared.";
    DATABASE_SERVER_PARSES: Counter "pgherd_database_server_parses" ["database"] None, "Statements that were prepared at nodes.";
    DATABASE_BINDS: Counter "pgherd_database_binds" ["database"] None, "Prepared statements that were bound.";

    NODE: Info "pgherd_node" ["node", "group", "role", "host", "port"] None, "What a node is now.";
    NODE_UP: Gauge "pgherd_node_up" ["node"] None, "1 while statements are routed to it: it answers and is not fenced.";
    NODE_STATE: Gauge "pgherd_node_state" ["node", "state"] None, "1 for the state that it is in: unknown, up, suspect, down or probation.";
    NODE_CIRCUIT: Gauge "pgherd_node_circuit" ["node", "state"] None, "1 for what its circuit breaker stands at: closed, open or probation.";
    NODE_FENCED: Gauge "pgherd_node_fenced" ["node"] None, "1 if it has lost its place as primary and is shut out.";
    NODE_LAG: Gauge "pgherd_node_replication_lag_bytes" ["node"] BYTES, "WAL that a replica has not replayed yet, where that is known.";
    NODE_RTT: Gauge "pgherd_node_probe_seconds" ["node"] SECONDS, "How long its last probe took.";
    NODE_SHARE: Gauge "pgherd_node_read_share_ratio" ["node"] Some("ratio"), "How much of its part of the reads it gets: less than 1 while it is warmed up.";
    NODE_TIMELINE: Gauge "pgherd_node_timeline" ["node"] None, "The timeline that it last said to be on.";
    NODE_BACKENDS: Gauge "pgherd_node_backends" ["node", "state"] None, "Backends to it, by what they do: as in SHOW SERVERS.";
    NODE_WAITING: Gauge "pgherd_node_waiting_clients" ["node"] None, "Clients that wait for a backend to it.";
    NODE_LEASES: Counter "pgherd_node_leases" ["node"] None, "Backends lent to clients.";
    NODE_OPENS: Counter "pgherd_node_opens" ["node"] None, "Backends opened.";
    NODE_FAILED_OPENS: Counter "pgherd_node_failed_opens" ["node"] None, "Attempts to open one that failed.";
    NODE_RETRIES: Counter "pgherd_node_retries" ["node"] None, "Batches that were tried again elsewhere.";
    NODE_LOST_CLIENTS: Counter "pgherd_node_dismissed_clients" ["node"] None, "Clients dismissed because of it.";
    NODE_QUERY_DURATION: Histogram "pgherd_node_query_duration_seconds" ["node"] SECONDS, "How long batches took, from the first message of the client to the last answer.";
    NODE_TRANSACTION_DURATION: Histogram "pgherd_node_transaction_duration_seconds" ["node"] SECONDS, "How long transactions took.";
    NODE_WAIT_DURATION: Histogram "pgherd_node_wait_duration_seconds" ["node"] SECONDS, "How long clients waited for a backend; those that got one at once count, too.";
    GROUP_HAS_PRIMARY: Gauge "pgherd_group_has_primary" ["group"] None, "1 while a group has a node that takes writes.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_are_as_open_metrics_wants_them() {
        let mut names = HashSet::new();
        for Metric { name, kind, unit, labels, about } in ALL {
            assert!(names.insert(*name), "{name} twice");
            let is_plain = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(is_plain) && labels.iter().all(|l| l.chars().all(is_plain)));
            assert!(name.starts_with("pgherd_") || name.starts_with("process_"), "{name}");
            for end in ["_total", "_info", "_count", "_sum", "_bucket", "_created"] {
                assert!(!name.ends_with(end), "{name} ends in what its format adds");
            }
            assert!(unit.is_none_or(|unit| name.ends_with(&format!("_{unit}"))), "{name}");
            assert!(*kind != Kind::Histogram || *unit == SECONDS, "{name}");
            assert!(about.ends_with('.') && !about.contains(['"', '\\', '\n']), "{name}: {about}");
        }
    }
}
