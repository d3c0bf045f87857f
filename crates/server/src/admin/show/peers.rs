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
    about: "Cancel requests on their way to a peer: each has a connection of its own.",
    columns: &POOLS_COLUMNS,
    theirs: 5,
    scope: Scope::Sums,
    rows: pools,
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

/// The places of all peers but this process itself, with their numbers.
pub(super) fn others(view: &View<'_>) -> Vec<(u16, usize)> {
    let Some(peers) = &view.proxy.peers else { return Vec::new() };
    let settings = view.proxy.admin.settings();
    settings.peers.iter().filter_map(|peer| Some((peer.id, peers.place(peer.id)?))).collect()
}

fn pools(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let rows = others(view).into_iter().map(|(id, place)| {
        let of_core = |at: usize| view.sum(|core| core.for_peers.get(&place).map_or(0, |n| n[at]));
        let [reached, unreached] = [0, 1].map(of_core);
        vec![
            u32::from(id).into(),
            reached.into(),
            unreached.into(),
            reached.into(),
            unreached.into(),
        ]
    });
    Ok(rows.collect())
}

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let most = MOST_FORWARDED * view.proxy.cores;
    let settings = view.proxy.admin.settings();
    let peers = settings.peers.iter().map(|peer| {
        let (id, port) = (u32::from(peer.id), u32::from(peer.port));
        vec![id.into(), peer.host.clone().into(), port.into(), most.into()]
    });
    Ok(peers.collect())
}
