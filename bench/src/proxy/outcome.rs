//! What came out of a case.

use crate::rounds::Spread;

use super::case::Case;
use super::turn::Turn;

/// One contender in one case.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: String,
    /// What it did otherwise than the case says.
    pub(super) remark: Option<&'static str>,
    /// One for each round.
    pub(super) turns: Vec<Turn>,
}

impl Row {
    /// Over the rounds.
    pub(super) fn spread(&self, figure: impl Fn(&Turn) -> f64) -> Option<Spread> {
        Spread::of(self.turns.iter().map(figure))
    }

    /// Over those of another in the same rounds.
    pub(super) fn ratio(&self, over: &Self, figure: impl Fn(&Turn) -> f64) -> Option<Spread> {
        Spread::of_ratios(self.turns.iter().map(&figure), over.turns.iter().map(&figure))
    }
}

/// A case, measured.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) case: Case,
    pub(super) rows: Vec<Row>,
    /// Who took no part, or failed, and why.
    pub(super) absent: Vec<String>,
}

impl Outcome {
    /// The contender of this name.
    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }
}
