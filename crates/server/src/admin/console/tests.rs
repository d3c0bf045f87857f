use pgherd_wire::frame;

use super::super::show;
use super::*;

/// A console that is asked and answered at once; each table has the same two rows.
fn talk(rights: Rights, input: &[u8]) -> (Vec<u8>, Vec<Ask>) {
    let mut console = Console::new(rights);
    let (mut out, mut asked, mut at) = (Vec::new(), Vec::new(), 0);
    loop {
        let (used, step) = console.on_bytes(&input[at..], &mut out);
        at += used;
        let closes = step == Step::Close;
        if let Step::Ask(ask) = step {
            let outcome = match &ask {
                Ask::Show(table) => Outcome::Rows(vec![row(table, 1), row(table, 2)]),
                Ask::Do(Command::Resume(_)) => Outcome::Failed(Failure::new("not paused")),
                Ask::Do(_) => Outcome::Done,
            };
            asked.push(ask);
            console.answer(outcome, &mut out);
        }
        if closes || at == input.len() && !console.is_in_query() {
            return (out, asked);
        }
    }
}

fn row(table: &Table, number: u64) -> Row {
    table.columns.iter().map(|_| Cell::Number(number)).collect()
}

/// The types of messages, and what stands in errors, tags and notices.
fn told(mut bytes: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    while let Some(frame) = Frame::read(bytes, u32::MAX).unwrap() {
        let (message, rest) = bytes.split_at(frame.size);
        let body = &message[HEADER..];
        let tag = char::from(frame.tag);
        told.push(match frame.tag {
            backend::COMMAND_COMPLETE => {
                format!("C {}", std::str::from_utf8(&body[..body.len() - 1]).unwrap())
            }
            backend::ERROR | backend::NOTICE => {
                let fields = backend::ErrorFields::read(body).unwrap();
                format!("{tag} {} {}", fields.code, fields.message)
            }
            backend::DATA_ROW => {
                let first = backend::data_row(body).unwrap()[0].map(String::from_utf8_lossy);
                format!("D {}", first.unwrap_or_default())
            }
            _ => tag.to_string(),
        });
        bytes = rest;
    }
    told
}

fn query(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    frontend::put_query(&mut out, text);
    out
}

fn says(rights: Rights, text: &str) -> Vec<String> {
    told(&talk(rights, &query(text)).0)
}

#[test]
fn a_query_is_answered_statement_by_statement() {
    assert_eq!(says(Rights::Stats, "show lists"), ["T", "D 1", "D 2", "C SHOW", "Z"]);
    assert_eq!(
        says(Rights::Stats, "begin; SHOW lists;SHOW datestyle; commit;"),
        ["C BEGIN", "T", "D 1", "D 2", "C SHOW", "T", "D ISO", "C SHOW", "C COMMIT", "Z"]
    );
    assert_eq!(says(Rights::Stats, " ; "), ["I", "Z"]);
    assert_eq!(says(Rights::Stats, ""), ["I", "Z"]);
    assert_eq!(says(Rights::Stats, "show help"), ["N 00000 Console usage", "C SHOW", "Z"]);
    assert_eq!(
        says(Rights::Stats, "set application_name = 'x'"),
        ["N 00000 SET ignored", "C SET", "Z"]
    );
    assert_eq!(says(Rights::Admin, "set a = 'b c'; pause"), ["C SET a=b c", "C PAUSE", "Z"]);
}

#[test]
fn an_error_ends_a_query_and_not_the_session() {
    let invalid = "E 08P01 invalid command 'nonsense 1', use SHOW HELP;";
    assert_eq!(says(Rights::Admin, "pause; nonsense 1"), [invalid, "Z"]);
    assert_eq!(says(Rights::Admin, "pause; resume; pause"), ["C PAUSE", "E 08P01 not paused", "Z"]);
    assert_eq!(says(Rights::Stats, "pause"), ["E 08P01 admin access needed", "Z"]);
    let no_parameters =
        "E 0A000 the console takes no parameters: write the value into the statement";
    assert_eq!(says(Rights::Admin, "pause $1"), [no_parameters, "Z"]);
    let many = "show lists;".repeat(101);
    assert_eq!(
        says(Rights::Admin, &many),
        ["E 54000 101 statements in one query (limit 100)", "Z"]
    );
}

fn parse(out: &mut Vec<u8>, name: &str, text: &str) {
    frontend::put_parse(out, name.as_bytes(), text.as_bytes(), &[0, 0]);
}

fn bind(out: &mut Vec<u8>, portal: &str, name: &str, values: &[u8]) {
    frontend::put_bind(out, portal.as_bytes(), name.as_bytes(), values);
}

fn execute(out: &mut Vec<u8>, portal: &str, limit: u32) {
    frame::put(out, frontend::EXECUTE, |out| {
        out.extend_from_slice(portal.as_bytes());
        out.push(0);
        out.extend_from_slice(&limit.to_be_bytes());
    });
}

const NO_VALUES: &[u8] = &[0; 6];

fn sync(out: &mut Vec<u8>) {
    frame::put(out, frontend::SYNC, |_| {});
}

#[test]
fn what_is_prepared_is_described_bound_and_executed() {
    let mut input = Vec::new();
    parse(&mut input, "s", "show lists");
    Target::Statement(b"s").put(&mut input, frontend::DESCRIBE);
    bind(&mut input, "", "s", NO_VALUES);
    Target::Portal(b"").put(&mut input, frontend::DESCRIBE);
    execute(&mut input, "", 0);
    sync(&mut input);
    bind(&mut input, "", "s", NO_VALUES);
    execute(&mut input, "", 1);
    execute(&mut input, "", 1);
    execute(&mut input, "", 1);
    Target::Statement(b"s").put(&mut input, frontend::CLOSE);
    bind(&mut input, "", "s", NO_VALUES);
    parse(&mut input, "", "show pools");
    sync(&mut input);
    parse(&mut input, "", " ");
    Target::Statement(b"").put(&mut input, frontend::DESCRIBE);
    bind(&mut input, "", "", NO_VALUES);
    execute(&mut input, "", 0);
    sync(&mut input);
    let (out, asked) = talk(Rights::Stats, &input);
    assert_eq!(
        told(&out),
        [
            "1",
            "t",
            "T",
            "2",
            "T",
            "D 1",
            "D 2",
            "C SHOW",
            "Z",
            "2",
            "D 1",
            "s",
            "D 2",
            "s",
            "C SHOW",
            "3",
            "E 26000 prepared statement \"s\" does not exist",
            "Z",
            "1",
            "t",
            "n",
            "2",
            "I",
            "Z"
        ]
    );
    // Once for each portal.
    let lists = || Ask::Show(show::find("lists").unwrap());
    assert_eq!(asked, [lists(), lists()]);
}

#[test]
fn numbers_come_in_binary_where_that_is_asked_for() {
    let mut input = Vec::new();
    parse(&mut input, "", "show lists");
    bind(&mut input, "", "", &[0, 0, 0, 0, 0, 2, 0, 0, 0, 1]);
    execute(&mut input, "", 0);
    sync(&mut input);
    let (out, _) = talk(Rights::Stats, &input);
    let row = [&b"D\0\0\0\x13\0\x02\0\0\0\x011"[..], b"\0\0\0\x04\0\0\0\x01"].concat();
    assert!(out.windows(row.len()).any(|bytes| bytes == row), "{out:?}");
}

#[test]
fn an_error_skips_up_to_the_sync() {
    for (bad, error) in [
        (
            "show lists; show pools",
            "E 42601 cannot insert multiple commands into a prepared statement",
        ),
        ("nonsense 1", "E 08P01 invalid command 'nonsense 1', use SHOW HELP;"),
    ] {
        let mut input = Vec::new();
        parse(&mut input, "", bad);
        bind(&mut input, "", "", NO_VALUES);
        input.extend(query("show lists"));
        sync(&mut input);
        assert_eq!(told(&talk(Rights::Admin, &input).0), [error, "Z"]);
    }
    let mut input = Vec::new();
    parse(&mut input, "s", "show lists");
    parse(&mut input, "s", "show lists");
    sync(&mut input);
    bind(&mut input, "p", "s", NO_VALUES);
    bind(&mut input, "p", "s", NO_VALUES);
    sync(&mut input);
    execute(&mut input, "p", 0);
    sync(&mut input);
    bind(&mut input, "", "s", &[0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0]);
    sync(&mut input);
    bind(&mut input, "", "s", b"\0\0\0\x01\xff\xff\xff\xff\0\0");
    sync(&mut input);
    assert_eq!(
        told(&talk(Rights::Admin, &input).0),
        [
            "1",
            "E 42P05 prepared statement \"s\" already exists",
            "Z",
            "2",
            "E 42P03 cursor \"p\" already exists",
            "Z",
            "E 34000 portal \"p\" does not exist",
            "Z",
            "E 08P01 bind message has 3 result formats but query has 2 columns",
            "Z",
            "E 0A000 the console takes no parameters: write the value into the statement",
            "Z"
        ]
    );
}

#[test]
fn portals_live_for_as_long_as_the_client_takes_to_be_a_transaction() {
    let mut input = query("begin");
    parse(&mut input, "", "show lists");
    bind(&mut input, "p", "", NO_VALUES);
    sync(&mut input);
    execute(&mut input, "p", 1);
    sync(&mut input);
    input.extend(query("commit"));
    sync(&mut input);
    execute(&mut input, "p", 1);
    sync(&mut input);
    let (out, _) = talk(Rights::Stats, &input);
    assert_eq!(
        told(&out),
        [
            "C BEGIN",
            "Z",
            "1",
            "2",
            "Z",
            "D 1",
            "s",
            "Z",
            "C COMMIT",
            "Z",
            "Z",
            "E 34000 portal \"p\" does not exist",
            "Z"
        ]
    );
}

#[test]
fn no_more_is_written_at_once_than_one_statement_beyond_enough() {
    let one = talk(Rights::Stats, &query("show help")).0.len();
    for input in [query(&"show help;".repeat(100)), query("show help").repeat(100)] {
        let mut console = Console::new(Rights::Stats);
        let (mut all, mut at) = (Vec::new(), 0);
        loop {
            let mut out = Vec::new();
            let (used, step) = console.on_bytes(&input[at..], &mut out);
            at += used;
            assert!(out.len() < ENOUGH + one, "{} bytes", out.len());
            all.extend(out);
            if step == Step::NeedMore {
                break;
            }
            assert_eq!(step, Step::Rest);
        }
        let tags = told(&all).into_iter().filter(|message| message == "C SHOW").count();
        assert_eq!((at, tags), (input.len(), 100));
        assert_eq!(told(&all).pop().unwrap(), "Z");
    }
}

#[test]
fn what_follows_an_answer_waits_until_that_is_taken() {
    let mut console = Console::new(Rights::Stats);
    let mut out = Vec::new();
    let (_, step) = console.on_bytes(&query("show lists; show lists"), &mut out);
    let Step::Ask(Ask::Show(lists)) = step else { panic!("{step:?}") };
    console.answer(Outcome::Rows(vec![row(lists, 1)]), &mut out);
    assert_eq!(told(&out), ["T", "D 1", "C SHOW"]);
    assert!(console.is_in_query());
    assert_eq!(console.on_bytes(b"", &mut out), (0, Step::Ask(Ask::Show(lists))));
    console.answer(Outcome::Rows(Vec::new()), &mut out);
    assert_eq!(told(&out)[3..], ["T", "C SHOW", "Z"]);
    assert!(!console.is_in_query());
}

#[test]
fn one_portal_at_a_time_keeps_rows() {
    let mut input = Vec::new();
    parse(&mut input, "", "show lists");
    for portal in ["a", "b", "c"] {
        bind(&mut input, portal, "", NO_VALUES);
    }
    execute(&mut input, "a", 1);
    // Whole, it keeps none.
    execute(&mut input, "b", 0);
    execute(&mut input, "a", 1);
    execute(&mut input, "c", 1);
    bind(&mut input, "d", "", NO_VALUES);
    execute(&mut input, "d", 1);
    sync(&mut input);
    let (out, asked) = talk(Rights::Stats, &input);
    let error = "E 53400 portal \"c\" has rows left (limit 1): fetch them or close it";
    assert_eq!(
        told(&out)[4..],
        ["D 1", "s", "D 1", "D 2", "C SHOW", "D 2", "s", "D 1", "s", "2", error, "Z"]
    );
    assert_eq!(asked.len(), 3);
}

#[test]
fn who_breaks_the_protocol_is_told_and_closed() {
    for (input, error) in [
        (&b"?\0\0\0\x04"[..], "E 08P01 message `?`"),
        (b"Q\0\x10\0\0", "E 08P01 "),
        (b"B\0\0\0\x05x", "E 08P01 "),
    ] {
        let mut console = Console::new(Rights::Admin);
        let mut out = Vec::new();
        let (_, step) = console.on_bytes(input, &mut out);
        assert_eq!(step, Step::Close);
        let told = told(&out);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with(&error[..8]), "{told:?}");
    }
    let (out, _) = talk(Rights::Admin, b"X\0\0\0\x04");
    assert_eq!(out, b"");
}
