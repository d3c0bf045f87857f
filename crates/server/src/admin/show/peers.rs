//! `SHOW PEERS` and `SHOW PEER_POOLS`.

use super::super::report::Scope;
use super::super::table::{Column, Row, int4, text};
use super::Table;
use super::view::View;
use crate::reactor::MOST_FORWARDED;

pub(super) static TABLE: Table = Table {
    name: "peers",
    about: "Another process that cancel requests are passed on to.",
    columns: &COLUMNS,
    theirs: 4,
    scope: Scope::Sums,
    rows,
};

pub(super) static POOLS_TABLE: Table = Table {
    name: "peer_pools",
    about: "The connections to a peer.",
    columns: &POOLS_COLUMNS,
    theirs: 5,
    scope: Scope::Sums,
    rows: |_| Ok(Vec::new()),
};

const COLUMNS: [Column; 4] = [
    int4("peer_id", "Its number."),
    text("host", "Its host."),
    int4("port", "Its port."),
    int4("pool_size", "Connections to it, and to all others, at most."),
];

const POOLS_COLUMNS: [Column; 5] = [
    int4("peer_id", "Its number."),
    int4("cl_active_cancel_req", "Requests that it is dealing with."),
    int4("cl_waiting_cancel_req", "Requests that have not reached it yet."),
    int4("sv_active_cancel", "Connections that carry a request."),
    int4("sv_login", "Connections that are being opened."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let most = MOST_FORWARDED * view.proxy.cores;
    let settings = view.proxy.admin.settings();
    let peers = settings.peers.iter().map(|peer| {
        let (id, port) = (u32::from(peer.id), u32::from(peer.port));
        vec![id.into(), peer.host.clone().into(), port.into(), most.into()]
    });
    Ok(peers.collect())
}
