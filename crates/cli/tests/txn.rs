//! `pgherd txn` on real shards, with transactions as a process leaves them that dies.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;

use pgherd_lab::{Cluster, ClusterSpec, cluster};

struct World {
    cluster: Cluster,
    config: String,
}

impl World {
    fn start(grace: &str) -> Self {
        let settings = vec!["max_prepared_transactions = 8".to_owned()];
        let spec = ClusterSpec { shards: 3, settings, ..ClusterSpec::default() };
        let cluster = Cluster::start(&spec).unwrap();
        let config = cluster.folder().join("pgherd.toml");
        // Nobody but the test recovers.
        let more = format!("[transactions]\ngrace = \"{grace}\"\nrecovery_interval = \"1h\"\n");
        std::fs::write(&config, cluster.settings_toml(&more)).unwrap();
        let config = config.to_str().unwrap().to_owned();
        let world = Self { cluster, config };
        world.ok(&["init"]);
        for node in world.cluster.workers() {
            node.psql("SET ROLE app; CREATE TABLE t (n int4)").unwrap();
        }
        world
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pgherd"));
        command.args(words).args(["--config", &self.config]);
        command.output().unwrap()
    }

    fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Fails, and says so with these words.
    fn refused(&self, words: &[&str], expected: &str) {
        let output = self.run(words);
        let said = stderr(&output);
        assert!(!output.status.success() && said.contains(expected), "{words:?}: {said}");
    }

    fn sql(&self, node: &str, sql: &str) -> String {
        self.cluster.node(node).unwrap().psql(sql).unwrap()
    }

    /// Prepared on shards 0 and 2; shard 1 decides.
    fn leave(&self, number: u32) -> String {
        let gid = format!("pgherd_lab_deadbeef_1_1_{number}");
        for shard in [0, 2] {
            self.leave_on(shard, &gid, number);
        }
        gid
    }

    fn leave_on(&self, shard: u16, gid: &str, number: u32) {
        let sql = format!(
            "SET ROLE {}; BEGIN; INSERT INTO t VALUES ({number}); \
             SELECT pgherd.mark('{gid}', 'app'); PREPARE TRANSACTION '{gid}_{shard}'",
            cluster::USER
        );
        self.sql(&format!("shard-{shard}"), &sql);
    }

    /// Waits until the shortest grace time is over for all that is prepared.
    fn until_old(&self) {
        let young = "SELECT count(*) FROM pg_prepared_xacts \
                     WHERE prepared > clock_timestamp() - interval '100ms'";
        while ["shard-0", "shard-2"].iter().any(|node| self.sql(node, young) != "0") {}
    }

    fn decide(&self, gid: &str) {
        self.sql("shard-1", &format!("SELECT pgherd.decide('{gid}', 'app', '{{0,2}}')"));
    }

    /// The rows on shards 0 and 2, and what is prepared there.
    fn outcome(&self) -> [String; 2] {
        ["shard-0", "shard-2"].map(|node| {
            let sql = "SELECT coalesce(string_agg(n::text, ' ' ORDER BY n), '') || '|' || \
                       (SELECT count(*) FROM pg_prepared_xacts) FROM t";
            self.sql(node, sql)
        })
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn what_is_prepared_is_listed_and_finished_as_it_was_decided() {
    let world = World::start("1h");
    assert_eq!(world.ok(&["txn", "list"]), "nothing is prepared\n");
    let (decided, open) = (world.leave(1), world.leave(2));
    world.decide(&decided);

    let printed = world.ok(&["txn", "list"]);
    for words in ["decision   committed; shard 1 decides", "recovery   commits it in 3", "none yet"]
    {
        assert!(printed.contains(words), "{words}: {printed}");
    }
    let json = world.ok(&["txn", "list", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let all = json["transactions"].as_array().unwrap();
    let one = all.iter().find(|one| one["gid"] == decided.as_str()).unwrap();
    assert_eq!((&one["owner"], &one["anchor"]), (&"app".into(), &1.into()));
    assert_eq!(
        (&one["decision"], &one["committed"]),
        (&"committed".into(), &serde_json::json!([]))
    );
    let nodes: Vec<_> = one["prepared"].as_array().unwrap().iter().map(|it| &it["node"]).collect();
    assert_eq!(nodes, ["shard-0", "shard-2"]);
    let other = all.iter().find(|one| one["gid"] == open.as_str()).unwrap();
    assert_eq!(other["decision"], "none");

    // A decision is not contradicted, and nothing is committed that nobody decided.
    let resolve =
        |gid: &str, option: &str| world.refused(&["txn", "resolve", gid, option], "stays");
    resolve(&decided, "--rollback");
    resolve(&open, "--commit");
    world.refused(&["txn", "resolve", &open], "may still be committing");
    world.refused(&["txn", "resolve", "pgherd_x_y_1_1_1"], "is not prepared on any shard");
    assert_eq!(world.outcome(), ["|2", "|2"]);

    let done = world.ok(&["txn", "resolve", &decided]);
    let part = |shard| format!("shard-{shard}: committed {decided}_{shard}\n");
    assert_eq!(done, part(0) + &part(2));
    // By the name that a shard has for it, too.
    world.ok(&["txn", "resolve", &format!("{open}_2"), "--rollback"]);
    assert_eq!(world.outcome(), ["1|0", "1|0"]);
    let row = format!("SELECT outcome FROM pgherd.decision WHERE gid = '{open}'");
    assert_eq!(world.sql("shard-1", &row), "abort", "its anchor can never commit");
}

#[test]
fn what_nobody_decided_for_long_is_rolled_back_and_a_half_committed_one_is_completed() {
    let world = World::start("100ms");
    let open = world.leave(1);
    world.until_old();
    world.ok(&["txn", "resolve", &open]);
    let half = world.leave(2);
    world.decide(&half);
    world.sql("shard-0", &format!("COMMIT PREPARED '{half}_0'"));
    let printed = world.ok(&["txn", "list"]);
    assert!(printed.contains("committed  on shard 0"), "{printed}");
    world.refused(&["txn", "resolve", &half, "--rollback"], "the decision is to commit");
    world.ok(&["txn", "resolve", &half, "--commit"]);
    assert_eq!(world.outcome(), ["2|0", "2|0"]);
}

#[test]
fn a_lost_decision_is_made_anew_by_somebody_who_says_so_in_words() {
    let world = World::start("100ms");
    let [first, second, half] = [1, 2, 3].map(|number| world.leave(number));
    world.sql("shard-0", &format!("COMMIT PREPARED '{half}_0'"));
    world.until_old();
    world.cluster.node("shard-1").unwrap().kill().unwrap();

    let listed = world.run(&["txn", "list"]);
    let printed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(printed.contains("recovery   waits for shard 1"), "{printed}");
    assert!(!listed.status.success() && stderr(&listed).contains("shard 1:"), "{listed:?}");

    world.refused(&["txn", "resolve", &first, "--commit"], "cannot be asked");
    world.refused(&["txn", "resolve", &first, "--decision-is-lost"], "say which it shall be");
    world.ok(&["txn", "resolve", &first, "--commit", "--decision-is-lost"]);
    world.ok(&["txn", "resolve", &second, "--rollback", "--decision-is-lost"]);
    // One part is committed, so the other follows.
    let rollback = ["txn", "resolve", &half, "--rollback", "--decision-is-lost"];
    world.refused(&rollback, "a shard has committed its part");
    // While another shard is away, too, nobody knows what it has done.
    world.cluster.node("shard-0").unwrap().kill().unwrap();
    let commit = ["txn", "resolve", &half, "--commit", "--decision-is-lost"];
    world.refused(&commit, "not every other shard");
    world.cluster.node("shard-0").unwrap().start().unwrap();
    world.ok(&commit);
    assert_eq!(world.outcome(), ["1 3|0", "1 3|0"]);
}

/// `pgherd serve` before the shards, with a console for everybody.
struct Proxy {
    child: Child,
    port: u16,
    // Reads to the end of the log.
    log: Option<JoinHandle<Vec<String>>>,
}

impl Proxy {
    fn start(world: &World) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let config = world.cluster.folder().join("proxy.toml");
        // Nobody recovers here either.
        let more = format!(
            "[listen]\nport = {port}\nadmin_users = [\"{}\"]\n[transactions]\ngrace = \"1h\"\n\
             recovery_interval = \"1h\"\n",
            cluster::USER
        );
        std::fs::write(&config, world.cluster.settings_toml(&more)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_pgherd"))
            .args(["serve", "--config", config.to_str().unwrap()])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut proxy = Self { child, port, log: None };
        let log = BufReader::new(proxy.child.stderr.take().unwrap());
        let (tell, listens) = mpsc::channel();
        proxy.log = Some(std::thread::spawn(move || {
            let lines = log.lines().map_while(Result::ok);
            let heard = lines.inspect(|line| {
                if line.contains("listening") {
                    let _ = tell.send(());
                }
            });
            heard.collect()
        }));
        listens.recv().expect("it listens");
        proxy
    }

    /// A table of the console, a line for each row.
    fn show(&self, world: &World, table: &str) -> Vec<String> {
        let mut psql = world.cluster.coordinator().psql_command();
        let output = psql
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", cluster::USER])
            .args(["-d", "pgbouncer", "-XAtw", "-c", &format!("show {table}")])
            .env("PGPASSWORD", cluster::PASSWORD)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
    }
}

impl Proxy {
    /// Ends it; what it has logged.
    fn end(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Fails if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_console_of_the_proxy_shows_what_is_prepared() {
    let world = World::start("1h");
    let proxy = Proxy::start(&world);
    assert_eq!(proxy.show(&world, "transactions"), [""; 0]);
    let (decided, open) = (world.leave(1), world.leave(2));
    world.decide(&decided);
    let rows = proxy.show(&world, "transactions");
    assert_eq!(rows.len(), 2, "{rows:?}");
    for (gid, state, recovery) in
        [(decided, "committed", "commits it in"), (open, "none yet", "rolls it back unless")]
    {
        let begins = format!("{gid}|{state}|shard-1|shard-0, shard-2|");
        let row = rows.iter().find(|row| row.starts_with(&begins));
        assert!(row.is_some_and(|row| row.contains(&format!("|app|{recovery}"))), "{rows:?}");
    }
    world.cluster.node("shard-2").unwrap().kill().unwrap();
    let rows = proxy.show(&world, "transactions");
    assert_eq!(rows.len(), 3, "{rows:?}");
    assert!(rows.iter().any(|row| row.starts_with("|shard 2: ")), "{rows:?}");
    // It watches four nodes; what each look watches besides is nobody's concern.
    let log = proxy.end();
    let let_in = log.iter().filter(|line| line.contains("node in rotation")).count();
    assert!(let_in <= 4, "{log:#?}");
}
