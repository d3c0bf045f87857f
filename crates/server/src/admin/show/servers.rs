//! `SHOW SERVERS`.

use super::super::report::{Connection, Scope, Side};
use super::super::table::{Cell, Column, Row, int4, text};
use super::view::View;
use super::{Table, connections, join};

pub(super) static TABLE: Table = Table {
    name: "servers",
    about: "A backend. States: `active` is held by a client, `idle` is free, `used` is free and has \
            been for longer than `pool.check_after`, `tested` is being checked, cleaned or asked, \
            `new` is being opened, `being_canceled` is free once a cancel request is done with.",
    columns: &COLUMNS,
    theirs: 21,
    scope: Scope::Connections,
    rows,
};

const COLUMNS: [Column; 23] = join(
    connections::COLUMNS,
    [text("node", "Its node."), int4("pinned", "1 if it is pinned to its client: see SHOW PINS.")],
);

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let all = view.connections().into_iter().filter(|one| one.side == Side::Backend);
    let row = |backend: &Connection| {
        let mut row = connections::row(backend, backend.state.to_owned(), view);
        row.push(Cell::from(backend.node.clone()));
        row.push(u32::from(backend.is_pinned).into());
        row
    };
    Ok(all.map(row).collect())
}
