//! Buckets of times: three to a decade, so that limits people agree on, such as 100 ms, are among
//! their bounds.

/// The upper bounds of the buckets in nanoseconds, and how Prometheus is told them, in seconds. One more
/// bucket takes what is longer.
const BOUNDS: [(u64, &str); 21] = [
    (20_000, "2e-05"),
    (50_000, "5e-05"),
    (100_000, "0.0001"),
    (200_000, "0.0002"),
    (500_000, "0.0005"),
    (1_000_000, "0.001"),
    (2_000_000, "0.002"),
    (5_000_000, "0.005"),
    (10_000_000, "0.01"),
    (20_000_000, "0.02"),
    (50_000_000, "0.05"),
    (100_000_000, "0.1"),
    (200_000_000, "0.2"),
    (500_000_000, "0.5"),
    (1_000_000_000, "1.0"),
    (2_000_000_000, "2.0"),
    (5_000_000_000, "5.0"),
    (10_000_000_000, "10.0"),
    (20_000_000_000, "20.0"),
    (50_000_000_000, "50.0"),
    (100_000_000_000, "100.0"),
];

/// How many buckets there are, the one for what is longer than any bound included.
pub const BUCKETS: usize = BOUNDS.len() + 1;

/// The upper bound of each bucket in seconds, as Prometheus is told.
pub const BUCKET_TEXTS: [&str; BUCKETS] = {
    let mut texts = ["+Inf"; BUCKETS];
    let mut at = 0;
    while at < BOUNDS.len() {
        texts[at] = BOUNDS[at].1;
        at += 1;
    }
    texts
};

/// For each number of bits, the bucket of the smallest number that has it. No two bounds have the same
/// number of bits, so whatever has it is in this bucket or in the next.
const FIRST: [u8; 65] = {
    let mut first = [0; 65];
    let mut bits = 1;
    while bits <= 64 {
        let smallest = 1u64 << (bits - 1);
        let mut at = 0;
        while at < BOUNDS.len() && BOUNDS[at].0 < smallest {
            at += 1;
        }
        first[bits] = at as u8;
        bits += 1;
    }
    first
};

const ENDS: [u64; BUCKETS] = {
    let mut ends = [u64::MAX; BUCKETS];
    let mut at = 0;
    while at < BOUNDS.len() {
        ends[at] = BOUNDS[at].0;
        at += 1;
    }
    ends
};

/// Which bucket a time is in: the first whose bound it does not exceed. Costs two look-ups.
///
/// ```
/// use pgherd_core::metrics::{BUCKET_TEXTS, bucket_of};
///
/// assert_eq!(BUCKET_TEXTS[bucket_of(5_000_000)], "0.005");
/// assert_eq!(BUCKET_TEXTS[bucket_of(5_000_001)], "0.01");
/// ```
#[inline]
pub fn bucket_of(nanos: u64) -> usize {
    let first = usize::from(FIRST[(64 - nanos.leading_zeros()) as usize]);
    first + usize::from(nanos > ENDS[first])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn searched(nanos: u64) -> usize {
        BOUNDS.iter().position(|(bound, _)| nanos <= *bound).unwrap_or(BOUNDS.len())
    }

    #[test]
    fn a_bound_belongs_to_its_bucket_and_is_written_in_seconds() {
        for (at, (bound, text)) in BOUNDS.into_iter().enumerate() {
            assert_eq!((bucket_of(bound), bucket_of(bound + 1)), (at, at + 1));
            assert_eq!(text.parse::<f64>().unwrap(), bound as f64 / 1e9);
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BOUNDS.len()));
    }

    proptest! {
        #[test]
        fn a_time_is_in_the_first_bucket_that_holds_it(bits in 0u32..64, rest: u64) {
            let nanos = rest >> bits;
            prop_assert_eq!(bucket_of(nanos), searched(nanos));
        }
    }
}
