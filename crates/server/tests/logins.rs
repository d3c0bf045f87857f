//! Logins: who is let in, by what, and what the others are told.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

#[path = "../../pgherd/tests/authority/mod.rs"]
mod authority;
#[path = "logins/peer.rs"]
mod peer;
#[path = "logins/people.rs"]
mod people;
#[path = "logins/table.rs"]
mod table;
mod world;

use std::sync::Arc;
use std::time::Duration;

use authority::Authority;
use pgherd_core::settings::{AuthMethod, ChannelBinding, Secret, Settings, TlsMode, UserSettings};
use pgherd_lab::{Cluster, ClusterSpec, Engine, cluster};
use pgherd_wire::md5;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use world::login::{Asks, Outcome, log_in};
use world::{TWO_CORES, World};

const RIGHT: &str = cluster::PASSWORD;

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

    /// The proxy takes TLS from who asks for it.
    fn encrypt(&self, settings: &mut Settings) {
        settings.client_tls.mode = TlsMode::Prefer;
        settings.client_tls.cert.clone_from(&self.cert);
        settings.client_tls.key.clone_from(&self.key);
        settings.client_tls.root_cert.clone_from(&self.root);
    }

    /// A client, which shows a certificate made out to `role`.
    fn client(&self, role: Option<&str>) -> Arc<ClientConfig> {
        self.client_with(role.map(|role| self.authority.client(role)))
    }

    /// A client, which shows this certificate.
    fn client_with(&self, shown: Option<(String, String)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let root = CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap();
        roots.add(root).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shown {
            None => builder.with_no_client_auth(),
            Some((cert, key)) => {
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
        encrypted.encrypt(settings);
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
        encrypted.encrypt(settings);
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
fn secrets_of_passwords_have_as_many_iterations_as_the_settings_say() {
    let world = world(AuthMethod::ScramSha256, |settings| settings.listen.scram_iterations = 1234);
    for (user, iterations) in [("app", "i=1234"), ("by_scram", "i=4096")] {
        let told = log_in(world.address(), None, asks(user, Some(RIGHT)));
        assert_eq!(told.outcome, Outcome::In, "{user}");
        assert!(told.heard.iter().any(|heard| heard.ends_with(iterations)), "{user}: {told:?}");
    }
}

/// A proxy that knows nobody but who looks the others up, and keeps what it has found.
fn looking_up() -> World {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let node = cluster.coordinator();
    node.psql(&format!(
        "create role look superuser login password 'look'; \
         create role by_scram login password '{RIGHT}'"
    ))
    .unwrap();
    let change = |settings: &mut Settings| {
        settings.listen.auth_user = "look".to_owned();
        settings.listen.auth_cache = Duration::from_secs(3600);
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
fn a_changed_password_is_taken_by_the_second_try_and_a_failed_look_up_is_told() {
    let world = looking_up();
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
    let world = looking_up();
    std::thread::scope(|scope| {
        let comes = || log_in(world.address(), None, asks("by_scram", Some(RIGHT))).outcome;
        let all: Vec<_> = (0..50).map(|_| scope.spawn(comes)).collect();
        for one in all {
            assert_eq!(one.join().unwrap(), Outcome::In);
        }
    });
    let asked = "select count(*) from pg_stat_activity where usename = 'look' \
                 and query like '%pg_authid%' and application_name <> ''";
    assert_eq!(world.node("coordinator").psql(asked).unwrap(), "1", "over one connection");
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
        encrypted.encrypt(settings);
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
