//! What an operator may do about a prepared transaction, by hand.
//!
//! In: what is wished, and what is known of the decision. Out: what to do, the same for every
//! participant; or why not.
//!
//! | The anchor's table says    | follow          | commit  | roll back       |
//! |----------------------------|-----------------|---------|-----------------|
//! | commit                     | commit          | commit  | refused         |
//! | abort                      | roll back       | refused | roll back       |
//! | nothing, for a long time   | abort, roll back| refused | abort, roll back|
//! | nothing yet                | refused: wait   | refused | abort, roll back|
//! | unreadable                 | refused         | refused | refused         |
//! | unreadable, declared lost  | refused: choose | commit  | roll back       |
//!
//! A decision that can be read is never contradicted: the anchor's own part has followed it. For
//! the same reason nothing is committed that was never decided: the anchor's part is gone. Where
//! the anchor is lost for good, a participant that has committed already proves what it was; nobody
//! can tell any more whether all participants had prepared.

use super::Decided;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Whatever was decided.
    Follow,
    /// This.
    Finish(Decided),
}

/// What is known of the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The anchor's table has a row.
    Decided(Decided),
    /// It has none.
    Nothing,
    /// It cannot be read.
    Unreadable,
}

/// What else is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// It has been prepared for longer than the grace time, so that nobody is about to commit it.
    pub is_old: bool,
    /// A participant has committed its part.
    pub has_committed: bool,
    /// The operator says that the anchor's table is lost for good.
    pub is_declared_lost: bool,
    /// Every other shard could be asked whether it takes part.
    pub is_complete: bool,
}

/// What to do on every participant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// Finish what is prepared like this.
    Finish(Decided),
    /// First write an abort row at the anchor, so that it cannot commit later; then do what the
    /// row says that is there.
    AbortFirst,
}

/// Why not.
///
/// ```
/// use pgherd_core::txn::resolve::Refusal;
///
/// let why = Refusal::TooYoung.to_string();
/// assert_eq!(why, "it may still be committing: wait until transactions.grace is over");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The decision is another.
    #[error("the decision is {}, and the shard that decided has followed it", name(*.0))]
    Contradiction(Decided),
    /// Nothing was decided, so that the anchor's part is not there.
    #[error("it was never decided to commit it: the part of the shard that decides is not there")]
    NeverDecided,
    /// It may be in mid-commit.
    #[error("it may still be committing: wait until transactions.grace is over")]
    TooYoung,
    /// The shard that decides cannot be asked.
    #[error(
        "the shard that decides cannot be asked: bring it back, or say that it is lost for good"
    )]
    Unreadable,
    /// Lost decisions have to be made anew, by somebody who says which.
    #[error("the decision is lost: say which it shall be")]
    Choose,
    /// A shard that may have finished its part cannot be asked.
    #[error("not every other shard could be asked whether it has finished its part")]
    Incomplete,
    /// A participant has committed.
    #[error("a shard has committed its part, so that the others can only follow")]
    HasCommitted,
}

fn name(decided: Decided) -> &'static str {
    match decided {
        Decided::Commit => "to commit",
        Decided::Abort => "to roll back",
    }
}

/// The plan, or why there is none.
///
/// # Errors
/// [`Refusal`].
pub fn plan(wish: Wish, known: Known, evidence: Evidence) -> Result<Plan, Refusal> {
    match (known, wish) {
        (Known::Decided(decided), Wish::Follow) => Ok(Plan::Finish(decided)),
        (Known::Decided(decided), Wish::Finish(wished)) if wished == decided => {
            Ok(Plan::Finish(decided))
        }
        (Known::Decided(decided), Wish::Finish(_)) => Err(Refusal::Contradiction(decided)),
        (Known::Nothing, _) if evidence.has_committed => Err(Refusal::HasCommitted),
        (Known::Nothing, Wish::Finish(Decided::Commit)) => Err(Refusal::NeverDecided),
        (Known::Nothing, Wish::Follow) if !evidence.is_old => Err(Refusal::TooYoung),
        (Known::Nothing, _) => Ok(Plan::AbortFirst),
        (Known::Unreadable, _) if !evidence.is_declared_lost => Err(Refusal::Unreadable),
        (Known::Unreadable, _) if !evidence.is_complete => Err(Refusal::Incomplete),
        (Known::Unreadable, _) if !evidence.is_old => Err(Refusal::TooYoung),
        (Known::Unreadable, Wish::Follow) if evidence.has_committed => {
            Ok(Plan::Finish(Decided::Commit))
        }
        (Known::Unreadable, Wish::Follow) => Err(Refusal::Choose),
        (Known::Unreadable, Wish::Finish(Decided::Abort)) if evidence.has_committed => {
            Err(Refusal::HasCommitted)
        }
        (Known::Unreadable, Wish::Finish(wished)) => Ok(Plan::Finish(wished)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Decided = Decided::Commit;
    const ABORT: Decided = Decided::Abort;
    const WISHES: [Wish; 3] = [Wish::Follow, Wish::Finish(COMMIT), Wish::Finish(ABORT)];
    const NONE: Evidence =
        Evidence { is_old: true, has_committed: false, is_declared_lost: false, is_complete: true };

    fn plans(known: Known, evidence: Evidence) -> [Result<Plan, Refusal>; 3] {
        WISHES.map(|wish| plan(wish, known, evidence))
    }

    #[test]
    fn a_decision_that_can_be_read_is_followed_whatever_is_wished() {
        let evidence = [false, true].map(|lost| Evidence { is_declared_lost: lost, ..NONE });
        for evidence in evidence {
            assert_eq!(
                plans(Known::Decided(COMMIT), evidence),
                [
                    Ok(Plan::Finish(COMMIT)),
                    Ok(Plan::Finish(COMMIT)),
                    Err(Refusal::Contradiction(COMMIT))
                ]
            );
            assert_eq!(
                plans(Known::Decided(ABORT), evidence),
                [
                    Ok(Plan::Finish(ABORT)),
                    Err(Refusal::Contradiction(ABORT)),
                    Ok(Plan::Finish(ABORT))
                ]
            );
        }
    }

    #[test]
    fn what_nobody_decided_can_only_be_rolled_back_behind_an_abort_row() {
        assert_eq!(
            plans(Known::Nothing, NONE),
            [Ok(Plan::AbortFirst), Err(Refusal::NeverDecided), Ok(Plan::AbortFirst)]
        );
        assert_eq!(
            plans(Known::Nothing, Evidence { is_old: false, ..NONE }),
            [Err(Refusal::TooYoung), Err(Refusal::NeverDecided), Ok(Plan::AbortFirst)]
        );
        let committed = Evidence { has_committed: true, ..NONE };
        assert_eq!(plans(Known::Nothing, committed), [Err(Refusal::HasCommitted); 3]);
    }

    #[test]
    fn a_lost_decision_is_made_anew_only_where_nothing_speaks_against_it() {
        assert_eq!(plans(Known::Unreadable, NONE), [Err(Refusal::Unreadable); 3]);
        let lost = Evidence { is_declared_lost: true, ..NONE };
        assert_eq!(
            plans(Known::Unreadable, lost),
            [Err(Refusal::Choose), Ok(Plan::Finish(COMMIT)), Ok(Plan::Finish(ABORT))]
        );
        let committed = Evidence { has_committed: true, ..lost };
        assert_eq!(
            plans(Known::Unreadable, committed),
            [Ok(Plan::Finish(COMMIT)), Ok(Plan::Finish(COMMIT)), Err(Refusal::HasCommitted)]
        );
        let young = Evidence { is_old: false, ..lost };
        assert_eq!(plans(Known::Unreadable, young), [Err(Refusal::TooYoung); 3]);
        let blind = Evidence { is_complete: false, ..lost };
        assert_eq!(plans(Known::Unreadable, blind), [Err(Refusal::Incomplete); 3]);
    }
}
