//! What chance does to a wait.

use std::fmt;
use std::str::FromStr;

/// What chance does to the waits between attempts, so that clients that failed together do not
/// come back together.
///
/// ```
/// use pgherd_core::retry::Jitter;
///
/// assert_eq!("full".parse(), Ok(Jitter::Full));
/// assert_eq!(Jitter::from(true).as_str(), "additive");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Default)]
pub enum Jitter {
    /// Nothing: the schedule is kept to the millisecond.
    None,
    /// Adds up to a quarter: the schedule stays recognisable.
    #[default]
    Additive,
    /// Any part of the wait, from none of it to all: spreads a herd best.
    Full,
}

impl Jitter {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Additive, Self::Full];

    /// What [`Self::Additive`] adds at most, of the wait.
    const ADDED: f64 = 0.25;

    /// The word used in settings and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Additive => "additive",
            Self::Full => "full",
        }
    }

    /// The wait that comes of it, in the unit of `wait`. `random` is uniform in 0 to 1.
    pub(super) fn apply(self, wait: f64, random: f64) -> f64 {
        let random = if random.is_nan() { 0.0 } else { random.clamp(0.0, 1.0) };
        match self {
            Self::None => wait,
            Self::Additive => wait + wait * Self::ADDED * random,
            Self::Full => wait * random,
        }
    }
}

impl From<bool> for Jitter {
    /// Additive, or none.
    fn from(jitter: bool) -> Self {
        if jitter { Self::Additive } else { Self::None }
    }
}

impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no jitter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of none, additive, full, true, false")]
pub struct BadJitter(String);

impl FromStr for Jitter {
    type Err = BadJitter;

    /// `true` and `false` are additive and none.
    fn from_str(word: &str) -> Result<Self, BadJitter> {
        match word.to_ascii_lowercase().as_str() {
            "none" | "false" | "off" | "no" | "0" => Ok(Self::None),
            "additive" | "true" | "on" | "yes" | "1" => Ok(Self::Additive),
            "full" => Ok(Self::Full),
            _ => Err(BadJitter(word.to_owned())),
        }
    }
}
