//! What has to hold whatever bytes come, for property tests and fuzz targets.
//!
//! Each function takes bytes as the network gives them, panics if something does not hold, and
//! where they come in pieces returns what was made of them: it must not depend on the pieces.

use crate::backend::{self, Authentication, ErrorFields};
use crate::frame::{Fields, MAX_MESSAGE};
use crate::frontend::{self, Bind, Parse, SaslInitial, Target};
use crate::replies::{Expect, Replies, Settled, Show};
use crate::scram::{ClientExchange, Keys, Secret, ServerExchange};
use crate::startup::{self, FirstPacket, MAX_STARTUP};
use crate::{Frame, HEADER, WireError};

/// The messages of a stream, by type and size, and why it ends before its bytes do.
pub fn frames(pieces: &[&[u8]]) -> (Vec<Frame>, Option<WireError>) {
    const LIMIT: u32 = 1000;
    let (mut kept, mut found) = (Vec::new(), Vec::new());
    for piece in pieces {
        kept.extend_from_slice(piece);
        loop {
            let frame = match Frame::read(&kept, LIMIT) {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            };
            let header = kept.get(..HEADER).expect("a frame has a header");
            assert_eq!(Frame::read(header, LIMIT), Ok(Some(frame)), "more than the header counts");
            assert!((HEADER..=LIMIT as usize + 1).contains(&frame.size));
            if kept.len() < frame.size {
                break;
            }
            kept.drain(..frame.size);
            found.push(frame);
        }
        assert!(kept.len() <= LIMIT as usize, "what is kept is less than the longest message");
    }
    (found, None)
}

/// What the first packet of a connection says, as text, and how long it is.
pub fn first_packet(pieces: &[&[u8]]) -> Option<(usize, String)> {
    let mut kept = Vec::new();
    for piece in pieces {
        kept.extend_from_slice(piece);
        let size = match startup::size(&kept) {
            Ok(Some(size)) => size,
            Ok(None) => continue,
            Err(error) => return Some((0, error.to_string())),
        };
        assert!((8..=MAX_STARTUP as usize).contains(&size));
        let Some(packet) = kept.get(..size) else { continue };
        let read = startup::read(packet);
        let mut again = Vec::new();
        match &read {
            Ok(FirstPacket::Startup(startup)) => {
                startup::put_startup(&mut again, startup.protocol, startup.parameters.clone());
                assert!(again.len() <= packet.len(), "it holds nothing that was not there");
                assert_eq!(startup::read(&again), read);
            }
            Ok(FirstPacket::Cancel { pid, secret }) => {
                startup::put_cancel(&mut again, *pid, secret);
                assert_eq!(again, packet);
            }
            Ok(FirstPacket::Ssl | FirstPacket::GssEncryption) | Err(_) => {}
        }
        return Some((size, format!("{read:?}")));
    }
    None
}

/// A message of a client, of any type: what is read of it is what is put.
pub fn from_client(body: &[u8]) {
    let put = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        out.split_off(HEADER)
    };
    if let Ok(Parse { name, sql, types }) = Parse::read(body) {
        assert_eq!(put(&|out| frontend::put_parse(out, name, sql, types)), body);
    }
    if let Ok(Bind { portal, statement, rest }) = Bind::read(body) {
        assert_eq!(put(&|out| frontend::put_bind(out, portal, statement, rest)), body);
    }
    for tag in [frontend::DESCRIBE, frontend::CLOSE] {
        if let Ok(target) = Target::read(tag, body) {
            assert!(body.starts_with(&put(&|out| target.put(out, tag))));
        }
    }
    if let Ok(initial) = SaslInitial::read(body) {
        assert_eq!(SaslInitial::read(&put(&|out| initial.put(out))), Ok(initial));
    }
}

/// A message of a server, of any type: what is read of it is what is put.
pub fn from_server(body: &[u8]) {
    let put = |put: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        put(&mut out);
        out.split_off(HEADER)
    };
    if let Ok(request) = Authentication::read(body) {
        assert!(body.starts_with(&put(&|out| request.put(out))));
    }
    if let Ok((name, value)) = backend::parameter_status(body) {
        assert!(body.starts_with(&put(&|out| backend::put_parameter_status(out, name, value))));
    }
    if let Ok((pid, secret)) = backend::key_data(body) {
        assert_eq!(put(&|out| backend::put_key_data(out, pid, secret)), body);
    }
    if let Ok(status) = backend::ready(body) {
        assert!(body.starts_with(&put(&|out| backend::put_ready(out, status))));
    }
    if let Ok(columns) = backend::data_row(body) {
        let bytes: usize = columns.iter().flatten().map(|column| 4 + column.len()).sum();
        assert!(2 + bytes + 4 * columns.iter().filter(|it| it.is_none()).count() <= body.len());
    }
    if let Ok(error) = ErrorFields::read(body) {
        assert!(error.code.len() + error.message.len() + error.routine.len() < body.len());
    }
    let mut fields = Fields::new(0, body);
    while fields.cstr("any").is_ok() || fields.i16("any").is_ok() || fields.u8("any").is_ok() {}
    assert_eq!(fields.rest(), b"");
}

/// The password of [`scram`].
const PASSWORD: &str = "secret";

/// Random bytes of both sides of [`scram`].
const NONCE: &[u8] = b"the same each time";

/// What a client says to our server, and a server to our client, each from its beginning: nobody is
/// believed who does not know the password.
pub fn scram(client: &[&[u8]], server: &[&[u8]]) {
    let keys = Keys::derive(PASSWORD, b"salt", 1);
    if let [first, last, ..] = client {
        let secret = Secret::from_password(PASSWORD, b"salt", 1);
        let started = ServerExchange::start(first, NONCE, secret);
        if let Ok(accepted) = started.and_then(|(awaiting, _)| awaiting.check(last)) {
            assert!(accepted.client_key == keys.client, "without the password");
        }
    }
    if let [first, last, ..] = server {
        let (awaiting, _) = ClientExchange::start(NONCE);
        // Not as many iterations as the server asks for: that is only how long it takes.
        let proved = awaiting.prove(first, |salt, _| Keys::derive(PASSWORD, salt, 1));
        if let Ok((awaiting, _)) = proved {
            // Nobody finds a signature by chance; a right one is among the seeds.
            let _ = awaiting.verify(last);
        }
    }
    for text in client.iter().chain(server) {
        let _ = Secret::parse(&String::from_utf8_lossy(text)).map(|secret| secret.to_text());
    }
}

/// What is sent to a backend and what it answers, a byte each: the queue never holds more than was
/// sent, and what is dropped was sent.
pub fn replies(events: &[u8]) {
    let mut replies = Replies::new();
    let (mut sent, mut parses, mut dropped, mut parsed) = (0_usize, 0_u64, 0_usize, 0_usize);
    let mut unnamed = 0_usize;
    for event in events {
        let before = replies.len();
        match expect(*event, parses) {
            Some(expect) => {
                parses += u64::from(matches!(expect, Expect::Parse { .. }));
                let answered = replies.expect(expect);
                assert_eq!(replies.len(), before + usize::from(answered));
                sent += usize::from(answered);
                unnamed += usize::from(answered && matches!(expect, Expect::Unnamed { .. }));
            }
            None => match replies.on_reply(event & 0x7f) {
                Ok(verdict) => {
                    parsed += usize::from(matches!(verdict.settled, Some(Settled::Parsed(_))));
                    unnamed -= usize::from(verdict.settled == Some(Settled::Unnamed));
                    assert!(replies.len() <= before);
                }
                Err(error) => {
                    assert!(matches!(error, WireError::UnexpectedReply { .. }));
                    assert_eq!(replies.len(), before, "what is unexpected settles nothing");
                    return;
                }
            },
        }
        while replies.next_synthetic().is_some() {}
        dropped += replies.take_dropped().count();
        replies.take_dropped_changes();
        let of_unnamed = replies.take_dropped_unnamed();
        assert!(of_unnamed.count > 0 || !of_unnamed.is_cause);
        unnamed -= of_unnamed.count;
        let owed = replies.pending().filter(|it| matches!(it, Expect::Unnamed { .. })).count();
        assert_eq!(unnamed, owed, "what becomes of each is told once");
        assert!(replies.len() <= sent && (dropped + parsed) as u64 <= parses);
        assert_eq!(replies.pending().count(), replies.len());
        assert!(!replies.is_ready_owed() || !replies.is_empty());
        assert!(!replies.is_copying_both() || !replies.is_empty());
    }
}

/// What a byte stands for in [`replies`]: something that is sent, or `None`, a reply of this type.
fn expect(event: u8, number: u64) -> Option<Expect> {
    let show = if event & 0x10 == 0 { Show::Client } else { Show::Nobody };
    let statement = (event & 0x20 != 0).then_some(number);
    if event < 0x80 {
        return None;
    }
    Some(match event & 0x0f {
        0 => Expect::Query(show),
        1 | 2 => Expect::Parse { show, statement },
        3 => Expect::Bind,
        4 => Expect::Describe,
        5 | 6 => Expect::Execute,
        7 => Expect::Close(show),
        8..=10 => Expect::Sync(show),
        11 => Expect::MadeUp(backend::PARSE_COMPLETE),
        12 => Expect::MadeUp(backend::CLOSE_COMPLETE),
        13 | 14 => Expect::Unnamed { closes: event & 1 == 0 },
        _ => Expect::CopyEnd,
    })
}

/// A length that no message has, whatever its type: refused, and not waited for.
pub fn absurd_length(tag: u8, length: u32) {
    let header = [&[tag][..], &length.to_be_bytes()].concat();
    let refused = Frame::read(&header, MAX_MESSAGE).is_err();
    assert_eq!(refused, !(4..=MAX_MESSAGE).contains(&length));
}

#[cfg(test)]
mod tests;
