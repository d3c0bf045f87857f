use std::sync::Arc;

use pgherd_core::sql::{ClassCache, Classifier, Remains};

use super::super::suspicion::Evidence;
use super::*;
use crate::mutex::Mutex;

/// A message with a type byte and a length.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pgherd_wire::frame::put(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn logged_in() -> Tap {
    let classes = ClassCache::new(Classifier::default(), 1 << 20);
    let mut tap = Tap::new(Some(Arc::new(Mutex::new(classes))));
    tap.on_written(b"\0\0\0\x08\0\x03\0\0");
    tap.on_written(&message(frontend::PASSWORD, b"secret\0"));
    tap.on_read(&message(backend::AUTHENTICATION, &[0, 0, 0, 0]));
    tap.on_read(&message(backend::KEY_DATA, &[0, 0, 0, 7, 1, 2, 3, 4]));
    tap.on_read(&message(backend::READY, b"I"));
    tap
}

fn exchange(tap: &mut Tap, sql: &str, tag: &str, status: &[u8]) {
    tap.on_written(&message(frontend::QUERY, format!("{sql}\0").as_bytes()));
    tap.on_read(&message(backend::COMMAND_COMPLETE, format!("{tag}\0").as_bytes()));
    tap.on_read(&message(backend::READY, status));
}

#[test]
fn after_login_the_backend_is_idle_and_known() {
    let tap = logged_in();
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
    assert_eq!((tap.heard().process_id(), tap.heard().statements()), (Some(7), 0));
}

#[test]
fn a_transaction_is_seen_from_begin_to_rollback() {
    let mut tap = logged_in();
    exchange(&mut tap, "begin", "BEGIN", b"T");
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::InTransaction));
    tap.on_written(&message(frontend::QUERY, b"select 1/0\0"));
    assert_eq!(tap.heard().standing().0, WireState::Owing);
    tap.on_read(&message(backend::ERROR, b"\0"));
    assert_eq!(tap.heard().standing().0, WireState::Owing);
    tap.on_read(&message(backend::READY, b"E"));
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Failed));
    exchange(&mut tap, "commit", "ROLLBACK", b"I");
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
    assert_eq!(
        (tap.heard().last_tag(), tap.heard().statements(), tap.heard().errors()),
        ("ROLLBACK".into(), 3, 1)
    );
    assert_eq!(suspected(&tap), None);
}

#[test]
fn closing_a_prepared_statement_in_the_background_leaves_the_backend_settled() {
    let mut tap = logged_in();
    let mut prepare = message(frontend::PARSE, b"s1\0select 1\0\0\0");
    prepare.extend(message(frontend::DESCRIBE, b"Ss1\0"));
    prepare.extend(message(frontend::SYNC, b""));
    tap.on_written(&prepare);
    assert_eq!((tap.heard().standing().0, tap.heard().statements()), (WireState::Owing, 0));
    for tag in [backend::PARSE_COMPLETE, backend::PARAMETER_DESCRIPTION, backend::NO_DATA] {
        tap.on_read(&message(tag, b""));
    }
    assert_eq!(tap.heard().standing().0, WireState::Owing);
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
    tap.on_written(&message(frontend::CLOSE, b"Ss1\0"));
    tap.on_written(&message(frontend::SYNC, b""));
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
}

#[test]
fn a_statement_counts_as_sent_only_when_its_last_byte_has_left() {
    let mut tap = logged_in();
    let execute = message(frontend::EXECUTE, b"\0\0\0\0\0");
    tap.on_written(&execute[..execute.len() - 1]);
    assert_eq!(tap.heard().statements(), 0);
    tap.on_written(&execute[execute.len() - 1..]);
    assert_eq!(tap.heard().statements(), 1);
}

#[test]
fn a_copy_in_is_settled_at_its_end() {
    let mut tap = logged_in();
    let mut start = message(frontend::BIND, b"");
    start.extend(message(frontend::EXECUTE, b""));
    start.extend(message(frontend::SYNC, b""));
    tap.on_written(&start);
    tap.on_read(&message(backend::BIND_COMPLETE, b""));
    tap.on_read(&message(backend::COPY_IN, b""));
    assert_eq!(tap.heard().standing().0, WireState::Owing);
    tap.on_written(&message(backend::COPY_DATA, b"1\n"));
    tap.on_written(&message(backend::COPY_DONE, b""));
    tap.on_written(&message(frontend::SYNC, b""));
    tap.on_read(&message(backend::COMMAND_COMPLETE, b"COPY 1\0"));
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
}

/// What is suspected of the session: by which evidence, and how bad it is.
fn suspected(tap: &Tap) -> Option<(Evidence, Remains)> {
    tap.heard().standing().1.map(|left| (left.evidence, left.remains))
}

const BY_TAG: Option<(Evidence, Remains)> = Some((Evidence::Tag, Remains::Resettable));
const BY_TEXT: Option<(Evidence, Remains)> = Some((Evidence::Text, Remains::Resettable));

#[test]
fn what_leaves_state_is_remembered() {
    for (sql, tag, left) in [
        ("set work_mem = '1MB'", "SET", BY_TAG),
        ("prepare p as select 1", "PREPARE", BY_TAG),
        ("deallocate p", "DEALLOCATE", BY_TAG),
        ("deallocate all", "DEALLOCATE ALL", Some((Evidence::Tag, Remains::Lasting))),
        ("select pg_advisory_lock(1)", "SELECT 1", BY_TEXT),
        ("select set_config('a.b', '1', false)", "SELECT 1", BY_TEXT),
        ("create temp table t ()", "CREATE TABLE", BY_TEXT),
        ("set local search_path = pg_temp", "SET", BY_TEXT),
        ("set local a.b = '1'; set a.b = '1'", "SET", BY_TAG),
        ("prepare transaction 'g'", "PREPARE TRANSACTION", None),
        ("set constraints all deferred", "SET CONSTRAINTS", None),
        ("set transaction read only", "SET", None),
        ("set local app.tenant = '7'", "SET", None),
        ("select set_config('app.tenant', '7', true)", "SELECT 1", None),
        ("create temp table t () on commit drop", "CREATE TABLE", None),
        ("update t set a = 1", "UPDATE 3", None),
    ] {
        let mut tap = logged_in();
        exchange(&mut tap, sql, tag, b"I");
        assert_eq!(suspected(&tap), left, "{sql}");
        assert_eq!(tap.heard().is_altered(), left.is_some(), "{sql}");
        tap.heard().disregard_state();
        assert_eq!((suspected(&tap), tap.heard().is_altered()), (None, false), "{sql}");
    }
}

#[test]
fn what_waits_for_the_socket_is_owed() {
    let mut tap = logged_in();
    let query = message(frontend::QUERY, b"select 1\0");
    tap.on_held(true);
    tap.on_written(&query);
    tap.on_read(&message(backend::COMMAND_COMPLETE, b"SELECT 1\0"));
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.heard().standing().0, WireState::Owing, "there is more to be written");
    tap.on_held(false);
    assert_eq!(tap.heard().standing().0, WireState::Settled(TxStatus::Idle));
}

#[test]
fn what_is_disregarded_is_so_at_once_and_what_comes_behind_is_not() {
    let mut tap = logged_in();
    exchange(&mut tap, "set a.b = '1'", "SET", b"I");
    tap.heard().disregard_state();
    assert_eq!(suspected(&tap), None);
    exchange(&mut tap, "select 1", "SELECT 1", b"I");
    assert_eq!((suspected(&tap), tap.heard().is_altered()), (None, false));
    exchange(&mut tap, "set a.b = '1'", "SET", b"I");
    assert_eq!((suspected(&tap), tap.heard().is_altered()), (BY_TAG, true));
}

#[test]
fn a_block_that_fails_is_suspected_all_the_same() {
    let mut tap = logged_in();
    tap.on_written(&message(frontend::QUERY, b"call p()\0"));
    tap.on_read(&message(backend::ERROR, b"\0"));
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(suspected(&tap), BY_TEXT);
}

#[test]
fn the_worst_that_was_seen_counts() {
    let mut tap = logged_in();
    exchange(&mut tap, "set a.b = '1'", "SET", b"I");
    exchange(&mut tap, "load 'x'", "LOAD", b"I");
    exchange(&mut tap, "select pg_advisory_lock(1)", "SELECT 1", b"I");
    assert_eq!(suspected(&tap), Some((Evidence::Tag, Remains::Lasting)));
}

fn parse(name: &str, sql: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_parse(&mut out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
    out
}

/// Bind, Execute and Sync of a statement without parameters.
fn run(portal: &str, statement: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_bind(&mut out, portal.as_bytes(), statement.as_bytes(), &[0; 6]);
    out.extend(message(frontend::EXECUTE, format!("{portal}\0\0\0\0\0").as_bytes()));
    out.extend(message(frontend::SYNC, b""));
    out
}

/// The answers to [`run`].
fn ran(tag: &str, status: &[u8]) -> Vec<u8> {
    let mut out = message(backend::BIND_COMPLETE, b"");
    out.extend(message(backend::COMMAND_COMPLETE, format!("{tag}\0").as_bytes()));
    out.extend(message(backend::READY, status));
    out
}

fn prepare(tap: &mut Tap, name: &str, sql: &str, status: &[u8]) {
    tap.on_written(&parse(name, sql));
    tap.on_written(&message(frontend::SYNC, b""));
    tap.on_read(&message(backend::PARSE_COMPLETE, b""));
    tap.on_read(&message(backend::READY, status));
}

#[test]
fn a_prepared_statement_is_suspected_each_time_it_runs_and_not_before() {
    let mut tap = logged_in();
    prepare(&mut tap, "s1", "select set_config('a.b', '1', false)", b"I");
    assert_eq!(suspected(&tap), None, "it has not run");
    for _ in 0..2 {
        tap.on_written(&run("", "s1"));
        tap.on_read(&ran("SELECT 1", b"I"));
        assert_eq!(suspected(&tap), BY_TEXT);
        tap.heard().disregard_state();
    }
    tap.on_written(&message(frontend::CLOSE, b"Ss1\0"));
    prepare(&mut tap, "s2", "select 1", b"I");
    tap.on_written(&run("", "s2"));
    assert_eq!(suspected(&tap), None);
}

#[test]
fn a_local_setting_is_excused_in_the_extended_protocol_too() {
    let mut tap = logged_in();
    prepare(&mut tap, "s1", "SET LOCAL app.tenant = '7'", b"T");
    prepare(&mut tap, "s2", "SET work_mem = '1MB'", b"T");
    tap.on_written(&run("", "s1"));
    tap.on_read(&ran("SET", b"T"));
    assert_eq!(suspected(&tap), None);
    // One that is not, in the same pipeline.
    tap.on_written(&[run("", "s1"), run("", "s2"), run("", "s1")].concat());
    tap.on_read(&ran("SET", b"T"));
    assert_eq!(suspected(&tap), None);
    tap.on_read(&ran("SET", b"T"));
    assert_eq!(suspected(&tap), BY_TAG);
    tap.heard().disregard_state();
    tap.on_read(&ran("SET", b"I"));
    assert_eq!(suspected(&tap), None);
    // From a portal with a name it is not known which statement it is.
    tap.on_written(&run("p1", "s1"));
    tap.on_read(&ran("SET", b"I"));
    assert_eq!(suspected(&tap), BY_TAG);
}

#[test]
fn an_excuse_is_for_one_statement_whatever_fails_before_it() {
    let mut tap = logged_in();
    prepare(&mut tap, "s1", "SET LOCAL app.tenant = '7'", b"I");
    prepare(&mut tap, "s2", "SET work_mem = '1MB'", b"I");
    // The first fails, so that only the second has a tag.
    tap.on_written(&[run("", "s1"), run("", "s2")].concat());
    tap.on_read(&message(backend::ERROR, b"\0"));
    tap.on_read(&message(backend::READY, b"I"));
    tap.on_read(&ran("SET", b"I"));
    assert_eq!(suspected(&tap), BY_TAG);
}

#[test]
fn settings_that_change_the_meaning_of_texts_are_known_until_the_transaction_ends() {
    let mut tap = logged_in();
    exchange(&mut tap, "begin", "BEGIN", b"T");
    exchange(&mut tap, "set local app.tenant = '7'", "SET", b"T");
    assert!(!tap.heard().is_altered());
    exchange(&mut tap, "set local timezone = 'UTC'", "SET", b"T");
    assert!(tap.heard().is_altered());
    exchange(&mut tap, "commit", "COMMIT", b"I");
    assert!(!tap.heard().is_altered());
    assert_eq!(suspected(&tap), None);
}

#[test]
fn a_session_that_is_never_lent_is_not_watched_by_its_texts() {
    let mut tap = Tap::new(None);
    tap.on_written(b"\0\0\0\x08\0\x03\0\0");
    tap.on_written(&message(frontend::QUERY, b"select pg_advisory_lock(1)\0"));
    assert_eq!(suspected(&tap), None);
}

#[test]
fn an_answer_to_nothing_breaks_the_line() {
    let mut tap = logged_in();
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.heard().standing().0, WireState::Broken);
}
