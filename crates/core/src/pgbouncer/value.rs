//! Values of PgBouncer's settings, as it reads them.

use std::time::Duration;

/// What a setting's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// 0 or 1.
    Flag,
    /// A whole number.
    Count,
    /// Seconds, with a fraction and without a unit.
    Seconds,
    /// Whole milliseconds.
    Milliseconds,
    /// Anything.
    Text,
    /// One of these, in upper or lower case.
    Word(&'static [&'static str]),
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Flag(bool),
    Count(u32),
    Duration(Duration),
    Text(String),
    Word(&'static str),
}

impl Kind {
    pub(super) fn describe(self) -> String {
        match self {
            Self::Flag => "0 or 1".to_owned(),
            Self::Count => "number".to_owned(),
            Self::Seconds => "seconds".to_owned(),
            Self::Milliseconds => "milliseconds".to_owned(),
            Self::Text => "text".to_owned(),
            Self::Word(words) => words.join(", "),
        }
    }

    /// # Errors
    /// What it is not, and what was expected.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        match self {
            Self::Flag => whole(text)
                .map(|number| Value::Flag(number != 0))
                .ok_or_else(|| format!("`{text}` is not 0 or 1")),
            Self::Count => whole(text)
                .map(Value::Count)
                .ok_or_else(|| format!("`{text}` is not a whole number from 0 to {}", u32::MAX)),
            Self::Milliseconds => whole(text)
                .map(|number| Value::Duration(Duration::from_millis(number.into())))
                .ok_or_else(|| format!("`{text}` is not a whole number of milliseconds")),
            Self::Seconds => seconds(text).map(Value::Duration).ok_or_else(|| {
                format!("`{text}` is not a number of seconds such as 60 or 0.5, without a unit")
            }),
            Self::Text => Ok(Value::Text(text.to_owned())),
            Self::Word(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Word(word))
                .ok_or_else(|| format!("`{text}` is not one of {}", words.join(", "))),
        }
    }
}

// The kind of a row says which of these its setter may call; `catalogue` tries each row with its
// default.
impl Value {
    pub(super) fn flag(&self) -> bool {
        let Self::Flag(flag) = self else { unreachable!("{self:?} is no flag") };
        *flag
    }

    pub(super) fn count(&self) -> u32 {
        let Self::Count(count) = self else { unreachable!("{self:?} is no count") };
        *count
    }

    pub(super) fn duration(&self) -> Duration {
        let Self::Duration(duration) = self else { unreachable!("{self:?} is no duration") };
        *duration
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Text(text) => text,
            Self::Word(word) => word,
            _ => unreachable!("{self:?} is no text"),
        }
    }
}

/// In base 10, 8 (`010`) or 16 (`0x10`), as C writes numbers.
fn whole(text: &str) -> Option<u32> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => match text.strip_prefix('0').filter(|digits| !digits.is_empty()) {
            Some(digits) => (digits, 8),
            None => (text, 10),
        },
    };
    let plain = digits.chars().all(|c| c.is_digit(radix)) && !digits.is_empty();
    plain.then(|| u32::from_str_radix(digits, radix).ok()).flatten()
}

fn seconds(text: &str) -> Option<Duration> {
    // No words: of "inf" and "nan" one would make a limit that is none.
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b".eE+-".contains(&byte));
    let number = text.parse::<f64>().ok().filter(|_| plain)?;
    // As fine as our own settings are written.
    let micros = Duration::try_from_secs_f64(number).ok()?.as_micros();
    u64::try_from(micros).ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_c_reads_them() {
        for (text, number) in [
            ("0", Some(0)),
            ("100", Some(100)),
            ("0x10", Some(16)),
            ("010", Some(8)),
            ("08", None),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.5", None),
            ("4294967296", None),
            ("5min", None),
        ] {
            assert_eq!(Kind::Count.read(text).ok(), number.map(Value::Count), "{text}");
        }
        for (text, millis) in [
            ("0", Some(0)),
            ("1.5", Some(1500)),
            ("1e3", Some(1_000_000)),
            ("", None),
            ("-1", None),
            ("inf", None),
            ("nan", None),
            ("1e999", None),
            ("5min", None),
        ] {
            let expected = millis.map(|millis| Value::Duration(Duration::from_millis(millis)));
            assert_eq!(Kind::Seconds.read(text).ok(), expected, "{text}");
        }
        let word = Kind::Word(&["session", "transaction"]);
        assert_eq!(word.read("Transaction"), Ok(Value::Word("transaction")));
        assert_eq!(word.read("t").unwrap_err(), "`t` is not one of session, transaction");
    }
}
