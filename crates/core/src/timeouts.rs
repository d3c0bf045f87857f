//! How long a client may do what it does.
//!
//! In: what a client does now and since when, its limits, the time. Out: which limit is over, or when
//! the next one will be.

use std::fmt;
use std::time::{Duration, Instant};

/// The limits of one client; `None` is no limit. `[listen]` says what each is.
///
/// ```
/// use std::time::{Duration, Instant};
/// use pgherd_core::timeouts::{Doing, Timeouts};
///
/// let now = Instant::now();
/// let timeouts = Timeouts { query: Some(Duration::from_secs(2)), ..Timeouts::default() };
/// let doing = Doing::Running { since: now, began: now };
/// assert_eq!(timeouts.overdue(doing, now + Duration::from_secs(1)), None);
/// let overdue = timeouts.overdue(doing, now + Duration::from_secs(3)).unwrap();
/// assert_eq!(overdue.to_string(), "a query has run for 3.0s (limit 2s, query_timeout)");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Timeouts {
    /// For a batch of statements, from its first message to its last answer.
    pub query: Option<Duration>,
    /// For a transaction, from the first message of its first batch to its end.
    pub transaction: Option<Duration>,
    /// For a client that has a transaction open and runs nothing in it.
    pub idle_transaction: Option<Duration>,
    /// For a client that has none open.
    pub idle: Option<Duration>,
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Nothing, and no transaction is open.
    Idle {
        /// Since when.
        since: Instant,
    },
    /// It waits for the answers to a batch.
    Running {
        /// When the batch began.
        since: Instant,
        /// When the transaction began that the batch belongs to.
        began: Instant,
    },
    /// Nothing, while a transaction is open.
    IdleInTransaction {
        /// Since when.
        since: Instant,
        /// When the transaction began.
        began: Instant,
    },
}

/// Which of the limits is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// [`Timeouts::query`]
    Query,
    /// [`Timeouts::transaction`]
    Transaction,
    /// [`Timeouts::idle_transaction`]
    IdleTransaction,
    /// [`Timeouts::idle`]
    Idle,
}

/// A limit that is over. Prints what a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue {
    /// Which.
    pub which: Limit,
    /// How long it has lasted.
    pub lasted: Duration,
    /// How long it may.
    pub limit: Duration,
}

impl Limit {
    /// The name of its setting.
    pub fn setting(self) -> &'static str {
        match self {
            Self::Query => "query_timeout",
            Self::Transaction => "transaction_timeout",
            Self::IdleTransaction => "idle_transaction_timeout",
            Self::Idle => "client_idle_timeout",
        }
    }
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { which, lasted, limit } = self;
        let what = match which {
            Limit::Query => "a query has run",
            Limit::Transaction => "a transaction has been open",
            Limit::IdleTransaction => "a transaction has been open without a statement",
            Limit::Idle => "the client has said nothing",
        };
        write!(f, "{what} for {lasted:.1?} (limit {limit:?}, {})", which.setting())
    }
}

impl Timeouts {
    /// The limit that is over, if one is: the first that was to be.
    pub fn overdue(&self, doing: Doing, now: Instant) -> Option<Overdue> {
        let (which, since, limit) = self.first(doing)?;
        let lasted = now.saturating_duration_since(since);
        (lasted >= limit).then_some(Overdue { which, lasted, limit })
    }

    /// When the first limit will be over, if the client goes on doing the same.
    pub fn due(&self, doing: Doing) -> Option<Instant> {
        self.first(doing).map(|(_, since, limit)| since + limit)
    }

    fn first(&self, doing: Doing) -> Option<(Limit, Instant, Duration)> {
        let (own, transaction) = match doing {
            Doing::Idle { since } => (self.idle.map(|limit| (Limit::Idle, since, limit)), None),
            Doing::Running { since, began } => {
                (self.query.map(|limit| (Limit::Query, since, limit)), Some(began))
            }
            Doing::IdleInTransaction { since, began } => {
                let limit = self.idle_transaction;
                (limit.map(|limit| (Limit::IdleTransaction, since, limit)), Some(began))
            }
        };
        let transaction = transaction.zip(self.transaction);
        let transaction = transaction.map(|(began, limit)| (Limit::Transaction, began, limit));
        own.into_iter().chain(transaction).min_by_key(|(_, since, limit)| *since + *limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    const ALL: Timeouts = Timeouts {
        query: Some(secs(10)),
        transaction: Some(secs(15)),
        idle_transaction: Some(secs(3)),
        idle: Some(secs(100)),
    };

    #[test]
    fn the_limit_that_was_to_be_over_first_is_named() {
        let start = Instant::now();
        let at = |seconds| start + secs(seconds);
        for (doing, due, which) in [
            (Doing::Idle { since: at(1) }, 101, Limit::Idle),
            (Doing::Running { since: at(1), began: at(0) }, 11, Limit::Query),
            (Doing::Running { since: at(6), began: at(0) }, 15, Limit::Transaction),
            (Doing::IdleInTransaction { since: at(6), began: at(0) }, 9, Limit::IdleTransaction),
            (Doing::IdleInTransaction { since: at(13), began: at(0) }, 15, Limit::Transaction),
        ] {
            assert_eq!(ALL.due(doing), Some(at(due)), "{doing:?}");
            assert_eq!(ALL.overdue(doing, at(due - 1)), None, "{doing:?}");
            assert_eq!(ALL.overdue(doing, at(due)).map(|overdue| overdue.which), Some(which));
            assert_eq!(Timeouts::default().due(doing), None);
        }
    }

    #[test]
    fn what_is_over_says_for_how_long_and_which_setting_it_is() {
        let start = Instant::now();
        let doing = Doing::IdleInTransaction { since: start, began: start };
        let overdue = ALL.overdue(doing, start + Duration::from_millis(3210)).unwrap();
        assert_eq!(
            overdue.to_string(),
            "a transaction has been open without a statement for 3.2s (limit 3s, \
             idle_transaction_timeout)"
        );
    }
}
