//! Replays recordings as they were recorded.

/// Mixes the bits of a number: the finaliser of SplitMix64, a bijection without fixed structure.
#[must_use]
pub const fn mix(number: u64) -> u64 {
    // SOURCE: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
