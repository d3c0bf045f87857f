//! `SHOW SOCKETS` and `SHOW ACTIVE_SOCKETS`.

use super::super::report::{Connection, Scope, Side};
use super::super::table::{Cell, Column, Row, int4};
use super::view::View;
use super::{Table, connections, join};

pub(super) static TABLE: Table = Table {
    name: "sockets",
    about: "A connection of either side. Its state begins with `cl_` or `sv_`.",
    columns: &COLUMNS,
    theirs: 28,
    scope: Scope::Connections,
    rows: |view| Ok(view.connections().into_iter().map(|one| row(one, view)).collect()),
};

pub(super) static ACTIVE_TABLE: Table = Table {
    name: "active_sockets",
    about: "A connection with bytes that were not passed on yet.",
    columns: &COLUMNS,
    theirs: 28,
    scope: Scope::Connections,
    rows: |view| {
        let all = view.connections().into_iter();
        let busy = all.filter(|one| one.unread + one.unsent > 0);
        Ok(busy.map(|one| row(one, view)).collect())
    },
};

const COLUMNS: [Column; 28] = join(
    connections::COLUMNS,
    [
        int4("recv_pos", "Always 0."),
        int4("pkt_pos", "Always 0."),
        int4("pkt_remain", "Always 0."),
        int4("send_pos", "Always 0."),
        int4("send_remain", "Bytes that the socket has not taken yet."),
        int4("pkt_avail", "Bytes read and not passed on yet."),
        int4("send_avail", "Bytes that the socket has not taken yet."),
    ],
);

fn row(connection: &Connection, view: &View<'_>) -> Row {
    let state = match (connection.side, connection.state) {
        (Side::Client, state) => format!("cl_{state}"),
        (Side::Backend, "new") => "sv_login".to_owned(),
        (Side::Backend, state) => format!("sv_{state}"),
    };
    let mut row = connections::row(connection, state, view);
    row.extend([0, 0, 0, 0].map(Cell::Number));
    let Connection { unread, unsent, .. } = connection;
    row.extend([*unsent, *unread, *unsent].map(Cell::from));
    row
}
