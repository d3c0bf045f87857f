//! How many clients a database and a user have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Account;

/// Clients that are there, and how many may be.
#[derive(Debug, Default)]
pub(super) struct Places {
    limit: Option<usize>,
    taken: AtomicUsize,
}

/// A client's place in its account, which it gives back when it is dropped.
#[derive(Debug)]
#[must_use = "dropping it gives the place back"]
pub struct Seat(pub(super) Arc<Account>);

/// As many clients are there as may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no more clients of {whose} are accepted: {limit} of {limit} are connected")]
pub struct NoSeat {
    /// A database or a user.
    pub whose: String,
    /// How many may be there.
    pub limit: usize,
}

impl std::ops::Deref for Seat {
    type Target = Arc<Account>;

    fn deref(&self) -> &Arc<Account> {
        &self.0
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Account { clients, database, of_user, .. } = &*self.0;
        [clients, &database.clients, of_user].into_iter().for_each(Places::give);
    }
}

impl Places {
    pub(super) fn up_to(limit: Option<usize>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes one, or tells the limit.
    pub(super) fn take(&self) -> Result<(), usize> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        match self.limit.filter(|limit| before >= *limit) {
            None => Ok(()),
            Some(limit) => {
                self.give();
                Err(limit)
            }
        }
    }

    /// How many are there.
    pub(super) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Whether nobody is there.
    pub(super) fn is_empty(&self) -> bool {
        self.taken() == 0
    }

    pub(super) fn give(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
