//! Sessions that cannot be shared, and what keeps them.
//!
//! In: what a core has found in a session whose client is idle. Out: the right to pin it to its
//! backend, and a list of all that are.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::reactor::PoolKey;

/// A session that is pinned to its backend.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pin {
    /// The node.
    pub node: String,
    /// The database, as its client calls it.
    pub database: String,
    /// The login.
    pub user: String,
    /// How the client was told to name itself in a cancel request.
    pub client: u32,
    /// The process at the node.
    pub backend: u32,
    /// What it holds: "1 advisory lock".
    pub holds: String,
    /// The beginning of the statement that has most likely caused it.
    pub statement: String,
    /// Since when it is pinned.
    pub since: Instant,
}

/// Which pin it is: the core, and the serial of the backend there.
pub(crate) type PinId = (usize, u64);

/// All pins of the process.
///
/// The lock guards the list and is held for a look at it, when a pin begins, changes or ends, and
/// when somebody asks.
#[derive(Debug, Default)]
pub struct Pins {
    by_id: Mutex<BTreeMap<PinId, (PoolKey, Arc<Pin>)>>,
}

impl Pins {
    /// Adds a pin, or says anew what it holds. The number there are in its pool, if that is the
    /// `limit` already.
    pub(crate) fn add(
        &self,
        id: PinId,
        pool: PoolKey,
        limit: usize,
        mut pin: Pin,
    ) -> Result<(), usize> {
        let mut by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, last)) = by_id.get(&id) {
            pin.since = last.since;
        } else {
            let there = by_id.values().filter(|(of, _)| *of == pool).count();
            if there >= limit {
                return Err(there);
            }
        }
        by_id.insert(id, (pool, Arc::new(pin)));
        Ok(())
    }

    /// The session is pinned no more.
    pub(crate) fn remove(&self, id: PinId) {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// What is pinned in a pool, and for how long, in words; empty if nothing is.
    pub(crate) fn described(&self, pool: PoolKey, now: Instant) -> String {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        let pins: Vec<_> = by_id.values().filter(|(of, _)| *of == pool).collect();
        let mut said = String::new();
        // Three: an error is read by people.
        for (_, pin) in pins.iter().take(3) {
            let held_for = Duration::from_secs(now.saturating_duration_since(pin.since).as_secs());
            let lead = if said.is_empty() { "pinned to their sessions: " } else { "; " };
            let Pin { backend, holds, statement, .. } = &**pin;
            said += &format!(
                "{lead}process {backend} for {held_for:?}, which holds {holds} (by: {statement})"
            );
        }
        if pins.len() > 3 {
            said += &format!("; and {} more", pins.len() - 3);
        }
        said
    }

    /// All of them.
    pub(crate) fn all(&self) -> Vec<Pin> {
        let by_id = self.by_id.lock().unwrap_or_else(PoisonError::into_inner);
        by_id.values().map(|(_, pin)| Pin::clone(pin)).collect()
    }
}

#[cfg(test)]
mod tests {
    use pgherd_core::id::NodeId;

    use super::*;
    use crate::auth::UserId;
    use crate::databases::DatabaseId;

    #[test]
    fn a_pool_has_so_many_pins_and_no_more() {
        let now = Instant::now();
        let (node, database) = (NodeId(0), DatabaseId(0));
        let pool = |user| PoolKey { node, database, user: UserId(user), owner: None };
        let pin = |holds: &str| Pin {
            node: "n".to_owned(),
            database: "d".to_owned(),
            user: "u".to_owned(),
            client: 1,
            backend: 2,
            holds: holds.to_owned(),
            statement: "listen it".to_owned(),
            since: now,
        };
        let pins = Pins::default();
        assert_eq!(pins.described(pool(0), now), "");
        assert_eq!(pins.add((0, 1), pool(0), 1, pin("1 channel listened to")), Ok(()));
        assert_eq!(pins.add((0, 2), pool(0), 1, pin("1 advisory lock")), Err(1));
        assert_eq!(pins.add((0, 2), pool(1), 1, pin("1 advisory lock")), Ok(()));
        assert_eq!(pins.add((0, 1), pool(0), 1, pin("2 channels listened to")), Ok(()));
        assert_eq!(
            pins.described(pool(0), now + Duration::from_secs(3)),
            "pinned to their sessions: process 2 for 3s, which holds 2 channels listened to (by: \
             listen it)"
        );
        pins.remove((0, 1));
        assert_eq!(pins.all().len(), 1);
    }
}
