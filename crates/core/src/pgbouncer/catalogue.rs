//! What pgherd does with each of PgBouncer's settings: the one list of them.
//!
//! `docs/coming-from-pgbouncer.md` is printed from it, and [`convert`](super::convert) walks it.

use std::time::Duration;

use super::draft::{DatabaseDraft, Draft, Remarks};
use super::ini::IniSection;
use super::value::{Kind, Value};
use crate::settings::{
    AuthMethod, ByteSize, PeerSettings, PoolMode, TlsMode, TlsVersion, UserSettings,
};

/// One setting and what becomes of it.
pub(super) struct Row<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// PgBouncer's, which holds where the file says nothing.
    pub(super) default: &'static str,
    pub(super) fate: Fate<T>,
}

/// What becomes of a setting.
pub(super) enum Fate<T> {
    /// Settings of ours, or what `pgherd pgbouncer` does by itself; with what differs.
    Becomes(&'static str, &'static str, fn(&mut T, &Value, &mut Remarks)),
    /// Nothing, and nothing is missed: why.
    NoEffect(&'static str),
}

use Fate::{Becomes, NoEffect};

const fn row<T>(name: &'static str, kind: Kind, default: &'static str, fate: Fate<T>) -> Row<T> {
    Row { name, kind, default, fate }
}

/// What PgBouncer calls the modes, and we too.
const POOL_MODES: Kind = Kind::Word(&["session", "transaction", "statement"]);
const TLS_MODES: Kind =
    Kind::Word(&["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]);
const AUTH_TYPES: Kind =
    Kind::Word(&["any", "trust", "plain", "md5", "scram-sha-256", "cert", "hba", "ldap", "pam"]);
const FACILITIES: Kind = Kind::Word(&[
    "auth", "authpriv", "daemon", "user", "local0", "local1", "local2", "local3", "local4",
    "local5", "local6", "local7",
]);
const BALANCES: Kind = Kind::Word(&["round-robin", "disable"]);

const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword \
                          END FROM pg_catalog.pg_authid WHERE rolname=$1 AND rolcanlogin";

const DAYS: Duration = Duration::from_secs(24 * 3600);
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// `[pgbouncer]`
#[rustfmt::skip]
pub(super) static GLOBAL: &[Row<Draft>] = &[
    // Process and listening.
    row("logfile", Kind::Text, "", Becomes("`pgherd pgbouncer`", "the log goes there; `pgherd convert` leaves it out", |d, v, _| d.process.logfile = some(v))),
    row("pidfile", Kind::Text, "", Becomes("`pgherd pgbouncer`", "written at the start, removed at the end; `pgherd convert` leaves it out", |d, v, _| d.process.pidfile = some(v))),
    row("listen_addr", Kind::Text, "", Becomes("`listen.address`", "`*` is 0.0.0.0", |d, v, r| d.settings.listen.address = address(v.text(), r))),
    row("listen_port", Kind::Count, "6432", Becomes("`listen.port`", "", |d, v, r| match u16::try_from(v.count()) {
        Ok(port) => d.settings.listen.port = port,
        Err(_) => r.problem(format!("{} is no port", v.count())),
    })),
    row("listen_backlog", Kind::Count, "128", Becomes("`listen.backlog`", "0 becomes 1", |d, v, r| d.settings.listen.backlog = r.at_least_one(v))),
    row("unix_socket_dir", Kind::Text, "/tmp", Becomes("`listen.unix_socket_dir`", "and the `host` of databases that name none", |d, v, _| d.settings.listen.unix_socket_dir = v.text().to_owned())),
    row("unix_socket_mode", Kind::Text, "0777", Becomes("`listen.unix_socket_mode`", "", |d, v, _| d.settings.listen.unix_socket_mode = v.text().to_owned())),
    row("unix_socket_group", Kind::Text, "", Becomes("`listen.unix_socket_group`", "", |d, v, _| d.settings.listen.unix_socket_group = v.text().to_owned())),
    row("user", Kind::Text, "", Becomes("`pgherd pgbouncer`", "the process becomes that user; `pgherd convert` leaves it out", |d, v, _| d.process.user = some(v))),
    row("so_reuseport", Kind::Flag, "0", Becomes("`listen.reuse_port`", "", |d, v, _| d.settings.listen.reuse_port = v.flag())),
    row("peer_id", Kind::Count, "0", Becomes("`listen.peer_id`", "", |d, v, r| match u16::try_from(v.count()) {
        Ok(id) => d.settings.listen.peer_id = id,
        Err(_) => r.problem(format!("{} is no number of a peer: 1 to 16383 are", v.count())),
    })),
    row("job_name", Kind::Text, "pgbouncer", NoEffect("it names a service of Windows")),
    row("service_name", Kind::Text, "pgbouncer", NoEffect("it names a service of Windows")),
    row("conffile", Kind::Text, "", NoEffect("settings are read again from the file that was named at the start")),
    row("resolv_conf", Kind::Text, "", NoEffect("names are looked up by the system's resolver, as in a PgBouncer that was built without c-ares and evdns: the system reads its own /etc/resolv.conf")),
    row("dns_max_ttl", Kind::Seconds, "15", Becomes("`pool.dns_ttl`", "0 becomes 1s", |d, v, r| d.settings.pool.dns_ttl = r.at_least(v, Duration::from_secs(1)))),
    row("dns_nxdomain_ttl", Kind::Seconds, "15", Becomes("`pool.dns_retry`", "0 becomes 1s", |d, v, r| d.settings.pool.dns_retry = r.at_least(v, Duration::from_secs(1)))),
    row("dns_zone_check_period", Kind::Seconds, "0", NoEffect("the system's resolver tells no serial numbers of zones, as in a PgBouncer that was built without c-ares: a name is looked up again after dns_max_ttl")),
    // Pooling.
    row("pool_mode", POOL_MODES, "session", Becomes("`pool.mode`", "a session that cannot be shared keeps its backend, see `pool.pin`", |d, v, _| d.settings.pool.mode = pool_mode(v))),
    row("max_client_conn", Kind::Count, "100", Becomes("`listen.max_clients`", "", |d, v, _| d.settings.listen.max_clients = v.count())),
    row("default_pool_size", Kind::Count, "20", Becomes("`pool.size`", "0, no limit, becomes 10000", |d, v, _| d.settings.pool.size = pool_size(v))),
    row("min_pool_size", Kind::Count, "0", Becomes("`pool.min_idle`", "", |d, v, _| d.settings.pool.min_idle = v.count())),
    row("reserve_pool_size", Kind::Count, "0", Becomes("`pool.reserve_size`", "", |d, v, _| d.settings.pool.reserve_size = v.count())),
    row("reserve_pool_timeout", Kind::Seconds, "5", Becomes("`pool.reserve_after`", "0 switches the reserve off", |d, v, r| {
        d.reserve_is_off = v.duration().is_zero();
        d.settings.pool.reserve_after = r.at_most(v, TEN_MINUTES);
    })),
    row("max_db_connections", Kind::Count, "0", Becomes("`pool.max_backends_per_database`", "", |d, v, _| d.settings.pool.max_backends_per_database = v.count())),
    row("max_user_connections", Kind::Count, "0", Becomes("`pool.max_backends_per_user`", "", |d, v, _| d.settings.pool.max_backends_per_user = v.count())),
    row("max_db_client_connections", Kind::Count, "0", Becomes("`listen.max_clients_per_database`", "", |d, v, _| d.settings.listen.max_clients_per_database = v.count())),
    row("max_user_client_connections", Kind::Count, "0", Becomes("`listen.max_clients_per_user`", "", |d, v, _| d.settings.listen.max_clients_per_user = v.count())),
    row("server_round_robin", Kind::Flag, "0", Becomes("`pool.round_robin`", "", |d, v, _| d.settings.pool.round_robin = v.flag())),
    row("max_prepared_statements", Kind::Count, "200", NoEffect("prepared statements work in each mode, as many as `listen.prepared_bytes_per_client` has room for")),
    row("track_extra_parameters", Kind::Text, "IntervalStyle", NoEffect("each setting that a client makes goes along with it")),
    row("ignore_startup_parameters", Kind::Text, "", NoEffect("what a client asks for at its login is set for it; PostgreSQL refuses what it does not know")),
    row("application_name_add_host", Kind::Flag, "0", Becomes("`listen.application_name_add_host`", "RESET goes back to the name with the address", |d, v, _| d.settings.listen.application_name_add_host = v.flag())),
    row("disable_pqexec", Kind::Flag, "0", Becomes("`listen.simple_queries`", "not at the console", |d, v, _| d.settings.listen.simple_queries = !v.flag())),
    row("stats_period", Kind::Seconds, "60", Becomes("`listen.stats_period`", "at least 1s", |d, v, r| d.settings.listen.stats_period = r.at_least(v, Duration::from_secs(1)))),
    // Authentication.
    row("auth_type", AUTH_TYPES, "md5", Becomes("`listen.auth`", "but for ldap and pam", |d, v, r| d.settings.listen.auth = auth(v.text(), r))),
    row("auth_file", Kind::Text, "", Becomes("`[[user]]`", "one for each login", |d, v, _| d.auth_file = v.text().to_owned())),
    row("auth_hba_file", Kind::Text, "", Becomes("`listen.hba_file`", "with auth_type = hba", |d, v, _| d.settings.listen.hba_file = v.text().to_owned())),
    row("auth_ident_file", Kind::Text, "", Becomes("`listen.ident_file`", "for lines of auth_hba_file with map=", |d, v, _| d.settings.listen.ident_file = v.text().to_owned())),
    row("auth_ldap_options", Kind::Text, "", NoEffect("it counts with auth_type = ldap only, which is refused")),
    row("auth_user", Kind::Text, "", Becomes("`listen.auth_user`", "its password is in auth_file, not a hash of it", |d, v, _| d.settings.listen.auth_user = v.text().to_owned())),
    row("auth_query", Kind::Text, AUTH_QUERY, Becomes("`listen.auth_query`", "an answer serves for 5s (`listen.auth_cache`), unless a login fails", |d, v, _| d.settings.listen.auth_query = v.text().to_owned())),
    row("auth_dbname", Kind::Text, "", Becomes("`listen.auth_database`", "", |d, v, _| d.settings.listen.auth_database = v.text().to_owned())),
    row("scram_iterations", Kind::Count, "4096", Becomes("`listen.scram_iterations`", "1 to 1000000; in a new process only", |d, v, _| d.settings.listen.scram_iterations = v.count())),
    row("admin_users", Kind::Text, "", Becomes("`listen.admin_users`", "those of them that can log in", |d, v, _| d.settings.listen.admin_users = names(v.text()))),
    row("stats_users", Kind::Text, "", Becomes("`listen.stats_users`", "those of them that can log in", |d, v, _| d.settings.listen.stats_users = names(v.text()))),
    // TLS.
    row("client_tls_sslmode", TLS_MODES, "disable", Becomes("`client_tls.mode`", "allow becomes prefer; verify-full becomes verify-ca, which it is in PgBouncer", |d, v, _| {
        d.settings.client_tls.mode = if v.text() == "verify-full" { TlsMode::VerifyCa } else { tls_mode(v) };
    })),
    row("client_tls_key_file", Kind::Text, "", Becomes("`client_tls.key`", "", |d, v, _| d.settings.client_tls.key = v.text().to_owned())),
    row("client_tls_cert_file", Kind::Text, "", Becomes("`client_tls.cert`", "", |d, v, _| d.settings.client_tls.cert = v.text().to_owned())),
    row("client_tls_ca_file", Kind::Text, "", Becomes("`client_tls.root_cert`", "", |d, v, _| d.settings.client_tls.root_cert = v.text().to_owned())),
    row("client_tls_protocols", Kind::Text, "secure", Becomes("`client_tls.min_version`", "1.3 where nothing else is named; 1.0 and 1.1 are not spoken", |d, v, r| d.settings.client_tls.min_version = tls_version(v.text(), r))),
    row("client_tls_ciphers", Kind::Text, "default", NoEffect("the safe ones are offered")),
    row("client_tls13_ciphers", Kind::Text, "", NoEffect("the safe ones are offered")),
    row("client_tls_ecdhcurve", Kind::Text, "auto", NoEffect("the safe ones are offered")),
    row("client_tls_dheparams", Kind::Text, "auto", NoEffect("what needs them is not offered")),
    row("server_tls_sslmode", TLS_MODES, "prefer", Becomes("`tls.mode`", "allow becomes prefer", |d, v, _| d.settings.tls.mode = tls_mode(v))),
    row("server_tls_ca_file", Kind::Text, "", Becomes("`tls.root_cert`", "", |d, v, _| d.settings.tls.root_cert = v.text().to_owned())),
    row("server_tls_key_file", Kind::Text, "", Becomes("`tls.key`", "", |d, v, _| d.settings.tls.key = v.text().to_owned())),
    row("server_tls_cert_file", Kind::Text, "", Becomes("`tls.cert`", "", |d, v, _| d.settings.tls.cert = v.text().to_owned())),
    row("server_tls_protocols", Kind::Text, "secure", Becomes("`tls.min_version`", "1.3 where nothing else is named; 1.0 and 1.1 are not spoken", |d, v, r| d.settings.tls.min_version = tls_version(v.text(), r))),
    row("server_tls_ciphers", Kind::Text, "default", NoEffect("the safe ones are offered")),
    row("server_tls13_ciphers", Kind::Text, "", NoEffect("the safe ones are offered")),
    // Timeouts and checks.
    row("server_reset_query", Kind::Text, "DISCARD ALL", Becomes("`pool.reset_query`", "pgherd's own reset does what DISCARD ALL does, and comes first", |d, v, r| d.settings.pool.reset_query = reset_query(v.text(), r))),
    row("server_reset_query_always", Kind::Flag, "0", Becomes("`pool.reset_always`", "a backend is reset anyway where its client may have left something", |d, v, _| d.settings.pool.reset_always = v.flag())),
    row("server_check_query", Kind::Text, "<empty>", Becomes("`pool.check_query`", "nothing at all switches the check off", |d, v, _| match v.text() {
        "<empty>" => {}
        "" => d.check_is_off = true,
        query => d.settings.pool.check_query = query.to_owned(),
    })),
    row("server_check_delay", Kind::Seconds, "30", Becomes("`pool.check_after`", "", |d, v, r| d.settings.pool.check_after = r.at_most(v, 7 * DAYS))),
    row("server_fast_close", Kind::Flag, "0", Becomes("`pool.fast_close`", "", |d, v, _| d.settings.pool.fast_close = v.flag())),
    row("server_lifetime", Kind::Seconds, "3600", Becomes("`pool.max_lifetime`", "at least 1s", |d, v, r| d.settings.pool.max_lifetime = r.at_least(v, Duration::from_secs(1)))),
    row("server_idle_timeout", Kind::Seconds, "600", Becomes("`pool.idle_timeout`", "at least 1s; 0, for ever, becomes 7d", |d, v, r| d.settings.pool.idle_timeout = r.limit(v, Duration::from_secs(1), 7 * DAYS))),
    row("server_connect_timeout", Kind::Seconds, "15", Becomes("`pool.connect_timeout`", "0, for ever, becomes 10m", |d, v, r| d.settings.pool.connect_timeout = r.limit(v, Duration::from_millis(10), TEN_MINUTES))),
    row("server_login_retry", Kind::Seconds, "15", Becomes("`pool.open_retry`", "the longest wait; the first is 100ms", |d, v, r| {
        d.settings.pool.open_retry = r.at_least(v, Duration::from_millis(10)).min(TEN_MINUTES);
    })),
    row("client_login_timeout", Kind::Seconds, "60", Becomes("`listen.login_timeout`", "0, for ever, becomes 10m", |d, v, r| d.settings.listen.login_timeout = r.limit(v, Duration::from_millis(100), TEN_MINUTES))),
    row("autodb_idle_timeout", Kind::Seconds, "3600", NoEffect("databases that only `*` lets in are forgotten when there are a thousand, and nobody uses them")),
    row("pool_idle_timeout", Kind::Seconds, "0", NoEffect("a pool without clients and backends holds next to nothing")),
    row("query_timeout", Kind::Seconds, "0", Becomes("`listen.query_timeout`", "", |d, v, _| d.settings.listen.query_timeout = v.duration())),
    row("query_wait_timeout", Kind::Seconds, "120", Becomes("`pool.acquire_timeout`", "0, for ever, becomes 10m", |d, v, r| d.settings.pool.acquire_timeout = r.limit(v, Duration::from_millis(1), TEN_MINUTES))),
    row("query_wait_notify", Kind::Seconds, "5", Becomes("`listen.wait_notice`", "", |d, v, r| d.settings.listen.wait_notice = r.at_most(v, TEN_MINUTES))),
    row("login_notify_message", Kind::Text, "", Becomes("`listen.login_notice`", "", |d, v, _| d.settings.listen.login_notice = v.text().to_owned())),
    row("cancel_wait_timeout", Kind::Seconds, "10", Becomes("`listen.cancel_wait_timeout`", "0, for ever, becomes 10m", |d, v, r| d.settings.listen.cancel_wait_timeout = r.limit(v, Duration::from_millis(100), TEN_MINUTES))),
    row("client_idle_timeout", Kind::Seconds, "0", Becomes("`listen.client_idle_timeout`", "", |d, v, _| d.settings.listen.client_idle_timeout = v.duration())),
    row("idle_transaction_timeout", Kind::Seconds, "0", Becomes("`listen.idle_transaction_timeout`", "", |d, v, _| d.settings.listen.idle_transaction_timeout = v.duration())),
    row("transaction_timeout", Kind::Seconds, "0", Becomes("`listen.transaction_timeout`", "", |d, v, _| d.settings.listen.transaction_timeout = v.duration())),
    row("suspend_timeout", Kind::Seconds, "10", Becomes("`listen.suspend_timeout`", "0, for ever, becomes 10m", |d, v, r| d.settings.listen.suspend_timeout = r.limit(v, Duration::from_millis(100), TEN_MINUTES))),
    // Logging.
    row("syslog", Kind::Flag, "0", Becomes("`log.syslog`", "what the daemon does not take at once is left out and counted", |d, v, _| d.settings.log.syslog = v.flag())),
    row("syslog_ident", Kind::Text, "pgbouncer", Becomes("`log.syslog_ident`", "", |d, v, _| d.settings.log.syslog_ident = v.text().to_owned())),
    row("syslog_facility", FACILITIES, "daemon", Becomes("`log.syslog_facility`", "", |d, v, _| d.settings.log.syslog_facility = v.text().parse().expect("the words of both are the same"))),
    row("log_connections", Kind::Flag, "1", Becomes("`log.connections`", "at most `log.lines_per_second` lines about clients, those that were left out are counted", |d, v, _| d.settings.log.connections = v.flag())),
    row("log_disconnections", Kind::Flag, "1", Becomes("`log.disconnections`", "of those that were logged in", |d, v, _| d.settings.log.disconnections = v.flag())),
    row("log_pooler_errors", Kind::Flag, "1", Becomes("`log.client_errors`", "", |d, v, _| d.settings.log.client_errors = v.flag())),
    row("log_stats", Kind::Flag, "1", Becomes("`log.statistics`", "", |d, v, _| d.settings.log.statistics = v.flag())),
    row("verbose", Kind::Count, "0", Becomes("`pgherd pgbouncer`", "1 logs at debug, 2 and more at trace; `pgherd convert` leaves it out", |d, v, _| d.process.verbose = v.count())),
    // Network.
    row("pkt_buf", Kind::Count, "4096", NoEffect("buffers grow and shrink with what is in them")),
    row("max_packet_size", Kind::Count, "2147483647", Becomes("`listen.message_limit`", "1024 to 1073741824, the longest message that PostgreSQL takes; not at logins and the console", |d, v, r| d.settings.listen.message_limit = message_limit(v, r))),
    row("sbuf_loopcnt", Kind::Count, "5", NoEffect("each socket has its turn anyway")),
    row("tcp_defer_accept", Kind::Count, "1", NoEffect("a connection that says nothing costs next to nothing, until client_login_timeout")),
    row("tcp_keepalive", Kind::Flag, "1", Becomes("`tcp.keepalive`", "", |d, v, _| d.settings.tcp.keepalive = v.flag())),
    row("tcp_keepcnt", Kind::Count, "0", Becomes("`tcp.keepalive_count`", "0 leaves it to the system: 9 in Linux", |d, v, _| d.settings.tcp.keepalive_count = v.count())),
    row("tcp_keepidle", Kind::Count, "0", Becomes("`tcp.keepalive_after`", "0 leaves it to the system: two hours in Linux, where pgherd by itself asks after a minute", |d, v, _| d.settings.tcp.keepalive_after = Duration::from_secs(v.count().into()))),
    row("tcp_keepintvl", Kind::Count, "0", Becomes("`tcp.keepalive_interval`", "0 leaves it to the system: 75 seconds in Linux", |d, v, _| d.settings.tcp.keepalive_interval = Duration::from_secs(v.count().into()))),
    row("tcp_socket_buffer", Kind::Count, "0", Becomes("`tcp.buffer`", "", |d, v, _| d.settings.tcp.buffer = ByteSize(v.count().into()))),
    row("tcp_user_timeout", Kind::Milliseconds, "0", Becomes("`listen.tcp_user_timeout`, `pool.tcp_user_timeout`", "", |d, v, _| {
        d.settings.listen.tcp_user_timeout = v.duration();
        d.settings.pool.tcp_user_timeout = v.duration();
    })),
];

/// `[databases]`, for each of them.
#[rustfmt::skip]
pub(super) static DATABASE: &[Row<DatabaseDraft>] = &[
    row("dbname", Kind::Text, "", Becomes("`database`", "", |d, v, _| d.settings.database = v.text().to_owned())),
    row("host", Kind::Text, "", Becomes("`[[node]]` `host`", "several are ways to one server; none is the Unix socket in unix_socket_dir; each further server is a `worker` with a `shard` of its own, which its `[[database]]` name", |d, v, _| d.host = v.text().to_owned())),
    row("port", Kind::Count, "5432", Becomes("`[[node]]` `port`", "", |d, v, r| match u16::try_from(v.count()) {
        Ok(port) if port > 0 => d.port = port,
        _ => r.problem(format!("{} is no port", v.count())),
    })),
    row("user", Kind::Text, "", Becomes("`user`", "and a `[[user]]`, if auth_file has none", |d, v, _| d.settings.user = v.text().to_owned())),
    row("password", Kind::Text, "", Becomes("`[[user]]` `password`", "one for a user, in all databases", |d, v, _| d.password = v.text().to_owned())),
    row("auth_user", Kind::Text, "", Becomes("`auth_user`", "", |d, v, _| d.settings.auth_user = v.text().to_owned())),
    row("auth_query", Kind::Text, "", Becomes("`auth_query`", "", |d, v, _| d.settings.auth_query = v.text().to_owned())),
    row("auth_dbname", Kind::Text, "", Becomes("`auth_database`", "", |d, v, _| d.settings.auth_database = v.text().to_owned())),
    row("pool_size", Kind::Count, "", Becomes("`pool_size`", "0, no limit, becomes 10000", |d, v, _| d.settings.pool_size = Some(pool_size(v)))),
    row("min_pool_size", Kind::Count, "", Becomes("`min_idle`", "", |d, v, _| d.settings.min_idle = Some(v.count()))),
    row("reserve_pool_size", Kind::Count, "", Becomes("`reserve_size`", "", |d, v, _| d.settings.reserve_size = Some(v.count()))),
    row("reserve_pool", Kind::Count, "", Becomes("`reserve_size`", "the older name of reserve_pool_size", |d, v, _| d.settings.reserve_size = Some(v.count()))),
    row("max_db_connections", Kind::Count, "", Becomes("`max_backends`", "", |d, v, _| d.settings.max_backends = Some(v.count()))),
    row("max_db_client_connections", Kind::Count, "", Becomes("`max_clients`", "", |d, v, _| d.settings.max_clients = Some(v.count()))),
    row("pool_mode", POOL_MODES, "", Becomes("`pool_mode`", "", |d, v, _| d.settings.pool_mode = Some(pool_mode(v)))),
    row("server_lifetime", Kind::Seconds, "", Becomes("`max_lifetime`", "at least 1s", |d, v, r| d.settings.max_lifetime = Some(r.at_least(v, Duration::from_secs(1))))),
    row("query_wait_timeout", Kind::Seconds, "", Becomes("`acquire_timeout`", "0, for ever, becomes 10m; a user's own goes before", |d, v, r| d.settings.acquire_timeout = Some(r.limit(v, Duration::from_millis(1), TEN_MINUTES)))),
    row("load_balance_hosts", BALANCES, "", Becomes("`[[node]]` `load_balance_hosts`", "hosts that two databases use in different ways are two nodes", |d, v, _| d.balance = v.text().parse().expect("the words of both are the same"))),
    row("connect_query", Kind::Text, "", Becomes("`connect_query`", "run again after each reset", |d, v, _| d.settings.connect_query = v.text().to_owned())),
    row("client_encoding", Kind::Text, "", Becomes("`client_encoding`", "RESET goes back to what the client asked for at its login, if it did", |d, v, _| d.settings.client_encoding = v.text().to_owned())),
    row("datestyle", Kind::Text, "", Becomes("`datestyle`", "RESET goes back to what the client asked for at its login, if it did", |d, v, _| d.settings.datestyle = v.text().to_owned())),
    row("timezone", Kind::Text, "", Becomes("`timezone`", "RESET goes back to what the client asked for at its login, if it did", |d, v, _| d.settings.timezone = v.text().to_owned())),
    row("application_name", Kind::Text, "", Becomes("`application_name`", "RESET goes back to what the client asked for at its login, if it did", |d, v, _| d.settings.application_name = v.text().to_owned())),
];

/// `[users]`, for each of them.
#[rustfmt::skip]
pub(super) static USER: &[Row<UserSettings>] = &[
    row("pool_mode", POOL_MODES, "", Becomes("`pool_mode`", "", |u, v, _| u.pool_mode = Some(pool_mode(v)))),
    row("pool_size", Kind::Count, "", Becomes("`pool_size`", "0, no limit, becomes 10000", |u, v, _| u.pool_size = Some(pool_size(v)))),
    row("reserve_pool_size", Kind::Count, "", Becomes("`reserve_size`", "", |u, v, _| u.reserve_size = Some(v.count()))),
    row("max_user_connections", Kind::Count, "", Becomes("`max_backends`", "", |u, v, _| u.max_backends = Some(v.count()))),
    row("max_user_client_connections", Kind::Count, "", Becomes("`max_clients`", "", |u, v, _| u.max_clients = Some(v.count()))),
    row("query_timeout", Kind::Seconds, "", Becomes("`query_timeout`", "", |u, v, _| u.query_timeout = Some(v.duration()))),
    row("query_wait_timeout", Kind::Seconds, "", Becomes("`acquire_timeout`", "0, for ever, becomes 10m", |u, v, r| u.acquire_timeout = Some(r.limit(v, Duration::from_millis(1), TEN_MINUTES)))),
    row("idle_transaction_timeout", Kind::Seconds, "", Becomes("`idle_transaction_timeout`", "", |u, v, _| u.idle_transaction_timeout = Some(v.duration()))),
    row("transaction_timeout", Kind::Seconds, "", Becomes("`transaction_timeout`", "", |u, v, _| u.transaction_timeout = Some(v.duration()))),
    row("client_idle_timeout", Kind::Seconds, "", Becomes("`client_idle_timeout`", "", |u, v, _| u.client_idle_timeout = Some(v.duration()))),
];

/// `[peers]`, for each of them.
#[rustfmt::skip]
pub(super) static PEER: &[Row<PeerSettings>] = &[
    row("host", Kind::Text, "", Becomes("`[[peer]]` `host`", "", |p, v, _| p.host = v.text().to_owned())),
    row("port", Kind::Count, "6432", Becomes("`[[peer]]` `port`", "", |p, v, r| match u16::try_from(v.count()) {
        Ok(port) if port > 0 => p.port = port,
        _ => r.problem(format!("{} is no port", v.count())),
    })),
    row("pool_size", Kind::Count, "", NoEffect("requests to cancel do not wait for one another")),
];

/// What pgherd does with one of PgBouncer's settings, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingFate {
    /// The section of `pgbouncer.ini`.
    pub section: IniSection,
    /// PgBouncer's name.
    pub name: &'static str,
    /// What its values are.
    pub values: String,
    /// PgBouncer's default; empty if it has none.
    pub default: &'static str,
    /// "becomes" or "no effect".
    pub fate: &'static str,
    /// Ours, if it becomes any.
    pub ours: Option<&'static str>,
    /// What differs, or why it has no effect.
    pub remark: &'static str,
}

/// What pgherd does with each of PgBouncer's settings.
///
/// ```
/// let all = pgherd_core::pgbouncer::catalogue();
/// let mode = all.iter().find(|setting| setting.name == "pool_mode").unwrap();
/// assert_eq!((mode.default, mode.ours), ("session", Some("`pool.mode`")));
/// ```
pub fn catalogue() -> Vec<SettingFate> {
    fn of<T>(section: IniSection, rows: &'static [Row<T>]) -> impl Iterator<Item = SettingFate> {
        rows.iter().map(move |row| {
            let (fate, ours, remark) = match row.fate {
                Becomes(ours, remark, _) => ("becomes", Some(ours), remark),
                NoEffect(why) => ("no effect", None, why),
            };
            let values = row.kind.describe();
            SettingFate {
                section,
                name: row.name,
                values,
                default: row.default,
                fate,
                ours,
                remark,
            }
        })
    }
    of(IniSection::Pgbouncer, GLOBAL)
        .chain(of(IniSection::Databases, DATABASE))
        .chain(of(IniSection::Users, USER))
        .chain(of(IniSection::Peers, PEER))
        .collect()
}

fn some(value: &Value) -> Option<String> {
    Some(value.text().to_owned()).filter(|text| !text.is_empty())
}

fn names(text: &str) -> Vec<String> {
    let names = text.split(|c: char| c == ',' || c.is_ascii_whitespace());
    names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn address(text: &str, remarks: &mut Remarks) -> String {
    let all: Vec<&str> = text.split(',').map(str::trim).filter(|one| !one.is_empty()).collect();
    let word = |word: &str| match word {
        "*" => {
            remarks.note("`*` is 0.0.0.0, every address of IPv4; with `::` those of IPv6 too");
            "0.0.0.0".to_owned()
        }
        "localhost" => "127.0.0.1".to_owned(),
        word => {
            if word.parse::<std::net::IpAddr>().is_err() {
                remarks.problem(format!("`{word}` is no IP address, as pgherd needs one here"));
            }
            word.to_owned()
        }
    };
    let all: Vec<String> = all.into_iter().map(word).collect();
    all.join(", ")
}

fn pool_size(value: &Value) -> u32 {
    match value.count() {
        0 => 10_000,
        size => size,
    }
}

fn message_limit(value: &Value, remarks: &mut Remarks) -> ByteSize {
    let (least, most) = (ByteSize(1024), ByteSize::mib(1024));
    let limit = ByteSize(value.count().into());
    if limit < least {
        remarks.note(format!("it becomes {least}, the least there is here"));
    }
    limit.clamp(least, most)
}

fn pool_mode(value: &Value) -> PoolMode {
    value.text().parse().expect("the words of both are the same")
}

fn tls_mode(value: &Value) -> TlsMode {
    match value.text() {
        "allow" => TlsMode::Prefer,
        mode => mode.parse().expect("the words of both are the same, but for `allow`"),
    }
}

fn tls_version(text: &str, remarks: &mut Remarks) -> TlsVersion {
    let mut oldest = TlsVersion::Tls13;
    for word in text.split([',', ' ', ':']).filter(|word| !word.is_empty()) {
        match word.to_ascii_lowercase().as_str() {
            "tlsv1.3" => {}
            "tlsv1.2" | "secure" => oldest = TlsVersion::Tls12,
            "all" | "legacy" | "default" | "tlsv1.0" | "tlsv1.1" => {
                oldest = TlsVersion::Tls12;
                remarks.note("TLS before 1.2 is not spoken");
            }
            _ => remarks.problem(format!(
                "`{word}` is not one of secure, all, tlsv1.0, tlsv1.1, tlsv1.2, tlsv1.3"
            )),
        }
    }
    oldest
}

fn auth(word: &str, remarks: &mut Remarks) -> AuthMethod {
    match word {
        "ldap" | "pam" => {
            remarks.problem(format!(
                "`{word}` is not supported, as by a PgBouncer that was built without it: any, trust, \
                 plain, md5, scram-sha-256, cert and hba are"
            ));
            AuthMethod::ScramSha256
        }
        word => word.parse().expect("the other words of both are the same"),
    }
}

/// What is left of the query beside what pgherd's own reset does.
fn reset_query(text: &str, remarks: &mut Remarks) -> String {
    let plain = text.trim().trim_end_matches(';').trim().to_ascii_uppercase();
    if plain == "DISCARD ALL" {
        return String::new();
    }
    if plain.is_empty() {
        remarks.note("pgherd resets a backend anyway where its client may have left something");
        return String::new();
    }
    if plain.contains("DISCARD ALL") || plain.contains("DEALLOCATE") {
        remarks.problem(
            "it would drop the statements that pgherd keeps prepared: leave DISCARD ALL and \
             DEALLOCATE out of it, pgherd's own reset does what they do",
        );
    }
    text.to_owned()
}
