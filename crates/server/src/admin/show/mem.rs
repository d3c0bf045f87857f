//! `SHOW MEM`.

use std::sync::atomic::Ordering;

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::View;
use crate::reactor;

pub(super) static TABLE: Table = Table {
    name: "mem",
    about: "A kind of thing that is kept in memory. `process` is all that the process holds, where \
            `listen.memory_limit` has it looked at.",
    columns: &COLUMNS,
    theirs: 5,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 5] = [
    text("name", "What it is."),
    int4("size", "Bytes of one, but for what it points to."),
    int4("used", "How many there are."),
    int4("free", "How many there is room for beside them; always 0."),
    int4("memtotal", "Bytes of all of them."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let [client, backend] = reactor::sizes();
    let clients = view.sum(|report| report.clients + report.consoles + report.logging_in);
    let backends = view.sum(|report| report.nodes.iter().map(|node| node.backends.total()).sum());
    let of_one = |name: &'static str, size: usize, used: usize| {
        let [size, used, all] = [size, used, size * used].map(Cell::from);
        vec![Cell::from(name), size, used, Cell::Number(0), all]
    };
    let resident = view.proxy.resident.load(Ordering::Relaxed);
    let mut process: Row = vec!["process".into()];
    process.extend([resident, 1, 0, resident].map(Cell::Number));
    Ok(vec![of_one("client", client, clients), of_one("backend", backend, backends), process])
}
