//! The sections, each setting declared once.

use std::time::Duration;

use super::Settings;
use super::section::{Range, Section, SettingInfo, Source, section};
use super::value::{
    AuthMethod, ByteSize, ChannelBinding, HostBalance, PasswordCommand, PinPolicy, PoolMode,
    Secret, SyslogFacility, TlsMode, TlsVersion, Value,
};
use crate::balance::Balance;
use crate::id::ShardId;
use crate::retry::Jitter;
use crate::shard::{ShardFunction, ShardMap};
use crate::topology::NodeRole;

const fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

const fn secs(number: u64) -> Duration {
    Duration::from_secs(number)
}

const fn hours(number: u64) -> Duration {
    Duration::from_secs(number * 3600)
}

fn between<T>(from: T, to: T) -> Range<T> {
    Range::Between(from..=to)
}

/// What secrets are asked for with by itself; as PgBouncer's since 1.24.1.
pub(super) const AUTH_QUERY: &str = "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE \
                                     rolpassword END FROM pg_catalog.pg_authid WHERE rolname=$1 AND \
                                     rolcanlogin";

pub(super) fn pool_sizes() -> Range<u32> {
    between(1, 10_000)
}

pub(super) fn few_backends() -> Range<u32> {
    between(0, 10_000)
}

pub(super) fn most_clients() -> Range<u32> {
    between(0, 1_000_000)
}

pub(super) fn acquire_timeouts() -> Range<Duration> {
    between(ms(1), secs(600))
}

pub(super) fn lifetimes() -> Range<Duration> {
    between(secs(1), hours(30 * 24))
}

pub(super) fn client_timeouts() -> Range<Duration> {
    between(Duration::ZERO, hours(7 * 24))
}

section! {
    /// `[cluster]`: which database this is.
    ClusterSettings["cluster"] {
        /// What the cluster is called in gids, logs and metrics.
        ///
        /// Letters, digits, `-` and `_`, at most 32. Default: "pgherd". Reload: restart.
        name: String = "pgherd".to_owned(), Range::Any;
        /// The database on every node.
        ///
        /// Default: "postgres". Reload: restart.
        database: String = "postgres".to_owned(), Range::Any;
    }
}

section! {
    /// `[listen]`: the door for clients.
    ListenSettings["listen"] {
        /// The IP address to listen on, or several, separated by commas; empty for none, where there
        /// is a `unix_socket_dir`.
        ///
        /// Default: "127.0.0.1". Reload: restart.
        address: String = "127.0.0.1".to_owned(), Range::Any;
        /// The TCP port, at each address.
        ///
        /// Range: 0 to 65535; 0 takes any free port. Default: 6432. Reload: restart.
        port: u16 = 6432, Range::Any;
        /// Whether other processes may listen on the same addresses and port (SO_REUSEPORT): the
        /// system deals connections out to all of them. Each needs it, and a `peer_id` of its own.
        ///
        /// Default: false. Reload: restart.
        reuse_port: bool = false, Range::Any;
        /// The folder of a Unix socket to listen on, `.s.PGSQL.` and the port, as clients look for it
        /// there. With `@` as the first character its name is abstract: it is in no folder, and Linux
        /// only. No TLS is spoken over it.
        ///
        /// Default: "", none. Reload: restart.
        unix_socket_dir: String = String::new(), Range::Any;
        /// Who may connect to it, as the mode of its file, in octal.
        ///
        /// Default: "0777", everybody on this host. Reload: restart.
        unix_socket_mode: String = "0777".to_owned(), Range::Any;
        /// The group of its file, by name or number.
        ///
        /// Default: "", that of the process. Reload: restart.
        unix_socket_group: String = String::new(), Range::Any;
        /// Clients that may wait to be accepted, at each address and at the Unix socket, as far as the
        /// system lets them (`net.core.somaxconn`).
        ///
        /// Range: 1 to 65535. Default: 4096. Reload: restart.
        backlog: u32 = 4096, between(1, 65535);
        /// Loops that serve clients, each in a thread of its own.
        ///
        /// Range: 0 to 64; 0 is one for each core. Default: 0. Reload: restart.
        workers: u16 = 0, between(0, 64);
        /// Clients served at the same time; one more is refused.
        ///
        /// Range: 1 to 1000000. Default: 10000. Reload: live.
        max_clients: u32 = 10_000, between(1, 1_000_000);
        /// Clients of one database, at most; one more is refused. A `[[database]]` may have its own.
        ///
        /// Range: 0 to 1000000; 0 is no limit but `max_clients`. Default: 0. Reload: restart.
        max_clients_per_database: u32 = 0, most_clients();
        /// Clients of one `[[user]]`, at most, which may have its own; one more is refused.
        ///
        /// Range: 0 to 1000000; 0 is no limit but `max_clients`. Default: 0. Reload: restart.
        max_clients_per_user: u32 = 0, most_clients();
        /// Iterations of the SCRAM secrets that are made of passwords, to check clients against: more make
        /// each guess dearer, and each login of a client that does not keep its keys.
        ///
        /// Range: 1 to 1000000. Default: 4096. Reload: restart.
        scram_iterations: u32 = 4096, between(1, 1_000_000);
        /// How clients prove who they are, by the password of `[[user]]`: "scram-sha-256"; "md5", which
        /// is SCRAM for a user with a SCRAM secret; "plain", which sends the password as it is. "trust"
        /// lets anybody in under any name of `[[user]]`, and "any" under any name at all: each
        /// `[[database]]` then needs a `user`, as whom all are served. "cert" asks for no password: the
        /// certificate of `client_tls` is made out to the user. "peer" neither: over the Unix socket, the
        /// system's user has the same name, and nobody comes over TCP. "hba": each as `hba_file` says.
        ///
        /// Default: "scram-sha-256". Reload: restart.
        auth: AuthMethod = AuthMethod::ScramSha256, Range::Any;
        /// A file as PostgreSQL's `pg_hba.conf`: who logs in how, by where they come from and what they
        /// want; the first line that fits counts. With `auth` "hba" only, and required there.
        ///
        /// Default: "", none. Reload: new logins, at SIGHUP.
        hba_file: String = String::new(), Range::Any;
        /// A file as PostgreSQL's `pg_ident.conf`: as whom the name of a certificate, or the system's user,
        /// may log in. For lines of `hba_file` that name a map.
        ///
        /// Default: "", none. Reload: new logins, at SIGHUP.
        ident_file: String = String::new(), Range::Any;
        /// The `[[user]]` that looks up, at the primary, the secrets of those who are no `[[user]]`; nobody
        /// else may log in where it is not set. A `[[database]]` may have its own.
        ///
        /// Default: "", none. Reload: restart.
        auth_user: String = String::new(), Range::Any;
        /// What it asks: `$1` is the name that a client has given, and the answer is a row of a name and
        /// `rolpassword`, or no row. NULL is a user without a password. A `[[database]]` may have its own.
        ///
        /// Default: from pg_authid, of roles that may log in; of an expired password NULL.
        /// Reload: restart.
        auth_query: String = AUTH_QUERY.to_owned(), Range::Any;
        /// What clients would call the database in which it asks. A `[[database]]` may have its own.
        ///
        /// Default: "", the one that the client wants. Reload: restart.
        auth_database: String = String::new(), Range::Any;
        /// How long an answer serves for further logins, unless one fails.
        ///
        /// Unit: duration. Range: 0 to 1h; 0 asks for each login. Default: 5s. Reload: restart.
        /// Why 5s: a password that was changed, or a role that was dropped, is noticed as soon.
        auth_cache: Duration = secs(5), between(Duration::ZERO, hours(1));
        /// Failed logins of one address under one name at which it is not heard under that name any
        /// more, until some are forgiven; at ten times as many under no name. An IPv6 network of 64 bits
        /// is one address.
        ///
        /// Range: 0 to 1000000; 0 is no limit. Default: 30. Reload: restart.
        login_failures: u32 = 30, between(0, 1_000_000);
        /// In what time one failed login is forgiven.
        ///
        /// Unit: duration. Range: 100ms to 1d. Default: 10s. Reload: restart.
        login_forgiven_in: Duration = secs(10), between(ms(100), hours(24));
        /// The longest that the answer to a failed login is kept: 100ms the first time, and twice as
        /// long for each further one of its address or its name.
        ///
        /// Unit: duration. Range: 0 to 1m; 0 answers at once. Default: 2s. Reload: restart.
        login_delay: Duration = secs(2), between(Duration::ZERO, secs(60));
        /// How long a client may take to log in.
        ///
        /// Unit: duration. Range: 100ms to 10m. Default: 15s. Reload: live.
        login_timeout: Duration = secs(15), between(ms(100), secs(600));
        /// How long a batch of statements may run, from its first message to its last answer. Then it
        /// is cancelled and its client dismissed. A `[[user]]` may have its own.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        /// Why 0: `statement_timeout` of PostgreSQL ends the statement and not the connection.
        query_timeout: Duration = Duration::ZERO, client_timeouts();
        /// How long a transaction may be open, whatever runs in it. Then it is rolled back and its
        /// client dismissed. A `[[user]]` may have its own.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        transaction_timeout: Duration = Duration::ZERO, client_timeouts();
        /// How long a transaction may be open while its client runs nothing. Then it is rolled back
        /// and its client dismissed. A `[[user]]` may have its own.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        idle_transaction_timeout: Duration = Duration::ZERO, client_timeouts();
        /// How long a client may say nothing while it has no transaction open. Then it is dismissed.
        /// A `[[user]]` may have its own.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        client_idle_timeout: Duration = Duration::ZERO, client_timeouts();
        /// How long a client waits for a backend before a notice tells it that it does.
        ///
        /// Unit: duration. Range: 0 to 10m; 0 never tells it. Default: 2s. Reload: live.
        wait_notice: Duration = secs(2), between(Duration::ZERO, secs(600));
        /// What each client is told by a notice when it has logged in; not at the console.
        ///
        /// Default: "", nothing. Reload: live.
        login_notice: String = String::new(), Range::Any;
        /// Whether the `application_name` of each client has its address behind it, as
        /// ` - 192.0.2.7:50512`, or ` - unix(PID@HOST):PORT` of one that has come over the Unix socket;
        /// `app` stands for a name where it gives none. What goes beyond 63 bytes is cut off, as
        /// PostgreSQL would.
        ///
        /// Default: false. Reload: live.
        application_name_add_host: bool = false, Range::Any;
        /// How long a cancel request may take to reach its node. Then it is given up, and its sender
        /// told by the end of its connection.
        ///
        /// Unit: duration. Range: 100ms to 10m. Default: 10s. Reload: live.
        cancel_wait_timeout: Duration = secs(10), between(ms(100), secs(600));
        /// The number of this process among those that clients reach at the same address: behind one
        /// load balancer, or one port. A request to cancel that arrives at another one is sent on by
        /// the number in its key, to a `[[peer]]`. Each process has its own.
        ///
        /// Range: 0 to 16383; 0 is none: keys name no process. Default: 0. Reload: restart.
        peer_id: u16 = 0, between(0, 16383);
        /// How long what was sent to a client may stay unconfirmed before its connection counts as
        /// lost (TCP_USER_TIMEOUT). Linux counts a client that is there and does not read.
        ///
        /// Unit: duration. Range: 0 to 1d; 0 leaves it to the system (`net.ipv4.tcp_retries2`, about
        /// a quarter of an hour). Default: 0. Reload: restart.
        tcp_user_timeout: Duration = Duration::ZERO, between(Duration::ZERO, hours(24));
        /// Texts of the statements that one client may have prepared under names at the same time;
        /// beyond them it is dismissed.
        ///
        /// Unit: bytes. Range: 1KiB to 1GiB. Default: 32MiB. Reload: restart.
        /// Why 32MiB: drivers keep a few hundred statements. Only a leak of names has more.
        prepared_bytes_per_client: ByteSize = ByteSize::mib(32), between(ByteSize(1024), ByteSize::mib(1024));
        /// The longest message that is let through, its type byte included, from clients and from nodes. At a
        /// longer one the client is dismissed (08P01), and its backend closed if it has come from there.
        /// Logins, the console and what pgherd asks a node itself are not bound by it.
        ///
        /// Unit: bytes. Range: 1KiB to 1GiB. Default: 1GiB, the longest that PostgreSQL takes. Reload: live.
        message_limit: ByteSize = ByteSize::mib(1024), between(ByteSize(1024), ByteSize::mib(1024));
        /// Whether clients may send simple queries, which may hold several statements each. Who sends one
        /// where they are refused is dismissed (08P01); the extended protocol is not affected, nor the
        /// console. Without them nothing is replicated, and psql is of no use.
        ///
        /// Default: true. Reload: restart.
        simple_queries: bool = true, Range::Any;
        /// Memory that the process may hold before no more clients are accepted (53200). Those that are
        /// there stay, and may cancel. Looked at ten times a second, on Linux only.
        ///
        /// Unit: bytes. Range: 0 to 1024GiB; 0 is no limit. Default: 0. Reload: live.
        memory_limit: ByteSize = ByteSize(0), between(ByteSize(0), ByteSize::mib(1024 * 1024));
        /// Those of `[[user]]` that may do everything at the console: the databases `pgbouncer` and, if
        /// no `[[database]]` has that name, `pgherd`. Nobody else logs in there.
        ///
        /// Default: [], nobody. Reload: restart.
        admin_users: Vec<String> = Vec::new(), Range::Any;
        /// Those that may look at its tables and no more.
        ///
        /// Default: [], nobody. Reload: restart.
        stats_users: Vec<String> = Vec::new(), Range::Any;
        /// How long SUSPEND at the console waits until each client has taken what it was sent; who has not
        /// by then keeps it.
        ///
        /// Unit: duration. Range: 100ms to 10m. Default: 10s. Reload: live.
        suspend_timeout: Duration = secs(10), between(ms(100), secs(600));
        /// How far back the averages of `SHOW STATS` reach: at least this long, and at most twice.
        ///
        /// Unit: duration. Range: 1s to 1d. Default: 1m. Reload: live.
        stats_period: Duration = secs(60), between(secs(1), hours(24));
    }
}

section! {
    /// `[pool]`: backends, for each node and login.
    PoolSettings["pool"] {
        /// For how long a client holds a backend: "session", until it leaves; "transaction"; or
        /// "statement", where transaction blocks are refused. The proxy's pools. A `[[database]]` or
        /// a `[[user]]` may have its own.
        ///
        /// Default: "transaction". Reload: restart.
        mode: PoolMode = PoolMode::Transaction, Range::Any;
        /// What becomes of a session that holds what only its own backend can: a temporary relation,
        /// a cursor WITH HOLD, a session advisory lock, LISTEN. "on": it is pinned to its backend for
        /// as long as that lasts. "refuse": its client is dismissed. "off": it ends with the
        /// transaction. The proxy's pools.
        ///
        /// Default: "on". Reload: restart.
        pin: PinPolicy = PinPolicy::On, Range::Any;
        /// Backends of one pool that may be pinned at the same time; the client of one more is
        /// dismissed.
        ///
        /// Range: 0 to 10000; 0 is half of `size`, and at least one. Default: 0. Reload: live.
        pin_limit: u32 = 0, between(0, 10_000);
        /// Backends to one node of one database under one login, at most. A `[[database]]` or a
        /// `[[user]]` may have its own.
        ///
        /// Range: 1 to 10000. Default: 20. Reload: live.
        size: u32 = 20, pool_sizes();
        /// Backends beyond `size` for a pool where somebody has waited for `reserve_after`. The proxy's
        /// pools. A `[[database]]` or a `[[user]]` may have its own.
        ///
        /// Range: 0 to 10000. Default: 0. Reload: restart.
        reserve_size: u32 = 0, few_backends();
        /// How long a client has waited when the reserve is opened.
        ///
        /// Unit: duration. Range: 0 to 10m. Default: 1s. Reload: restart.
        /// Why 1s: well before `acquire_timeout`, and longer than a burst.
        reserve_after: Duration = secs(1), between(Duration::ZERO, secs(600));
        /// Backends to one node of one database, at most, for all logins together. Where it is reached
        /// and a pool needs one more, another's idle backend is closed for it. The proxy's pools. A
        /// `[[database]]` may have its own.
        ///
        /// Range: 0 to 10000; 0 is no limit. Default: 0. Reload: restart.
        max_backends_per_database: u32 = 0, few_backends();
        /// The same for one login, for all databases together. A `[[user]]` may have its own.
        ///
        /// Range: 0 to 10000; 0 is no limit. Default: 0. Reload: restart.
        max_backends_per_user: u32 = 0, few_backends();
        /// How long an acquire waits for a free backend before it fails. A `[[database]]` or a
        /// `[[user]]` may have its own.
        ///
        /// Unit: duration. Range: 1ms to 10m. Default: 5s. Reload: live.
        /// Why 5s: shorter than the usual 30s client timeout, so the pool gets to say why.
        acquire_timeout: Duration = secs(5), acquire_timeouts();
        /// How long a backend may be idle before it is closed.
        ///
        /// Unit: duration. Range: 1s to 7d. Default: 10m. Reload: live.
        idle_timeout: Duration = secs(600), between(secs(1), hours(7 * 24));
        /// How old a backend may get; it is closed when it is next released, at a time between 90 and
        /// 100 % of this. A `[[database]]` may have its own.
        ///
        /// Unit: duration. Range: 1s to 30d. Default: 1h. Reload: live.
        max_lifetime: Duration = hours(1), lifetimes();
        /// How long opening a backend may take, login included. Where a node has several addresses,
        /// those that are not passed over share it: half for each of two.
        ///
        /// Unit: duration. Range: 10ms to 10m. Default: 5s. Reload: live.
        connect_timeout: Duration = secs(5), between(ms(10), secs(600));
        /// How new backends are spread over the addresses of a node that has several, because its
        /// `host` is a list or a name that stands for several: "round-robin", each in turn; or
        /// "disable", the first that works, until it fails. A `[[node]]` may have its own.
        ///
        /// Default: "round-robin". Reload: restart.
        load_balance_hosts: HostBalance = HostBalance::RoundRobin, Range::Any;
        /// How long what a node's host name stands for is taken for known; then it is asked again, and
        /// where it has changed backends are opened at the new addresses and closed at those that are
        /// gone. The proxy's pools; the library asks for each connection.
        ///
        /// Unit: duration. Range: 0 to 1d; 0 asks at the start only. Default: 15s. Reload: restart.
        dns_ttl: Duration = secs(15), between(Duration::ZERO, hours(24));
        /// After how long a host name that was not found is looked up again, of a node or of a peer. Until
        /// then it stands for what it did. The proxy's pools.
        ///
        /// Unit: duration. Range: 10ms to 1d. Default: 15s. Reload: restart.
        dns_retry: Duration = secs(15), between(ms(10), hours(24));
        /// The longest wait between two tries to open a backend after one has failed: the first is
        /// 100ms, or this if it is shorter, and each further one twice as long. Who would wait in vain,
        /// because the next try comes too late and no backend is open, is told at once. The proxy's
        /// pools; in the library it is 1s.
        ///
        /// Unit: duration. Range: 10ms to 10m. Default: 1s. Reload: restart.
        open_retry: Duration = secs(1), between(ms(10), secs(600));
        /// Which idle backend is lent: the one that was used last, so that the others fall idle and are
        /// closed (false), or the one that has been idle longest, so that all are used alike (true). The
        /// proxy's pools.
        ///
        /// Default: false. Reload: restart.
        round_robin: bool = false, Range::Any;
        /// What is run when a backend is reset, after pgherd's own reset. If it fails the backend is
        /// closed. The proxy's pools.
        ///
        /// Default: "", nothing. Reload: restart.
        reset_query: String = String::new(), Range::Any;
        /// Whether a backend that is to be closed, by RECONNECT or because RELOAD has changed its database or
        /// its node's host stands for other addresses, is closed in session mode as soon as no transaction
        /// is open on it. Its client is dismissed (57P01). Else it is closed when the client leaves. The
        /// proxy's pools.
        ///
        /// Default: false. Reload: live.
        fast_close: bool = false, Range::Any;
        /// Whether a backend is reset after each lease, and not only where its client may have left
        /// something. After a session it always is. The proxy's pools.
        ///
        /// Default: false. Reload: restart.
        reset_always: bool = false, Range::Any;
        /// Memory for what statement texts are, for each loop, and as much again for the texts of
        /// prepared statements.
        ///
        /// Unit: bytes. Range: 0 to 1GiB; 0 remembers nothing. Default: 8MiB. Reload: restart.
        statement_cache_bytes: ByteSize = ByteSize::mib(8), between(ByteSize(0), ByteSize::mib(1024));
        /// Statements that the library keeps prepared on each backend, by their text; beyond them
        /// the least recently used is closed. None are kept behind a pooler.
        ///
        /// Range: 0 to 10000; 0 prepares each statement for each use. Default: 256.
        /// Reload: restart.
        prepared_per_backend: u32 = 256, between(0, 10_000);
        /// Backends to one node that are kept open, busy or idle, also when nobody needs them;
        /// never more than `size`. In the proxy for each pool that has been used, as long as a client is
        /// connected; where all clients of a database share a login, always, and from the start on the
        /// primary. A `[[database]]` may have its own.
        ///
        /// Range: 0 to 10000. Default: 0. Reload: live.
        min_idle: u32 = 0, few_backends();
        /// Backends to one node that are opened at the same time, at most. The library's pool.
        ///
        /// Range: 1 to 10000. Default: 8. Reload: restart.
        /// Why 8: each login costs the node a process and a password's worth of hashing.
        max_opening: u32 = 8, between(1, 10_000);
        /// Acquires that may wait for one node; one more fails at once. The library's pool: the
        /// proxy's queues are bounded by `listen.max_clients`.
        ///
        /// Range: 1 to 1000000. Default: 10000. Reload: restart.
        max_waiting: u32 = 10_000, between(1, 1_000_000);
        /// How long a backend may have been idle to be lent unasked; after that it is asked
        /// first whether it is there, within a quarter of `acquire_timeout`, and replaced if it
        /// is not.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 asks each time. Default: 30s. Reload: restart.
        check_after: Duration = secs(30), between(Duration::ZERO, hours(7 * 24));
        /// What it is asked then; it is replaced also if this fails. The proxy's pools.
        ///
        /// Default: "", an empty query. Reload: restart.
        check_query: String = String::new(), Range::Any;
        /// How long a backend may be silent before it is asked whether it is there, so that no
        /// firewall takes the connection for abandoned. The library's pool.
        ///
        /// Unit: duration. Range: 0 to 1d; 0 is never. Default: 0, because TCP's own keepalive
        /// asks each 30s; needed where something in between takes no notice of that.
        /// Reload: restart.
        keepalive: Duration = Duration::ZERO, between(Duration::ZERO, hours(24));
        /// How long what was sent to a node may stay unconfirmed before its connection counts as lost
        /// (TCP_USER_TIMEOUT). Linux counts a backend that is there and does not read, such as a COPY
        /// that waits for a lock: set it longer than any of them waits.
        ///
        /// Unit: duration. Range: 0 to 1d; 0 leaves it to the system (`net.ipv4.tcp_retries2`, about
        /// a quarter of an hour). Default: 0. Reload: restart.
        tcp_user_timeout: Duration = Duration::ZERO, between(Duration::ZERO, hours(24));
        /// How long a lease may be held before the log and the statistics say where it was
        /// taken. The library's pool.
        ///
        /// Unit: duration. Range: 0 to 30d; 0 is never. Default: 10m. Reload: restart.
        leak_after: Duration = secs(600), between(Duration::ZERO, hours(30 * 24));
        /// Events that wait for the reader of a listener, at most; beyond them the oldest is
        /// dropped, and the reader told how many were. The library only.
        ///
        /// Unit: events. Range: 1 to 1000000. Default: 4096. Reload: new listeners.
        /// Why 4096: with short payloads some hundred kilobytes, with the longest 32 MiB.
        listener_backlog: u32 = 4096, between(1, 1_000_000);
    }
}

section! {
    /// `[health]`: which nodes are in rotation.
    HealthSettings["health"] {
        /// The time between two probes of a node.
        ///
        /// Unit: duration. Range: 10ms to 10m. Default: 1s. Reload: restart.
        interval: Duration = secs(1), between(ms(10), secs(600));
        /// How long a probe may take, connecting included.
        ///
        /// Unit: duration. Range: 10ms to 10m. Default: 2s. Reload: restart.
        timeout: Duration = secs(2), between(ms(10), secs(600));
        /// Failures in a row, of probes or traffic, that take a node out.
        ///
        /// Range: 1 to 100. Default: 3. Reload: restart.
        failures: u32 = 3, between(1, 100);
        /// Answered probes in a row that let a node in again.
        ///
        /// Range: 1 to 100. Default: 2. Reload: restart.
        successes: u32 = 2, between(1, 100);
        /// How long a replica that was out gets a growing share of its reads, so that it is not
        /// flooded while its caches are cold: a tenth at first.
        ///
        /// Unit: duration. Range: 0 to 1h; 0 gives it all at once. Default: 10s. Reload: restart.
        warm_up: Duration = secs(10), between(Duration::ZERO, hours(1));
        /// A replica that fails again while it is warmed up stays out for a second, then two,
        /// then four, up to this long, whatever it answers to probes.
        ///
        /// Unit: duration. Range: 0 to 1h. Default: 1m. Reload: restart.
        most_hold_off: Duration = secs(60), between(Duration::ZERO, hours(1));
        /// How long a node that is out must have left every probe without an answer before the
        /// connections to it are cut, so that what runs on them ends. Only where another node has
        /// taken its place, or serves its reads: reads are run there, and what became of a write is
        /// not known (08007). The library only.
        ///
        /// Unit: duration. Range: 0 to 1h; 0 never cuts any. Default: 10s. Reload: restart.
        cut_after: Duration = secs(10), between(Duration::ZERO, hours(1));
    }
}

section! {
    /// `[retry]`: how often and how patiently a statement is tried.
    RetrySettings["retry"] {
        /// Attempts in all, the first included.
        ///
        /// Range: 1 to 100. Default: 5. Reload: restart.
        max_retries: u32 = 5, between(1, 100);
        /// The wait before the second attempt.
        ///
        /// Unit: duration. Range: 0 to 1m. Default: 100ms. Reload: restart.
        initial_backoff: Duration = ms(100), between(Duration::ZERO, secs(60));
        /// What each wait is multiplied by to give the next.
        ///
        /// Range: 1.0 to 10.0. Default: 2.0. Reload: restart.
        multiplier: f64 = 2.0, between(1.0, 10.0);
        /// What chance does to each wait: "additive" adds up to a quarter, "full" takes any part
        /// of the wait, "none" keeps the schedule to the millisecond. true and false are
        /// additive and none.
        ///
        /// Default: "additive". Reload: restart.
        jitter: Jitter = Jitter::Additive, Range::Any;
        /// No wait is longer than this, before jitter.
        ///
        /// Unit: duration. Range: 0 to 10m. Default: 10s. Reload: restart.
        max_backoff: Duration = secs(10), between(Duration::ZERO, secs(600));
        /// Retries that each statement adds to the budget that all share: 0.2 is one retry for
        /// five statements. When the budget is used up, errors are handed on at once, so that
        /// retries do not multiply an outage.
        ///
        /// Range: 0.0 to 100.0. Default: 0.2. Reload: restart.
        budget_ratio: f64 = 0.2, between(0.0, 100.0);
        /// Retries the budget holds at most, and at first. It fills up by itself in 10 s.
        ///
        /// Range: 1 to 1000000. Default: 100. Reload: restart.
        budget_burst: u32 = 100, between(1, 1_000_000);
        /// How long a statement may take in all: the wait for a backend or a primary, further
        /// tries, and the statement itself. Then it is cancelled. The library only.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        deadline: Duration = Duration::ZERO, between(Duration::ZERO, hours(7 * 24));
        /// How long a transaction may take in all, over one shard or several, from its begin to the
        /// answer to COMMIT: waits, further runs, statements, and what the program does between
        /// them. Then it is rolled back, unless its COMMIT is under way. The library only.
        ///
        /// Unit: duration. Range: 0 to 7d; 0 is for ever. Default: 0. Reload: restart.
        transaction_deadline: Duration = Duration::ZERO, between(Duration::ZERO, hours(7 * 24));
    }
}

section! {
    /// `[routing]`: which statement goes where.
    RoutingSettings["routing"] {
        /// Whether reads may go to replicas.
        ///
        /// Default: true. Reload: restart.
        read_from_replicas: bool = true, Range::Any;
        /// What turns a key into a bucket: "md5" or "postgres". Changing it moves nearly every
        /// key to another shard.
        ///
        /// Default: "md5". Reload: restart.
        shard_function: ShardFunction = ShardFunction::Md5, Range::Any;
        /// Slots of the shard map. Changing it moves keys, unless the old and the new number are
        /// both multiples of the number of shards.
        ///
        /// Range: 0, or the number of shards to 1048576; 0 is one for each shard. Default: 0.
        /// Reload: restart.
        buckets: u32 = 0, between(0, ShardMap::MAX_BUCKETS);
        /// Functions that write nothing although PostgreSQL does not know it, as `f` or
        /// `schema.f`: a SELECT that calls them may run on a replica.
        ///
        /// Default: []. Reload: restart.
        read_only_functions: Vec<String> = Vec::new(), Range::Any;
        /// How one of several replicas is picked: "round-robin"; "weighted", in turn by the
        /// nodes' `weight`; "least-busy", the fewest borrowed backends for its weight; "random",
        /// by weight; "latency", of two at random the one that would be done sooner.
        ///
        /// Default: "round-robin". Reload: restart.
        balance: Balance = Balance::RoundRobin, Range::Any;
        /// Whether reads go to the primary when no replica may be read; else they fail.
        ///
        /// Default: true. Reload: restart.
        fall_back_to_primary: bool = true, Range::Any;
        /// The zone this process runs in: reads go to replicas with the same `zone` as long as
        /// one of them has room.
        ///
        /// Default: "", no zone. Reload: restart.
        zone: String = String::new(), Range::Any;
        /// Borrowed backends at which a replica of the zone has no room for more.
        ///
        /// Range: 0 to 1000000; 0 is `pool.size`. Default: 0. Reload: restart.
        zone_limit: u32 = 0, between(0, 1_000_000);
        /// How long a statement for a primary waits while its group has none, because it has failed
        /// or is being switched over. A group of one node is not waited for.
        ///
        /// Unit: duration. Range: 0 to 10m; 0 fails at once. Default: 10s. Reload: restart.
        primary_wait: Duration = secs(10), between(Duration::ZERO, secs(600));
    }
}

section! {
    /// `[transactions]`: transactions over several shards.
    TransactionSettings["transactions"] {
        /// How long something must have been prepared before recovery finishes it, also against
        /// the will of a process that is only slow.
        ///
        /// Unit: duration. Range: 100ms to 1d. Default: 10s. Reload: restart.
        grace: Duration = secs(10), between(ms(100), hours(24));
        /// The time between two looks for what was left prepared.
        ///
        /// Unit: duration. Range: 100ms to 1h. Default: 5s. Reload: restart.
        recovery_interval: Duration = secs(5), between(ms(100), hours(1));
        /// The time between two looks for deadlocks over several shards.
        ///
        /// Unit: duration. Range: 10ms to 10m. Default: 1s, as PostgreSQL's deadlock_timeout.
        /// Reload: restart.
        deadlock_interval: Duration = secs(1), between(ms(10), secs(600));
    }
}

section! {
    /// `[tls]`: encryption between pgherd and the nodes. A Unix socket is never encrypted. Files
    /// are read for each new connection, so that renewed certificates are used.
    TlsSettings["tls"] {
        /// "disable": never. "prefer": if the node can, else in plain. "require": encrypted or not at
        /// all; any certificate will do, but with `root_cert` the same as "verify-ca". "verify-ca":
        /// and the certificate comes from an authority in `root_cert`. "verify-full": and it is made
        /// out to the node's `server_name`.
        ///
        /// As `sslmode` of libpq. "prefer" keeps out who listens, not who stands in between.
        /// Default: "prefer". Reload: restart.
        mode: TlsMode = TlsMode::Prefer, Range::Any;
        /// A PEM file with the certificates of the authorities to trust, or the node's own
        /// certificate if it has signed itself.
        ///
        /// Default: "", none. Reload: new connections.
        root_cert: String = String::new(), Range::Any;
        /// A PEM file with our own certificate, for nodes that ask for one, and with those between
        /// it and the authority.
        ///
        /// Default: "", none. Reload: new connections.
        cert: String = String::new(), Range::Any;
        /// A PEM file with the key of `cert`, not encrypted, readable by its owner alone (or, where
        /// root owns it, by its group).
        ///
        /// Default: "", none. Reload: new connections.
        key: String = String::new(), Range::Any;
        /// The oldest version of TLS to speak: "1.2" or "1.3".
        ///
        /// Default: "1.2". Reload: restart.
        min_version: TlsVersion = TlsVersion::Tls12, Range::Any;
        /// The name that certificates are made out to, if it is the same for all nodes and not their
        /// `host`. A `[[node]]` may have its own.
        ///
        /// Default: "", each node's `host`. Reload: restart.
        server_name: String = String::new(), Range::Any;
        /// Whether a SCRAM login is bound to the TLS connection it goes over, which gives away
        /// whoever stands in between: "disable", "prefer" (if both ends can) or "require" (or there
        /// is no login, whatever the node would accept).
        ///
        /// Default: "prefer". Reload: restart.
        channel_binding: ChannelBinding = ChannelBinding::Prefer, Range::Any;
    }
}

section! {
    /// `[client_tls]`: encryption between clients and the proxy.
    ClientTlsSettings["client_tls"] {
        /// "disable": never. "prefer": for clients that ask for it. "require": others are refused.
        /// "verify-ca": and the client shows a certificate from an authority in `root_cert`.
        /// "verify-full": and it is made out (its common name) to the user that logs in.
        ///
        /// Default: "disable". Reload: restart.
        mode: TlsMode = TlsMode::Disable, Range::Any;
        /// A PEM file with the certificate that is shown to clients, and with those between it and
        /// the authority that they trust. Required where `mode` is not "disable".
        ///
        /// Default: "", none. Reload: new connections, at SIGHUP.
        cert: String = String::new(), Range::Any;
        /// A PEM file with the key of `cert`, not encrypted, readable by its owner alone (or, where
        /// root owns it, by its group).
        ///
        /// Default: "", none. Reload: new connections, at SIGHUP.
        key: String = String::new(), Range::Any;
        /// A PEM file with the authorities that issue certificates of clients.
        ///
        /// Default: "", none. Reload: new connections, at SIGHUP.
        root_cert: String = String::new(), Range::Any;
        /// The oldest version of TLS to speak: "1.2" or "1.3".
        ///
        /// Default: "1.2". Reload: restart.
        min_version: TlsVersion = TlsVersion::Tls12, Range::Any;
    }
}

/// `[[node]]`: one PostgreSQL server. See [`Settings`](super::Settings).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// What people call it. Unique. Default: by its place, "coordinator", "shard-0", "shard-0-r1".
    pub name: String,
    /// Host name, address, or a Unix socket: its folder (`/run/postgresql`), or what its abstract name
    /// begins with (`@postgresql`). Required. Several, separated by commas and each with a port of its
    /// own or without, are ways to the same server: poolers or load balancers before it (see
    /// `load_balance_hosts`).
    pub host: String,
    /// TCP port, or the number in the name of the Unix socket, for hosts that have none. Range: 1 to
    /// 65535. Default: 5432.
    pub port: u16,
    /// "coordinator", "worker" or "replica". Required.
    pub role: NodeRole,
    /// The shard it carries: required for a worker, given for a replica of a shard.
    pub shard: Option<ShardId>,
    /// Its part of the reads, beside that of the other replicas of its group, where
    /// `routing.balance` goes by weight. Range: 1 to 1000. Default: 1.
    pub weight: u32,
    /// Where it stands, for `routing.zone`. Default: "", nowhere in particular.
    pub zone: String,
    /// The name its certificate is made out to. Default: "", which is `tls.server_name`, else
    /// `host`.
    pub server_name: String,
    /// How new backends are spread over its addresses. Default: as `pool.load_balance_hosts`.
    pub load_balance_hosts: Option<HostBalance>,
}

/// `[[user]]`: a login, checked on clients and used on the nodes. Its password is given in one of
/// five ways, or there is none; without one no client is let in that has to prove who it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserSettings {
    /// The role's name. Required, unique.
    pub name: String,
    /// The password. Default: "", none.
    pub password: Secret,
    /// A file that holds the password and nothing else; a line end after it does not count. The
    /// library reads it for each new connection, the proxy at its start. Default: "", none.
    pub password_file: String,
    /// A command that prints the password: a list, or a text for `sh -c`. It has 10 seconds, and
    /// what it prints serves for new connections of the next 30 seconds, or until a node refuses
    /// it; the proxy runs it at its start. Default: [], none.
    pub password_command: PasswordCommand,
    /// A file of lines `host:port:database:user:password`, as libpq's `~/.pgpass`. Not for the proxy,
    /// which has one password for a user on all nodes. Default: "", none.
    pub passfile: String,
    /// For how long a client holds a backend, under this login at the nodes. Default: as the
    /// database's.
    pub pool_mode: Option<PoolMode>,
    /// Backends to one node, at most, for each database under this login. Default: as the database's.
    pub pool_size: Option<u32>,
    /// Backends beyond that for who has waited for `pool.reserve_after`. Default: as the database's.
    pub reserve_size: Option<u32>,
    /// Backends to one node under this login, at most, for all databases together; 0 is no limit.
    /// Default: as `pool.max_backends_per_user`.
    pub max_backends: Option<u32>,
    /// What PostgreSQL stores of the password, `rolpassword` of pg_authid: "SCRAM-SHA-256$..." or
    /// "md5...". Clients are checked against it. With a SCRAM secret pgherd logs in at a node that
    /// stores the same one by the key of a client that has logged in, with md5 at a node that asks for
    /// md5. The proxy only. Default: "", none.
    pub password_hash: Secret,
    /// Whether only pgherd logs in under this name, at the nodes, and no client may: for `user` of a
    /// `[[database]]`. The proxy only. Default: false.
    pub nodes_only: bool,
    /// Clients under this name, at most; 0 is no limit. Default: as `listen.max_clients_per_user`.
    pub max_clients: Option<u32>,
    /// How long its acquires wait for a free backend. Default: as the database's.
    pub acquire_timeout: Option<Duration>,
    /// How long a batch of its clients may run; 0 is for ever. Default: as `listen.query_timeout`.
    pub query_timeout: Option<Duration>,
    /// How long a transaction of its clients may be open; 0 is for ever. Default: as
    /// `listen.transaction_timeout`.
    pub transaction_timeout: Option<Duration>,
    /// How long one may be open while nothing runs; 0 is for ever. Default: as
    /// `listen.idle_transaction_timeout`.
    pub idle_transaction_timeout: Option<Duration>,
    /// How long its clients may say nothing; 0 is for ever. Default: as `listen.client_idle_timeout`.
    pub client_idle_timeout: Option<Duration>,
}

section! {
    /// `[http]`: what monitoring asks.
    HttpSettings["http"] {
        /// Where `/metrics`, `/health`, `/livez` and `/readyz` are answered over HTTP: an IP address and
        /// a port, `"127.0.0.1:9127"`, `"[::1]:9127"`. Whoever reaches it sees the names of databases,
        /// users and nodes. Port 0 takes any free port.
        ///
        /// Default: "", which is nowhere. Reload: restart.
        listen: String = String::new(), Range::Any;
    }
}

section! {
    /// `[tcp]`: the proxy's connections over TCP, those of clients and those to nodes.
    TcpSettings["tcp"] {
        /// Whether a peer that says nothing is asked whether it is there (SO_KEEPALIVE).
        ///
        /// Default: true. Reload: restart.
        keepalive: bool = true, Range::Any;
        /// After how long a silence it is asked first (TCP_KEEPIDLE).
        ///
        /// Unit: duration, rounded up to seconds. Range: 0 to 9h; 0 leaves it to the system
        /// (`net.ipv4.tcp_keepalive_time`, two hours). Default: 1m. Reload: restart.
        keepalive_after: Duration = secs(60), between(Duration::ZERO, hours(9));
        /// After how long it is asked again (TCP_KEEPINTVL).
        ///
        /// Unit: duration, rounded up to seconds. Range: 0 to 9h; 0 leaves it to the system
        /// (`net.ipv4.tcp_keepalive_intvl`). Default: 10s. Reload: restart.
        keepalive_interval: Duration = secs(10), between(Duration::ZERO, hours(9));
        /// How often it is asked before its connection counts as lost (TCP_KEEPCNT).
        ///
        /// Range: 0 to 127; 0 leaves it to the system (`net.ipv4.tcp_keepalive_probes`). Default: 3.
        /// Reload: restart.
        keepalive_count: u32 = 3, between(0, 127);
        /// What the system keeps of a connection in each direction (SO_SNDBUF, SO_RCVBUF).
        ///
        /// Unit: bytes. Range: 0 to 1GiB; 0 leaves it to the system, which gives each connection what it
        /// needs. Default: 0. Reload: restart.
        buffer: ByteSize = ByteSize(0), between(ByteSize(0), ByteSize::mib(1024));
    }
}

section! {
    /// `[log]`: what the proxy says of its clients, and of what it does for them. At which level it
    /// logs at all is an option of the program.
    LogSettings["log"] {
        /// Whether each login is told: its number in SHOW CLIENTS, address, database, user, TLS and
        /// `application_name`.
        ///
        /// Default: true. Reload: live.
        connections: bool = true, Range::Any;
        /// Whether it is told when a client that was logged in leaves, why, and after how long.
        ///
        /// Default: true. Reload: live.
        disconnections: bool = true, Range::Any;
        /// Whether it is told what errors pgherd itself tells clients, refused logins among them. Those
        /// that a node tells them are in the node's log.
        ///
        /// Default: true. Reload: live.
        client_errors: bool = true, Range::Any;
        /// Whether a line of statistics is written each `listen.stats_period`.
        ///
        /// Default: true. Reload: live.
        statistics: bool = true, Range::Any;
        /// Lines about single clients in one second, at most, the same part for each loop. How many
        /// were left out is told behind them.
        ///
        /// Range: 1 to 1000000. Default: 500. Reload: live.
        /// Why 500: clients that fail and come again by thousands fill no disk, and hold up nobody.
        lines_per_second: u32 = 500, between(1, 1_000_000);
        /// Whether the log goes to the syslog daemon as well. What it does not take at once is left
        /// out, and how much that was is told when it takes something again: nobody waits for it.
        ///
        /// Default: false. Reload: live.
        syslog: bool = false, Range::Any;
        /// What messages to it begin with, and the process id behind.
        ///
        /// Default: "pgherd". Reload: live.
        syslog_ident: String = "pgherd".to_owned(), Range::Any;
        /// Whose messages it takes them for: "auth", "authpriv", "daemon", "user", or "local0" to
        /// "local7".
        ///
        /// Default: "daemon". Reload: live.
        syslog_facility: SyslogFacility = SyslogFacility::Daemon, Range::Any;
        /// The datagram socket where it listens.
        ///
        /// Default: "/dev/log". Reload: live.
        syslog_socket: String = "/dev/log".to_owned(), Range::Any;
    }
}

pub(super) fn check_all(settings: &Settings, problems: &mut Vec<(String, String)>) {
    settings.cluster.check(problems);
    settings.listen.check(problems);
    settings.pool.check(problems);
    settings.health.check(problems);
    settings.retry.check(problems);
    settings.routing.check(problems);
    settings.transactions.check(problems);
    settings.tls.check(problems);
    settings.client_tls.check(problems);
    settings.http.check(problems);
    settings.tcp.check(problems);
    settings.log.check(problems);
}

pub(super) fn describe_all(all: &mut Vec<SettingInfo>) {
    ClusterSettings::describe(all);
    ListenSettings::describe(all);
    PoolSettings::describe(all);
    HealthSettings::describe(all);
    RetrySettings::describe(all);
    RoutingSettings::describe(all);
    TransactionSettings::describe(all);
    TlsSettings::describe(all);
    ClientTlsSettings::describe(all);
    HttpSettings::describe(all);
    TcpSettings::describe(all);
    LogSettings::describe(all);
}

pub(super) fn values_of_all(settings: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    settings.cluster.values(&mut all);
    settings.listen.values(&mut all);
    settings.pool.values(&mut all);
    settings.health.values(&mut all);
    settings.retry.values(&mut all);
    settings.routing.values(&mut all);
    settings.transactions.values(&mut all);
    settings.tls.values(&mut all);
    settings.client_tls.values(&mut all);
    settings.http.values(&mut all);
    settings.tcp.values(&mut all);
    settings.log.values(&mut all);
    all
}

pub(super) fn set(
    settings: &mut Settings,
    section: &str,
    name: &str,
    text: &str,
) -> Option<Result<(), String>> {
    match section {
        ClusterSettings::NAME => settings.cluster.set(name, text),
        ListenSettings::NAME => settings.listen.set(name, text),
        PoolSettings::NAME => settings.pool.set(name, text),
        HealthSettings::NAME => settings.health.set(name, text),
        RetrySettings::NAME => settings.retry.set(name, text),
        RoutingSettings::NAME => settings.routing.set(name, text),
        TransactionSettings::NAME => settings.transactions.set(name, text),
        TlsSettings::NAME => settings.tls.set(name, text),
        HttpSettings::NAME => settings.http.set(name, text),
        TcpSettings::NAME => settings.tcp.set(name, text),
        LogSettings::NAME => settings.log.set(name, text),
        _ => None,
    }
}

/// Whether there is such a setting: it is as in the other settings now.
pub(super) fn copy(settings: &mut Settings, section: &str, name: &str, from: &Settings) -> bool {
    match section {
        ClusterSettings::NAME => settings.cluster.copy(name, &from.cluster),
        ListenSettings::NAME => settings.listen.copy(name, &from.listen),
        PoolSettings::NAME => settings.pool.copy(name, &from.pool),
        HealthSettings::NAME => settings.health.copy(name, &from.health),
        RetrySettings::NAME => settings.retry.copy(name, &from.retry),
        RoutingSettings::NAME => settings.routing.copy(name, &from.routing),
        TransactionSettings::NAME => settings.transactions.copy(name, &from.transactions),
        TlsSettings::NAME => settings.tls.copy(name, &from.tls),
        ClientTlsSettings::NAME => settings.client_tls.copy(name, &from.client_tls),
        HttpSettings::NAME => settings.http.copy(name, &from.http),
        TcpSettings::NAME => settings.tcp.copy(name, &from.tcp),
        LogSettings::NAME => settings.log.copy(name, &from.log),
        _ => false,
    }
}
