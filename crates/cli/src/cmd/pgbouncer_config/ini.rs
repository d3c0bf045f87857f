//! `pgbouncer.ini`, with a reason for each line.
//!
//! Only settings that PgBouncer 1.18, Debian's, knows: one that it does not know keeps it from
//! starting.

use std::fmt::Write;
use std::time::Duration;

use clap::Args;
use pgherd_core::Settings;
use pgherd_core::settings::{TlsMode, TlsSettings, TlsVersion};

use super::plan::{Alias, Bouncer};

/// How many clients, and how many backends for them.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Limits {
    /// Clients that one PgBouncer serves at the same time
    #[arg(long, value_name = "COUNT", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..))]
    max_clients: u32,
    /// Backends for each alias and login
    #[arg(long, value_name = "COUNT", default_value_t = 25,
          value_parser = clap::value_parser!(u32).range(1..))]
    pool_size: u32,
}

/// A setting, its value, and why.
type Line<'l> = (&'l str, String, &'l str);

pub(super) fn render(bouncer: &Bouncer, settings: &Settings, limits: &Limits) -> String {
    let mut text = String::from(
        "; Written by `pgherd pgbouncer-config`, for PgBouncer 1.18 and later. Paths are relative \
         to the\n; folder that PgBouncer is started in: scripts/start_pgbouncer.sh enters this \
         one.\n\n; What clients may name as the database, and where that leads.\n[databases]\n",
    );
    for alias in &bouncer.aliases {
        text += &database(alias, &settings.cluster.database);
    }
    text += "\n[pgbouncer]\n";
    for (heading, lines) in sections(bouncer, settings, limits) {
        let _ = writeln!(text, "\n;;; {heading}");
        for (name, value, why) in lines {
            let _ = writeln!(text, "\n; {}\n{name} = {value}", why.replace('\n', "\n; "));
        }
    }
    text
}

fn database(alias: &Alias, dbname: &str) -> String {
    let Alias { name, servers, about } = alias;
    let ports: Vec<u16> = servers.iter().map(|(_, port)| *port).collect();
    let Some(port) = ports.first().filter(|first| ports.iter().all(|port| port == *first)) else {
        return format!(
            "; {about}: no alias {name}, for their ports differ, and a line has room for one\n"
        );
    };
    let hosts: Vec<&str> = servers.iter().map(|(host, _)| host.as_str()).collect();
    let (host, dbname) = (quote_value(&hosts.join(",")), quote_value(dbname));
    format!("; {about}\n{name} = host={host} port={port} dbname={dbname}\n")
}

fn quote_value(value: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-.:/,".contains(c);
    if value.chars().all(is_plain) { value.to_owned() } else { quoted(value, '\'') }
}

pub(super) fn quoted(text: &str, quote: char) -> String {
    let doubled = text.replace(quote, &format!("{quote}{quote}"));
    format!("{quote}{doubled}{quote}")
}

/// Whole seconds, and never 0, which would mean no limit.
fn seconds(duration: Duration) -> String {
    duration.as_millis().div_ceil(1000).max(1).to_string()
}

fn sections<'l>(
    bouncer: &Bouncer,
    settings: &Settings,
    limits: &Limits,
) -> Vec<(&'l str, Vec<Line<'l>>)> {
    let pool = &settings.pool;
    let users: Vec<&str> = settings.users.iter().map(|user| user.name.as_str()).collect();
    let listening = vec![
        ("listen_addr", bouncer.listen.to_string(), "The address that clients connect to."),
        ("listen_port", bouncer.port.to_string(), "The port, also that of the Unix socket."),
        (
            "unix_socket_dir",
            "run".to_owned(),
            "Where the Unix socket is. Whoever may enter the folder reaches the console.",
        ),
    ];
    let logins = vec![
        (
            "auth_type",
            "scram-sha-256".to_owned(),
            "Clients prove that they know the password and do not send it.",
        ),
        (
            "auth_file",
            "userlist.txt".to_owned(),
            "Logins and passwords. In plain text, because PgBouncer logs in to the servers with\n\
             them; so readable by nobody else.",
        ),
        (
            "admin_users",
            "pgbouncer".to_owned(),
            "Who may do everything in the console. Not in userlist.txt, so let in only through the\n\
             Unix socket and under the account that PgBouncer runs as:\n\
             psql -h \"$PWD/run\" -p PORT -U pgbouncer pgbouncer",
        ),
        (
            "stats_users",
            users.join(", "),
            "Who may look, and change nothing: SHOW POOLS, SHOW CLIENTS, SHOW SERVERS, SHOW STATS.",
        ),
    ];
    let pooling = vec![
        (
            "pool_mode",
            "transaction".to_owned(),
            "A client holds a backend for the length of a transaction. What it leaves in a session\n\
             (SET, LISTEN, temporary tables, advisory locks) is then somebody else's: SET LOCAL\n\
             and pg_advisory_xact_lock() stay within.",
        ),
        (
            "max_client_conn",
            limits.max_clients.to_string(),
            "Clients at the same time; one more is refused. Each needs a file descriptor (ulimit -n).",
        ),
        (
            "default_pool_size",
            limits.pool_size.to_string(),
            "Backends for each alias and login. All aliases that lead to a server, together with\n\
             the reserve, have to fit its max_connections.",
        ),
        (
            "reserve_pool_size",
            "5".to_owned(),
            "So many more for a pool where somebody has waited for too long.",
        ),
        ("reserve_pool_timeout", "3".to_owned(), "How long, in seconds, is too long."),
        (
            "ignore_startup_parameters",
            "extra_float_digits, options".to_owned(),
            "What some drivers ask for at login and PgBouncer cannot give: passed over, where the\n\
             login would be refused otherwise.",
        ),
    ];
    let health = vec![
        (
            "server_check_query",
            "select 1".to_owned(),
            "What a backend is asked before it is used again ...",
        ),
        ("server_check_delay", "30".to_owned(), "... after it has been idle for so many seconds."),
        (
            "server_login_retry",
            "1".to_owned(),
            "Seconds between two tries to reach a server that does not let us in. The default, 15,\n\
             would keep a server that is back out for as long.",
        ),
        ("tcp_keepalive", "1".to_owned(), "The kernel asks whether a silent peer is still there."),
    ];
    let timeouts = vec![
        (
            "server_connect_timeout",
            seconds(pool.connect_timeout),
            "Seconds that opening a backend may take, login included (pool.connect_timeout).",
        ),
        (
            "query_wait_timeout",
            seconds(pool.acquire_timeout),
            "Seconds that a client may wait for a backend (pool.acquire_timeout). The default, 120,\n\
             is longer than most clients wait, and they would not learn why.",
        ),
        (
            "server_idle_timeout",
            seconds(pool.idle_timeout),
            "Seconds that a backend may be idle before it is closed (pool.idle_timeout).",
        ),
        (
            "server_lifetime",
            seconds(pool.max_lifetime),
            "Seconds that a backend may live; it is closed when it is next free\n\
             (pool.max_lifetime).",
        ),
        (
            "client_login_timeout",
            seconds(settings.listen.login_timeout),
            "Seconds that a client may take to log in (listen.login_timeout).",
        ),
        (
            "query_timeout",
            "0".to_owned(),
            "No limit to how long a statement runs: statement_timeout of PostgreSQL, which tells\n\
             the client why, is the place for one.",
        ),
        (
            "idle_transaction_timeout",
            "0".to_owned(),
            "No limit to how long a transaction idles: PostgreSQL's\n\
             idle_in_transaction_session_timeout is the place for one.",
        ),
        (
            "client_idle_timeout",
            "0".to_owned(),
            "No limit to how long a client idles: it costs 2 kB and holds no backend.",
        ),
    ];
    let logging = vec![
        ("logfile", "run/pgbouncer.log".to_owned(), "Opened anew at SIGHUP, after a rotation."),
        ("pidfile", "run/pgbouncer.pid".to_owned(), "By which it is found, and stopped."),
        (
            "log_connections",
            "0".to_owned(),
            "Not each login: with hundreds of clients nothing else would be found ...",
        ),
        ("log_disconnections", "0".to_owned(), "... and not each logout."),
        ("log_pooler_errors", "1".to_owned(), "What clients were told by PgBouncer itself."),
        ("log_stats", "1".to_owned(), "A line of numbers ..."),
        ("stats_period", "60".to_owned(), "... every so many seconds."),
    ];
    let mut tls = vec![(
        "client_tls_sslmode",
        "disable".to_owned(),
        "Clients come in plain. With client_tls_key_file and client_tls_cert_file: require.",
    )];
    tls.extend(tls_to_servers(&settings.tls));
    vec![
        ("Listening", listening),
        ("Logins", logins),
        ("Pooling", pooling),
        ("Health of the servers", health),
        ("Timeouts", timeouts),
        ("Logging and the process", logging),
        ("TLS", tls),
    ]
}

fn tls_to_servers<'l>(tls: &TlsSettings) -> Vec<Line<'l>> {
    let why = match tls.mode {
        TlsMode::Disable => "To the servers in plain (tls.mode).",
        TlsMode::Prefer => {
            "To the servers encrypted, if they can. With server_tls_ca_file: verify-full."
        }
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => {
            "To the servers encrypted, or not at all (tls.mode)."
        }
    };
    // What "require" means with an authority, here and in libpq, has a name of its own.
    let mode = match tls.mode {
        TlsMode::Require if !tls.root_cert.is_empty() => TlsMode::VerifyCa,
        mode => mode,
    };
    let mut lines = vec![("server_tls_sslmode", mode.to_string(), why)];
    if mode == TlsMode::Disable {
        return lines;
    }
    let files = [
        ("server_tls_ca_file", &tls.root_cert, "The authorities to trust (tls.root_cert)."),
        ("server_tls_cert_file", &tls.cert, "What servers are shown that ask (tls.cert)."),
        ("server_tls_key_file", &tls.key, "The key of that (tls.key)."),
    ];
    for (name, path, why) in files {
        if !path.is_empty() {
            // PgBouncer is started in another folder than this program.
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.into());
            lines.push((name, absolute.display().to_string(), why));
        }
    }
    if tls.min_version == TlsVersion::Tls13 {
        lines.push(("server_tls_protocols", "tlsv1.3".to_owned(), "As tls.min_version."));
    }
    lines
}
