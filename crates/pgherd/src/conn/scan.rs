//! Finds the messages in one direction of a byte stream that is not ours to buffer.
//!
//! In: the bytes as they pass, in pieces of any size. Out: each message as it becomes complete, with
//! its body where it was there at once, or where that was asked for.

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

/// A message that came in pieces.
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
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

    /// The first message where all of it is there, as nearly always, and what is behind it.
    /// Otherwise, and for a length that cannot be, it is for [`Self::gather`].
    #[inline]
    pub(super) fn whole<'b>(&self, bytes: &'b [u8]) -> Option<(u8, &'b [u8], &'b [u8])> {
        if self.header_filled > 0 {
            return None;
        }
        let frame = Frame::read(bytes, MAX_MESSAGE).ok()??;
        let (message, after) = bytes.split_at_checked(frame.size)?;
        Some((frame.tag, &message[HEADER..], after))
    }

    /// Takes in what is there of a message that comes in pieces, which is complete with the last. The
    /// body is kept only of types that `is_wanted` accepts, and is empty otherwise.
    ///
    /// # Errors
    /// [`WireError::Length`] for a length that cannot be.
    #[cold]
    pub(super) fn gather(
        &mut self,
        bytes: &mut &[u8],
        is_wanted: impl Fn(u8) -> bool,
    ) -> Result<Option<Message>, WireError> {
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
        if is_wanted(self.header[0]) {
            self.body.extend_from_slice(piece);
        }
        if self.rest > 0 {
            return Ok(None);
        }
        self.header_filled = 0;
        Ok(Some(Message { tag: self.header[0], body: std::mem::take(&mut self.body) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(scan: &mut Scan, pieces: &[&[u8]]) -> Vec<(u8, Vec<u8>)> {
        let mut seen = Vec::new();
        for mut piece in pieces.iter().copied() {
            while !piece.is_empty() {
                if let Some((tag, body, after)) = scan.whole(piece) {
                    piece = after;
                    seen.push((tag, if tag == b'Q' { body.to_vec() } else { Vec::new() }));
                } else if let Some(message) = scan.gather(&mut piece, |tag| tag == b'Q').unwrap() {
                    seen.push((message.tag, message.body));
                }
            }
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
        let (mut scan, mut bytes) = (Scan::new(), &b"Q\0\0\0\x03"[..]);
        assert!(scan.whole(bytes).is_none());
        assert!(scan.gather(&mut bytes, |_| false).is_err());
    }
}
