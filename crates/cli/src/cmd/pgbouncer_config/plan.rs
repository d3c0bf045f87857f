//! Which PgBouncers there are, and which database aliases each has.
//!
//! In: settings, a layout. Out: a [`Bouncer`] for each file to be written.

use std::net::IpAddr;

use anyhow::{Result, bail};
use pgherd_core::hosts;
use pgherd_core::settings::{ChannelBinding, NodeSettings, TlsMode};
use pgherd_core::{NodeRole, Settings, ShardId};

/// How PgBouncers are spread over the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    OneForAll,
    PerNode,
}

/// One PgBouncer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bouncer {
    /// The node it stands in front of; `None` for all.
    pub(super) node: Option<String>,
    pub(super) listen: IpAddr,
    pub(super) port: u16,
    pub(super) aliases: Vec<Alias>,
}

/// A name that clients give as the database, and where it leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Alias {
    pub(super) name: String,
    /// Host and port of each server behind it.
    pub(super) servers: Vec<(String, u16)>,
    pub(super) about: String,
}

/// The database that is PgBouncer's own console.
const CONSOLE: &str = "pgbouncer";

/// # Errors
/// When PgBouncer cannot have a database of some name, or not the TLS that is asked for, or there
/// are too few ports.
pub(super) fn plan(
    settings: &Settings,
    layout: Layout,
    listen: IpAddr,
    port: u16,
) -> Result<Vec<Bouncer>> {
    let tls = &settings.tls;
    let is_named = |node: &NodeSettings| !node.server_name.is_empty();
    let has_names = !tls.server_name.is_empty() || settings.nodes.iter().any(is_named);
    if tls.mode == TlsMode::VerifyFull && has_names {
        bail!("PgBouncer compares a server's certificate with its host, and knows no server_name");
    }
    if tls.channel_binding == ChannelBinding::Require {
        bail!("PgBouncer cannot bind its logins to TLS, as tls.channel_binding requires");
    }
    let database = &settings.cluster.database;
    let bouncers = match layout {
        Layout::OneForAll => {
            vec![Bouncer { node: None, listen, port, aliases: all_aliases(settings) }]
        }
        Layout::PerNode => {
            let mut bouncers = Vec::new();
            for (node, offset) in settings.nodes.iter().zip(0..) {
                let Some(port) = port.checked_add(offset) else {
                    bail!("{} nodes need as many ports from {port} on", settings.nodes.len());
                };
                let project = alias(database, [node], format!("the database on {}", node.name));
                let own = alias(&node.name, [node], "the same by the node's name".to_owned());
                let name = Some(node.name.clone());
                let aliases = without_doubles(vec![project, own]);
                bouncers.push(Bouncer { node: name, listen, port, aliases });
            }
            bouncers
        }
    };
    for Alias { name, .. } in bouncers.iter().flat_map(|bouncer| &bouncer.aliases) {
        if name == CONSOLE {
            bail!("a database or node cannot be called `{CONSOLE}`: that is PgBouncer's console");
        }
        // What its parser takes. The manual tells of names in double quotes, which it refuses.
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)) {
            bail!("PgBouncer cannot have `{name}` as a database: only letters, digits, `_.-`");
        }
    }
    Ok(bouncers)
}

/// The project's alias, one for each node, and those shared by all nodes of a kind.
fn all_aliases(settings: &Settings) -> Vec<Alias> {
    let nodes = &settings.nodes;
    let database = &settings.cluster.database;
    let of = |role: NodeRole, shard: Option<ShardId>| {
        nodes.iter().filter(move |node| node.role == role && node.shard == shard)
    };
    let mut aliases = vec![alias(
        database,
        of(NodeRole::Coordinator, None),
        "the project: the coordinator".into(),
    )];
    aliases.extend(nodes.iter().map(|node| alias(&node.name, [node], describe(node))));
    let mut shards: Vec<ShardId> = nodes.iter().filter_map(|node| node.shard).collect();
    shards.sort_unstable();
    shards.dedup();
    let groups = std::iter::once(None).chain(shards.into_iter().map(Some));
    for shard in groups {
        let (group, primary, role) = match shard {
            None => ("coordinator".to_owned(), "the coordinator".to_owned(), NodeRole::Coordinator),
            Some(shard) => (
                format!("shard_{shard}"),
                format!("the primary of shard {shard}"),
                NodeRole::Worker,
            ),
        };
        aliases.push(alias(&format!("shared_{group}"), of(role, shard), primary.clone()));
        let replicas = of(NodeRole::Replica, shard);
        let about = format!("the replicas of {primary}, in turn for each connection");
        aliases.push(alias(&format!("shared_{group}_replicas"), replicas, about));
    }
    aliases.retain(|alias| !alias.servers.is_empty());
    without_doubles(aliases)
}

fn alias<'n>(
    name: &str,
    nodes: impl IntoIterator<Item = &'n NodeSettings>,
    about: String,
) -> Alias {
    let hosts = |node: &NodeSettings| {
        hosts::read(&node.host, node.port).expect("the settings' hosts were checked")
    };
    let hosts = nodes.into_iter().flat_map(hosts);
    let servers = hosts.map(|host| (host.name, host.port)).collect();
    Alias { name: name.to_owned(), servers, about }
}

fn describe(node: &NodeSettings) -> String {
    match (node.role, node.shard) {
        (NodeRole::Coordinator, _) => "the coordinator".to_owned(),
        (NodeRole::Worker, Some(shard)) => format!("the primary of shard {shard}"),
        (_, Some(shard)) => format!("a replica of shard {shard}"),
        (_, None) => "a replica of the coordinator".to_owned(),
    }
}

/// The first of a name stays: the project's before a node's before a shared one.
fn without_doubles(mut aliases: Vec<Alias>) -> Vec<Alias> {
    let mut names: Vec<String> = Vec::new();
    aliases.retain(|alias| {
        let is_new = !names.contains(&alias.name);
        names.push(alias.name.clone());
        is_new
    });
    aliases
}

/// The variables by which the library finds the PgBouncers in front of the nodes. The password
/// is for the reader to add.
pub(super) fn environment(settings: &Settings, bouncers: &[Bouncer]) -> String {
    let mut text = String::new();
    let lists = [
        (NodeRole::Coordinator, "COORDINATOR_HOST", None),
        (NodeRole::Worker, "WORKER_HOSTS", Some("WORKER_SHARD_IDS")),
        (NodeRole::Replica, "REPLICA_HOSTS", Some("REPLICA_SHARD_IDS")),
    ];
    for (role, hosts, ids) in lists {
        let of_role = || settings.nodes.iter().zip(bouncers).filter(|(node, _)| node.role == role);
        if of_role().next().is_none() {
            continue;
        }
        let address = |(_, bouncer): (&NodeSettings, &Bouncer)| {
            std::net::SocketAddr::new(bouncer.listen, bouncer.port).to_string()
        };
        text += &format!("{hosts}={}\n", of_role().map(address).collect::<Vec<_>>().join(","));
        if let Some(ids) = ids {
            let id = |(node, _): (&NodeSettings, &Bouncer)| {
                node.shard.map_or(String::new(), |shard| shard.to_string())
            };
            text += &format!("{ids}={}\n", of_role().map(id).collect::<Vec<_>>().join(","));
        }
    }
    text += &format!("COORDINATOR_DB={}\n", settings.cluster.database);
    if let Some(user) = settings.users.first() {
        text += &format!("COORDINATOR_USER={}\n", user.name);
    }
    text
}
