//! Output made of stretches of the input and of bytes of our own.

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Input(Range<usize>),
    Own(Range<usize>),
}

/// What is to be written, in order. Kept and reused: nothing is allocated per message once it
/// has grown to its working size.
#[derive(Debug, Default)]
pub struct Splice {
    pieces: Vec<Piece>,
    own: Vec<u8>,
}

impl Splice {
    /// Forgets everything, keeps the memory.
    pub fn clear(&mut self) {
        self.pieces.clear();
        self.own.clear();
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Forwards a stretch of the input.
    pub fn forward(&mut self, range: Range<usize>) {
        if range.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Input(last)) if last.end == range.start => last.end = range.end,
            _ => self.pieces.push(Piece::Input(range)),
        }
    }

    /// Appends what `fill` writes.
    pub fn put(&mut self, fill: impl FnOnce(&mut Vec<u8>)) {
        let start = self.own.len();
        fill(&mut self.own);
        let range = start..self.own.len();
        if range.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Own(last)) => last.end = range.end,
            _ => self.pieces.push(Piece::Own(range)),
        }
    }

    /// How many bytes of it are not of the input.
    pub fn added(&self) -> usize {
        self.own.len()
    }

    /// The stretches to write; `input` is the slice the ranges were taken from.
    pub fn slices<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + Clone {
        self.pieces.iter().map(move |piece| match piece {
            Piece::Input(range) => &input[range.clone()],
            Piece::Own(range) => &self.own[range.clone()],
        })
    }

    /// Everything in one piece.
    pub fn to_vec(&self, input: &[u8]) -> Vec<u8> {
        self.slices(input).flatten().copied().collect()
    }
}
