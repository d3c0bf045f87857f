//! `SHOW LISTS`.

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::View;

pub(super) static TABLE: Table = Table {
    name: "lists",
    about: "How many there are of something.",
    columns: &COLUMNS,
    theirs: 2,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 2] = [text("list", "Of what."), int4("items", "How many there are.")];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let consoles = view.sum(|report| report.consoles);
    let pools: Vec<_> = view.pools().collect();
    let free: usize = pools.iter().map(|pool| pool.counts.backends.free()).sum();
    let all: usize = pools.iter().map(|pool| pool.counts.backends.total()).sum();
    let lists = [
        ("databases", view.proxy.databases.all().len() + 1),
        ("users", view.proxy.admin.settings().users.len()),
        ("peers", view.proxy.admin.settings().peers.len()),
        ("pools", pools.len() + 1),
        ("peer_pools", super::peers::others(view).len()),
        // Those of PgBouncer are in memory that waits to be used. There is none.
        ("free_clients", 0),
        ("used_clients", view.sum(|report| report.clients) + consoles),
        ("login_clients", view.sum(|report| report.logging_in)),
        ("free_servers", free),
        ("used_servers", all - free),
        ("dns_names", super::dns::names(view).len()),
        ("dns_zones", 0),
        ("dns_queries", 0),
        ("dns_pending", 0),
    ];
    Ok(lists.map(|(list, items)| vec![Cell::from(list), items.into()]).into())
}
