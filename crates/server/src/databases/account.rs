//! A database and a user: what holds for the clients that come with the two.

use std::sync::Arc;

use pgherd_core::settings::PoolMode;
use pgherd_core::timeouts::Timeouts;

use super::{Database, DatabaseId, NoSeat, Places, Seat};
use crate::auth::UserId;

/// A database and a user: what holds for the clients that come with the two.
#[derive(Debug)]
pub struct Account {
    /// Which database it is.
    pub id: DatabaseId,
    /// The database.
    pub database: Arc<Database>,
    /// The user.
    pub user: UserId,
    /// Whose pool of the database its clients are served from: their own user, or the one that the
    /// database has for all.
    pub login: UserId,
    /// For how long a client holds a backend.
    pub mode: PoolMode,
    /// How long its clients may do what they do.
    pub timeouts: Timeouts,
    // Of the account, and of its user in all databases.
    pub(super) clients: Places,
    pub(super) of_user: Arc<Places>,
}

/// What of an account is by the settings.
#[derive(PartialEq)]
pub(super) struct Terms {
    pub(super) login: UserId,
    pub(super) mode: PoolMode,
    pub(super) timeouts: Timeouts,
}

impl Account {
    /// Whether these hold for its clients.
    pub(super) fn is_as(&self, terms: &Terms) -> bool {
        let Self { login, mode, timeouts, .. } = *self;
        *terms == Terms { login, mode, timeouts }
    }

    /// Takes a place for a client.
    ///
    /// # Errors
    /// [`NoSeat`] if the database or the user has as many clients as it may have.
    pub fn enter(self: &Arc<Self>, user: &str) -> Result<Seat, NoSeat> {
        let places = [&self.clients, &self.database.clients, &*self.of_user];
        for (at, place) in places.iter().enumerate() {
            if let Err(limit) = place.take() {
                places[..at].iter().for_each(|place| place.give());
                let whose = match at {
                    1 => format!("database \"{}\"", self.database.name),
                    _ => format!("user \"{user}\""),
                };
                return Err(NoSeat { whose, limit });
            }
        }
        Ok(Seat(Arc::clone(self)))
    }
}
