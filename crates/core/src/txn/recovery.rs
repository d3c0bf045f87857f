//! What to do about a prepared transaction that nobody seems to care for.
//!
//! In: what the anchor's table says, or what came of writing an abort row there.
//! Out: the next step. Any instance may run these steps at any time, and several at once.
//!
//! An abort row is written by a plain INSERT under the key that the decision has. If the anchor
//! is still deciding, PostgreSQL's unique index makes one of the two wait for the other, so
//! there is no race to lose.

use super::Decided;

/// What is known of the anchor's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A row under the name of this transaction and its owner.
    Row(Decided),
    /// No such row.
    NoRow,
    /// The abort row was written.
    Written,
    /// The abort row collided with a row that was committed meanwhile.
    Collided,
    /// The abort row waited too long for somebody who has not committed yet.
    Blocked,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// COMMIT PREPARED or ROLLBACK PREPARED.
    Finish(Decided),
    /// Write an abort row.
    WriteAbort,
    /// Read the table again, in a new snapshot.
    ReadAgain,
    /// End the session that blocks if it is idle, then write the abort row again.
    EndBlocker,
}

/// The next step for a transaction that has been prepared for longer than the grace time.
pub fn next_step(found: Found) -> Step {
    match found {
        Found::Row(decided) => Step::Finish(decided),
        Found::NoRow => Step::WriteAbort,
        Found::Written => Step::Finish(Decided::Abort),
        Found::Collided => Step::ReadAgain,
        Found::Blocked => Step::EndBlocker,
    }
}
