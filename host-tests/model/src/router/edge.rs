//! What the connection manager does to a client's request before the filters see it.

use std::net::IpAddr;

use super::headers::{HeadersMut, list};
use crate::draw::Draws;

/// Whom the connection manager trusts.
///
/// SOURCE: seen in Envoy 1.40: without `internal_address_config` no address is internal, not even the loopback.
/// Limits: a `referer` that is no URL, which Envoy removes, stays; `xff_num_trusted_hops` is 0.
#[derive(Debug, Clone)]
pub struct Edge {
    /// Whether the client is who connects, and not the last of `x-forwarded-for`.
    pub use_remote_address: bool,
    /// Networks whose requests are internal: addresses with the lengths of their prefixes.
    pub internal: Vec<(IpAddr, u8)>,
}

impl Default for Edge {
    /// As the bootstraps have it: clients connect themselves, and none is internal.
    fn default() -> Self {
        Self {
            use_remote_address: true,
            internal: Vec::new(),
        }
    }
}

/// Headers that only an internal request keeps.
const OF_INTERNAL: [&str; 14] = [
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-hedge-on-per-try-timeout",
    "x-envoy-ip-tags",
    "x-envoy-max-retries",
    "x-envoy-original-url",
    "x-envoy-retriable-header-names",
    "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on",
    "x-envoy-retry-on",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-upstream-rq-timeout-ms",
];

/// Headers that a client at the edge does not keep either.
const OF_EDGE: [&str; 3] = [
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
];

impl Edge {
    /// Cleans and completes the headers of a request that came by HTTP/1.1 without TLS. Returns whether it is internal.
    ///
    /// One draw of 16 bytes when the request gets an ID. `x-envoy-attempt-count`, `x-envoy-original-path` and
    /// `x-envoy-is-timeout-retry` of a client stay, whoever it is.
    pub fn sanitise(
        &self,
        headers: &mut dyn HeadersMut,
        client: IpAddr,
        draws: &mut Draws,
    ) -> bool {
        clean_hop(headers);
        let forwarded = headers.value("x-forwarded-for").map(<[u8]>::to_vec);
        let (trusted, address) = if self.use_remote_address {
            let mut value = forwarded.clone().unwrap_or_default();
            if !value.is_empty() {
                value.push(b',');
            }
            value.extend_from_slice(client.to_string().as_bytes());
            headers.set("x-forwarded-for", &value);
            headers.set("x-forwarded-proto", b"http");
            (forwarded.is_none(), Some(client))
        } else {
            let value = forwarded.unwrap_or_default();
            let last = list(&value).last().and_then(|last| last.parse().ok());
            (list(&value).count() == 1, last)
        };
        if headers.value("x-forwarded-proto").is_none() {
            headers.set("x-forwarded-proto", b"http");
        }
        let internal = trusted && address.is_some_and(|address| self.is_internal(address));
        let at_edge = !internal && self.use_remote_address;
        if internal {
            headers.set("x-envoy-internal", b"true");
        } else {
            for name in OF_INTERNAL {
                headers.remove(name);
            }
        }
        if at_edge {
            for name in OF_EDGE {
                headers.remove(name);
            }
            headers.set("x-envoy-external-address", client.to_string().as_bytes());
        }
        if at_edge || headers.value("x-request-id").is_none() {
            headers.set("x-request-id", request_id(draws).as_bytes());
        }
        internal
    }

    fn is_internal(&self, address: IpAddr) -> bool {
        self.internal
            .iter()
            .any(|(network, length)| is_within(address, *network, *length))
    }
}

/// Removes what is about one connection only, and what a client may not say.
fn clean_hop(headers: &mut dyn HeadersMut) {
    let upgrades = headers.value("upgrade").is_some()
        && headers.value("connection").is_some_and(|connection| {
            list(connection).any(|token| token.eq_ignore_ascii_case("upgrade"))
        });
    if !upgrades {
        headers.remove("connection");
        headers.remove("upgrade");
    }
    for name in [
        "x-envoy-internal",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "x-forwarded-client-cert",
    ] {
        headers.remove(name);
    }
    let trailers = headers
        .value("te")
        .map(|te| list(te).any(|token| token.eq_ignore_ascii_case("trailers")));
    match trailers {
        Some(true) => headers.set("te", b"trailers"),
        Some(false) => headers.remove("te"),
        None => {}
    }
}

fn is_within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let (bits, width) = match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            (u128::from(address.to_bits() ^ network.to_bits()), 32_u32)
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            (address.to_bits() ^ network.to_bits(), 128_u32)
        }
        _ => return false,
    };
    let rest = width.saturating_sub(u32::from(length));
    // Nothing is left to differ of a prefix of no length.
    bits.checked_shr(rest).unwrap_or(0) == 0
}

/// Makes a random UUID. Envoy marks in its version whether the request is traced: 4 is not.
fn request_id(draws: &mut Draws) -> String {
    let drawn = (u128::from(draws.next_u64()) << 64) | u128::from(draws.next_u64());
    let version = (drawn & !(0xf << 76)) | (0x4 << 76);
    let variant = (version & !(0x3 << 62)) | (0x2 << 62);
    let hex = format!("{variant:032x}");
    let mut id = String::with_capacity(36);
    for (position, digit) in hex.chars().enumerate() {
        if matches!(position, 8 | 12 | 16 | 20) {
            id.push('-');
        }
        id.push(digit);
    }
    id
}
