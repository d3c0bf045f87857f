//! Logins: each method with each kind of password and user, beside what PostgreSQL and PgBouncer say.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

#[path = "../../pgherd/tests/authority/mod.rs"]
mod authority;
mod world;

use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use pgherd_core::settings::{AuthMethod, ChannelBinding, Secret, Settings, TlsMode, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, Engine, PgBouncer, Pooler, PoolerSpec, RunsAs, cluster};
use pgherd_wire::md5;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use world::login::{Asks, Outcome, Told, log_in};
use world::{TWO_CORES, World};

const RIGHT: &str = cluster::PASSWORD;

/// Users that the proxy knows: by a password, an md5 hash and a SCRAM secret. All have the same
/// password, also at the node.
const KNOWN: [&str; 3] = [cluster::USER, "by_md5", "by_scram"];

/// Passwords, with what they are called.
const PASSWORDS: [(&str, Option<&str>); 4] =
    [("right", Some(RIGHT)), ("wrong", Some("nonsense")), ("missing", None), ("empty", Some(""))];

/// A node at which everybody has the password, and the node's secrets of them.
fn cluster() -> (Cluster, String) {
    let hba = vec!["host all by_md5 127.0.0.1/32 md5".to_owned()];
    let cluster = Cluster::start(&ClusterSpec { hba, ..ClusterSpec::default() }).unwrap();
    let node = cluster.coordinator();
    node.psql(&format!(
        "set password_encryption = 'md5'; create role by_md5 login password '{RIGHT}'; \
         set password_encryption = 'scram-sha-256'; create role by_scram login password '{RIGHT}'"
    ))
    .unwrap();
    let secret = "select rolpassword from pg_authid where rolname = 'by_scram'";
    let secret = node.psql(secret).unwrap();
    (cluster, secret)
}

/// The users beside the lab's own.
fn users(secret: &str) -> Vec<UserSettings> {
    let user = |name: &str, hash: &str| UserSettings {
        name: name.to_owned(),
        password_hash: Secret::new(hash),
        ..UserSettings::default()
    };
    vec![user("by_md5", &md5::stored("by_md5", RIGHT)), user("by_scram", secret)]
}

fn world(auth: AuthMethod, also: impl FnOnce(&mut Settings)) -> World {
    let (cluster, secret) = cluster();
    let change = |settings: &mut Settings| {
        settings.listen.auth = auth;
        settings.listen.login_delay = Duration::ZERO;
        settings.listen.login_failures = 0;
        settings.users.extend(users(&secret));
        also(settings);
        settings.check().unwrap();
    };
    World::before(cluster, change, TWO_CORES)
}

fn encrypt(settings: &mut Settings, world: &Encrypted) {
    settings.client_tls.mode = TlsMode::Prefer;
    settings.client_tls.cert.clone_from(&world.cert);
    settings.client_tls.key.clone_from(&world.key);
    settings.client_tls.root_cert.clone_from(&world.root);
}

/// Files of an authority, and clients that trust it.
struct Encrypted {
    authority: Authority,
    _folder: tempfile::TempDir,
    cert: String,
    key: String,
    root: String,
}

impl Encrypted {
    fn new() -> Self {
        let authority = Authority::new("lab");
        let folder = tempfile::tempdir().unwrap();
        let shown = authority.server("localhost");
        Self {
            cert: authority::file(folder.path(), "proxy.crt", &shown.cert),
            key: authority::file(folder.path(), "proxy.key", &shown.key),
            root: authority::file(folder.path(), "root.crt", &authority.pem()),
            authority,
            _folder: folder,
        }
    }

    /// A client, which shows a certificate made out to `role`.
    fn client(&self, role: Option<&str>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match role {
            None => builder.with_no_client_auth(),
            Some(role) => {
                let (cert, key) = self.authority.client(role);
                let chain = CertificateDer::pem_slice_iter(cert.as_bytes());
                let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}

fn asks<'a>(user: &'a str, password: Option<&'a str>) -> Asks<'a> {
    Asks { user, database: cluster::DATABASE, password }
}

/// What PostgreSQL says to the kinds of passwords: its word for a login that fails is 28P01.
fn expected(password: &str) -> Outcome {
    match password {
        "right" => Outcome::In,
        "missing" => Outcome::Left,
        _ => Outcome::refused("28P01"),
    }
}

#[test]
fn each_method_takes_the_right_password_and_no_other_with_tls_and_without() {
    let encrypted = Encrypted::new();
    for auth in [AuthMethod::Plain, AuthMethod::Md5, AuthMethod::ScramSha256, AuthMethod::Trust] {
        let world = world(auth, |settings| encrypt(settings, &encrypted));
        let client = encrypted.client(None);
        for tls in [None, Some(&client)] {
            for user in KNOWN {
                if auth == AuthMethod::Trust && user == "by_scram" {
                    // Who shows nothing opens no node of which only a SCRAM secret is known.
                    continue;
                }
                for (name, password) in PASSWORDS {
                    let told = log_in(world.address(), tls, asks(user, password));
                    let cannot = auth == AuthMethod::ScramSha256 && user == "by_md5";
                    let expected = match (auth, expected(name)) {
                        (AuthMethod::Trust, _) => Outcome::In,
                        // Of an md5 hash no SCRAM secret can be made.
                        (_, Outcome::In) if cannot => Outcome::refused("28P01"),
                        (_, expected) => expected,
                    };
                    let case = format!("{auth}, {user}, {name}, TLS {}", tls.is_some());
                    assert_eq!(told.outcome, expected, "{case}: {told:?}");
                }
            }
        }
    }
}

#[test]
fn an_unknown_user_is_told_what_a_known_one_with_a_wrong_password_is() {
    for auth in [AuthMethod::Plain, AuthMethod::Md5, AuthMethod::ScramSha256] {
        let world = world(auth, |_| {});
        let tell = |user: &str| log_in(world.address(), None, asks(user, Some("nonsense")));
        let known: Vec<Told> = KNOWN.into_iter().map(tell).collect();
        for stranger in ["nobody", "somebody", "by_md", "a stranger", "postgres"] {
            let told = tell(stranger);
            assert!(known.contains(&told), "{auth}: {told:?} is none of {known:?}");
            assert_eq!(told, tell(stranger), "{auth}: it is asked the same each time");
        }
    }
}

#[test]
fn postgresql_says_the_same() {
    let (cluster, _) = cluster();
    let at = cluster.coordinator().address();
    for user in [cluster::USER, "by_scram", "nobody"] {
        for (name, password) in PASSWORDS {
            let told = log_in(at, None, asks(user, password));
            let expected = match (user, expected(name)) {
                ("nobody", Outcome::In) => Outcome::refused("28P01"),
                (_, expected) => expected,
            };
            assert_eq!(told.outcome, expected, "{user}, {name}: {told:?}");
        }
    }
}

#[test]
fn pgbouncer_lets_the_same_in() {
    if PgBouncer::is_missing() {
        return;
    }
    for (auth, word) in [
        (AuthMethod::Plain, "plain"),
        (AuthMethod::Md5, "md5"),
        (AuthMethod::ScramSha256, "scram-sha-256"),
    ] {
        let (cluster, secret) = cluster();
        let bouncer = pgbouncer(&cluster, &secret, word);
        let change = |settings: &mut Settings| {
            settings.listen.auth = auth;
            settings.listen.login_delay = Duration::ZERO;
            settings.users.extend(users(&secret));
        };
        let world = World::before(cluster, change, TWO_CORES);
        for user in KNOWN.into_iter().chain(["nobody"]) {
            for (name, password) in PASSWORDS {
                let ours = log_in(world.address(), None, asks(user, password)).outcome;
                let theirs = log_in(bouncer.address(), None, asks(user, password)).outcome;
                if (word, user, name) == ("plain", "by_scram", "right") {
                    // 1.18 cannot log in at the node then: it keeps no key of such a client.
                    assert_eq!((ours, theirs), (Outcome::In, Outcome::refused("08P01")));
                    continue;
                }
                let theirs = match theirs {
                    // Its word for all that goes wrong in a login.
                    Outcome::Refused(code) if code == "08P01" => Outcome::refused("28P01"),
                    theirs => theirs,
                };
                assert_eq!(ours, theirs, "{word}, {user}, {name}");
            }
        }
    }
}

fn pgbouncer(cluster: &Cluster, secret: &str, auth: &str) -> Pooler {
    let node = cluster.coordinator();
    let users = format!(
        "\"{}\" \"{RIGHT}\"\n\"by_md5\" \"{}\"\n\"by_scram\" \"{secret}\"\n",
        cluster::USER,
        md5::stored("by_md5", RIGHT)
    );
    Pooler::start(cluster, |port| {
        let ini = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = {auth}\nauth_file = users.txt\n",
            node.host, node.port
        );
        Ok(PoolerSpec {
            name: "pgbouncer-logins".to_owned(),
            program: "/usr/sbin/pgbouncer".into(),
            arguments: vec!["pgbouncer.ini".to_owned()],
            files: vec![("pgbouncer.ini".to_owned(), ini), ("users.txt".to_owned(), users.clone())],
            says: Some(format!("listening on 127.0.0.1:{port}")),
            runs_as: RunsAs::Server,
        })
    })
    .unwrap()
}

#[test]
fn who_fails_often_is_not_heard_for_some_time_and_under_other_names_is() {
    let world = world(AuthMethod::ScramSha256, |settings| {
        settings.listen.login_failures = 3;
        settings.listen.login_forgiven_in = Duration::from_secs(3600);
        settings.listen.login_delay = Duration::from_millis(100);
    });
    let tell =
        |user: &str, password: &str| log_in(world.address(), None, asks(user, Some(password)));
    for user in [cluster::USER, "nobody"] {
        for _ in 0..3 {
            assert_eq!(tell(user, "nonsense").outcome, Outcome::refused("28P01"));
        }
        let barred = tell(user, RIGHT);
        assert_eq!(
            (barred.outcome, barred.kinds),
            (Outcome::refused("28000"), vec!["error".into()])
        );
        assert!(barred.words.starts_with("too many failed logins from this address"));
    }
    assert_eq!(tell("by_scram", RIGHT).outcome, Outcome::In);
}

#[test]
fn a_certificate_lets_in_whom_it_is_made_out_to() {
    let encrypted = Encrypted::new();
    let world = world(AuthMethod::Cert, |settings| {
        encrypt(settings, &encrypted);
        settings.client_tls.mode = TlsMode::VerifyCa;
    });
    let as_of = |shown: &str, user: &str| {
        log_in(world.address(), Some(&encrypted.client(Some(shown))), asks(user, None)).outcome
    };
    assert_eq!(as_of(cluster::USER, cluster::USER), Outcome::In);
    assert_eq!(as_of("by_scram", cluster::USER), Outcome::refused("28000"));
    assert_eq!(as_of("nobody", "nobody"), Outcome::refused("28000"));
    let plain = log_in(world.address(), None, asks(cluster::USER, Some(RIGHT)));
    assert_eq!(plain.outcome, Outcome::refused("28000"));
}

#[test]
fn the_first_line_of_the_hba_file_that_fits_counts_until_it_is_read_again() {
    let encrypted = Encrypted::new();
    let folder = tempfile::tempdir().unwrap();
    let (hba, ident) = (folder.path().join("hba.conf"), folder.path().join("ident.conf"));
    std::fs::write(folder.path().join("trusted"), "by_md5\n").unwrap();
    let rules = "hostssl all by_scram 127.0.0.0/8 cert map=people\n\
                 host all by_scram 127.0.0.1 255.255.255.255 reject\n\
                 host all @trusted all trust\n\
                 host other all all trust\n\
                 hostnossl app app 127.0.0.1/32 scram-sha-256\n\
                 hostssl app app 127.0.0.1/32 md5\n";
    std::fs::write(&hba, rules).unwrap();
    std::fs::write(&ident, "people /^(.*)@example$ \\1\n").unwrap();
    let world = world(AuthMethod::Hba, |settings| {
        encrypt(settings, &encrypted);
        settings.client_tls.mode = TlsMode::Prefer;
        settings.listen.hba_file = hba.display().to_string();
        settings.listen.ident_file = ident.display().to_string();
    });
    let plainly = |user: &str, password: Option<&str>| {
        let told = log_in(world.address(), None, asks(user, password));
        (told.outcome, told.kinds.first().cloned().unwrap_or_default())
    };
    let (refused, no) = (Outcome::refused("28000"), "error".to_owned());
    assert_eq!(plainly(cluster::USER, Some(RIGHT)), (Outcome::In, "sasl".to_owned()));
    assert_eq!(plainly(cluster::USER, Some("no")), (Outcome::refused("28P01"), "sasl".to_owned()));
    assert_eq!(plainly("by_scram", Some(RIGHT)), (refused.clone(), no.clone()));
    assert_eq!(plainly("by_md5", None), (Outcome::In, "ok".to_owned()));
    assert_eq!(plainly("nobody", Some(RIGHT)), (refused.clone(), no.clone()));
    let within = encrypted.client(None);
    let told = log_in(world.address(), Some(&within), asks(cluster::USER, Some(RIGHT)));
    assert_eq!((told.outcome, told.kinds[0].as_str()), (Outcome::In, "md5"));
    // Nobody is asked for a certificate where client_tls.mode is "prefer".
    let told = log_in(world.address(), Some(&within), asks("by_scram", Some(RIGHT)));
    assert_eq!(told.outcome, refused);

    std::fs::write(&hba, "host all all all nonsense\n").unwrap();
    let error = world.server().certificates().reload().unwrap_err().to_string();
    assert!(error.contains("hba.conf:1: method `nonsense` is none of "), "{error}");
    assert_eq!(plainly("by_scram", Some(RIGHT)), (refused, no));
    std::fs::write(&hba, "host all all all plain\n").unwrap();
    world.server().certificates().reload().unwrap();
    assert_eq!(plainly("by_scram", Some(RIGHT)), (Outcome::In, "password".to_owned()));
}

#[test]
fn a_line_of_the_hba_file_lets_in_whom_a_map_says_that_the_certificate_is() {
    let encrypted = Encrypted::new();
    let folder = tempfile::tempdir().unwrap();
    let (hba, ident) = (folder.path().join("hba.conf"), folder.path().join("ident.conf"));
    std::fs::write(&hba, "hostssl all by_md5 all cert\nhostssl all all all cert map=people\n")
        .unwrap();
    std::fs::write(&ident, "people /^(.*)@example$ \\1\npeople boss app\n").unwrap();
    let world = world(AuthMethod::Hba, |settings| {
        encrypt(settings, &encrypted);
        settings.client_tls.mode = TlsMode::VerifyCa;
        settings.listen.hba_file = hba.display().to_string();
        settings.listen.ident_file = ident.display().to_string();
    });
    for (shown, user, is_in) in [
        ("app@example", "app", true),
        ("boss", "app", true),
        ("app", "app", false),
        ("boss", "by_scram", false),
        ("by_md5", "by_md5", true),
        ("by_md5@example", "by_md5", false),
    ] {
        let client = encrypted.client(Some(shown));
        let told = log_in(world.address(), Some(&client), asks(user, None));
        let expected = if is_in { Outcome::In } else { Outcome::refused("28000") };
        assert_eq!(told.outcome, expected, "{shown} as {user}: {told:?}");
    }
}

#[test]
fn a_password_in_plain_opens_a_node_of_which_only_the_secret_is_known() {
    let world = world(AuthMethod::Plain, |_| {});
    for _ in 0..2 {
        let told = log_in(world.address(), None, asks("by_scram", Some(RIGHT)));
        assert_eq!(told.outcome, Outcome::In);
    }
}

/// A proxy that knows nobody but who looks the others up.
fn looking_up(auth: AuthMethod, cache: Duration) -> World {
    let hba = vec!["host all by_md5 127.0.0.1/32 md5".to_owned()];
    let cluster = Cluster::start(&ClusterSpec { hba, ..ClusterSpec::default() }).unwrap();
    let node = cluster.coordinator();
    node.psql(&format!(
        "create role look superuser login password 'look'; \
         set password_encryption = 'md5'; create role by_md5 login password '{RIGHT}'; \
         set password_encryption = 'scram-sha-256'; create role by_scram login password '{RIGHT}'; \
         create role expired login password '{RIGHT}' valid until '2020-01-01'; \
         create role without login; create role no_login password '{RIGHT}'"
    ))
    .unwrap();
    let change = |settings: &mut Settings| {
        settings.listen.auth = auth;
        settings.listen.auth_user = "look".to_owned();
        settings.listen.auth_cache = cache;
        settings.listen.login_delay = Duration::ZERO;
        settings.listen.login_failures = 0;
        settings.users = vec![UserSettings {
            name: "look".to_owned(),
            password: Secret::new("look"),
            nodes_only: true,
            ..UserSettings::default()
        }];
        settings.check().unwrap();
    };
    World::before(cluster, change, TWO_CORES)
}

#[test]
fn users_are_looked_up_and_all_that_cannot_log_in_are_told_the_same() {
    for auth in [AuthMethod::Plain, AuthMethod::Md5, AuthMethod::ScramSha256] {
        let world = looking_up(auth, Duration::from_secs(5));
        let tell = |user: &str, password| log_in(world.address(), None, asks(user, password));
        for (name, password) in PASSWORDS {
            // The last one that was found is what nobody looks like.
            for user in ["by_md5", "by_scram"] {
                let cannot = auth == AuthMethod::ScramSha256 && user == "by_md5";
                let expected = match expected(name) {
                    Outcome::In if cannot => Outcome::refused("28P01"),
                    expected => expected,
                };
                assert_eq!(tell(user, password).outcome, expected, "{auth}, {user}, {name}");
            }
            let wrong = tell("by_scram", Some("nonsense"));
            for user in ["nobody", "expired", "without", "no_login", "look"] {
                let told = tell(user, password);
                match name {
                    "missing" => assert_eq!(told.outcome, Outcome::Left, "{auth}, {user}"),
                    _ if user == "expired" && auth == AuthMethod::Md5 => {
                        assert_eq!(told.outcome, Outcome::refused("28P01"));
                    }
                    _ => assert_eq!(told, wrong, "{auth}, {user}, {name}"),
                }
            }
        }
        // One connection has asked for all of them.
        let asked = "select count(*) from pg_stat_activity where usename = 'look' \
                     and query like '%pg_authid%' and application_name <> ''";
        assert_eq!(world.node("coordinator").psql(asked).unwrap(), "1");
    }
}

#[test]
fn a_changed_password_is_taken_by_the_second_try_and_a_failed_look_up_is_told() {
    let world = looking_up(AuthMethod::ScramSha256, Duration::from_secs(3600));
    let tell = |password| log_in(world.address(), None, asks("by_scram", Some(password))).outcome;
    assert_eq!(tell(RIGHT), Outcome::In);
    world.node("coordinator").psql("alter role by_scram password 'new'").unwrap();
    // By what was found before.
    assert_eq!(tell("new"), Outcome::refused("28P01"));
    assert_eq!(tell("new"), Outcome::In);
    world.node("coordinator").psql("alter role look nologin").unwrap();
    world
        .node("coordinator")
        .psql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'look'")
        .unwrap();
    let told = log_in(world.address(), None, asks("somebody", Some(RIGHT)));
    assert_eq!(told.outcome, Outcome::refused("57P03"), "{told:?}");
    assert_eq!(tell("new"), Outcome::In);
}

#[test]
fn many_who_come_at_once_are_looked_up_once() {
    let world = looking_up(AuthMethod::ScramSha256, Duration::from_secs(3600));
    std::thread::scope(|scope| {
        let comes = || log_in(world.address(), None, asks("by_scram", Some(RIGHT))).outcome;
        let all: Vec<_> = (0..50).map(|_| scope.spawn(comes)).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), Outcome::In);
        }
    });
}

#[test]
fn logins_are_bound_to_the_connection_on_both_sides_where_that_is_required() {
    let encrypted = Encrypted::new();
    let spec = ClusterSpec {
        tls: Some(encrypted.authority.server("localhost")),
        ..ClusterSpec::default()
    };
    if Engine::find().unwrap().has_no_tls() {
        return;
    }
    let cluster = Cluster::start(&spec).unwrap();
    let change = |settings: &mut Settings| {
        encrypt(settings, &encrypted);
        settings.tls.mode = TlsMode::Require;
        settings.tls.channel_binding = ChannelBinding::Require;
    };
    let world = World::before(cluster, change, TWO_CORES);
    let mut psql = world.psql_command();
    psql.args(["-A", "-t", "-q", "-c", "select 'yes'"]);
    psql.env("PGSSLMODE", "require").env("PGCHANNELBINDING", "require");
    let output = world::feed(&mut psql, "");
    assert_eq!(world::text(&output.stdout).trim(), "yes", "{}", world::text(&output.stderr));
    // Without TLS there is nothing to bind to, and nobody asks for it.
    assert_eq!(
        log_in(world.address(), None, asks(cluster::USER, Some(RIGHT))).outcome,
        Outcome::In
    );
}

#[test]
fn a_node_that_cannot_be_bound_to_is_not_logged_in_to_where_that_is_required() {
    let world = world(AuthMethod::ScramSha256, |settings| {
        settings.tls.channel_binding = ChannelBinding::Require;
        settings.pool.acquire_timeout = Duration::from_secs(2);
    });
    let told = log_in(world.address(), None, asks(cluster::USER, Some(RIGHT)));
    assert_ne!(told.outcome, Outcome::In, "{told:?}");
}
