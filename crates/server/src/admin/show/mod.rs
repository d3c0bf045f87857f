//! Every table of the console, a file for each.
//!
//! In: a [`View`] of the process. Out: columns and rows.
//!
//! Columns are PgBouncer's, in its order and of its types; what is ours comes behind them. Scripts
//! read columns by name or by place: none is ever taken away or moved.
//!
//! Source of those that are PgBouncer's: its `src/admin.c` and `src/stats.c`, 1.25.

mod clients;
mod config;
mod connections;
mod databases;
mod dns;
mod fds;
mod lists;
mod mem;
mod nodes;
mod peers;
mod pins;
mod pools;
mod routes;
mod servers;
mod sockets;
mod state;
mod stats;
mod transactions;
mod users;
mod version;
mod view;

pub(crate) use transactions::is_it as is_of_transactions;
pub(crate) use view::View;

use super::report::Scope;
use super::table::{Column, Row};

/// The console as a database and as a user, where tables tell of it.
const CONSOLE: &str = super::DATABASES[0];

/// A table.
pub(crate) struct Table {
    /// `pools`, for `SHOW POOLS`.
    pub(crate) name: &'static str,
    /// What a row is, for the reference.
    pub(crate) about: &'static str,
    pub(crate) columns: &'static [Column],
    /// How many of the columns are PgBouncer's; those behind them are ours.
    pub(crate) theirs: usize,
    /// What the cores have to tell for it.
    pub(crate) scope: Scope,
    /// Its rows; an error is for the client.
    pub(crate) rows: fn(&View<'_>) -> Result<Vec<Row>, &'static str>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SHOW {}", self.name.to_ascii_uppercase())
    }
}

impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All tables, in the order in which they are told of.
pub(crate) static ALL: [&Table; 25] = [
    &databases::TABLE,
    &pools::TABLE,
    &stats::TABLE,
    &stats::TOTALS_TABLE,
    &stats::AVERAGES_TABLE,
    &stats::ALL_TABLE,
    &clients::TABLE,
    &servers::TABLE,
    &sockets::TABLE,
    &sockets::ACTIVE_TABLE,
    &users::TABLE,
    &lists::TABLE,
    &config::TABLE,
    &mem::TABLE,
    &state::TABLE,
    &version::TABLE,
    &dns::HOSTS_TABLE,
    &dns::ZONES_TABLE,
    &peers::TABLE,
    &peers::POOLS_TABLE,
    &fds::TABLE,
    &pins::TABLE,
    &nodes::TABLE,
    &routes::TABLE,
    &transactions::TABLE,
];

/// The table with this name, in lower case.
pub(crate) fn find(name: &str) -> Option<&'static Table> {
    ALL.into_iter().find(|table| table.name == name)
}

/// The columns of one behind those of another.
const fn join<const N: usize, const M: usize, const ALL: usize>(
    columns: [Column; N],
    more: [Column; M],
) -> [Column; ALL] {
    assert!(N + M == ALL, "as many columns as there are");
    let mut all = [more[0]; ALL];
    let mut at = 0;
    while at < ALL {
        all[at] = if at < N { columns[at] } else { more[at - N] };
        at += 1;
    }
    all
}

#[cfg(test)]
mod tests;
