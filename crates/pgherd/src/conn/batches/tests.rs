use super::*;

fn messages(all: &[(u8, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, body) in all {
        put(&mut out, *tag, |out| out.extend_from_slice(body));
    }
    out
}

#[test]
fn what_is_no_copy_passes_as_it_is_however_it_is_cut() {
    let stream = messages(&[
        (b'P', b"a\0select 'copying'\0\0\0"),
        (b'D', b"Sa\0"),
        (b'S', b""),
        (b'B', b"\0a\0\0\0\0\0\0\0"),
        (b'E', b"\0\0\0\0\0"),
        (b'S', b""),
        (b'C', b"Sa\0"),
        (b'S', b""),
        (b'Q', b"commit\0"),
        (b'X', b""),
    ]);
    for cut in 0..=stream.len() {
        let (mut batches, mut out) = (Batches::default(), Vec::new());
        batches.outgoing(&stream[..cut], &mut out).unwrap();
        batches.outgoing(&stream[cut..], &mut out).unwrap();
        assert_eq!(out, stream, "cut at {cut}");
        assert_eq!((batches.stage, batches.held()), (Stage::Open, 0));
    }
}

fn pass(batches: &Batches, bytes: &[u8]) -> bool {
    batches.are_quiet() && Batches::change_nothing(bytes, batches.names_matter())
}

#[test]
fn whole_messages_without_a_text_pass_unless_a_copy_is_about() {
    let [parse, copy] = [b"a\0select 1\0\0\0".as_slice(), b"a\0copy t to stdout\0\0\0"]
        .map(|text| messages(&[(b'P', text)]));
    let run = messages(&[(b'B', b"\0a\0\0\0\0\0\0\0"), (b'E', b"\0\0\0\0\0"), (b'S', b"")]);
    let query = messages(&[(b'Q', b"select 1\0"), (b'Q', b"commit\0")]);
    let data = messages(&[(b'd', b"1\n")]);
    let mut batches = Batches::default();
    for bytes in [&run, &query, &Vec::new()] {
        assert!(pass(&batches, bytes));
        let before = format!("{batches:?}");
        let mut out = Vec::new();
        batches.outgoing(bytes, &mut out).unwrap();
        assert_eq!((&out, format!("{batches:?}")), (bytes, before));
    }
    for bytes in [&parse, &copy, &data, &run[..run.len() - 1].to_vec(), &vec![b'Q', 0, 0, 0, 3]] {
        assert!(!pass(&batches, bytes));
    }
    batches.outgoing(&query[..7], &mut Vec::new()).unwrap();
    assert!(!pass(&batches, &query), "inside a message");
    batches.outgoing(&query[7..], &mut Vec::new()).unwrap();
    batches.outgoing(&copy, &mut Vec::new()).unwrap();
    assert!(!pass(&batches, &run) && pass(&batches, &query));
    batches.outgoing(&run, &mut Vec::new()).unwrap();
    assert!(!pass(&batches, &query), "the copy is not answered");
    batches = Batches::default();
    batches.leave_one_by_one();
    assert!(!pass(&batches, &query));
}

#[test]
fn a_copy_is_known_by_its_last_text_however_it_is_cut() {
    let stream = messages(&[
        (b'P', b"a\0select 1\0\0\0"),
        (b'P', b"a\0copy t to stdout\0\0\0"),
        (b'P', b"b\0copy t to stdout\0\0\0"),
        (b'P', b"b\0select 1\0\0\0"),
        (b'B', b"\0b\0\0\0\0\0\0\0"),
        (b'S', b""),
        (b'B', b"\0a\0\0\0\0\0\0\0"),
        (b'S', b""),
        (b'Q', b"\0"),
    ]);
    let (sync, held) = (messages(&[(b'S', b"")]), messages(&[(b'Q', b"\0")]));
    let passed = &stream[..stream.len() - held.len() - sync.len()];
    let sent = [passed, &messages(&[(b'H', b"")])].concat();
    for cut in 0..=stream.len() {
        let (mut batches, mut out) = (Batches::default(), Vec::new());
        batches.outgoing(&stream[..cut], &mut out).unwrap();
        batches.outgoing(&stream[cut..], &mut out).unwrap();
        assert_eq!(out, sent, "cut at {cut}");
        assert_eq!((batches.stage, &batches.held), (Stage::Opening, &held));
    }
}

#[test]
fn beyond_so_many_that_may_copy_any_may() {
    let mut batches = Batches::default();
    let other = messages(&[(b'B', b"\0other\0\0\0\0\0\0\0"), (b'S', b"")]);
    for n in 0..=NAMES_LIMIT {
        let mut out = Vec::new();
        batches.outgoing(&other, &mut out).unwrap();
        assert_eq!((out, batches.stage), (other.clone(), Stage::Open), "at {n}");
        let parse = format!("s{n}\0COPY nowhere FROM STDIN\0\0\0");
        batches.outgoing(&messages(&[(b'P', parse.as_bytes())]), &mut Vec::new()).unwrap();
    }
    batches.outgoing(&other, &mut Vec::new()).unwrap();
    assert_eq!((batches.stage, batches.copying.len()), (Stage::Opening, NAMES_LIMIT));
}
