//! Response flags.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};

/// Envoy's response flags as bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(pub u64);

/// SOURCE: Envoy 1.40, `envoy/stream_info/stream_info.h`, `CoreResponseFlag`: the position is the bit.
const NAMES: [&str; 30] = [
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC",
    "URX", "SI", "IH", "DPE", "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR",
    "UDO",
];

impl Flags {
    /// No flag.
    pub const NONE: Self = Self(0);
    /// `UH`.
    pub const NO_HEALTHY_UPSTREAM: Self = Self(1 << 1);
    /// `UT`.
    pub const UPSTREAM_REQUEST_TIMEOUT: Self = Self(1 << 2);
    /// `LR`.
    pub const LOCAL_RESET: Self = Self(1 << 3);
    /// `UR`.
    pub const UPSTREAM_REMOTE_RESET: Self = Self(1 << 4);
    /// `UF`.
    pub const UPSTREAM_CONNECTION_FAILURE: Self = Self(1 << 5);
    /// `UC`.
    pub const UPSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 6);
    /// `UO`.
    pub const UPSTREAM_OVERFLOW: Self = Self(1 << 7);
    /// `NR`.
    pub const NO_ROUTE_FOUND: Self = Self(1 << 8);
    /// `DC`: the client went away.
    pub const DOWNSTREAM_CONNECTION_TERMINATION: Self = Self(1 << 14);
    /// `URX`.
    pub const UPSTREAM_RETRY_LIMIT_EXCEEDED: Self = Self(1 << 15);
    /// `UPE`.
    pub const UPSTREAM_PROTOCOL_ERROR: Self = Self(1 << 23);
    /// `NC`.
    pub const NO_CLUSTER_FOUND: Self = Self(1 << 24);

    /// Reads flags in their short form, as `UF,URX`; names that aren't known, such as `-`, have no bit.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        text.split(',')
            .filter_map(|name| NAMES.iter().position(|known| *known == name.trim()))
            .fold(Self::NONE, |flags, position| flags | Self(1 << position))
    }

    /// Writes flags in their short form; `-` for none.
    ///
    /// Envoy writes them in the order in which they were set. Nothing but the router sets any here, and of its flags the
    /// retry's, `URX` or `UO`, comes before that of the failure; several others are written in the order of their bits.
    #[must_use]
    pub fn names(self) -> String {
        let retry = Self::UPSTREAM_RETRY_LIMIT_EXCEEDED | Self::UPSTREAM_OVERFLOW;
        let first = Self(self.0 & retry.0);
        let names: Vec<&str> = first.each().chain(Self(self.0 & !retry.0).each()).collect();
        if names.is_empty() {
            return "-".to_owned();
        }
        names.join(",")
    }

    /// Returns whether all of some flags are set.
    #[must_use]
    pub const fn contains(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Returns whether no flag is set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn each(self) -> impl Iterator<Item = &'static str> {
        NAMES
            .into_iter()
            .enumerate()
            .filter(move |(position, _)| self.contains(Self(1 << position)))
            .map(|(_, name)| name)
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for Flags {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.names())
    }
}

impl fmt::Display for Flags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.names())
    }
}
