use pgherd_wire::WireError;
use pgherd_wire::backend as from_backend;
use pgherd_wire::frontend::{self, Target};

use super::downstream::{Errors, Observer, Stop};
use super::recorded::{bind, exchanges, execute, parse, replies, sync, turns};
use super::upstream::{Extent, Known};
use super::*;

struct Ignore;

impl Observer for Ignore {
    fn parameter(&mut self, _: &str, _: &str, _: Show) {}

    fn row(&mut self, _: &[u8]) {}
}

struct Parser;

impl Classify for Parser {
    fn classify(&mut self, text: &[u8]) -> pgherd_core::sql::Classified {
        pgherd_core::sql::Classifier::default().classify_bytes(text)
    }
}

/// A client and its backend, with what each of them was sent.
struct Pair {
    client: ClientRelay,
    backend: BackendRelay,
    table: StatementTable,
    to_backend: Vec<u8>,
    to_client: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        Self {
            client: ClientRelay::default(),
            backend: BackendRelay::default(),
            table: StatementTable::new(1 << 20, 1 << 20),
            to_backend: Vec::new(),
            to_client: Vec::new(),
        }
    }

    fn made_up(&mut self) {
        let mut out = Splice::default();
        downstream::made_up(Some(&mut self.client), &mut self.backend, &mut out);
        self.to_client.extend(out.to_vec(&[]));
    }

    /// Sends `bytes` to the backend in reads of the given sizes.
    fn up(&mut self, bytes: &[u8], reads: &mut dyn FnMut(usize) -> usize) {
        let mut stash = Vec::new();
        each_read(bytes, reads, |read| {
            stash.extend_from_slice(read);
            let mut out = Splice::default();
            let Self { client, backend, table, to_backend, .. } = self;
            let known = &mut Known { table, judge: &mut Parser };
            let progress =
                upstream::relay(client, backend, known, &stash, Extent::All, &mut out).unwrap();
            to_backend.extend(out.to_vec(&stash));
            stash.drain(..progress.consumed);
            self.made_up();
        });
        assert_eq!(stash, b"", "nothing is left behind");
    }

    /// Sends as much of `bytes` to the backend as goes: how much that is, and why it ends there.
    fn up_until(&mut self, bytes: &[u8]) -> (usize, upstream::Stop) {
        let mut out = Splice::default();
        let Self { client, backend, table, to_backend, .. } = self;
        let known = &mut Known { table, judge: &mut Parser };
        let progress = upstream::relay(client, backend, known, bytes, Extent::All, &mut out);
        let progress = progress.unwrap();
        to_backend.extend(out.to_vec(bytes));
        self.made_up();
        (progress.consumed, progress.stop)
    }

    /// Sends `bytes` to the client in reads of the given sizes.
    fn down(&mut self, bytes: &[u8], reads: &mut dyn FnMut(usize) -> usize) {
        let mut stash = Vec::new();
        each_read(bytes, reads, |read| {
            stash.extend_from_slice(read);
            loop {
                let mut out = Splice::default();
                let Self { client, backend, to_client, .. } = self;
                let progress = downstream::relay(
                    Some(client),
                    backend,
                    &stash,
                    Errors::Pass,
                    &mut Ignore,
                    &mut out,
                )
                .unwrap();
                to_client.extend(out.to_vec(&stash));
                stash.drain(..progress.consumed);
                if progress.stop == Stop::NeedMore {
                    break;
                }
            }
        });
        assert_eq!(stash, b"", "nothing is left behind");
    }
}

fn each_read(bytes: &[u8], reads: &mut dyn FnMut(usize) -> usize, mut take: impl FnMut(&[u8])) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (read, next) = rest.split_at(reads(rest.len()).clamp(1, rest.len()));
        take(read);
        rest = next;
    }
}

fn whole(length: usize) -> usize {
    length
}

/// The type bytes of the messages in `bytes`.
fn tags(bytes: &[u8]) -> String {
    let (mut at, mut tags) = (0, String::new());
    while let Some(frame) = pgherd_wire::Frame::read(&bytes[at..], u32::MAX).unwrap() {
        tags.push(char::from(frame.tag));
        at += frame.size;
    }
    assert_eq!(at, bytes.len(), "whole messages");
    tags
}

#[test]
fn a_named_statement_is_parsed_once_on_each_backend_and_the_client_hears_of_each_parse() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    bind(&mut bytes, "mine");
    execute(&mut bytes);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("12DCZ"), &mut whole);
    assert_eq!(tags(&pair.to_backend), "PBES");
    assert_eq!(tags(&pair.to_client), "12DCZ");

    // Another name for the same text: nothing to parse.
    let (before, seen) = (pair.to_backend.len(), pair.to_client.len());
    pair.up(
        &String::from_utf8(bytes.clone()).unwrap().replace("mine", "ours").into_bytes(),
        &mut whole,
    );
    pair.down(&replies("2DCZ"), &mut whole);
    assert_eq!(tags(&pair.to_backend[before..]), "BES");
    assert_eq!(tags(&pair.to_client[seen..]), "12DCZ");

    // On another backend it is parsed again, and nobody hears of it.
    let (before, seen) = (pair.to_backend.len(), pair.to_client.len());
    pair.backend = BackendRelay::default();
    bytes.clear();
    bind(&mut bytes, "mine");
    execute(&mut bytes);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("12DCZ"), &mut whole);
    assert_eq!(tags(&pair.to_backend[before..]), "PBES");
    assert_eq!(tags(&pair.to_client[seen..]), "2DCZ");
}

#[test]
fn an_unnamed_statement_follows_its_client_to_the_next_backend() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "select 1");
    Target::Statement(b"").put(&mut bytes, frontend::DESCRIBE);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend), "PDS");
    pair.down(&replies("1tnZ"), &mut whole);
    pair.to_client.clear();
    pair.backend = BackendRelay::default();
    pair.backend.begin_lease();
    pair.to_backend.clear();
    bytes.clear();
    bind(&mut bytes, "");
    execute(&mut bytes);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("12DCZ"), &mut whole);
    assert_eq!(tags(&pair.to_backend), "PBES");
    assert_eq!(tags(&pair.to_client), "2DCZ");
}

/// A client whose unnamed statement is `select 'old'`, and messages to change and to use it.
fn with_unnamed() -> (Pair, Vec<u8>) {
    let mut pair = Pair::new();
    let (mut bytes, mut uses) = (Vec::new(), Vec::new());
    parse(&mut bytes, "", "select 'old'");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    bind(&mut uses, "");
    execute(&mut uses);
    sync(&mut uses);
    (pair, uses)
}

/// What a backend is sent for a use of the unnamed statement.
fn used(pair: &mut Pair, uses: &[u8]) -> String {
    pair.backend.begin_lease();
    pair.to_backend.clear();
    pair.up(uses, &mut whole);
    tags(&pair.to_backend)
}

#[test]
fn behind_an_unnamed_parse_that_has_failed_there_is_no_statement() {
    let (mut pair, uses) = with_unnamed();
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "selekt");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("EZ"), &mut whole);
    // Another's may be there.
    assert_eq!(used(&mut pair, &uses), "CBES");
    pair.down(&replies("3EZ"), &mut whole);
    assert_eq!(tags(&pair.to_client), "1ZEZEZ");
}

#[test]
fn an_unnamed_parse_or_close_that_was_skipped_leaves_the_one_before() {
    let change: [fn(&mut Vec<u8>); 2] = [
        |out| parse(out, "", "select 'new'"),
        |out| Target::Statement(b"").put(out, frontend::CLOSE),
    ];
    for change in change {
        let (mut pair, uses) = with_unnamed();
        let mut bytes = Vec::new();
        bind(&mut bytes, "nosuch");
        change(&mut bytes);
        // What comes between the error and the Sync is not run either.
        pair.up(&bytes, &mut whole);
        pair.down(&replies("E"), &mut whole);
        bytes.clear();
        change(&mut bytes);
        sync(&mut bytes);
        pair.up(&bytes, &mut whole);
        pair.down(&replies("Z"), &mut whole);
        assert_eq!(used(&mut pair, &uses), "PBES");
        assert!(String::from_utf8_lossy(&pair.to_backend).contains("'old'"));
    }
}

#[test]
fn what_uses_the_unnamed_statement_waits_until_it_is_known() {
    let (mut pair, uses) = with_unnamed();
    pair.backend.begin_lease();
    let mut bytes = Vec::new();
    bind(&mut bytes, "nosuch");
    parse(&mut bytes, "", "select 'new'");
    sync(&mut bytes);
    let before = bytes.len();
    bytes.extend(&uses);
    assert_eq!(pair.up_until(&bytes), (before, upstream::Stop::Open));
    pair.down(&replies("EZ"), &mut whole);
    assert_eq!(used(&mut pair, &uses), "PBES");
    assert!(String::from_utf8_lossy(&pair.to_backend).contains("'old'"));
    // One that is parsed again is not waited for.
    bytes.clear();
    parse(&mut bytes, "", "select 'new'");
    sync(&mut bytes);
    parse(&mut bytes, "", "select 'newer'");
    bytes.extend(&uses);
    assert_eq!(used(&mut pair, &bytes), "PSPBES");
}

#[test]
fn another_clients_unnamed_statement_is_not_to_be_had() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "select 'theirs'");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    pair.client = ClientRelay::default();
    pair.backend.begin_lease();
    pair.to_backend.clear();
    pair.to_client.clear();
    bytes.clear();
    bind(&mut bytes, "");
    execute(&mut bytes);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("3EZ"), &mut whole);
    assert_eq!(tags(&pair.to_backend), "CBES");
    assert_eq!(tags(&pair.to_client), "EZ");
}

#[test]
fn an_unnamed_parse_of_ours_that_an_error_may_have_dropped_is_sent_again() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "", "select 'mine'");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    // On a new backend, behind something that fails, and once more before the error is known.
    pair.backend = BackendRelay::default();
    pair.to_backend.clear();
    pair.to_client.clear();
    bytes.clear();
    bind(&mut bytes, "nosuch");
    bind(&mut bytes, "");
    sync(&mut bytes);
    bind(&mut bytes, "");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend), "BPBSPBS");
    pair.down(&replies("EZ12Z"), &mut whole);
    assert_eq!(tags(&pair.to_client), "EZ2Z");
}

#[test]
fn a_parse_dropped_by_an_error_is_sent_again_in_the_next_stretch() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);

    // On a new backend, behind something that fails, and once more before the error is known.
    pair.backend = BackendRelay::default();
    pair.to_backend.clear();
    pair.to_client.clear();
    bytes.clear();
    parse(&mut bytes, "", "select 1/0");
    bind(&mut bytes, "mine");
    sync(&mut bytes);
    bind(&mut bytes, "mine");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend), "PPBSCPBS", "closed, which never fails, and parsed");
    pair.down(&replies("EZ312Z"), &mut whole);
    assert_eq!(tags(&pair.to_client), "EZ2Z");
}

#[test]
fn what_a_name_means_is_told_by_the_answers_to_earlier_batches() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    pair.to_backend.clear();

    // Closed and parsed anew behind something that fails: to PostgreSQL it is still the old one.
    bytes.clear();
    parse(&mut bytes, "", "select 1/0");
    Target::Statement(b"mine").put(&mut bytes, frontend::CLOSE);
    parse(&mut bytes, "mine", "select 2");
    sync(&mut bytes);
    let known = bytes.len();
    bind(&mut bytes, "mine");
    sync(&mut bytes);
    assert_eq!(pair.up_until(&bytes), (known, upstream::Stop::Open));
    pair.down(&replies("EZ"), &mut whole);
    pair.to_backend.clear();
    assert_eq!(pair.up_until(&bytes[known..]).1, upstream::Stop::NeedMore);
    assert_eq!(tags(&pair.to_backend), "BS");
    let name = statements::BackendName::new(1);
    assert!(memchr::memmem::find(&pair.to_backend, name.as_bytes()).is_some());
}

#[test]
fn a_batch_that_parses_a_name_behind_its_use_is_no_read() {
    struct Reads;
    impl survey::MayRead for Reads {
        fn may_read(&mut self, sql: &str) -> bool {
            sql.starts_with("select")
        }
    }
    for name in ["mine", ""] {
        let mut pair = Pair::new();
        let mut bytes = Vec::new();
        parse(&mut bytes, name, "insert into t values (1)");
        sync(&mut bytes);
        pair.up(&bytes, &mut whole);
        pair.down(&replies("1Z"), &mut whole);
        bytes.clear();
        bind(&mut bytes, name);
        execute(&mut bytes);
        Target::Statement(name.as_bytes()).put(&mut bytes, frontend::CLOSE);
        parse(&mut bytes, name, "select 1");
        sync(&mut bytes);
        // Once it is sent, the name means what it does behind it.
        pair.up(&bytes, &mut whole);
        let survey = survey::survey(&pair.client, &bytes, Some(&mut Reads));
        assert_eq!(survey, Ok(survey::Survey::Acquire(survey::Access::ReadWrite)), "{name:?}");
    }
}

#[test]
fn a_statement_closed_by_the_client_stays_on_the_backend() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    Target::Statement(b"mine").put(&mut bytes, frontend::CLOSE);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    assert_eq!(tags(&pair.to_backend), "PS");
    assert_eq!(tags(&pair.to_client), "13Z");
    assert!(pair.client.statements.is_empty());
    assert_eq!(pair.backend.statements.len(), 1);
}

fn error(code: &str, message: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let severity = from_backend::Severity::Error;
    from_backend::Report { severity, code, message, detail: "", hint: "" }.put(&mut out);
    out
}

#[test]
fn a_name_that_is_taken_is_refused_by_the_server_in_the_clients_words() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    let before = pair.to_backend.len();
    bytes.clear();
    parse(&mut bytes, "mine", "select 2");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend[before..]), "PS");
    let refusal = error("42P05", "prepared statement \"pgherd_1\" already exists");
    pair.to_client.clear();
    pair.down(&[&refusal[..], &replies("Z")].concat(), &mut whole);
    let told = error("42P05", "prepared statement \"mine\" already exists");
    assert_eq!(pair.to_client, [&told[..], &replies("Z")].concat());
    let kept = pair.client.statements.get(b"mine").unwrap();
    assert_eq!(&*kept.sql, b"select 1");
}

#[test]
fn what_an_error_made_the_server_ignore_has_not_happened() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "kept", "select 1");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    // On the way before the error is known, and after it.
    for error_first in [false, true] {
        bytes.clear();
        parse(&mut bytes, "", "selec 1");
        let mut ignored = Vec::new();
        Target::Statement(b"kept").put(&mut ignored, frontend::CLOSE);
        parse(&mut ignored, "new", "select 2");
        sync(&mut ignored);
        if error_first {
            pair.up(&bytes, &mut whole);
            pair.down(&replies("E"), &mut whole);
            pair.up(&ignored, &mut whole);
            pair.down(&replies("Z"), &mut whole);
        } else {
            pair.up(&[bytes.clone(), ignored].concat(), &mut whole);
            pair.down(&replies("EZ"), &mut whole);
        }
        assert!(pair.client.statements.get(b"kept").is_some());
        assert!(pair.client.statements.get(b"new").is_none());
    }
    assert!(pair.to_client.ends_with(&replies("EZ")));
}

#[test]
fn a_parse_that_is_run_again_elsewhere_is_not_refused_because_its_name_is_taken() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    Target::Statement(b"mine").put(&mut bytes, frontend::DESCRIBE);
    sync(&mut bytes);
    pair.client.statements.begin_tentative();
    pair.up(&bytes, &mut whole);
    // The node answers the first of it and dies.
    pair.down(&replies("1"), &mut whole);
    pair.client.rewind();
    pair.backend = BackendRelay::default();
    (pair.to_backend, pair.to_client) = (Vec::new(), Vec::new());
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend), "PDS");
    pair.down(&replies("1nZ"), &mut whole);
    assert_eq!(tags(&pair.to_client), "1nZ");
    assert!(pair.client.statements.get(b"mine").is_some());
}

#[test]
fn the_names_on_the_backend_are_not_the_clients() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    parse(&mut bytes, "mine", "select 1");
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    pair.client = ClientRelay::default();
    pair.to_backend.clear();
    bytes.clear();
    bind(&mut bytes, "pgherd_1");
    sync(&mut bytes);
    Target::Statement(b"pgherd_1").put(&mut bytes, frontend::DESCRIBE);
    sync(&mut bytes);
    Target::Statement(b"pgherd_1").put(&mut bytes, frontend::CLOSE);
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    assert_eq!(tags(&pair.to_backend), "BSDSS");
    let sent = String::from_utf8_lossy(&pair.to_backend).into_owned();
    assert!(!sent.contains("pgherd_1") && sent.contains("pgherd_0"), "{sent:?}");
    // A name that PREPARE may have made goes through as it is.
    bytes.clear();
    bind(&mut bytes, "theirs");
    pair.up(&bytes, &mut whole);
    assert!(String::from_utf8_lossy(&pair.to_backend).contains("theirs"));
}

#[test]
fn what_one_client_prepares_is_bounded() {
    let mut pair = Pair::new();
    pair.table = StatementTable::new(1 << 20, 1000);
    let mut refused = None;
    for number in 0..100 {
        let mut bytes = Vec::new();
        parse(&mut bytes, &format!("s{number:03}"), &format!("select {number:089}"));
        let (mut out, Pair { client, backend, table, .. }) = (Splice::default(), &mut pair);
        let known = &mut Known { table, judge: &mut Parser };
        match upstream::relay(client, backend, known, &bytes, Extent::All, &mut out) {
            Ok(_) => {}
            Err(error) => {
                refused = Some((number, error));
                break;
            }
        }
    }
    let limit = upstream::Refused::Statements { bytes: 1020, limit: 1000 };
    assert_eq!(refused, Some((9, limit)));
}

#[test]
fn what_precedes_a_message_that_is_too_long_is_passed_on_wherever_it_is_cut() {
    let row = |length: usize| [&[b'D', 0, 0, 0, 0][..], &vec![b'x'; length]].concat();
    let row = |length: usize| {
        let mut row = row(length);
        row[1..5].copy_from_slice(&u32::try_from(length + 4).unwrap().to_be_bytes());
        row
    };
    let (most, over) = (row(95), row(96));
    let sent = [&most[..], &most, &over].concat();
    for cut in 1..sent.len() {
        let mut pair = Pair::new();
        pair.backend.limit = MessageLimit::of(ByteSize(100));
        let mut query = Vec::new();
        frontend::put_query(&mut query, "select x");
        pair.up(&query, &mut whole);
        let mut input = Vec::new();
        let mut refused = None;
        for part in [&sent[..cut], &sent[cut..]] {
            input.extend_from_slice(part);
            while refused.is_none() && !input.is_empty() {
                let mut out = Splice::default();
                let Pair { client, backend, to_client, .. } = &mut pair;
                let relayed = downstream::relay(
                    Some(client),
                    backend,
                    &input,
                    Errors::Pass,
                    &mut Ignore,
                    &mut out,
                );
                to_client.extend(out.to_vec(&input));
                match relayed {
                    Ok(progress) if progress.consumed == 0 => break,
                    Ok(progress) => drop(input.drain(..progress.consumed)),
                    Err(error) => refused = Some(error),
                }
            }
        }
        let error = WireError::Length { tag: 'D', length: 100, limit: 99 };
        assert_eq!(refused, Some(error), "{cut}");
        assert_eq!(pair.to_client, [&most[..], &most].concat(), "{cut}");
    }
}

#[test]
fn batches_leave_together_unless_each_makes_a_statement_be_sent() {
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    let long = "x".repeat(50_000);
    parse(&mut bytes, "mine", &format!("select '{long}'"));
    sync(&mut bytes);
    pair.up(&bytes, &mut whole);
    pair.down(&replies("1Z"), &mut whole);
    // A new backend, which has confirmed no Parse before the next one is wanted.
    pair.backend = BackendRelay::default();
    for (name, batches) in [("", 100), ("mine", 2)] {
        bytes.clear();
        for _ in 0..100 {
            parse(&mut bytes, "", "select 1");
            bind(&mut bytes, name);
            execute(&mut bytes);
            sync(&mut bytes);
        }
        let (mut out, Pair { client, backend, table, .. }) = (Splice::default(), &mut pair);
        let known = &mut Known { table, judge: &mut Parser };
        let progress =
            upstream::relay(client, backend, known, &bytes, Extent::All, &mut out).unwrap();
        assert_eq!(progress.consumed, bytes.len() / 100 * batches, "{name}");
    }
}

#[test]
fn garbage_after_the_login_is_refused_by_its_first_byte() {
    for tag in *b"pR1~" {
        let input = [tag, 0, 0, 0xff, 0];
        let refused = survey::survey(&ClientRelay::default(), &input, None);
        assert_eq!(refused, Err(frontend::unknown(tag)));
    }
}

#[test]
fn what_a_client_leaves_behind_is_noticed() {
    for (sql, tag) in [
        ("set timezone = 'UTC'", "SET"),
        ("listen x", "LISTEN"),
        ("select set_config('a.b', 'c', false)", "SELECT 1"),
        ("select pg_advisory_lock(1)", "SELECT 1"),
        ("create temp table t (a int)", "CREATE TABLE"),
    ] {
        let mut pair = Pair::new();
        let mut bytes = Vec::new();
        frontend::put_query(&mut bytes, sql);
        pair.up(&bytes, &mut whole);
        let mut answer = Vec::new();
        pgherd_wire::frame::put(&mut answer, b'C', |out| {
            out.extend_from_slice(tag.as_bytes());
            out.push(0);
        });
        answer.extend(replies("Z"));
        pair.down(&answer, &mut whole);
        assert!(pair.backend.suspicion.is_dirty(), "{sql}");
    }
    let mut pair = Pair::new();
    let mut bytes = Vec::new();
    frontend::put_query(&mut bytes, "update accounts set balance = 0");
    pair.up(&bytes, &mut whole);
    pair.down(&replies("CZ"), &mut whole);
    assert!(!pair.backend.suspicion.is_dirty());
}

#[test]
fn a_stream_goes_both_ways_until_both_have_ended() {
    let mut pair = Pair::new();
    let (mut sent, mut answered) = (Vec::new(), Vec::new());
    let mut query = Vec::new();
    frontend::put_query(&mut query, "START_REPLICATION SLOT s LOGICAL 0/0");
    for (asks, bytes) in [
        (true, query.clone()),
        (false, replies("Wd")),
        (true, replies("d")),
        (false, replies("dd")),
        (true, replies("dc")),
        (false, replies("dcCZ")),
        // After an error the client may not have heard of it yet.
        (true, query),
        (false, replies("WdE")),
        (true, replies("ddc")),
        (false, replies("Z")),
    ] {
        match asks {
            true => pair.up(&bytes, &mut |_| 3),
            false => pair.down(&bytes, &mut |_| 3),
        }
        let of_side = if asks { &mut sent } else { &mut answered };
        of_side.extend(bytes);
        assert!(pair.to_backend == sent && pair.to_client == answered, "nothing is kept back");
    }
    assert!(pair.backend.is_quiet() && !pair.backend.has_ended_stream);
}

#[test]
fn frames_cut_at_every_byte_give_the_same_bytes_out() {
    for (name, sent, answered) in exchanges() {
        let (to_backend, to_client) = relayed(&sent, &answered, &|_| false);
        assert_eq!(to_client, answered, "{name}");
        // The names of prepared statements are changed on the way; nothing else is.
        if name != "pgbench-prepared" {
            assert_eq!(to_backend, sent, "{name}");
        }
        let whole = (to_backend, to_client);
        for cut in 1..sent.len().max(answered.len()) {
            assert!(relayed(&sent, &answered, &|at| at == cut) == whole, "{name}, cut at {cut}");
        }
        for size in 1..8 {
            let in_bits = relayed(&sent, &answered, &|at| at % size == 0);
            assert!(in_bits == whole, "{name}, {size} at a time");
        }
    }
}

/// What reaches backend and client when an exchange is relayed turn by turn, each direction
/// cut at the offsets for which `is_cut`.
fn relayed(sent: &[u8], answered: &[u8], is_cut: &dyn Fn(usize) -> bool) -> (Vec<u8>, Vec<u8>) {
    let mut pair = Pair::new();
    let reader = || {
        let mut at = 0;
        move |rest: usize| {
            let read = (1..rest).find(|read| is_cut(at + read)).unwrap_or(rest);
            at += read;
            read
        }
    };
    let (mut up, mut down) = (reader(), reader());
    let mut answers = turns(answered, b"Z").into_iter();
    for batch in turns(sent, b"QS") {
        pair.up(batch, &mut up);
        pair.down(answers.next().unwrap_or_default(), &mut down);
    }
    answers.for_each(|rest| pair.down(rest, &mut down));
    assert!(pair.backend.is_quiet(), "something is still owed");
    (pair.to_backend, pair.to_client)
}
