//! Envoy's response flags: short names and bits.

/// SOURCE: Envoy 1.40, `envoy/stream_info/stream_info.h`, `CoreResponseFlag`: the position is the bit.
const FLAGS: [&str; 28] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO",
];

/// Returns the bits of flags in their short form, as `UF,URX`. Names that aren't known have no bit.
pub(super) fn bits(flags: &str) -> u64 {
    flags
        .split(',')
        .filter_map(|flag| FLAGS.iter().position(|name| *name == flag.trim()))
        .fold(0, |bits, position| bits | 1 << position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_have_the_bits_that_envoy_gives_them() {
        let cases = [
            ("-", 0),
            ("LH", 1),
            ("UC", 0x40),
            ("DC", 0x4000),
            ("UF,URX", 0x8020),
            ("UPE", 0x80_0000),
            ("?", 0),
        ];
        for (flags, expected) in cases {
            assert_eq!(bits(flags), expected, "{flags}");
        }
    }
}
