//! Settings as the text of a file: what is not as it would be by itself.

use std::fmt::Write;

use super::section::Section;
use super::value::{Value, quoted};
use super::{DatabaseSettings, NodeSettings, PeerSettings, Secret, Settings, UserSettings};

/// Names and values, in TOML.
type Lines = Vec<(&'static str, String)>;

pub(super) fn write(settings: &Settings) -> String {
    let mut text = String::new();
    table(&mut text, "[cluster]", settings.cluster.changed());
    settings.nodes.iter().for_each(|one| table(&mut text, "[[node]]", node(one)));
    settings.users.iter().for_each(|one| table(&mut text, "[[user]]", user(one)));
    settings.databases.iter().for_each(|one| table(&mut text, "[[database]]", database(one)));
    settings.peers.iter().for_each(|one| table(&mut text, "[[peer]]", peer(one)));
    table(&mut text, "[listen]", settings.listen.changed());
    table(&mut text, "[pool]", settings.pool.changed());
    table(&mut text, "[health]", settings.health.changed());
    table(&mut text, "[retry]", settings.retry.changed());
    table(&mut text, "[routing]", settings.routing.changed());
    table(&mut text, "[transactions]", settings.transactions.changed());
    table(&mut text, "[tls]", settings.tls.changed());
    table(&mut text, "[client_tls]", settings.client_tls.changed());
    table(&mut text, "[http]", settings.http.changed());
    table(&mut text, "[tcp]", settings.tcp.changed());
    table(&mut text, "[log]", settings.log.changed());
    text
}

fn table(text: &mut String, heading: &str, lines: Lines) {
    if lines.is_empty() {
        return;
    }
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(heading);
    text.push('\n');
    for (name, value) in lines {
        writeln!(text, "{name} = {value}").expect("writing to a String cannot fail");
    }
}

/// A value that is there, or is not as it would be by itself.
fn one<T: Value>(name: &'static str, value: &T, default: &T) -> Option<(&'static str, String)> {
    (value != default).then(|| (name, value.to_toml()))
}

fn optional<T: Value>(name: &'static str, value: Option<&T>) -> Option<(&'static str, String)> {
    value.map(|value| (name, value.to_toml()))
}

fn node(node: &NodeSettings) -> Lines {
    let NodeSettings {
        name,
        host,
        port,
        role,
        shard,
        weight,
        zone,
        server_name,
        load_balance_hosts,
    } = node;
    let none = String::new();
    [
        one("name", name, &none),
        Some(("host", host.to_toml())),
        one("port", port, &5432),
        Some(("role", role.to_toml())),
        shard.map(|shard| ("shard", shard.0.to_string())),
        one("weight", weight, &1),
        one("zone", zone, &none),
        one("server_name", server_name, &none),
        optional("load_balance_hosts", load_balance_hosts.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn peer(peer: &PeerSettings) -> Lines {
    let PeerSettings { id, host, port } = peer;
    let lines =
        [Some(("id", id.to_toml())), Some(("host", host.to_toml())), one("port", port, &6432)];
    lines.into_iter().flatten().collect()
}

fn user(user: &UserSettings) -> Lines {
    let none = UserSettings::default();
    let UserSettings {
        name,
        password,
        password_file,
        password_command,
        passfile,
        password_hash,
        nodes_only,
        pool_mode,
        pool_size,
        reserve_size,
        max_backends,
        max_clients,
        acquire_timeout,
        query_timeout,
        transaction_timeout,
        idle_transaction_timeout,
        client_idle_timeout,
    } = user;
    // Elsewhere a secret is written as nothing.
    let secret =
        |name, secret: &Secret| (!secret.is_empty()).then(|| (name, quoted(secret.expose())));
    [
        Some(("name", name.to_toml())),
        secret("password", password),
        one("password_file", password_file, &none.password_file),
        one("password_command", password_command, &none.password_command),
        one("passfile", passfile, &none.passfile),
        secret("password_hash", password_hash),
        one("nodes_only", nodes_only, &false),
        optional("pool_mode", pool_mode.as_ref()),
        optional("pool_size", pool_size.as_ref()),
        optional("reserve_size", reserve_size.as_ref()),
        optional("max_backends", max_backends.as_ref()),
        optional("max_clients", max_clients.as_ref()),
        optional("acquire_timeout", acquire_timeout.as_ref()),
        optional("query_timeout", query_timeout.as_ref()),
        optional("transaction_timeout", transaction_timeout.as_ref()),
        optional("idle_transaction_timeout", idle_transaction_timeout.as_ref()),
        optional("client_idle_timeout", client_idle_timeout.as_ref()),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn database(database: &DatabaseSettings) -> Lines {
    let none = DatabaseSettings::default();
    let DatabaseSettings {
        name,
        database: on_nodes,
        shard,
        user,
        pool_mode,
        pool_size,
        min_idle,
        reserve_size,
        max_backends,
        max_clients,
        acquire_timeout,
        max_lifetime,
        connect_query,
        application_name,
        client_encoding,
        datestyle,
        timezone,
        auth_user,
        auth_query,
        auth_database,
    } = database;
    [
        Some(("name", name.to_toml())),
        one("database", on_nodes, &none.database),
        shard.map(|shard| ("shard", shard.0.to_string())),
        one("user", user, &none.user),
        optional("pool_mode", pool_mode.as_ref()),
        optional("pool_size", pool_size.as_ref()),
        optional("min_idle", min_idle.as_ref()),
        optional("reserve_size", reserve_size.as_ref()),
        optional("max_backends", max_backends.as_ref()),
        optional("max_clients", max_clients.as_ref()),
        optional("acquire_timeout", acquire_timeout.as_ref()),
        optional("max_lifetime", max_lifetime.as_ref()),
        one("connect_query", connect_query, &none.connect_query),
        one("application_name", application_name, &none.application_name),
        one("client_encoding", client_encoding, &none.client_encoding),
        one("datestyle", datestyle, &none.datestyle),
        one("timezone", timezone, &none.timezone),
        one("auth_user", auth_user, &none.auth_user),
        one("auth_query", auth_query, &none.auth_query),
        one("auth_database", auth_database, &none.auth_database),
    ]
    .into_iter()
    .flatten()
    .collect()
}
