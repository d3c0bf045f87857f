//! Whether a failed statement may be tried again.
//!
//! | It failed with                            | a read | a write                           | DDL |
//! |-------------------------------------------|--------|-----------------------------------|-----|
//! | no backend, for a passing reason          | yes    | yes                               | yes |
//! | no free backend in time, or a full queue  | if another node may serve it | no           | no |
//! | connection lost, not sent                 | yes    | yes                               | yes |
//! | connection lost, sent                     | yes    | no                                | no  |
//! | 40001, 40P01, 57P01 (rolled back)         | yes    | yes, unless it is a DO or CALL    | no  |
//! | 25006, 57P03, 53300 (refused)             | yes    | yes                               | yes |
//! | 57P02, 08xxx                              | yes    | no                                | no  |
//! | anything else                             | no     | no                                | no  |
//!
//! A DO or CALL, and some DDL (CREATE INDEX CONCURRENTLY), may have committed a part of their
//! work before they failed.

use pgherd_core::retry::{Retry, proves_no_effect};
use pgherd_core::sql::{Classified, QueryType, StateKind};

use crate::error::Cause;
use crate::{AcquireError, Error, ErrorKind};

/// What is known when a try has failed.
pub(super) struct Failed<'c> {
    pub(super) cause: &'c Cause,
    pub(super) query_type: QueryType,
    /// Whether a node that was not tried yet may run the statement.
    pub(super) is_another_left: bool,
}

impl Failed<'_> {
    /// Whether the statement may be tried again. `classify` is asked only where it matters.
    pub(super) fn may_retry(&self, classify: impl FnOnce() -> Classified) -> bool {
        let is_read = self.query_type == QueryType::Read;
        match self.cause {
            Cause::Acquire(AcquireError::TimedOut { .. } | AcquireError::QueueFull { .. }) => {
                is_read && self.is_another_left
            }
            Cause::Acquire(error) => error.retry().is_worthwhile(),
            Cause::Statement { is_lost: true, was_sent, .. } => is_read || !was_sent,
            Cause::Statement { error, .. } => match error.code() {
                Some(state) => self.may_retry_after(state.code(), classify),
                None => false,
            },
            Cause::Settings(_)
            | Cause::BadSettings(_)
            | Cause::NoRuntime
            | Cause::Route(_)
            | Cause::NoPrimary(_)
            | Cause::Rows { .. }
            | Cause::Transaction(_)
            | Cause::Deadlock { .. }
            | Cause::Deadline(_)
            | Cause::StalePlan { .. }
            | Cause::Usage(_) => false,
        }
    }

    fn may_retry_after(&self, sqlstate: &str, classify: impl FnOnce() -> Classified) -> bool {
        if !Retry::of_sqlstate(sqlstate).is_worthwhile() {
            return false;
        }
        let was_refused = matches!(sqlstate, "25006" | "57P03" | "53300");
        match self.query_type {
            QueryType::Read => true,
            QueryType::Ddl => was_refused,
            QueryType::Write | QueryType::Distributed => {
                let may_commit_in_part = || classify().leaves_state == Some(StateKind::Unknown);
                was_refused || (proves_no_effect(sqlstate) && !may_commit_in_part())
            }
        }
    }
}

/// Whether an error says that a node went away, or was a primary and is none any more.
pub(super) fn is_node_gone(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Acquire | ErrorKind::ConnectionLost)
        || error.sqlstate().is_some_and(says_node_is_gone)
}

/// The same of an SQLSTATE that PostgreSQL has reported.
pub(super) fn says_node_is_gone(sqlstate: &str) -> bool {
    sqlstate.starts_with("08") || matches!(sqlstate, "25006" | "57P01" | "57P02" | "57P03")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use pgherd_core::pool::PoolLoad;
    use pgherd_core::sql::classify;

    use super::*;
    use crate::{ConnectError, ConnectStep};

    const TYPES: [QueryType; 4] =
        [QueryType::Read, QueryType::Write, QueryType::Distributed, QueryType::Ddl];

    fn allowed(cause: &Cause, is_another_left: bool) -> Vec<QueryType> {
        let may = |query_type: &QueryType| {
            let query_type = *query_type;
            Failed { cause, query_type, is_another_left }
                .may_retry(|| classify("UPDATE t SET a = 1"))
        };
        TYPES.into_iter().filter(may).collect()
    }

    fn connect_error() -> Arc<ConnectError> {
        let step = ConnectStep::TimedOut { limit: Duration::from_secs(1) };
        Arc::new(ConnectError { node: "shard-0".into(), address: "h:1".to_owned(), step })
    }

    #[test]
    fn a_statement_that_found_no_backend_was_not_sent_and_is_tried_again() {
        let (node, connect) = ("shard-0".into(), connect_error());
        let cause = Cause::Acquire(AcquireError::NotOpened { node, connect });
        assert_eq!(allowed(&cause, false), TYPES);
    }

    #[test]
    fn a_full_pool_is_left_for_another_node_and_not_queued_for_twice() {
        let second = Duration::from_secs(1);
        let cause = Cause::Acquire(AcquireError::TimedOut {
            node: "shard-0".into(),
            waited: second,
            limit: second,
            load: PoolLoad::default(),
            last_connect: None,
        });
        assert_eq!(allowed(&cause, false), []);
        assert_eq!(allowed(&cause, true), [QueryType::Read]);
    }

    #[test]
    fn what_was_rolled_back_may_run_again_unless_it_commits_in_parts() {
        let cause = Cause::Rows { found: 2, sql: String::new() };
        let write = |sqlstate: &str, sql: &str| {
            let failed =
                Failed { cause: &cause, query_type: QueryType::Write, is_another_left: false };
            failed.may_retry_after(sqlstate, || classify(sql))
        };
        assert!(write("40001", "UPDATE t SET a = 1"));
        assert!(write("40P01", "INSERT INTO t VALUES (1)"));
        assert!(!write("40001", "CALL p()"));
        assert!(!write("40001", "DO $$ BEGIN END $$"));
        assert!(write("25006", "CALL p()"));
        for other in ["57P02", "08006", "08007", "23505", "42601", "57014"] {
            assert!(!write(other, "UPDATE t SET a = 1"), "{other}");
        }
    }

    #[test]
    fn ddl_is_tried_again_only_when_it_was_refused() {
        let cause = Cause::Rows { found: 2, sql: String::new() };
        let ddl = |sqlstate: &str| {
            let failed =
                Failed { cause: &cause, query_type: QueryType::Ddl, is_another_left: false };
            failed.may_retry_after(sqlstate, || classify("CREATE INDEX CONCURRENTLY i ON t (a)"))
        };
        assert!(ddl("25006") && ddl("57P03"));
        assert!(!ddl("40P01") && !ddl("57P01"));
    }
}
