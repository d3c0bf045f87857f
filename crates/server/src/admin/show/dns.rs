//! `SHOW DNS_HOSTS` and `SHOW DNS_ZONES`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pgherd_core::hosts::Address;

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, int8, text};
use super::Table;
use super::view::View;

pub(super) static HOSTS_TABLE: Table = Table {
    name: "dns_hosts",
    about: "A host name of a node. A Unix socket is not looked up, and not among them.",
    columns: &HOSTS_COLUMNS,
    theirs: 3,
    scope: Scope::Sums,
    rows: hosts,
};

pub(super) static ZONES_TABLE: Table = Table {
    name: "dns_zones",
    about: "Always empty: names are looked up by the system, which knows no zones.",
    columns: &ZONES_COLUMNS,
    theirs: 3,
    scope: Scope::Sums,
    rows: |_| Ok(Vec::new()),
};

const HOSTS_COLUMNS: [Column; 3] = [
    text("hostname", "The name."),
    int8(
        "ttl",
        "After how many seconds it is looked up again, at most: `pool.dns_ttl`; `pool.dns_retry`, if it was not found.",
    ),
    text("addrs", "Where the nodes with this name are, with ports."),
];

const ZONES_COLUMNS: [Column; 3] = [
    text("zonename", "The zone."),
    int8("serial", "Its serial number."),
    int4("count", "Names in it."),
];

/// The names of nodes' hosts, where they are no addresses, and where they lead.
pub(super) fn names(view: &View<'_>) -> BTreeMap<String, Vec<Address>> {
    let topology = view.proxy.topology.load();
    let mut names: BTreeMap<String, Vec<Address>> = BTreeMap::new();
    for node in topology.nodes() {
        for (host, addresses) in view.proxy.addresses.hosts(node.id.index()) {
            if host.name.parse::<IpAddr>().is_err() && !host.is_socket() {
                names.entry(host.name.clone()).or_default().extend(addresses);
            }
        }
    }
    names
}

fn hosts(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let settings = view.proxy.admin.settings();
    let (ttl, retry) = (settings.pool.dns_ttl.as_secs(), settings.pool.dns_retry.as_secs());
    let rows = names(view).into_iter().map(|(name, addresses)| {
        let ttl = if addresses.is_empty() { retry } else { ttl };
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        vec![name.into(), ttl.into(), Cell::from(addresses.join(","))]
    });
    Ok(rows.collect())
}
