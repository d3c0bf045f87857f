//! What `SHOW CLIENTS`, `SHOW SERVERS` and `SHOW SOCKETS` say alike of a connection.

use super::super::report::{Connection, Side};
use super::super::table::{Cell, Column, Row, int4, text};
use super::view::{View, split};
use crate::session::Replication;

pub(super) const COLUMNS: [Column; 21] = [
    text("type", "C is a client, S a backend."),
    text("user", "The user; of a backend its login at the node."),
    text("database", "The database, as clients call it."),
    text("replication", "none, logical or physical."),
    text("state", "What it does: see below."),
    text("addr", "The peer's address."),
    int4("port", "The peer's port."),
    text("local_addr", "The address on this side."),
    int4("local_port", "The port on this side."),
    text("connect_time", "When it was connected."),
    text("request_time", "When it last had something to do, or had it no more."),
    int4("wait", "How long it has waited for a backend, in seconds."),
    int4("wait_us", "The microseconds behind that."),
    int4("close_needed", "1 if the backend is closed as soon as it is free."),
    text("ptr", "Which it is, as long as it lasts."),
    text(
        "link",
        "The `ptr` of the backend that the client holds, and of the client that holds it.",
    ),
    int4("remote_pid", "The process id of the backend at its node."),
    text("tls", "The encryption; empty where there is none."),
    text("application_name", "What the client calls itself."),
    int4("prepared_statements", "Statements that are prepared under names."),
    int4("id", "Which it is, never given to another: what KILL_CLIENT takes."),
];

/// All of them but for the state, which is said by the caller.
pub(super) fn row(connection: &Connection, state: String, view: &View<'_>) -> Row {
    let is_client = connection.side == Side::Client;
    let pointer = |key: u64| format!("0x{key:x}");
    let unknown = |what: &'static str| move || what.to_owned();
    let mut row: Row = vec![
        Cell::from(if is_client { "C" } else { "S" }),
        connection.user.clone().unwrap_or_else(unknown("(nouser)")).into(),
        connection.database.clone().unwrap_or_else(unknown("(nodb)")).into(),
        Cell::from(match connection.replication {
            None => "none",
            Some(Replication::Logical) => "logical",
            Some(Replication::Physical) => "physical",
        }),
        state.into(),
    ];
    for side in [connection.peer, connection.local] {
        let ip = side.ip.map_or_else(unknown("unix"), |ip| ip.to_string());
        let port = side.port.unwrap_or_else(|| view.proxy.admin.settings().listen.port);
        row.extend([Cell::from(ip), u32::from(port).into()]);
    }
    for at in [connection.connected_at, connection.requested_at] {
        row.push(view.proxy.admin.wall_time(at).into());
    }
    row.extend(split(view.since(connection.waits_since)).map(Cell::from));
    row.extend([
        u32::from(connection.close_needed).into(),
        pointer(connection.key).into(),
        connection.link.map_or_else(String::new, pointer).into(),
        connection.remote_pid.into(),
        connection.tls.clone().into(),
        connection.application_name.clone().into(),
        connection.prepared.into(),
        connection.id.into(),
    ]);
    row
}
