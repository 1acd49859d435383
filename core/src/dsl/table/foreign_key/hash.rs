//! The hash of a value that travels with a subscription: Murmur3 in its 128-bit form for x64.
//!
//! Kafka Streams writes it into both topics of the join, so it is a part of the format
//! (`org.apache.kafka.streams.state.internals.Murmur3` with its default seed).

/// 128 bits as the two halves that are written one after the other.
pub(super) type Hash = [u64; 2];

const SEED: u64 = 104_729;
const C1: u64 = 0x87c3_7b91_1142_53d5;
const C2: u64 = 0x4cf5_ad43_2745_937f;

pub(super) fn hash128(data: &[u8]) -> Hash {
    seeded(data, SEED)
}

fn seeded(data: &[u8], seed: u64) -> Hash {
    let (mut h1, mut h2) = (seed, seed);
    let (blocks, rest) = data.as_chunks::<16>();
    for block in blocks {
        let (k1, k2) = halves(block);
        h1 ^= mixed_low(k1);
        h1 = h1.rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 ^= mixed_high(k2);
        h2 = h2.rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    // bytes that are not there count as zeros, which change nothing
    let mut last = [0; 16];
    last[..rest.len()].copy_from_slice(rest);
    let (k1, k2) = halves(&last);
    h2 ^= mixed_high(k2);
    h1 ^= mixed_low(k1);
    // Java's lengths are 32 bits wide, and no record is longer
    let length = data.len() as u64;
    h1 ^= length;
    h2 ^= length;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    h1 = finished(h1);
    h2 = finished(h2);
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    [h1, h2]
}

fn halves(block: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*block);
    // the lower 64 bits, then the upper ones
    (both as u64, (both >> 64) as u64)
}

fn mixed_low(k1: u64) -> u64 {
    k1.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2)
}

fn mixed_high(k2: u64) -> u64 {
    k2.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1)
}

fn finished(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected numbers are those of Kafka's Murmur3Test, with the seed that it uses.
    #[test]
    fn the_hash_is_that_of_kafka_streams() {
        let known: [(&str, [i64; 2]); 6] = [
            ("21", [5_857_341_059_704_281_894, -5_288_187_638_297_930_763]),
            ("abc", [1_489_494_923_063_836_066, -5_440_978_547_625_122_829]),
            ("foobar", [-351_361_463_397_418_609, 8_959_716_011_862_540_668]),
            ("a-little-bit-long-string", [8_836_256_500_583_638_442, -198_172_363_548_498_523]),
            ("a-little-bit-longer-string", [1_838_346_159_335_108_511, 8_794_688_210_320_490_705]),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                [-4_024_021_876_037_397_259, -1_482_317_706_335_141_238],
            ),
        ];
        for (text, expected) in known {
            assert_eq!(seeded(text.as_bytes(), 123).map(u64::cast_signed), expected, "{text}");
        }
    }

    /// As a subscription of Kafka Streams 4.3.1 carries it.
    #[test]
    fn the_seed_is_that_of_kafka_streams() {
        assert_eq!(hash128(b"r1"), [0xd1f7_b4ea_cf5a_235e, 0x80f9_e790_4f59_aac2]);
    }

    #[test]
    fn every_byte_counts() {
        for length in 1..40_usize {
            let data: Vec<u8> = (0..length).map(|i| i.to_le_bytes()[0]).collect();
            for at in 0..length {
                let mut other = data.clone();
                other[at] ^= 0x80;
                assert_ne!(hash128(&data), hash128(&other), "byte {at} of {length}");
            }
            assert_ne!(hash128(&data), hash128(&data[1..]), "{length} bytes");
        }
    }
}
