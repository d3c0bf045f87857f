use std::path::{Path, PathBuf};

use clap::Parser;

use pgherd_core::settings::{Secret, UserSettings};

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    command: PgbouncerConfig,
}

fn command(arguments: &[&str]) -> PgbouncerConfig {
    Program::parse_from([&["pgbouncer-config"], arguments].concat()).command
}

fn settings(more: &str) -> Settings {
    let nodes = r#"
        node = [
            { host = "db", role = "coordinator" },
            { host = "r1", role = "replica" },
            { host = "r2", role = "replica" },
            { host = "s0", role = "worker", shard = 0, port = 5433 },
            { host = "s1", role = "worker", shard = 1 },
            { host = "s1-a", role = "replica", shard = 1, port = 6000 },
            { host = "s1-b", role = "replica", shard = 1, port = 6001 },
        ]
        user = [{ name = "app", password = "secret" }]
    "#;
    Settings::from_toml(&format!("{nodes}\n{more}"), "test").unwrap()
}

/// The files of the folder `config`, as they are to be.
fn samples() -> (PathBuf, Vec<(&'static str, String)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let toml = fs::read_to_string(folder.join("pgherd.toml")).unwrap();
    let settings = Settings::from_toml(&toml, "config/pgherd.toml").unwrap();
    let command = command(&[]);
    let bouncers = command.plan(&settings).unwrap();
    let ini = ini::render(&bouncers[0], &settings, &command.limits);
    let files =
        vec![("pgbouncer.ini", ini), ("userlist.txt", userlist::render(&settings.users).unwrap())];
    (folder, files)
}

#[test]
fn the_samples_are_fresh() {
    let (folder, files) = samples();
    for (name, fresh) in files {
        let path = folder.join(name);
        if std::env::var_os("PGHERD_WRITE_REFERENCE").is_some() {
            fs::write(&path, &fresh).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == fresh, "config/{name} is stale: run `cargo x reference`");
    }
}

/// The lines of an ini file that are no comments.
fn lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with(';')).collect()
}

#[test]
fn one_for_all_has_an_alias_for_the_project_each_node_and_each_kind() {
    let (command, settings) = (command(&[]), settings("[cluster]\ndatabase = \"shop\""));
    let bouncers = command.plan(&settings).unwrap();
    let [bouncer] = &bouncers[..] else { panic!("{bouncers:?}") };
    let text = ini::render(bouncer, &settings, &command.limits);
    let expected = [
        "[databases]",
        "shop = host=db port=5432 dbname=shop",
        "coordinator = host=db port=5432 dbname=shop",
        "coordinator-r1 = host=r1 port=5432 dbname=shop",
        "coordinator-r2 = host=r2 port=5432 dbname=shop",
        "shard-0 = host=s0 port=5433 dbname=shop",
        "shard-1 = host=s1 port=5432 dbname=shop",
        "shard-1-r1 = host=s1-a port=6000 dbname=shop",
        "shard-1-r2 = host=s1-b port=6001 dbname=shop",
        "shared_coordinator = host=db port=5432 dbname=shop",
        "shared_coordinator_replicas = host=r1,r2 port=5432 dbname=shop",
        "shared_shard_0 = host=s0 port=5433 dbname=shop",
        "shared_shard_1 = host=s1 port=5432 dbname=shop",
        "[pgbouncer]",
    ];
    assert_eq!(lines(&text)[..expected.len()], expected);
    assert!(text.contains("no alias shared_shard_1_replicas, for their ports differ"), "{text}");
    for line in [
        "pool_mode = transaction",
        "auth_type = scram-sha-256",
        "max_client_conn = 1000",
        "default_pool_size = 25",
        "listen_port = 6432",
        "query_wait_timeout = 5",
    ] {
        assert!(lines(&text).contains(&line), "{line}");
    }
}

#[test]
fn every_line_has_its_reason() {
    let (_, files) = samples();
    for (_, text) in files {
        let mut before = "";
        for line in text.lines() {
            let is_setting = line.contains(" = ") && !line.starts_with(';');
            assert!(!is_setting || before.starts_with("; "), "{line}");
            before = line;
        }
    }
}

#[test]
fn one_for_each_node_knows_that_node_only() {
    let (command, settings) = (command(&["--per-node", "--port", "7000"]), settings(""));
    let bouncers = command.plan(&settings).unwrap();
    let facts: Vec<_> = bouncers
        .iter()
        .map(|bouncer| (bouncer.node.as_deref().unwrap(), bouncer.port, bouncer.aliases.len()))
        .collect();
    assert_eq!(facts[0], ("coordinator", 7000, 2));
    assert_eq!(facts[6], ("shard-1-r2", 7006, 2));
    let text = ini::render(&bouncers[3], &settings, &command.limits);
    assert_eq!(lines(&text)[1], "postgres = host=s0 port=5433 dbname=postgres");
    let expected = "COORDINATOR_HOST=127.0.0.1:7000\n\
                    WORKER_HOSTS=127.0.0.1:7003,127.0.0.1:7004\n\
                    WORKER_SHARD_IDS=0,1\n\
                    REPLICA_HOSTS=127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7005,127.0.0.1:7006\n\
                    REPLICA_SHARD_IDS=,,1,1\n\
                    COORDINATOR_DB=postgres\n\
                    COORDINATOR_USER=app\n";
    let environment = plan::environment(&settings, &bouncers);
    assert_eq!(environment, expected);
    // And the library reads it so.
    let variable = |name: &str| {
        let line = environment.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        line.map(str::to_owned)
    };
    let through = Settings::from_env(variable).unwrap();
    assert_eq!(through.topology().unwrap().nodes().len(), 7);
}

#[test]
fn logins_and_passwords_are_quoted() {
    let user = |name: &str, password: &str| UserSettings {
        name: name.to_owned(),
        password: Secret::new(password),
        ..UserSettings::default()
    };
    let text = userlist::render(&[user("o\"neil", "a\"b 'c'\\")]).unwrap();
    assert_eq!(text.lines().nth(1), Some(r#""o""neil" "a""b 'c'\""#));
    let hash = format!("md5{}", "0".repeat(32));
    for bad in ["", "a\nb", "SCRAM-SHA-256$4096:x", &hash] {
        let error = userlist::render(&[user("app", bad)]).unwrap_err().to_string();
        assert!(error.contains("`app`") && (bad.is_empty() || !error.contains(bad)), "{error}");
    }
}

#[test]
fn what_pgbouncer_cannot_have_is_refused() {
    let settings = settings("[cluster]\ndatabase = \"pgbouncer\"");
    assert!(command(&[]).plan(&settings).unwrap_err().to_string().contains("console"));
    let settings = self::settings("[cluster]\ndatabase = \"two words\"");
    let error = command(&[]).plan(&settings).unwrap_err().to_string();
    assert!(error.contains("`two words`"), "{error}");
    let settings = self::settings("");
    assert!(command(&["--per-node", "--port", "65533"]).plan(&settings).is_err());
}

#[test]
fn tls_to_the_servers_is_never_less_than_the_settings_require() {
    let ini = |tls: &str| {
        let settings = settings(&format!("[tls]\n{tls}"));
        let command = command(&[]);
        let bouncers = command.plan(&settings)?;
        anyhow::Ok(ini::render(&bouncers[0], &settings, &command.limits))
    };
    let full = "mode = \"verify-full\"\nroot_cert = \"/etc/root.crt\"\n";
    let text =
        ini(&format!("{full}cert = \"/etc/c\"\nkey = \"/etc/k\"\nmin_version = \"1.3\"")).unwrap();
    for line in [
        "server_tls_sslmode = verify-full",
        "server_tls_ca_file = /etc/root.crt",
        "server_tls_cert_file = /etc/c",
        "server_tls_key_file = /etc/k",
        "server_tls_protocols = tlsv1.3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}");
    }
    let checked = ini("mode = \"require\"\nroot_cert = \"/etc/root.crt\"").unwrap();
    assert!(checked.contains("server_tls_sslmode = verify-ca"));
    assert!(ini("mode = \"disable\"").unwrap().contains("server_tls_sslmode = disable"));
    assert!(ini(&format!("{full}server_name = \"db\"")).is_err());
    assert!(ini("channel_binding = \"require\"").is_err());
}
