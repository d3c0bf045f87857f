//! Looks up, at the primary, the secrets of users that are not in the settings.
//!
//! In: names, and where to ask. Out: what was found, for all who have asked meanwhile. Answers are kept
//! for `listen.auth_cache`, those about nobody, too: an attacker has no other times from them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use pgherd::Inquirer;
use pgherd_core::pgbouncer::StoredPassword;
use pgherd_core::{Settings, Topology};
use pgherd_wire::scram::Secret;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::allowance::Allowance;
use crate::auth::question::Place;
use crate::auth::{Answer, Credential, Known, Recipe};
use crate::reactor::Requester;

/// Answers kept, at most twice as many; beyond them the older half is forgotten.
const MOST_KEPT: usize = 10_000;

/// Names that are asked for at the same time, at most.
const MOST_UNDER_WAY: usize = 100;

/// Places that have a connection, at most; one more takes that of all others.
const MOST_PLACES: usize = 16;

/// How long a connection is kept that nobody needs.
const IDLE: Duration = Duration::from_secs(60);

/// An answer, and until when it serves.
type Kept = (Instant, Option<Arc<Credential>>);

type Key = (String, Place);

/// What a node has answered; nothing if it could not be asked.
type Found = Result<Option<Arc<Credential>>, String>;

/// See the module's header.
#[derive(Debug)]
pub(super) struct Lookups {
    // May be read again.
    settings: Arc<ArcSwap<Settings>>,
    topology: Arc<ArcSwap<Topology>>,
    young: HashMap<Key, Kept>,
    old: HashMap<Key, Kept>,
    // Who waits for what is under way; whether its answer may be kept.
    waiting: HashMap<Key, (Vec<Requester>, bool)>,
    under_way: JoinSet<(Key, Found)>,
    inquirers: HashMap<Place, (Arc<Inquirer>, Instant)>,
    // By which settings they are.
    inquire_by: Arc<Settings>,
    // About look-ups that fail, in the log.
    lines: Allowance,
}

impl Lookups {
    pub(super) fn new(settings: Arc<ArcSwap<Settings>>, topology: Arc<ArcSwap<Topology>>) -> Self {
        Self {
            inquire_by: settings.load_full(),
            settings,
            topology,
            young: HashMap::new(),
            old: HashMap::new(),
            waiting: HashMap::new(),
            under_way: JoinSet::new(),
            inquirers: HashMap::new(),
            lines: Allowance::new(Instant::now().into_std()),
        }
    }

    /// Answers at once what is known, and else through [`Self::next`].
    pub(super) fn ask(
        &mut self,
        name: String,
        place: Place,
        recipe: Recipe,
        by: Requester,
    ) -> Option<Answer> {
        let key = (name, place);
        let kept = self.young.get(&key).or_else(|| self.old.get(&key));
        if let Some((until, found)) = kept
            && Instant::now() < *until
        {
            return Some(Answer::User(found.clone()));
        }
        let is_full = self.waiting.len() >= MOST_UNDER_WAY;
        match self.waiting.entry(key) {
            Entry::Occupied(mut others) => {
                others.get_mut().0.push(by);
                return None;
            }
            Entry::Vacant(_) if is_full => {
                if self.has_room_for_a_line() {
                    tracing::warn!(most = MOST_UNDER_WAY, "too many users are looked up at once");
                }
                return Some(Answer::Failed);
            }
            Entry::Vacant(first) => {
                let key = first.key().clone();
                first.insert((vec![by], true));
                self.begin(key, recipe);
            }
        }
        None
    }

    /// The next answer, and who has asked for it. Never returns while nothing is under way.
    ///
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> (Answer, Vec<Requester>) {
        loop {
            let idle = tokio::time::sleep(IDLE);
            let ended = tokio::select! {
                Some(ended) = self.under_way.join_next() => ended,
                () = idle => {
                    self.close_idle();
                    continue;
                }
            };
            // One that has panicked is an error of ours: who waits for it has a time limit.
            let Ok((key, found)) = ended else { continue };
            let (asked_by, may_keep) = self.waiting.remove(&key).unwrap_or_default();
            let answer = match found {
                Ok(found) => {
                    if may_keep {
                        self.keep(key, found.clone());
                    }
                    Answer::User(found)
                }
                Err(error) => {
                    if self.has_room_for_a_line() {
                        let Place { user, database, .. } = &key.1;
                        tracing::error!(user, database, error, "cannot look up a user");
                    }
                    Answer::Failed
                }
            };
            return (answer, asked_by);
        }
    }

    /// A login under this name has failed: it is asked for anew.
    pub(super) fn forget(&mut self, name: &str) {
        let is_other = |(of, _): &Key| of != name;
        self.young.retain(|key, _| is_other(key));
        self.old.retain(|key, _| is_other(key));
        for ((of, _), (_, may_keep)) in &mut self.waiting {
            *may_keep &= of != name;
        }
    }

    /// Whether one more line may be written; tells how many were left out.
    fn has_room_for_a_line(&mut self) -> bool {
        let (most, now) = (self.settings.load().log.lines_per_second, Instant::now().into_std());
        if let Some(lines) = self.lines.left_out(now) {
            tracing::info!(lines, "lines about look-ups left out (limit log.lines_per_second)");
        }
        self.lines.admits(most, now)
    }

    fn begin(&mut self, key: Key, recipe: Recipe) {
        let Some(inquirer) = self.inquirer(&key.1) else {
            let error = format!("`{}` is no [[user]] any more", key.1.user);
            self.under_way.spawn(async move { (key, Err(error)) });
            return;
        };
        let topology = self.topology.load();
        let nodes = topology.group(key.1.group);
        let primary = nodes.expect("settings name no database of other groups").primary;
        self.under_way.spawn(async move {
            let (name, place) = &key;
            let rows = inquirer.ask(primary, &place.query, name).await;
            let found = rows.map_err(|error| error.to_string()).and_then(|rows| known(&rows));
            let found = match found {
                Ok(None) => Ok(None),
                Ok(Some(known)) => {
                    let name = name.clone();
                    let make = move || Arc::new(Credential::new(&name, known, &recipe));
                    let made = tokio::task::spawn_blocking(make).await;
                    made.map(Some).map_err(|error| error.to_string())
                }
                Err(error) => Err(error),
            };
            (key, found)
        });
    }

    fn inquirer(&mut self, place: &Place) -> Option<Arc<Inquirer>> {
        let (now, settings) = (Instant::now(), self.settings.load_full());
        if !Arc::ptr_eq(&settings, &self.inquire_by) {
            // Those who ask may have other passwords.
            self.inquirers.clear();
            self.inquire_by = Arc::clone(&settings);
        }
        if let Some((inquirer, used)) = self.inquirers.get_mut(place) {
            *used = now;
            return Some(Arc::clone(inquirer));
        }
        if self.inquirers.len() >= MOST_PLACES {
            self.inquirers.clear();
        }
        let user = settings.users.iter().find(|user| user.name == place.user)?;
        let topology = self.topology.load();
        let inquirer = Inquirer::new(&settings, &topology, user, &place.database);
        let inquirer = Arc::new(inquirer);
        self.inquirers.insert(place.clone(), (Arc::clone(&inquirer), now));
        Some(inquirer)
    }

    fn keep(&mut self, key: Key, found: Option<Arc<Credential>>) {
        let life = self.settings.load().listen.auth_cache;
        if life.is_zero() {
            return;
        }
        if self.young.len() >= MOST_KEPT {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, (Instant::now() + life, found));
    }

    fn close_idle(&mut self) {
        let now = Instant::now();
        self.inquirers.retain(|_, (_, used)| now.duration_since(*used) < IDLE);
    }
}

/// What the rows of an answer say: name and secret, if there is such a user.
fn known(rows: &[Vec<Option<String>>]) -> Result<Option<Known>, String> {
    let secret = match rows {
        [] => return Ok(None),
        [row] if row.len() == 2 => row[1].as_deref().unwrap_or_default(),
        [row] => return Err(format!("auth_query has {} columns, and not two", row.len())),
        rows => return Err(format!("auth_query has found {} users of one name", rows.len())),
    };
    Ok(Some(match StoredPassword::read(secret) {
        Ok(StoredPassword::None) => Known::Nothing,
        Ok(StoredPassword::Plain(password)) => Known::Password(password.expose().to_owned()),
        Ok(StoredPassword::Md5(hash)) => Known::Md5(hash.expose().to_ascii_lowercase()),
        Ok(StoredPassword::Scram(secret)) => {
            let secret = Secret::parse(secret.expose());
            Known::Scram(secret.ok_or("auth_query has found a SCRAM secret that is none")?)
        }
        Err(error) => return Err(format!("auth_query has found no secret: {error}")),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_answers_is_what_it_stores() {
        let row =
            |secret: Option<&str>| vec![vec![Some("ann".to_owned()), secret.map(str::to_owned)]];
        assert!(matches!(known(&[]), Ok(None)));
        assert!(matches!(known(&row(None)), Ok(Some(Known::Nothing))));
        let md5 =
            pgherd_wire::md5::stored("ann", "pw").to_ascii_uppercase().replacen("MD5", "md5", 1);
        let found = known(&row(Some(&md5)));
        assert!(matches!(found, Ok(Some(Known::Md5(hash))) if hash.eq_ignore_ascii_case(&md5)));
        let secret = Secret::from_password("pw", b"salt", 4096).to_text();
        assert!(matches!(known(&row(Some(&secret))), Ok(Some(Known::Scram(_)))));
        assert!(matches!(known(&row(Some("pw"))), Ok(Some(Known::Password(_)))));
        assert!(known(&[vec![None]]).is_err());
        assert!(known(&[row(None), row(None)].concat()).is_err());
    }
}
