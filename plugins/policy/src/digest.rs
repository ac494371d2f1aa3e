//! Names bytes by a short number: a configuration that must not be logged, an endpoint, a record.
//!
//! Why: an operator must see that all workers and all gateways run the same configuration, and a
//! configuration must never be logged.
//! Model: FNV-1a with 64 bits: `h = (h xor byte) * 0x100000001b3`, from `0xcbf29ce484222325`.
//! Limits: it names, it protects nothing. Whoever computes it leaves secrets out first.
//! Cost: O(bytes).
//! Source: RFC 9923 (the FNV non-cryptographic hash algorithm), section 5 for both constants.
//! [`xxh64`] is for what is longer or has to be spread evenly.

mod xxh64;

pub use xxh64::xxh64;

/// Is the 64-bit FNV-1a hash of `bytes`; of no bytes it is the offset basis.
#[must_use]
pub const fn fnv1a_64(bytes: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut rest = bytes;
    while let Some((byte, tail)) = rest.split_first() {
        hash = (hash ^ *byte as u64).wrapping_mul(0x0100_0000_01b3);
        rest = tail;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::fnv1a_64;

    /// SOURCE: the test vectors that the authors of FNV publish.
    #[test]
    fn hash_matches_the_published_vectors() {
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }
}
