//! Exchanges to test with: recorded, and made message by message.

use pgherd_wire::TxStatus;
use pgherd_wire::backend as from_backend;
use pgherd_wire::frontend::{self, Target};

macro_rules! recorded {
    ($($name:literal),*) => {
        [$((
            $name,
            include_bytes!(concat!("recorded/", $name, ".sent")).as_slice(),
            include_bytes!(concat!("recorded/", $name, ".answered")).as_slice(),
        )),*]
    };
}

/// Exchanges recorded between psql and pgbench 15 and PostgreSQL 15, without their login.
const RECORDED: [(&str, &[u8], &[u8]); 5] =
    recorded!["psql", "describe", "pgbench-simple", "pgbench-extended", "pgbench-prepared"];

/// Exchanges of every kind: what the client sends, and what the server answers.
pub(crate) fn exchanges() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let query = |sql: &str| {
        let mut out = Vec::new();
        frontend::put_query(&mut out, sql);
        out
    };
    let mut extended = Vec::new();
    parse(&mut extended, "", "select $1");
    bind(&mut extended, "");
    Target::Portal(b"").put(&mut extended, frontend::DESCRIBE);
    execute(&mut extended);
    sync(&mut extended);
    let mut copy_in = query("copy t from stdin");
    let mut data = Vec::new();
    pgherd_wire::frame::put(&mut data, b'd', |out| out.extend([b'x'; 300]));
    from_backend::put_empty(&mut data, b'c');
    copy_in.extend(&data);
    let mut stream = query("START_REPLICATION 0/0");
    stream.extend(&data);
    let mut backup = query("BASE_BACKUP");
    backup.extend(query("IDENTIFY_SYSTEM"));
    let mut all = vec![
        ("rows", query("select 1"), replies("TDDDCZ")),
        ("an-error", query("select 1/0"), replies("TDEZ")),
        ("nothing", query(""), replies("IZ")),
        ("extended", extended, replies("12TDDCZ")),
        ("copy-in", copy_in, replies("GCZ")),
        ("copy-out", query("copy t to stdout"), replies("HdddcCZ")),
        ("copy-both", stream, replies("WdddcTDCCZ")),
        ("copy-both-fails", query("START_REPLICATION 0/0"), replies("WdEZ")),
        ("base-backup", backup, replies("TDCTDDCHdddcTDCCZTDCZ")),
        ("notices", query("do ''"), replies("NNCZ")),
    ];
    all.extend(RECORDED.map(|(name, sent, answered)| (name, sent.to_vec(), answered.to_vec())));
    all
}

/// Cuts `bytes` behind each message of one of these types.
pub(crate) fn turns<'a>(bytes: &'a [u8], ends: &[u8]) -> Vec<&'a [u8]> {
    let (mut turns, mut start, mut at) = (Vec::new(), 0, 0);
    while let Some(frame) = pgherd_wire::Frame::read(&bytes[at..], u32::MAX).unwrap() {
        at += frame.size;
        if ends.contains(&frame.tag) || at == bytes.len() {
            turns.push(&bytes[start..at]);
            start = at;
        }
    }
    turns
}

pub(crate) fn parse(out: &mut Vec<u8>, name: &str, sql: &str) {
    frontend::put_parse(out, name.as_bytes(), sql.as_bytes(), &[0, 0]);
}

pub(crate) fn bind(out: &mut Vec<u8>, name: &str) {
    frontend::put_bind(out, b"", name.as_bytes(), &[0; 6]);
}

pub(crate) fn execute(out: &mut Vec<u8>) {
    pgherd_wire::frame::put(out, frontend::EXECUTE, |out| out.extend_from_slice(&[0; 5]));
}

pub(crate) fn sync(out: &mut Vec<u8>) {
    out.extend_from_slice(&[frontend::SYNC, 0, 0, 0, 4]);
}

pub(crate) fn replies(list: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for tag in list.bytes() {
        match tag {
            b'Z' => from_backend::put_ready(&mut out, TxStatus::Idle),
            b'E' => from_backend::Report {
                severity: from_backend::Severity::Error,
                code: "22012",
                message: "division by zero",
                detail: "",
                hint: "",
            }
            .put(&mut out),
            b'C' => pgherd_wire::frame::put(&mut out, tag, |out| out.extend(b"SELECT 1\0")),
            b'D' => pgherd_wire::frame::put(&mut out, tag, |out| out.extend([7; 40])),
            tag => from_backend::put_empty(&mut out, tag),
        }
    }
    out
}
