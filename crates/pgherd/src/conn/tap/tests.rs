use super::*;

/// A message with a type byte and a length.
fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pgherd_wire::frame::put(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn logged_in() -> Tap {
    let tap = Tap::new();
    tap.on_written(b"\0\0\0\x08\0\x03\0\0");
    tap.on_written(&message(frontend::PASSWORD, b"secret\0"));
    tap.on_read(&message(backend::AUTHENTICATION, &[0, 0, 0, 0]));
    tap.on_read(&message(backend::KEY_DATA, &[0, 0, 0, 7, 1, 2, 3, 4]));
    tap.on_read(&message(backend::READY, b"I"));
    tap
}

fn exchange(tap: &Tap, sql: &str, tag: &str, status: &[u8]) {
    tap.on_written(&message(frontend::QUERY, format!("{sql}\0").as_bytes()));
    tap.on_read(&message(backend::COMMAND_COMPLETE, format!("{tag}\0").as_bytes()));
    tap.on_read(&message(backend::READY, status));
}

#[test]
fn after_login_the_backend_is_idle_and_known() {
    let tap = logged_in();
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Idle));
    assert_eq!((tap.process_id(), tap.statements()), (Some(7), 0));
}

#[test]
fn a_transaction_is_seen_from_begin_to_rollback() {
    let tap = logged_in();
    exchange(&tap, "begin", "BEGIN", b"T");
    assert_eq!(tap.state(), WireState::Settled(TxStatus::InTransaction));
    tap.on_written(&message(frontend::QUERY, b"select 1/0\0"));
    assert_eq!(tap.state(), WireState::Owing);
    tap.on_read(&message(backend::ERROR, b"\0"));
    assert_eq!(tap.state(), WireState::Owing);
    tap.on_read(&message(backend::READY, b"E"));
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Failed));
    exchange(&tap, "commit", "ROLLBACK", b"I");
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Idle));
    assert_eq!((tap.last_tag(), tap.statements(), tap.errors()), ("ROLLBACK".into(), 3, 1));
    assert_eq!(tap.left_state(), None);
}

#[test]
fn closing_a_prepared_statement_in_the_background_leaves_the_backend_settled() {
    let tap = logged_in();
    let mut prepare = message(frontend::PARSE, b"s1\0select 1\0\0\0");
    prepare.extend(message(frontend::DESCRIBE, b"Ss1\0"));
    prepare.extend(message(frontend::SYNC, b""));
    tap.on_written(&prepare);
    assert_eq!((tap.state(), tap.statements()), (WireState::Owing, 0));
    for tag in [backend::PARSE_COMPLETE, backend::PARAMETER_DESCRIPTION, backend::NO_DATA] {
        tap.on_read(&message(tag, b""));
    }
    assert_eq!(tap.state(), WireState::Owing);
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Idle));
    tap.on_written(&message(frontend::CLOSE, b"Ss1\0"));
    tap.on_written(&message(frontend::SYNC, b""));
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Idle));
}

#[test]
fn a_statement_counts_as_sent_only_when_its_last_byte_has_left() {
    let tap = logged_in();
    let execute = message(frontend::EXECUTE, b"\0\0\0\0\0");
    tap.on_written(&execute[..execute.len() - 1]);
    assert_eq!(tap.statements(), 0);
    tap.on_written(&execute[execute.len() - 1..]);
    assert_eq!(tap.statements(), 1);
}

#[test]
fn a_copy_in_is_settled_at_its_end() {
    let tap = logged_in();
    let mut start = message(frontend::BIND, b"");
    start.extend(message(frontend::EXECUTE, b""));
    start.extend(message(frontend::SYNC, b""));
    tap.on_written(&start);
    tap.on_read(&message(backend::BIND_COMPLETE, b""));
    tap.on_read(&message(backend::COPY_IN, b""));
    assert_eq!(tap.state(), WireState::Owing);
    tap.on_written(&message(backend::COPY_DATA, b"1\n"));
    tap.on_written(&message(backend::COPY_DONE, b""));
    tap.on_written(&message(frontend::SYNC, b""));
    tap.on_read(&message(backend::COMMAND_COMPLETE, b"COPY 1\0"));
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.state(), WireState::Settled(TxStatus::Idle));
}

#[test]
fn what_leaves_state_is_remembered() {
    for (sql, tag, left) in [
        ("set work_mem = '1MB'", "SET", Some(LeftState::ByTag("SET"))),
        ("prepare p as select 1", "PREPARE", Some(LeftState::ByTag("PREPARE"))),
        ("deallocate all", "DEALLOCATE ALL", Some(LeftState::ByTag("DEALLOCATE"))),
        ("select pg_advisory_lock(1)", "SELECT 1", Some(LeftState::ByText)),
        ("create temp table t ()", "CREATE TABLE", Some(LeftState::ByText)),
        ("prepare transaction 'g'", "PREPARE TRANSACTION", None),
        ("set constraints all deferred", "SET CONSTRAINTS", None),
        ("update t set a = 1", "UPDATE 3", None),
    ] {
        let tap = logged_in();
        exchange(&tap, sql, tag, b"I");
        assert_eq!(tap.left_state(), left, "{sql}");
    }
}

#[test]
fn an_answer_to_nothing_breaks_the_line() {
    let tap = logged_in();
    tap.on_read(&message(backend::READY, b"I"));
    assert_eq!(tap.state(), WireState::Broken);
}
