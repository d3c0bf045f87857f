use pgherd_lab::hostile::{Edit, each_seed, edited, in_any_turns, input_of_lines, write_seeds};
use pgherd_wire::frontend::{self, Target};
use pgherd_wire::startup;
use proptest::prelude::*;

use super::*;

type Seeds = Vec<(&'static str, Vec<u8>)>;
type Lines = Vec<(bool, Vec<u8>)>;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

/// Answers, by type bytes.
fn answered(tags: &str) -> Vec<u8> {
    let body: fn(u8) -> &'static [u8] = |tag| match tag {
        b'C' => b"SET\0",
        b'E' => b"SERROR\0VERROR\0C42601\0Mno\0\0",
        b'Z' => b"I",
        b'T' => b"\0\0",
        _ => b"",
    };
    tags.bytes().flat_map(|tag| message(tag, body(tag))).collect()
}

/// Exchanges behind a login.
fn right_exchanges() -> Vec<(&'static str, Lines)> {
    let query = |sql: &str| message(frontend::QUERY, format!("{sql}\0").as_bytes());
    let prepare = |sql: &str| {
        let mut out = Vec::new();
        frontend::put_parse(&mut out, b"s1", sql.as_bytes(), &[0, 0]);
        Target::Statement(b"s1").put(&mut out, frontend::DESCRIBE);
        [out, message(frontend::SYNC, b"")].concat()
    };
    let mut run = Vec::new();
    frontend::put_bind(&mut run, b"", b"s1", &[0; 6]);
    run.extend(message(frontend::EXECUTE, &[0; 5]));
    run.extend(message(frontend::SYNC, b""));
    let mut close = Vec::new();
    Target::Statement(b"s1").put(&mut close, frontend::CLOSE);
    close.extend(message(frontend::SYNC, b""));
    let data = [message(backend::COPY_DATA, b"1\n"), message(backend::COPY_DONE, b"")].concat();
    let data = [data, message(frontend::SYNC, b"")].concat();
    vec![
        ("query", vec![(true, query("begin; set local a.b = 1")), (false, answered("CZ"))]),
        (
            "prepared",
            vec![
                (true, prepare("select set_config('a.b', '1', false)")),
                (false, answered("1tTZ")),
                (true, run.clone()),
                (false, answered("2DCZ")),
                (true, close),
                (false, answered("3Z")),
            ],
        ),
        (
            "copy",
            vec![
                (true, prepare("copy t from stdin")),
                (false, answered("1tnZ")),
                (true, run.clone()),
                (false, answered("2G")),
                (true, data),
                (false, answered("CZ")),
            ],
        ),
        (
            "refused",
            vec![
                (true, prepare("copy nowhere from stdin")),
                (false, answered("EZ")),
                (true, run),
                (false, answered("EZ")),
            ],
        ),
    ]
}

fn inputs(exchanges: &[(&'static str, Lines)]) -> Seeds {
    let input = |lines: &Lines| input_of_lines(lines.iter().map(|(asks, line)| (*asks, &line[..])));
    exchanges.iter().map(|(name, lines)| (*name, input(lines))).collect()
}

/// The same with a login before them.
fn right_connections() -> Seeds {
    let mut begin = Vec::new();
    startup::put_startup(&mut begin, startup::PROTOCOL_3_0, [("user", "app")]);
    let welcome = [
        message(backend::AUTHENTICATION, &[0; 4]),
        message(backend::KEY_DATA, &[0, 0, 0, 7, 1, 2, 3, 4]),
        answered("Z"),
    ];
    let login = [(true, begin), (false, welcome.concat())];
    let mut exchanges = right_exchanges();
    exchanges.iter_mut().for_each(|(_, lines)| drop(lines.splice(0..0, login.clone())));
    inputs(&exchanges)
}

fn nearly(right: Seeds) -> impl Strategy<Value = Vec<u8>> {
    let right: Vec<Vec<u8>> = right.into_iter().map(|(_, input)| input).collect();
    let edits = prop::collection::vec(any::<Edit>(), 0..8);
    (prop::sample::select(right), edits).prop_map(|(input, edits)| edited(&input, &edits))
}

fn run_exchange(input: &[u8]) {
    in_any_turns(input, |lines| exchange(lines, false));
    in_any_turns(input, |lines| exchange(lines, true));
}

#[test]
fn each_seed_holds() {
    write_seeds("tap", right_connections());
    write_seeds("exchange", inputs(&right_exchanges()));
    each_seed("tap", |input| in_any_turns(input, tap));
    each_seed("exchange", run_exchange);
}

proptest! {
    #[test]
    fn any_bytes_hold(input in prop::collection::vec(any::<u8>(), 0..300)) {
        in_any_turns(&input, tap);
        run_exchange(&input);
    }

    #[test]
    fn connections_that_were_changed_hold(input in nearly(right_connections())) {
        in_any_turns(&input, tap);
    }

    #[test]
    fn exchanges_that_were_changed_hold(input in nearly(inputs(&right_exchanges()))) {
        run_exchange(&input);
    }
}
