//! `SHOW TRANSACTIONS`.

use pgherd::{Decision, LeftTransaction};

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::View;

pub(super) static TABLE: Table = Table {
    name: "transactions",
    about: "A transaction over several shards that is prepared on one of them at least, whatever program \
            runs or has left it, as `pgherd txn list` prints it. It is looked for on all shards when this \
            is asked, for up to 10s. Where a shard cannot be looked at, a row without a `gid` says why.",
    columns: &COLUMNS,
    theirs: 0,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 7] = [
    text("gid", "Its global id, which begins its names in `pg_prepared_xacts`."),
    text("state", "What was decided: committed, aborted, none yet, or unknown."),
    text("anchor", "The group whose commit is the decision."),
    text("others", "The groups where it is prepared."),
    int4("age", "Seconds since it was first prepared."),
    text("owner", "The role that runs it."),
    text("recovery", "What recovery will do about it."),
];

/// Whether a table is this one, for which the shards are looked at.
pub(crate) fn is_it(table: &Table) -> bool {
    *table == TABLE
}

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let left = match view.left {
        None => return Ok(Vec::new()),
        Some(Ok(left)) => left,
        Some(Err(error)) => return Ok(vec![problem(error)]),
    };
    let found = left.transactions.iter().map(|left| {
        let LeftTransaction { gid, owner, age_seconds, anchor, decision, recovery, .. } = left;
        let others: Vec<String> =
            left.prepared.iter().map(|at| format!("shard-{}", at.shard)).collect();
        let state = match decision {
            Decision::Committed => "committed",
            Decision::Aborted => "aborted",
            Decision::None => "none yet",
            _ => "unknown",
        };
        vec![
            gid.clone().into(),
            Cell::from(state),
            format!("shard-{anchor}").into(),
            others.join(", ").into(),
            (*age_seconds).into(),
            owner.clone().into(),
            recovery.clone().into(),
        ]
    });
    Ok(found.chain(left.problems.iter().map(|text| problem(text))).collect())
}

fn problem(text: &str) -> Row {
    let none = || Cell::from(None::<String>);
    vec![none(), Cell::from(text.to_owned()), none(), none(), none(), none(), none()]
}
