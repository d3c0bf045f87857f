//! How old a backend gets.

use std::time::Duration;

/// The part of the longest life that chance may take away: a tenth, so that a herd opened
/// together does not close together.
const JITTER: f64 = 0.1;

/// The life of one backend, between 90 and 100 % of `max`. `random` is uniform in 0 to 1.
pub fn lifetime(max: Duration, random: f64) -> Duration {
    max.mul_f64(1.0 - JITTER * random.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_at_most_the_setting_and_at_least_nine_tenths_of_it() {
        let hour = Duration::from_secs(3600);
        assert_eq!(lifetime(hour, 0.0), hour);
        assert_eq!(lifetime(hour, 1.0), Duration::from_secs(3240));
        assert_eq!(lifetime(hour, 0.5), Duration::from_secs(3420));
    }
}
