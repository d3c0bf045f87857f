//! What pgherd is to reach beside the reference.

use std::fmt;

use crate::rounds::Spread;

use super::case::Connect;
use super::outcome::Outcome;
use super::turn::Turn;

/// The contender whose goals they are, with one worker.
pub(super) const OWN: &str = "pgherd";

/// The same with two.
const OWN_TWICE: &str = "pgherd, 2 workers";

/// What a ratio is to be, by its median over the rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Wanted {
    AtMost(f64),
    AtLeast(f64),
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(limit) => write!(f, "at most {limit:.2}"),
            Self::AtLeast(limit) => write!(f, "at least {limit:.2}"),
        }
    }
}

/// A goal, and whether it was reached.
#[derive(Debug)]
pub(super) struct Goal {
    pub(super) case: String,
    pub(super) what: &'static str,
    /// Whose figure the ratio is over.
    pub(super) over: String,
    wanted: Wanted,
    /// `None` if one of the two was not measured.
    pub(super) measured: Option<Spread>,
}

impl Goal {
    /// In words.
    pub(super) fn wanted(&self) -> String {
        self.wanted.to_string()
    }

    /// What has not been measured is not reached.
    pub(super) fn is_met(&self) -> bool {
        self.measured.is_some_and(|ratio| match self.wanted {
            Wanted::AtMost(limit) => ratio.median <= limit,
            Wanted::AtLeast(limit) => ratio.median >= limit,
        })
    }
}

/// The goals of these cases.
pub(super) fn goals(outcomes: &[Outcome], reference: &str) -> Vec<Goal> {
    outcomes.iter().flat_map(|outcome| of_case(outcome, reference)).collect()
}

fn of_case(outcome: &Outcome, reference: &str) -> Vec<Goal> {
    type Figure = fn(&Turn) -> f64;
    let (own, twice) = (outcome.row(OWN), outcome.row(OWN_TWICE));
    let reference_row = outcome.row(reference);
    let over = match reference_row.and_then(|row| row.remark) {
        Some(remark) => format!("{reference} ({remark})"),
        None => reference.to_owned(),
    };
    let goal = |what, figure: Figure, wanted| Goal {
        case: outcome.case.to_string(),
        what,
        over: over.clone(),
        wanted,
        measured: own.zip(reference_row).and_then(|(own, over)| own.ratio(over, figure)),
    };
    match outcome.case.connect {
        Connect::Once => vec![
            goal("CPU time for a transaction", Turn::cpu, Wanted::AtMost(1.0)),
            goal("throughput", |turn| turn.throughput, Wanted::AtLeast(1.0)),
            goal("99th percentile of the latency", |turn| turn.p99, Wanted::AtMost(1.1)),
            Goal {
                case: outcome.case.to_string(),
                what: "CPU time for a transaction, two workers",
                over: "one worker".to_owned(),
                wanted: Wanted::AtMost(1.15),
                measured: twice.zip(own).and_then(|(twice, own)| twice.ratio(own, Turn::cpu)),
            },
        ],
        Connect::PerTransaction => {
            vec![goal("throughput", |turn| turn.throughput, Wanted::AtLeast(0.9))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::{Auth, Case, Protocol};
    use super::super::outcome::Row;
    use super::*;

    fn turn(throughput: f64, p99: f64, cpu: f64) -> Turn {
        let (user, system) = (cpu / 4.0, cpu * 3.0 / 4.0);
        Turn { throughput, p50: 1.0, p99, user, system, server: 50.0, peak: 1.0 }
    }

    fn row(name: &str, turns: Vec<Turn>) -> Row {
        Row { name: name.to_owned(), remark: None, turns }
    }

    fn outcome(connect: Connect, rows: Vec<Row>) -> Outcome {
        let case = Case { protocol: Protocol::Simple, clients: 50, connect, auth: Auth::Trust };
        Outcome { case, rows, absent: Vec::new() }
    }

    #[test]
    fn a_goal_is_met_by_the_median_of_the_ratios() {
        let own =
            row(OWN, vec![turn(90.0, 1.2, 9.0), turn(110.0, 1.0, 9.0), turn(99.0, 1.0, 12.0)]);
        let other = row("other", vec![turn(100.0, 1.0, 10.0); 3]);
        let goals = goals(&[outcome(Connect::Once, vec![own, other])], "other");
        let met: Vec<(&str, bool)> = goals.iter().map(|goal| (goal.what, goal.is_met())).collect();
        assert_eq!(
            met,
            [
                ("CPU time for a transaction", true),
                ("throughput", false),
                ("99th percentile of the latency", true),
                ("CPU time for a transaction, two workers", false),
            ]
        );
        assert_eq!(goals[1].measured.unwrap().median, 0.99);
    }

    #[test]
    fn two_workers_are_compared_with_one() {
        let rows =
            vec![row(OWN, vec![turn(1.0, 1.0, 10.0)]), row(OWN_TWICE, vec![turn(1.0, 1.0, 11.0)])];
        let goals = goals(&[outcome(Connect::Once, rows)], "other");
        assert!(goals[3].is_met());
        assert_eq!(goals[3].measured.unwrap().median, 1.1);
        assert!(goals[0].measured.is_none() && !goals[0].is_met());
    }

    #[test]
    fn a_connection_for_each_transaction_has_a_goal_of_its_own() {
        let rows =
            vec![row(OWN, vec![turn(95.0, 9.0, 9.0)]), row("other", vec![turn(100.0, 1.0, 1.0)])];
        let goals = goals(&[outcome(Connect::PerTransaction, rows)], "other");
        assert_eq!((goals.len(), goals[0].is_met()), (1, true));
        assert_eq!(goals[0].wanted(), "at least 0.90");
    }
}
