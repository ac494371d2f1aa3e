//! Choices that look random and are the same at every run.

/// Mixes the bits of a number: the finaliser of SplitMix64, a bijection without fixed structure.
#[must_use]
pub const fn mix(number: u64) -> u64 {
    // SOURCE: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Chooses the worker of a connection. Connections spread evenly, and one stays where it is.
pub(crate) fn worker(connection: u64, seed: u64, workers: u32) -> u32 {
    let drawn = mix(connection.wrapping_add(0x9e37_79b9_7f4a_7c15) ^ mix(seed));
    // The high half times the count: every worker is as likely as another to one part in 2³².
    u32::try_from(((drawn >> 32) * u64::from(workers.max(1))) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_spread_over_the_workers_and_every_seed_spreads_them_otherwise() {
        let spread = |seed| {
            (0..10_000)
                .map(|connection| worker(connection, seed, 4))
                .collect::<Vec<_>>()
        };
        let counts = |workers: &[u32]| {
            (0..4)
                .map(|worker| workers.iter().filter(|one| **one == worker).count())
                .collect::<Vec<_>>()
        };
        // n = 10 000, p = 1/4: four standard deviations are 173.
        assert!(
            counts(&spread(1))
                .iter()
                .all(|count| count.abs_diff(2_500) <= 173),
            "{:?}",
            counts(&spread(1))
        );
        assert_ne!(spread(1), spread(2));
        assert!((0..100).all(|connection| worker(connection, 1, 1) == 0));
    }
}
