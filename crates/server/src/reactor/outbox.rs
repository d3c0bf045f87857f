//! Bytes that a socket has not taken yet.

use std::io::{self, IoSlice, Write};

/// Slices handed to one vectored write at most.
const SLICES: usize = 32;

/// Up to this much is copied into one piece rather than handed over in several: 1 KiB, which is
/// copied in less time than the system takes to look at each piece.
const TOGETHER: usize = 1024;

/// Capacity an idle outbox keeps: 4 KiB.
const KEPT: usize = 4096;

/// Written through to the socket where it takes them, else kept in order.
///
/// Bounded by whoever fills it: while something is kept, nothing more is read from the other
/// side.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    kept: Vec<u8>,
    written: usize,
}

impl Outbox {
    /// Whether the socket has taken everything.
    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Bytes that are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Writes the slices in order, keeping what the socket does not take.
    pub(super) fn write<'a>(
        &mut self,
        stream: &mut impl Write,
        slices: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        // An empty write would look like a socket that takes nothing.
        let mut slices = slices.filter(|slice| !slice.is_empty());
        while self.kept.is_empty() {
            let Some(first) = slices.next() else { return Ok(()) };
            let Some(second) = slices.next() else {
                // Nearly always there is no more than one.
                let written = write_once(|| stream.write(first))?;
                self.kept.extend_from_slice(&first[written..]);
                return Ok(());
            };
            let mut batch = [IoSlice::new(&[]); SLICES];
            (batch[0], batch[1]) = (IoSlice::new(first), IoSlice::new(second));
            let mut filled = 2;
            while filled < SLICES
                && let Some(slice) = slices.next()
            {
                batch[filled] = IoSlice::new(slice);
                filled += 1;
            }
            let batch = &batch[..filled];
            let mut skip = write_several(stream, batch)?;
            for slice in batch {
                let taken = skip.min(slice.len());
                skip -= taken;
                self.kept.extend_from_slice(&slice[taken..]);
            }
        }
        slices.for_each(|slice| self.kept.extend_from_slice(slice));
        Ok(())
    }

    /// Writes what was kept, here or by the stream itself.
    pub(super) fn flush(&mut self, stream: &mut impl Write) -> io::Result<()> {
        while self.written < self.kept.len() {
            let rest = &self.kept[self.written..];
            match write_once(|| stream.write(rest))? {
                0 => return Ok(()),
                n => self.written += n,
            }
        }
        self.written = 0;
        self.kept.clear();
        if self.kept.capacity() > KEPT {
            self.kept = Vec::new();
        }
        match stream.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

fn write_several(stream: &mut impl Write, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let length = slices.iter().map(|slice| slice.len()).sum();
    if length > TOGETHER {
        return write_once(|| stream.write_vectored(slices));
    }
    let mut together = [0; TOGETHER];
    let mut at = 0;
    for slice in slices {
        together[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
    }
    write_once(|| stream.write(&together[..length]))
}

/// The number of bytes written; 0 when the socket takes none now.
fn write_once(mut write: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match write() {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => return Ok(n),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes a given number of bytes, then none.
    struct Narrow {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Narrow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room);
            if n == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn whatever_the_socket_takes_the_order_is_kept() {
        let slices: Vec<Vec<u8>> = (0..100u8).map(|at| vec![at; usize::from(at % 5)]).collect();
        let all = slices.concat();
        for room in 0..=all.len() {
            let mut outbox = Outbox::default();
            let mut socket = Narrow { room, taken: Vec::new() };
            outbox.write(&mut socket, slices.iter().map(Vec::as_slice)).unwrap();
            assert_eq!(outbox.kept.len() + socket.taken.len(), all.len());
            socket.room += 7;
            outbox.flush(&mut socket).unwrap();
            outbox.write(&mut socket, [&b"end"[..]].into_iter()).unwrap();
            socket.room = 1000;
            outbox.flush(&mut socket).unwrap();
            assert!(outbox.is_empty());
            assert_eq!(socket.taken, [&all[..], b"end"].concat());
        }
    }
}
