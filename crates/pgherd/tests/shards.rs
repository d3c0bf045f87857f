//! Shard-aware routing and distributed transactions, against real servers.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::time::Duration;

use pgherd::{DistributedPool, ErrorKind, GroupId, Key, QueryType, Retry, Rule, ShardId};
use world::{Door, Shape, WHERE, World, at_each_door, port_of, until};

const SHAPE: Shape = Shape { shards: 2, ..Shape::ONE };

// MD5 of the decimal text as a big-endian integer modulo 2, from Python's hashlib.
const ON_SHARD_0: [i32; 3] = [2, 4, 6];
const ON_SHARD_1: [i32; 3] = [1, 5, 8];

at_each_door! {
    #[tokio::test]
    writes_with_a_key_go_to_the_worker_of_its_shard,
    #[tokio::test]
    a_key_always_leads_to_the_same_shard_and_keys_spread_evenly,
    #[tokio::test]
    reads_with_a_key_go_to_the_shard_and_ddl_stays_on_the_coordinator,
    #[tokio::test]
    a_deadlock_over_two_shards_is_ended_and_one_of_the_two_is_told,
}

async fn writes_with_a_key_go_to_the_worker_of_its_shard(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    let mut keys: Vec<(Key, &str)> = Vec::new();
    keys.extend(ON_SHARD_0.map(|key| (key.into(), "shard-0")));
    keys.extend(ON_SHARD_1.map(|key| (key.into(), "shard-1")));
    for (key, shard) in keys {
        let row = pool.write().shard_key(key.clone()).query_one(WHERE, &[]).await.unwrap();
        assert_eq!(port_of(&row), world.port(shard), "{key}");
        // The text of a number is the same key under md5.
        let row = pool.write().shard_key(key.to_string()).query_one(WHERE, &[]).await.unwrap();
        assert_eq!(port_of(&row), world.port(shard), "'{key}'");
    }
}

async fn a_key_always_leads_to_the_same_shard_and_keys_spread_evenly(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let (pool, again) = (world.pool(), world.pool());
    let mut on_first = 0;
    for key in 0..100 {
        let lease = pool.acquire(QueryType::Write, Some(key.into())).await.unwrap();
        let other = again.acquire(QueryType::Read, Some(key.into())).await.unwrap();
        assert_eq!(lease.route().group, other.route().group);
        assert_eq!(lease.route().rule, Rule::WriteOnShard);
        on_first += i32::from(lease.node() == "shard-0");
    }
    assert!((30..=70).contains(&on_first), "{on_first} of 100 keys on shard 0");
}

async fn reads_with_a_key_go_to_the_shard_and_ddl_stays_on_the_coordinator(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    let pool = world.pool();
    for (key, shard) in [(ON_SHARD_0[0], "shard-0"), (ON_SHARD_1[0], "shard-1")] {
        let row = pool.read().shard_key(key).query_one(WHERE, &[]).await.unwrap();
        assert_eq!(port_of(&row), world.port(shard));
        let row = pool.auto(WHERE).shard_key(key).query_one(&[]).await.unwrap();
        assert_eq!(port_of(&row), world.port(shard));
        for request in [pool.ddl(), pool.distributed()] {
            let row = request.shard_key(key).query_one(WHERE, &[]).await.unwrap();
            assert_eq!(port_of(&row), world.port("coordinator"));
        }
    }
    let error = pool.write().shard(ShardId(2)).execute("SELECT 1", &[]).await.unwrap_err();
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Route, Retry::No));
}

// What follows goes beyond the three.

#[tokio::test]
async fn reads_with_a_key_go_to_the_replicas_of_its_shard_and_without_them_to_its_worker() {
    let world = World::start(Shape { shard_replicas: 1, ..SHAPE });
    let pool = world.pool();
    for (key, shard) in [(ON_SHARD_0[0], "shard-0"), (ON_SHARD_1[0], "shard-1")] {
        let replica = format!("{shard}-r1");
        let id = pool.topology().node_named(&replica).unwrap().id;
        until("it is in", async || pool.topology().is_readable_replica(id)).await;
        let port = async |request: pgherd::Request<'_>| {
            port_of(&request.shard_key(key).query_one(WHERE, &[]).await.unwrap())
        };
        assert_eq!(port(pool.read()).await, world.port(&replica));
        assert_eq!(port(pool.write()).await, world.port(shard));
        let lease = pool.acquire(QueryType::Read, Some(key.into())).await.unwrap();
        assert_eq!(lease.route().rule, Rule::KeyedReadOnReplica);
        drop(lease);
        world.kill(&replica);
        assert_eq!(port(pool.read()).await, world.port(shard));
    }
    // Without a key they stay with the coordinator, which has no replica here.
    let row = pool.read().query_one(WHERE, &[]).await.unwrap();
    assert_eq!(port_of(&row), world.port("coordinator"));
}

#[tokio::test]
async fn keys_of_every_type_lead_where_postgresqls_own_md5_says() {
    let world = World::start(SHAPE);
    let pool = world.pool();
    let uuid: pgherd::Uuid = "6ba7b810-9dad-11d1-80b4-00c04fd430c8".parse().unwrap();
    let keys: [(Key, &str); 6] = [
        (42_i32.into(), "'42'"),
        ((-42_i64).into(), "'-42'"),
        ("żółw".into(), "convert_to('żółw', 'UTF8')"),
        (String::new().into(), "''"),
        (uuid.into(), "'6ba7b810-9dad-11d1-80b4-00c04fd430c8'"),
        (b"\x00\xff".as_slice().into(), r"'\x00ff'::bytea::text"),
    ];
    for (key, text) in keys {
        // The last bit of the digest is its rest by two.
        let sql = format!("SELECT get_byte(decode(md5({text}), 'hex'), 15) & 1");
        let shard = world.sql("coordinator", &sql);
        let lease = pool.acquire(QueryType::Write, Some(key.clone())).await.unwrap();
        assert_eq!(lease.node(), format!("shard-{shard}"), "{key}");
    }
}

// Transactions over both shards.

const KEYS: [i32; 2] = [ON_SHARD_0[0], ON_SHARD_1[0]];

async fn prepare_tables(world: &World) {
    world.pool().install_decision_table(&[]).await.unwrap();
    for shard in ["shard-0", "shard-1"] {
        world.sql_as_app(
            shard,
            "CREATE TABLE accounts (id int4 PRIMARY KEY, balance int4 NOT NULL)",
        );
    }
    world.sql_as_app("shard-0", &format!("INSERT INTO accounts VALUES ({}, 100)", KEYS[0]));
    world.sql_as_app("shard-1", &format!("INSERT INTO accounts VALUES ({}, 100)", KEYS[1]));
}

fn balances(world: &World) -> [String; 2] {
    ["shard-0", "shard-1"].map(|shard| world.sql(shard, "SELECT sum(balance) FROM accounts"))
}

fn prepared(world: &World) -> String {
    ["shard-0", "shard-1"]
        .map(|shard| world.sql(shard, "SELECT gid FROM pg_prepared_xacts"))
        .join("")
}

async fn transfer(pool: &DistributedPool) -> pgherd::DistributedTransaction {
    let transaction = pool.distributed_transaction(KEYS).await.unwrap();
    for (shard, cursor) in transaction.cursors() {
        let sql = "UPDATE accounts SET balance = balance + $1";
        let amount = if shard == ShardId(0) { -30 } else { 30 };
        assert_eq!(cursor.execute(sql, &[&amount]).await.unwrap(), 1);
    }
    transaction
}

#[tokio::test]
async fn a_distributed_transaction_commits_on_both_shards() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    let transaction = transfer(&pool).await;
    assert_eq!(balances(&world), ["100", "100"], "nothing is seen before the commit");
    transaction.commit().await.unwrap();
    assert_eq!(balances(&world), ["70", "130"]);
    assert_eq!(prepared(&world), "");
    // The backends came back clean.
    transfer(&pool).await.commit().await.unwrap();
    let statistics = pool.statistics();
    assert_eq!((statistics.acquires, statistics.opens), (4, 2));
    assert_eq!((statistics.counters.errors, statistics.counters.reads), (0, 0));
}

#[tokio::test]
async fn rollback_and_drop_leave_nothing() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    transfer(&pool).await.rollback().await;
    assert_eq!(balances(&world), ["100", "100"]);

    drop(transfer(&pool).await);
    let open = "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL \
                AND pid <> pg_backend_pid() AND backend_type = 'client backend'";
    for shard in ["shard-0", "shard-1"] {
        until("no transaction is open", async || world.sql(shard, open) == "0").await;
    }
    assert_eq!(balances(&world), ["100", "100"]);
    assert_eq!(prepared(&world), "");
    transfer(&pool).await.commit().await.unwrap();
    assert_eq!(balances(&world), ["70", "130"]);
}

#[tokio::test]
async fn a_failure_on_one_shard_rolls_back_both() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    // The statement's error is handed out, and a commit after it rolls back: PREPARE answers
    // ROLLBACK without an error.
    let transaction = transfer(&pool).await;
    let error = transaction
        .for_key(KEYS[1])
        .unwrap()
        .execute("INSERT INTO accounts VALUES ($1, 0)", &[&KEYS[1]])
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), Some("23505"));
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::RolledBack, Some("shard-1")));
    assert_eq!(error.sqlstate(), Some("25P02"), "{error}");
    assert_eq!(
        (balances(&world), prepared(&world)),
        (["100", "100"].map(String::from), String::new())
    );

    // A constraint that is checked at the commit: refused in PREPARE.
    world.sql_as_app(
        "shard-0",
        "CREATE TABLE child (id int4 REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)",
    );
    let transaction = transfer(&pool).await;
    let first = transaction.shard(ShardId(0)).unwrap();
    first.execute("INSERT INTO child VALUES (12345)", &[]).await.unwrap();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.sqlstate()), (ErrorKind::RolledBack, Some("23503")));
    assert_eq!(
        (balances(&world), prepared(&world)),
        (["100", "100"].map(String::from), String::new())
    );

    // An ended connection before the commit.
    let transaction = transfer(&pool).await;
    world.terminate_pooled("shard-1");
    let error = transaction.commit().await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::RolledBack, Some("shard-1")));
    assert_eq!(
        (balances(&world), prepared(&world)),
        (["100", "100"].map(String::from), String::new())
    );
    assert!(error.in_doubt().is_empty());
}

#[tokio::test]
async fn one_shard_commits_in_one_phase() {
    let world = World::start(Shape { max_prepared: 0, ..SHAPE });
    prepare_tables(&world).await;
    let pool = world.pool();
    let transaction = pool.distributed_transaction([ON_SHARD_0[0], ON_SHARD_0[1]]).await.unwrap();
    assert_eq!(transaction.cursors().count(), 1);
    let cursor = transaction.for_key(ON_SHARD_0[2]).unwrap();
    cursor.execute("UPDATE accounts SET balance = 7", &[]).await.unwrap();
    let error = transaction.shard(ShardId(1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Usage);
    transaction.commit().await.unwrap();
    assert_eq!(balances(&world)[0], "7");
}

#[tokio::test]
async fn a_node_without_prepared_transactions_is_named_before_any_work() {
    let world = World::start(Shape { max_prepared: 0, ..SHAPE });
    let pool = world.pool();
    let error = pool.distributed_transaction(KEYS).await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Usage, Some("shard-0")));
    assert!(error.to_string().contains("max_prepared_transactions"), "{error}");
    // The watch has found it at the start; without a commit that fails, this is where it shows.
    let report = pool.health_check().await;
    assert_eq!(report.node("shard-0").unwrap().max_prepared_transactions, Some(0));
}

#[tokio::test]
async fn a_shard_that_dies_after_it_prepared_is_finished_when_it_is_back() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    // The commit is held up on shard 1 by a deferred trigger that sleeps, so that shard 0 has
    // prepared and is killed before anything is decided.
    world.sql_as_app(
        "shard-1",
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END'; \
         CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED \
         FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let commit = tokio::spawn(transfer(&pool).await.commit());
    let count = "SELECT count(*) FROM pg_prepared_xacts";
    until("shard 0 has prepared", async || world.sql("shard-0", count) == "1").await;
    world.kill("shard-0");
    let committed = commit.await.unwrap().unwrap();
    let [left] = &committed.pending[..] else { panic!("{committed:?}") };
    assert_eq!((left.shard, left.node.as_str()), (ShardId(0), "shard-0"));
    assert_eq!(balances_of(&world, "shard-1"), "130", "decided, so committed here");

    world.start_node("shard-0");
    assert_eq!(world.sql("shard-0", "SELECT gid FROM pg_prepared_xacts"), left.gid);
    let recovered = pool.recover(Duration::ZERO).await;
    assert_eq!(
        (&recovered.committed[..], recovered.rolled_back.len()),
        (&committed.pending[..], 0)
    );
    assert_eq!(balances(&world), ["70", "130"]);
}

fn balances_of(world: &World, shard: &str) -> String {
    world.sql(shard, "SELECT sum(balance) FROM accounts")
}

#[tokio::test]
async fn without_a_decision_table_the_transaction_says_what_to_do() {
    let world = World::start(SHAPE);
    let error = world.pool().distributed_transaction(KEYS).await.unwrap_err();
    assert_eq!((error.kind(), error.node()), (ErrorKind::Usage, Some("shard-0")));
    assert!(error.to_string().ends_with("run `pgherd init`"), "{error}");
}

#[tokio::test]
async fn a_transaction_that_wrote_on_one_shard_only_prepares_nothing() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    let transaction = pool.distributed_transaction(KEYS).await.unwrap();
    let read = transaction.for_key(KEYS[0]).unwrap();
    read.query("SELECT * FROM accounts", &[]).await.unwrap();
    let written = transaction.for_key(KEYS[1]).unwrap();
    written.execute("UPDATE accounts SET balance = 7", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(balances(&world), ["100", "7"]);
    for shard in ["shard-0", "shard-1"] {
        assert_eq!(world.sql(shard, "SELECT count(*) FROM pgherd.decision"), "0");
    }
}

#[tokio::test]
async fn what_nobody_decided_is_rolled_back_and_what_was_decided_is_committed() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    // As a process leaves it that died between the prepare and the decision, or after it.
    let leave = |number: u32, amount: i32| {
        let gid = format!("pgherd_pgherd_deadbeef_1_1_{number}");
        world.sql_as_app(
            "shard-0",
            &format!(
                "BEGIN; INSERT INTO accounts VALUES (1000 + {number}, {amount}); \
                 SELECT pgherd.mark('{gid}', 'app'); PREPARE TRANSACTION '{gid}_0'"
            ),
        );
        gid
    };
    leave(1, 5);
    let decided = leave(2, 7);
    // Superusers are members of every role; nobody else decides for the application.
    world.sql("shard-1", &format!("SELECT pgherd.decide('{decided}', 'app', '{{0}}')"));
    let recovered = pool.recover(Duration::ZERO).await;
    assert_eq!((recovered.committed.len(), recovered.rolled_back.len()), (1, 1), "{recovered:?}");
    assert_eq!(balances_of(&world, "shard-0"), "107");
    assert_eq!(prepared(&world), "");
    // The commit is proven by its marker, so nothing of it is kept; what an aborted one left
    // goes once nobody can run into it.
    for _ in 0..2 {
        pool.recover(Duration::ZERO).await;
    }
    assert_eq!(world.sql("shard-1", "SELECT count(*) FROM pgherd.decision"), "0");
    assert_eq!(world.sql("shard-0", "SELECT count(*) FROM pgherd.marker"), "0");
}

#[tokio::test]
async fn a_shard_that_does_not_answer_holds_up_neither_the_recovery_of_others_nor_deadlocks() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let leave = |shard: u16, anchor: u16, number: u32| {
        let gid = format!("pgherd_pgherd_deadbeef_1_{anchor}_{number}");
        let row = format!("INSERT INTO accounts VALUES (1000 + {number}, 1)");
        let prepare = format!("PREPARE TRANSACTION '{gid}_{shard}'");
        world.sql_as_app(&format!("shard-{shard}"), &format!("BEGIN; {row}; {prepare}"));
    };
    leave(0, 1, 1);
    leave(0, 1, 2);
    leave(1, 0, 3);
    // It lets everybody in, and then says nothing about its decisions.
    let mut stuck = world.session_as("postgres", "shard-1").await;
    let locked = stuck.transaction().await.unwrap();
    locked.batch_execute("LOCK TABLE pgherd.decision").await.unwrap();

    let set = |settings: &mut pgherd::Settings| {
        settings.transactions.deadlock_interval = Duration::from_millis(50);
        settings.transactions.recovery_interval = Duration::from_millis(100);
        settings.transactions.grace = Duration::from_millis(100);
    };
    let pool = world.builder().with_settings(set).build().unwrap();
    let recovering = tokio::spawn({
        let pool = pool.clone();
        async move { pool.recover(Duration::ZERO).await }
    });
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted";
    until("recovery waits", async || world.sql("shard-1", waits) == "t").await;
    // The pool's own recovery waits as well, and deadlocks are ended all the same.
    let sql = "UPDATE accounts SET balance = balance + 1";
    let (first, second) = (
        pool.distributed_transaction(KEYS).await.unwrap(),
        pool.distributed_transaction(KEYS).await.unwrap(),
    );
    first.for_key(KEYS[0]).unwrap().execute(sql, &[]).await.unwrap();
    second.for_key(KEYS[1]).unwrap().execute(sql, &[]).await.unwrap();
    let (first_result, second_result) =
        tokio::join!(async { first.for_key(KEYS[1]).unwrap().execute(sql, &[]).await }, async {
            let result = second.for_key(KEYS[0]).unwrap().execute(sql, &[]).await;
            second.rollback().await;
            result
        });
    assert_eq!(second_result.unwrap_err().sqlstate(), Some("40P01"));
    first_result.unwrap();
    first.rollback().await;

    let recovered = recovering.await.unwrap();
    let problems = recovered.problems.join("\n");
    assert!(problems.contains("no answer from shard-1 within"), "{problems}");
    // What it decides is asked for once.
    assert!(problems.contains("shard 1 decides, and could not be asked before"), "{problems}");
    // By this pass or that of the pool.
    let left = "SELECT count(*) FROM pg_prepared_xacts";
    until("the other is finished", async || world.sql("shard-1", left) == "0").await;
    assert_eq!(world.sql("shard-0", left), "2");
    drop(locked);
    until("all is finished", async || prepared(&world).is_empty()).await;
    assert_eq!(balances(&world), ["100", "100"]);
}

#[tokio::test]
async fn an_anchor_that_idles_over_its_decision_is_ended_and_everything_rolled_back() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let pool = world.pool();
    let gid = "pgherd_pgherd_deadbeef_1_1_1";
    world.sql_as_app(
        "shard-0",
        &format!(
            "BEGIN; UPDATE accounts SET balance = 0; SELECT pgherd.mark('{gid}', 'app'); \
             PREPARE TRANSACTION '{gid}_0'"
        ),
    );
    // The decision is written and not committed, and its client does nothing more.
    let stalled = pool.write().shard(ShardId(1)).acquire().await.unwrap();
    stalled.batch_execute("BEGIN; UPDATE accounts SET balance = 0").await.unwrap();
    let decide = format!("SELECT pgherd.decide('{gid}', 'app', '{{0}}')");
    stalled.batch_execute(&decide).await.unwrap();
    let recovered = pool.recover(Duration::ZERO).await;
    assert_eq!((recovered.committed.len(), recovered.rolled_back.len()), (0, 1), "{recovered:?}");
    assert!(stalled.batch_execute("COMMIT").await.is_err());
    assert_eq!(balances(&world), ["100", "100"]);
}

#[tokio::test]
async fn nobody_decides_for_somebody_else() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    world.sql(
        "shard-1",
        "CREATE ROLE mallory; GRANT USAGE ON SCHEMA pgherd TO mallory; \
               GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgherd TO mallory",
    );
    for call in ["decide('g', 'app', '{}')", "abort('g', 'app')", "mark('g', 'app')"] {
        let sql = format!(
            "SET SESSION AUTHORIZATION mallory; DO $$ BEGIN PERFORM pgherd.{call}; \
             RAISE 'it went through'; EXCEPTION WHEN insufficient_privilege THEN NULL; END $$"
        );
        world.sql("shard-1", &sql);
    }
    assert_eq!(world.sql("shard-1", "SELECT count(*) FROM pgherd.decision"), "0");
}

async fn a_deadlock_over_two_shards_is_ended_and_one_of_the_two_is_told(door: Door) {
    let Some(world) = World::at(door, SHAPE) else { return };
    prepare_tables(&world).await;
    let quick = |settings: &mut pgherd::Settings| {
        settings.transactions.deadlock_interval = Duration::from_millis(50);
    };
    let pool = world.builder().with_settings(quick).build().unwrap();
    let sql = "UPDATE accounts SET balance = balance + 1";
    let (first, second) = (
        pool.distributed_transaction(KEYS).await.unwrap(),
        pool.distributed_transaction(KEYS).await.unwrap(),
    );
    first.for_key(KEYS[0]).unwrap().execute(sql, &[]).await.unwrap();
    second.for_key(KEYS[1]).unwrap().execute(sql, &[]).await.unwrap();
    // Each now waits for the other, and no server sees both.
    let crossed = async {
        tokio::join!(async { first.for_key(KEYS[1]).unwrap().execute(sql, &[]).await }, async {
            let result = second.for_key(KEYS[0]).unwrap().execute(sql, &[]).await;
            // The younger gives way, and by that lets the other go on.
            second.rollback().await;
            result
        })
    };
    let (first_result, second_result) = crossed.await;
    let error = second_result.unwrap_err();
    assert_eq!((error.sqlstate(), error.retry()), (Some("40P01"), Retry::Same), "{error}");
    assert_eq!(first_result.unwrap(), 1);
    first.commit().await.unwrap();
    assert_eq!(balances(&world), ["101", "101"]);
    assert_eq!(pool.statistics().deadlocks, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_shard_does_not_hide_a_deadlock_between_the_others() {
    let world = World::start(Shape { shards: 3, ..SHAPE });
    for shard in ["shard-0", "shard-1"] {
        world.sql_as_app(shard, "CREATE TABLE accounts (balance int4)");
        world.sql_as_app(shard, "INSERT INTO accounts VALUES (100)");
    }
    let quick = |settings: &mut pgherd::Settings| {
        settings.transactions.deadlock_interval = Duration::from_millis(50);
    };
    let pool = world.builder().with_settings(quick).build().unwrap();
    pool.install_decision_table(&[]).await.unwrap();
    let mut keys = Vec::new();
    for shard in [ShardId(0), ShardId(1)] {
        let mut candidates = 0..;
        keys.push(loop {
            let key: i32 = candidates.next().unwrap();
            let lease = pool.acquire(QueryType::Write, Some(key.into())).await.unwrap();
            if lease.route().group == GroupId::Shard(shard) {
                break key;
            }
        });
    }
    let begin = || pool.distributed_transaction(keys.iter().copied());
    let (first, second) = (begin().await.unwrap(), begin().await.unwrap());
    let looks = "SELECT count(*) > 0 FROM pg_stat_activity \
                 WHERE query LIKE '%pg_blocking_pids%' AND pid <> pg_backend_pid()";
    until("the watch looks at it", async || world.sql("shard-2", looks) == "t").await;
    world.freeze("shard-2");
    let sql = "UPDATE accounts SET balance = balance + 1";
    first.for_key(keys[0]).unwrap().execute(sql, &[]).await.unwrap();
    second.for_key(keys[1]).unwrap().execute(sql, &[]).await.unwrap();
    let (first_result, second_result) =
        tokio::join!(async { first.for_key(keys[1]).unwrap().execute(sql, &[]).await }, async {
            let result = second.for_key(keys[0]).unwrap().execute(sql, &[]).await;
            second.rollback().await;
            result
        });
    assert_eq!(second_result.unwrap_err().sqlstate(), Some("40P01"));
    first_result.unwrap();
    first.rollback().await;
    world.thaw("shard-2");
}

#[tokio::test]
async fn a_deadlock_between_two_processes_is_ended_by_the_one_with_the_younger_transaction() {
    let world = World::start(SHAPE);
    prepare_tables(&world).await;
    let quick = |settings: &mut pgherd::Settings| {
        settings.transactions.deadlock_interval = Duration::from_millis(50);
    };
    let pool = world.builder().with_settings(quick).build().unwrap();
    let sql = "UPDATE accounts SET balance = balance + 1";
    // What another process does: its sessions carry the name of its transaction, and wait for
    // each other over the two shards.
    let other = "pgherd txn 0000000000000001 deadbeef 1";
    let mut foreign = Vec::new();
    for shard in ["shard-0", "shard-1"] {
        let client = world.session_on(shard).await;
        let begin = format!("BEGIN; SET LOCAL application_name = '{other}'");
        client.batch_execute(&begin).await.unwrap();
        foreign.push(client);
    }
    let own = pool.distributed_transaction(KEYS).await.unwrap();
    let shard_of_first = own.for_key(KEYS[0]).unwrap().shard().index();
    own.for_key(KEYS[0]).unwrap().execute(sql, &[]).await.unwrap();
    foreign[1 - shard_of_first].batch_execute(sql).await.unwrap();
    let (own_result, foreign_result) = tokio::join!(
        async {
            let result = own.for_key(KEYS[1]).unwrap().execute(sql, &[]).await;
            own.rollback().await;
            result
        },
        foreign[shard_of_first].batch_execute(sql)
    );
    let error = own_result.unwrap_err();
    assert_eq!((error.sqlstate(), error.retry()), (Some("40P01"), Retry::Same), "{error}");
    foreign_result.unwrap();
    assert_eq!(pool.statistics().deadlocks, 1);
    // The name goes with the transaction, and the backends are used again.
    let opens = pool.statistics().opens;
    let next = pool.distributed_transaction(KEYS).await.unwrap();
    next.rollback().await;
    assert_eq!(pool.statistics().opens, opens);
    let name = pool.write().shard_key(KEYS[0]).query_one("SHOW application_name", &[]).await;
    assert_eq!(name.unwrap().get::<_, &str>(0), "pgherd pgherd");
}
