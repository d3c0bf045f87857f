//! What one user leaves in a session, and what the next one finds, against a real server.

// Clippy's leave for tests does not reach the helpers of integration tests.
#![allow(clippy::unwrap_used)]

mod world;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use pgherd::{DistributedPool, Leftovers, PoolEvent, QueryType};
use world::{Door, Shape, World, at_each_door};

/// Everything that a user may have left and the next one can find, in one text.
const TRACES: &str = "SELECT concat_ws(' ', \
     nullif(current_setting('app.tenant', true), ''), \
     (SELECT 'work_mem' WHERE current_setting('work_mem') <> '4MB'), \
     (SELECT 'read only' WHERE current_setting('transaction_read_only') = 'on'), \
     (SELECT 'role' WHERE current_user <> session_user), \
     (SELECT string_agg('listens', ' ') FROM pg_listening_channels()), \
     (SELECT string_agg('cursor', ' ') FROM pg_cursors WHERE is_holdable), \
     (SELECT string_agg('prepared', ' ') FROM pg_prepared_statements WHERE from_sql), \
     (SELECT string_agg('lock', ' ') FROM pg_locks \
      WHERE locktype = 'advisory' AND pid = pg_backend_pid()), \
     (SELECT string_agg(relname, ' ') FROM pg_class WHERE relnamespace = pg_my_temp_schema()))";

/// What is called in the tests: procedures that leave something, a function that does.
const PROCEDURES: &str = "CREATE PROCEDURE tenant() LANGUAGE plpgsql AS \
     'BEGIN PERFORM set_config(''app.tenant'', ''7'', false); END'; \
     CREATE FUNCTION tenant_of(text) RETURNS text LANGUAGE sql AS \
     'SELECT set_config(''app.tenant'', $1, false)'; \
     CREATE PROCEDURE lock_and_fail() LANGUAGE plpgsql AS \
     'BEGIN PERFORM pg_advisory_lock(1); RAISE ''enough''; END'; \
     CREATE PROCEDURE nothing() LANGUAGE sql AS 'SELECT 1'; \
     CREATE ROLE other; GRANT other TO app; CREATE TABLE temp (hold int);";

/// One backend, whose process is known.
struct Single {
    pool: DistributedPool,
    pid: i32,
}

impl Single {
    async fn of(world: &World) -> Self {
        world.sql("coordinator", PROCEDURES);
        let pool = world.builder().pool_size(1).build().unwrap();
        let pid = pid(&pool).await;
        Self { pool, pid }
    }

    /// Runs a script in a lease, which may fail.
    async fn run(&self, script: &str) {
        let lease = self.pool.acquire(QueryType::Write, None).await.unwrap();
        let _ = lease.batch_execute(script).await;
    }

    /// What the next user finds; the process that serves it.
    async fn next(&self) -> (String, i32) {
        let lease = self.pool.acquire(QueryType::Write, None).await.unwrap();
        let traces: String = lease.query_one(TRACES, &[]).await.unwrap().get(0);
        let pid = lease.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
        (traces, pid)
    }

    /// Resets, those that found something, and backends closed.
    fn counts(&self) -> (u64, u64, u64) {
        let node = &self.pool.statistics().nodes[0];
        (node.resets, node.resets_with_leftovers, node.closed_with_state)
    }
}

async fn pid(pool: &DistributedPool) -> i32 {
    pool.write().query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn what_ends_with_its_transaction_costs_nothing() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    for script in [
        "BEGIN; SET LOCAL app.tenant = '7'; COMMIT",
        "BEGIN; SET LOCAL app.tenant = '7'; ROLLBACK",
        "BEGIN; SET LOCAL ROLE other; SELECT 1; COMMIT",
        "BEGIN; SET TRANSACTION READ ONLY; COMMIT",
        "BEGIN; SELECT set_config('app.tenant', '7', true); COMMIT",
        "BEGIN; SELECT pg_advisory_xact_lock(1); COMMIT",
        "BEGIN; CREATE TEMP TABLE mine (a int) ON COMMIT DROP; COMMIT",
        "SELECT hold FROM temp",
        "SELECT 1 / 0 FROM temp",
    ] {
        one.run(script).await;
        assert_eq!(one.next().await, (String::new(), one.pid), "{script}");
    }
    let mut lease = one.pool.acquire(QueryType::Write, None).await.unwrap();
    for _ in 0..3 {
        let transaction = lease.transaction().await.unwrap();
        transaction.execute("SET LOCAL app.tenant = '7'", &[]).await.unwrap();
        let sql = "SELECT set_config('app.tenant', $1, true)";
        let set: String = transaction.query_one(sql, &[&"8"]).await.unwrap().get(0);
        assert_eq!(set, "8");
        transaction.commit().await.unwrap();
    }
    drop(lease);
    assert_eq!(one.next().await, (String::new(), one.pid));
    assert_eq!(one.counts(), (0, 0, 0), "nobody was asked anything");
    assert_eq!(one.pool.statistics().nodes[0].opens, 1);
}

#[tokio::test]
async fn what_is_left_in_a_session_is_gone_before_the_next_user_and_the_backend_stays() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    // What is left, and whether it shows in a view.
    for (script, shows) in [
        ("SET app.tenant = '7'", false),
        ("SET work_mem = '1MB'", false),
        ("SET ROLE other", false),
        ("SET search_path = pg_temp, public", false),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", false),
        ("SELECT set_config('app.tenant', '7', false)", false),
        ("SELECT tenant_of('7') FROM temp; SELECT set_config('a.b', '', false)", false),
        ("UPDATE pg_settings SET setting = '1024' WHERE name = 'work_mem'", false),
        ("CALL tenant()", false),
        ("CALL nothing()", false),
        ("DO 'BEGIN PERFORM set_config(''app.tenant'', ''7'', false); END'", false),
        ("DO 'BEGIN RAISE ''enough''; END'", false),
        ("DO 'BEGIN PERFORM pg_advisory_lock(1); RAISE ''enough''; END'", true),
        ("CALL lock_and_fail()", true),
        ("LISTEN news; LISTEN olds", true),
        ("CREATE TEMP TABLE mine (a int)", true),
        ("SET search_path = pg_temp; CREATE TABLE mine (a int)", true),
        ("BEGIN; SET LOCAL search_path = pg_temp; CREATE TABLE mine (a int); COMMIT", true),
        ("DO 'BEGIN CREATE TEMP TABLE mine (a int); END'", true),
        ("BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; COMMIT", true),
        ("PREPARE \"My p\" AS SELECT 1; PREPARE q AS SELECT 2", true),
        ("SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)", true),
    ] {
        let before = one.counts();
        one.run(script).await;
        assert_eq!(one.next().await, (String::new(), one.pid), "{script}");
        let (resets, with_leftovers, closed) = one.counts();
        let expected = (before.0 + 1, before.1 + u64::from(shows), 0);
        assert_eq!((resets, with_leftovers, closed), expected, "{script}");
    }
}

#[tokio::test]
async fn what_no_reset_undoes_ends_with_its_backend() {
    let world = World::start(Shape::default());
    let mut one = Single::of(&world).await;
    let stub = "CREATE FUNCTION dblink_stub() RETURNS int LANGUAGE sql AS 'SELECT 1'";
    world.sql("coordinator", stub);
    let scripts = ["DISCARD ALL", "DEALLOCATE ALL", "SELECT dblink_stub()"];
    for (closed, script) in (1..).zip(scripts) {
        one.run(script).await;
        let (traces, pid) = one.next().await;
        assert_eq!(traces, "", "{script}");
        assert_ne!(pid, one.pid, "{script}");
        assert_eq!(one.counts(), (0, 0, closed), "{script}");
        one.pid = pid;
    }
    // Nor does a reset that may not do its work.
    world.sql("coordinator", "REVOKE EXECUTE ON FUNCTION pg_advisory_unlock_all() FROM PUBLIC");
    one.run("SET app.tenant = '7'").await;
    let (traces, pid) = one.next().await;
    assert_eq!(traces, "");
    assert_ne!(pid, one.pid);
    assert_eq!(one.counts(), (0, 0, 4));
}

#[tokio::test]
async fn a_prepared_statement_that_leaves_state_does_so_each_time() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    for value in ["7", "8", "9"] {
        let sql = "SELECT set_config('app.tenant', $1, false)";
        one.pool.write().query_one(sql, &[&value]).await.unwrap();
        assert_eq!(one.next().await, (String::new(), one.pid), "{value}");
    }
    assert_eq!(one.counts(), (3, 0, 0));
}

#[tokio::test]
async fn statements_prepared_under_other_settings_are_not_handed_on() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    // What this literal is, PostgreSQL settles when it parses the statement.
    let sql = "SELECT extract(epoch FROM '2020-06-01 00:00'::timestamptz)::bigint";
    let mut epochs = Vec::new();
    for zone in ["UTC", "Asia/Tokyo", "UTC", "America/Lima", "UTC"] {
        let lease = one.pool.acquire(QueryType::Write, None).await.unwrap();
        lease.batch_execute(&format!("BEGIN; SET LOCAL TimeZone = '{zone}'")).await.unwrap();
        let statement = lease.prepare_cached(sql).await.unwrap();
        epochs.push(lease.query_one(&statement, &[]).await.unwrap().get::<_, i64>(0));
        lease.batch_execute("COMMIT").await.unwrap();
        drop(lease);
        // The session's own zone.
        epochs.push(one.pool.write().query_one(sql, &[]).await.unwrap().get(0));
    }
    let (utc, own) = (epochs[0], epochs[1]);
    let (tokyo, lima) = (utc - 9 * 3600, utc + 5 * 3600);
    assert_eq!(epochs, [utc, own, tokyo, own, utc, own, lima, own, utc, own]);
    assert_eq!(pid(&one.pool).await, one.pid);
}

#[tokio::test]
async fn the_hook_on_open_prepares_a_session_again_that_was_reset() {
    let world = World::start(Shape::default());
    world.sql("coordinator", PROCEDURES);
    let (count, events) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Vec::new())));
    let builder = world.builder().pool_size(1).on_open({
        let count = count.clone();
        move |client| {
            count.fetch_add(1, Ordering::Relaxed);
            Box::pin(async move {
                client.batch_execute("SET app.tenant = 'hook'; LISTEN hooked").await?;
                Ok(())
            })
        }
    });
    let builder = builder.on_pool_event({
        let events = events.clone();
        move |_, event| {
            if let PoolEvent::Reset { found, .. } = event {
                events.lock().unwrap().push(found);
            }
        }
    });
    let pool = builder.build().unwrap();
    let one = Single { pid: pid(&pool).await, pool };
    one.run("BEGIN; SET LOCAL app.tenant = '7'; COMMIT").await;
    assert_eq!(one.next().await, ("hook listens".to_owned(), one.pid));
    assert_eq!(count.load(Ordering::Relaxed), 1);
    let scripts = ["CALL tenant()", "RESET ALL; UNLISTEN *", "LISTEN more"];
    for (calls, script) in (2..).zip(scripts) {
        one.run(script).await;
        assert_eq!(one.next().await, ("hook listens".to_owned(), one.pid), "{script}");
        assert_eq!(count.load(Ordering::Relaxed), calls, "{script}");
    }
    let found = std::mem::take(&mut *events.lock().unwrap());
    let channels: Vec<u64> = found.iter().map(|found: &Leftovers| found.channels).collect();
    assert_eq!(channels, [1, 0, 2]);
}

#[tokio::test]
async fn a_time_limit_that_was_left_hurts_nobody() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    one.run("SET statement_timeout = '1ms'; SET app.tenant = '7'").await;
    // Whether it sufficed for the reset or not.
    assert_eq!(one.next().await.0, "");
    let limit = one.pool.write().query_one("SHOW statement_timeout", &[]).await.unwrap();
    assert_eq!(limit.get::<_, &str>(0), "0");
}

#[tokio::test]
async fn who_waits_for_a_backend_gets_it_after_the_reset() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    let lease = one.pool.acquire(QueryType::Write, None).await.unwrap();
    lease.batch_execute("SET app.tenant = '7'; CREATE TEMP TABLE mine ()").await.unwrap();
    let (next, ()) = tokio::join!(one.next(), async { drop(lease) });
    assert_eq!(next, (String::new(), one.pid));
}

#[tokio::test]
async fn a_session_on_a_replica_is_reset_too() {
    let world = World::start(Shape { replicas: 1, ..Shape::default() });
    let pool = world.builder().pool_size(1).build().unwrap();
    let asked = "SELECT concat(pg_is_in_recovery(), current_setting('app.tenant', true)), \
                 pg_backend_pid()";
    let ask = async || -> (String, i32) {
        let lease = pool.acquire(QueryType::Read, None).await.unwrap();
        let row = lease.query_one(asked, &[]).await.unwrap();
        (row.get(0), row.get(1))
    };
    let before = ask().await;
    let lease = pool.acquire(QueryType::Read, None).await.unwrap();
    lease.batch_execute("SET app.tenant = '7'; SELECT pg_advisory_lock(1)").await.unwrap();
    drop(lease);
    assert_eq!(ask().await, before);
    let statistics = pool.statistics();
    let replica = statistics.nodes.iter().find(|node| node.resets > 0).unwrap();
    assert_eq!((replica.resets, replica.resets_with_leftovers), (1, 1));
}

#[tokio::test]
async fn what_a_function_sets_in_its_body_is_not_seen_as_documented() {
    let world = World::start(Shape::default());
    let one = Single::of(&world).await;
    one.run("SELECT tenant_of('7')").await;
    assert_eq!(one.next().await, ("7".to_owned(), one.pid));
}

async fn what_is_local_keeps_the_connection(door: Door) {
    let Some(world) = World::at(door, Shape::default()) else { return };
    let pool = world.builder().pool_size(1).build().unwrap();
    for _ in 0..3 {
        let lease = pool.acquire(QueryType::Write, None).await.unwrap();
        lease.batch_execute("BEGIN; SET LOCAL app.tenant = '7'; COMMIT").await.unwrap();
        lease.query_one("SELECT set_config('app.tenant', $1, true)", &[&"7"]).await.unwrap();
    }
    let node = &pool.statistics().nodes[0];
    assert_eq!((node.opens, node.closes, node.resets), (1, 0, 0));
    // A session that may hold state is reset, or, where it is not ours, given up.
    let lease = pool.acquire(QueryType::Write, None).await.unwrap();
    lease.batch_execute("DO 'BEGIN END'").await.unwrap();
    drop(lease);
    pool.write().query_one("SELECT 1", &[]).await.unwrap();
    let node = &pool.statistics().nodes[0];
    let expected = match door {
        Door::Direct => (1, 1, 0),
        Door::PgBouncer => (2, 0, 1),
    };
    assert_eq!((node.opens, node.resets, node.closed_with_state), expected);
}

at_each_door! {
    #[tokio::test] what_is_local_keeps_the_connection,
}
