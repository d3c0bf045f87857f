//! Who may log in, and with what.

use std::collections::HashMap;

use pgherd_core::settings::UserSettings;
use pgherd_wire::scram::{DEFAULT_ITERATIONS, Secret};

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// They say so. For tests and sockets that only trusted programs reach.
    Trust,
    /// SCRAM-SHA-256.
    Scram,
}

/// Index of a user in [`Users`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(pub u16);

impl UserId {
    /// Its place among the settings' users.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One user: a client that logs in under this name, and the login pgherd uses at the nodes for
/// it.
pub struct User {
    /// The name, the same on both sides.
    pub name: String,
    /// The password for the nodes.
    pub password: String,
    /// Whether clients may not log in under this name.
    pub nodes_only: bool,
    secret: Secret,
}

// The password stays out of logs.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What the settings say of a user.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The name.
    pub name: String,
    /// The password.
    pub password: String,
    /// Whether clients may not log in under this name.
    pub nodes_only: bool,
}

impl From<&UserSettings> for Credentials {
    fn from(user: &UserSettings) -> Self {
        let password = user.password.expose().to_owned();
        Self { name: user.name.clone(), password, nodes_only: user.nodes_only }
    }
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
    by_name: HashMap<String, UserId>,
    // Makes up the salts of users that do not exist.
    mock_key: [u8; 32],
}

impl Users {
    /// These users. `random` fills salts and keys.
    ///
    /// Costs one key derivation (milliseconds) per user. Of two users with one name the later
    /// counts.
    pub fn new(
        logins: impl IntoIterator<Item = Credentials>,
        mut random: impl FnMut(&mut [u8]),
    ) -> Self {
        let mut mock_key = [0; 32];
        random(&mut mock_key);
        let mut all = Self { users: Vec::new(), by_name: HashMap::new(), mock_key };
        for Credentials { name, password, nodes_only } in logins {
            let mut salt = [0; 16];
            random(&mut salt);
            let secret = Secret::from_password(&password, &salt, DEFAULT_ITERATIONS);
            let id = u16::try_from(all.users.len()).expect("settings hold fewer than 65536 users");
            all.by_name.insert(name.clone(), UserId(id));
            all.users.push(User { name, password, nodes_only, secret });
        }
        all
    }

    /// The user with this name.
    pub fn find(&self, name: &str) -> Option<UserId> {
        self.by_name.get(name).copied()
    }

    /// The user with this name, if clients may be it.
    pub fn find_client(&self, name: &str) -> Option<UserId> {
        self.find(name).filter(|id| !self.get(*id).nodes_only)
    }

    /// The user with this id.
    pub fn get(&self, id: UserId) -> &User {
        &self.users[id.index()]
    }

    /// The secret to check a login against; for an unknown name one that nothing fits, so that
    /// the two cannot be told apart.
    pub fn secret(&self, name: &str) -> Secret {
        match self.find_client(name) {
            Some(id) => self.get(id).secret.clone(),
            None => Secret::mock(name, &self.mock_key),
        }
    }
}
