//! That the time was up, and what was waited for at that moment.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pgherd_core::pool::PoolLoad;
use pgherd_core::retry::Retry;
use pgherd_wire::sqlstate;

use crate::{ErrorKind, InDoubt};

/// Why an earlier try failed.
pub(crate) type Earlier = Arc<dyn std::error::Error + Send + Sync>;

/// See the module's header.
pub(crate) struct Late {
    pub(crate) limit: Duration,
    pub(crate) task: Task,
    pub(crate) waited: WaitedFor,
    /// Whether it may have taken effect: a write that was sent, a COMMIT without an answer.
    pub(crate) is_unknown: bool,
    /// What may be left prepared of a transaction over several shards.
    pub(crate) in_doubt: Vec<InDoubt>,
    pub(crate) last: Option<Earlier>,
}

/// What had so much time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Read,
    Write,
    Transaction,
}

/// What was waited for when the time was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum WaitedFor {
    /// A node that takes writes.
    #[default]
    Primary,
    /// A backend, in a pool that held this.
    Backend(PoolLoad),
    /// The turn of its next try.
    NextTry,
    /// The answer to the only statement.
    Answer,
    /// The answer to BEGIN.
    Begin,
    /// The answer to a statement of the transaction.
    Statement,
    /// The program itself, between two statements.
    Program,
    /// The answer to COMMIT.
    Commit,
    /// Word of what became of a COMMIT without an answer.
    LookUp,
    /// The word of every shard that it can commit.
    Shards,
    /// The answer of the shard that decides for all.
    Decision,
}

impl Late {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self.task {
            Task::Transaction if self.is_unknown => ErrorKind::InDoubt,
            _ => ErrorKind::Deadline,
        }
    }

    pub(crate) fn retry(&self) -> Retry {
        match self.task {
            _ if self.is_unknown => Retry::No,
            Task::Transaction => Retry::Same,
            Task::Read | Task::Write => Retry::Elsewhere,
        }
    }

    pub(crate) fn was_sent(&self) -> bool {
        let is_at_a_node = match self.waited {
            WaitedFor::Answer
            | WaitedFor::Statement
            | WaitedFor::Program
            | WaitedFor::Commit
            | WaitedFor::LookUp
            | WaitedFor::Shards
            | WaitedFor::Decision => true,
            WaitedFor::Primary | WaitedFor::Backend(_) | WaitedFor::NextTry | WaitedFor::Begin => {
                false
            }
        };
        is_at_a_node || self.is_unknown
    }

    pub(crate) fn sqlstate(&self) -> &'static str {
        match self.is_unknown {
            true => sqlstate::TRANSACTION_UNKNOWN,
            false => sqlstate::QUERY_CANCELED,
        }
    }

    /// Tells it in one line.
    pub(crate) fn tell(&self, f: &mut fmt::Formatter<'_>, node: &str) -> fmt::Result {
        let Self { limit, in_doubt, .. } = self;
        match self.task {
            Task::Read | Task::Write => write!(f, "no answer within {limit:?}")?,
            Task::Transaction => write!(f, "the transaction had not ended within {limit:?}")?,
        }
        f.write_str(", waiting included: ")?;
        match &self.waited {
            WaitedFor::Primary => f.write_str("its group had no primary")?,
            WaitedFor::Backend(load) => write!(f, "{node} had no backend for it ({load})")?,
            WaitedFor::NextTry => write!(f, "it failed on {node}")?,
            WaitedFor::Answer => write!(f, "it still ran on {node}, and was cancelled")?,
            WaitedFor::Begin => write!(f, "{node} had not answered BEGIN")?,
            WaitedFor::Statement => write!(f, "a statement still ran on {node}")?,
            WaitedFor::Program => write!(f, "between two statements on {node}")?,
            WaitedFor::Commit => write!(f, "{node} had not answered COMMIT")?,
            WaitedFor::LookUp => write!(f, "it was looked up what became of COMMIT on {node}")?,
            WaitedFor::Shards => f.write_str("not all shards had said that they can commit")?,
            WaitedFor::Decision => write!(f, "{node}, which decides, had not answered")?,
        }
        f.write_str(match (self.task, self.is_unknown) {
            (Task::Read, _) | (Task::Write, false) => "",
            (Task::Write, true) => "; whether it has taken effect is not known",
            (Task::Transaction, false) => "; nothing of it is committed",
            (Task::Transaction, true) if in_doubt.is_empty() => {
                "; whether it is committed is not known: look before it is run again"
            }
            (Task::Transaction, true) => {
                "; whether it is committed is not known yet: on all shards or on none, and recovery \
                 finishes what is left of "
            }
        })?;
        let names: Vec<_> = in_doubt.iter().map(InDoubt::to_string).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn late(task: Task, waited: WaitedFor, is_unknown: bool) -> Late {
        let limit = Duration::from_secs(2);
        Late { limit, task, waited, is_unknown, in_doubt: Vec::new(), last: None }
    }

    struct Told(Late);

    impl fmt::Display for Told {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.tell(f, "shard-0")
        }
    }

    #[test]
    fn only_what_may_have_happened_is_in_doubt() {
        let known = late(Task::Transaction, WaitedFor::Statement, false);
        assert_eq!((known.kind(), known.sqlstate()), (ErrorKind::Deadline, "57014"));
        assert_eq!((known.retry(), known.was_sent()), (Retry::Same, true));
        let unknown = late(Task::Transaction, WaitedFor::Commit, true);
        assert_eq!((unknown.kind(), unknown.sqlstate()), (ErrorKind::InDoubt, "08007"));
        assert_eq!((unknown.retry(), unknown.was_sent()), (Retry::No, true));
        // A unit whose first COMMIT had no answer, and that waits to be run again.
        let again = late(Task::Transaction, WaitedFor::Primary, true);
        assert_eq!((again.sqlstate(), again.was_sent()), ("08007", true));
        let write = late(Task::Write, WaitedFor::Answer, true);
        assert_eq!((write.kind(), write.sqlstate()), (ErrorKind::Deadline, "08007"));
        let waiting = late(Task::Write, WaitedFor::NextTry, false);
        assert_eq!((waiting.retry(), waiting.was_sent()), (Retry::Elsewhere, false));
    }

    #[test]
    fn the_text_says_what_was_waited_for_and_what_became_of_it() {
        let text = Told(late(Task::Transaction, WaitedFor::Statement, false)).to_string();
        assert_eq!(
            text,
            "the transaction had not ended within 2s, waiting included: a statement still ran on \
             shard-0; nothing of it is committed"
        );
        let text = Told(late(Task::Transaction, WaitedFor::Commit, true)).to_string();
        assert!(text.ends_with(
            "shard-0 had not answered COMMIT; whether it is committed is not known: look before it \
             is run again"
        ));
        let gid = "pgherd_1".to_owned();
        let left = InDoubt { shard: pgherd_core::ShardId(1), node: "shard-1".to_owned(), gid };
        let decision = late(Task::Transaction, WaitedFor::Decision, true);
        let text = Told(Late { in_doubt: vec![left], ..decision }).to_string();
        assert!(text.ends_with("what is left of 'pgherd_1' on shard-1"), "{text}");
    }
}
