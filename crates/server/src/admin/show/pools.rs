//! `SHOW POOLS`.

use super::super::report::{PoolCounts, Scope};
use super::super::table::{Cell, Column, Row, int4, text};
use super::databases::host_balance;
use super::view::{PoolSum, View, split};
use super::{CONSOLE, Table};

pub(super) static TABLE: Table = Table {
    name: "pools",
    about: "A database and a login at the nodes: its pools at all nodes together.",
    columns: &COLUMNS,
    theirs: 17,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 18] = [
    text("database", "The database, as clients call it."),
    text("user", "The login at the nodes."),
    int4("cl_active", "Clients that hold a backend or are idle."),
    int4("cl_waiting", "Clients that wait for a backend."),
    int4("cl_active_cancel_req", "Cancel requests that a node is dealing with."),
    int4("cl_waiting_cancel_req", "Cancel requests that have not reached their node yet."),
    int4("sv_active", "Backends that clients hold."),
    int4("sv_active_cancel", "Connections that carry a cancel request."),
    int4("sv_being_canceled", "Backends that are free as soon as a cancel request is done with."),
    int4("sv_idle", "Backends that are lent unasked."),
    int4("sv_used", "Backends that were idle for longer than `pool.check_after`."),
    int4("sv_tested", "Backends that are being checked, cleaned or asked what they hold."),
    int4("sv_login", "Backends that are being opened."),
    int4("maxwait", "How long the first of the waiting clients has waited, in seconds."),
    int4("maxwait_us", "The microseconds behind that."),
    text("pool_mode", "For how long a client holds a backend."),
    text("load_balance_hosts", "As SHOW DATABASES says of its database."),
    int4("sv_pinned", "Those of `sv_active` that are pinned to their clients."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let mut rows: Vec<Row> = view.pools().map(|pool| row(&pool, view)).collect();
    let mut console: Row = vec![CONSOLE.into(), CONSOLE.into()];
    console.push(view.sum(|report| report.consoles).into());
    console.extend((3..15).map(|_| Cell::Number(0)));
    console.extend(["statement".into(), Cell::Null, Cell::Number(0)]);
    rows.push(console);
    Ok(rows)
}

fn row(pool: &PoolSum<'_>, view: &View<'_>) -> Row {
    let PoolCounts { clients, waiting, cancels, backends, oldest_wait } = &pool.counts;
    let [asked, unasked] = *cancels;
    let numbers = [
        *clients,
        *waiting,
        asked,
        unasked,
        backends.active,
        asked + unasked,
        backends.being_canceled,
        backends.idle,
        backends.used,
        backends.tested,
        backends.login,
    ];
    let mut row: Row = vec![pool.database.to_owned().into(), pool.user.to_owned().into()];
    row.extend(numbers.map(Cell::from));
    row.extend(split(view.since(*oldest_wait)).map(Cell::from));
    row.extend([Cell::shown(pool.mode), host_balance(pool.of, view), backends.pinned.into()]);
    row
}
