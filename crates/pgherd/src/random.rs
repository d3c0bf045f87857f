//! Chance, where it only spreads things in time.

/// Uniform in 0 to 1; 0 where the system has no randomness, which only costs the spread.
pub(crate) fn fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(0)) / f64::from(u32::MAX)
}
