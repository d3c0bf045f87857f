//! The `postgres` sharding function against a real server: 10,000 random keys of each type land
//! in the partition where `satisfies_hash_partition` says they belong.

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};

use pgherd_core::Key;
use pgherd_core::shard::{ShardFunction, Uuid};
use pgherd_lab::{Cluster, ClusterSpec};

const KEYS: usize = 10_000;
const MODULI: [u32; 4] = [2, 3, 7, 1024];

/// SplitMix64: small, and the same everywhere for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Mostly short, sometimes over several blocks of the hash.
    fn length(&mut self) -> usize {
        (self.next() % if self.next().is_multiple_of(8) { 200 } else { 26 }) as usize
    }

    fn text(&mut self) -> String {
        let length = self.length();
        (0..length)
            .map(|_| ['a', 'Z', ' ', '\'', '\\', 'ż', '象', '🐘'][self.next() as usize % 8])
            .collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = self.length();
        (0..length).map(|_| self.next() as u8).collect()
    }

    /// A number of any magnitude and sign.
    fn number(&mut self) -> u64 {
        let shift = self.next() % 64;
        let number = self.next() >> shift;
        if self.next().is_multiple_of(2) { number } else { number.wrapping_neg() }
    }
}

/// The key as SQL of its type; texts in hex, so that no client quotes or expands them.
fn literal(key: &Key) -> String {
    match key {
        Key::Text(text) => {
            let bytes = Key::from(text.as_bytes());
            format!("convert_from('{bytes}', 'UTF8')")
        }
        key => format!("'{key}'::{}", key.key_type()),
    }
}

#[test]
fn keys_live_where_the_server_says() {
    let cluster = Cluster::start(&ClusterSpec::default()).expect("PostgreSQL can be started");
    let ask = |sql: &str| cluster.coordinator().psql(sql).expect("the server takes it");
    let seed = match std::env::var("PGHERD_SEED") {
        Ok(seed) => seed.parse().expect("PGHERD_SEED is a number"),
        Err(_) => RandomState::new().hash_one(0),
    };
    let mut random = Random(seed);
    type Make = fn(&mut Random) -> Key;
    let types: [(&str, Make); 5] = [
        ("int4", |random| Key::from(random.number() as i32)),
        ("int8", |random| Key::from(random.number() as i64)),
        ("text", |random| Key::from(random.text())),
        ("uuid", |random| {
            let halves = [random.next(), random.next()].map(u64::to_be_bytes);
            Key::from(Uuid(halves.concat().try_into().expect("twice 8 bytes are 16")))
        }),
        ("bytea", |random| Key::from(random.bytes())),
    ];
    for (name, make) in types {
        ask(&format!("CREATE TABLE of_{name} (k {name}) PARTITION BY HASH (k)"));
        let keys: Vec<Key> = (0..KEYS).map(|_| make(&mut random)).collect();
        // In parts: each statement is an argument of psql, which has a limit of 128 KiB.
        for part in keys.chunks(400) {
            let mut rows = String::new();
            for (index, key) in part.iter().enumerate() {
                let comma = if index == 0 { "" } else { "," };
                let buckets = MODULI.map(|modulus| ShardFunction::Postgres.bucket(key, modulus));
                write!(rows, "{comma}({}, ARRAY{buckets:?})", literal(key)).expect("a String");
            }
            let wrong = ask(&format!(
                "SELECT k, m, b[i] FROM (VALUES {rows}) keys(k, b), \
                 unnest(ARRAY{MODULI:?}) WITH ORDINALITY moduli(m, i) \
                 WHERE NOT satisfies_hash_partition('of_{name}'::regclass, m, b[i], k) LIMIT 5"
            ));
            assert_eq!(wrong.trim(), "", "{name}: key|modulus|bucket, PGHERD_SEED={seed}");
        }
    }
}
