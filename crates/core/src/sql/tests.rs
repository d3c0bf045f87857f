use std::time::Instant;

use proptest::prelude::*;

use super::*;

fn assert_class(sql: &str, query_type: QueryType, may_run_on_replica: bool) {
    let class = classify(sql);
    assert_eq!(class.parse_error, None, "{sql}");
    assert_eq!(class.query_type, query_type, "{sql}");
    assert_eq!(class.may_run_on_replica, may_run_on_replica, "{sql}");
}

#[test]
fn what_reads_may_run_on_a_replica() {
    for sql in [
        "SELECT * FROM users",
        "select count(*), lower(name), now(), random() from users group by 2",
        "VALUES (1), (2)",
        "TABLE users",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT 1 UNION ALL SELECT 2 ORDER BY 1",
        "SELECT extract(year FROM d), substring(s FROM 1 FOR 2), position('a' IN s) FROM t",
        "SELECT pg_catalog.lower('X'), inet_server_port()",
        "SELECT CASE WHEN a THEN coalesce(b, c) END FROM t WHERE d IN (SELECT e FROM f)",
        "SELECT sum(a) FILTER (WHERE b > 1) OVER (PARTITION BY c) FROM t",
        "SELECT * FROM generate_series(1, 10) g JOIN LATERAL (SELECT g + 1) x ON true",
        "SELECT json_build_object('a', 1), current_timestamp, CURRENT_USER",
        "SELECT DISTINCT a FROM t",
        "SELECT * FROM t TABLESAMPLE system (1)",
        "SHOW server_version",
        "EXPLAIN SELECT 1",
        "EXPLAIN INSERT INTO t VALUES (1)",
        "EXPLAIN (ANALYZE, VERBOSE) SELECT 1",
        "EXPLAIN (ANALYZE false) UPDATE t SET a = 1",
        "EXPLAIN (ANALYZE off, COSTS off) UPDATE t SET a = 1",
        "COPY t TO STDOUT",
        "COPY (SELECT 1) TO STDOUT (FORMAT binary)",
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT pg_sleep(1)",
        "SELECT abalance FROM pgbench_accounts WHERE aid = $1;",
        "SELECT 1; SELECT 2",
        "",
        "-- nothing",
    ] {
        assert_class(sql, QueryType::Read, true);
    }
}

#[test]
fn what_may_write_goes_to_the_primary() {
    for sql in [
        "INSERT INTO t VALUES (1)",
        "INSERT INTO t SELECT * FROM u ON CONFLICT DO NOTHING RETURNING a",
        "UPDATE t SET a = 1",
        "DELETE FROM t",
        "MERGE INTO t USING u ON t.a = u.a WHEN MATCHED THEN DELETE",
        "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
        "SELECT * FROM (WITH x AS (DELETE FROM t RETURNING a) SELECT * FROM x) y",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR KEY SHARE SKIP LOCKED",
        "SELECT * FROM (SELECT * FROM t FOR SHARE) x",
        "SELECT nextval('s')",
        "SELECT 1 WHERE setval('s', 1) > 0",
        "SELECT a FROM t ORDER BY mine(a)",
        "SELECT * FROM mine()",
        "SELECT app.lower('x')",
        "SELECT txid_current()",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_notify('a', 'b')",
        "SELECT a OPERATOR(app.+) b FROM t",
        "SELECT count(*) FILTER (WHERE mine(a)) FROM t",
        "SELECT sum(a) OVER (ORDER BY mine(b)) FROM t",
        "SELECT sum(a) OVER w FROM t WINDOW w AS (PARTITION BY mine(b))",
        "VALUES (nextval('s'))",
        "SELECT 1 LIMIT mine()",
        "SELECT DISTINCT ON (mine(a)) a FROM t",
        "SELECT ARRAY[mine()], ROW(mine()), (mine()).a, mine()::text",
        "SELECT 1 UNION SELECT mine()",
        "SELECT xmlelement(name a, mine())",
        "SELECT JSON_OBJECT('a': mine())",
        "SELECT a[mine()] FROM t",
        "SELECT 1 GROUP BY GROUPING SETS ((mine()), ())",
        "SELECT * FROM JSON_TABLE('{}', '$' COLUMNS (a int PATH '$' DEFAULT mine() ON EMPTY))",
        "SELECT * FROM XMLTABLE('/a' PASSING mine() COLUMNS b int)",
        "SELECT * FROM t TABLESAMPLE system (mine())",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE true) SELECT nextval('s')",
        "EXPLAIN (ANALYZE 1) UPDATE t SET a = 1",
        "EXPLAIN EXECUTE p",
        "COPY t FROM STDIN",
        "COPY (INSERT INTO t VALUES (1) RETURNING a) TO STDOUT",
        "COPY t TO '/tmp/x'",
        "COPY t TO PROGRAM 'x'",
        "CALL p()",
        "DO 'begin end'",
        "LOCK TABLE t",
        "TRUNCATE t",
        "VACUUM",
        "EXECUTE p",
        "FETCH 1 FROM c",
        "BEGIN",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ WRITE",
        "SELECT 1; UPDATE t SET a = 1; SELECT 2",
        "SELECT * FROM pg_temp.t",
        "SET a.b = '1'",
        "NOTIFY c",
    ] {
        assert_class(sql, QueryType::Write, false);
    }
}

#[test]
fn definitions_are_ddl() {
    for sql in [
        "CREATE TABLE t (a int PRIMARY KEY)",
        "CREATE TABLE t AS SELECT 1",
        "SELECT 1 INTO t",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)",
        "ALTER TABLE t ADD COLUMN b int",
        "DROP TABLE IF EXISTS t",
        "GRANT SELECT ON t TO u",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'select 1'",
        "CREATE VIEW v AS SELECT 1",
        "CREATE ROLE r",
        "COMMENT ON TABLE t IS 'x'",
        "REFRESH MATERIALIZED VIEW v",
        "CREATE EXTENSION postgres_fdw",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "SELECT 1; CREATE TABLE t (); INSERT INTO t DEFAULT VALUES",
    ] {
        assert_class(sql, QueryType::Ddl, false);
        assert_eq!(classify(sql).leaves_state, None, "{sql}");
    }
}

#[test]
fn transactions_are_seen() {
    use TransactionControl::*;
    for (sql, control, may_run_on_replica) in [
        ("BEGIN", Begin { read_only: false }, false),
        ("START TRANSACTION READ ONLY", Begin { read_only: true }, true),
        ("BEGIN READ ONLY, READ WRITE", Begin { read_only: false }, false),
        ("COMMIT", Commit { chain: false }, true),
        ("END AND CHAIN", Commit { chain: true }, true),
        ("ABORT", Rollback { chain: false }, true),
        ("ROLLBACK AND CHAIN", Rollback { chain: true }, true),
        ("SAVEPOINT a", Savepoint, true),
        ("ROLLBACK TO a", Savepoint, true),
        ("RELEASE a", Savepoint, true),
        ("PREPARE TRANSACTION 'x'", Prepare, false),
        ("COMMIT PREPARED 'x'", CommitPrepared, false),
        ("ROLLBACK PREPARED 'x'", RollbackPrepared, false),
        ("BEGIN; INSERT INTO t VALUES (1); COMMIT", Commit { chain: false }, false),
        ("BEGIN READ ONLY; SELECT 1; COMMIT", Commit { chain: false }, true),
    ] {
        let class = classify(sql);
        assert_eq!(class.transaction, Some(control), "{sql}");
        assert_eq!(class.may_run_on_replica, may_run_on_replica, "{sql}");
        assert_eq!(class.leaves_state, None, "{sql}");
    }
    assert_eq!(classify("BEGIN; SELECT 1; COMMIT").statements, 3);
}

#[test]
fn state_that_stays_in_the_session_is_seen() {
    use StateKind::*;
    for (sql, state) in [
        ("SET search_path = a", Some(Setting)),
        ("SET SESSION work_mem = 1", Some(Setting)),
        ("RESET ALL", Some(Setting)),
        ("SET ROLE x", Some(Setting)),
        ("SET TIME ZONE 'UTC'", Some(Setting)),
        ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", Some(Setting)),
        ("SET LOCAL work_mem = 1", None),
        ("SET TRANSACTION READ ONLY", None),
        ("SET CONSTRAINTS ALL DEFERRED", None),
        ("SELECT set_config('a.b', '1', false)", Some(Setting)),
        ("SELECT set_config('a.b', '1', is_local) FROM t", Some(Setting)),
        ("SELECT pg_catalog.set_config('a.b', '1', true)", None),
        ("INSERT INTO t SELECT set_config('a.b', '1', false)", Some(Setting)),
        ("UPDATE t SET a = 1", None),
        ("CREATE TEMP TABLE t ()", Some(Temporary)),
        ("CREATE TEMP TABLE t () ON COMMIT DROP", None),
        ("CREATE TABLE pg_temp.t ()", Some(Temporary)),
        ("CREATE TEMP TABLE t AS SELECT 1", Some(Temporary)),
        ("SELECT 1 INTO TEMP t", Some(Temporary)),
        ("CREATE TEMP VIEW v AS SELECT 1", Some(Temporary)),
        ("CREATE TEMP SEQUENCE s", Some(Temporary)),
        ("CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'select 1'", Some(Temporary)),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Some(HoldCursor)),
        ("DECLARE c CURSOR FOR SELECT 1", None),
        ("LISTEN a", Some(Listen)),
        ("UNLISTEN *", Some(Listen)),
        ("PREPARE p AS SELECT 1", Some(Prepared)),
        ("DEALLOCATE p", Some(Prepared)),
        ("SELECT pg_advisory_lock(1)", Some(AdvisoryLock)),
        ("SELECT pg_try_advisory_lock_shared(1, 2)", Some(AdvisoryLock)),
        ("SELECT pg_advisory_unlock_all()", Some(AdvisoryLock)),
        ("SELECT pg_advisory_xact_lock(1)", None),
        ("LOAD 'x'", Some(Load)),
        ("DISCARD ALL", Some(Discard)),
        ("DO 'begin end'", Some(Unknown)),
        ("SELECT 1", None),
        ("this is not SQL", Some(Unknown)),
    ] {
        assert_eq!(classify(sql).leaves_state, state, "{sql}");
    }
}

#[test]
fn a_text_that_leaves_nothing_for_certain_is_known() {
    use Remains::*;
    for (sql, remains) in [
        ("SET LOCAL app.tenant = '7'", Nothing),
        ("BEGIN; SET LOCAL ROLE x; SET TRANSACTION READ ONLY", Nothing),
        ("SET LOCAL a.b = '1'; SET a.b = '1'", Resettable),
        ("SELECT set_config('app.tenant', $1, true), set_config('a.b', 'c', TRUE)", Nothing),
        ("SELECT set_config('app.tenant', $1, $2)", Resettable),
        ("WITH s AS (SELECT set_config('a.b', '1', true)) SELECT f() FROM s", Resettable),
        ("SELECT my_set_config_wrapper('a.b', '1')", Resettable),
        ("SELECT app.set_config('a.b', '1', true)", Resettable),
        ("SELECT a @@@ b, set_config('a.b', '1', true)", Nothing),
        ("SELECT a OPERATOR(mine.@@@) b, set_config('a.b', '1', true)", Resettable),
        ("SELECT pg_advisory_xact_lock(1)", Nothing),
        ("SELECT pg_advisory_lock(1)", Resettable),
        ("SELECT temp, hold FROM backup WHERE note = 'set_config'", Nothing),
        ("UPDATE pg_settings SET setting = '1' WHERE name = 'work_mem'", Resettable),
        ("SELECT setting FROM pg_settings", Nothing),
        ("CREATE TEMP TABLE t () ON COMMIT DROP", Nothing),
        ("CREATE TEMP TABLE t () ON COMMIT DELETE ROWS", Resettable),
        ("CREATE TABLE t AS SELECT set_config('a.b', '1', false)", Resettable),
        ("CREATE TABLE t AS EXECUTE p", Resettable),
        ("SELECT set_config('a.b', '1', false) INTO t", Resettable),
        ("CREATE INDEX ON temp (f(a))", Resettable),
        ("EXPLAIN ANALYZE EXECUTE temp", Resettable),
        ("DO 'begin end'", Resettable),
        ("CALL p()", Resettable),
        ("LOAD 'x'", Lasting),
        ("SELECT pg_advisory_lock(1); LOAD 'x'", Lasting),
        ("SELECT dblink_connect('a', 'b')", Lasting),
        ("SELECT x.dblink_connect('a', 'b')", Lasting),
        ("SELECT pg_create_logical_replication_slot('a', 'b', true)", Lasting),
        ("SELECT * FROM pg_get_replication_slots()", Nothing),
        ("this is not SQL", Lasting),
        ("", Nothing),
    ] {
        assert_eq!(classify(sql).remains, remains, "{sql}");
    }
}

#[test]
fn a_text_under_which_others_mean_something_else_is_known() {
    for (sql, alters) in [
        ("SET LOCAL TIME ZONE 'UTC'", true),
        ("SET LOCAL datestyle = 'DMY'", true),
        ("SET LOCAL app.tenant = '7'", false),
        ("SET LOCAL statement_timeout = 7", false),
        ("SET LOCAL ROLE x", false),
        ("SET TRANSACTION READ ONLY", false),
        ("SELECT set_config('app.tenant', $1, true)", false),
        ("SELECT set_config('TimeZone', $1, true)", true),
        ("SELECT set_config($1, $2, true)", true),
        ("CREATE TEMP TABLE t ON COMMIT DROP AS SELECT set_config('TimeZone', 'UTC', true)", true),
        ("SELECT 1", false),
        ("this is not SQL", true),
    ] {
        assert_eq!(classify(sql).alters_meaning, alters, "{sql}");
    }
}

#[test]
fn what_cannot_be_parsed_is_a_write_that_keeps_the_reason() {
    for sql in ["SELEC 1", "SELECT (", "SELECT '\0'", "SELECT 1 1 1", "\u{feff}'"] {
        let class = classify(sql);
        assert_eq!(class.query_type, QueryType::Write, "{sql}");
        assert!(!class.may_run_on_replica, "{sql}");
        assert!(class.parse_error.is_some(), "{sql}");
    }
    let error = classify("SELEC 1").parse_error.unwrap();
    assert_eq!(&*error, "syntax error at or near \"SELEC\"");
    assert!(Classifier::default().classify_bytes(b"SELECT '\xff'").parse_error.is_some());
}

#[test]
fn functions_declared_read_only_are_believed() {
    let classifier = Classifier::new(["mine", "app.report"]);
    for (sql, query_type) in [
        ("SELECT mine()", QueryType::Read),
        ("SELECT app.report(1)", QueryType::Read),
        ("SELECT report(1)", QueryType::Write),
        ("SELECT other.mine()", QueryType::Write),
        ("SELECT yours()", QueryType::Write),
    ] {
        assert_eq!(classifier.classify(sql).query_type, query_type, "{sql}");
    }
}

#[test]
fn no_depth_and_no_length_crashes() {
    // Past the limit on length, which would hide the depth.
    let parse = |sql: &str| Classifier::default().parse(sql);
    let sums = format!("SELECT 1{}", "+1".repeat(100_000));
    assert_eq!(parse(&sums).query_type, QueryType::Read);
    let hidden = format!("SELECT nextval('s'){}", "+1".repeat(100_000));
    assert_eq!(parse(&hidden).query_type, QueryType::Write);
    for part in ["(", "SELECT (", "NOT ", "- ", "f(", "CASE WHEN ", "ARRAY[", "a.", "1;", "[", "'"]
    {
        let deep = part.repeat(200_000 / part.len());
        let _ = parse(&format!("SELECT {deep}"));
        let _ = parse(&deep);
    }
    for (open, close) in [("(", ")"), ("f(", ")"), ("ARRAY[", "]"), ("(SELECT ", ")")] {
        let depth = 200_000 / (open.len() + close.len());
        for depth in [depth, 3_000, 500] {
            let _ = parse(&format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth)));
        }
    }
    let unions = format!("SELECT 1{}", " UNION SELECT 1".repeat(10_000));
    assert_eq!(parse(&unions).query_type, QueryType::Read);
    let long = format!("SELECT '{}'", "x".repeat(LONGEST_PARSED_BYTES));
    assert!(classify(&long).parse_error.unwrap().contains("131081 bytes"));
}

#[test]
fn names_cut_in_the_middle_of_a_letter_do_not_crash() {
    for shift in 0..4 {
        let name = format!("{}{}", "a".repeat(shift), "żółw🐘".repeat(20));
        for sql in [
            format!("SELECT {name}() FROM \"{name}\" {name}"),
            format!("CREATE TEMP TABLE \"{name}\" (\"{name}\" int)"),
            format!("SET \"{name}\" = 1"),
            format!("SELECT 1 OPERATOR({name}.+) 1, U&\"\\017c{name}\"()"),
        ] {
            let _ = classify(&sql);
        }
    }
    for sql in ["SELECT E'\\xff'", "SELECT set_config('a', 'b', E'\\xff')", "SELECT U&'\\d800'"] {
        let _ = classify(sql);
    }
}

#[test]
fn a_read_that_was_refused_is_a_write_from_then_on() {
    let mut cache = ClassCache::new(Classifier::default(), 64 * 1024);
    assert!(cache.classify("SELECT n FROM hides").may_run_on_replica);
    cache.distrust("SELECT n FROM hides");
    let class = cache.classify("SELECT n FROM hides");
    assert_eq!((class.query_type, class.may_run_on_replica), (QueryType::Write, false));
    assert!(cache.classify("SELECT n FROM shows").may_run_on_replica);
}

#[test]
fn the_cache_answers_alike_and_stays_within_its_bytes() {
    let mut cache = ClassCache::new(Classifier::default(), 64 * 1024);
    for round in 0..3 {
        for number in 0..2_000 {
            let sql = format!("SELECT {number} FROM t");
            assert_eq!(cache.classify(&sql), classify(&sql), "round {round}");
        }
        assert!(cache.used_bytes() <= 64 * 1024, "{}", cache.used_bytes());
    }
    assert!(cache.len() > 100, "{} texts", cache.len());
    let before = cache.len();
    let long = format!("SELECT '{}'", "x".repeat(ClassCache::LONGEST_CACHED_BYTES));
    assert_eq!(cache.classify(&long).query_type, QueryType::Read);
    assert_eq!(cache.len(), before);

    let (hits, misses) = (cache.hits(), cache.misses());
    cache.classify("SELECT 'asked twice'");
    cache.classify("SELECT 'asked twice'");
    assert_eq!((cache.hits(), cache.misses()), (hits + 1, misses + 1));

    let mut none = ClassCache::new(Classifier::default(), 0);
    assert_eq!(none.classify("SELECT 1").query_type, QueryType::Read);
    assert!(none.is_empty());
}

#[test]
#[ignore = "prints times; run with --release --ignored --nocapture"]
fn measure() {
    let mut cache = ClassCache::new(Classifier::default(), 1 << 20);
    let sql = "SELECT abalance FROM pgbench_accounts WHERE aid = $1;";
    let start = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(cache.classify(std::hint::black_box(sql)));
    }
    println!("hit {:?}", start.elapsed() / 1_000_000);
    let start = Instant::now();
    for _ in 0..100_000 {
        std::hint::black_box(classify(std::hint::black_box(sql)));
    }
    println!("miss {:?}", start.elapsed() / 100_000);
    let start = Instant::now();
    for _ in 0..1_000_000 {
        std::hint::black_box(suspicion(std::hint::black_box(sql.as_bytes())));
    }
    println!("suspicion {:?}", start.elapsed() / 1_000_000);
    for long in [
        format!("SELECT 1{}", "+1".repeat(LONGEST_PARSED_BYTES / 2 - 10)),
        format!("INSERT INTO t VALUES {}(1)", "(1,'abc'),".repeat(LONGEST_PARSED_BYTES / 10 - 10)),
    ] {
        let start = Instant::now();
        let class = classify(&long);
        println!("{} bytes {:?} {:?}", long.len(), start.elapsed(), class.parse_error);
    }
}

proptest! {
    #[test]
    fn no_text_panics(
        text in ".*",
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "SELECT", "WITH", "x", "AS", "(", ")", "INSERT INTO", "t", "VALUES", ",", "1",
                "'a'", "$1", "FROM", "WHERE", "=", "UPDATE", "SET", "DELETE", "FOR UPDATE",
                "BEGIN", ";", "COMMIT", "CREATE", "TEMP", "TABLE", "f(", "OVER", "JOIN", "ON",
                "UNION", "EXPLAIN", "ANALYZE", "COPY", "TO", "STDOUT", "DECLARE", "CURSOR", "::",
                "int", "[", "]", "CASE", "WHEN", "THEN", "END", "*", "MERGE", "USING", "E'\\xff'",
                "READ ONLY", "LOCAL", "json_table", "U&\"\\00e9\"", "\"", "'", "--", "/*",
            ]),
            0..25,
        ),
        bytes in proptest::collection::vec(any::<u8>(), 0..60),
    ) {
        let _ = classify(&text);
        let _ = classify(&words.join(" "));
        let _ = Classifier::default().classify_bytes(&bytes);
        let _ = suspicion(&bytes);
    }
}
