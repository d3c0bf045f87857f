//! What a client's unnamed statement is, and what it is going to be.
//!
//! In: what the client sends that changes it, and what became of that, in the same order.
//! Out: what a Bind of it runs once everything is answered.
//!
//! A Parse ends the statement before its text is looked at, so behind one that fails there is none.
//! One that is skipped, because something failed before it, changes nothing.
//!
//! Source: PostgreSQL, `exec_parse_message` and `drop_unnamed_stmt`.

use std::collections::VecDeque;

/// Bytes of texts that are kept while it is open which of them will be the statement: 64 KiB. Where
/// there are more the last is kept. Should a later Parse fail the client is told that there is none,
/// and has to parse again what it has sent in a pipeline behind which it does not look.
const MOST_PENDING: usize = 64 * 1024;

/// A Parse without its name: count and OIDs of its parameters as they travelled, and the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    bytes: Box<[u8]>,
    text_at: u32,
}

impl Unnamed {
    /// Of this text and these types.
    pub fn new(sql: &[u8], types: &[u8]) -> Self {
        let text_at = u32::try_from(types.len()).expect("a message's length has 32 bits");
        Self { bytes: [types, sql].concat().into(), text_at }
    }

    /// The text.
    pub fn sql(&self) -> &[u8] {
        &self.bytes[self.text_at as usize..]
    }

    /// Count and OIDs of the parameters.
    pub fn types(&self) -> &[u8] {
        &self.bytes[..self.text_at as usize]
    }
}

/// See the module's header.
#[derive(Debug, Default)]
pub(super) struct UnnamedStatement {
    is: Option<Unnamed>,
    // Absent while nothing is owed.
    pending: Option<Box<Pending>>,
}

/// What it becomes with each of the Parses and Closes that are not answered yet.
#[derive(Debug)]
struct Pending {
    // Nearly always there is no more than one, and nothing to allocate for the others.
    oldest: Option<Unnamed>,
    others: VecDeque<Option<Unnamed>>,
    // So many of them were sent before the last Sync or Query.
    of_earlier: usize,
    bytes: usize,
}

impl Pending {
    fn last(&self) -> Option<&Unnamed> {
        self.others.back().unwrap_or(&self.oldest).as_ref()
    }

    /// Without what it is now.
    fn forget(&mut self) {
        self.oldest = None;
        self.others.iter_mut().for_each(|one| *one = None);
        self.bytes = 0;
    }
}

impl UnnamedStatement {
    /// What it is once everything is done that was sent.
    pub(super) fn last(&self) -> Option<&Unnamed> {
        match &self.pending {
            Some(pending) => pending.last(),
            None => self.is.as_ref(),
        }
    }

    /// A Parse, or with `None` a Close, was sent: [`Self::confirm`] or [`Self::fail`] says what becomes
    /// of it.
    pub(super) fn change(&mut self, to: Option<Unnamed>) {
        let bytes = to.as_ref().map_or(0, |to| to.bytes.len());
        match &mut self.pending {
            Some(pending) => {
                if pending.bytes + bytes > MOST_PENDING {
                    pending.forget();
                }
                pending.bytes += bytes;
                pending.others.push_back(to);
            }
            None => {
                let others = VecDeque::new();
                let pending = Pending { oldest: to, others, of_earlier: 0, bytes };
                self.pending = Some(Box::new(pending));
            }
        }
    }

    /// A Query was sent, which ends it whatever becomes of what was sent before. That an error of which
    /// nobody knows yet has the Query skipped is not thought of: there is none then, either.
    pub(super) fn end(&mut self) {
        self.is = None;
        if let Some(pending) = &mut self.pending {
            pending.forget();
        }
    }

    /// A Sync or Query was sent: an error before it drops nothing that follows.
    pub(super) fn end_stretch(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.of_earlier = 1 + pending.others.len();
        }
    }

    /// Whether everything is answered that was sent before the last Sync or Query.
    pub(super) fn is_settled(&self) -> bool {
        self.pending.as_ref().is_none_or(|pending| pending.of_earlier == 0)
    }

    /// The oldest change is done.
    pub(super) fn confirm(&mut self) {
        if let Some(done) = self.pop() {
            self.is = done;
        }
    }

    /// An error has dropped so many of the oldest changes. `is_cause`: the first of them was a Parse,
    /// and failed itself.
    pub(super) fn fail(&mut self, dropped: usize, is_cause: bool) {
        (0..dropped).for_each(|_| drop(self.pop()));
        if is_cause {
            self.is = None;
        }
    }

    /// What is not answered is going to be sent again.
    pub(super) fn rewind(&mut self) {
        self.pending = None;
    }

    /// It is gone. What was sent since is still to come.
    pub(super) fn clear(&mut self) {
        self.is = None;
    }

    fn pop(&mut self) -> Option<Option<Unnamed>> {
        let pending = self.pending.as_mut()?;
        let Some(next) = pending.others.pop_front() else {
            return self.pending.take().map(|pending| pending.oldest);
        };
        let oldest = std::mem::replace(&mut pending.oldest, next);
        pending.of_earlier = pending.of_earlier.saturating_sub(1);
        pending.bytes -= oldest.as_ref().map_or(0, |oldest| oldest.bytes.len());
        Some(oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(sql: &str) -> Option<Unnamed> {
        Some(Unnamed::new(sql.as_bytes(), &[0, 0]))
    }

    fn text(statement: &UnnamedStatement) -> Option<&str> {
        statement.last().map(|last| std::str::from_utf8(last.sql()).unwrap())
    }

    #[test]
    fn what_is_done_counts_and_what_was_skipped_does_not() {
        let mut statement = UnnamedStatement::default();
        for sql in ["a", "b", "c"] {
            statement.change(one(sql));
        }
        assert_eq!(text(&statement), Some("c"));
        statement.confirm();
        statement.confirm();
        statement.fail(1, false);
        assert_eq!(text(&statement), Some("b"), "c was skipped");
        statement.change(one("d"));
        statement.change(one("e"));
        statement.fail(2, true);
        assert_eq!(text(&statement), None, "d has failed, behind the end of b");
        statement.change(one("f"));
        statement.confirm();
        statement.change(None);
        assert_eq!(text(&statement), None);
        statement.fail(1, false);
        assert_eq!(text(&statement), Some("f"), "it was not closed");
        statement.change(one("g"));
        statement.end();
        statement.fail(1, false);
        assert_eq!(text(&statement), None, "a Query has run");
        assert_eq!(Unnamed::new(b"sql", b"types").types(), b"types");
    }

    #[test]
    fn it_is_open_until_what_was_sent_before_the_last_sync_is_answered() {
        let mut statement = UnnamedStatement::default();
        statement.change(one("a"));
        assert!(statement.is_settled());
        statement.end_stretch();
        statement.change(one("b"));
        assert!(!statement.is_settled());
        statement.confirm();
        assert!(statement.is_settled());
        statement.rewind();
        assert_eq!(text(&statement), Some("a"));
    }

    #[test]
    fn many_long_texts_are_not_kept() {
        let mut statement = UnnamedStatement::default();
        let long = "x".repeat(MOST_PENDING / 4);
        (0..100).for_each(|_| statement.change(one(&long)));
        let kept = |statement: &UnnamedStatement| {
            let pending = statement.pending.as_ref().unwrap();
            let all = pending.others.iter().chain([&pending.oldest]).flatten();
            assert_eq!(pending.bytes, all.clone().map(|one| one.bytes.len()).sum::<usize>());
            all.count()
        };
        assert!(kept(&statement) <= 4);
        assert_eq!(text(&statement), Some(&*long));
        (0..99).for_each(|_| statement.confirm());
        assert_eq!(kept(&statement), 1);
        statement.confirm();
        assert_eq!(text(&statement), Some(&*long));
    }
}
