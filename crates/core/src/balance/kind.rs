//! The ways to pick.

use std::fmt;
use std::str::FromStr;

/// How one of several nodes is picked.
///
/// ```
/// use pgherd_core::balance::Balance;
///
/// let balance: Balance = "least-busy".parse().unwrap();
/// assert_eq!((balance, balance.as_str()), (Balance::LeastBusy, "least-busy"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Hash, Default)]
pub enum Balance {
    /// Each in turn.
    #[default]
    RoundRobin,
    /// In turn, each as often as its weight says.
    Weighted,
    /// The one with the fewest borrowed backends for its weight; of equals, in turn.
    LeastBusy,
    /// Any, each as likely as its weight says.
    Random,
    /// Of two at random, the one that would be done sooner: by how long its statements have
    /// taken lately and how many are under way.
    Latency,
}

impl Balance {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::RoundRobin, Self::Weighted, Self::LeastBusy, Self::Random, Self::Latency];

    /// The word used in settings and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "round-robin",
            Self::Weighted => "weighted",
            Self::LeastBusy => "least-busy",
            Self::Random => "random",
            Self::Latency => "latency",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no balance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of round-robin, weighted, least-busy, random, latency")]
pub struct BadBalance(String);

impl FromStr for Balance {
    type Err = BadBalance;

    fn from_str(word: &str) -> Result<Self, BadBalance> {
        Self::ALL
            .into_iter()
            .find(|balance| balance.as_str() == word)
            .ok_or_else(|| BadBalance(word.to_owned()))
    }
}
