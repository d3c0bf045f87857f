//! The `md5` sharding function: the default.
//!
//! The key's [text form](super::Key::text) in UTF-8, MD5, the 128-bit digest as a big-endian
//! unsigned integer, modulo buckets.

use md5::{Digest, Md5};

use super::Key;

/// The bucket of a key, from 0 to `buckets - 1`.
///
/// # Panics
/// If `buckets` is 0.
pub fn bucket(key: &Key, buckets: u32) -> u32 {
    let digest: [u8; 16] = Md5::digest(key.text().as_bytes()).into();
    u32::try_from(u128::from_be_bytes(digest) % u128::from(buckets))
        .expect("a remainder is smaller than its divisor")
}
