//! Rounds in which all contenders have a turn, and what is said of their figures.

/// Who has a turn when, in a round: another first each time, and every second round backwards,
/// so that nobody always follows the same one.
pub(crate) fn order(contenders: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..contenders).map(move |turn| {
        let turn = if round.is_multiple_of(2) { turn } else { contenders - 1 - turn };
        (turn + round) % contenders
    })
}

/// The least, the median and the greatest of some figures.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    /// `None` of none at all.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (least, greatest) = (*sorted.first()?, *sorted.last()?);
        Some(Self { least, median: sorted[sorted.len() / 2], greatest })
    }

    /// Of the ratios of figures that were taken in the same rounds.
    pub(crate) fn of_ratios(
        figures: impl IntoIterator<Item = f64>,
        over: impl IntoIterator<Item = f64>,
    ) -> Option<Self> {
        Self::of(figures.into_iter().zip(over).map(|(figure, over)| figure / over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_one_turn_in_each_round_and_the_order_changes() {
        let rounds: Vec<Vec<usize>> = (0..12).map(|round| order(4, round).collect()).collect();
        for round in &rounds {
            let mut sorted = round.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2, 3]);
        }
        assert!(rounds.windows(2).all(|pair| pair[0] != pair[1]), "{rounds:?}");
        // Each is followed by more than one other.
        let follows = |first, second| {
            let mut pairs = rounds.iter().flat_map(|round| round.windows(2));
            pairs.any(|pair| pair == [first, second])
        };
        assert!(follows(0, 1) && follows(1, 0));
    }

    #[test]
    fn a_spread_has_the_middle_of_what_was_measured() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { least: 1.0, median: 2.0, greatest: 3.0 });
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn ratios_are_of_figures_of_the_same_round() {
        let ratios = Spread::of_ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]).unwrap();
        assert_eq!(ratios, Spread { least: 1.0, median: 2.0, greatest: 3.0 });
    }
}
