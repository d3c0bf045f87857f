//! `SHOW USERS`.

use pgherd_core::settings::UserSettings;

use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, int4, text};
use super::Table;
use super::view::View;
use crate::auth::UserId;

pub(super) static TABLE: Table = Table {
    name: "users",
    about: "A `[[user]]`, or one that `auth_query` has found and that has logged in.",
    columns: &COLUMNS,
    theirs: 8,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 8] = [
    text("name", "Its name."),
    text("pool_size", "Its own `pool_size`; empty: as the database's."),
    text("reserve_pool_size", "Its own `reserve_size`; empty: as the database's."),
    text("pool_mode", "Its own `pool_mode`; NULL: as the database's."),
    int4("max_user_connections", "Backends under it at one node, at most; 0 is no limit."),
    int4("current_connections", "Backends under it, at all nodes together."),
    int4("max_user_client_connections", "Clients under it, at most; 0 is no limit."),
    int4("current_client_connections", "Clients under it that are logged in."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let settings = view.proxy.admin.settings();
    let no_settings = UserSettings::default();
    let users = &view.proxy.users;
    let listed = settings.users.iter().enumerate().map(|(at, user)| {
        let id = UserId(u16::try_from(at).expect("settings hold fewer than 65536 users"));
        // RELOAD may have listed it since it was looked up, or the other way about.
        let ids = [Some(id), users.looked_up_as(&user.name)];
        (ids, user.name.as_str(), user)
    });
    let found = users.looked_up_users().map(|(id, name)| ([Some(id), None], name, &no_settings));
    let rows = listed.chain(found).map(|(ids, name, user)| {
        let backends = view.sum(|report| {
            let pools = report.pools.iter().filter(|((_, login), _)| ids.contains(&Some(*login)));
            pools.map(|(_, pool)| pool.counts.backends.total()).sum()
        });
        let clients = |id: &UserId| view.proxy.databases.clients_of(*id);
        let clients: usize = ids.iter().flatten().map(clients).sum();
        let own = |size: Option<u32>| Cell::from(size.map_or_else(String::new, |n| n.to_string()));
        let most = user.max_backends.unwrap_or(settings.pool.max_backends_per_user);
        vec![
            name.to_owned().into(),
            own(user.pool_size),
            own(user.reserve_size),
            user.pool_mode.map(|mode| mode.to_string()).into(),
            most.into(),
            backends.into(),
            settings.client_limit_of_user(user).unwrap_or(0).into(),
            clients.into(),
        ]
    });
    Ok(rows.collect())
}
