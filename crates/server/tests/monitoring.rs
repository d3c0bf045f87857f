//! What monitoring asks over HTTP, by a bare client.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

#[path = "../../pgherd/tests/authority/mod.rs"]
mod authority;
mod world;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use authority::Authority;
use pgherd_core::metrics::{Kind, catalogue};
use pgherd_core::settings::TlsMode;
use pgherd_lab::{Cluster, ClusterSpec, Prometheus};
use world::{World, until};

const WITH_HTTP: &str = "[listen]\nport = 0\nworkers = 2\n[health]\ninterval = \"100ms\"\n\
                         [http]\nlisten = \"127.0.0.1:0\"\n";

/// The head and the body of an answer.
fn ask(at: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(at).unwrap();
    let whole = format!("{request}Host: test\r\nConnection: close\r\n\r\n");
    stream.write_all(whole.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

fn get(world: &World, path: &str) -> (u16, String) {
    let at = world.server().http_address().unwrap();
    let (head, body) = ask(at, &format!("GET {path} HTTP/1.1\r\n"));
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// The value of the sample that begins so.
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn metrics_count_what_was_done() {
    let world = World::start(1, WITH_HTTP);
    let client = world.connect().await;
    for _ in 0..10 {
        client.simple_query("select 1").await.unwrap();
        client.simple_query("create temp table if not exists t (); drop table t").await.unwrap();
    }
    client.simple_query("begin; select pg_sleep(0.02); commit").await.unwrap();
    until("the replica's lag is known", || get(&world, "/metrics").1.contains("lag_bytes{"));

    let (status, text) = get(&world, "/metrics");
    assert_eq!(status, 200);
    assert_eq!(value(&text, "pgherd_database_queries_total{database=\"app\"}"), 21.0);
    let answered = |node: &str| {
        value(&text, &format!("pgherd_node_query_duration_seconds_count{{node=\"{node}\"}}"))
    };
    assert_eq!(answered("coordinator") + answered("coordinator-r1"), 21.0);
    assert!(answered("coordinator-r1") >= 10.0);
    let took = value(&text, "pgherd_database_query_seconds_total{database=\"app\"}");
    assert!(took >= 0.02, "{took}");
    let active = "pgherd_pool_clients{database=\"app\",user=\"app\",state=\"active\"}";
    assert_eq!(value(&text, active), 1.0);
    assert_eq!(value(&text, "pgherd_node_up{node=\"coordinator-r1\"}"), 1.0);
    assert_eq!(value(&text, "pgherd_ready"), 1.0);
    // There is no TLS here.
    for metric in catalogue::ALL.iter().filter(|metric| **metric != &catalogue::CERTIFICATE) {
        let sample = match metric.kind {
            Kind::Histogram => format!("\n{}_bucket{{", metric.name),
            _ => format!("\n{}", metric.sample_name()),
        };
        assert!(text.contains(&sample), "no {} in {text}", metric.name);
    }

    let at = world.server().http_address().unwrap();
    let accept = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (head, body) = ask(at, &format!("GET /metrics HTTP/1.1\r\n{accept}"));
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("\n# EOF\n"), "{body}");
}

#[tokio::test]
async fn what_clients_are_refused_is_counted_by_class_and_reason() {
    let world = World::start(0, WITH_HTTP);
    let counts = |sample: &str| value(&get(&world, "/metrics").1, sample);
    assert_eq!(counts("pgherd_client_errors_total{class=\"28\"}"), 0.0);
    // Those are only of errors at the console, which are not counted.
    let metrics = get(&world, "/metrics").1;
    assert!(!metrics.contains("class=\"26\"") && !metrics.contains("class=\"42\""), "{metrics}");
    for _ in 0..2 {
        world.try_connect("password=wrong").await.unwrap_err();
    }
    world.try_connect("dbname=nowhere").await.unwrap_err();
    let client = world.connect().await;
    drop(TcpStream::connect(world.address()).unwrap().write_all(b"\0\0\0\x01no"));
    until("the stranger is counted", || {
        counts("pgherd_failed_logins_total{reason=\"protocol\"}") == 1.0
    });
    assert_eq!(counts("pgherd_client_errors_total{class=\"28\"}"), 2.0);
    assert_eq!(counts("pgherd_failed_logins_total{reason=\"password\"}"), 2.0);
    assert_eq!(counts("pgherd_client_errors_total{class=\"3D\"}"), 1.0);
    assert_eq!(counts("pgherd_failed_logins_total{reason=\"database\"}"), 1.0);
    assert_eq!(counts("pgherd_client_errors_total{class=\"08\"}"), 1.0);
    // What a node reports is the node's.
    client.simple_query("select 1/0").await.unwrap_err();
    assert_eq!(counts("pgherd_client_errors_total{class=\"22\"}"), 0.0);
    world.server().stopper().stop();
    until("its end is counted", || counts("pgherd_client_errors_total{class=\"57\"}") == 1.0);
}

#[test]
fn it_is_told_how_long_certificates_last() {
    let authority = Authority::new("us");
    let cluster = Cluster::start(&ClusterSpec::default()).unwrap();
    let folder = cluster.folder().to_owned();
    let shown = authority.server("localhost");
    let (cert, key) = authority.expired_client("app");
    let write = |name: &str, content: &str| authority::file(&folder, name, content);
    let change = |settings: &mut pgherd_core::Settings| {
        settings.client_tls.mode = TlsMode::Prefer;
        settings.client_tls.cert = write("proxy.crt", &shown.cert);
        settings.client_tls.key = write("proxy.key", &shown.key);
        (settings.tls.cert, settings.tls.key) = (write("own.crt", &cert), write("own.key", &key));
    };
    let world = World::before(cluster, change, WITH_HTTP);
    let remaining = |to: &str| {
        let sample = format!("pgherd_certificate_remaining_seconds{{shown_to=\"{to}\"}}");
        value(&get(&world, "/metrics").1, &sample)
    };
    // A hundred years, and since 2020.
    assert!(remaining("clients") > 3e9 && remaining("nodes") < 0.0);
    // With one behind it that has expired it is as good as expired.
    write("proxy.crt", &(shown.cert + &cert));
    world.server().certificates().reload().unwrap();
    assert!(remaining("clients") < 0.0);
}

#[tokio::test]
async fn health_is_the_promised_object_and_more_behind_it() {
    let world = World::start(1, WITH_HTTP);
    world.connect().await.simple_query("select 1").await.unwrap();
    let (status, text) = get(&world, "/health");
    assert_eq!(status, 200, "{text}");
    let coordinator = world.node("coordinator");
    let begins = format!(
        "{{\"coordinator\":{{\"host\":\"127.0.0.1\",\"port\":{},\"healthy\":true}},\"workers\":[],\
         \"replicas\":[{{\"host\":\"127.0.0.1\",\"healthy\":true}}],\"statistics\":{{\"total\":",
        coordinator.port
    );
    assert!(text.starts_with(&begins), "{text}");
    for key in ["reads", "writes", "errors", "retries", "generation", "nodes", "ready", "draining"]
    {
        assert!(text.contains(&format!("\"{key}\":")), "{text}");
    }
}

#[tokio::test]
async fn who_drains_is_not_ready_but_alive() {
    let world = World::start(0, WITH_HTTP);
    until("it is ready", || get(&world, "/readyz").0 == 200);
    assert_eq!(get(&world, "/livez"), (200, "ok\n".to_owned()));
    let client = world.connect().await;
    client.batch_execute("begin").await.unwrap();
    world.server().stopper().stop();
    until("it is not ready", || get(&world, "/readyz").0 == 503);
    assert_eq!(get(&world, "/livez").0, 200);
    assert!(get(&world, "/readyz").1.contains("shutting down"));
    assert_eq!(value(&get(&world, "/metrics").1, "pgherd_draining"), 1.0);
    client.batch_execute("commit").await.unwrap();
}

#[tokio::test]
async fn without_a_coordinator_nobody_is_sent_here() {
    let world = World::start(0, WITH_HTTP);
    until("it is ready", || get(&world, "/readyz").0 == 200);
    world.node("coordinator").kill().unwrap();
    until("it is not ready", || get(&world, "/readyz").0 == 503);
    until("its health is told", || get(&world, "/health").0 == 503);
    assert_eq!(get(&world, "/livez").0, 200);
    assert_eq!(value(&get(&world, "/metrics").1, "pgherd_node_up{node=\"coordinator\"}"), 0.0);
}

#[test]
fn what_is_no_question_is_refused() {
    let world = World::start(0, WITH_HTTP);
    let at = world.server().http_address().unwrap();
    let status = |request: &str| {
        let head = ask(at, request).0;
        head.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status("GET /nothing HTTP/1.1\r\n"), "404");
    assert_eq!(status("POST /metrics HTTP/1.1\r\n"), "405");
    assert_eq!(status("nonsense\r\n"), "400");
    let long = format!("GET /livez HTTP/1.1\r\nX: {}\r\n", "x".repeat(20 * 1024));
    assert_eq!(status(&long), "431");
}

#[tokio::test]
async fn debians_prometheus_scrapes_it_and_tells_quantiles() {
    if Prometheus::is_missing() {
        return;
    }
    let world = World::start(0, WITH_HTTP);
    let client = world.connect().await;
    let target = world.server().http_address().unwrap();
    let prometheus = Prometheus::start(&world.cluster, target).unwrap();
    until("the target is up", || {
        prometheus.query("up{job=\"pgherd\"}").unwrap().contains(",\"1\"]")
    });
    let of_node = "pgherd_node_query_duration_seconds_bucket{node=\"coordinator\"}";
    let quantile = format!("histogram_quantile(0.99, rate({of_node}[1m])) > 0");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        client.simple_query("select 1").await.unwrap();
        let answer = prometheus.query(&quantile).unwrap();
        if answer.contains("\"node\":\"coordinator\"") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{answer}");
    }
    let kind = prometheus.query("count(pgherd_build_info{version!=\"\"})").unwrap();
    assert!(kind.contains(",\"1\"]"), "{kind}");
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    if Prometheus::is_missing() {
        return;
    }
    let world = World::start(1, WITH_HTTP);
    world.connect().await.simple_query("select 1").await.unwrap();
    until("it is ready", || get(&world, "/readyz").0 == 200);
    let checked = Prometheus::check(&["metrics"], &get(&world, "/metrics").1).unwrap();
    assert!(checked.status.success() && checked.stderr.is_empty(), "{checked:?}");
}

#[test]
fn promtool_takes_the_sample_of_alert_rules() {
    if Prometheus::is_missing() {
        return;
    }
    let page = include_str!("../../../docs/monitoring.md");
    let (_, rules) = page.split_once("```yaml\ngroups:").unwrap();
    let (rules, _) = rules.split_once("```").unwrap();
    let rules = format!("groups:{rules}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pgherd.rules.yml");
    std::fs::write(&file, &rules).unwrap();
    let checked = Prometheus::check(&["rules", file.to_str().unwrap()], "").unwrap();
    assert!(checked.status.success(), "{checked:?}");
    // Nor do they speak of a metric that there is not.
    let names = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for name in names.filter(|name| name.starts_with("pgherd_")) {
        let is_one = |metric: &&pgherd_core::metrics::Metric| {
            name == metric.sample_name() || name == format!("{}_bucket", metric.name)
        };
        assert!(catalogue::ALL.iter().any(is_one), "{name}");
    }
}
