//! Finds the messages in one direction of a byte stream that is not ours to buffer.
//!
//! In: the bytes as they pass, in pieces of any size. Out: each message as it becomes
//! complete, with its body where that was asked for.

use pgherd_wire::frame::{HEADER, MAX_MESSAGE};
use pgherd_wire::{Frame, WireError};

/// The type "byte" under which the startup packet is reported; it has none of its own.
pub(super) const STARTUP: u8 = 0;

/// Where a stream of messages was left off.
#[derive(Debug)]
pub(super) struct Scan {
    header: [u8; HEADER],
    header_filled: usize,
    // Bytes of the body still to come; meaningful once the header is whole.
    rest: usize,
    // The beginning of a body that was asked for and came in pieces.
    body: Vec<u8>,
}

impl Scan {
    /// A stream of messages with a type byte each.
    pub(super) fn new() -> Self {
        Self { header: [0; HEADER], header_filled: 0, rest: 0, body: Vec::new() }
    }

    /// A stream whose first message is a startup packet, which has no type byte.
    pub(super) fn from_startup() -> Self {
        Self { header: [STARTUP; HEADER], header_filled: 1, rest: 0, body: Vec::new() }
    }

    /// Takes bytes in, and calls `on` for each message they complete. The body is passed only
    /// for types that `wanted` accepts, and is empty otherwise.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        wanted: impl Fn(u8) -> bool,
        mut on: impl FnMut(u8, &[u8]) -> Result<(), WireError>,
    ) -> Result<(), WireError> {
        while !bytes.is_empty() {
            let gathered;
            // As nearly always: a whole message, behind another one.
            let (tag, body) = if self.header_filled == 0
                && let Some(frame) = Frame::read(bytes, MAX_MESSAGE)?
                && let Some((message, after)) = bytes.split_at_checked(frame.size)
            {
                bytes = after;
                (frame.tag, &message[HEADER..])
            } else {
                let Some(message) = self.gather(&mut bytes, &wanted)? else { return Ok(()) };
                gathered = message;
                (self.header[0], gathered.as_slice())
            };
            // In one place, to be inlined there.
            on(tag, if wanted(tag) { body } else { &[] })?;
        }
        Ok(())
    }

    /// Takes in what is there of a message that came in pieces; its body, if that is wanted, once
    /// it is whole.
    fn gather(
        &mut self,
        bytes: &mut &[u8],
        wanted: impl Fn(u8) -> bool,
    ) -> Result<Option<Vec<u8>>, WireError> {
        if self.header_filled < HEADER {
            let (piece, after) = bytes.split_at(bytes.len().min(HEADER - self.header_filled));
            let end = self.header_filled + piece.len();
            self.header[self.header_filled..end].copy_from_slice(piece);
            self.header_filled = end;
            *bytes = after;
            let header = &self.header[..self.header_filled];
            let Some(frame) = Frame::read(header, MAX_MESSAGE)? else { return Ok(None) };
            self.rest = frame.size - HEADER;
        }
        let (piece, after) = bytes.split_at(bytes.len().min(self.rest));
        *bytes = after;
        self.rest -= piece.len();
        if wanted(self.header[0]) {
            self.body.extend_from_slice(piece);
        }
        if self.rest > 0 {
            return Ok(None);
        }
        self.header_filled = 0;
        Ok(Some(std::mem::take(&mut self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(scan: &mut Scan, pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let mut seen = Vec::new();
        for piece in pieces {
            let on = |tag, body: &[u8]| {
                seen.push((tag, body.to_vec()));
                Ok(())
            };
            scan.feed(piece, |tag| tag == b'Q', on).unwrap();
        }
        seen
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let stream = b"\0\0\0\x08abcdS\0\0\0\x04Q\0\0\0\x09abcd\0p\0\0\0\x06xyQ\0\0\0\x05\0";
        let whole = messages(&mut Scan::from_startup(), &[stream]);
        let expected: Vec<(u8, Vec<u8>)> = vec![
            (STARTUP, vec![]),
            (b'S', vec![]),
            (b'Q', b"abcd\0".to_vec()),
            (b'p', vec![]),
            (b'Q', b"\0".to_vec()),
        ];
        assert_eq!(whole, expected);
        for cut in 0..stream.len() {
            let (head, tail) = stream.split_at(cut);
            let cut_up = messages(&mut Scan::from_startup(), &[head, tail]);
            assert_eq!(cut_up, expected, "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(messages(&mut Scan::from_startup(), &bytes), expected);
    }

    #[test]
    fn an_unfinished_message_is_not_reported() {
        assert_eq!(messages(&mut Scan::new(), &[b"Q\0\0\0\x09abcd"]), []);
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        let mut scan = Scan::new();
        assert!(scan.feed(b"Q\0\0\0\x03", |_| false, |_, _| Ok(())).is_err());
    }
}
