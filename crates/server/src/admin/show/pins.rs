//! `SHOW PINS`.

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::{View, split};
use crate::pins::Pin;

pub(super) static TABLE: Table = Table {
    name: "pins",
    about: "A session that is pinned to its backend, because it holds what cannot be had elsewhere.",
    columns: &COLUMNS,
    theirs: 0,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 9] = [
    text("node", "The node of its backend."),
    text("database", "The database, as its client calls it."),
    text("user", "The login."),
    int4("client", "The process id that the client was told."),
    int4("backend", "The process id of the backend at the node."),
    text("holds", "What the session holds."),
    text("statement", "The beginning of the statement that has most likely caused it."),
    int4("held", "For how long it is pinned, in seconds."),
    int4("held_us", "The microseconds behind that."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let row = |pin: Pin| {
        let held = split(view.since(Some(pin.since)));
        let Pin { node, database, user, client, backend, holds, statement, .. } = pin;
        let mut row: Row = [node, database, user].map(Cell::from).into();
        row.extend([client, backend].map(Cell::from));
        row.extend([holds, statement].map(Cell::from));
        row.extend(held.map(Cell::from));
        row
    };
    Ok(view.proxy.pins.all().into_iter().map(row).collect())
}
