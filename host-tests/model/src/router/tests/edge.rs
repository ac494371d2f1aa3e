//! What becomes of a client's headers before the filters see them.

use std::net::IpAddr;

use super::{draws, map, text};
use crate::router::{Edge, Headers};

/// All that a client could tell the router, and some more.
const TOLD: [(&str, &str); 22] = [
    ("x-envoy-retry-on", "5xx"),
    ("x-envoy-max-retries", "1"),
    ("x-envoy-upstream-rq-timeout-ms", "5000"),
    ("x-envoy-attempt-count", "9"),
    ("x-envoy-internal", "true"),
    ("x-envoy-decorator-operation", "d"),
    ("x-envoy-force-trace", "1"),
    ("x-envoy-ip-tags", "1"),
    ("x-envoy-original-url", "u"),
    ("x-envoy-original-path", "p"),
    ("x-envoy-external-address", "1.1.1.1"),
    ("x-envoy-downstream-service-cluster", "c"),
    ("x-envoy-downstream-service-node", "n"),
    ("x-envoy-expected-rq-timeout-ms", "5"),
    ("x-envoy-is-timeout-retry", "9"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "given"),
    ("x-envoy-foo", "1"),
    ("keep-alive", "1"),
    ("proxy-connection", "1"),
    ("te", "trailers, x"),
    ("x-forwarded-client-cert", "x"),
];

fn edge(use_remote_address: bool) -> Edge {
    Edge {
        use_remote_address,
        internal: vec![(ip("10.0.0.0"), 8)],
    }
}

fn ip(address: &str) -> IpAddr {
    address.parse().unwrap()
}

/// Returns whether a request is internal, and its headers with any new ID masked.
fn sanitised(edge: &Edge, client: &str, forwarded: Option<&str>) -> (bool, String) {
    let mut headers = map(&TOLD);
    if let Some(forwarded) = forwarded {
        headers.extend(map(&[("x-forwarded-for", forwarded)]));
    }
    let internal = edge.sanitise(&mut headers, ip(client), &mut draws());
    let id = headers.value("x-request-id").unwrap().to_vec();
    let id = String::from_utf8(id).unwrap();
    let text = text(&headers);
    let masked = if id == "given" {
        text
    } else {
        assert_eq!(id.len(), 36, "{id}");
        text.replace(&id, "new")
    };
    (internal, masked)
}

#[test]
fn a_client_from_outside_keeps_nothing_that_directs_the_router() {
    let expected = "x-envoy-attempt-count=9 x-envoy-original-path=p \
                    x-envoy-external-address=10.1.2.3 x-envoy-is-timeout-retry=9 \
                    x-forwarded-proto=http x-request-id=new x-envoy-foo=1 te=trailers \
                    x-forwarded-for=";
    let outside = (false, format!("{expected}10.1.2.3"));
    // No address is internal by default.
    assert_eq!(sanitised(&Edge::default(), "10.1.2.3", None), outside);
    let loopback = sanitised(&Edge::default(), "127.0.0.1", None);
    assert_eq!(loopback.1, outside.1.replace("10.1.2.3", "127.0.0.1"));
    // Nor is one that says whom it speaks for.
    let for_others = sanitised(&edge(true), "10.1.2.3", Some("8.8.8.8, 10.1.2.3"));
    assert_eq!(
        for_others,
        (false, format!("{expected}8.8.8.8, 10.1.2.3,10.1.2.3"))
    );
}

#[test]
fn an_internal_client_may_direct_the_router() {
    let (internal, text) = sanitised(&edge(true), "10.1.2.3", None);
    assert!(internal);
    assert_eq!(
        text,
        "x-envoy-retry-on=5xx x-envoy-max-retries=1 x-envoy-upstream-rq-timeout-ms=5000 \
         x-envoy-attempt-count=9 x-envoy-decorator-operation=d x-envoy-force-trace=1 \
         x-envoy-ip-tags=1 x-envoy-original-url=u x-envoy-original-path=p \
         x-envoy-external-address=1.1.1.1 x-envoy-downstream-service-cluster=c \
         x-envoy-downstream-service-node=n x-envoy-expected-rq-timeout-ms=5 \
         x-envoy-is-timeout-retry=9 x-forwarded-proto=http x-request-id=given x-envoy-foo=1 \
         te=trailers x-forwarded-for=10.1.2.3 x-envoy-internal=true"
    );
}

#[test]
fn behind_a_proxy_the_one_forwarded_address_decides() {
    let cases = [
        (None, false),
        (Some("10.1.2.3"), true),
        (Some("8.8.8.8"), false),
        (Some("8.8.8.8, 10.1.2.3"), false),
        (Some("nobody"), false),
        (Some(""), false),
    ];
    for (forwarded, expected) in cases {
        let (internal, text) = sanitised(&edge(false), "10.1.2.3", forwarded);
        assert_eq!(internal, expected, "{forwarded:?}");
        assert_eq!(text.contains("x-envoy-retry-on"), expected);
        // What says who asks stays, as does the ID and what the proxy in front found out.
        assert!(text.contains("x-envoy-downstream-service-cluster=c"));
        assert!(text.contains("x-forwarded-proto=https x-request-id=given"));
        assert!(text.contains("x-envoy-external-address=1.1.1.1"));
    }
}

#[test]
fn a_request_that_says_nothing_is_completed() {
    let mut headers = map(&[("connection", "keep-alive"), ("te", "x")]);
    Edge::default().sanitise(&mut headers, ip("10.1.2.3"), &mut draws());
    let names: Vec<&[u8]> = headers.iter().map(|(name, _)| name.as_slice()).collect();
    let expected: [&[u8]; 4] = [
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-envoy-external-address",
        b"x-request-id",
    ];
    assert_eq!(names, expected);
}

#[test]
fn an_upgrade_keeps_its_headers() {
    let upgrade = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "websocket"),
    ];
    let kept = |headers: &[(&str, &str)]| {
        let mut headers = map(headers);
        Edge::default().sanitise(&mut headers, ip("10.1.2.3"), &mut draws());
        (
            headers.value("connection").is_some(),
            headers.value("upgrade").is_some(),
        )
    };
    assert_eq!(kept(&upgrade), (true, true));
    assert_eq!(kept(&upgrade[..1]), (false, false));
    assert_eq!(kept(&upgrade[1..]), (false, false));
}

#[test]
fn networks_are_compared_by_their_prefixes() {
    let within = |network: &str, length, client: &str| {
        let edge = Edge {
            use_remote_address: true,
            internal: vec![(ip(network), length)],
        };
        edge.sanitise(&mut map(&[]), ip(client), &mut draws())
    };
    assert!(within("10.0.0.0", 8, "10.255.0.1"));
    assert!(!within("10.0.0.0", 8, "11.0.0.0"));
    assert!(within("10.1.2.3", 32, "10.1.2.3"));
    assert!(!within("10.1.2.3", 32, "10.1.2.2"));
    assert!(within("0.0.0.0", 0, "200.1.1.1"));
    assert!(!within("0.0.0.0", 0, "::1"));
    assert!(within("fd00::", 8, "fdff::1"));
    assert!(!within("fd00::", 8, "fe00::1"));
    assert!(within("::", 0, "fe00::1"));
    // A prefix that is too long is all of the address.
    assert!(!within("10.1.2.3", 200, "10.1.2.2"));
}

#[test]
fn request_ids_are_random_uuids_of_their_draws() {
    let id = |seed| {
        let mut headers = map(&[]);
        let mut draws = crate::draw::Draws::new(seed, "id", 0);
        Edge::default().sanitise(&mut headers, ip("10.1.2.3"), &mut draws);
        String::from_utf8(headers.value("x-request-id").unwrap().to_vec()).unwrap()
    };
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
    for seed in 0..50 {
        let id = id(seed);
        let parts: Vec<&str> = id.split('-').collect();
        assert_eq!(
            parts.iter().map(|part| part.len()).collect::<Vec<_>>(),
            [8, 4, 4, 4, 12]
        );
        assert!(
            parts[2].starts_with('4') && parts[3].starts_with(['8', '9', 'a', 'b']),
            "{id}"
        );
    }
}
