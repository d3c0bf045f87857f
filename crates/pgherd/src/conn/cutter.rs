//! Cuts one direction of a byte stream into pieces that can be changed.
//!
//! In: the bytes as they come, cut anywhere. Out: messages whole where that was asked for, and
//! the others as a header and the parts of a body, which need not be kept.

use pgherd_wire::frame::{HEADER, MAX_MESSAGE};
use pgherd_wire::{Frame, WireError};

/// Where a stream of messages with a type byte each was left off.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    // A header, or a message that was asked for, of which a part has come.
    partial: Vec<u8>,
    // Bytes still to come of a body that is not kept.
    rest: usize,
}

/// A part of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece<'b> {
    /// A message that was asked for, with its header.
    Whole(Vec<u8>),
    /// The header of any other. Its body follows.
    Header([u8; HEADER]),
    /// A part of the body of that message.
    Body(&'b [u8]),
}

impl Cutter {
    /// The next piece, taken off the front of `bytes`; `None` when the rest is still to come.
    /// `wanted` says of a type byte whether the message is to be whole.
    ///
    /// # Errors
    /// [`WireError::Length`] for a length that cannot be.
    pub(super) fn next<'b>(
        &mut self,
        bytes: &mut &'b [u8],
        wanted: impl Fn(u8) -> bool,
    ) -> Result<Option<Piece<'b>>, WireError> {
        if self.rest > 0 && !bytes.is_empty() {
            let here = bytes.len().min(self.rest);
            self.rest -= here;
            return Ok(bytes.split_off(..here).map(Piece::Body));
        }
        self.fill(HEADER, bytes);
        let Some(header) = self.partial.first_chunk::<HEADER>().copied() else { return Ok(None) };
        let Some(frame) = Frame::read(&header, MAX_MESSAGE)? else { return Ok(None) };
        if !wanted(frame.tag) {
            self.partial.clear();
            self.rest = frame.size - HEADER;
            return Ok(Some(Piece::Header(header)));
        }
        self.fill(frame.size, bytes);
        let is_whole = self.partial.len() == frame.size;
        Ok(is_whole.then(|| Piece::Whole(std::mem::take(&mut self.partial))))
    }

    /// Whether all that came so far were whole messages.
    pub(super) fn is_between(&self) -> bool {
        self.rest == 0 && self.partial.is_empty()
    }

    /// Whether a body that is not kept is still to come.
    pub(super) fn is_inside(&self) -> bool {
        self.rest > 0
    }

    /// Takes bytes until that many are kept.
    fn fill(&mut self, length: usize, bytes: &mut &[u8]) {
        let missing = length.saturating_sub(self.partial.len());
        let here = bytes.len().min(missing);
        self.partial.extend_from_slice(&bytes[..here]);
        *bytes = &bytes[here..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bodies that came in parts are put together.
    fn cut(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let (mut cutter, mut all) = (Cutter::default(), Vec::<Vec<u8>>::new());
        for mut bytes in pieces.iter().copied() {
            while let Some(piece) = cutter.next(&mut bytes, |tag| tag == b'P').unwrap() {
                match piece {
                    Piece::Whole(message) => all.push(message),
                    Piece::Header(header) => all.push(header.to_vec()),
                    Piece::Body(part) => all.last_mut().unwrap().extend_from_slice(part),
                }
            }
            assert!(bytes.is_empty());
        }
        all
    }

    #[test]
    fn messages_are_found_however_the_bytes_are_cut() {
        let messages: [&[u8]; 4] =
            [b"S\0\0\0\x04", b"P\0\0\0\x07abc", b"d\0\0\0\x09vwxyz", b"P\0\0\0\x04"];
        let stream = messages.concat();
        for at in 0..=stream.len() {
            let (head, tail) = stream.split_at(at);
            assert_eq!(cut(&[head, tail]), messages, "cut at {at}");
        }
        assert_eq!(cut(&stream.chunks(1).collect::<Vec<_>>()), messages);
    }

    #[test]
    fn a_length_that_cannot_be_is_an_error() {
        let mut cutter = Cutter::default();
        assert!(cutter.next(&mut &b"Q\0\0\0\x03"[..], |_| false).is_err());
    }
}
