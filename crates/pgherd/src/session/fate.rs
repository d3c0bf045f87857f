//! What a failure says about the transaction it came in.
//!
//! | It failed                                                    | Then                      |
//! |--------------------------------------------------------------|---------------------------|
//! | before COMMIT was sent: connection lost, 57P01, 25006, ...   | rolled back: elsewhere    |
//! | before COMMIT was sent: 40001, 40P01 and their like          | rolled back: again        |
//! | a kept statement that a migration has invalidated            | rolled back: again        |
//! | 25006 in a transaction that was asked for as read only       | rolled back: its caller's |
//! | before COMMIT was sent: any other error                      | rolled back: its caller's |
//! | COMMIT: refused with 57P01, or never sent                    | rolled back: elsewhere    |
//! | COMMIT: refused with 40001, 40P01 and their like             | rolled back: again        |
//! | COMMIT: refused otherwise, such as a deferred constraint     | rolled back: its caller's |
//! | COMMIT: answered with ROLLBACK                               | as the statement before   |
//! | COMMIT: connection lost after it was sent                    | unknown                   |
//!
//! Before COMMIT is sent even the loss of the connection is proof: the server rolls back what a
//! session leaves open when it ends.

use pgherd_core::retry::{Retry, proves_no_effect};
use pgherd_wire::sqlstate;

use super::retry::says_node_is_gone;
use crate::{CommitError, ErrorKind};

/// See the module's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Rolled back, and another run may succeed.
    Again,
    /// The same, and it was the node: another may be the primary, now or soon.
    Elsewhere,
    /// Rolled back, and another run would meet the same.
    Callers,
    /// Committed or not.
    Unknown,
}

impl Fate {
    /// After an error that PostgreSQL reported on a statement before COMMIT.
    pub(super) fn of_statement(code: &str, is_read_only: bool) -> Self {
        let is_its_own_doing = is_read_only && code == sqlstate::READ_ONLY_TRANSACTION;
        match is_its_own_doing {
            true => Self::Callers,
            false => Self::of_sqlstate(code),
        }
    }

    fn of_sqlstate(code: &str) -> Self {
        match Retry::of_sqlstate(code).is_worthwhile() {
            true if says_node_is_gone(code) => Self::Elsewhere,
            true => Self::Again,
            false => Self::Callers,
        }
    }

    /// Whether it may be run again.
    pub(super) fn is_another_run(self) -> bool {
        matches!(self, Self::Again | Self::Elsewhere)
    }

    /// After a COMMIT that was not acknowledged. `before` is the fate by the statements before,
    /// if one of them had failed.
    pub(super) fn of_commit(error: &CommitError, before: Option<Self>) -> Self {
        match error {
            CommitError::Ended { .. } => before.unwrap_or(Self::Callers),
            CommitError::Refused { error, .. } => {
                let code = error.code().map_or("", |code| code.code());
                if proves_no_effect(code) { Self::of_sqlstate(code) } else { Self::Callers }
            }
            error if error.kind() == ErrorKind::InDoubt => Self::Unknown,
            error if error.retry().is_worthwhile() => Self::Elsewhere,
            _ => Self::Callers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rolled_back_for_a_passing_reason_runs_again() {
        for code in ["40001", "40P01", "53300"] {
            assert_eq!(Fate::of_statement(code, false), Fate::Again, "{code}");
        }
        for code in ["57P01", "57P02", "57P03", "08006", "25006"] {
            assert_eq!(Fate::of_statement(code, false), Fate::Elsewhere, "{code}");
        }
        for code in ["23505", "42601", "57014", "22012", "P0001", "08P01"] {
            assert_eq!(Fate::of_statement(code, false), Fate::Callers, "{code}");
        }
        assert_eq!(Fate::of_statement("25006", true), Fate::Callers);
        assert_eq!(Fate::of_statement("40001", true), Fate::Again);
    }

    #[test]
    fn a_commit_answered_with_rollback_is_as_the_statement_that_failed() {
        let ended = CommitError::Ended { node: "n".to_owned(), tag: "ROLLBACK".to_owned() };
        for before in [Fate::Again, Fate::Elsewhere, Fate::Callers] {
            assert_eq!(Fate::of_commit(&ended, Some(before)), before);
        }
        assert_eq!(Fate::of_commit(&ended, None), Fate::Callers);
    }

    #[test]
    fn a_primary_that_was_replaced_leaves_a_sent_commit_unknown() {
        let deposed = |was_sent| CommitError::Deposed { node: "n".to_owned(), was_sent };
        assert_eq!(Fate::of_commit(&deposed(true), None), Fate::Unknown);
        assert_eq!(Fate::of_commit(&deposed(false), None), Fate::Elsewhere);
    }
}
