//! TLS with clients, and with the nodes, as real programs speak it.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

#[path = "../../pgherd/tests/authority/mod.rs"]
mod authority;
mod world;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use authority::Authority;
use pgherd_core::Settings;
use pgherd_core::settings::{AuthMethod, TlsMode, TlsSettings};
use pgherd_lab::{Cluster, ClusterSpec, Engine, Pgbench, ServerTls, cluster};
use pgherd_wire::{frontend, startup};
use rustix::process::{Pid, Signal, kill_process};
use rustls::pki_types::ServerName;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use world::raw::{self, Raw};
use world::{TWO_CORES, World, text, until};

/// A statement, and the answer to it is "yes".
const ANSWER: &str = "select 'yes'";

/// A proxy that shows clients a certificate of this authority for `localhost`.
fn world(authority: &Authority, mode: TlsMode) -> World {
    world_with(authority, mode, |_| {})
}

/// The same with other settings, too.
fn world_with(authority: &Authority, mode: TlsMode, also: impl FnOnce(&mut Settings)) -> World {
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let shown = authority.server("localhost");
    let folder = cluster.folder().to_owned();
    let change = |settings: &mut Settings| {
        settings.client_tls.mode = mode;
        settings.client_tls.cert = authority::file(&folder, "proxy.crt", &shown.cert);
        settings.client_tls.key = authority::file(&folder, "proxy.key", &shown.key);
        settings.client_tls.root_cert = authority::file(&folder, "clients.crt", &authority.pem());
        also(settings);
        settings.check().unwrap();
    };
    World::before(cluster, change, TWO_CORES)
}

/// psql that finds the proxy by its name, with these options of libpq.
fn psql(world: &World, options: &str) -> Command {
    let mut psql = Command::new(Engine::find().unwrap().program("psql"));
    let (port, user) = (world.address().port(), cluster::USER);
    let to = format!(
        "host=localhost hostaddr=127.0.0.1 port={port} user={user} dbname={} {options}",
        cluster::DATABASE
    );
    psql.args(["-X", "-A", "-t", "-q", &to]).env("PGPASSWORD", cluster::PASSWORD);
    psql
}

/// Whether the programs at hand speak no TLS. Said aloud.
fn is_missing() -> bool {
    Engine::find().unwrap().has_no_tls()
}

fn ask(world: &World, options: &str, sql: &str) -> Result<String, String> {
    let output = world::feed(&mut psql(world, options), sql);
    match output.status.success() && output.stderr.is_empty() {
        true => Ok(text(&output.stdout).trim().to_owned()),
        false => Err(text(&output.stderr)),
    }
}

#[track_caller]
fn assert_refused(answer: Result<String, String>, with: &str) {
    let error = answer.expect_err("the connection is refused");
    assert!(error.contains(with), "`{error}` does not say `{with}`");
}

#[test]
fn clients_that_ask_for_tls_have_it_and_check_whom_they_talk_to() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = world(&authority, TlsMode::Prefer);
    let root = authority::file(world.cluster.folder(), "root.crt", &authority.pem());
    let stranger = Authority::new("stranger").pem();
    let stranger = authority::file(world.cluster.folder(), "stranger.crt", &stranger);
    for mode in ["disable", "prefer", "require", "verify-ca", "verify-full"] {
        let options = format!("sslmode={mode} sslrootcert={root}");
        assert_eq!(ask(&world, &options, ANSWER).as_deref(), Ok("yes"), "{mode}");
        let told = ask(&world, &options, "\\conninfo").unwrap();
        assert_eq!(told.contains("SSL"), mode != "disable", "{mode}: {told}");
    }
    let options = format!("sslmode=verify-ca sslrootcert={stranger}");
    assert_refused(ask(&world, &options, ANSWER), "certificate verify failed");
    for version in ["TLSv1.2", "TLSv1.3"] {
        let options = format!(
            "sslmode=require ssl_min_protocol_version={version} ssl_max_protocol_version={version}"
        );
        assert_eq!(ask(&world, &options, ANSWER).as_deref(), Ok("yes"), "{version}");
    }
}

#[test]
fn the_console_says_which_connections_are_encrypted() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = world_with(&authority, TlsMode::Prefer, |settings| {
        settings.listen.admin_users = vec![cluster::USER.to_owned()];
    });
    for (mode, expected) in [("require", "TLSv1.3/TLS_"), ("disable", "")] {
        let mut console = psql(&world, &format!("sslmode={mode} dbname=pgbouncer"));
        let output = world::feed(console.args(["-F", ";"]), "show clients");
        let shown = text(&output.stdout);
        let tls = shown.trim().split(';').nth(17).unwrap_or(&shown);
        assert!(tls.starts_with(expected) && tls.is_empty() == expected.is_empty(), "{shown}");
    }
}

#[test]
fn where_tls_is_required_nobody_logs_in_without() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = world(&authority, TlsMode::Require);
    assert_refused(ask(&world, "sslmode=disable", ANSWER), "sslmode=require");
    assert_eq!(ask(&world, "sslmode=require", ANSWER).as_deref(), Ok("yes"));
}

#[test]
fn clients_show_a_certificate_where_that_is_asked_for() {
    if is_missing() {
        return;
    }
    let (authority, stranger) = (Authority::new("lab"), Authority::new("stranger"));
    let certificate = |world: &World, of: &Authority, role: &str| {
        let (cert, key) = of.client(role);
        let folder = world.cluster.folder();
        let cert = authority::file(folder, "client.crt", &cert);
        let key = authority::file(folder, "client.key", &key);
        format!("sslmode=require sslcert={cert} sslkey={key}")
    };
    let any = world(&authority, TlsMode::VerifyCa);
    assert!(ask(&any, "sslmode=require sslcert=none", ANSWER).is_err());
    let options = certificate(&any, &stranger, cluster::USER);
    assert!(ask(&any, &options, ANSWER).is_err());
    let options = certificate(&any, &authority, "somebody");
    assert_eq!(ask(&any, &options, ANSWER).as_deref(), Ok("yes"));

    let own = world(&authority, TlsMode::VerifyFull);
    let options = certificate(&own, &authority, "somebody");
    let refused = format!("certificate authentication failed for user \"{}\"", cluster::USER);
    assert_refused(ask(&own, &options, ANSWER), &refused);
    let options = certificate(&own, &authority, cluster::USER);
    assert_eq!(ask(&own, &options, ANSWER).as_deref(), Ok("yes"));
}

#[test]
fn much_goes_through_tls_both_ways_and_load_is_served() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = world(&authority, TlsMode::Require);
    let (rows, options) = (200_000, "sslmode=require");
    assert_eq!(ask(&world, options, "create table t (id int, name text)").as_deref(), Ok(""));
    let mut copy = "copy t from stdin;\n".to_owned();
    (0..rows).for_each(|id| copy += &format!("{id}\tthis is row number {id}\n"));
    copy += "\\.\n";
    assert_eq!(ask(&world, options, &copy).as_deref(), Ok(""));
    let out = ask(&world, options, "copy (select * from t order by id) to stdout").unwrap();
    assert_eq!(out.lines().count(), rows);
    assert_eq!(out.lines().last(), Some("199999\tthis is row number 199999"));

    Pgbench::initialize(world.node("coordinator").address(), 1).unwrap();
    for protocol in ["simple", "extended", "prepared"] {
        let arguments = ["-S", "-M", protocol, "-c", "20", "-j", "2", "-t", "200"];
        let pgbench = Pgbench::new(world.address(), &arguments).env("PGSSLMODE", "require");
        let report = pgbench.run(|_| {}).unwrap();
        assert_eq!((report.transactions, report.failed), (4000, 0), "{protocol}");
    }
}

/// Begins a statement that sleeps, by psql, interrupts that when it runs, and says what it says.
fn interrupted(world: &World, options: &str) -> String {
    let mut sleeper = psql(world, options);
    let sleeper = sleeper.args(["-c", "select pg_sleep(1000)"]).stderr(Stdio::piped());
    let sleeper = sleeper.spawn().unwrap();
    until_it_sleeps(world);
    let pid = Pid::from_raw(sleeper.id().cast_signed()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    text(&sleeper.wait_with_output().unwrap().stderr)
}

fn until_it_sleeps(world: &World) {
    let runs = "select count(*) from pg_stat_activity \
                where state = 'active' and query = 'select pg_sleep(1000)'";
    until("it runs", || world.node("coordinator").psql(runs).unwrap() == "1");
}

#[test]
fn a_cancel_request_may_come_within_tls_or_in_plain() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = world_with(&authority, TlsMode::Require, |settings| {
        settings.listen.auth = AuthMethod::Trust;
    });
    // Old libpq cancels in plain, whatever its connection is.
    let said = interrupted(&world, "sslmode=require");
    assert!(said.contains("canceling statement due to user request"), "{said}");

    let config = config(&authority, &[b"postgresql"]);
    let mut client = Raw::over(within(&world, config.clone()), startup::PROTOCOL_3_0, &[]);
    client.until('Z');
    let mut query = Vec::new();
    frontend::put_query(&mut query, "select pg_sleep(1000)");
    client.send(&query);
    until_it_sleeps(&world);
    raw::send_cancel_over(within(&world, config), client.key());
    let said: Vec<String> = client.until('Z').into_iter().filter_map(raw::text_of).collect();
    assert_eq!(said, ["57014: canceling statement due to user request"]);
}

type Within = rustls::StreamOwned<ClientConnection, TcpStream>;

/// A client of ours that trusts the authority.
fn config(authority: &Authority, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let root = rustls::pki_types::CertificateDer::from_pem_slice(authority.pem().as_bytes());
    roots.add(root.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

fn begin(stream: TcpStream, config: Arc<ClientConfig>) -> Within {
    let name = ServerName::try_from("localhost").unwrap();
    rustls::StreamOwned::new(ClientConnection::new(config, name).unwrap(), stream)
}

/// A connection that has asked for TLS.
fn within(world: &World, config: Arc<ClientConfig>) -> Within {
    let mut stream = TcpStream::connect(world.address()).unwrap();
    let mut answer = [0];
    stream.write_all(&startup::SSL_REQUEST).unwrap();
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"S");
    begin(stream, config)
}

/// The beginning of a login, and the first byte of the answer; 0 for the end.
fn log_in(mut within: Within) -> u8 {
    let mut out = Vec::new();
    let parameters = [("user", cluster::USER), ("database", cluster::DATABASE)];
    startup::put_startup(&mut out, startup::PROTOCOL_3_0, parameters);
    let mut answer = [0];
    match within.write_all(&out).and_then(|()| within.read_exact(&mut answer)) {
        Ok(()) => answer[0],
        Err(_) => 0,
    }
}

#[test]
fn tls_may_begin_at_once_if_it_names_the_protocol() {
    let authority = Authority::new("lab");
    let world = world(&authority, TlsMode::Prefer);
    let direct = |protocols: &[&[u8]]| {
        let stream = TcpStream::connect(world.address()).unwrap();
        log_in(begin(stream, config(&authority, protocols)))
    };
    assert_eq!(direct(&[b"postgresql"]), b'R');
    assert_eq!(direct(&[]), b'E');
    assert_eq!(direct(&[b"http/1.1"]), 0);
    // Asked for, it need not.
    assert_eq!(log_in(within(&world, config(&authority, &[]))), b'R');
}

#[test]
fn plain_bytes_before_tls_are_nobodys() {
    let authority = Authority::new("lab");
    let world = world(&authority, TlsMode::Prefer);
    let mut stream = TcpStream::connect(world.address()).unwrap();
    let mut out = startup::SSL_REQUEST.to_vec();
    startup::put_startup(&mut out, startup::PROTOCOL_3_0, [("user", cluster::USER)]);
    stream.write_all(&out).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!(answer[0], b'E');
    assert!(String::from_utf8_lossy(&answer).contains("plain bytes behind the request for TLS"));

    // Within TLS it is not asked for again.
    let mut within = within(&world, config(&authority, &[]));
    within.write_all(&out).unwrap();
    let mut answer = [0];
    within.read_exact(&mut answer).unwrap();
    assert_eq!(answer, *b"E");
}

#[test]
fn a_renewed_certificate_is_shown_to_who_comes_then() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let world = world(&old, TlsMode::Prefer);
    let folder = world.cluster.folder().to_owned();
    let before = within(&world, config(&old, &[]));
    let shown = new.server("localhost");
    authority::file(&folder, "proxy.crt", &shown.cert);
    // One without the other is no pair: what there was goes on.
    world.server().certificates().reload().unwrap_err();
    assert_eq!(log_in(within(&world, config(&old, &[]))), b'R');
    authority::file(&folder, "proxy.key", &shown.key);
    world.server().certificates().reload().unwrap();
    assert_eq!(log_in(within(&world, config(&new, &[]))), b'R');
    assert_eq!(log_in(within(&world, config(&old, &[]))), 0);
    assert_eq!(log_in(before), b'R', "it had begun before");
}

const SOON: &str = "[listen]\nport = 0\nworkers = 2\n[pool]\nacquire_timeout = \"2s\"\n";

/// A proxy before one server with TLS (or none), with these settings for the nodes.
fn before_node(tls: Option<ServerTls>, hba: &[&str], change: impl Fn(&mut TlsSettings)) -> World {
    let hba = hba.iter().map(|line| (*line).to_owned()).collect();
    let cluster = Cluster::start(&ClusterSpec { tls, hba, ..ClusterSpec::default() }).unwrap();
    let change = of_nodes(cluster.folder().to_owned(), change);
    World::before(cluster, change, SOON)
}

/// The settings for the nodes, with files in this folder for what is given as their content.
fn of_nodes(folder: PathBuf, change: impl Fn(&mut TlsSettings)) -> impl Fn(&mut Settings) {
    move |settings| {
        let tls = &mut settings.tls;
        change(tls);
        let files = [
            ("root.pem", &mut tls.root_cert),
            ("cert.pem", &mut tls.cert),
            ("key.pem", &mut tls.key),
        ];
        for (name, content) in files {
            if !content.is_empty() {
                *content = authority::file(&folder, name, content);
            }
        }
        tls.server_name = "localhost".to_owned();
    }
}

/// How the connection of a statement to its node is: the version of TLS, or "plain"; or the error.
fn connection(world: &World) -> Result<String, String> {
    let sql = "select coalesce(version, 'plain') from pg_stat_ssl where pid = pg_backend_pid()";
    ask(world, "sslmode=disable", sql)
}

#[test]
fn nodes_are_talked_to_as_each_mode_promises() {
    if is_missing() {
        return;
    }
    let (authority, stranger) = (Authority::new("lab"), Authority::new("stranger"));
    let mut world = before_node(Some(authority.server("localhost")), &[], |_| {});
    let folder = world.cluster.folder().to_owned();
    let mut connect = |mode: TlsMode, root: &Authority| {
        let change = of_nodes(folder.clone(), |tls| {
            tls.mode = mode;
            tls.root_cert = root.pem();
        });
        world.replace(change, SOON);
        connection(&world)
    };
    let modes = [TlsMode::Prefer, TlsMode::Require, TlsMode::VerifyCa, TlsMode::VerifyFull];
    for mode in modes {
        assert_eq!(connect(mode, &authority).as_deref(), Ok("TLSv1.3"), "{mode}");
    }
    assert_eq!(connect(TlsMode::Disable, &authority).as_deref(), Ok("plain"));
    // As libpq: "prefer" takes anything, and so nothing is gained by insisting.
    assert_eq!(connect(TlsMode::Prefer, &stranger).as_deref(), Ok("plain"));
    for mode in &modes[1..] {
        assert_refused(connect(*mode, &stranger), "no authority in `root_cert`");
    }

    let mut world = before_node(None, &[], |tls| tls.mode = TlsMode::Prefer);
    assert_eq!(connection(&world).as_deref(), Ok("plain"));
    world.replace(|settings| settings.tls.mode = TlsMode::Require, SOON);
    assert_refused(connection(&world), "the node offers no TLS");
}

#[test]
fn a_node_that_lets_in_plain_connections_only_is_talked_to_in_plain() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let hba =
        ["hostnossl all all 127.0.0.1/32 scram-sha-256", "hostssl all all 127.0.0.1/32 reject"];
    let world = before_node(Some(authority.server("localhost")), &hba, |tls| {
        tls.mode = TlsMode::Prefer;
    });
    assert_eq!(connection(&world).as_deref(), Ok("plain"));
}

#[test]
fn nodes_are_shown_our_certificate_and_serve_load_and_cancels_within_tls() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let tls = ServerTls { client_ca: Some(authority.pem()), ..authority.server("localhost") };
    let hba = ["hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-full"];
    let (cert, key) = authority.client(cluster::USER);
    let world = before_node(Some(tls), &hba, |settings| {
        settings.mode = TlsMode::VerifyFull;
        settings.root_cert = authority.pem();
        (settings.cert, settings.key) = (cert.clone(), key.clone());
    });
    assert_eq!(connection(&world).as_deref(), Ok("TLSv1.3"));

    Pgbench::initialize(world.address(), 1).unwrap();
    let report = world.pgbench(&["-S", "-M", "prepared", "-c", "30", "-j", "2", "-t", "200"]);
    assert_eq!((report.transactions, report.failed), (6000, 0));

    let said = interrupted(&world, "sslmode=disable");
    assert!(said.contains("canceling statement due to user request"), "{said}");
}

#[test]
fn a_copy_that_is_answered_all_the_while_goes_on_over_tls() {
    if is_missing() {
        return;
    }
    let authority = Authority::new("lab");
    let world = before_node(Some(authority.server("localhost")), &[], |tls| {
        tls.mode = TlsMode::Require;
    });
    let table = "create table cp (line text); \
                 create function n() returns trigger language plpgsql as $$ \
                 begin raise notice '%', repeat('n', 100); return null; end $$; \
                 create trigger t before insert on cp for each row execute function n();";
    assert_eq!(ask(&world, "sslmode=disable", table).as_deref(), Ok(""));
    // More than all buffers on the way hold, in both directions at once.
    let data = world.cluster.folder().join("data.txt");
    std::fs::write(&data, format!("{}\n", "d".repeat(200)).repeat(50_000)).unwrap();
    let mut copy = psql(&world, "sslmode=disable");
    let command = format!("\\copy cp from '{}'", data.display());
    let quiet = Stdio::null;
    let mut copy = copy.args(["-c", &command]).stdout(quiet()).stderr(quiet()).spawn().unwrap();
    let mut ended = None;
    until("the copy ends", || {
        ended = copy.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
}
