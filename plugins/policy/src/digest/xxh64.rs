//! XXH64: the checksum of everything that workers share, and the hash by which sessions find their endpoints.
//!
//! Cost: O(bytes), about one multiplication for every four; no table.
//! Source: xxHash's `doc/xxhash_spec.md` 0.1.1, section "XXH64 Algorithm Description".

use core::num::Wrapping;

const PRIME_1: Wrapping<u64> = Wrapping(0x9e37_79b1_85eb_ca87);
const PRIME_2: Wrapping<u64> = Wrapping(0xc2b2_ae3d_27d4_eb4f);
const PRIME_3: Wrapping<u64> = Wrapping(0x1656_67b1_9e37_79f9);
const PRIME_4: Wrapping<u64> = Wrapping(0x85eb_ca77_c2b2_ae63);
const PRIME_5: Wrapping<u64> = Wrapping(0x27d4_eb2f_1656_67c5);

/// Is the XXH64 of `bytes` with this seed; of no bytes it is a hash of the seed.
///
/// For one text and all seeds every answer comes exactly once, as long as the text is shorter than
/// 32 bytes. It keeps no secret: whoever knows the seed can choose texts that collide.
#[must_use]
pub fn xxh64(bytes: &[u8], seed: u64) -> u64 {
    let seed = Wrapping(seed);
    let (stripes, rest) = bytes.as_chunks::<32>();
    let mut hash = if stripes.is_empty() {
        seed + PRIME_5
    } else {
        let mut lanes = [
            seed + PRIME_1 + PRIME_2,
            seed + PRIME_2,
            seed,
            seed - PRIME_1,
        ];
        for stripe in stripes {
            let (words, _) = stripe.as_chunks::<8>();
            for (lane, word) in lanes.iter_mut().zip(words) {
                *lane = round(*lane, Wrapping(u64::from_le_bytes(*word)));
            }
        }
        let [a, b, c, d] = lanes;
        let mixed = rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18);
        lanes.iter().fold(mixed, |hash, lane| {
            (hash ^ round(Wrapping(0), *lane)) * PRIME_1 + PRIME_4
        })
    };
    hash += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let (words, rest) = rest.as_chunks::<8>();
    for word in words {
        let word = Wrapping(u64::from_le_bytes(*word));
        hash = rotate(hash ^ round(Wrapping(0), word), 27) * PRIME_1 + PRIME_4;
    }
    let (halves, rest) = rest.as_chunks::<4>();
    for half in halves {
        let half = Wrapping(u64::from(u32::from_le_bytes(*half)));
        hash = rotate(hash ^ (half * PRIME_1), 23) * PRIME_2 + PRIME_3;
    }
    for byte in rest {
        hash = rotate(hash ^ (Wrapping(u64::from(*byte)) * PRIME_5), 11) * PRIME_1;
    }
    hash = (hash ^ (hash >> 33)) * PRIME_2;
    hash = (hash ^ (hash >> 29)) * PRIME_3;
    (hash ^ (hash >> 32)).0
}

fn round(lane: Wrapping<u64>, word: Wrapping<u64>) -> Wrapping<u64> {
    rotate(lane + word * PRIME_2, 31) * PRIME_1
}

const fn rotate(value: Wrapping<u64>, bits: u32) -> Wrapping<u64> {
    Wrapping(value.0.rotate_left(bits))
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    /// SOURCE: xxHash's sanity checks (`tests/sanity_test_vectors.h`, its generator of the bytes
    /// included): length, seed, sum.
    #[test]
    fn sum_matches_the_published_vectors() {
        const SEED: u64 = 2_654_435_761;
        let mut generator = Wrapping(SEED);
        let bytes: Vec<u8> = (0..222)
            .map(|_| {
                let byte = generator.0.to_be_bytes()[0];
                generator *= 11_400_714_785_074_694_797;
                byte
            })
            .collect();
        let cases = [
            (0, 0, 0xef46_db37_51d8_e999),
            (0, SEED, 0xac75_fda2_929b_17ef),
            (1, 0, 0xe934_a84a_db05_2768),
            (1, SEED, 0x5014_6076_43a9_b4c3),
            (4, 0, 0x9136_a0dc_a574_57ee),
            (14, 0, 0x8282_dcc4_994e_35c8),
            (14, SEED, 0xc3bd_6bf6_3deb_6df0),
            (222, 0, 0xb641_ae8c_b691_c174),
            (222, SEED, 0x20cb_8ab7_ae10_c14a),
        ];
        for (length, seed, expected) in cases {
            assert_eq!(xxh64(&bytes[..length], seed), expected, "{length} {seed}");
        }
        // SOURCE: the specification's authors in their tools' manual.
        assert_eq!(xxh64(b"abc", 0), 0x44bc_2cf5_ad77_0999);
    }
}
