//! Seeded randomness, in streams of their own: what one part draws never changes what another one gets.

/// A stream of draws: the same from the same seed and name, everywhere and for ever.
///
/// Is splitmix64.
///
/// SOURCE: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub struct Draws(u64);

impl Draws {
    /// Begins a stream for a purpose and an index within it, such as the latency of endpoint 3.
    #[must_use]
    pub fn new(seed: u64, purpose: &str, index: u64) -> Self {
        // FNV-1a: names are few and short, and only have to end up in different places.
        let mut state = 0xcbf2_9ce4_8422_2325_u64;
        for byte in purpose.bytes() {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut draws = Self(seed ^ state.rotate_left(17));
        draws.0 = draws.next_u64() ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        draws.next_u64();
        draws
    }

    /// Draws 64 bits.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Draws a number below `bound`; of 0 nothing but 0 comes.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The upper half of a product of two 64-bit numbers is below the bound. For the bounds used here the difference
        // from uniform is far below what any figure could show.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// Draws an index below `len`; of 0 nothing but 0 comes.
    pub fn index(&mut self, len: usize) -> usize {
        let bound = u64::try_from(len).unwrap_or(u64::MAX);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }

    /// Draws a number in [0, 1).
    pub fn unit(&mut self) -> f64 {
        // The upper 53 bits are what a float holds exactly.
        let bits = u32::try_from(self.next_u64() >> 32).unwrap_or(0);
        let low = u32::try_from((self.next_u64() >> 43) & 0x001f_ffff).unwrap_or(0);
        (f64::from(bits) * 2_097_152.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// Draws whether something of this probability happens; at 0 never and at 1 always.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Draws from the standard normal distribution.
    pub fn normal(&mut self) -> f64 {
        // Box and Muller; one of its two numbers is enough.
        let radius = (-2.0 * libm::log(1.0 - self.unit())).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }

    /// Draws from the exponential distribution of this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * libm::log(1.0 - self.unit())
    }
}

#[cfg(test)]
mod tests {
    use super::Draws;

    #[test]
    fn streams_of_one_seed_differ_by_purpose_and_index() {
        let first = |purpose, index| Draws::new(1, purpose, index).next_u64();
        assert_eq!(first("latency", 0), first("latency", 0));
        assert_ne!(first("latency", 0), first("latency", 1));
        assert_ne!(first("latency", 0), first("errors", 0));
        assert_ne!(first("latency", 0), Draws::new(2, "latency", 0).next_u64());
    }

    #[test]
    fn moments_of_the_distributions_are_theirs() {
        let mut draws = Draws::new(7, "test", 0);
        let n = 200_000;
        let (mut unit, mut normal, mut square, mut exponential) = (0.0, 0.0, 0.0, 0.0);
        for _ in 0..n {
            unit += draws.unit();
            let drawn = draws.normal();
            normal += drawn;
            square += drawn * drawn;
            exponential += draws.exponential(3.0);
        }
        let n = f64::from(n);
        // Four standard errors of each mean.
        assert!((unit / n - 0.5).abs() < 4.0 * (1.0 / 12.0_f64 / n).sqrt());
        assert!((normal / n).abs() < 4.0 * (1.0 / n).sqrt());
        assert!((square / n - 1.0).abs() < 4.0 * (2.0 / n).sqrt());
        assert!((exponential / n - 3.0).abs() < 4.0 * (9.0 / n).sqrt());
    }

    #[test]
    fn bounded_draws_reach_every_value_and_none_beyond() {
        let mut draws = Draws::new(1, "test", 0);
        let mut seen = [0_u32; 7];
        for _ in 0..7_000 {
            if let Some(count) = seen.get_mut(draws.index(7)) {
                *count += 1;
            }
        }
        assert_eq!(seen.iter().sum::<u32>(), 7_000);
        assert!(seen.iter().all(|count| *count > 800), "{seen:?}");
        assert_eq!(draws.below(0), 0);
        assert!(!draws.happens(0.0) && draws.happens(1.0));
    }
}
