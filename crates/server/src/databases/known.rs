//! What is known beside the settings: databases and accounts that were made for clients.

use std::collections::HashMap;
use std::sync::Arc;

use pgherd_core::Settings;
use pgherd_core::settings::DatabaseSettings;

use super::{Account, Database, DatabaseId, NoDatabase, Places};
use crate::auth::UserId;

/// Databases under names that only `"*"` lets in, known at the same time: each may have pools.
pub(super) const MOST_UNLISTED: usize = 1000;

/// What was made for clients.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) unlisted: HashMap<Box<str>, Arc<Database>>,
    // Those that the settings have listed, and clients or pools still have.
    pub(super) former: Vec<Arc<Database>>,
    pub(super) accounts: HashMap<(DatabaseId, UserId), Arc<Account>>,
    // Clients of each user.
    pub(super) users: HashMap<UserId, Arc<Places>>,
    pub(super) next: u32,
}

impl Known {
    /// These are not what clients have any more who name them.
    pub(super) fn leave(&mut self, databases: impl IntoIterator<Item = Arc<Database>>) {
        self.former.extend(databases);
    }

    /// One that only `"*"` lets in, if it does; known from now on.
    ///
    /// # Errors
    /// [`NoDatabase`].
    pub(super) fn unlisted(
        &mut self,
        name: &str,
        any: Option<Arc<DatabaseSettings>>,
        settings: &Settings,
    ) -> Result<Arc<Database>, NoDatabase> {
        let any = any.ok_or_else(|| NoDatabase::Unknown(name.to_owned()))?;
        if let Some(database) = self.unlisted.get(name) {
            return Ok(Arc::clone(database));
        }
        if self.unlisted.len() >= MOST_UNLISTED {
            // Those that neither a client nor a pool holds: an account is held by its clients.
            self.accounts.retain(|_, account| Arc::strong_count(account) > 1);
            self.unlisted
                .retain(|_, database| Arc::strong_count(database) > 1 || database.is_ordered());
        }
        if self.unlisted.len() >= MOST_UNLISTED {
            return Err(NoDatabase::TooMany(MOST_UNLISTED));
        }
        let clients = Places::up_to(settings.client_limit_of_database(&any));
        let database = self.make(name, any, false, clients);
        self.unlisted.insert(name.into(), Arc::clone(&database));
        Ok(database)
    }

    /// Another one, as which nobody is known yet.
    pub(super) fn make(
        &mut self,
        name: &str,
        settings: Arc<DatabaseSettings>,
        is_listed: bool,
        clients: Places,
    ) -> Arc<Database> {
        let id = DatabaseId(self.next);
        self.next += 1;
        let database = Database::new(id, name, settings, is_listed, clients);
        // What was ordered of the one that went by this name is of the name.
        if let Some(before) = self.former.iter().rfind(|one| one.name == database.name) {
            database.take_orders_of(before);
        }
        Arc::new(database)
    }
}
