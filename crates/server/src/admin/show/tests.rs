use std::collections::HashSet;

use super::super::table::Type;
use super::*;

#[test]
fn each_table_and_each_of_its_columns_has_a_name_of_its_own() {
    let mut names = HashSet::new();
    for table in ALL {
        assert!(names.insert(table.name), "{table:?}");
        assert_eq!(find(table.name), Some(table));
        let mut columns = HashSet::new();
        assert!(table.columns.iter().all(|column| columns.insert(column.name)), "{table:?}");
        assert!(table.theirs <= table.columns.len(), "{table:?}");
    }
}

/// As pgbouncer-admin has them: `t` is text, `i` int4, `q` int8, `n` numeric.
fn is(table: &str, columns: &str) {
    let table = find(table).unwrap();
    let letter = |of| match of {
        Type::Text => 't',
        Type::Int4 => 'i',
        Type::Int8 => 'q',
        Type::Numeric => 'n',
    };
    let theirs = table.columns[..table.theirs].iter();
    let found: Vec<String> =
        theirs.map(|column| format!("{} {}", column.name, letter(column.of))).collect();
    assert_eq!(found.join(", "), columns, "{table:?}");
}

const CONNECTION: &str = "type t, user t, database t, replication t, state t, addr t, port i, \
    local_addr t, local_port i, connect_time t, request_time t, wait i, wait_us i, close_needed i, \
    ptr t, link t, remote_pid i, tls t, application_name t, prepared_statements i, id i";

#[test]
fn pgbouncers_columns_are_in_its_order_and_of_its_types() {
    is(
        "databases",
        "name t, host t, port i, database t, force_user t, pool_size i, min_pool_size i, \
         reserve_pool_size i, server_lifetime i, pool_mode t, load_balance_hosts t, \
         max_connections i, current_connections i, max_client_connections i, \
         current_client_connections i, paused i, disabled i",
    );
    is(
        "pools",
        "database t, user t, cl_active i, cl_waiting i, cl_active_cancel_req i, \
         cl_waiting_cancel_req i, sv_active i, sv_active_cancel i, sv_being_canceled i, sv_idle i, \
         sv_used i, sv_tested i, sv_login i, maxwait i, maxwait_us i, pool_mode t, \
         load_balance_hosts t",
    );
    let counted = "server_assignment_count xact_count query_count";
    let times = "xact_time query_time wait_time";
    let more = "client_parse_count server_parse_count bind_count client_login_count";
    let columns = |lead: &str, bytes: &str, more_lead: &str| -> String {
        let leads = [(lead, counted), (lead, bytes), (lead, times), (more_lead, more)];
        let names = leads.iter().flat_map(|(lead, names)| {
            names.split(' ').map(move |name| format!(", {lead}{name} n"))
        });
        names.collect()
    };
    let totals = columns("total_", "received sent", "total_");
    let averages = columns("avg_", "recv sent", "avg_");
    is("stats", &format!("database t{totals}{averages}"));
    is("stats_totals", &format!("database t{}", columns("", "bytes_received bytes_sent", "")));
    let averages = columns("", "bytes_received bytes_sent", "avg_");
    is("stats_averages", &format!("database t{averages}"));
    is("totals", "name t, value n");
    is("clients", CONNECTION);
    is("servers", CONNECTION);
    let buffers = "recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, \
                   send_avail i";
    is("sockets", &format!("{CONNECTION}, {buffers}"));
    is("active_sockets", &format!("{CONNECTION}, {buffers}"));
    is(
        "users",
        "name t, pool_size t, reserve_pool_size t, pool_mode t, max_user_connections i, \
         current_connections i, max_user_client_connections i, current_client_connections i",
    );
    is("lists", "list t, items i");
    is("config", "key t, value t, default t, changeable t");
    is("mem", "name t, size i, used i, free i, memtotal i");
    is("state", "key t, value t");
    is("version", "version t");
    is("dns_hosts", "hostname t, ttl q, addrs t");
    is("dns_zones", "zonename t, serial q, count i");
    is("peers", "peer_id i, host t, port i, pool_size i");
    is(
        "peer_pools",
        "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i",
    );
}
