//! `SHOW CONFIG`.

use std::collections::BTreeMap;
use std::time::Duration;

use pgherd_core::Settings;
use pgherd_core::settings::reference;

use super::super::live;
use super::super::report::Scope;
use super::super::table::{Cell, Column, Row, text};
use super::Table;
use super::view::View;
use crate::reactor::whole_seconds;

pub(super) static TABLE: Table = Table {
    name: "config",
    about: "A setting: pgherd's own, as `section.name`, and those of PgBouncer that mean the same, under \
            its names and in its units.",
    columns: &COLUMNS,
    theirs: 4,
    scope: Scope::Sums,
    rows,
};

const COLUMNS: [Column; 4] = [
    text("key", "Its name."),
    text("value", "Its value."),
    text("default", "Its default; NULL if there is none."),
    text("changeable", "yes if SET changes it."),
];

fn rows(view: &View<'_>) -> Result<Vec<Row>, &'static str> {
    let settings = view.proxy.admin.settings();
    let defaults = Settings::default();
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut add = |key: String, value: String, default: Option<String>| {
        let is_changeable = Cell::yes_no(live::is_changeable(&key));
        let row = vec![key.clone().into(), value.into(), default.into(), is_changeable];
        rows.insert(key, row);
    };
    for (setting, value) in reference().into_iter().zip(settings.values()) {
        add(format!("{}.{}", setting.section, setting.name), value, Some(setting.default));
    }
    for ((key, value), (_, default)) in theirs(&settings).into_iter().zip(theirs(&defaults)) {
        add(key.to_owned(), value, Some(default));
    }
    Ok(rows.into_values().collect())
}

/// Those of PgBouncer's that mean the same as some of ours.
fn theirs(settings: &Settings) -> Vec<(&'static str, String)> {
    let Settings { listen, pool, tcp, log, .. } = settings;
    let seconds = |duration: Duration| super::view::seconds(duration);
    let flag = |is_set: bool| u8::from(is_set).to_string();
    vec![
        ("admin_users", listen.admin_users.join(", ")),
        ("application_name_add_host", flag(listen.application_name_add_host)),
        ("auth_type", listen.auth.to_string()),
        ("cancel_wait_timeout", seconds(listen.cancel_wait_timeout)),
        ("client_idle_timeout", seconds(listen.client_idle_timeout)),
        ("client_login_timeout", seconds(listen.login_timeout)),
        ("default_pool_size", pool.size.to_string()),
        ("disable_pqexec", flag(!listen.simple_queries)),
        ("dns_max_ttl", seconds(pool.dns_ttl)),
        ("dns_nxdomain_ttl", seconds(pool.dns_retry)),
        ("idle_transaction_timeout", seconds(listen.idle_transaction_timeout)),
        ("listen_addr", listen.address.clone()),
        ("log_connections", flag(log.connections)),
        ("log_disconnections", flag(log.disconnections)),
        ("log_pooler_errors", flag(log.client_errors)),
        ("log_stats", flag(log.statistics)),
        ("listen_backlog", listen.backlog.to_string()),
        ("listen_port", listen.port.to_string()),
        ("login_notify_message", listen.login_notice.clone()),
        ("scram_iterations", listen.scram_iterations.to_string()),
        ("so_reuseport", flag(listen.reuse_port)),
        ("unix_socket_dir", listen.unix_socket_dir.clone()),
        ("unix_socket_group", listen.unix_socket_group.clone()),
        ("unix_socket_mode", listen.unix_socket_mode.clone()),
        ("max_client_conn", listen.max_clients.to_string()),
        ("max_db_client_connections", listen.max_clients_per_database.to_string()),
        ("max_db_connections", pool.max_backends_per_database.to_string()),
        ("max_packet_size", listen.message_limit.0.to_string()),
        ("max_user_client_connections", listen.max_clients_per_user.to_string()),
        ("max_user_connections", pool.max_backends_per_user.to_string()),
        ("min_pool_size", pool.min_idle.to_string()),
        ("pool_mode", pool.mode.to_string()),
        ("query_timeout", seconds(listen.query_timeout)),
        ("query_wait_notify", seconds(listen.wait_notice)),
        ("query_wait_timeout", seconds(pool.acquire_timeout)),
        ("reserve_pool_size", pool.reserve_size.to_string()),
        ("reserve_pool_timeout", seconds(pool.reserve_after)),
        ("server_check_delay", seconds(pool.check_after)),
        ("server_check_query", pool.check_query.clone()),
        ("server_connect_timeout", seconds(pool.connect_timeout)),
        ("server_fast_close", flag(pool.fast_close)),
        ("server_idle_timeout", seconds(pool.idle_timeout)),
        ("server_lifetime", seconds(pool.max_lifetime)),
        ("server_login_retry", seconds(pool.open_retry)),
        ("server_reset_query", pool.reset_query.clone()),
        ("server_reset_query_always", flag(pool.reset_always)),
        ("server_round_robin", flag(pool.round_robin)),
        ("stats_period", seconds(listen.stats_period)),
        ("suspend_timeout", seconds(listen.suspend_timeout)),
        ("stats_users", listen.stats_users.join(", ")),
        ("syslog", flag(log.syslog)),
        ("syslog_facility", log.syslog_facility.to_string()),
        ("syslog_ident", log.syslog_ident.clone()),
        ("tcp_keepalive", flag(tcp.keepalive)),
        ("tcp_keepcnt", tcp.keepalive_count.to_string()),
        ("tcp_keepidle", whole_seconds(tcp.keepalive_after).as_secs().to_string()),
        ("tcp_keepintvl", whole_seconds(tcp.keepalive_interval).as_secs().to_string()),
        ("tcp_socket_buffer", tcp.buffer.0.to_string()),
        ("tcp_user_timeout", pool.tcp_user_timeout.as_millis().to_string()),
        ("transaction_timeout", seconds(listen.transaction_timeout)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_shown_as_the_system_is_told_of_them() {
        let mut settings = Settings::default();
        settings.tcp.keepalive_after = Duration::from_millis(89_001);
        settings.tcp.keepalive_interval = Duration::from_millis(1_500);
        let shown = theirs(&settings);
        for (key, value) in [("tcp_keepidle", "90"), ("tcp_keepintvl", "2")] {
            assert!(shown.contains(&(key, value.to_owned())), "{shown:?}");
        }
    }
}
