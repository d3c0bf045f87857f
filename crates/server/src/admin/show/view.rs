//! What the tables are made from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use pgherd_core::id::NodeId;
use pgherd_core::settings::PoolMode;

use super::super::report::{Connection, NodeReport, PoolCounts, PoolReport, Report};
use crate::control::Left;
use crate::databases::Database;
use crate::reactor::{Proxy, Tally};

/// The process as a console sees it.
pub(crate) struct View<'v> {
    pub(crate) proxy: &'v Proxy,
    /// What each core tells.
    pub(crate) reports: &'v [Report],
    pub(crate) now: Instant,
    /// Transactions that are prepared, where they were asked for.
    pub(crate) left: Option<&'v Left>,
}

/// The pools of a database and login, over all cores.
pub(crate) struct PoolSum<'v> {
    pub(crate) of: &'v Database,
    pub(crate) database: &'v str,
    pub(crate) user: &'v str,
    pub(crate) mode: PoolMode,
    pub(crate) counts: PoolCounts,
}

/// What was done for a database, over all cores.
#[derive(Default)]
pub(crate) struct TallySum {
    pub(crate) total: Tally,
    pub(crate) recent: Tally,
    pub(crate) over: Duration,
}

impl<'v> View<'v> {
    /// Sums something up over all cores.
    pub(crate) fn sum(&self, of: impl Fn(&Report) -> usize) -> usize {
        self.reports.iter().map(of).sum()
    }

    /// The pools by database and user, in the order of their names.
    pub(crate) fn pools(&self) -> impl Iterator<Item = PoolSum<'v>> {
        let mut pools: BTreeMap<(&str, &str), PoolSum<'v>> = BTreeMap::new();
        let all = self.reports.iter().flat_map(|report| &report.pools);
        for ((_, user), of_core) in all {
            let PoolReport { database, mode, .. } = of_core;
            let of = &**database;
            let (database, user) = (&*database.name, &*self.proxy.users.get(*user).name);
            let sum = pools.entry((database, user)).or_insert_with(|| PoolSum {
                of,
                database,
                user,
                mode: *mode,
                counts: PoolCounts::default(),
            });
            sum.counts.add(&of_core.counts);
        }
        pools.into_values()
    }

    /// What there is of a node.
    pub(crate) fn node(&self, node: NodeId) -> NodeReport {
        let mut sum = NodeReport::default();
        for of_core in self.reports.iter().filter_map(|core| core.nodes.get(node.index())) {
            sum.backends.add(&of_core.backends);
            sum.waiting += of_core.waiting;
        }
        sum
    }

    /// What was done for each database, in the order of their names: those that are listed, and those
    /// that have had a client.
    pub(crate) fn tallies(&self) -> BTreeMap<String, TallySum> {
        let mut sums: BTreeMap<String, TallySum> = BTreeMap::new();
        for database in self.proxy.databases.all() {
            sums.entry(database.name.to_string()).or_default();
        }
        for tally in self.reports.iter().flat_map(|report| &report.tallies) {
            let sum = sums.entry(tally.database.to_string()).or_default();
            sum.total.add(&tally.total);
            sum.recent.add(&tally.recent);
            sum.over = sum.over.max(tally.over);
        }
        // As with PgBouncer, the console has a row.
        sums.entry(super::CONSOLE.to_owned()).or_default();
        sums
    }

    /// Each connection, the oldest first.
    pub(super) fn connections(&self) -> Vec<&'v Connection> {
        let mut all: Vec<_> = self.reports.iter().flat_map(|report| &report.connections).collect();
        all.sort_by_key(|connection| connection.id);
        all
    }

    /// How long that is ago.
    pub(crate) fn since(&self, at: Option<Instant>) -> Duration {
        at.map_or(Duration::ZERO, |at| self.now.saturating_duration_since(at))
    }
}

/// Whole seconds, and the microseconds that are left.
pub(super) fn split(duration: Duration) -> [u64; 2] {
    [duration.as_secs(), u64::from(duration.subsec_micros())]
}

/// Microseconds.
pub(super) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A number of seconds as PgBouncer's settings have it: whole, or with a fraction.
pub(super) fn seconds(duration: Duration) -> String {
    duration.as_secs_f64().to_string()
}
