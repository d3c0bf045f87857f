//! Bytes as a hostile peer sends them, for property tests and fuzz targets alike.
//!
//! In: any bytes. Out: what is said with them, and in what pieces it arrives; and the same told
//! again in other pieces, which must not matter ([`in_any_pieces`], [`in_any_turns`]).
//!
//! The inputs, of which `fuzz/seeds` keeps those worth keeping, are these:
//!
//! | part          | is                                                                         |
//! |---------------|----------------------------------------------------------------------------|
//! | 1 byte        | the number of the next, modulo 8                                           |
//! | so many bytes | sizes of the pieces in turn; 0 is 256. None: everything is in one piece    |
//! | the rest      | the bytes; or of two parties lines: 2 bytes, and as many as they say in their 15 lower bits. The highest tells who speaks |

use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// The pieces in which something arrives.
pub type Pieces<'b> = Vec<&'b [u8]>;

/// What one of two parties says in its turn, and whether it is the one that asks: the client, or the
/// driver. A tuple, so that it can be taken where there is no lab.
pub type Line<'b> = (bool, Pieces<'b>);

/// Runs what is said with `input` several times, cut in other pieces each time.
///
/// # Panics
/// If `run` does, or does not come to the same each time.
pub fn in_any_pieces<T: PartialEq + Debug>(input: &[u8], run: impl Fn(&[&[u8]]) -> T) {
    let (sizes, said) = sizes(input);
    let whole = run(&[said]);
    for sizes in [sizes, &[1], &[3, 7, 1]] {
        let cut = run(&pieces(said, sizes));
        assert!(cut == whole, "in pieces of {sizes:?}:\n{cut:?}\nin one:\n{whole:?}");
    }
}

/// The same of what two parties say to each other, line by line.
///
/// # Panics
/// If `run` does, or does not come to the same each time.
pub fn in_any_turns<T: PartialEq + Debug>(input: &[u8], run: impl Fn(&[Line<'_>]) -> T) {
    let (sizes, said) = sizes(input);
    let whole = run(&lines(said, &[]));
    for sizes in [sizes, &[1], &[3, 7, 1]] {
        let cut = run(&lines(said, sizes));
        assert!(cut == whole, "in pieces of {sizes:?}:\n{cut:?}\nin one each:\n{whole:?}");
    }
}

/// What each of two parties says, line by line: the one that asks, and the other.
pub fn said_by_each(input: &[u8]) -> [Pieces<'_>; 2] {
    let (_, said) = sizes(input);
    let mut each = [Vec::new(), Vec::new()];
    for (asks, pieces) in lines(said, &[]) {
        each[usize::from(!asks)].push(pieces.first().copied().unwrap_or_default());
    }
    each
}

/// The input that says these lines, `true` with those of the party that asks.
///
/// # Panics
/// If a line is longer than 32,767 bytes.
pub fn input_of_lines<'b>(lines: impl IntoIterator<Item = (bool, &'b [u8])>) -> Vec<u8> {
    let mut input = vec![0];
    for (asks, line) in lines {
        let length = u16::try_from(line.len()).ok().filter(|length| *length < SPEAKER);
        let length = length.expect("a line of an input is below 32 KiB");
        let head = if asks { length | SPEAKER } else { length };
        input.extend_from_slice(&head.to_be_bytes());
        input.extend_from_slice(line);
    }
    input
}

/// The input that says these bytes.
pub fn input_of(said: &[u8]) -> Vec<u8> {
    [&[0], said].concat()
}

const SPEAKER: u16 = 1 << 15;

fn sizes(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((count, rest)) = input.split_first() else { return (&[], &[]) };
    rest.split_at_checked(usize::from(count % 8)).unwrap_or((&[], rest))
}

fn pieces<'b>(mut said: &'b [u8], sizes: &[u8]) -> Pieces<'b> {
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while !said.is_empty() {
        let size = match sizes.next() {
            Some(0) => 256,
            Some(size) => usize::from(*size),
            None => said.len(),
        };
        let (piece, rest) = said.split_at(size.min(said.len()));
        pieces.push(piece);
        said = rest;
    }
    pieces
}

fn lines<'b>(mut said: &'b [u8], sizes: &[u8]) -> Vec<Line<'b>> {
    let mut lines = Vec::new();
    while let Some((head, rest)) = said.split_first_chunk::<2>() {
        let head = u16::from_be_bytes(*head);
        let length = usize::from(head & !SPEAKER).min(rest.len());
        let (line, rest) = rest.split_at(length);
        lines.push((head & SPEAKER != 0, pieces(line, sizes)));
        said = rest;
    }
    lines
}

/// A change that somebody makes to bytes on their way: a kind, two numbers that say where, and a
/// byte. As a tuple, so that a property test makes it up and makes it simpler.
pub type Edit = (u8, u16, u16, u8);

/// `bytes` after these changes, one after the other.
pub fn edited(bytes: &[u8], edits: &[Edit]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (kind, at, other, byte) in edits {
        if bytes.is_empty() {
            bytes.push(*byte);
        }
        let at = usize::from(*at) % bytes.len();
        let end = (at + 1 + usize::from(*other) % 64).min(bytes.len());
        match kind % 7 {
            0 => bytes[at] = *byte,
            1 => bytes[at] ^= 1 << (byte % 8),
            2 => bytes.insert(at, *byte),
            3 => drop(bytes.drain(at..end)),
            4 => bytes.truncate(at),
            5 => bytes.extend_from_within(at..end),
            // Lengths are what lies go best with.
            _ => {
                let length = [0, 3, 4, 5, 64, 0x7fff_ffff, 0xffff_ffff, u32::from(*other)];
                let length = length[usize::from(byte % 8)].to_be_bytes();
                let here = (bytes.len() - at).min(4);
                bytes[at..at + here].copy_from_slice(&length[..here]);
            }
        }
    }
    bytes
}

/// Runs each input that `fuzz/seeds` keeps for a target, naming the one that fails.
///
/// # Panics
/// If `run` does, or there is none.
pub fn each_seed(target: &str, run: impl Fn(&[u8])) {
    let folder = seeds(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("the folder is read to its end").path())
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no seeds in {}", folder.display());
    for file in files {
        let name = file.display();
        let input = std::fs::read(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
        let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(&input)));
        assert!(failed.is_ok(), "{name} fails");
    }
}

/// Writes seeds of a target, where `PGHERD_WRITE_SEEDS` is set.
///
/// # Panics
/// If that cannot be done.
pub fn write_seeds<'n>(target: &str, seeds: impl IntoIterator<Item = (&'n str, Vec<u8>)>) {
    if std::env::var_os("PGHERD_WRITE_SEEDS").is_none() {
        return;
    }
    let folder = self::seeds(target);
    std::fs::create_dir_all(&folder).expect("the folder of seeds can be made");
    for (name, input) in seeds {
        std::fs::write(folder.join(name), input).expect("a seed can be written");
    }
}

fn seeds(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_says_its_bytes_in_pieces_of_the_sizes_that_it_names() {
        let (sizes, said) = sizes(b"\x02\x01\x03abcdefgh");
        assert_eq!(pieces(said, sizes), [&b"a"[..], b"bcd", b"e", b"fgh"]);
        assert_eq!(super::sizes(b"\x07ab"), (&b""[..], &b"ab"[..]));
        assert_eq!(super::sizes(b""), (&b""[..], &b""[..]));
        assert_eq!(pieces(b"", &[]), Pieces::new());
    }

    #[test]
    fn an_input_made_of_lines_says_them() {
        let input = input_of_lines([(true, &b"select"[..]), (false, b"1")]);
        let (none, said) = sizes(&input);
        assert_eq!(lines(said, none), [(true, vec![&b"select"[..]]), (false, vec![b"1"])]);
        // Cut short, the last one is shorter.
        assert_eq!(lines(&said[..5], &[2]), [(true, vec![&b"se"[..], b"l"])]);
    }

    #[test]
    #[should_panic(expected = "in pieces of [1]")]
    fn a_result_that_depends_on_the_pieces_is_found() {
        in_any_pieces(&input_of(b"abc"), |pieces| pieces.len());
    }
}
