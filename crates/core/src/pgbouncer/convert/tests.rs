use std::collections::HashSet;

use proptest::prelude::*;

use super::super::value::Kind;
use super::super::{catalogue, quote_pair};
use super::*;
use crate::settings::{AuthMethod, reference};

const USERS: &str = "\"app\" \"secret\"\n\"batch\" \"se\"\"cret\"\n";

fn read(path: &str) -> Result<String, String> {
    if path == "users" { Ok(USERS.to_owned()) } else { Err("no such file".to_owned()) }
}

/// An ini that serves, with further lines of `[pgbouncer]` and of `[databases]` and what follows.
fn ini(global: &str, rest: &str) -> String {
    format!(
        "[pgbouncer]\nlisten_addr = 127.0.0.1\nauth_type = scram-sha-256\nauth_file = users\n\
         unix_socket_dir =\n{global}\n[databases]\nshop = host=db\n{rest}\n"
    )
}

fn converted(global: &str, rest: &str) -> Result<Converted, String> {
    let lines = |errors: Vec<FileError>| {
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    convert(&ini(global, rest), "test.ini", &mut read).map_err(lines)
}

fn warnings(global: &str, rest: &str) -> Vec<String> {
    let converted = converted(global, rest).unwrap();
    converted.warnings.iter().map(ToString::to_string).collect()
}

#[test]
fn what_pgbouncer_does_by_itself_holds_here() {
    let Converted { settings, process, warnings } = converted("", "").unwrap();
    assert_eq!((warnings, process), (vec![], Process::default()));
    let expected = "[cluster]\ndatabase = \"shop\"\n\n\
        [[node]]\nname = \"coordinator\"\nhost = \"db\"\nrole = \"coordinator\"\n\n\
        [[user]]\nname = \"app\"\npassword = \"secret\"\n\n\
        [[user]]\nname = \"batch\"\npassword = \"se\\\"cret\"\n\n\
        [[database]]\nname = \"shop\"\n\n\
        [listen]\nbacklog = 128\nmax_clients = 100\nlogin_timeout = \"1m\"\nwait_notice = \"5s\"\n\n\
        [pool]\nmode = \"session\"\nreserve_after = \"5s\"\nacquire_timeout = \"2m\"\n\
        connect_timeout = \"15s\"\nopen_retry = \"15s\"\n\n\
        [tcp]\nkeepalive_after = \"0\"\nkeepalive_interval = \"0\"\nkeepalive_count = 0\n\n\
        [log]\nsyslog_ident = \"pgbouncer\"\n";
    assert_eq!(settings.to_toml(), expected);
}

/// A line of `[pgbouncer]`, and the line of pgherd.toml that it becomes.
const BECOMES: &[(&str, &str)] = &[
    ("listen_addr = *", "address = \"0.0.0.0\""),
    ("listen_addr = ::1", "address = \"::1\""),
    ("listen_addr = localhost, 10.0.0.1,::1", "address = \"127.0.0.1, 10.0.0.1, ::1\""),
    ("listen_addr =\nunix_socket_dir = /run/pg", "address = \"\"\nunix_socket_dir = \"/run/pg\""),
    ("unix_socket_dir = /tmp", "unix_socket_dir = \"/tmp\""),
    ("unix_socket_mode = 0700", "unix_socket_mode = \"0700\""),
    ("unix_socket_group = dba", "unix_socket_group = \"dba\""),
    ("so_reuseport = 1", "reuse_port = true"),
    ("listen_port = 5432", "port = 5432"),
    ("pool_mode = Transaction", "[pool]\nreserve_after"),
    ("pool_mode = statement", "mode = \"statement\""),
    ("max_client_conn = 0x100", "max_clients = 256"),
    ("default_pool_size = 7", "size = 7"),
    ("default_pool_size = 0", "size = 10000"),
    ("min_pool_size = 3", "min_idle = 3"),
    ("reserve_pool_size = 3", "reserve_size = 3"),
    ("reserve_pool_timeout = 0.5", "reserve_after = \"500ms\""),
    ("max_db_connections = 3", "max_backends_per_database = 3"),
    ("max_user_connections = 3", "max_backends_per_user = 3"),
    ("max_db_client_connections = 3", "max_clients_per_database = 3"),
    ("max_user_client_connections = 3", "max_clients_per_user = 3"),
    ("server_round_robin = 1", "round_robin = true"),
    ("peer_id = 3", "peer_id = 3"),
    ("admin_users = app", "admin_users = [\"app\"]"),
    ("stats_users = app, nobody batch", "stats_users = [\"app\", \"batch\"]"),
    ("stats_period = 5", "stats_period = \"5s\""),
    ("auth_type = trust", "auth = \"trust\""),
    ("auth_type = plain", "auth = \"plain\""),
    ("auth_type = MD5", "auth = \"md5\""),
    ("auth_hba_file = h", "hba_file = \"h\""),
    ("auth_ident_file = i", "ident_file = \"i\""),
    ("auth_user = app", "auth_user = \"app\""),
    ("auth_query = select 1, $1", "auth_query = \"select 1, $1\""),
    ("auth_dbname = shop", "auth_database = \"shop\""),
    ("dns_max_ttl = 0", "dns_ttl = \"1s\""),
    ("server_tls_sslmode = disable", "mode = \"disable\""),
    ("server_tls_sslmode = require", "mode = \"require\""),
    ("server_tls_protocols = tlsv1.3", "min_version = \"1.3\""),
    ("server_reset_query = select 1", "reset_query = \"select 1\""),
    ("server_reset_query_always = 1", "reset_always = true"),
    ("server_check_query = select 1", "check_query = \"select 1\""),
    ("server_check_query =", "check_after = \"7d\""),
    ("server_check_delay = 5", "check_after = \"5s\""),
    ("server_lifetime = 0", "max_lifetime = \"1s\""),
    ("server_idle_timeout = 0", "idle_timeout = \"7d\""),
    ("server_idle_timeout = 0.25", "idle_timeout = \"1s\""),
    ("server_connect_timeout = 0", "connect_timeout = \"10m\""),
    ("server_login_retry = 0.1", "open_retry = \"100ms\""),
    ("client_login_timeout = 3", "login_timeout = \"3s\""),
    ("query_timeout = 3", "query_timeout = \"3s\""),
    ("query_wait_timeout = 0", "acquire_timeout = \"10m\""),
    ("query_wait_notify = 0", "wait_notice = \"0\""),
    ("cancel_wait_timeout = 3", "cancel_wait_timeout = \"3s\""),
    ("client_idle_timeout = 3", "client_idle_timeout = \"3s\""),
    ("idle_transaction_timeout = 3", "idle_transaction_timeout = \"3s\""),
    ("transaction_timeout = 3", "transaction_timeout = \"3s\""),
    ("application_name_add_host = 1", "application_name_add_host = true"),
    ("scram_iterations = 10000", "scram_iterations = 10000"),
    ("login_notify_message = it's a \"pooler\"", "login_notice = \"it's a \\\"pooler\\\"\""),
    ("disable_pqexec = 1", "simple_queries = false"),
    ("server_fast_close = 1", "fast_close = true"),
    ("max_packet_size = 100", "message_limit = \"1KiB\""),
    ("suspend_timeout = 0", "suspend_timeout = \"10m\""),
    ("log_connections = 0", "[log]\nconnections = false"),
    ("log_disconnections = 0", "[log]\ndisconnections = false"),
    ("log_pooler_errors = 0", "[log]\nclient_errors = false"),
    ("log_stats = 0", "[log]\nstatistics = false"),
    ("syslog = 1", "[log]\nsyslog = true"),
    ("syslog_ident = x", "[log]\nsyslog_ident = \"x\""),
    ("syslog_facility = Local7", "syslog_facility = \"local7\""),
    ("listen_backlog = 7", "backlog = 7"),
    ("listen_backlog = 0", "backlog = 1"),
    ("dns_nxdomain_ttl = 3", "dns_retry = \"3s\""),
    ("dns_nxdomain_ttl = 0", "dns_retry = \"1s\""),
    ("tcp_keepalive = 0", "[tcp]\nkeepalive = false"),
    ("tcp_keepcnt = 5", "keepalive_count = 5"),
    ("tcp_keepidle = 90", "keepalive_after = \"90s\""),
    ("tcp_keepintvl = 9", "keepalive_interval = \"9s\""),
    ("tcp_socket_buffer = 65536", "buffer = \"64KiB\""),
    ("tcp_user_timeout = 1500", "tcp_user_timeout = \"1500ms\""),
];

#[test]
fn each_setting_becomes_ours() {
    for (line, ours) in BECOMES {
        let text = converted(line, "").unwrap().settings.to_toml();
        assert!(text.contains(&format!("\n{ours}")), "{line}:\n{text}");
    }
    // What is shown elsewhere.
    let others = ["auth_file"];
    let files = ["server_tls_ca_file", "server_tls_key_file", "server_tls_cert_file"];
    let of_clients = [
        "client_tls_sslmode",
        "client_tls_protocols",
        "client_tls_ca_file",
        "client_tls_key_file",
        "client_tls_cert_file",
    ];
    let process = ["logfile", "pidfile", "user", "verbose"];
    for row in GLOBAL.iter().filter(|row| matches!(row.fate, Fate::Becomes(..))) {
        let is_shown = BECOMES.iter().any(|(line, _)| line.split(' ').next() == Some(row.name))
            || [&others[..], &files, &of_clients, &process].concat().contains(&row.name);
        assert!(is_shown, "no test for {}", row.name);
    }
    let files = "server_tls_ca_file=a\nserver_tls_key_file=k\nserver_tls_cert_file=c";
    let tls = converted(files, "").unwrap().settings.tls;
    assert_eq!((&*tls.root_cert, &*tls.key, &*tls.cert), ("a", "k", "c"));
    let files = "client_tls_ca_file=a\nclient_tls_key_file=k\nclient_tls_cert_file=c\n\
                 client_tls_sslmode=verify-full\nclient_tls_protocols=tlsv1.3";
    let tls = converted(files, "").unwrap().settings.client_tls;
    assert_eq!((&*tls.root_cert, &*tls.key, &*tls.cert), ("a", "k", "c"));
    assert_eq!((tls.mode.as_str(), tls.min_version.as_str()), ("verify-ca", "1.3"));
    let off = converted("reserve_pool_size = 3\nreserve_pool_timeout = 0", "").unwrap();
    assert_eq!(off.settings.pool.reserve_size, 0);
    let process = converted("logfile=l\npidfile=p\nuser=u\nverbose=2", "").unwrap().process;
    let text = |text: &str| Some(text.to_owned());
    let expected = Process { logfile: text("l"), pidfile: text("p"), user: text("u"), verbose: 2 };
    assert_eq!(process, expected);
}

#[test]
fn databases_and_users_have_settings_of_their_own() {
    let rest = "\"a b\" = host=db dbname=shop user=app pool_size=3 min_pool_size=1 reserve_pool=2 \
                max_db_connections=9 pool_mode=statement server_lifetime=60 query_wait_timeout=2 \
                max_db_client_connections=7 connect_query='select ''x''' application_name='a b' \
                client_encoding=latin1 datestyle='SQL, DMY' timezone=Europe/Paris\n\
                * = host=db user=other password='p w'\n\
                [users]\nbatch = pool_mode=session pool_size=4 reserve_pool_size=5 \
                max_user_connections=6 max_user_client_connections=7 query_timeout=1 \
                query_wait_timeout=2 idle_transaction_timeout=3 transaction_timeout=4 \
                client_idle_timeout=5\nother = pool_size=1";
    let text = converted("", rest).unwrap().settings.to_toml();
    for part in [
        "[[user]]\nname = \"batch\"\npassword = \"se\\\"cret\"\npool_mode = \"session\"\n\
         pool_size = 4\nreserve_size = 5\nmax_backends = 6\nmax_clients = 7\n\
         acquire_timeout = \"2s\"\nquery_timeout = \"1s\"\ntransaction_timeout = \"4s\"\n\
         idle_transaction_timeout = \"3s\"\nclient_idle_timeout = \"5s\"\n",
        "[[user]]\nname = \"other\"\npassword = \"p w\"\nnodes_only = true\npool_size = 1\n",
        "[[database]]\nname = \"shop\"\n",
        "[[database]]\nname = \"a b\"\ndatabase = \"shop\"\nuser = \"app\"\npool_mode = \"statement\"\n\
         pool_size = 3\nmin_idle = 1\nreserve_size = 2\nmax_backends = 9\nmax_clients = 7\n\
         acquire_timeout = \"2s\"\nmax_lifetime = \"1m\"\nconnect_query = \"select 'x'\"\n\
         application_name = \"a b\"\nclient_encoding = \"latin1\"\n\
         datestyle = \"SQL, DMY\"\ntimezone = \"Europe/Paris\"\n",
        "[[database]]\nname = \"*\"\nuser = \"other\"\n",
    ] {
        assert!(text.contains(part), "{part}\n in \n{text}");
    }
}

#[test]
fn hosts_and_peers_become_ours() {
    let ini = "[databases]\na = host=db1,db2 port=6000 load_balance_hosts=disable\n\
               [pgbouncer]\nlisten_addr = ::1\nauth_file = users\npeer_id = 1\n\
               [peers]\n1 = host=10.0.0.1\n2 = host=10.0.0.2 port=6433 pool_size=5\n";
    let settings = convert(ini, "test.ini", &mut read).unwrap().settings;
    let node = &settings.nodes[0];
    assert_eq!((node.host.as_str(), node.port), ("db1,db2", 6000));
    assert_eq!(node.load_balance_hosts, Some(HostBalance::Disable));
    let peer = |id, host: &str, port| PeerSettings { id, host: host.to_owned(), port };
    assert_eq!(settings.peers, [peer(1, "10.0.0.1", 6432), peer(2, "10.0.0.2", 6433)]);
    let text = settings.to_toml();
    assert_eq!(Settings::from_toml(&text, "test").unwrap(), settings, "{text}");
}

#[test]
fn nodes_may_be_behind_unix_sockets() {
    let ini = "[databases]\na = host=/run/postgresql\nb = host=@pg port=6000\nc =\n\
               d = host=db,/run/postgresql\n* = port=6001\n\
               [pgbouncer]\nlisten_addr = ::1\nauth_file = users\npeer_id = 1\n\
               [peers]\n2 = host=/run/other\n";
    let found = convert(ini, "test.ini", &mut read).unwrap();
    assert_eq!(found.warnings, []);
    let nodes: Vec<_> =
        found.settings.nodes.iter().map(|node| (node.host.as_str(), node.port)).collect();
    let expected = [
        ("/run/postgresql", 5432),
        ("@pg", 6000),
        ("/tmp", 5432),
        ("db,/run/postgresql", 5432),
        ("/tmp", 6001),
    ];
    assert_eq!(nodes, expected, "without a host it is unix_socket_dir, whose default is /tmp");
    assert_eq!(found.settings.peers[0].host, "/run/other");
    let text = found.settings.to_toml();
    assert_eq!(Settings::from_toml(&text, "test").unwrap(), found.settings, "{text}");

    let long = format!("a = host=/{}", "x".repeat(100));
    let errors = converted("", &long).map(|_| ()).unwrap_err();
    assert!(errors.contains("test.ini:9: a: host: the Unix socket `/xxx"), "{errors}");
}

#[test]
fn each_database_spreads_its_backends_over_the_hosts_as_it_says() {
    let ini = "[databases]\na = host=one,two\nb = host=one,two load_balance_hosts=disable\n\
               c = host=one,two load_balance_hosts=round-robin\n\
               [pgbouncer]\nlisten_addr = ::1\nauth_file = users\n";
    let settings = convert(ini, "test.ini", &mut read).unwrap().settings;
    let nodes: Vec<_> =
        settings.nodes.iter().map(|node| (node.host.as_str(), node.load_balance_hosts)).collect();
    assert_eq!(nodes, [("one,two", None), ("one,two", Some(HostBalance::Disable))]);
    let shards: Vec<_> = settings.databases.iter().map(|database| database.shard).collect();
    assert_eq!(shards, [None, Some(ShardId(0)), None]);
    let topology = settings.topology().unwrap();
    let balance = topology.nodes().iter().map(|node| node.balance);
    assert!(balance.eq([HostBalance::RoundRobin, HostBalance::Disable]));
}

#[test]
fn hashes_of_passwords_stay_hashes_unless_the_password_is_known() {
    let secret = scram::Secret::from_password("pw", b"salt of the node", 4096).to_text();
    let md5 = md5::stored("m", "pw");
    let users = format!("\"m\" \"{md5}\"\n\"s\" \"{secret}\"\n\"app\" \"secret\"\n");
    let users_of = |global: &str, rest: &str| {
        let mut read = |_: &str| Ok(users.clone());
        let converted = convert(&ini(global, rest), "test.ini", &mut read);
        let settings = converted.map(|converted| converted.settings);
        settings.map_err(|errors| errors[0].to_string())
    };
    let settings = users_of("", "").unwrap();
    // The node is asked under the first: one with a password.
    assert_eq!(settings.users[0].name, "app");
    let [m, s] = [&settings.users[1], &settings.users[2]];
    assert_eq!((m.password_hash.expose(), s.password_hash.expose()), (&*md5, &*secret));
    assert!(m.password.is_empty() && s.password.is_empty());
    let text = settings.to_toml();
    assert_eq!(Settings::from_toml(&text, "test").unwrap(), settings, "{text}");

    // A database says the password itself, of which the hash is one.
    let rest = "a = host=db user=m password=pw\nb = host=db user=s password=pw";
    let known = users_of("", rest).unwrap();
    let passwords = known.users.iter().filter(|user| user.password.expose() == "pw");
    assert_eq!((passwords.count(), known.databases[1].user.as_str()), (2, "m"));
    let error = users_of("", "a = host=db user=s password=other").unwrap_err();
    assert!(error.contains("has another password in auth_file"), "{error}");
    let error = users_of("", &format!("a = host=db user=new password='{secret}'")).unwrap_err();
    assert!(error.contains("nobody can log in as `new`"), "{error}");

    let rest = "a = host=db user=new password=pw\nshop = host=db user=new";
    let any = users_of("auth_type = any", rest).unwrap();
    assert_eq!(any.listen.auth, AuthMethod::Any);
    let error = users_of("auth_type = any", "").unwrap_err();
    assert!(error.starts_with("test.ini:8: shop: needs a `user`"), "{error}");
}

#[test]
fn what_has_no_effect_is_said_with_its_reason() {
    for (global, rest, says) in [
        ("pkt_buf = 8192", "", "test.ini:6: pkt_buf has no effect: "),
        ("admin_users = nobody", "", "test.ini:6: admin_users: `nobody` cannot log in"),
        ("listen_addr = *", "", "test.ini:6: listen_addr: `*` is 0.0.0.0"),
        ("listen_addr = 127.0.0.1", "", "test.ini:2: listen_addr: set again in line 6"),
        ("client_tls_ciphers = fast", "", "test.ini:6: client_tls_ciphers has no effect"),
        ("query_wait_timeout = 0", "", "test.ini:6: query_wait_timeout: 0, for ever, becomes 10m"),
        ("listen_backlog = 0", "", "test.ini:6: listen_backlog: it becomes 1, the least"),
        ("dns_nxdomain_ttl = 0", "", "test.ini:6: dns_nxdomain_ttl: it becomes 1s, the least"),
        ("", "a = host=db password=x", "test.ini:9: a: password has no effect: "),
        ("", "[users]\nnobody = pool_size=3", "test.ini:10: nobody: no effect: no login"),
        ("", "[peers]\n1 = host=other", "test.ini:10: 1: no effect without peer_id"),
    ] {
        let found = warnings(global, rest);
        assert!(found.iter().any(|text| text.starts_with(says)), "{says}: {found:?}");
    }
    // What is set as it is anyway is not spoken of.
    let quiet = "pkt_buf = 0x1000\nlisten_backlog = 128\nadmin_users =\nso_reuseport = 0\n\
                 server_reset_query = DISCARD ALL\nclient_tls_sslmode = disable";
    assert_eq!(warnings(quiet, ""), Vec::<String>::new());
}

#[test]
fn what_pgbouncer_refuses_or_would_be_dangerous_is_refused() {
    for (global, rest, says) in [
        ("foo = 1", "", "test.ini:6: foo: unknown to PgBouncer and to pgherd"),
        ("pool_mod = session", "", "did you mean `pool_mode`?"),
        ("Pool_mode = session", "", "did you mean `pool_mode`?"),
        ("pool_mode = sesion", "", "`sesion` is not one of session, transaction, statement"),
        ("verbose = yes", "", "test.ini:6: verbose: `yes` is not a whole number"),
        ("server_lifetime = 5min", "", "without a unit"),
        ("server_lifetime = -1", "", "without a unit"),
        ("tcp_user_timeout = 3.5", "", "whole number of milliseconds"),
        ("max_client_conn =", "", "max_client_conn: `` is not"),
        (
            "max_client_conn = 0",
            "",
            "test.ini:6: max_client_conn: 0 is out of range (1 to 1000000)",
        ),
        ("listen_port = 70000", "", "70000 is no port"),
        ("listen_addr =", "", "there has to be a unix_socket_dir"),
        ("unix_socket_mode = rwx", "", "test.ini:6: unix_socket_mode: `rwx` is no mode"),
        ("listen_addr = db.example.com", "", "is no IP address"),
        (
            "auth_type = ldap",
            "",
            "`ldap` is not supported, as by a PgBouncer that was built without it",
        ),
        ("auth_type = hba", "", "listen.hba_file: is required, as listen.auth is \"hba\""),
        ("auth_type = cert", "", "test.ini:6: auth_type: \"cert\" needs certificates"),
        ("auth_user = look", "", "test.ini:6: auth_user: `auth_user`: `look` is no [[user]]"),
        (
            "",
            "a = host=db auth_dbname=b",
            "test.ini:9: a: `auth_database`: no database is called `b`",
        ),
        ("auth_file = gone", "", "test.ini:6: auth_file: cannot read `gone`: no such file"),
        ("auth_file =", "", "there is no login: name a userlist"),
        ("client_tls_sslmode = require", "", "client_tls"),
        ("server_reset_query = DISCARD ALL; select 1", "", "statements that pgherd keeps prepared"),
        ("server_tls_sslmode = verify-full", "", "root_cert: is required"),
        ("", "a = host=db foo=1", "test.ini:9: a: foo: unknown"),
        ("", "a = host=db port=0", "test.ini:9: a: port: 0 is no port"),
        ("", "a = host=db port=3x", "a: port: `3x` is not a whole number"),
        ("", "a = host='db", "test.ini:9: a: the quotes around `host` are not closed"),
        ("", "pgbouncer = host=db", "is the console"),
        ("", "a = dbname=a", "it has no host"),
        ("unix_socket_dir = run", "a = dbname=a", "unix_socket_dir is no full path"),
        ("", "a = host=db,,/tmp", "test.ini:9: a: host: an item of the list has no host"),
        (
            "peer_id = 2",
            "[peers]\n1 = port=3",
            "test.ini:10: 1: host: an item of the list has no host",
        ),
        ("", "[peers]\n0 = host=db", "0 is no number of a peer"),
        ("peer_id = 99999", "", "99999 is no number of a peer"),
        ("", "a = host=db user=app password=other", "has another password in auth_file"),
        ("", "a = host=db pool_size=20000", "test.ini:9: a: pool_size: 20000 is out of range"),
        ("", "[users]\napp = pool_sise=3", "test.ini:10: app: pool_sise: unknown; did you mean"),
        ("", "[users]\napp = query_timeout=9999999", "users:1: app: query_timeout: "),
    ] {
        let errors = converted(global, rest).map(|_| ()).unwrap_err();
        assert!(errors.contains(says), "{global}{rest}: {errors}");
        assert!(!errors.contains("secret"), "{errors}");
    }
    let empty = "[databases]\n[pgbouncer]\nlisten_addr=127.0.0.1\nauth_file=users\n";
    let errors = convert(empty, "test.ini", &mut read).unwrap_err();
    assert!(errors[0].to_string().contains("[databases] is empty"), "{errors:?}");
}

#[test]
fn the_catalogue_has_all_that_pgbouncer_1_18_shows() {
    // `SHOW CONFIG` of Debian's.
    let shown = "admin_users application_name_add_host auth_file auth_hba_file auth_query auth_type \
        auth_user autodb_idle_timeout client_idle_timeout client_login_timeout client_tls_ca_file \
        client_tls_cert_file client_tls_ciphers client_tls_dheparams client_tls_ecdhcurve \
        client_tls_key_file client_tls_protocols client_tls_sslmode conffile default_pool_size \
        disable_pqexec dns_max_ttl dns_nxdomain_ttl dns_zone_check_period idle_transaction_timeout \
        ignore_startup_parameters job_name listen_addr listen_backlog listen_port log_connections \
        log_disconnections log_pooler_errors log_stats logfile max_client_conn max_db_connections \
        max_packet_size max_user_connections min_pool_size pidfile pkt_buf pool_mode query_timeout \
        query_wait_timeout reserve_pool_size reserve_pool_timeout resolv_conf sbuf_loopcnt \
        server_check_delay server_check_query server_connect_timeout server_fast_close \
        server_idle_timeout server_lifetime server_login_retry server_reset_query \
        server_reset_query_always server_round_robin server_tls_ca_file server_tls_cert_file \
        server_tls_ciphers server_tls_key_file server_tls_protocols server_tls_sslmode so_reuseport \
        stats_period stats_users suspend_timeout syslog syslog_facility syslog_ident \
        tcp_defer_accept tcp_keepalive tcp_keepcnt tcp_keepidle tcp_keepintvl tcp_socket_buffer \
        tcp_user_timeout unix_socket_dir unix_socket_group unix_socket_mode user verbose";
    let known: HashSet<&str> = GLOBAL.iter().map(|row| row.name).collect();
    assert_eq!(known.len(), GLOBAL.len(), "a setting is listed twice");
    for name in shown.split_whitespace() {
        assert!(known.contains(name), "{name}");
    }
}

#[test]
fn what_the_catalogue_calls_ours_exists() {
    let sections = include_str!("../../settings/sections.rs");
    let database = include_str!("../../settings/database.rs");
    let known: HashSet<String> =
        reference().iter().map(|setting| format!("{}.{}", setting.section, setting.name)).collect();
    for setting in catalogue() {
        let ours = setting.ours.unwrap_or_default();
        for name in ours.split('`').skip(1).step_by(2) {
            let is_there = match setting.section {
                _ if name.starts_with("pgherd ") || name.starts_with("[[") => true,
                IniSection::Pgbouncer => known.contains(name),
                IniSection::Databases if known.contains(name) => true,
                IniSection::Peers => include_str!("../../settings/peer.rs").contains(name),
                IniSection::Databases => {
                    [sections, database].iter().any(|text| text.contains(&format!("pub {name}: ")))
                }
                _ => sections.contains(&format!("pub {name}: ")),
            };
            assert!(is_there, "{}: {name}", setting.name);
        }
    }
}

/// A value that a setting may have, or may not.
fn value(kind: Kind) -> BoxedStrategy<String> {
    match kind {
        Kind::Flag => "[01]".boxed(),
        Kind::Count => (0u32..12_000).prop_map(|number| number.to_string()).boxed(),
        Kind::Seconds => "[0-9]{1,4}(\\.[0-9]{1,4})?".boxed(),
        Kind::Milliseconds => (0u32..100_000).prop_map(|number| number.to_string()).boxed(),
        Kind::Text => "[^\0\n\r]{0,12}".boxed(),
        Kind::Word(words) => prop::sample::select(words).prop_map(str::to_owned).boxed(),
    }
}

fn lines<T>(rows: &'static [Row<T>]) -> BoxedStrategy<Vec<(String, String)>> {
    // What is refused whatever it is would leave little to look at.
    let may_be = |row: &&Row<T>| {
        !["listen_addr", "auth_file", "auth_type", "host", "port", "user", "password"]
            .contains(&row.name)
    };
    let each: Vec<_> = rows
        .iter()
        .filter(may_be)
        .map(|row| value(row.kind).prop_map(move |value| (row.name.to_owned(), value)).boxed())
        .collect();
    prop::collection::vec(prop::strategy::Union::new(each), 0..8).boxed()
}

proptest! {
    /// Whatever is converted loads, and means what was converted.
    #[test]
    fn what_is_written_means_the_same(
        global in lines(GLOBAL),
        database in lines(DATABASE),
        user in lines(USER),
        name in "[a-z_.*-]{1,8}",
    ) {
        let pairs = |pairs: &[(String, String)]| {
            let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
            pairs.map(|(key, value)| quote_pair(key, value)).collect::<Vec<_>>().join(" ")
        };
        let global: String =
            global.iter().map(|(key, value)| format!("{key} = {value}\n")).collect();
        let rest = format!(
            "{name} = host=db {}\n[users]\napp = {}",
            pairs(&database),
            pairs(&user)
        );
        if let Ok(Converted { settings, .. }) = converted(&global, &rest) {
            let text = settings.to_toml();
            let again = Settings::from_toml(&text, "pgherd.toml");
            prop_assert_eq!(again.map_err(|errors| errors.to_string()), Ok(settings), "{}", text);
        }
    }
}

#[test]
fn each_server_is_a_group_of_its_own() {
    let rest = "old = host=nowhere\nledger = host=db2 dbname=books user=app\n\
                old = host=db port=5433\nmore = host=db2\n* = host=db2";
    let settings = converted("", rest).unwrap().settings;
    let nodes: Vec<_> = settings
        .nodes
        .iter()
        .map(|node| (&*node.name, &*node.host, node.port, node.shard.map(|shard| shard.0)))
        .collect();
    assert_eq!(
        nodes,
        [
            ("coordinator", "db", 5432, None),
            ("server-2", "db2", 5432, Some(0)),
            ("server-3", "db", 5433, Some(1))
        ]
    );
    let of = |name: &str| {
        let database = settings.databases.iter().find(|one| one.name == name).unwrap();
        database.shard.map(|shard| shard.0)
    };
    assert_eq!(
        ["shop", "ledger", "old", "more", "*"].map(of),
        [None, Some(0), Some(1), Some(0), Some(0)]
    );
    assert_eq!(settings.cluster.database, "shop");
    let toml = settings.to_toml();
    assert_eq!(Settings::from_toml(&toml, "test").unwrap().databases, settings.databases, "{toml}");
}
