//! Several statements in one round trip.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use futures_util::TryStreamExt;
use futures_util::future::maybe_done;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, RowStream};
use tracing::debug;

use super::Request;
use super::act::{Act, InBlock, Params};
use crate::conn::Ready;
use crate::error::Cause;
use crate::{Error, ErrorKind, Lease};

/// Statements that go to one backend together and are answered together. Made by
/// [`Request::pipeline`].
///
/// They run in the order in which they were added, **each as a transaction of its own**: an error
/// in one undoes nothing of those before it, and does not keep those behind it from running. For
/// all or nothing take a transaction. All are looked at before the first runs, so that none may
/// need what an earlier one creates; those that the backend has not prepared cost one more round
/// trip together. Behind a pooler each costs round trips of its own, and may run on another backend.
///
/// A statement that a migration has invalidated is prepared anew by itself, where that keeps the
/// order: if all of them only read, or if none behind it has run. Else its error says that it did
/// not run (SQLSTATE 0A000 or 26000), and the next pipeline has it prepared anew.
///
/// ```no_run
/// # async fn f(pool: pgherd::DistributedPool) -> Result<(), pgherd::Error> {
/// let answers = pool
///     .write()
///     .shard_key(42)
///     .pipeline()
///     .add("UPDATE users SET visits = visits + 1 WHERE id = $1", &[&42])
///     .add("SELECT visits FROM users WHERE id = $1", &[&42])
///     .run()
///     .await?;
/// for answer in answers {
///     let answer = answer?;
///     println!("{} rows, {} of them to read", answer.affected, answer.rows.len());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a pipeline does nothing until it is run"]
pub struct Pipeline<'p, 'a> {
    request: Request<'p>,
    steps: Vec<Step<'a>>,
}

struct Step<'a> {
    sql: &'a str,
    params: Params<'a>,
}

/// What one statement of a [`Pipeline`] has answered. See [`Pipeline`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered {
    /// Its rows, if it gives any.
    pub rows: Vec<Row>,
    /// How many rows it concerned: read, written or deleted.
    pub affected: u64,
}

impl<'p, 'a> Pipeline<'p, 'a> {
    pub(super) fn new(request: Request<'p>) -> Self {
        Self { request, steps: Vec::new() }
    }

    /// The same with one statement more.
    pub fn add(mut self, sql: &'a str, params: &'a [&'a (dyn ToSql + Sync)]) -> Self {
        self.steps.push(Step { sql, params });
        self
    }

    /// Runs them. Each has its own answer or error, in the order in which they were added.
    ///
    /// All are tried again when the connection was lost and nothing had left, or when they only
    /// read. Dropping the future cancels what still runs; which of them ran is then not known.
    ///
    /// # Errors
    /// [`Error`] of the last try when none of them was answered.
    pub async fn run(self) -> Result<Vec<Result<Answered, Error>>, Error> {
        if self.steps.is_empty() {
            return Ok(Vec::new());
        }
        let steps = Steps { steps: &self.steps, is_read: self.request.is_read() };
        let answers = self.request.act("", &steps).await?;
        let (more, errors) = (answers.len() - 1, answers.iter().filter(|one| one.is_err()).count());
        self.request.count(more as u64, errors as u64);
        Ok(answers)
    }
}

impl fmt::Debug for Pipeline<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statements: Vec<_> = self.steps.iter().map(|step| step.sql).collect();
        let request = &self.request;
        f.debug_struct("Pipeline").field("request", request).field("sql", &statements).finish()
    }
}

struct Steps<'s> {
    steps: &'s [Step<'s>],
    is_read: bool,
}

impl Act for Steps<'_> {
    type Answer = Vec<Result<Answered, Error>>;

    async fn on(&self, lease: Lease, _: &str) -> Result<Self::Answer, Error> {
        let all: Vec<_> = self.steps.iter().collect();
        let mut answers = run_on(&lease, &all).await;
        let is_stale: Vec<_> =
            answers.iter().map(|answer| matches!(answer, Err(InBlock::Stale(_)))).collect();
        let again = not_run_yet(&is_stale, self.is_read);
        if !again.is_empty() && !lease.is_closed() {
            let (node, statements) = (lease.node(), again.len());
            debug!(node, statements, "prepared statements of a pipeline have gone stale");
            let steps: Vec<_> = again.iter().map(|at| &self.steps[*at]).collect();
            for (at, answer) in again.into_iter().zip(run_on(&lease, &steps).await) {
                answers[at] = answer;
            }
        }
        let mut answers: Vec<Result<Answered, Error>> = answers
            .into_iter()
            .map(|answer| {
                answer.map_err(|error| match error {
                    InBlock::Stale(error) => {
                        Error::new(Cause::StalePlan { error }).at(lease.node().into())
                    }
                    InBlock::Failed(error) => lease.error(error).of_read(self.is_read),
                })
            })
            .collect();
        let is_lost = |answer: &Result<Answered, Error>| {
            answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionLost)
        };
        let may_all_run_again = self.is_read || lease.statements() == 0;
        match answers.iter().position(is_lost) {
            Some(first) if may_all_run_again => match answers.swap_remove(first) {
                Err(error) => Err(error),
                Ok(_) => Ok(answers),
            },
            _ => Ok(answers),
        }
    }
}

/// Runs each of them once, in this order.
async fn run_on(lease: &Lease, steps: &[&Step<'_>]) -> Vec<Result<Answered, InBlock>> {
    let ready = in_order(steps.iter().map(|step| lease.backend().prepare(step.sql)));
    let ready = lease.drive(pin!(ready)).await;
    let run = async |(step, ready): (&&Step<'_>, Result<Ready, _>)| {
        let ready = ready.map_err(InBlock::Failed)?;
        let rows = lease.begin_ready(ready, step.sql, step.params).await?;
        collect(rows).await.map_err(InBlock::Failed)
    };
    let answers = lease.drive(pin!(in_order(steps.iter().zip(ready).map(run)))).await;
    if answers.last().is_some_and(Result::is_err) {
        lease.settle_tail().await;
    }
    answers
}

/// Which of the statements that have gone stale, and so did not run, may run now: a read at any
/// time, anything else as long as nothing behind it was tried.
fn not_run_yet(is_stale: &[bool], is_read: bool) -> Vec<usize> {
    let first_of_the_last = is_stale.iter().rposition(|is_stale| !is_stale).map_or(0, |at| at + 1);
    let from = if is_read { 0 } else { first_of_the_last };
    (from..is_stale.len()).filter(|at| is_stale[*at]).collect()
}

async fn collect(rows: RowStream) -> Result<Answered, tokio_postgres::Error> {
    let mut stream = std::pin::pin!(rows);
    let mut rows = Vec::new();
    while let Some(row) = stream.try_next().await? {
        rows.push(row);
    }
    Ok(Answered { rows, affected: stream.rows_affected().unwrap_or(0) })
}

/// Has each begin, in this order and before the first is waited for; then waits for all.
async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut begun: Vec<_> = futures.map(|future| Box::pin(maybe_done(future))).collect();
    poll_fn(|cx| {
        for future in &mut begun {
            let _ = future.as_mut().poll(cx);
        }
        Poll::Ready(())
    })
    .await;
    let mut outputs = Vec::with_capacity(begun.len());
    for mut future in begun {
        future.as_mut().await;
        outputs.extend(future.as_mut().take_output());
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_runs_again_only_behind_all_that_was_tried() {
        let table: [(&[bool], &[usize], &[usize]); 6] = [
            (&[], &[], &[]),
            (&[false, false], &[], &[]),
            (&[true, true], &[0, 1], &[0, 1]),
            (&[false, true, true], &[1, 2], &[1, 2]),
            (&[true, false], &[], &[0]),
            (&[true, false, true], &[2], &[0, 2]),
        ];
        for (is_stale, writes, reads) in table {
            assert_eq!(not_run_yet(is_stale, false), writes, "{is_stale:?}");
            assert_eq!(not_run_yet(is_stale, true), reads, "{is_stale:?}");
        }
    }
}
