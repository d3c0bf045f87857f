//! `pgherd init` on real shards.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use pgherd_lab::{Cluster, ClusterSpec, cluster};

fn init(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd"));
    command.arg("init").args(arguments).env("PGPASSWORD", cluster::PASSWORD);
    command.output().unwrap()
}

#[test]
fn the_decision_table_is_made_on_every_shard_and_may_be_made_again() {
    let cluster = Cluster::start(&ClusterSpec { shards: 2, ..ClusterSpec::default() }).unwrap();
    let config = cluster.folder().join("pgherd.toml");
    std::fs::write(&config, cluster.settings_toml("")).unwrap();
    let config = config.to_str().unwrap();
    for node in cluster.workers() {
        node.psql("create role reader").unwrap();
    }
    for arguments in [
        &["--config", config][..],
        &["--config", config, "--user", "postgres", "--grant", "reader"],
    ] {
        // The first is the owner of the database; what it made the superuser may replace.
        let output = init(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let printed = String::from_utf8_lossy(&output.stdout);
        let expected =
            "shard-0: the decision table is there\nshard-1: the decision table is there\n";
        assert_eq!(printed, expected);
    }
    for node in cluster.workers() {
        let may = "select has_function_privilege('reader', 'pgherd.decide(text, name, int4[])', \
                   'execute'), has_table_privilege('reader', 'pgherd.decision', 'select')";
        assert_eq!(node.psql(may).unwrap(), "t|f");
    }
}

#[test]
fn the_script_is_printed_without_a_cluster() {
    let output = init(&["--print", "--grant", "o'dd \"role\""]);
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("CREATE TABLE IF NOT EXISTS pgherd.decision"));
    assert!(printed.contains("GRANT USAGE ON SCHEMA pgherd TO \"o'dd \"\"role\"\"\";"));
}
