//! `SHOW DATABASES`.

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::view::View;
use super::{CONSOLE, Table};
use crate::databases::Database;

pub(super) static TABLE: Table = Table {
    name: "databases",
    about: "A database that clients may name, or that is known because one has named it.",
    columns: &COLUMNS,
    theirs: 17,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 19] = [
    text("name", "What clients call it."),
    text("host", "The host of the node that is the primary now."),
    int4("port", "Its port."),
    text("database", "What it is called on the nodes."),
    text("force_user", "The login at the nodes for all its clients; NULL: each client's own."),
    int4("pool_size", "Backends of a pool, at most."),
    int4("min_pool_size", "Backends of a pool that are kept open."),
    int4("reserve_pool_size", "Backends beyond `pool_size` for clients that wait for long."),
    int4("server_lifetime", "How old a backend may get, in seconds."),
    text("pool_mode", "For how long a client holds a backend; NULL: as `pool.mode`."),
    text(
        "load_balance_hosts",
        "How backends are spread over the hosts of the node that is the primary now; NULL if it has one. \
         Reads are balanced over nodes, see SHOW ROUTES.",
    ),
    int4("max_connections", "Backends at one node, at most; 0 is no limit."),
    int4("current_connections", "Backends, at all nodes together."),
    int4("max_client_connections", "Clients, at most; 0 is no limit."),
    int4("current_client_connections", "Clients that are logged in."),
    int4("paused", "1 if it is paused."),
    int4("disabled", "1 if new clients are refused."),
    text("group", "The group of nodes that serves it."),
    int4(
        "reserve_pool",
        "`reserve_pool_size` under the name it had before PgBouncer 1.24, which older tools ask for.",
    ),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let mut databases = view.proxy.databases.all();
    databases.sort_by(|one, other| one.name.cmp(&other.name));
    let mut rows: Vec<Row> = databases.iter().map(|database| row(database, view)).collect();
    let consoles = view.sum(|report| report.consoles);
    let number = Cell::Number;
    let mut console: Row = vec![CONSOLE.into(), Cell::Null];
    console.push(u32::from(view.proxy.admin.settings().listen.port).into());
    console.extend([CONSOLE.into(), CONSOLE.into(), number(2), number(0), number(0), number(0)]);
    console.extend(["statement".into(), Cell::Null, number(0), number(0), number(0)]);
    console.extend([consoles.into(), number(0), number(0), Cell::Null, number(0)]);
    rows.push(console);
    Ok(rows)
}

/// How the hosts are used of the node that is the database's primary now, if it has several.
pub(super) fn host_balance(database: &Database, view: &View<'_>) -> Cell {
    let topology = view.proxy.topology.load();
    let primary = topology.node(database.nodes(&topology).primary);
    let balance = Some(primary.balance).filter(|_| primary.host.contains(','));
    balance.map(|balance| balance.to_string()).into()
}

fn row(database: &Database, view: &View<'_>) -> Row {
    let all = view.proxy.admin.settings();
    let settings = database.settings();
    let topology = view.proxy.topology.load();
    let primary = topology.node(database.nodes(&topology).primary);
    let size = settings.pool_size.unwrap_or(all.pool.size);
    let min_idle = settings.min_idle.unwrap_or(all.pool.min_idle);
    let reserve = settings.reserve_size.unwrap_or(all.pool.reserve_size);
    let lifetime = settings.max_lifetime.unwrap_or(all.pool.max_lifetime);
    let most = settings.max_backends.unwrap_or(all.pool.max_backends_per_database);
    let of_it = |pool: &Database| pool.id == database.id;
    let backends = view.sum(|report| {
        let pools = report.pools.values().filter(|pool| of_it(&pool.database));
        pools.map(|pool| pool.counts.backends.total()).sum()
    });
    let login = Some(&settings.user).filter(|user| !user.is_empty());
    vec![
        database.name.to_string().into(),
        primary.host.to_string().into(),
        u32::from(primary.port).into(),
        database.on_nodes().into(),
        login.cloned().into(),
        size.into(),
        min_idle.into(),
        reserve.into(),
        lifetime.as_secs().into(),
        settings.pool_mode.map(|mode| mode.to_string()).into(),
        host_balance(database, view),
        most.into(),
        backends.into(),
        all.client_limit_of_database(&settings).unwrap_or(0).into(),
        database.client_count().into(),
        u32::from(database.is_paused()).into(),
        u32::from(database.is_disabled()).into(),
        Cell::shown(database.group),
        reserve.into(),
    ]
}
