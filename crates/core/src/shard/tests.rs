use proptest::prelude::*;

use super::*;

fn uuid(text: &str) -> Key {
    Key::Uuid(text.parse().unwrap())
}

/// Computed by Python: `int(hashlib.md5(str(key).encode()).hexdigest(), 16) % n`.
#[test]
fn md5_puts_keys_where_python_puts_them() {
    let shards_of_2_3_4_7 = [
        (Key::from(0), [0, 1, 2, 0]),
        (Key::from(1), [1, 1, 3, 2]),
        (Key::from(42), [0, 1, 2, 0]),
        (Key::from(123), [0, 2, 0, 4]),
        (Key::from(-7), [1, 1, 1, 0]),
        (Key::from(9_223_372_036_854_775_807_i64), [1, 0, 3, 0]),
        (Key::from("alice"), [0, 1, 0, 1]),
        (Key::from("żółw"), [1, 0, 1, 2]),
        (Key::from(""), [0, 0, 2, 1]),
        (uuid("00000000-0000-0000-0000-000000000001"), [1, 1, 3, 0]),
    ];
    for (key, expected) in shards_of_2_3_4_7 {
        let shards = [2, 3, 4, 7].map(|shards| {
            let map = ShardMap::even(0, shards).unwrap();
            Sharding { function: ShardFunction::Md5, map }.shard_of(&key).0
        });
        assert_eq!(shards, expected, "{} {key:?}", key.key_type());
    }
}

/// Answered by PostgreSQL 15.18: `hashint4extended(key, 8816678312871386365)` and so on; those
/// of bytea by 18.6.
#[test]
fn postgres_hashes_as_the_server_does() {
    let hashes: &[(Key, i64)] = &[
        (Key::from(0), -4_403_592_609_991_167_795),
        (Key::from(1), 5_968_994_663_651_403_477),
        (Key::from(42), 7_363_975_540_656_877_951),
        (Key::from(-7), -7_298_374_200_968_567_817),
        (Key::from(i32::MAX), -6_050_265_599_104_649_060),
        (Key::from(i32::MIN), 4_938_542_303_000_433_043),
        (Key::from(0_i64), -4_403_592_609_991_167_795),
        (Key::from(1_i64), 5_968_994_663_651_403_477),
        (Key::from(-7_i64), -7_298_374_200_968_567_817),
        (Key::from(i64::MAX), 4_938_542_303_000_433_043),
        (Key::from(i64::MIN), -6_050_265_599_104_649_060),
        (Key::from(1_i64 << 32), 5_968_994_663_651_403_477),
        (Key::from(""), -5_700_645_584_453_517_373),
        (Key::from("alice"), 1_629_593_895_061_437_170),
        (Key::from("żółw"), -3_567_900_027_931_110_888),
        (Key::from("twelve bytes"), 1_551_002_018_851_372_083),
        (Key::from("0123456789abc"), 9_136_706_884_384_298_968),
        (Key::from("the quick brown fox jumps over the lazy dog"), -760_430_510_495_933_589),
        (uuid("00000000-0000-0000-0000-000000000001"), 5_260_903_147_514_422_602),
        (uuid("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"), 424_513_190_990_560_493),
        (Key::from(Vec::new()), -5_700_645_584_453_517_373),
        (Key::from(vec![0]), -8_583_321_429_529_518_889),
        (Key::from(vec![0xde, 0xad, 0xbe, 0xef]), -887_469_618_524_615_072),
    ];
    for (key, hash) in hashes {
        let found = postgres::hash_extended(key, postgres::PARTITION_SEED).cast_signed();
        assert_eq!(found, *hash, "{} {key:?}", key.key_type());
    }
    // Without a seed the first block is left out.
    assert_eq!(postgres::hash_extended(&Key::from(42), 0), 8_010_225_493_015_854_792);
    let unseeded = postgres::hash_extended(&Key::from("alice"), 0).cast_signed();
    assert_eq!(unseeded, -6_283_343_261_252_860_035);
}

/// Answered by PostgreSQL 15.18: `satisfies_hash_partition(table, 7, remainder, key)`.
#[test]
fn postgres_finds_the_partition_that_the_server_finds() {
    for (key, partition) in [(0_i64, 4), (1, 5), (42, 0), (-7, 3)] {
        assert_eq!(ShardFunction::Postgres.bucket(&Key::from(key), 7), partition, "{key}");
    }
}

#[test]
fn keys_have_the_text_that_postgresql_prints() {
    for (key, text) in [
        (Key::from(-7), "-7"),
        (Key::from(i64::MIN), "-9223372036854775808"),
        (Key::from("  as it is "), "  as it is "),
        (uuid("{A0EEBC99-9c0b4ef8-bb6d6bb9-bd380A11}"), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        (Key::from(&b"\x00\xde\xad"[..]), "\\x00dead"),
        (Key::from(Vec::new()), "\\x"),
    ] {
        assert_eq!(key.text(), text);
    }
}

#[test]
fn keys_are_read_as_the_type_of_their_column() {
    for (key_type, text, key) in [
        (KeyType::Int4, "007", Key::from(7)),
        (KeyType::Int4, " -7 ", Key::from(-7)),
        (KeyType::Int8, "+9223372036854775807", Key::from(i64::MAX)),
        (KeyType::Text, " 007", Key::from(" 007")),
        (KeyType::Text, "", Key::from("")),
        (KeyType::Bytea, "\\xDEad", Key::from(vec![0xde, 0xad])),
        (KeyType::Bytea, "ż\\\\\\377", Key::from(vec![0xc5, 0xbc, b'\\', 0xff])),
        (KeyType::Bytea, "", Key::from(Vec::new())),
    ] {
        assert_eq!(Key::parse(key_type, text), Ok(key), "{key_type} {text:?}");
    }
    for (key_type, text) in [
        (KeyType::Int4, ""),
        (KeyType::Int4, "2147483648"),
        (KeyType::Int4, "1.0"),
        (KeyType::Int8, "9223372036854775808"),
        (KeyType::Int8, "alice"),
        (KeyType::Uuid, "1"),
        (KeyType::Bytea, "\\xabc"),
        (KeyType::Bytea, "\\xzz"),
        (KeyType::Bytea, "\\400"),
        (KeyType::Bytea, "\\"),
    ] {
        assert!(Key::parse(key_type, text).is_err(), "{key_type} {text:?} was read");
    }
    let error = Key::parse(KeyType::Int4, "alice").unwrap_err().to_string();
    assert!(error.starts_with("key `alice` is not an int4"), "{error}");
}

#[test]
fn a_uuid_is_read_as_postgresql_reads_it() {
    let whole = "a0eebc999c0b4ef8bb6d6bb9bd380a11";
    assert!(whole.parse::<Uuid>().is_ok());
    for bad in [
        "",
        "{}",
        "a0eebc999c0b4ef8bb6d6bb9bd380a1",
        "a0eebc999c0b4ef8bb6d6bb9bd380a110",
        "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
        "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
        "g0eebc999c0b4ef8bb6d6bb9bd380a11",
        "żółwżółw",
    ] {
        assert!(bad.parse::<Uuid>().is_err(), "{bad:?} was read");
    }
}

#[test]
fn more_buckets_than_shards_leave_keys_where_they_are_if_they_divide_evenly() {
    let few = ShardMap::even(0, 3).unwrap();
    let many = ShardMap::even(3 * 64, 3).unwrap();
    for number in 0..1_000 {
        for function in [ShardFunction::Md5, ShardFunction::Postgres] {
            let key = Key::from(number);
            let of = |map: &ShardMap| map.shard(function.bucket(&key, map.buckets()));
            assert_eq!(of(&few), of(&many), "{function} {number}");
        }
    }
}

#[test]
fn what_is_no_shard_map_is_refused() {
    assert_eq!(ShardMap::even(0, 0), Err(BadShardMap::NoShards));
    assert_eq!(ShardMap::even(2, 3), Err(BadShardMap::TooFewBuckets { buckets: 2, shards: 3 }));
    assert!(matches!(ShardMap::even(u32::MAX, 3), Err(BadShardMap::TooManyBuckets { .. })));
    assert_eq!(ShardMap::new(Vec::new()), Err(BadShardMap::NoShards));
    assert_eq!(ShardMap::even(0, 2).unwrap().get(2), None);
}

fn any_key() -> impl Strategy<Value = Key> {
    prop_oneof![
        any::<i32>().prop_map(Key::from),
        any::<i64>().prop_map(Key::from),
        ".*".prop_map(Key::from),
        any::<[u8; 16]>().prop_map(|bytes| Key::from(Uuid(bytes))),
        any::<Vec<u8>>().prop_map(Key::from),
    ]
}

proptest! {
    #[test]
    fn every_key_has_a_bucket_and_always_the_same(key in any_key(), buckets in 1..=u32::MAX) {
        for function in [ShardFunction::Md5, ShardFunction::Postgres] {
            let bucket = function.bucket(&key, buckets);
            prop_assert!(bucket < buckets);
            prop_assert_eq!(bucket, function.bucket(&key.clone(), buckets));
        }
    }

    #[test]
    fn equal_numbers_of_either_width_live_together(number in any::<i32>(), buckets in 1..9999u32) {
        let (narrow, wide) = (Key::from(number), Key::from(i64::from(number)));
        for function in [ShardFunction::Md5, ShardFunction::Postgres] {
            prop_assert_eq!(function.bucket(&narrow, buckets), function.bucket(&wide, buckets));
        }
    }

    #[test]
    fn a_printed_key_reads_back(key in any_key()) {
        prop_assert_eq!(Key::parse(key.key_type(), &key.text()), Ok(key));
    }

    #[test]
    fn reading_a_key_never_panics(text in ".*", escapes in "[\\\\x0-9a-f-]*") {
        for key_type in KeyType::ALL {
            let _ = (Key::parse(key_type, &text), Key::parse(key_type, &escapes));
        }
    }

    #[test]
    fn a_printed_uuid_reads_back(bytes in any::<[u8; 16]>(), text in ".*") {
        prop_assert_eq!(Uuid(bytes).to_string().parse(), Ok(Uuid(bytes)));
        let _ = text.parse::<Uuid>();
    }
}

#[test]
fn keys_spread_evenly() {
    for function in [ShardFunction::Md5, ShardFunction::Postgres] {
        let mut counts = [0u32; 7];
        for number in 0..70_000 {
            counts[function.bucket(&Key::from(number), 7) as usize] += 1;
        }
        for count in counts {
            assert!((9_500..10_500).contains(&count), "{function}: {counts:?}");
        }
    }
}
