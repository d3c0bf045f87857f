use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};

use super::*;

/// One direction of a connection: what is in it, what it holds at most, and whether it has ended.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    room: usize,
    has_ended: bool,
}

/// One end of a connection that takes and gives a few bytes at a time.
#[derive(Debug)]
struct End {
    reads: Rc<RefCell<Pipe>>,
    writes: Rc<RefCell<Pipe>>,
}

impl Read for End {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.reads.borrow_mut();
        if pipe.bytes.is_empty() && !pipe.has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = pipe.bytes.len().min(into.len());
        for (to, byte) in into.iter_mut().zip(pipe.bytes.drain(..read)) {
            *to = byte;
        }
        Ok(read)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut pipe = self.writes.borrow_mut();
        let written = bytes.len().min(pipe.room.saturating_sub(pipe.bytes.len()));
        if written == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.bytes.extend(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn ends(room: usize) -> (End, End) {
    let pipe = || Rc::new(RefCell::new(Pipe { room, ..Pipe::default() }));
    let (there, back) = (pipe(), pipe());
    let first = End { reads: Rc::clone(&back), writes: Rc::clone(&there) };
    (first, End { reads: there, writes: back })
}

fn configs() -> (Arc<Shown>, Arc<ClientConfig>) {
    let key = KeyPair::generate().unwrap();
    let cert = CertificateParams::new(["db".to_owned()]).unwrap().self_signed(&key).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut roots = RootCertStore::empty();
    roots.add(cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Arc::new(Shown { config: Arc::new(server), end_point: None }), Arc::new(client))
}

/// A server and a client that have begun TLS over pipes which hold `room` bytes each.
fn pair(room: usize) -> (Link<End>, Link<End>) {
    let (server, client) = configs();
    let (one, other) = ends(room);
    let (mut one, mut other) = (Link::plain(one), Link::plain(other));
    other.connect(client, ServerName::try_from("db").unwrap()).unwrap();
    one.accept(server, &[], SHORT_HANDSHAKE).unwrap();
    // The handshake, and nothing else: a link takes little before its end.
    let mut nothing = Vec::new();
    while one.is_handshaking() || other.is_handshaking() {
        let _ = (one.flush(), other.flush());
        read_all(&mut one, &mut nothing, 1000);
        read_all(&mut other, &mut nothing, 1000);
    }
    assert!(nothing.is_empty());
    (one, other)
}

/// Reads what there is, as the loop does: until nothing more can be there.
fn read_all(link: &mut Link<End>, into: &mut Vec<u8>, step: usize) {
    link.became_readable(false);
    let mut buffer = vec![0; step];
    loop {
        match link.read(&mut buffer) {
            Ok(0) => return,
            Ok(read) => {
                into.extend_from_slice(&buffer[..read]);
                if !link.may_have_more(read, step) {
                    return;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
                return;
            }
        }
    }
}

fn write_some(link: &mut Link<End>, bytes: &[u8]) -> usize {
    match link.write(bytes) {
        Ok(written) => {
            // Or nobody would ever be told that it takes more.
            assert!(written == bytes.len() || link.is_stalled());
            written
        }
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock, "{error}");
            0
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_the_socket_takes_each_side_reads_what_the_other_has_written(
        room in 1..5000usize,
        step in 1..40_000usize,
        sizes in (0..200_000usize, 0..200_000usize),
    ) {
        let (mut one, mut other) = pair(room);
        let texts = [sizes.0, sizes.1].map(|size| (0..=250u8).cycle().take(size).collect::<Vec<u8>>());
        let (mut written, mut read) = ([0, 0], [Vec::new(), Vec::new()]);
        // At least one byte goes through a pipe each time, and TLS adds less than it carries.
        for _ in 0..4_000_000 {
            if read[0] == texts[0] && read[1] == texts[1] {
                break;
            }
            written[0] += write_some(&mut one, &texts[0][written[0]..]);
            written[1] += write_some(&mut other, &texts[1][written[1]..]);
            let _ = (one.flush(), other.flush());
            read_all(&mut other, &mut read[0], step);
            read_all(&mut one, &mut read[1], step);
        }
        prop_assert_eq!(read[0].len(), texts[0].len());
        prop_assert_eq!(&read[0], &texts[0]);
        prop_assert_eq!(&read[1], &texts[1]);
        prop_assert!(!one.is_stalled() && !other.is_stalled());
    }

    #[test]
    fn what_is_no_tls_is_an_error_and_nothing_else(bytes: Vec<u8>) {
        let (server, _) = configs();
        let (one, _other) = ends(100_000);
        let mut link = Link::plain(one);
        match link.accept(server, &bytes, SHORT_HANDSHAKE) {
            // The beginning of a record, of whichever kind: what is in it has not come yet.
            Ok(()) => prop_assert!(bytes.len() < 5 || (20..=23).contains(&bytes[0])),
            Err(error) => prop_assert_eq!(error.kind(), io::ErrorKind::InvalidData),
        }
    }
}

#[test]
fn what_the_socket_does_not_take_is_bounded() {
    let (mut one, _other) = pair(10_000);
    let bytes = vec![7; 1_000_000];
    let mut taken = 0;
    loop {
        match write_some(&mut one, &bytes[taken..]) {
            0 => break,
            written => taken += written,
        }
    }
    assert!(one.is_stalled());
    assert!(taken <= 10_000 + 64 * 1024, "{taken}");
}

#[test]
fn who_waits_for_a_stalled_link_hears_of_it_whoever_has_made_room() {
    let (mut one, mut other) = pair(10_000);
    let bytes = vec![7; 60_000];
    assert_eq!(write_some(&mut one, &bytes), bytes.len());
    assert!(one.is_stalled());
    let (mut read, mut nothing) = (Vec::new(), Vec::new());
    while read.len() < bytes.len() {
        read_all(&mut other, &mut read, 1000);
        // A read makes the socket take what is left.
        assert_eq!(write_some(&mut other, b"x"), 1);
        read_all(&mut one, &mut nothing, 1000);
        assert!(one.is_stalled());
    }
    one.flush().unwrap();
    assert!(!one.is_stalled());
}

#[test]
fn slices_share_records() {
    let (mut one, mut other) = pair(100_000);
    let slices = [IoSlice::new(b"to"), IoSlice::new(b""), IoSlice::new(b"gether")];
    assert_eq!(one.write_vectored(&slices).unwrap(), 8);
    let written: Vec<u8> = one.socket().writes.borrow().bytes.iter().copied().collect();
    let length = usize::from(u16::from_be_bytes([written[3], written[4]]));
    assert_eq!(written.len(), 5 + length, "one record");
    let mut read = Vec::new();
    read_all(&mut other, &mut read, 1000);
    assert_eq!(read, b"together");
    assert_eq!(behind(&slices, 3).iter().map(|slice| slice.len()).sum::<usize>(), 5);
}

#[test]
fn a_handshake_has_so_many_bytes_and_no_more() {
    let (server, _) = configs();
    let (one, mut other) = ends(100_000);
    let mut link = Link::plain(one);
    link.accept(server, &[], SHORT_HANDSHAKE).unwrap();
    // A ClientHello of 60,000 bytes, in records of 10,000, that does not end.
    let hello = [1, 0, 0xea, 0x60];
    let mut error = None;
    for at in 0..6 {
        let mut record = vec![22, 3, 1, 0x27, 0x10];
        record.extend(if at == 0 { &hello[..] } else { &[] });
        record.resize(5 + 10_000, 0);
        other.write_all(&record).unwrap();
        link.became_readable(false);
        if let Err(refused) = link.read(&mut [0; 100])
            && refused.kind() != io::ErrorKind::WouldBlock
        {
            error = Some((at, refused.kind()));
            break;
        }
    }
    assert_eq!(error, Some((1, io::ErrorKind::InvalidData)));
}

#[test]
fn the_end_is_read_behind_the_last_bytes() {
    let (mut one, mut other) = pair(100_000);
    assert_eq!(write_some(&mut one, b"goodbye"), 7);
    one.say_goodbye();
    one.socket().writes.borrow_mut().has_ended = true;
    other.became_readable(true);
    let mut buffer = [0; 100];
    assert_eq!(other.read(&mut buffer).unwrap(), 7);
    assert!(other.may_have_more(7, 100));
    assert_eq!(other.read(&mut buffer).unwrap(), 0);
}

#[test]
fn a_link_in_plain_is_its_socket() {
    let (one, other) = ends(3);
    let (mut one, mut other) = (Link::plain(one), Link::plain(other));
    assert!(!one.is_encrypted() && one.peer_certificate().is_none());
    assert_eq!(one.write(b"abcd").unwrap(), 3);
    assert!(!one.is_stalled());
    let mut buffer = [0; 3];
    assert_eq!(other.read(&mut buffer).unwrap(), 3);
    assert!(other.may_have_more(3, 3) && !other.may_have_more(2, 3));
}
