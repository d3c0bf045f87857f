//! What a core does for the clients of each database, in numbers.
//!
//! A backend counts what is done on it, in its own memory; what it has counted is added up when
//! somebody asks, and when it leaves the core. So counting costs additions and no look-up.

use std::collections::BTreeMap;
use std::time::Instant;

use super::pools::PoolKey;
use super::{Driver, Worker};
use crate::admin::report::DatabaseTally;
use crate::databases::{Database, DatabaseId};
use crate::relay::Work;

/// Numbers of databases beyond which those that have no pool any more are forgotten: twice as many as
/// there can be without being listed.
const MOST_KEPT: usize = 2000;

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Backends lent to clients.
    pub assignments: u64,
    /// Transactions that have ended.
    pub transactions: u64,
    /// Batches answered.
    pub queries: u64,
    /// Bytes from clients that were passed on.
    pub received: u64,
    /// Bytes from nodes that were passed on.
    pub sent: u64,
    /// How long the transactions took, in nanoseconds; so the other two.
    pub transaction_nanos: u64,
    /// How long the batches took.
    pub query_nanos: u64,
    /// How long clients waited for backends.
    pub wait_nanos: u64,
    /// Statements prepared by clients.
    pub client_parses: u64,
    /// Statements prepared at nodes.
    pub server_parses: u64,
    /// Prepared statements bound.
    pub binds: u64,
    /// Clients logged in.
    pub logins: u64,
}

impl Tally {
    /// Adds another one.
    pub fn add(&mut self, other: &Self) {
        self.assignments += other.assignments;
        self.transactions += other.transactions;
        self.queries += other.queries;
        self.received += other.received;
        self.sent += other.sent;
        self.transaction_nanos += other.transaction_nanos;
        self.query_nanos += other.query_nanos;
        self.wait_nanos += other.wait_nanos;
        self.client_parses += other.client_parses;
        self.server_parses += other.server_parses;
        self.binds += other.binds;
        self.logins += other.logins;
    }

    /// What was added since it was `earlier`; nothing where databases were forgotten meanwhile.
    #[must_use]
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        Self {
            assignments: self.assignments.saturating_sub(earlier.assignments),
            transactions: self.transactions.saturating_sub(earlier.transactions),
            queries: self.queries.saturating_sub(earlier.queries),
            received: self.received.saturating_sub(earlier.received),
            sent: self.sent.saturating_sub(earlier.sent),
            transaction_nanos: self.transaction_nanos.saturating_sub(earlier.transaction_nanos),
            query_nanos: self.query_nanos.saturating_sub(earlier.query_nanos),
            wait_nanos: self.wait_nanos.saturating_sub(earlier.wait_nanos),
            client_parses: self.client_parses.saturating_sub(earlier.client_parses),
            server_parses: self.server_parses.saturating_sub(earlier.server_parses),
            binds: self.binds.saturating_sub(earlier.binds),
            logins: self.logins.saturating_sub(earlier.logins),
        }
    }

    /// Adds what the relay has seen.
    fn add_work(&mut self, work: &Work) {
        self.client_parses += work.client_parses;
        self.server_parses += work.server_parses;
        self.binds += work.binds;
    }
}

/// What a core has counted, by database.
#[derive(Debug)]
pub(super) struct Tallies {
    by_database: BTreeMap<DatabaseId, Kept>,
    // When what is compared with now was counted, and what will be next.
    older_at: Instant,
    newer_at: Instant,
}

#[derive(Debug)]
struct Kept {
    name: Box<str>,
    total: Tally,
    newer: Tally,
    older: Tally,
}

impl Tallies {
    pub(super) fn new(now: Instant) -> Self {
        Self { by_database: BTreeMap::new(), older_at: now, newer_at: now }
    }

    /// The tally of a database, to be added to.
    pub(super) fn of(&mut self, database: &Database) -> &mut Tally {
        let kept = self.by_database.entry(database.id).or_insert_with(|| Kept {
            name: database.name.clone(),
            total: Tally::default(),
            newer: Tally::default(),
            older: Tally::default(),
        });
        &mut kept.total
    }
}

impl<D: Driver> Worker<D> {
    /// Takes over what a backend has counted: it leaves the core, or somebody asks.
    pub(super) fn take_tally(&mut self, key: usize) {
        let Some(backend) = self.backends.get_mut(key) else { return };
        let mut tally = std::mem::take(&mut backend.tally);
        tally.add_work(&std::mem::take(&mut backend.relay.work));
        self.tallies.of(&backend.database).add(&tally);
    }

    fn take_tallies(&mut self) {
        let keys: Vec<usize> = self.backends.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.take_tally(key));
    }

    /// Remembers the numbers for later averages, once each period.
    pub(super) fn turn_tallies(&mut self) {
        let period = self.live.stats_period;
        if self.now.saturating_duration_since(self.tallies.newer_at) < period {
            return;
        }
        self.take_tallies();
        let Self { tallies, pools, now, .. } = self;
        for kept in tallies.by_database.values_mut() {
            kept.older = std::mem::replace(&mut kept.newer, kept.total);
        }
        tallies.older_at = std::mem::replace(&mut tallies.newer_at, *now);
        if tallies.by_database.len() > MOST_KEPT {
            let has_pool = |id| pools.keys().any(|key: &PoolKey| key.database == id);
            tallies.by_database.retain(|id, _| has_pool(*id));
        }
    }

    /// What was done for each database.
    pub(super) fn tally_report(&mut self) -> Vec<DatabaseTally> {
        self.take_tallies();
        let Tallies { by_database, older_at, .. } = &self.tallies;
        let over = self.now.saturating_duration_since(*older_at);
        let report = |kept: &Kept| DatabaseTally {
            database: kept.name.clone(),
            total: kept.total,
            recent: kept.total.since(&kept.older),
            over,
        };
        by_database.values().map(report).collect()
    }
}
