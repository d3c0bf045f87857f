//! Who may log in, and with what.
//!
//! In: what the settings know of each user, and what clients show. Out: whether it fits; and what
//! pgherd can show a node in turn. Whoever asks under a name that is none is answered as under one
//! that is.

mod guard;
mod hba;
pub mod question;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use pgherd_core::pgbouncer::StoredPassword;
use pgherd_core::settings::{AuthMethod, UserSettings};
use pgherd_wire::md5;
use pgherd_wire::scram::{DEFAULT_ITERATIONS, Keys, Secret, keyed_hash};
use subtle::ConstantTimeEq;

pub use guard::LoginGuard;
pub use hba::{Hba, HbaError, HbaFiles};
pub use question::{Answer, Question};

/// Users that were looked up and have logged in, at most: each keeps its place.
const MOST_FOUND: usize = 10_000;

/// Users that settings which are read again may add, at most.
pub(crate) const MOST_ADDED: usize = 1000;

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
    /// By the certificate that they show.
    Cert,
    /// As the system's user at the other end of a Unix socket.
    Peer,
    /// As the HBA file says.
    Hba,
}

impl From<AuthMethod> for Method {
    fn from(method: AuthMethod) -> Self {
        match method {
            AuthMethod::Trust => Self::Trust,
            AuthMethod::Any => Self::Any,
            AuthMethod::Plain => Self::Plain,
            AuthMethod::Md5 => Self::Md5,
            AuthMethod::ScramSha256 => Self::Scram,
            AuthMethod::Cert => Self::Cert,
            AuthMethod::Peer => Self::Peer,
            AuthMethod::Hba => Self::Hba,
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
#[derive(Clone, Default, PartialEq)]
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
    /// Whether the settings do not list it any more: it is here for whom it serves already.
    pub is_gone: bool,
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
        Self { name: user.name.clone(), known, nodes_only: user.nodes_only, is_gone: false }
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

/// What is known of a user's password, and what clients have shown of it.
#[derive(Default)]
pub struct Credential {
    known: Known,
    // Of the password, if that is known.
    secret: Option<Secret>,
    // With them, and without the password, the nodes let us in.
    keys: OnceLock<Keys>,
    // A keyed hash of the password that has fitted the secret, so that it is known again without the
    // milliseconds of the derivation.
    seen: OnceLock<[u8; 32]>,
}

impl Credential {
    /// Of what is known under a name. Of a password a secret is made, which takes milliseconds.
    pub fn new(name: &str, known: Known, recipe: &Recipe) -> Self {
        let secret = match &known {
            Known::Password(password) => Some(recipe.secret(name, password)),
            _ => None,
        };
        Self { known, secret, ..Self::default() }
    }

    /// What a node can be shown.
    pub fn proof(&self) -> Proof<'_> {
        match &self.known {
            Known::Nothing => Proof::Password(""),
            Known::Password(password) => Proof::Password(password),
            Known::Md5(hash) => Proof::Md5(hash),
            Known::Scram(secret) => Proof::Scram(secret, self.keys.get()),
        }
    }

    /// Keeps the key that a client has shown, to log in to nodes with it.
    pub fn remember(&self, client_key: [u8; 32]) {
        if let Known::Scram(secret) = &self.known
            && self.keys.get().is_none()
            && let Some(keys) = secret.keys_of(client_key)
        {
            let _ = self.keys.set(keys);
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
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// How secrets are made of passwords, and for names that are none.
#[derive(Clone, PartialEq, Eq)]
pub struct Recipe {
    // Not for logs.
    mock_key: [u8; 32],
    iterations: u32,
}

impl Recipe {
    /// The salt is that of a name that is none, and stays the same as long as the key does.
    fn secret(&self, name: &str, password: &str) -> Secret {
        let salt = Secret::mock(name, &self.mock_key).salt;
        Secret::from_password(password, &salt, self.iterations)
    }
}

impl std::fmt::Debug for Recipe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recipe").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// One user: a client that logs in under this name, and the login pgherd uses at the nodes for
/// it.
#[derive(Debug)]
pub struct User {
    /// The name, the same on both sides.
    pub name: String,
    nodes_only: AtomicBool,
    is_gone: AtomicBool,
    // That of one who was looked up may change, and that of others when settings are read again.
    credential: ArcSwap<Credential>,
}

impl User {
    /// What is known of the password.
    pub fn credential(&self) -> Arc<Credential> {
        self.credential.load_full()
    }

    /// One under whose name clients may log in.
    fn new(name: String, credential: Arc<Credential>) -> Self {
        let (nodes_only, is_gone) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { name, nodes_only, is_gone, credential: ArcSwap::new(credential) }
    }

    fn is_of_clients(&self) -> bool {
        !self.nodes_only.load(Ordering::Relaxed)
    }
}

/// Everybody who may log in.
#[derive(Debug)]
pub struct Users {
    // In the order of the settings, and behind them room for those that are added.
    listed: Box<[OnceLock<User>]>,
    by_name: ArcSwap<HashMap<String, UserId>>,
    // Makes up the salts of users that do not exist, too.
    recipe: Recipe,
    // Of those that can prove who they are: the iterations of their secrets, and whether SCRAM is all
    // that they can be asked for.
    asked: ArcSwap<Vec<(u32, bool)>>,
    // Those that were looked up, in places behind those of the others; none if nobody is.
    found: Box<[OnceLock<User>]>,
    // Held for a look at it, at a login.
    found_by_name: Mutex<HashMap<String, UserId>>,
    // Whether SCRAM is all that the last one that was looked up can be asked for, and the iterations of
    // the last secret.
    found_by_scram: AtomicBool,
    found_iterations: AtomicU32,
}

/// No more users that are looked up have a place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_FOUND} users that the settings do not list have logged in, and no more may")]
pub struct NoPlace;

impl Users {
    /// These users. `random` fills keys where nothing else is secret.
    ///
    /// Costs one key derivation (milliseconds) for each password. Of two users with one name the
    /// later counts.
    pub fn new(
        logins: impl IntoIterator<Item = Credentials>,
        random: impl FnOnce(&mut [u8]),
    ) -> Self {
        Self::with_iterations(logins, DEFAULT_ITERATIONS, random)
    }

    /// The same with secrets of so many iterations.
    pub fn with_iterations(
        logins: impl IntoIterator<Item = Credentials>,
        iterations: u32,
        random: impl FnOnce(&mut [u8]),
    ) -> Self {
        let logins: Vec<Credentials> = logins.into_iter().collect();
        let mock_key = mock_key(&logins, random);
        let room = (logins.len() + MOST_ADDED).min(usize::from(u16::MAX));
        let all = Self {
            listed: (0..room).map(|_| OnceLock::new()).collect(),
            by_name: ArcSwap::default(),
            recipe: Recipe { mock_key, iterations },
            asked: ArcSwap::default(),
            found: Box::default(),
            found_by_name: Mutex::default(),
            found_by_scram: AtomicBool::new(true),
            found_iterations: AtomicU32::new(iterations),
        };
        all.follow(logins);
        all
    }

    /// These are the users from now on: those that there are already, in their order, and others behind
    /// them. Who is logged in stays so. Costs a key derivation for each password that is new.
    ///
    /// # Panics
    /// If more are added than there is room for.
    pub(crate) fn follow(&self, logins: impl IntoIterator<Item = Credentials>) {
        let (mut by_name, mut asked) = (HashMap::new(), Vec::new());
        for (login, place) in logins.into_iter().zip(0..) {
            let Credentials { name, known, nodes_only, is_gone } = login;
            let slot = self.listed.get(usize::from(place)).expect("there is room for so many");
            let user = slot.get_or_init(|| {
                let credential = Credential::new(&name, known.clone(), &self.recipe);
                User::new(name.clone(), Arc::new(credential))
            });
            user.nodes_only.store(nodes_only, Ordering::Relaxed);
            user.is_gone.store(is_gone, Ordering::Relaxed);
            if user.credential.load().known != known {
                user.credential.store(Arc::new(Credential::new(&name, known, &self.recipe)));
            }
            let credential = user.credential.load();
            if !nodes_only && !matches!(credential.known, Known::Nothing) {
                let iterations = credential.secret().map(|secret| secret.iterations);
                let by_scram = matches!(credential.known, Known::Scram(_));
                asked.push((iterations.unwrap_or(self.recipe.iterations), by_scram));
            }
            by_name.insert(name, UserId(place));
        }
        self.by_name.store(Arc::new(by_name));
        self.asked.store(Arc::new(asked));
    }

    /// The same, with room for users that are looked up.
    pub fn with_room(self) -> Self {
        let room = (usize::from(u16::MAX) - self.listed.len()).min(MOST_FOUND);
        Self { found: (0..room).map(|_| OnceLock::new()).collect(), ..self }
    }

    /// Whether others than those of the settings may be users.
    pub fn has_room(&self) -> bool {
        !self.found.is_empty()
    }

    /// A question for what is known under a name that is not in the settings.
    pub fn question(&self, name: &str, place: question::Place) -> Question {
        Question::User { name: name.to_owned(), place, recipe: self.recipe.clone() }
    }

    /// Somebody has logged in who was looked up: a user from now on, by what was found.
    ///
    /// # Errors
    /// [`NoPlace`].
    pub fn adopt(&self, name: &str, found: &Arc<Credential>) -> Result<UserId, NoPlace> {
        let mut by_name = self.found_by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = by_name.get(name) {
            let user = self.get(*id);
            let before = user.credential.load();
            // Keys that were shown are kept as long as they fit.
            let is_better = before.keys.get().is_none() && found.keys.get().is_some();
            if before.known != found.known || is_better {
                user.credential.store(Arc::clone(found));
            }
            return Ok(*id);
        }
        let place = by_name.len();
        let slot = self.found.get(place).ok_or(NoPlace)?;
        let id =
            UserId(u16::try_from(self.listed.len() + place).expect("there is room for so many"));
        let user = User::new(name.to_owned(), Arc::clone(found));
        assert!(slot.set(user).is_ok(), "places are given out in turn, under the lock");
        by_name.insert(name.to_owned(), id);
        Ok(id)
    }

    /// Something was found of somebody: names of which nothing is look like that.
    pub fn looked_up(&self, found: &Credential) {
        let is_by_scram = match found.known {
            Known::Scram(_) => true,
            Known::Password(_) | Known::Md5(_) => false,
            Known::Nothing => return,
        };
        self.found_by_scram.store(is_by_scram, Ordering::Relaxed);
        if let Some(secret) = found.secret() {
            self.found_iterations.store(secret.iterations, Ordering::Relaxed);
        }
    }

    /// The user of the settings with this name.
    pub fn find(&self, name: &str) -> Option<UserId> {
        self.by_name.load().get(name).copied()
    }

    /// Whether the settings say who this is, so that nobody is asked.
    pub fn is_listed(&self, name: &str) -> bool {
        self.find(name).is_some_and(|id| !self.get(id).is_gone.load(Ordering::Relaxed))
    }

    /// The user with this name, if clients may be it.
    pub fn find_client(&self, name: &str) -> Option<UserId> {
        self.find(name).filter(|id| self.get(*id).is_of_clients())
    }

    /// Who was looked up under this name, and has logged in since the start.
    pub(crate) fn looked_up_as(&self, name: &str) -> Option<UserId> {
        let by_name = self.found_by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.get(name).copied()
    }

    /// Those who were looked up and have logged in since the start, but for names that the settings have.
    pub(crate) fn looked_up_users(&self) -> impl Iterator<Item = (UserId, &str)> {
        let users = self.found.iter().map_while(OnceLock::get).enumerate();
        let with_id = users.map(|(place, user)| (self.listed.len() + place, user.name.as_str()));
        with_id
            .filter(|(_, name)| self.find(name).is_none())
            .map(|(id, name)| (UserId(u16::try_from(id).expect("there is room for so many")), name))
    }

    /// The user with this id.
    pub fn get(&self, id: UserId) -> &User {
        let (listed, found) = (&self.listed, &self.found);
        let slot = listed.get(id.index()).unwrap_or_else(|| &found[id.index() - listed.len()]);
        slot.get().expect("an id is that of a user")
    }

    /// What is known of a client's password under this name.
    pub fn of_client(&self, name: &str) -> Option<Arc<Credential>> {
        self.find_client(name).map(|id| self.get(id).credential())
    }

    /// The secret to check a SCRAM login against; where nothing is known one that nothing fits, so
    /// that the two cannot be told apart.
    pub fn secret(&self, name: &str, of: Option<&Credential>) -> Secret {
        of.and_then(Credential::secret).cloned().unwrap_or_else(|| {
            let mut secret = Secret::mock(name, &self.recipe.mock_key);
            secret.iterations = self.looks_like(name).0;
            secret
        })
    }

    /// Whether a client is asked for SCRAM where md5 is the rule, because a SCRAM secret is all that is
    /// known. As many of the unknown names are, and the same ones each time.
    pub fn is_asked_for_scram(&self, name: &str, of: Option<&Credential>) -> bool {
        match of.map(|of| &of.known) {
            Some(Known::Scram(_)) => true,
            Some(Known::Password(_) | Known::Md5(_)) => false,
            Some(Known::Nothing) | None => self.looks_like(name).1,
        }
    }

    /// What a name of which nothing is known looks like: one of those that are known.
    fn looks_like(&self, name: &str) -> (u32, bool) {
        if self.has_room() {
            let iterations = self.found_iterations.load(Ordering::Relaxed);
            return (iterations, self.found_by_scram.load(Ordering::Relaxed));
        }
        let asked = self.asked.load();
        let Some(count) = u64::try_from(asked.len()).ok().filter(|count| *count > 0) else {
            return (self.recipe.iterations, false);
        };
        let salt = Secret::mock(name, &self.recipe.mock_key).salt;
        let number = salt.iter().take(4).fold(0u64, |all, byte| all << 8 | u64::from(*byte));
        let place = usize::try_from(number % count).expect("it is below the length");
        asked[place]
    }

    /// Whether this is what a user's password gives with this salt.
    pub fn is_md5(
        &self,
        name: &str,
        of: Option<&Credential>,
        salt: [u8; 4],
        answer: &[u8],
    ) -> bool {
        let expected = match of.map(|of| &of.known) {
            Some(Known::Password(password)) => md5::response(name, password, salt),
            Some(Known::Md5(hash)) => md5::response_of(hash, salt),
            // Nothing fits; it takes as long to say so.
            _ => {
                let _ = md5::response(name, "", salt);
                return false;
            }
        };
        expected.as_bytes().ct_eq(answer).into()
    }

    /// Whether this is known to be a user's password without a derivation. If not, it may still be:
    /// [`Question::Keys`] finds out.
    pub fn recognises(&self, name: &str, of: Option<&Credential>, password: &str) -> bool {
        let hash = |text: &str| keyed_hash(&self.recipe.mock_key, text.as_bytes());
        let shown = hash(password);
        let expected = match of.map(|of| &of.known) {
            Some(Known::Password(known)) => hash(known),
            Some(Known::Md5(known)) => {
                return known.as_bytes().ct_eq(md5::stored(name, password).as_bytes()).into();
            }
            Some(Known::Scram(_)) => match of.and_then(|of| of.seen.get()) {
                Some(seen) => *seen,
                None => return false,
            },
            Some(Known::Nothing) | None => return false,
        };
        expected.ct_eq(&shown).into()
    }

    /// A client's password has given these keys, which fit its secret.
    pub fn remember_password(&self, of: &Credential, password: &str, keys: Keys) {
        if matches!(of.known, Known::Scram(_)) {
            let _ = of.keys.set(keys);
            let _ = of.seen.set(keyed_hash(&self.recipe.mock_key, password.as_bytes()));
        }
    }
}

/// What salts of unknown users are made of: as secret as the passwords, and the same for as long as
/// they are, after a restart and in other processes. What is stored of known ones stays the same, too.
fn mock_key(logins: &[Credentials], random: impl FnOnce(&mut [u8])) -> [u8; 32] {
    let mut key = *b"pgherd: what nobody knows is so.";
    let mut is_secret = false;
    for login in logins {
        let text = match &login.known {
            Known::Nothing => continue,
            Known::Password(password) => password.clone(),
            Known::Md5(hash) => hash.clone(),
            Known::Scram(secret) => secret.to_text(),
        };
        is_secret = true;
        key = keyed_hash(&key, format!("{}:{text}", login.name).as_bytes());
    }
    if !is_secret {
        random(&mut key);
    }
    key
}

#[cfg(test)]
mod tests;
