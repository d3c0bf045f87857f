use std::collections::HashMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::id::ShardId;
use crate::retry::Jitter;
use crate::shard::ShardFunction;
use crate::timeouts::Timeouts;
use crate::topology::NodeRole;

const WHOLE: &str = r#"
[cluster]
name = "shop"
database = "app"

[[node]]
name = "c"
host = "10.0.0.1"
port = 5433
role = "coordinator"

[[node]]
host = "10.0.0.2"
role = "worker"
shard = 0

[[node]]
host = "10.0.0.3"
role = "replica"

[[node]]
host = "10.0.0.4"
role = "replica"
shard = 0

[[user]]
name = "app"
password = "s3cret \" quoted"

[listen]
address = "::1"
port = 0
workers = 2
auth = "trust"

[pool]
mode = "transaction"
size = 40
acquire_timeout = "250ms"
statement_cache_bytes = 1_000_000

[health]
interval = "200ms"
failures = 2

[retry]
multiplier = 3
jitter = false

[routing]
read_from_replicas = false
shard_function = "postgres"
buckets = 1024
read_only_functions = ["f", "s.g"]
"#;

fn problems(text: &str) -> Vec<String> {
    let errors = Settings::from_toml(text, "pgherd.toml").expect_err("the text is wrong");
    errors.0.iter().map(ToString::to_string).collect()
}

#[test]
fn every_setting_of_a_file_arrives() {
    let settings = Settings::from_toml(WHOLE, "pgherd.toml").unwrap();
    assert_eq!(settings.cluster.name, "shop");
    assert_eq!(settings.cluster.database, "app");
    let names: Vec<_> = settings.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["c", "shard-0", "coordinator-r1", "shard-0-r1"]);
    assert_eq!(settings.nodes[0].port, 5433);
    assert_eq!(settings.nodes[1].port, 5432);
    assert_eq!(settings.nodes[1].role, NodeRole::Worker);
    assert_eq!(settings.nodes[3].shard, Some(ShardId(0)));
    assert_eq!(settings.users[0].password.expose(), "s3cret \" quoted");
    assert_eq!(settings.listen.address, "::1");
    assert_eq!(settings.listen.auth, AuthMethod::Trust);
    assert_eq!(settings.listen.max_clients, ListenSettings::default().max_clients);
    assert_eq!(settings.pool.size, 40);
    assert_eq!(settings.pool.acquire_timeout, Duration::from_millis(250));
    assert_eq!(settings.pool.statement_cache_bytes, ByteSize(1_000_000));
    assert_eq!(settings.retry_config().backoff_multiplier, 3.0);
    assert_eq!(settings.retry_config().jitter, Jitter::None);
    assert_eq!(settings.health_config().failures, 2);
    assert_eq!(settings.routing.read_only_functions, ["f", "s.g"]);
    let policy = settings.route_policy().unwrap();
    assert!(!policy.read_from_replicas);
    let sharding = policy.sharding.unwrap();
    assert_eq!(sharding.function, ShardFunction::Postgres);
    assert_eq!(sharding.map.buckets(), 1024);
    assert_eq!(settings.topology().unwrap().shard_count(), 1);
}

#[test]
fn the_defaults_are_those_of_the_brief() {
    let settings = Settings::default();
    assert_eq!((settings.listen.address.as_str(), settings.listen.port), ("127.0.0.1", 6432));
    assert_eq!(settings.pool.size, 20);
    assert_eq!(settings.retry_config(), RetryConfig::default());
    assert_eq!(settings.health_config(), HealthConfig::default());
}

#[test]
fn all_problems_are_reported_at_once_with_their_lines() {
    let text = "[pool]\nsize = 0\nidle_timout = \"1s\"\nacquire_timeout = 5\n\n[colour]\n\n\
                [[node]]\nhost = \"h\"\nrole = \"boss\"\n";
    assert_eq!(
        problems(text),
        [
            "pgherd.toml:10: node.role: `boss` is not one of coordinator, worker, replica",
            "pgherd.toml:2: pool.size: 0 is out of range (1 to 10000)",
            "pgherd.toml:4: pool.acquire_timeout: expected a duration such as \"5s\", \
             found integer",
            "pgherd.toml:3: pool.idle_timout: unknown; did you mean `idle_timeout`?",
            "pgherd.toml:6: colour: unknown; known here are cluster, node, user, database, peer, listen, pool, \
             health, retry, routing, transactions, tls, client_tls, http, tcp, log",
        ]
    );
}

#[test]
fn what_is_required_is_missed() {
    let missing = problems("[[node]]\nport = 1\n[[user]]\npassword = \"p\"\n");
    assert_eq!(
        missing,
        [
            "pgherd.toml:1: node.host: is required",
            "pgherd.toml:1: node.role: is required",
            "pgherd.toml:3: user.name: is required",
        ]
    );
    let empty = problems("");
    assert!(empty[0].contains("no node has the role `coordinator`"), "{empty:?}");
    assert!(empty[1].contains("no [[user]]"), "{empty:?}");
}

#[test]
fn nodes_that_make_no_cluster_are_refused_at_their_line() {
    let text = WHOLE.replace("role = \"replica\"\nshard = 0", "role = \"replica\"\nshard = 7");
    assert_eq!(
        problems(&text),
        [
            "pgherd.toml:21: node.shard-7-r1: replica `shard-7-r1` follows shard 7, which has no worker"
        ]
    );
    let text = WHOLE.replace("\"::1\"", "\"localhost\"");
    assert!(problems(&text)[0].starts_with("pgherd.toml:31: listen.address: `localhost`"));
}

#[test]
fn what_is_not_toml_is_refused_with_its_line() {
    let found = problems("[pool]\nsize = \n");
    assert!(found[0].starts_with("pgherd.toml:2: not TOML"), "{found:?}");
    assert_eq!(problems("pool = 3\nnode = 4\n").len(), 2);
}

#[test]
fn passwords_never_print() {
    let settings = Settings::from_toml(WHOLE, "pgherd.toml").unwrap();
    assert!(!format!("{settings:?}").contains("s3cret"));
    let wrong = WHOLE.replace("\"s3cret \\\" quoted\"", "918273");
    assert!(!problems(&wrong).join("").contains("918273"));
}

#[test]
fn a_password_is_given_in_one_way() {
    let with = |password: &str| {
        let text = format!(
            "[[node]]\nhost = \"h\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n{password}"
        );
        Settings::from_toml(&text, "f").map(|mut settings| settings.users.remove(0))
    };
    assert_eq!(with("password_file = \"/run/pw\"").unwrap().password_file, "/run/pw");
    let command = with("password_command = [\"vault\", \"read\"]").unwrap().password_command;
    assert_eq!((command.words().len(), command.to_string().as_str()), (2, "vault read"));
    let command = with("password_command = \"cat a | head\"").unwrap().password_command;
    assert_eq!((command.words().len(), command.to_string().as_str()), (3, "cat a | head"));
    let refused = with("password = \"s3cret\"\npassfile = \"p\"").unwrap_err().to_string();
    assert_eq!(
        refused,
        "f:6: user.password: user `u` has password and passfile: one of them is enough"
    );
}

#[test]
fn the_environment_names_where_the_password_is() {
    let user = |pairs: &[(&str, &str)]| {
        let host = [("COORDINATOR_HOST", "h"), ("PGPASSFILE", "/home/me/.pgpass")];
        env(&[&host, pairs].concat()).map(|mut settings| settings.users.remove(0))
    };
    assert_eq!(user(&[]).unwrap().passfile, "/home/me/.pgpass");
    let file = user(&[("COORDINATOR_PASSWORD_FILE", "/run/secrets/db")]).unwrap();
    assert_eq!((file.password_file.as_str(), file.passfile.as_str()), ("/run/secrets/db", ""));
    let command = user(&[("COORDINATOR_PASSWORD_COMMAND", "pass db")]).unwrap();
    assert_eq!(command.password_command.to_string(), "pass db");
    let both = user(&[("COORDINATOR_PASSWORD", "s3cret"), ("COORDINATOR_PASSWORD_FILE", "f")]);
    let both = both.unwrap_err().to_string();
    assert!(both.starts_with("COORDINATOR_PASSWORD: user `postgres` has password and"), "{both}");
    assert!(!both.contains("s3cret"));
}

fn env(pairs: &[(&str, &str)]) -> Result<Settings, SettingsErrors> {
    let map: HashMap<_, _> = pairs.iter().copied().collect();
    Settings::from_env(|name| map.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn the_environment_of_the_brief_makes_a_cluster() {
    let settings = env(&[
        ("COORDINATOR_HOST", "db-primary.example.com"),
        ("COORDINATOR_PORT", "5433"),
        ("COORDINATOR_DB", "shop"),
        ("COORDINATOR_USER", "me"),
        ("COORDINATOR_PASSWORD", "pw "),
        ("WORKER_HOSTS", "shard-1.example.com:6000, [::1]:6001,::2"),
        ("WORKER_PORTS", "7000,7001,7002"),
        ("WORKER_SHARD_IDS", "1,0,2"),
        ("REPLICA_HOSTS", "replica-1.example.com,replica-2.example.com"),
        ("REPLICA_PORTS", "5999"),
        ("REPLICA_SHARD_IDS", ",2"),
        ("REPLICA_WEIGHTS", "3,"),
        ("REPLICA_ZONES", "b"),
        ("WORKER_SERVER_NAMES", "*,db,*"),
        ("PGHERD_LISTEN", "0.0.0.0:7777"),
        ("PGHERD_WORKERS", "3"),
        ("PGHERD_POOL_SIZE", "7"),
        ("PGHERD_RETRY_INITIAL_BACKOFF", "5ms"),
        ("PGHERD_RETRY_JITTER", "off"),
    ])
    .unwrap();
    let nodes: Vec<_> = settings
        .nodes
        .iter()
        .map(|node| format!("{} {}:{}", node.name, node.host, node.port))
        .collect();
    assert_eq!(
        nodes,
        [
            "coordinator db-primary.example.com:5433",
            "shard-1 shard-1.example.com:6000",
            "shard-0 ::1:6001",
            "shard-2 ::2:7002",
            "coordinator-r1 replica-1.example.com:5999",
            "shard-2-r1 replica-2.example.com:5999",
        ]
    );
    let replicas: Vec<_> =
        settings.nodes[4..].iter().map(|node| (node.weight, node.zone.as_str())).collect();
    assert_eq!(replicas, [(3, "b"), (1, "b")]);
    assert_eq!(settings.nodes[2].server_name, "db");
    assert_eq!(settings.cluster.database, "shop");
    assert_eq!(settings.users[0].name, "me");
    assert_eq!(settings.users[0].password.expose(), "pw ");
    assert_eq!(
        (settings.listen.address.as_str(), settings.listen.port, settings.listen.workers),
        ("0.0.0.0", 7777, 3)
    );
    assert_eq!(settings.pool.size, 7);
    assert_eq!(settings.retry_config().initial_backoff, Duration::from_millis(5));
    assert_eq!(settings.retry_config().jitter, Jitter::None);
}

#[test]
fn a_single_host_is_enough() {
    let settings = env(&[("COORDINATOR_HOST", "localhost"), ("WORKER_HOSTS", "")]).unwrap();
    assert_eq!(settings.nodes.len(), 1);
    assert_eq!(settings.nodes[0].port, 5432);
}

#[test]
fn a_wrong_environment_is_refused_by_variable() {
    let errors = env(&[
        ("WORKER_HOSTS", "a,b,c"),
        ("WORKER_SHARD_IDS", "0,1"),
        ("REPLICA_HOSTS", "r:x"),
        ("PGHERD_POOL_SIZE", "many"),
    ])
    .unwrap_err();
    let lines: Vec<_> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "COORDINATOR_HOST: is required",
            "WORKER_SHARD_IDS: has 2 items for 3 in WORKER_HOSTS",
            "REPLICA_HOSTS: in `r:x`: `x` is not a whole number; the range is 1 to 65535",
            "PGHERD_POOL_SIZE: `many` is not a whole number; the range is 1 to 10000",
        ]
    );
}

#[test]
fn the_reference_names_each_setting_with_its_default() {
    let all = reference();
    let size = all.iter().find(|s| s.section == "pool" && s.name == "size").unwrap();
    assert_eq!(size.default, "20");
    for setting in &all {
        let doc = setting.doc.join(" ");
        let name = format!("{}.{}", setting.section, setting.name);
        assert!(doc.contains("Default:") && doc.contains("Reload:"), "{name} is not documented");
    }
    // A file of nothing but defaults reads back as the defaults.
    let mut text =
        String::from("[[node]]\nhost=\"h\"\nrole=\"coordinator\"\n[[user]]\nname=\"u\"\n");
    for setting in &all {
        let SettingInfo { section, name, default, .. } = setting;
        if !text.contains(&format!("[{section}]")) {
            text.push_str(&format!("[{section}]\n"));
        }
        text.push_str(&format!("{name} = {default}\n"));
    }
    let read = Settings::from_toml(&text, "defaults.toml").unwrap();
    let expected =
        Settings { nodes: read.nodes.clone(), users: read.users.clone(), ..Settings::default() };
    assert_eq!(read, expected);
}

proptest! {
    #[test]
    fn no_text_makes_the_reader_panic(text in ".*", noise in "[\\[\\]=\"',.a-z0-9 \n{}]*") {
        let _ = Settings::from_toml(&text, "f");
        let _ = Settings::from_toml(&noise, "f");
    }

    #[test]
    fn no_value_makes_the_reader_panic(at in 0..60usize, value in "(\\PC{0,12}|-?[0-9]{1,22}|[0-9.e]{1,8})") {
        let mut lines: Vec<String> = WHOLE.lines().map(str::to_owned).collect();
        let line = at % lines.len();
        if let Some((name, _)) = lines[line].clone().split_once('=') {
            lines[line] = format!("{name}= {value}");
        }
        let _ = Settings::from_toml(&lines.join("\n"), "f");
    }

    #[test]
    fn no_environment_makes_the_reader_panic(value in ".*") {
        let _ = Settings::from_env(|_| Some(value.clone()));
    }
}

#[test]
fn a_value_out_of_range_is_refused_also_where_a_program_has_set_it() {
    let mut settings = Settings::from_toml(WHOLE, "f").unwrap();
    assert_eq!(settings.check(), Ok(()));
    settings.pool.size = 0;
    settings.retry.multiplier = f64::NAN;
    settings.health.interval = Duration::ZERO;
    let found = settings.check().unwrap_err();
    let paths: Vec<_> = found.0.iter().filter_map(|error| error.setting.as_deref()).collect();
    assert_eq!(paths, ["pool.size", "health.interval", "retry.multiplier"]);
    assert!(found.0[0].problem.contains("0 is out of range (1 to 10000)"), "{found}");
}

#[test]
fn databases_are_checked_each_under_its_name() {
    let text = r#"
node = [{ host = "h", role = "coordinator" }]
[[user]]
name = "u"
pool_size = 0
[[database]]
name = "a"
user = "nobody"
pool_mode = "forever"
[[database]]
name = "a"
pool_size = 20000
"#;
    let refused = Settings::from_toml(text, "f").unwrap_err().to_string();
    assert!(
        refused.contains("f:9: database.pool_mode: `forever` is not one of session, "),
        "{refused}"
    );
    let text = text.replace("pool_mode = \"forever\"", "");
    let refused = Settings::from_toml(&text, "f").unwrap_err();
    let refused: Vec<String> = refused.0.iter().map(ToString::to_string).collect();
    assert_eq!(
        refused,
        [
            "f:10: database.a: `user = \"nobody\"` is no [[user]]",
            "f:10: database.a: two databases are called `a`",
            "f:10: database.a: pool_size: 20000 is out of range (1 to 10000)",
            "f:3: user.u: pool_size: 0 is out of range (1 to 10000)",
        ]
    );
}

#[test]
fn a_users_limits_go_before_those_of_all() {
    let text = r#"
node = [{ host = "h", role = "coordinator" }]
[listen]
query_timeout = "1s"
transaction_timeout = "2s"
idle_transaction_timeout = "3s"
client_idle_timeout = "4s"
[[user]]
name = "usual"
[[user]]
name = "other"
query_timeout = "10s"
transaction_timeout = "20s"
idle_transaction_timeout = "0s"
client_idle_timeout = "40s"
"#;
    let settings = Settings::from_toml(text, "f").unwrap();
    let [usual, other] = [0, 1].map(|at| settings.client_timeouts(&settings.users[at]));
    let all = |timeouts: &Timeouts| {
        let Timeouts { query, transaction, idle_transaction, idle } = *timeouts;
        [query, transaction, idle_transaction, idle].map(|limit| limit.map(|limit| limit.as_secs()))
    };
    assert_eq!(all(&usual), [Some(1), Some(2), Some(3), Some(4)]);
    assert_eq!(all(&other), [Some(10), Some(20), None, Some(40)]);
}

#[test]
fn a_node_may_have_several_hosts() {
    let node = |host: &str| {
        let text = format!(
            "[[node]]\nhost = \"{host}\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n"
        );
        Settings::from_toml(&text, "pgherd.toml").map_err(|errors| errors.to_string())
    };
    let topology = node("one, two:6000").unwrap().topology().unwrap();
    let hosts = topology.nodes()[0].hosts().unwrap();
    assert_eq!(hosts.iter().map(ToString::to_string).collect::<Vec<_>>(), ["one:5432", "two:6000"]);
    let long = node(&format!("db,@{}", "x".repeat(100))).unwrap_err();
    assert!(long.contains("the Unix socket `@xxx") && long.contains("107 are the most"), "{long}");
    let refused = node("one,one").unwrap_err();
    let expected =
        "pgherd.toml:1: node.coordinator: host of node `coordinator`: `one:5432` is listed twice";
    assert_eq!(refused, expected);

    let hosts =
        [("COORDINATOR_HOST", "a|b:1"), ("COORDINATOR_PORT", "7"), ("WORKER_HOSTS", "c|d,e")];
    let settings = env(&hosts).unwrap();
    let nodes: Vec<_> = settings.nodes.iter().map(|node| (&*node.host, node.port)).collect();
    assert_eq!(nodes, [("a,b:1", 7), ("c,d", 5432), ("e", 5432)]);
    let sockets = [
        ("COORDINATOR_HOST", "/run/postgresql|db:1"),
        ("REPLICA_HOSTS", "@pg:7,/run/a:b"),
        ("REPLICA_PORTS", "8,9"),
        ("COORDINATOR_LOAD_BALANCE_HOSTS", "disable"),
        ("REPLICA_LOAD_BALANCE_HOSTS", "round-robin,"),
    ];
    let settings = env(&sockets).unwrap();
    let balances = settings.nodes.iter().map(|node| node.load_balance_hosts);
    assert!(balances.eq([Some(HostBalance::Disable), Some(HostBalance::RoundRobin), None]));
    let nodes: Vec<_> = settings.nodes.iter().map(|node| (&*node.host, node.port)).collect();
    assert_eq!(nodes, [("/run/postgresql,db:1", 5432), ("@pg", 7), ("/run/a:b", 9)]);
    let refused =
        |name, hosts| env(&[("COORDINATOR_HOST", "c"), (name, hosts)]).unwrap_err().to_string();
    assert_eq!(refused("WORKER_HOSTS", "a|,b"), "WORKER_HOSTS: an item of the list has no host");
    let many = refused("COORDINATOR_HOST", "a,b");
    assert!(many.starts_with("COORDINATOR_HOST: names more than one node"), "{many}");
}

#[test]
fn peers_have_numbers_of_their_own() {
    let node = "[[node]]\nhost = \"h\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n";
    let own = "[listen]\npeer_id = 2\n";
    let peer = |id: u32, host: &str| format!("[[peer]]\nid = {id}\nhost = \"{host}\"\n");
    let good = [node, own, &peer(1, "a,b:7000"), &peer(2, "c")].concat();
    let settings = Settings::from_toml(&good, "pgherd.toml").unwrap();
    assert_eq!(Settings::from_toml(&settings.to_toml(), "written").unwrap().peers, settings.peers);
    let peers = settings.peers;
    assert_eq!((peers.len(), peers[0].id, peers[0].port), (2, 1, 6432));
    let bad = [node, own, &peer(1, "a"), &peer(1, "/run"), &peer(16384, "a,a")].concat();
    assert_eq!(
        problems(&bad),
        [
            "pgherd.toml:11: peer.1: two peers have the id 1",
            "pgherd.toml:14: peer.16384: id: 16384 is out of range (1 to 16383)",
            "pgherd.toml:14: peer.16384: host: `a:6432` is listed twice",
        ]
    );
    let alone = problems(&[node, &peer(1, "a")].concat());
    assert!(
        alone[0].contains("listen.peer_id: is required where there is a [[peer]]"),
        "{alone:?}"
    );
}

#[test]
fn no_text_has_a_nul_in_it() {
    let node = "[[node]]\nhost = \"h\"\nrole = \"coordinator\"\n[[user]]\nname = \"u\"\n";
    let refused = |more: &str| problems(&[node, more].concat());
    for (more, path) in [
        ("[listen]\nlogin_notice = \"a\\u0000b\"", "pgherd.toml:7: listen.login_notice: "),
        ("[listen]\nstats_users = [\"u\", \"\\u0000\"]", "pgherd.toml:7: listen.stats_users: "),
        ("password = \"a\\u0000b\"", "user.u: password: "),
    ] {
        let found = refused(more).join("\n");
        assert!(found.contains(&format!("{path}a text cannot have a NUL")), "{found}");
    }
    let names = ["application_name", "client_encoding", "datestyle", "timezone", "connect_query"];
    for name in names.into_iter().chain(["database", "auth_query", "auth_database"]) {
        let found =
            refused(&format!("[[database]]\nname = \"d\"\n{name} = \"x\\u0000y\"")).join("\n");
        assert!(found.contains("a text cannot have a NUL") && found.contains(name), "{found}");
    }
    // Two characters that look like one are no NUL.
    assert!(
        Settings::from_toml(&[node, "[listen]\nlogin_notice = '\\u0000'"].concat(), "x").is_ok()
    );
    // Also where a program has set it.
    let mut settings = Settings::from_toml(node, "pgherd.toml").unwrap();
    settings.listen.login_notice = "\0".to_owned();
    let timezone = "UTC\0user".to_owned();
    let name = "d".to_owned();
    settings.databases.push(DatabaseSettings { name, timezone, ..DatabaseSettings::default() });
    let found = settings.check().unwrap_err().to_string();
    assert!(found.contains("listen.login_notice: a text cannot have a NUL"), "{found}");
    assert!(found.contains("database.d: timezone: a text cannot have a NUL"), "{found}");
}
