//! Quantities with a text form of their own: WAL positions and durations.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A position in the write-ahead log, in bytes from its beginning.
///
/// Reads and prints PostgreSQL's form, `16/B374D848`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Bytes of WAL between `earlier` and this position; 0 when this one is not ahead.
    pub fn bytes_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The first eight digits of a WAL file's name, in base 16.
pub fn timeline_of_wal_file(name: &str) -> Option<u32> {
    u32::from_str_radix(name.get(..8)?, 16).ok()
}

/// A position in the WAL of one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WalPosition {
    /// The timeline, if the node tells it. A promotion begins a new one, with a higher number.
    pub timeline: Option<u32>,
    /// The position on it.
    pub lsn: Lsn,
}

impl WalPosition {
    /// From a position and the name of the WAL file that it is in.
    pub fn read(lsn: &str, file: &str) -> Option<Self> {
        Some(Self { timeline: Some(timeline_of_wal_file(file)?), lsn: lsn.parse().ok()? })
    }

    /// Whether whoever is here has all that was written up to `other`: timeline first, then
    /// position. A higher timeline has all of a lower one that is left. Where only one of the
    /// two is known, nothing is.
    pub fn has_reached(self, other: Self) -> bool {
        match (self.timeline, other.timeline) {
            (Some(own), Some(of_other)) if own != of_other => own > of_other,
            (Some(_), None) | (None, Some(_)) => false,
            _ => self.lsn >= other.lsn,
        }
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// A text that is not a WAL position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a WAL position such as 16/B374D848")]
pub struct BadLsn(String);

impl FromStr for Lsn {
    type Err = BadLsn;

    fn from_str(text: &str) -> Result<Self, BadLsn> {
        let half = |digits: &str| {
            let plain = (1..=8).contains(&digits.len())
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/').ok_or_else(|| BadLsn(text.to_owned()))?;
        match (half(high), half(low)) {
            (Some(high), Some(low)) => Ok(Self(high << 32 | low)),
            _ => Err(BadLsn(text.to_owned())),
        }
    }
}

/// A text that is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration such as \"250ms\", \"5s\", \"10m\", \"2h\" or \"1d\"")]
pub struct BadDuration(String);

/// Reads a duration: a decimal number and a unit, `us`, `ms`, `s`, `m`, `h` or `d`.
///
/// Fractions are allowed (`"1.5s"`), blanks and signs are not. `"0"` needs no unit.
///
/// # Errors
/// [`BadDuration`] with the text when it has another form or does not fit.
pub fn parse_duration(text: &str) -> Result<Duration, BadDuration> {
    let bad = || BadDuration(text.to_owned());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    let (number, unit) = text.split_at(digits);
    let micros_per_unit: u64 = match unit {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60 * 1_000_000,
        "h" => 3_600 * 1_000_000,
        "d" => 86_400 * 1_000_000,
        _ => return Err(bad()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(micros_per_unit).map(Duration::from_micros).ok_or_else(bad);
    }
    if !number.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(bad());
    }
    let fraction: f64 = number.parse().map_err(|_| bad())?;
    Duration::try_from_secs_f64(fraction * (micros_per_unit as f64 / 1e6)).map_err(|_| bad())
}

/// Prints a duration in the form that [`parse_duration`] reads, in the largest unit that
/// leaves a whole number; what is finer than a microsecond is dropped.
pub fn format_duration(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units: [(u128, &str); 6] = [
        (86_400_000_000, "d"),
        (3_600_000_000, "h"),
        (60_000_000, "m"),
        (1_000_000, "s"),
        (1_000, "ms"),
        (1, "us"),
    ];
    match units.iter().find(|(size, _)| micros != 0 && micros.is_multiple_of(*size)) {
        Some((size, unit)) => format!("{}{unit}", micros / size),
        None => "0".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_name_of_a_wal_file_begins_with_its_timeline() {
        assert_eq!(timeline_of_wal_file("000000020000000000000003"), Some(2));
        assert_eq!(timeline_of_wal_file("0000001F00000000000000A0"), Some(31));
        for odd in ["", "1234567", "zzzzzzzz0000000000000001", "é"] {
            assert_eq!(timeline_of_wal_file(odd), None, "{odd}");
        }
    }

    #[test]
    fn an_lsn_reads_and_prints_as_postgresql_does() {
        let lsn: Lsn = "16/B374D848".parse().unwrap();
        assert_eq!(lsn, Lsn(0x16_B374_D848));
        assert_eq!(lsn.to_string(), "16/B374D848");
        for bad in ["", "16", "16/", "/1", "+1/0", "1/ 0", "123456789/0", "1/0/0"] {
            assert!(bad.parse::<Lsn>().is_err(), "{bad:?} was read");
        }
        assert_eq!(Lsn(10).bytes_since(Lsn(4)), 6);
        assert_eq!(Lsn(4).bytes_since(Lsn(10)), 0);
    }

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        for bad in ["", "5", "s", "-1s", "1 s", "1e3s", ".5s", "1..5s", "99999999999999d", "infs"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} was read");
        }
    }

    proptest! {
        #[test]
        fn a_printed_duration_reads_back(micros in 0..10_000_000_000_000u64) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
        }

        #[test]
        fn reading_never_panics(text in ".*") {
            let _ = parse_duration(&text);
            let _ = text.parse::<Lsn>();
        }
    }
}
