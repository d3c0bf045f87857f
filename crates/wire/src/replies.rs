//! The queue of replies a backend still owes, and what becomes of each.
//!
//! In: what was sent to the backend ([`Replies::expect`]), then the type byte of each reply
//! ([`Replies::on_reply`]).
//! Out: for each reply whether it is forwarded or swallowed, and which replies have to be made
//! up in between because the backend never saw the request ([`Replies::next_synthetic`]).
//!
//! This is what lets pgherd put requests of its own into a client's pipeline, or leave some
//! out, without the client noticing.
//!
//! | sent                | settled by            | an error before it                        |
//! |---------------------|-----------------------|-------------------------------------------|
//! | Query, FunctionCall | ReadyForQuery         | is followed by that ReadyForQuery         |
//! | Parse               | ParseComplete         | drops everything up to the next Sync      |
//! | Bind                | BindComplete          | the same                                  |
//! | Describe            | RowDescription/NoData | the same                                  |
//! | Execute             | CommandComplete, EmptyQueryResponse, PortalSuspended | the same   |
//! | Close               | CloseComplete         | the same                                  |
//! | Sync                | ReadyForQuery         | stays                                     |
//!
//! Two traps, both from the manual's "COPY Operations": while the backend is in COPY-in mode
//! it ignores Sync, so a Sync sent between Execute and CopyDone is never answered; and after
//! an error it ignores everything up to the next Sync, which may not have been sent yet.
//!
//! While it streams for replication (copy-both mode) the backend reads a COPY and sends one at the
//! same time; the two end one by one, in either order, and the Query with them.

use std::collections::VecDeque;

use crate::{WireError, backend};

/// Whether the client sees a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// The client asked, and sees the reply.
    Client,
    /// pgherd asked, and swallows it.
    Nobody,
}

/// Something sent to a backend that it will answer, or that the client sent and we answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Query, or FunctionCall, which ends the same way.
    Query(Show),
    /// Parse. `statement` comes back in [`Settled`], or in [`Replies::take_dropped`].
    Parse {
        /// Who asked.
        show: Show,
        /// The sender's number for the statement; `None` for the unnamed one, or one that is there.
        statement: Option<u64>,
    },
    /// The client's own Parse of the unnamed statement, or its Close, whose outcome is told.
    Unnamed {
        /// Close.
        closes: bool,
    },
    /// Bind.
    Bind,
    /// Describe of a statement or a portal.
    Describe,
    /// Execute.
    Execute,
    /// Close of a statement or a portal.
    Close(Show),
    /// Sync.
    Sync(Show),
    /// Not sent to the backend: the client is told this empty message (ParseComplete or
    /// CloseComplete) when its turn comes.
    MadeUp(u8),
    /// The client's CopyDone or CopyFail, sent before the backend was known to copy.
    CopyEnd,
}

/// What becomes of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the client sees it.
    pub show: Show,
    /// What it settled, if anything.
    pub settled: Option<Settled>,
}

/// What a reply settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The named statement with this number exists on the backend.
    Parsed(u64),
    /// An [`Expect::Unnamed`] is done.
    Unnamed,
    /// A Query or Sync is done: the backend waits for the next command.
    Ready,
}

/// What an error has dropped of what concerns the unnamed statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedUnnamed {
    /// So many [`Expect::Unnamed`], the oldest of them.
    pub count: usize,
    /// Whether the first was a Parse, and is what has failed.
    pub is_cause: bool,
}

/// The queue. One per backend.
#[derive(Debug, Default)]
pub struct Replies {
    queue: VecDeque<Expect>,
    dropped: Vec<u64>,
    dropped_changes: usize,
    dropped_unnamed: DroppedUnnamed,
    copying_in: bool,
    // Since the backend has begun to, until its Query has ended.
    copying_both: bool,
    // After an error without a Sync behind it: the backend ignores everything up to one.
    skipping: bool,
    // Syncs sent before the COPY they would be ignored by has begun, or while it runs.
    unread_syncs: usize,
    is_uncertain: bool,
}

impl Replies {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is owed.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The number of replies owed.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// What is owed next.
    #[inline]
    pub fn next_owed(&self) -> Option<Expect> {
        self.queue.front().copied()
    }

    /// Whether a ReadyForQuery is owed: a Query or Sync was sent and is not settled.
    pub fn is_ready_owed(&self) -> bool {
        self.queue.iter().any(|expect| matches!(expect, Expect::Query(_) | Expect::Sync(_)))
    }

    /// Whether the backend reads CopyData from the client now.
    pub fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// Whether the backend streams for replication: both sides send at any time.
    pub fn is_copying_both(&self) -> bool {
        self.copying_both
    }

    /// Whether the backend ignores everything up to the next Sync.
    pub fn is_skipping(&self) -> bool {
        self.skipping
    }

    /// Whether more replies than are owed may come, because a COPY failed before it was known
    /// how much of what followed it was read. The connection is of no use to another client.
    pub fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }

    /// Notes what is being sent to the backend.
    ///
    /// `false`: the backend is going to ignore it, or never answers it.
    pub fn expect(&mut self, expect: Expect) -> bool {
        let answered = match expect {
            Expect::CopyEnd => !std::mem::take(&mut self.copying_in) && !self.queue.is_empty(),
            Expect::Sync(_) if self.copying_in => {
                self.unread_syncs += 1;
                false
            }
            Expect::Sync(_) => {
                self.skipping = false;
                true
            }
            _ => !self.skipping,
        };
        if answered {
            self.queue.push_back(expect);
        }
        answered
    }

    /// What becomes of a reply with this type byte.
    ///
    /// # Errors
    /// [`WireError::UnexpectedReply`] if nothing sent can have caused it: the backend and we
    /// no longer agree, and the connection is of no more use.
    #[inline]
    pub fn on_reply(&mut self, tag: u8) -> Result<Verdict, WireError> {
        // Most replies by far: what answers a Query.
        if let Some(Expect::Query(show)) = self.queue.front() {
            let show = *show;
            match tag {
                backend::DATA_ROW | backend::ROW_DESCRIPTION | backend::COMMAND_COMPLETE => {
                    return Ok(Verdict { show, settled: None });
                }
                backend::READY => {
                    self.end_query();
                    return Ok(Verdict { show, settled: Some(Settled::Ready) });
                }
                _ => {}
            }
        }
        self.settle(tag)
    }

    fn settle(&mut self, tag: u8) -> Result<Verdict, WireError> {
        let front = self.queue.front().copied();
        let show = match front {
            // Whatever is asked meanwhile, they are for who listens.
            _ if tag == backend::NOTIFICATION => Show::Client,
            // What is injected into a pipeline can fail it: the client sees why.
            Some(Expect::Parse { .. } | Expect::Close(_)) if tag == backend::ERROR => Show::Client,
            Some(
                Expect::Query(show)
                | Expect::Sync(show)
                | Expect::Close(show)
                | Expect::Parse { show, .. },
            ) => show,
            _ => Show::Client,
        };
        let mut settled = None;
        match (tag, front) {
            (backend::PARSE_COMPLETE, Some(Expect::Parse { statement, .. })) => {
                settled = statement.map(Settled::Parsed);
                self.queue.pop_front();
            }
            (backend::PARSE_COMPLETE, Some(Expect::Unnamed { closes: false }))
            | (backend::CLOSE_COMPLETE, Some(Expect::Unnamed { closes: true })) => {
                settled = Some(Settled::Unnamed);
                self.queue.pop_front();
            }
            (backend::BIND_COMPLETE, Some(Expect::Bind))
            | (backend::CLOSE_COMPLETE, Some(Expect::Close(_)))
            | (backend::NO_DATA | backend::ROW_DESCRIPTION, Some(Expect::Describe))
            | (
                backend::COMMAND_COMPLETE | backend::EMPTY_QUERY | backend::PORTAL_SUSPENDED,
                Some(Expect::Execute),
            ) => {
                self.copying_in = false;
                self.copying_both = false;
                self.queue.pop_front();
            }
            (backend::READY, Some(Expect::Query(_) | Expect::Sync(_))) => {
                self.end_query();
                settled = Some(Settled::Ready);
            }
            (backend::READY, None) if self.is_uncertain => {
                self.skipping = false;
                settled = Some(Settled::Ready);
            }
            (
                backend::PARSE_COMPLETE
                | backend::BIND_COMPLETE
                | backend::CLOSE_COMPLETE
                | backend::NO_DATA
                | backend::PORTAL_SUSPENDED
                | backend::READY,
                other,
            ) => {
                return Err(WireError::UnexpectedReply {
                    tag: char::from(tag),
                    expected: other.map_or("nothing", Expect::name),
                });
            }
            (backend::COPY_IN, Some(Expect::Query(_) | Expect::Execute)) => self.begin_copy_in(),
            (backend::COPY_BOTH, Some(Expect::Query(_) | Expect::Execute)) => {
                self.begin_copy_in();
                self.copying_both = true;
            }
            (backend::ERROR, _) => self.fail(),
            _ => {}
        }
        Ok(Verdict { show, settled })
    }

    /// A Query or a Sync has been answered.
    fn end_query(&mut self) {
        self.copying_in = false;
        self.copying_both = false;
        self.queue.pop_front();
    }

    /// The next reply to make up now, an empty message of this type. Asked after each reply
    /// and each [`Self::expect`], until it is `None`.
    #[inline]
    pub fn next_synthetic(&mut self) -> Option<u8> {
        loop {
            match self.queue.front()? {
                Expect::MadeUp(tag) => {
                    let tag = *tag;
                    self.queue.pop_front();
                    return Some(tag);
                }
                Expect::CopyEnd => {
                    self.queue.pop_front();
                }
                _ => return None,
            }
        }
    }

    /// The named statements whose Parse an error has dropped: they do not exist.
    pub fn take_dropped(&mut self) -> impl Iterator<Item = u64> + '_ {
        self.dropped.drain(..)
    }

    /// How many of the client's own Parses of named statements, and of what was to be made up, an
    /// error has dropped: the oldest of them.
    pub fn take_dropped_changes(&mut self) -> usize {
        std::mem::take(&mut self.dropped_changes)
    }

    /// The same of the unnamed statement.
    pub fn take_dropped_unnamed(&mut self) -> DroppedUnnamed {
        std::mem::take(&mut self.dropped_unnamed)
    }

    /// Everything still owed, in order; used when the backend died.
    pub fn pending(&self) -> impl Iterator<Item = Expect> + '_ {
        self.queue.iter().copied()
    }

    fn begin_copy_in(&mut self) {
        // Everything behind the copying command up to CopyDone was read, and ignored, in
        // COPY-in mode.
        let end = self.queue.iter().position(|expect| *expect == Expect::CopyEnd);
        self.copying_in = end.is_none();
        let mut at = 0;
        let until = end.unwrap_or(self.queue.len());
        let before = self.queue.len();
        self.queue.retain(|expect| {
            let keep = at == 0 || at > until || !matches!(expect, Expect::Sync(_));
            at += 1;
            keep
        });
        self.unread_syncs = before - self.queue.len();
    }

    fn fail(&mut self) {
        // Whether it failed before or after it had read the Syncs that COPY-in mode ignores only
        // the backend knows.
        self.is_uncertain |= std::mem::take(&mut self.copying_in) && self.unread_syncs > 0;
        self.copying_both = false;
        if matches!(self.queue.front(), None | Some(Expect::Query(_) | Expect::Sync(_))) {
            return;
        }
        let is_cause = self.queue.front() == Some(&Expect::Unnamed { closes: false });
        self.dropped_unnamed.is_cause |= is_cause;
        while let Some(expect) = self.queue.front() {
            match expect {
                Expect::Sync(_) => return,
                Expect::Unnamed { .. } => self.dropped_unnamed.count += 1,
                Expect::Parse { statement: Some(statement), show } => {
                    self.dropped.push(*statement);
                    self.dropped_changes += usize::from(*show == Show::Client);
                }
                Expect::MadeUp(_) => self.dropped_changes += 1,
                _ => {}
            }
            self.queue.pop_front();
        }
        self.skipping = true;
    }
}

impl Expect {
    fn name(self) -> &'static str {
        match self {
            Self::Query(_) => "the end of a query",
            Self::Parse { .. } | Self::Unnamed { closes: false } => "ParseComplete",
            Self::Bind => "BindComplete",
            Self::Describe => "RowDescription or NoData",
            Self::Execute => "CommandComplete",
            Self::Close(_) | Self::Unnamed { closes: true } => "CloseComplete",
            Self::Sync(_) => "ReadyForQuery",
            Self::MadeUp(_) | Self::CopyEnd => "nothing",
        }
    }
}

#[cfg(test)]
mod tests;
