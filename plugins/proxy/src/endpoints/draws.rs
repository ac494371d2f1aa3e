//! Many random numbers from one of the host's: jitter for thousands of endpoints.

/// Draws numbers that spread well and protect nothing.
///
/// SOURCE: `SplitMix64` of G. Steele, D. Lea and C. Flood, "Fast splittable pseudorandom number
/// generators", OOPSLA 2014.
#[derive(Clone, Copy, Debug)]
pub struct Draws(u64);

impl Draws {
    /// Begins with a number of the host's.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Is the next number.
    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SOURCE: the first numbers of the authors' own implementation with this seed.
    #[test]
    fn draws_are_those_of_the_published_generator() {
        let mut draws = Draws::new(1_234_567);
        let first = [draws.draw(), draws.draw(), draws.draw()];
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }
}
