//! What filters say about a stream to the filters behind them: `tidegate.plan`.
//!
//! Why: an upstream filter sees attempts of requests that somebody looks after, and probes and other
//! plugins' calls, which nobody does and which it must leave alone. And a filter that balances has
//! to know where a session is at home, which the filter in front of it read from a cookie.
//! Model: the first filter makes the plan, each one behind it may add what it proposes. Modules of
//! their own hand it on as a property of the proxy, filters of one module in memory.
//! Limits: a plan with another version, or of another length, is none.
//! Scope: one stream; a client cannot set it. Cost: O(1), 29 bytes.

use crate::snapshot::EndpointAddress;

/// Is the name of the property.
pub const PLAN_PROPERTY: &[u8] = b"tidegate.plan";

/// Is the version that is written and the only one that is read.
pub const PLAN_VERSION: u8 = 2;

/// Is the length of a plan.
pub const PLAN_BYTES: usize = 29;

/// Is what is planned for a stream.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// Is the digest of the cluster's name: an attempt at another cluster is not part of the plan.
    pub cluster: u64,
    /// Is the endpoint that a filter wants, already named in the header that the router reads.
    pub proposal: Option<Proposal>,
}

/// Is an endpoint that a filter wants a request to go to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Proposal {
    /// Is the endpoint.
    pub address: EndpointAddress,
    /// Says how much depends on it.
    pub bond: Bond,
}

/// Says how much depends on a proposal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bond {
    /// Nothing yet: it is as good as another, and whoever knows better replaces it.
    Free,
    /// A session lives there: it is replaced only where the endpoint takes no requests.
    Session,
}

impl Plan {
    /// Writes the plan: version (1 byte), cluster (8), bond (1: 0 for no proposal, 1 free, 2 a
    /// session), address (19).
    #[must_use]
    pub fn encode(&self) -> [u8; PLAN_BYTES] {
        let (bond, address) = match self.proposal {
            None => (0, [0; 19]),
            Some(Proposal { address, bond }) => {
                let bond = match bond {
                    Bond::Free => 1,
                    Bond::Session => 2,
                };
                (bond, address.to_key())
            }
        };
        let mut bytes = [0; PLAN_BYTES];
        let rest = put(&mut bytes, [PLAN_VERSION]);
        let rest = put(rest, self.cluster.to_be_bytes());
        let rest = put(rest, [bond]);
        put(rest, address);
        bytes
    }

    /// Reads a plan; any bytes are legal input.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; PLAN_BYTES] = bytes.try_into().ok()?;
        let (version, rest) = bytes.split_first()?;
        (*version == PLAN_VERSION).then_some(())?;
        let (cluster, rest) = rest.split_first_chunk::<8>()?;
        let (bond, address) = rest.split_first()?;
        let bond = match bond {
            0 => None,
            1 => Some(Bond::Free),
            2 => Some(Bond::Session),
            _ => return None,
        };
        let address: &[u8; 19] = address.try_into().ok()?;
        let proposal = match bond {
            Some(bond) => Some(Proposal {
                address: EndpointAddress::from_key(address)?,
                bond,
            }),
            None => {
                address.iter().all(|byte| *byte == 0).then_some(())?;
                None
            }
        };
        Some(Self {
            cluster: u64::from_be_bytes(*cluster),
            proposal,
        })
    }
}

/// Writes a part in front; is what follows it.
const fn put<const N: usize>(bytes: &mut [u8], part: [u8; N]) -> &mut [u8] {
    match bytes.split_first_chunk_mut::<N>() {
        Some((place, rest)) => {
            *place = part;
            rest
        }
        None => &mut [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_survives_and_anything_else_is_none() {
        let proposals = [Bond::Free, Bond::Session].map(|bond| {
            let address = EndpointAddress::parse(b"10.0.0.1:80")?;
            Some(Proposal { address, bond })
        });
        for proposal in proposals.into_iter().chain([None]) {
            let plan = Plan {
                cluster: 7,
                proposal,
            };
            assert_eq!(Plan::decode(&plan.encode()), Some(plan));
        }
        let mut whole = Plan {
            cluster: 7,
            proposal: None,
        }
        .encode();
        assert_eq!(Plan::decode(&whole[..28]), None, "too short");
        whole[9] = 3;
        assert_eq!(Plan::decode(&whole), None, "no bond");
        whole[9] = 0;
        whole[28] = 1;
        assert_eq!(Plan::decode(&whole), None, "an address of nobody");
        for bytes in [&b""[..], b"\x01\0\0\0\0\0\0\0\x07", &[1; 29], &[2; 30]] {
            assert_eq!(Plan::decode(bytes), None);
        }
    }
}
