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

/// Where the median of what some figures are taken from lies, with a confidence of 95 % or little
/// more: two of the figures, as many from the least as from the greatest. `None` of fewer than six.
pub(crate) fn median_within(figures: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let count = sorted.len();
    // Each figure is below the median or above it, as a coin falls: how likely is it that so few are
    // below?
    let (mut ways, mut below) = (0.5_f64.powi(i32::try_from(count).ok()?), 0.0);
    let mut outside = None;
    for few in 0..count / 2 {
        below += ways;
        if below > 0.025 {
            break;
        }
        outside = Some(few);
        ways *= (count - few) as f64 / (few + 1) as f64;
    }
    let outside = outside?;
    Some((sorted[outside], sorted[count - 1 - outside]))
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
    fn the_median_lies_between_figures_of_which_few_are_outside() {
        // Of the binomial distribution's tables.
        let within = |count| median_within((0..count).map(f64::from));
        assert_eq!(within(5), None);
        assert_eq!(within(6), Some((0.0, 5.0)));
        assert_eq!(within(9), Some((1.0, 7.0)));
        assert_eq!(within(15), Some((3.0, 11.0)));
    }

    #[test]
    fn ratios_are_of_figures_of_the_same_round() {
        let ratios = Spread::of_ratios([1.0, 4.0, 9.0], [1.0, 2.0, 3.0]).unwrap();
        assert_eq!(ratios, Spread { least: 1.0, median: 2.0, greatest: 3.0 });
    }
}
