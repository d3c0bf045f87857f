//! What a login has to be told by others before it goes on, because it takes long.

use std::sync::Arc;

use pgherd_core::id::GroupId;
use pgherd_core::settings;
use pgherd_wire::scram::{Keys, Secret};

use super::{Credential, Recipe};

/// See the module's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether this password fits the secret. Milliseconds of a core.
    Keys {
        /// What it is to fit.
        secret: Secret,
        /// What a client has sent.
        password: settings::Secret,
    },
    /// What a node knows of a user. A round trip or more.
    User {
        /// Its name.
        name: String,
        /// Where it is asked.
        place: Place,
        /// How a secret is made of a password that is found.
        recipe: Recipe,
    },
    /// What the system's user of this number is called. As long as its directory takes.
    SystemUser(u32),
    /// None: what was found under this name is not to serve for another login.
    Forget(String),
}

/// Where secrets are looked up.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    /// Who asks, one of the settings' users.
    pub user: String,
    /// On which nodes: of their primary.
    pub group: GroupId,
    /// In which database, as the nodes call it.
    pub database: String,
    /// What is asked.
    pub query: String,
}

/// What came of a question.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The keys that the password gives, if it fits.
    Keys(Option<Keys>),
    /// What is known of the user, if there is one.
    User(Option<Arc<Credential>>),
    /// What the system's user is called, if it has a name.
    SystemUser(Option<String>),
    /// Nobody could be asked. Why is in the log.
    Failed,
}
