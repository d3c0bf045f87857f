//! Keys of cancel requests that say to which of several processes they belong.
//!
//! In: a process's number, random bytes; or the key that somebody sends. Out: the key that a client
//! is given; or where it belongs, and whether it may travel on.

/// The hops that a request may make: to a peer, and on from one that was taken for another.
const FIRST_TTL: u8 = 3;
const TTL: u8 = 0b11;

/// The first eight bytes of what BackendKeyData carries, in PgBouncer's layout.
///
/// | bytes | bits    | what                                                             |
/// |-------|---------|------------------------------------------------------------------|
/// | 0     | highest | 0: some drivers take the first four bytes for a positive number  |
/// | 1, 2  | all     | the process's number, the lower byte first                       |
/// | 7     | lowest 2| the hops that are left; 3 as it is given out                     |
///
/// The other 45 bits are random. A long key, of protocol 3.2, goes on behind them.
///
/// ```
/// use pgherd_wire::CancelKey;
///
/// let key = CancelKey::new(5, [0xff; 8]);
/// assert_eq!((key.pid(), key.secret()), (0x7f05_00ff, [0xff; 4]));
/// assert_eq!((key.peer(), key.hop().unwrap().secret()), (5, [0xff, 0xff, 0xff, 0xfe]));
/// // However far it has come, it is the key that was given out.
/// assert_eq!(key.hop().unwrap().given(), key);
/// ```
///
/// Source: PgBouncer since 1.21; it has had peers since 1.19.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CancelKey([u8; 8]);

impl CancelKey {
    /// A key of the process with this number.
    pub fn new(peer: u16, random: [u8; 8]) -> Self {
        let [first, _, _, rest @ .., last] = random;
        let [low, high] = peer.to_le_bytes();
        let [a, b, c, d] = rest;
        Self([first & 0x7f, low, high, a, b, c, d, last]).given()
    }

    /// The key in a cancel request; `None` if it is too short.
    pub fn read(pid: u32, secret: &[u8]) -> Option<Self> {
        let [a, b, c, d] = pid.to_be_bytes();
        let [e, f, g, h] = *secret.first_chunk()?;
        Some(Self([a, b, c, d, e, f, g, h]))
    }

    /// Its first half, which has the place of a process id.
    pub fn pid(self) -> u32 {
        let [a, b, c, d, ..] = self.0;
        u32::from_be_bytes([a, b, c, d])
    }

    /// Its second half, which is the secret or the beginning of it.
    pub fn secret(self) -> [u8; 4] {
        let [.., a, b, c, d] = self.0;
        [a, b, c, d]
    }

    /// The number of the process that it belongs to.
    pub fn peer(self) -> u16 {
        u16::from_le_bytes([self.0[1], self.0[2]])
    }

    /// The key as it was given out.
    #[must_use]
    pub fn given(self) -> Self {
        let mut bytes = self.0;
        bytes[7] = bytes[7] & !TTL | FIRST_TTL;
        Self(bytes)
    }

    /// The key as it is sent on; `None` if it has come far enough.
    pub fn hop(self) -> Option<Self> {
        let mut bytes = self.0;
        if bytes[7] & TTL == 0 {
            return None;
        }
        // Only the two bits change: they are not 0.
        bytes[7] -= 1;
        Some(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(key: CancelKey) -> [u8; 8] {
        let ([a, b, c, d], [e, f, g, h]) = (key.pid().to_be_bytes(), key.secret());
        [a, b, c, d, e, f, g, h]
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let vectors = [
            (1, [0; 8], [0, 1, 0, 0, 0, 0, 0, 3]),
            (0x1234, [0xff; 8], [0x7f, 0x34, 0x12, 0xff, 0xff, 0xff, 0xff, 0xff]),
            (16383, [0x80, 9, 9, 1, 2, 3, 4, 0x54], [0, 0xff, 0x3f, 1, 2, 3, 4, 0x57]),
        ];
        for (peer, random, expected) in vectors {
            assert_eq!(bytes(CancelKey::new(peer, random)), expected);
        }
    }

    #[test]
    fn a_request_makes_three_hops() {
        let mut key = CancelKey::new(7, [0x2a; 8]);
        for _ in 0..3 {
            key = key.hop().unwrap();
        }
        assert_eq!(key.hop(), None);
        assert_eq!(key.given(), CancelKey::new(7, [0x2a; 8]));
    }

    proptest! {
        /// Whatever somebody sends is read or refused, and read as what it is.
        #[test]
        fn any_key_is_read_as_it_is(pid: u32, secret in prop::collection::vec(any::<u8>(), 0..300)) {
            let Some(key) = CancelKey::read(pid, &secret) else {
                prop_assert!(secret.len() < 4);
                return Ok(());
            };
            prop_assert_eq!(key.pid(), pid);
            prop_assert_eq!(&key.secret()[..], &secret[..4]);
            let mut hops = 0;
            let mut at = key;
            while let Some(next) = at.hop() {
                prop_assert_eq!((next.peer(), next.given()), (key.peer(), key.given()));
                at = next;
                hops += 1;
            }
            prop_assert_eq!(hops, secret[3] & 3);
        }

        /// All random bits but those of the layout are kept: 45.
        #[test]
        fn a_key_says_whose_it_is_and_keeps_45_random_bits(peer in 1..=16383u16, random: [u8; 8]) {
            let key = CancelKey::new(peer, random);
            prop_assert!(key.pid() >> 31 == 0);
            prop_assert_eq!((key.peer(), key.given()), (peer, key));
            let kept = [0x7f, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfc];
            for (at, mask) in kept.into_iter().enumerate() {
                prop_assert_eq!(bytes(key)[at] & mask, random[at] & mask);
            }
            prop_assert_eq!(kept.iter().map(|mask: &u8| mask.count_ones()).sum::<u32>(), 45);
        }
    }
}
