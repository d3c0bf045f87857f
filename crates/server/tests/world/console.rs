//! The console of a world's proxy.

use std::collections::BTreeMap;

use pgherd_core::Settings;
use pgherd_core::settings::{Secret, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, cluster};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, SimpleQueryRow};

use super::World;

/// A row of a table: the texts of its columns by their names.
pub type Row = BTreeMap<String, String>;

pub const ADMIN: &str = "dba";
pub const STATS: &str = "metrics";

/// The application's user may not; one user may do everything, and one may look.
pub fn with_consoles(settings: &mut Settings) {
    let user = |name: &str| UserSettings {
        name: name.to_owned(),
        password: Secret::new(cluster::PASSWORD),
        ..UserSettings::default()
    };
    settings.users.extend([user(ADMIN), user(STATS)]);
    settings.listen.admin_users = vec![ADMIN.to_owned()];
    settings.listen.stats_users = vec![STATS.to_owned()];
}

pub fn start(replicas: u16, more: &str) -> World {
    let spec = ClusterSpec { coordinator_replicas: replicas, ..ClusterSpec::default() };
    World::before(Cluster::start(&spec).unwrap(), with_consoles, more)
}

pub async fn console(world: &World, user: &str) -> Client {
    let (ip, port) = (world.address().ip(), world.address().port());
    let password = cluster::PASSWORD;
    let options = format!("host={ip} port={port} user={user} password={password} dbname=pgbouncer");
    let (client, connection) = tokio_postgres::connect(&options, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The rows of a table, by the text of their columns.
pub async fn show(console: &Client, table: &str) -> Vec<Row> {
    let messages = console.simple_query(&format!("SHOW {table}")).await.unwrap();
    let row = |row: &SimpleQueryRow| {
        let columns = row.columns().iter().enumerate();
        let value = |at: usize| row.get(at).unwrap_or("NULL").to_owned();
        columns.map(|(at, column)| (column.name().to_owned(), value(at))).collect()
    };
    let rows = messages.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(found) => Some(row(found)),
        _ => None,
    });
    rows.collect()
}

/// The row whose column has this value.
pub fn find<'r>(rows: &'r [Row], column: &str, value: &str) -> &'r Row {
    let found = rows.iter().find(|row| row[column] == value);
    found.unwrap_or_else(|| panic!("no {column} is {value}: {rows:#?}"))
}

/// Waits until a column of the first row of a table with this value in another is so.
pub async fn until(
    console: &Client,
    table: &str,
    [key, value]: [&str; 2],
    [column, is]: [&str; 2],
) {
    loop {
        let rows = show(console, table).await;
        if rows.iter().any(|row| row[key] == value && row[column] == is) {
            return;
        }
        tokio::task::yield_now().await;
    }
}
