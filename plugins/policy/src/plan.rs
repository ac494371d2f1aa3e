//! What filters say about a stream to the filters behind them: `tidegate.plan`.
//!
//! Why: an upstream filter sees attempts of requests that somebody looks after, and probes and other
//! plugins' calls, which nobody does and which it must leave alone.
//! Limits: a plan with another version, or of another length, is none.
//! Scope: one stream; a property of the proxy, which a client cannot set. Cost: O(1), 9 bytes.

/// Is the name of the property.
pub const PLAN_PROPERTY: &[u8] = b"tidegate.plan";

/// Is the version that is written and the only one that is read.
pub const PLAN_VERSION: u8 = 1;

/// Is what is planned for a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Is the digest of the cluster's name: an attempt at another cluster is not part of the plan.
    pub cluster: u64,
}

impl Plan {
    /// Writes the plan.
    #[must_use]
    pub fn encode(self) -> [u8; 9] {
        let [a, b, c, d, e, f, g, h] = self.cluster.to_be_bytes();
        [PLAN_VERSION, a, b, c, d, e, f, g, h]
    }

    /// Reads a plan; any bytes are legal input.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, cluster) = bytes.split_first()?;
        (*version == PLAN_VERSION).then_some(())?;
        Some(Self {
            cluster: u64::from_be_bytes(cluster.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_survives_and_anything_else_is_none() {
        let plan = Plan { cluster: 7 };
        assert_eq!(Plan::decode(&plan.encode()), Some(plan));
        for bytes in [&b""[..], b"\x01", b"\x01\0\0\0\0\0\0\0", &[1; 10], &[2; 9]] {
            assert_eq!(Plan::decode(bytes), None);
        }
    }
}
