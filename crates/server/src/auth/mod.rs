//! Who may log in, and with what.
//!
//! In: what the settings know of each user, and what clients show. Out: whether it fits; and what
//! pgherd can show a node in turn. Whoever asks under a name that is none is answered as under one
//! that is.

use std::collections::HashMap;
use std::sync::OnceLock;

use pgherd_core::pgbouncer::StoredPassword;
use pgherd_core::settings::{AuthMethod, UserSettings};
use pgherd_wire::md5;
use pgherd_wire::scram::{DEFAULT_ITERATIONS, Keys, Secret};
use subtle::ConstantTimeEq;

/// How clients prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// They say so. For tests and sockets that only trusted programs reach.
    Trust,
    /// They do not even say so.
    Any,
    /// By the password as it is.
    Plain,
    /// By the md5 of it, or by SCRAM where a SCRAM secret is known.
    Md5,
    /// By SCRAM-SHA-256.
    Scram,
}

impl From<AuthMethod> for Method {
    fn from(method: AuthMethod) -> Self {
        match method {
            AuthMethod::Trust => Self::Trust,
            AuthMethod::Any => Self::Any,
            AuthMethod::Plain => Self::Plain,
            AuthMethod::Md5 => Self::Md5,
            AuthMethod::ScramSha256 => Self::Scram,
        }
    }
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

/// What is known of a user's password.
#[derive(Clone, Default)]
pub enum Known {
    /// Nothing: there is none, and nobody can prove to be this user.
    #[default]
    Nothing,
    /// The password.
    Password(String),
    /// What PostgreSQL stores as `md5...`.
    Md5(String),
    /// What PostgreSQL stores as `SCRAM-SHA-256$...`.
    Scram(Secret),
}

/// What the settings say of a user.
#[derive(Clone, Default)]
pub struct Credentials {
    /// The name.
    pub name: String,
    /// What is known of the password.
    pub known: Known,
    /// Whether clients may not log in under this name.
    pub nodes_only: bool,
}

impl From<&UserSettings> for Credentials {
    fn from(user: &UserSettings) -> Self {
        let password = user.password.expose();
        let known = match StoredPassword::read(user.password_hash.expose()) {
            _ if !password.is_empty() => Known::Password(password.to_owned()),
            Ok(StoredPassword::Md5(hash)) => Known::Md5(hash.expose().to_ascii_lowercase()),
            Ok(StoredPassword::Scram(secret)) => {
                Secret::parse(secret.expose()).map_or(Known::Nothing, Known::Scram)
            }
            _ => Known::Nothing,
        };
        Self { name: user.name.clone(), known, nodes_only: user.nodes_only }
    }
}

/// What pgherd can show a node of a user.
#[derive(Debug, Clone, Copy)]
pub enum Proof<'a> {
    /// The password; empty if there is none.
    Password(&'a str),
    /// What PostgreSQL stores as `md5...`: good for a node that asks for md5.
    Md5(&'a str),
    /// A SCRAM secret, and the keys of a client that has shown them: good for a node that stores
    /// the same secret.
    Scram(&'a Secret, Option<&'a Keys>),
}

/// One user: a client that logs in under this name, and the login pgherd uses at the nodes for
/// it.
pub struct User {
    /// The name, the same on both sides.
    pub name: String,
    nodes_only: bool,
    known: Known,
    // Of the password, if that is known.
    secret: Option<Secret>,
    // With them, and without the password, the nodes let us in.
    keys: OnceLock<Keys>,
}

impl User {
    /// What a node can be shown.
    pub fn proof(&self) -> Proof<'_> {
        match &self.known {
            Known::Nothing => Proof::Password(""),
            Known::Password(password) => Proof::Password(password),
            Known::Md5(hash) => Proof::Md5(hash),
            Known::Scram(secret) => Proof::Scram(secret, self.keys.get()),
        }
    }

    fn secret(&self) -> Option<&Secret> {
        match &self.known {
            Known::Scram(secret) => Some(secret),
            _ => self.secret.as_ref(),
        }
    }
}

// What is known of the password stays out of logs.
impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Users {
    users: Vec<User>,
    by_name: HashMap<String, UserId>,
    // Makes up the salts of users that do not exist.
    mock_key: [u8; 32],
    // How many can prove who they are, and how many of them by nothing but SCRAM.
    can_log_in: u32,
    by_scram: u32,
}

impl Users {
    /// These users. `random` fills salts and keys.
    ///
    /// Costs one key derivation (milliseconds) for each password. Of two users with one name the
    /// later counts.
    pub fn new(
        logins: impl IntoIterator<Item = Credentials>,
        mut random: impl FnMut(&mut [u8]),
    ) -> Self {
        let mut mock_key = [0; 32];
        random(&mut mock_key);
        let mut all = Self {
            users: Vec::new(),
            by_name: HashMap::new(),
            mock_key,
            can_log_in: 0,
            by_scram: 0,
        };
        for Credentials { name, known, nodes_only } in logins {
            let secret = match &known {
                Known::Password(password) => {
                    let mut salt = [0; 16];
                    random(&mut salt);
                    Some(Secret::from_password(password, &salt, DEFAULT_ITERATIONS))
                }
                _ => None,
            };
            let can_log_in = !nodes_only && !matches!(known, Known::Nothing);
            all.can_log_in += u32::from(can_log_in);
            all.by_scram += u32::from(can_log_in && matches!(known, Known::Scram(_)));
            let id = u16::try_from(all.users.len()).expect("settings hold fewer than 65536 users");
            all.by_name.insert(name.clone(), UserId(id));
            let keys = OnceLock::new();
            all.users.push(User { name, nodes_only, known, secret, keys });
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

    fn client(&self, name: &str) -> Option<&User> {
        self.find_client(name).map(|id| self.get(id))
    }

    /// The secret to check a SCRAM login against; for an unknown name one that nothing fits, so that
    /// the two cannot be told apart.
    pub fn secret(&self, name: &str) -> Secret {
        let known = self.client(name).and_then(User::secret);
        known.cloned().unwrap_or_else(|| Secret::mock(name, &self.mock_key))
    }

    /// Whether a client is asked for SCRAM where md5 is the rule, because a SCRAM secret is all that is
    /// known. As many of the unknown names are, and the same ones each time.
    pub fn is_asked_for_scram(&self, name: &str) -> bool {
        match self.client(name).map(|user| &user.known) {
            Some(Known::Scram(_)) => true,
            Some(Known::Password(_) | Known::Md5(_)) => false,
            Some(Known::Nothing) | None => {
                let salt = Secret::mock(name, &self.mock_key).salt;
                let number =
                    salt.iter().take(4).fold(0u32, |all, byte| all << 8 | u32::from(*byte));
                number % self.can_log_in.max(1) < self.by_scram
            }
        }
    }

    /// Whether this is what a user's password gives with this salt.
    pub fn is_md5(&self, name: &str, salt: [u8; 4], answer: &[u8]) -> bool {
        let expected = match self.client(name).map(|user| &user.known) {
            Some(Known::Password(password)) => Some(md5::response(name, password, salt)),
            Some(Known::Md5(hash)) => Some(md5::response_of(hash, salt)),
            _ => None,
        };
        expected.is_some_and(|expected| expected.as_bytes().ct_eq(answer).into())
    }

    /// Whether this is a user's password. It takes as long for all names, whatever is known of them.
    pub fn is_password(&self, name: &str, password: &str) -> bool {
        let keys = self.secret(name).keys(password);
        let md5 = md5::stored(name, password);
        let Some(user) = self.client(name) else { return false };
        match (&user.known, keys) {
            (Known::Md5(hash), _) => hash.as_bytes().ct_eq(md5.as_bytes()).into(),
            (_, Some(keys)) => {
                let _ = user.keys.set(keys);
                true
            }
            (_, None) => false,
        }
    }

    /// Keeps the key that a client has shown, to log in to nodes with it.
    pub fn remember(&self, name: &str, client_key: [u8; 32]) {
        let Some(user) = self.client(name) else { return };
        if let Known::Scram(secret) = &user.known
            && user.keys.get().is_none()
            && let Some(keys) = secret.keys_of(client_key)
        {
            let _ = user.keys.set(keys);
        }
    }
}

#[cfg(test)]
mod tests;
