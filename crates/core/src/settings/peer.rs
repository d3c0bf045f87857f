//! `[[peer]]`: other processes that requests to cancel may have been meant for.

use std::collections::HashSet;

use super::Settings;
use super::reader::Reader;
use super::section::{Range, Source};
use crate::hosts;

/// `[[peer]]`: another pgherd, or a PgBouncer, that clients reach at the same address as this one. A
/// request to cancel that belongs there is sent on. Needs `listen.peer_id`. The proxy only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PeerSettings {
    /// Its number: its own `listen.peer_id`, or the `peer_id` of a PgBouncer. Range: 1 to 16383.
    /// Required, unique. That of this process may be listed, too.
    pub id: u16,
    /// The host at which it, and no other, is reached: a name, an address or a Unix socket, or several
    /// as for a `[[node]]`. Required.
    pub host: String,
    /// The port, for hosts that have none. Range: 1 to 65535. Default: 6432.
    pub port: u16,
}

pub(super) fn peer_ids() -> Range<u16> {
    Range::Between(1..=16383)
}

impl PeerSettings {
    pub(super) fn read(reader: &mut Reader<'_, '_, '_>) -> Option<Self> {
        let port = reader.take("port", 6432, &Range::Between(1..=u16::MAX));
        let (id, host) = (reader.required("id"), reader.required("host"));
        Some(Self { id: id?, host: host?, port })
    }
}

/// What is wrong with the peers, with the path of each setting.
pub(super) fn check(settings: &Settings) -> Vec<(String, String)> {
    let (mut problems, mut ids) = (Vec::new(), HashSet::new());
    for PeerSettings { id, host, port } in &settings.peers {
        let mut problem = |text: String| problems.push((format!("peer.{id}"), text));
        if let Err(text) = peer_ids().check(id) {
            problem(format!("id: {text}"));
        } else if !ids.insert(id) {
            problem(format!("two peers have the id {id}"));
        }
        if let Err(text) = hosts::read(host, *port) {
            problem(format!("host: {text}"));
        }
    }
    if !settings.peers.is_empty() && settings.listen.peer_id == 0 {
        let text = "is required where there is a [[peer]]: the number of this process".to_owned();
        problems.push(("listen.peer_id".to_owned(), text));
    }
    problems
}
