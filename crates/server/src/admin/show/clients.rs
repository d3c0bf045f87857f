//! `SHOW CLIENTS`.

use super::super::report::{Connection, Scope, Side};
use super::super::table::{Cell, Column, Row, text};
use super::view::View;
use super::{Table, connections, join};

pub(super) static TABLE: Table = Table {
    name: "clients",
    about: "A client that is logged in, or a cancel request. States: `active` holds a backend or is \
            about to, `idle` does not, `waiting` waits for one, `active_cancel_req` has asked to \
            cancel something.",
    columns: &COLUMNS,
    theirs: 21,
    scope: Scope::Connections,
    rows,
};

const COLUMNS: [Column; 22] =
    join(connections::COLUMNS, [text("node", "The node of the backend that it holds.")]);

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let all = view.connections().into_iter();
    let clients = all.filter(|one| one.side == Side::Client && !one.is_logging_in);
    let row = |client: &Connection| {
        let mut row = connections::row(client, client.state.to_owned(), view);
        row.push(Cell::from(client.node.clone()));
        row
    };
    Ok(clients.map(row).collect())
}
