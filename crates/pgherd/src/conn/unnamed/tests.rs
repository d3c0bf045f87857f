use super::*;

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pgherd_wire::frame::put(&mut out, tag, |out| out.extend_from_slice(body));
    out
}

fn messages(all: &[(u8, &[u8])]) -> Vec<u8> {
    all.iter().flat_map(|(tag, body)| message(*tag, body)).collect()
}

/// What the driver writes when it prepares, runs twice and closes; what the backend is to get
/// instead; its answer; and what the driver is to read of it.
fn conversation() -> [[Vec<u8>; 4]; 4] {
    let (parse, unnamed): (&[u8], &[u8]) = (b"s1\0select $1\0\0\0", b"\0select $1\0\0\0");
    let run = |name: &[u8]| [b"\0", name, b"\0rest"].concat();
    let bound: &[(u8, &[u8])] = &[(b'2', b""), (b'C', b"SELECT 1\0"), (b'Z', b"I")];
    let with_parse = [&[(b'1', &b""[..])], bound].concat();
    let run_named = run(b"s1");
    let run_unnamed = run(b"");
    let written = messages(&[(b'B', &run_named), (b'E', b"\0\0\0\0\0"), (b'S', b"")]);
    let sent =
        messages(&[(b'P', unnamed), (b'B', &run_unnamed), (b'E', b"\0\0\0\0\0"), (b'S', b"")]);
    let run = [written, sent, messages(&with_parse), messages(bound)];
    let prepared = messages(&[(b'1', b""), (b't', b"\0\0"), (b'n', b""), (b'Z', b"I")]);
    [
        [
            messages(&[(b'P', parse), (b'D', b"Ss1\0"), (b'S', b"")]),
            messages(&[(b'P', unnamed), (b'D', b"S\0"), (b'S', b"")]),
            prepared.clone(),
            prepared,
        ],
        run.clone(),
        run,
        [messages(&[(b'C', b"Ss1\0"), (b'S', b"")]), Vec::new(), Vec::new(), Vec::new()],
    ]
}

fn outgoing(unnamed: &mut Unnamed, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        unnamed.outgoing(piece, &mut out).unwrap();
    }
    out
}

fn incoming(unnamed: &mut Unnamed, pieces: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let kept = unnamed.incoming(&mut piece).unwrap();
        out.extend_from_slice(&piece[..kept]);
    }
    out
}

#[test]
fn each_use_of_a_statement_is_preceded_by_its_text_and_the_driver_does_not_notice() {
    let mut unnamed = Unnamed::new();
    for [written, sent, answered, read] in conversation() {
        assert_eq!(outgoing(&mut unnamed, &[&written]), sent);
        assert_eq!(incoming(&mut unnamed, &[&answered]), read);
    }
    assert!(unnamed.statements.is_empty() && unnamed.replies.is_empty());
    assert_eq!(unnamed.take_closed(), [1]);
}

#[test]
fn a_close_among_others_leaves_with_them() {
    let mut unnamed = Unnamed::new();
    let close: (u8, &[u8]) = (b'C', b"Ss1\0");
    let flush: (u8, &[u8]) = (b'H', b"");
    let unnamed_close: (u8, &[u8]) = (b'C', b"S\0");
    let written = messages(&[close, close, flush, close, (b'S', b"")]);
    let sent = messages(&[unnamed_close, unnamed_close, flush, unnamed_close, (b'S', b"")]);
    assert_eq!(outgoing(&mut unnamed, &[&written]), sent);
    let answer = messages(&[(b'3', b""), (b'3', b""), (b'3', b""), (b'Z', b"I")]);
    assert_eq!(incoming(&mut unnamed, &[&answer]), answer);
    assert!(unnamed.take_closed().is_empty() && unnamed.replies.is_empty());
    // In the next batch as at first.
    let closing = messages(&[close, (b'S', b"")]);
    assert!(outgoing(&mut unnamed, &[&closing]).is_empty());
    assert_eq!(unnamed.take_closed(), [1]);
}

#[test]
fn it_is_the_same_however_the_bytes_are_cut() {
    let longest = conversation().iter().flatten().map(Vec::len).max().unwrap();
    for cut in 0..=longest {
        let mut unnamed = Unnamed::new();
        for [written, sent, answered, read] in conversation() {
            let (head, tail) = written.split_at(cut.min(written.len()));
            assert_eq!(outgoing(&mut unnamed, &[head, tail]), sent, "cut at {cut}");
            let (head, tail) = answered.split_at(cut.min(answered.len()));
            assert_eq!(incoming(&mut unnamed, &[head, tail]), read, "cut at {cut}");
        }
    }
    let mut unnamed = Unnamed::new();
    for [written, sent, answered, read] in conversation() {
        assert_eq!(outgoing(&mut unnamed, &written.chunks(1).collect::<Vec<_>>()), sent);
        assert_eq!(incoming(&mut unnamed, &answered.chunks(1).collect::<Vec<_>>()), read);
    }
}

#[test]
fn an_error_instead_of_the_hidden_answer_reaches_the_driver() {
    let mut unnamed = Unnamed::new();
    let [prepare, run, again, _] = conversation();
    outgoing(&mut unnamed, &[&prepare[0]]);
    incoming(&mut unnamed, &[&prepare[2]]);
    outgoing(&mut unnamed, &[&run[0]]);
    let refused = messages(&[(b'E', b"SERROR\0C42P01\0\0"), (b'Z', b"I")]);
    assert_eq!(incoming(&mut unnamed, &[&refused]), refused);
    // And the next use is as if nothing had been.
    assert_eq!(outgoing(&mut unnamed, &[&again[0]]), again[1]);
    assert_eq!(incoming(&mut unnamed, &[&again[2]]), again[3]);
}

#[test]
fn a_statement_that_is_refused_is_not_kept() {
    let mut unnamed = Unnamed::new();
    let [prepare, run, ..] = conversation();
    outgoing(&mut unnamed, &[&prepare[0]]);
    let refused = messages(&[(b'E', b"SERROR\0C42601\0\0"), (b'Z', b"I")]);
    assert_eq!(incoming(&mut unnamed, &[&refused]), refused);
    assert!(unnamed.statements.is_empty() && unnamed.parsing.is_empty());
    outgoing(&mut unnamed, &[&prepare[0]]);
    incoming(&mut unnamed, &[&prepare[2]]);
    assert!(unnamed.parsing.is_empty());
    // What is refused later stays: it may work the next time.
    outgoing(&mut unnamed, &[&run[0]]);
    incoming(&mut unnamed, &[&refused]);
    assert_eq!(unnamed.statements.len(), 1);
}

#[test]
fn what_names_no_statement_passes_as_it_is() {
    let mut unnamed = Unnamed::new();
    let query = messages(&[(b'Q', b"copy t from stdin\0")]);
    assert_eq!(outgoing(&mut unnamed, &[&query]), query);
    let copying = messages(&[(b'G', b"\0\0\0")]);
    assert_eq!(incoming(&mut unnamed, &[&copying]), copying);
    let data = messages(&[(b'd', &[7; 100_000]), (b'c', b"")]);
    assert_eq!(outgoing(&mut unnamed, &data.chunks(999).collect::<Vec<_>>()), data);
    let done = messages(&[(b'C', b"COPY 1\0"), (b'Z', b"I"), (b'N', b"SNOTICE\0\0")]);
    assert_eq!(incoming(&mut unnamed, &[&done]), done);
}
