//! Decides which request headers a client may not send through us.
//!
//! Why: a header that steers the proxy (the endpoint to take, the number of retries) is an order.
//! From a client it would be obeyed as well: it is removed before any policy reads anything.
//! Inputs / Output: one header name, in lower case as the host hands it over; whether it goes.
//! Limits: trusts nobody. A native `header_mutation` filter in front does the same, because after a
//! trap with fail-open this code does not run.
//! Scope: stateless. Cost: O(length of the name), no allocation.

/// Begins every header that belongs to Tidegate.
pub const OWN_PREFIX: &[u8] = b"x-tidegate-";

/// Are Envoy's headers that a client could steer the router's retries with.
pub const ROUTER_HEADERS: [&[u8]; 3] = [
    b"x-envoy-attempt-count",
    b"x-envoy-max-retries",
    b"x-envoy-retry-on",
];

/// Says whether a client's header `name` (lower case) is removed.
///
/// `own` is a header that the configuration gives to us, such as the one `override_host` reads;
/// empty means none.
#[must_use]
pub fn is_reserved(name: &[u8], own: &[u8]) -> bool {
    // Nearly every header of a request fails on its first byte.
    (name.first() == Some(&b'x')
        && (name.starts_with(OWN_PREFIX) || ROUTER_HEADERS.contains(&name)))
        || (!own.is_empty() && name == own)
}

#[cfg(test)]
mod tests {
    use super::is_reserved;

    #[test]
    fn header_that_steers_the_proxy_is_reserved_and_no_other() {
        let cases: [(&[u8], bool); 10] = [
            (b"x-tidegate-endpoint", true),
            (b"x-tidegate-", true),
            (b"x-tidegate-plan", true),
            (b"x-envoy-max-retries", true),
            (b"x-envoy-retry-on", true),
            (b"x-envoy-attempt-count", true),
            (b"route-to", true),
            (b"x-tidegat", false),
            (b"x-envoy-retry-on-", false),
            (b"cookie", false),
        ];
        for (name, expected) in cases {
            let text = std::string::String::from_utf8_lossy(name);
            assert_eq!(is_reserved(name, b"route-to"), expected, "{text}");
        }
        assert!(!is_reserved(b"", b""));
    }
}
