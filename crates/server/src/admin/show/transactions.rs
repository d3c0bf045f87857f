//! `SHOW TRANSACTIONS`.

use super::super::report::Scope;
use super::super::table::{Column, int4, text};
use super::Table;

pub(super) static TABLE: Table = Table {
    name: "transactions",
    about: "A transaction over several shards that this process runs. Empty as long as the proxy runs \
            none: the library does.",
    columns: &COLUMNS,
    theirs: 0,
    scope: Scope::Sums,
    rows: |_| Ok(Vec::new()),
};

const COLUMNS: [Column; 5] = [
    text("gid", "Its global id, as in `pg_prepared_xacts`."),
    text("state", "How far it is."),
    text("anchor", "The group whose commit is the decision."),
    text("others", "The other groups that it has written to."),
    int4("age", "Seconds since it began."),
];
