//! The time that something has, waiting included, and how far it has come.
//!
//! In: a limit, and what happens one after the other. Out: what was done in time, or an error that
//! says what was waited for ([`Late`]). What has no limit is kept no account of.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pgherd_core::pool::PoolLoad;
use pgherd_core::sql::QueryType;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Ask;
use super::late::{Earlier, Late, Task, WaitedFor};
use crate::error::Cause;
use crate::mutex::Mutex;
use crate::pool::NodePool;
use crate::{Error, InDoubt};

/// See the module's header.
pub(crate) struct Progress(Option<Box<Timed>>);

struct Timed {
    limit: Duration,
    ends: Instant,
    task: Task,
    // Held for one note.
    reached: Mutex<Reached>,
}

#[derive(Default)]
struct Reached {
    node: Option<Arc<NodePool>>,
    waited: WaitedFor,
    // Of one acquire, or of one statement.
    tries: u32,
    // Of a unit of work.
    runs: u32,
    last: Option<Earlier>,
    // A COMMIT has left that was not answered yet, of this run or of an earlier one.
    is_committing: bool,
    was_left_unknown: bool,
    in_doubt: Vec<InDoubt>,
    // Said once, it is not changed by what is still going on.
    is_told: bool,
}

impl Progress {
    /// Of one statement, or of one acquire.
    pub(super) fn of(ask: &Ask) -> Self {
        let task = match ask.query.query_type {
            QueryType::Read => Task::Read,
            _ => Task::Write,
        };
        Self::new(ask.limit, task)
    }

    /// Of a transaction, from now to the answer to its COMMIT. Zero: for ever.
    pub(crate) fn of_transaction(limit: Duration) -> Self {
        Self::new(limit, Task::Transaction)
    }

    /// Of what has no end.
    pub(crate) fn unlimited() -> Self {
        Self(None)
    }

    fn new(limit: Duration, task: Task) -> Self {
        if limit.is_zero() {
            return Self(None);
        }
        // What ends later than a clock can tell has no end.
        let ends = Instant::now().checked_add(limit);
        Self(ends.map(|ends| Box::new(Timed { limit, ends, task, reached: Mutex::default() })))
    }

    /// Does it in the time there is left. When there is none it is not begun.
    ///
    /// Pinned by the caller, because it is large, and dropped by them behind the error, which tells
    /// how far it had come.
    pub(crate) async fn within<T, E: From<Error>>(
        &self,
        work: Pin<&mut impl Future<Output = Result<T, E>>>,
    ) -> Result<T, E> {
        let Some(timed) = &self.0 else { return work.await };
        self.check()?;
        match timeout_at(timed.ends, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(timed.out_of_time().into()),
        }
    }

    /// Runs a statement of a transaction in the time there is left.
    pub(crate) async fn statement<T>(
        &self,
        node: &Arc<NodePool>,
        work: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        self.waits_for(node, WaitedFor::Statement);
        let done = self.within(work).await;
        self.waits_for(node, WaitedFor::Program);
        done
    }

    /// Whether the time is up.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|timed| Instant::now() >= timed.ends)
    }

    /// Waits until the time is up.
    pub(crate) async fn over(&self) {
        match &self.0 {
            Some(timed) => sleep_until(timed.ends).await,
            None => std::future::pending().await,
        }
    }

    /// That the time is up, if it is.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.0 {
            Some(timed) if self.is_over() => Err(timed.out_of_time()),
            _ => Ok(()),
        }
    }

    pub(crate) fn waits_at(&self, node: &Arc<NodePool>, tries: u32) {
        self.note(|reached| {
            (reached.node, reached.tries) = (Some(node.clone()), tries);
            // What the pool holds is looked up when it matters.
            reached.waited = WaitedFor::Backend(PoolLoad::default());
        });
    }

    pub(super) fn runs(&self) {
        self.note(|reached| reached.waited = WaitedFor::Answer);
    }

    pub(crate) fn waits_for(&self, node: &Arc<NodePool>, what: WaitedFor) {
        self.note(|reached| (reached.node, reached.waited) = (Some(node.clone()), what));
    }

    pub(super) fn failed(&self, error: Error) {
        self.note(|reached| {
            reached.waited = WaitedFor::NextTry;
            reached.last = Some(Arc::new(error));
        });
    }

    /// Why a run failed, told by whoever hands the error itself on.
    pub(crate) fn run_failed(&self, why: impl FnOnce() -> String) {
        self.note(|reached| reached.last = Some(told(why())));
    }

    pub(super) fn begins_anew(&self) {
        self.note(|reached| reached.waited = WaitedFor::Primary);
    }

    /// A run of a unit of work begins.
    pub(super) fn begins_run(&self, run: u32) {
        self.note(|reached| (reached.waited, reached.runs) = (WaitedFor::Primary, run));
    }

    /// The unit waits to be run again.
    pub(super) fn waits_for_next_run(&self) {
        self.note(|reached| reached.waited = WaitedFor::NextTry);
    }

    /// COMMIT is about to be sent.
    pub(super) fn commits(&self, node: &Arc<NodePool>) {
        self.waits_for(node, WaitedFor::Commit);
        self.note(|reached| reached.is_committing = true);
    }

    /// COMMIT is waited for no longer.
    pub(super) fn has_committed_or_not(&self, is_unknown: bool) {
        self.note(|reached| {
            reached.is_committing = false;
            reached.was_left_unknown |= is_unknown;
        });
    }

    /// What became of a COMMIT is looked up.
    pub(super) fn looks_up(&self) {
        self.note(|reached| reached.waited = WaitedFor::LookUp);
    }

    /// It was found that it had no effect.
    pub(super) fn is_known(&self) {
        self.note(|reached| reached.was_left_unknown = false);
    }

    /// The error of a commit over several shards that is not waited for any longer. `decider`, and
    /// what may be prepared, where the decision was under way; `why` it is rolled back, if so.
    pub(crate) fn late_commit(
        &self,
        decider: Option<(&Arc<NodePool>, Vec<InDoubt>)>,
        why: Option<String>,
    ) -> Error {
        self.note(|reached| {
            reached.waited = WaitedFor::Shards;
            reached.last = why.map(told);
            if let Some((node, in_doubt)) = decider {
                let is_one_of_many = !in_doubt.is_empty();
                let waited = if is_one_of_many { WaitedFor::Decision } else { WaitedFor::Commit };
                (reached.node, reached.waited) = (Some(node.clone()), waited);
                (reached.in_doubt, reached.is_committing) = (in_doubt, true);
            }
        });
        match &self.0 {
            Some(timed) => timed.out_of_time(),
            None => unreachable!("what has no limit is never late"),
        }
    }

    fn note(&self, change: impl FnOnce(&mut Reached)) {
        if let Some(timed) = &self.0 {
            let mut reached = timed.reached.lock();
            if !reached.is_told {
                change(&mut reached);
            }
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Progress").field(&self.0.as_ref().map(|timed| timed.limit)).finish()
    }
}

/// A cause of which only the words are there.
fn told(why: String) -> Earlier {
    Box::<dyn std::error::Error + Send + Sync>::from(why).into()
}

impl Timed {
    fn out_of_time(&self) -> Error {
        let mut reached = self.reached.lock();
        let is_new = !std::mem::replace(&mut reached.is_told, true);
        if let (true, WaitedFor::Backend(_), Some(node)) = (is_new, reached.waited, &reached.node) {
            reached.waited = WaitedFor::Backend(node.backends().load());
        }
        let is_unknown = match self.task {
            Task::Read => false,
            Task::Write => reached.waited == WaitedFor::Answer,
            Task::Transaction => reached.is_committing || reached.was_left_unknown,
        };
        let late = Late {
            limit: self.limit,
            task: self.task,
            waited: reached.waited,
            is_unknown,
            in_doubt: reached.in_doubt.clone(),
            last: reached.last.clone(),
        };
        let tries = reached.tries.max(reached.runs);
        let is_read = self.task == Task::Read;
        let error = Error::new(Cause::Deadline(late)).of_read(is_read).after_tries(tries);
        match &reached.node {
            Some(node) => error.at(node.node().clone()),
            None => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;
    use crate::ErrorKind;

    const LIMIT: Duration = Duration::from_secs(2);

    async fn late(progress: &Progress) -> Error {
        let work = std::future::pending::<Result<(), Error>>();
        progress.within(pin!(work)).await.unwrap_err()
    }

    #[tokio::test(start_paused = true)]
    async fn one_time_is_for_all_that_is_done_in_it_and_nothing_begins_behind_it() {
        let progress = Progress::of_transaction(LIMIT);
        let second = async {
            tokio::time::sleep(LIMIT * 2 / 3).await;
            Ok::<_, Error>(())
        };
        progress.within(pin!(second)).await.unwrap();
        assert!(!progress.is_over() && progress.check().is_ok());
        assert_eq!(late(&progress).await.kind(), ErrorKind::Deadline);
        assert!(progress.is_over() && progress.check().is_err());
        let begun = pin!(async { panic!("its time is up") });
        let outcome: Result<(), Error> = progress.within(begun).await;
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Deadline);

        for endless in [Duration::ZERO, Duration::MAX] {
            let progress = Progress::of_transaction(endless);
            progress.within(pin!(async { Ok::<_, Error>(()) })).await.unwrap();
            assert!(!progress.is_over());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_earlier_commit_has_left_unknown_stays_so_until_it_is_looked_up() {
        let unit = || {
            let progress = Progress::of_transaction(LIMIT);
            progress.begins_run(1);
            progress.has_committed_or_not(true);
            progress
        };
        let idempotent = unit();
        idempotent.begins_run(2);
        idempotent.run_failed(|| "refused".to_owned());
        let error = late(&idempotent).await;
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::InDoubt, Some("08007")));
        assert_eq!((error.tries(), error.was_sent()), (2, true));
        assert!(format!("{error:#}").ends_with("(tried 2 times): refused"), "{error:#}");

        let looking = unit();
        looking.looks_up();
        assert_eq!(late(&looking).await.kind(), ErrorKind::InDoubt);

        let found = unit();
        found.is_known();
        found.begins_run(2);
        found.has_committed_or_not(false);
        let error = late(&found).await;
        assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::Deadline, Some("57014")));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_once_told_is_the_same_for_everybody() {
        let progress = Progress::of_transaction(LIMIT);
        let inner = late(&progress).await.to_string();
        progress.looks_up();
        progress.has_committed_or_not(true);
        assert_eq!(progress.check().unwrap_err().to_string(), inner);
    }
}
