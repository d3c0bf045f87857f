//! The `postgres` sharding function: what `PARTITION BY HASH` computes for a single column
//! with the default operator class.
//!
//! The type's extended hash with PostgreSQL's partition seed, combined with zero as
//! `hash_combine64` does, as an unsigned 64-bit integer modulo buckets. So
//! `satisfies_hash_partition(table, buckets, bucket, key)` holds for the bucket given here.
//!
//! Text is hashed by its bytes: databases in UTF-8, deterministic collations.

use super::Key;

/// `HASH_PARTITION_SEED`: what PostgreSQL seeds the extended hash functions with.
pub const PARTITION_SEED: u64 = 8_816_678_312_871_386_365;

/// What `hash_combine64(0, hash)` adds to a hash: 0x49a0f4dd15e5a8e3.
pub const COMBINE: u64 = 5_305_509_591_434_766_563;

/// The bucket of a key, from 0 to `buckets - 1`.
///
/// # Panics
/// If `buckets` is 0.
pub fn bucket(key: &Key, buckets: u32) -> u32 {
    let hash = hash_extended(key, PARTITION_SEED).wrapping_add(COMBINE);
    u32::try_from(hash % u64::from(buckets)).expect("a remainder is smaller than its divisor")
}

/// The type's extended hash function: `hashint4extended`, `hashint8extended`,
/// `hashtextextended`, `uuid_hash_extended`, `hashvarlenaextended`.
pub fn hash_extended(key: &Key, seed: u64) -> u64 {
    match key {
        Key::Int4(number) => hash_u32(number.cast_unsigned(), seed),
        Key::Int8(number) => {
            // Folded so that equal numbers of either width hash alike.
            let bits = number.cast_unsigned();
            let (high, low) = ((bits >> 32) as u32, bits as u32);
            hash_u32(low ^ if *number >= 0 { high } else { !high }, seed)
        }
        Key::Text(text) => hash_bytes(text.as_bytes(), seed),
        Key::Uuid(uuid) => hash_bytes(&uuid.0, seed),
        Key::Bytea(bytes) => hash_bytes(bytes, seed),
    }
}

/// The state of Bob Jenkins' lookup3 (2006, public domain): three words, stirred.
struct State {
    a: u32,
    b: u32,
    c: u32,
}

impl State {
    /// For an input of `length` bytes. A seed is stirred in as a first block, unless it is 0.
    fn new(length: u32, seed: u64) -> Self {
        // lookup3 starts from 0xdeadbeef + length; PostgreSQL adds a constant of its own.
        let start = 0x9e37_79b9_u32.wrapping_add(length).wrapping_add(3_923_095);
        let mut state = Self { a: start, b: start, c: start };
        if seed != 0 {
            state.a = state.a.wrapping_add((seed >> 32) as u32);
            state.b = state.b.wrapping_add(seed as u32);
            state.mix();
        }
        state
    }

    /// Adds three words, little-endian.
    fn add(&mut self, block: [u32; 3]) {
        self.a = self.a.wrapping_add(block[0]);
        self.b = self.b.wrapping_add(block[1]);
        self.c = self.c.wrapping_add(block[2]);
    }

    /// lookup3's `mix`: between blocks.
    fn mix(&mut self) {
        let Self { a, b, c } = self;
        stir(a, b, c, 4);
        stir(b, c, a, 6);
        stir(c, a, b, 8);
        stir(a, b, c, 16);
        stir(b, c, a, 19);
        stir(c, a, b, 4);
    }

    /// lookup3's `final`: after the last block.
    fn finish(mut self) -> u64 {
        let Self { a, b, c } = &mut self;
        settle(c, *b, 14);
        settle(a, *c, 11);
        settle(b, *a, 25);
        settle(c, *b, 16);
        settle(a, *c, 4);
        settle(b, *a, 14);
        settle(c, *b, 24);
        u64::from(self.b) << 32 | u64::from(self.c)
    }
}

fn stir(x: &mut u32, y: &u32, z: &mut u32, turn: u32) {
    *x = x.wrapping_sub(*z) ^ z.rotate_left(turn);
    *z = z.wrapping_add(*y);
}

fn settle(x: &mut u32, y: u32, turn: u32) {
    *x = (*x ^ y).wrapping_sub(y.rotate_left(turn));
}

fn hash_bytes(bytes: &[u8], seed: u64) -> u64 {
    // PostgreSQL's lengths are 32 bits wide too.
    let mut state = State::new(bytes.len() as u32, seed);
    let mut blocks = bytes.chunks_exact(12);
    for block in &mut blocks {
        state.add([word(&block[0..4]), word(&block[4..8]), word(&block[8..12])]);
        state.mix();
    }
    let rest = blocks.remainder();
    let part = |from: usize, to: usize| word(&rest[from.min(rest.len())..to.min(rest.len())]);
    // The lowest byte of the last word belongs to the length, so the rest moves up by one.
    state.add([part(0, 4), part(4, 8), part(8, 11) << 8]);
    state.finish()
}

fn hash_u32(number: u32, seed: u64) -> u64 {
    let mut state = State::new(4, seed);
    state.add([number, 0, 0]);
    state.finish()
}

/// Up to four bytes as a little-endian word.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte))
}
