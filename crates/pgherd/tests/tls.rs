//! TLS to the nodes, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod authority;
mod world;

use std::path::Path;

use authority::Authority;
use pgherd::{Builder, ChannelBinding, DistributedPool, RetryConfig, TlsMode};
use pgherd_lab::{Cluster, ClusterSpec, Engine, ServerTls, cluster};
use world::{PASSWORD, chain, until};

const MODES: [TlsMode; 5] =
    [TlsMode::Disable, TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];

/// One server, and the folder for our files.
struct Server(Cluster);

impl Server {
    fn start(tls: Option<ServerTls>, hba: &[&str]) -> Self {
        let hba = hba.iter().map(|line| (*line).to_owned()).collect();
        Self(Cluster::start(&ClusterSpec { tls, hba, ..ClusterSpec::default() }).unwrap())
    }

    /// Its certificate is one of this authority, made out to `localhost`.
    fn certified(authority: &Authority) -> Self {
        Self::start(Some(authority.server("localhost")), &[])
    }

    fn file(&self, name: &str, content: &str) -> String {
        authority::file(self.0.folder(), name, content)
    }

    fn at(&self, host: &str) -> Builder {
        DistributedPool::builder()
            .coordinator(host, self.0.coordinator().port)
            .database(cluster::DATABASE)
            .user(cluster::USER)
            .password(PASSWORD)
            // A refusal is the same each time.
            .retry(RetryConfig { max_retries: 1, ..RetryConfig::default() })
    }

    fn with(&self, host: &str, mode: TlsMode, root_cert: Option<&str>) -> Builder {
        self.at(host).tls(mode).with_settings(|settings| {
            settings.tls.root_cert = root_cert.unwrap_or_default().to_owned();
        })
    }
}

fn is_missing() -> bool {
    Engine::find().unwrap().has_no_tls()
}

/// How the connection of a statement is: the version of TLS, or "plain"; or the whole error.
async fn connection(builder: Builder) -> Result<String, String> {
    let pool = builder.build().map_err(|error| error.to_string())?;
    let sql = "SELECT coalesce(version, 'plain') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let asked = pool.write().query_one(sql, &[]).await;
    pool.close().await;
    asked.map(|row| row.get(0)).map_err(|error| chain(&error))
}

#[track_caller]
fn assert_refused(answer: Result<String, String>, with: &str) {
    let error = answer.expect_err("the connection is refused");
    assert!(error.contains(with), "`{error}` does not say `{with}`");
    assert!(!error.contains(PASSWORD), "{error}");
}

#[tokio::test]
async fn each_mode_checks_what_it_promises() {
    if is_missing() {
        return;
    }
    let (authority, stranger) = (Authority::new("lab"), Authority::new("stranger"));
    let server = Server::certified(&authority);
    let root = server.file("root.crt", &authority.pem());
    let other_root = server.file("other.crt", &stranger.pem());

    for mode in MODES {
        let expected = if mode == TlsMode::Disable { "plain" } else { "TLSv1.3" };
        let answer = connection(server.with("localhost", mode, Some(&root))).await;
        assert_eq!(answer.as_deref(), Ok(expected), "{mode} and the right authority");
    }
    for mode in [TlsMode::Prefer, TlsMode::Require] {
        let answer = connection(server.with("localhost", mode, None)).await;
        assert_eq!(answer.as_deref(), Ok("TLSv1.3"), "{mode} without an authority");
    }
    for mode in [TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull] {
        let answer = connection(server.with("localhost", mode, Some(&other_root))).await;
        assert_refused(answer, "no authority in `root_cert` has issued it");
    }
    // As libpq: "prefer" takes anything, and so nothing is gained by insisting.
    let answer = connection(server.with("localhost", TlsMode::Prefer, Some(&other_root))).await;
    assert_eq!(answer.as_deref(), Ok("plain"));

    // By its address it is a stranger, unless somebody says whom to expect there.
    for mode in [TlsMode::Require, TlsMode::VerifyCa] {
        let answer = connection(server.with("127.0.0.1", mode, Some(&root))).await;
        assert_eq!(answer.as_deref(), Ok("TLSv1.3"), "{mode}");
    }
    let full = |host| server.with(host, TlsMode::VerifyFull, Some(&root));
    assert_refused(
        connection(full("127.0.0.1")).await,
        "made out to `localhost`, not to `127.0.0.1`",
    );
    let named = full("127.0.0.1").with_settings(|s| s.tls.server_name = "localhost".to_owned());
    assert_eq!(connection(named).await.as_deref(), Ok("TLSv1.3"));
    let named = full("127.0.0.1").with_settings(|settings| {
        settings.tls.server_name = "another".to_owned();
        settings.nodes[0].server_name = "localhost".to_owned();
    });
    assert_eq!(connection(named).await.as_deref(), Ok("TLSv1.3"));
}

#[tokio::test]
async fn what_requires_tls_sends_nothing_to_a_server_that_has_none() {
    if is_missing() {
        return;
    }
    let server = Server::start(None, &[]);
    let root = server.file("root.crt", &Authority::new("lab").pem());
    for mode in MODES {
        let answer = connection(server.with("localhost", mode, Some(&root))).await;
        if mode.is_required() {
            assert_refused(answer, "the node offers no TLS");
        } else {
            assert_eq!(answer.as_deref(), Ok("plain"), "{mode}");
        }
    }
    let bound = server.at("localhost").channel_binding(ChannelBinding::Require);
    assert_refused(connection(bound).await, "channel binding");
}

#[tokio::test]
async fn a_login_is_bound_to_its_connection() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let server = Server::certified(&authority);
    for binding in [ChannelBinding::Disable, ChannelBinding::Prefer, ChannelBinding::Require] {
        let bound = server.at("localhost").tls(TlsMode::Require).channel_binding(binding);
        assert_eq!(connection(bound).await.as_deref(), Ok("TLSv1.3"), "{binding}");
    }
    let unbound = server.at("localhost").tls(TlsMode::Disable);
    let unbound = unbound.channel_binding(ChannelBinding::Require);
    assert_refused(connection(unbound).await, "channel_binding");
    // Each hash that a certificate may be signed with, and TLS 1.2.
    for (hash, tls) in authority::hashes() {
        let server = Server(
            Cluster::start(&ClusterSpec {
                tls: Some(tls),
                settings: vec!["ssl_max_protocol_version = 'TLSv1.2'".to_owned()],
                ..ClusterSpec::default()
            })
            .unwrap(),
        );
        let bound = server.at("localhost").channel_binding(ChannelBinding::Require);
        assert_eq!(connection(bound).await.as_deref(), Ok("TLSv1.2"), "{hash}");
        let newer = server.at("localhost").tls(TlsMode::Require).with_settings(|settings| {
            settings.tls.min_version = pgherd::TlsVersion::Tls13;
        });
        assert_refused(connection(newer).await, "no TLS with the node");
    }
}

#[tokio::test]
async fn a_client_shows_its_certificate_where_one_is_asked_for() {
    if is_missing() {
        return;
    }
    let (authority, stranger) = (Authority::new("lab"), Authority::new("stranger"));
    let tls = ServerTls { client_ca: Some(authority.pem()), ..authority.server("localhost") };
    // No password: the certificate is the proof. Plain connections are refused.
    let hba = [
        "hostssl all app all cert",
        "hostssl all postgres all scram-sha-256",
        "host all app all reject",
    ];
    let server = Server::start(Some(tls), &hba);
    let root = server.file("root.crt", &authority.pem());
    let with = |cert: &str, key: &str| {
        server
            .with("localhost", TlsMode::VerifyFull, Some(&root))
            .password("")
            .client_certificate(cert, key)
    };
    let (cert, key) = authority.client("app");
    let (cert, key) = (server.file("app.crt", &cert), server.file("app.key", &key));
    assert_eq!(connection(with(&cert, &key)).await.as_deref(), Ok("TLSv1.3"));

    let none = server.with("localhost", TlsMode::VerifyFull, Some(&root));
    assert_refused(connection(none).await, "certificate");
    let (other, other_key) = authority.client("somebody");
    let (other, other_key) = (server.file("o.crt", &other), server.file("o.key", &other_key));
    assert_refused(connection(with(&other, &other_key)).await, "authentication failed");
    let (forged, forged_key) = stranger.client("app");
    let (forged, forged_key) = (server.file("f.crt", &forged), server.file("f.key", &forged_key));
    assert_refused(connection(with(&forged, &forged_key)).await, "login");
    // What is wrong with our own files is said before anybody is asked.
    assert_refused(connection(with(&cert, &other_key)).await, "tls.cert");
    assert_refused(connection(with(&cert, "/nowhere/app.key")).await, "tls.key /nowhere/app.key");
    authority::let_others_read(Path::new(&key));
    assert_refused(connection(with(&cert, &key)).await, "others may read it");
}

#[tokio::test]
async fn prefer_does_what_the_servers_rules_leave() {
    if is_missing() {
        return;
    }
    let tls = Some(Authority::new("lab").server("localhost"));
    let plain_only = Server::start(tls, &["hostssl all app all reject"]);
    assert_eq!(connection(plain_only.at("localhost")).await.as_deref(), Ok("plain"));
    let required = plain_only.at("localhost").tls(TlsMode::Require);
    assert_refused(connection(required).await, "pg_hba.conf rejects connection");
    // A Unix socket is never encrypted, nor has it to be.
    let folder = plain_only.0.coordinator().data();
    let folder = folder.parent().unwrap().display().to_string();
    let local = plain_only.at(&folder).tls(TlsMode::Require);
    assert_eq!(connection(local).await.as_deref(), Ok("plain"));
}

#[tokio::test]
async fn debians_own_certificate_will_do() {
    let (cert, key) =
        ("/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key");
    let files = std::fs::read_to_string(cert).and_then(|c| Ok((c, std::fs::read_to_string(key)?)));
    let Ok((cert_pem, key)) = files else {
        return authority::skipped("no readable snakeoil certificate: Debian's ssl-cert has one");
    };
    if is_missing() {
        return;
    }
    let server = Server::start(Some(ServerTls { cert: cert_pem, key, client_ca: None }), &[]);
    for (mode, root) in [(TlsMode::Require, None), (TlsMode::VerifyCa, Some(cert))] {
        let builder = server.with("127.0.0.1", mode, root);
        let bound = builder.channel_binding(ChannelBinding::Require);
        assert_eq!(connection(bound).await.as_deref(), Ok("TLSv1.3"), "{mode}");
    }
    let full = server.with("127.0.0.1", TlsMode::VerifyFull, Some(cert));
    let full = full.with_settings(|s| "another.example.com".clone_into(&mut s.tls.server_name));
    assert_refused(connection(full).await, "not to `another.example.com`");
}

#[tokio::test]
async fn all_that_works_in_plain_works_encrypted() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let tls = Some(authority.server("localhost"));
    // Whoever came in plain would be refused: probes and cancels, too.
    let server = Server::start(tls, &["hostnossl all app all reject"]);
    let root = server.file("root.crt", &authority.pem());
    let builder = server.with("localhost", TlsMode::VerifyFull, Some(&root));
    let pool = builder.pool_size(1).build().unwrap();
    until("the probes are answered", async || pool.health_check().await.coordinator.healthy).await;

    // More than the buffers of TLS and the kernel hold, both ways.
    let large = "x".repeat(16 << 20);
    let row = pool.write().query_one("SELECT $1::text, length($1)", &[&large]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0) == large, row.get::<_, i32>(1)), (true, 16 << 20));

    // What the tap hears: an open transaction is rolled back, state is not handed on.
    let lease = pool.acquire(pgherd::QueryType::Write, None).await.unwrap();
    lease.batch_execute("BEGIN; CREATE TABLE t (i int)").await.unwrap();
    drop(lease);
    let lease = pool.acquire(pgherd::QueryType::Write, None).await.unwrap();
    lease.batch_execute("CREATE TEMP TABLE t (i int); SET search_path = 'nowhere'").await.unwrap();
    drop(lease);
    let sql = "SELECT current_setting('search_path'), to_regclass('t') IS NULL";
    let row = pool.write().query_one(sql, &[]).await.unwrap();
    assert_eq!((row.get::<_, &str>(0), row.get::<_, bool>(1)), ("\"$user\", public", true));

    // A statement whose future is dropped is cancelled, and the only backend is free again.
    let asleep = async || {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'";
        server.0.coordinator().psql(sql).unwrap() == "1"
    };
    let writes = pool.write();
    tokio::select! {
        done = writes.query("SELECT pg_sleep(600)", &[]) => panic!("{done:?}"),
        () = until("the statement runs", asleep) => {}
    }
    pool.write().execute("SELECT 1", &[]).await.unwrap();
    pool.close().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let server = Server::certified(&authority);
    let root = server.file("root.crt", &Authority::new("not yet known").pem());
    let pool = server.with("localhost", TlsMode::VerifyCa, Some(&root)).build().unwrap();
    let refused = pool.write().query("SELECT 1", &[]).await.unwrap_err();
    assert!(chain(&refused).contains("root_cert"), "{refused}");
    server.file("root.crt", &authority.pem());
    until("the new authority is believed", async || {
        pool.write().query("SELECT 1", &[]).await.is_ok()
    })
    .await;
}
