//! What is decided about a session, at every boundary.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use tidegate_policy::{
    affinity::{
        Address, Binding, CLOCK_SKEW_SECONDS, Config, Kind, Matcher, Presented, RequestDecision,
        RequestReason, ResponseReason, ServedBy, Write, present,
    },
    endpoints::{Picture, Unknown},
    units::WallTime,
};

const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const START_SECONDS: u64 = 1_700_000_000;
const HOUR: u64 = 3600;

/// Is a gateway with one rule for the cluster `echo`.
struct Gateway {
    config: Config,
    matcher: Matcher,
}

impl Gateway {
    fn new(cluster: &str) -> Self {
        let text = format!("{{\"clusters\": [{cluster}]}}");
        let config = Config::parse(&text, |_| Some(KEYS.into())).unwrap();
        let matcher = Matcher::new(config.clusters());
        Self { config, matcher }
    }

    fn with(fields: &str) -> Self {
        Self::new(&format!("{{\"name\": \"echo\"{fields}}}"))
    }

    fn request(&self, value: &str, now_seconds: u64) -> RequestDecision {
        let rule = self.matcher.find(b"echo").unwrap();
        let binding = Binding {
            cluster: b"echo",
            cookie_name: &rule.cookie_name,
        };
        let now = WallTime::from_seconds(now_seconds);
        rule.policy.on_request(
            value.as_bytes(),
            self.config.keys(),
            binding,
            Kind::Plain,
            Picture::Unknown(Unknown::NotConfigured),
            now,
        )
    }

    fn respond(
        &self,
        request: &RequestDecision,
        status: u16,
        served_by: ServedBy<'_>,
        now_seconds: u64,
    ) -> (ResponseReason, Option<String>) {
        let rule = self.matcher.find(b"echo").unwrap();
        let decision = rule
            .policy
            .on_response(request, served_by, || Ok::<_, ()>(status))
            .unwrap();
        let binding = Binding {
            cluster: b"echo",
            cookie_name: &rule.cookie_name,
        };
        let now = WallTime::from_seconds(now_seconds);
        let cookie = decision.write.map(|write| {
            let keys = self.config.keys();
            rule.policy
                .write(
                    &write,
                    None,
                    keys,
                    binding,
                    true,
                    now,
                    [1, 2, 3, now_seconds],
                )
                .unwrap()
        });
        (decision.reason, cookie)
    }

    /// Begins a session on an endpoint and hands out the cookie's value.
    fn issue(&self, address: &str, now_seconds: u64) -> String {
        let request = RequestDecision::unpinned(RequestReason::NewSession);
        let (reason, cookie) = self.respond(&request, 200, endpoint(address), now_seconds);
        assert_eq!(reason, ResponseReason::Issued);
        value(&cookie.unwrap())
    }
}

fn endpoint(address: &str) -> ServedBy<'_> {
    ServedBy::Endpoint(address.as_bytes())
}

fn value(set_cookie: &str) -> String {
    let (_, rest) = set_cookie.split_once('=').unwrap();
    rest.split(';').next().unwrap().into()
}

#[test]
fn session_is_kept_below_its_ttl_and_moved_from_it_on() {
    let gateway = Gateway::with("");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let cases = [
        (0, RequestReason::Pinned),
        (3 * HOUR - 1, RequestReason::Pinned),
        (3 * HOUR, RequestReason::RefusedExpired),
        (3 * HOUR + 1, RequestReason::RefusedExpired),
        (365 * 24 * HOUR, RequestReason::RefusedExpired),
    ];
    for (age, expected) in cases {
        assert_eq!(
            gateway.request(&cookie, START_SECONDS + age).reason,
            expected,
            "{age} s"
        );
    }
}

#[test]
fn session_of_the_future_is_refused_beyond_the_skew() {
    let gateway = Gateway::with("");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let cases = [
        (1, RequestReason::Pinned),
        (CLOCK_SKEW_SECONDS, RequestReason::Pinned),
        (CLOCK_SKEW_SECONDS + 1, RequestReason::RefusedNotYetValid),
        (START_SECONDS, RequestReason::RefusedNotYetValid),
    ];
    for (early, expected) in cases {
        assert_eq!(
            gateway.request(&cookie, START_SECONDS - early).reason,
            expected,
            "{early} s"
        );
    }
}

#[test]
fn session_that_was_seen_in_the_future_is_refused_beyond_the_skew() {
    let gateway = Gateway::with(", \"idle_timeout\": \"30m\"");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let late = START_SECONDS + 500;
    let request = gateway.request(&cookie, late);
    let (_, renewed) = gateway.respond(&request, 200, endpoint("10.0.0.1:80"), late);
    let renewed = value(&renewed.unwrap());
    let reason = |early| gateway.request(&renewed, late - early).reason;
    assert_eq!(reason(CLOCK_SKEW_SECONDS), RequestReason::Pinned);
    assert_eq!(
        reason(CLOCK_SKEW_SECONDS + 1),
        RequestReason::RefusedNotYetValid
    );
}

#[test]
fn session_that_is_not_seen_ends_with_its_idle_timeout() {
    let gateway = Gateway::with(", \"idle_timeout\": \"30m\"");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let reason = |age| gateway.request(&cookie, START_SECONDS + age).reason;
    assert_eq!(reason(1799), RequestReason::Pinned);
    assert_eq!(reason(1800), RequestReason::RefusedIdle);
    assert_eq!(reason(3 * HOUR), RequestReason::RefusedExpired);
}

#[test]
fn busy_session_is_renewed_after_a_tenth_of_the_idle_timeout_and_ends_with_its_ttl() {
    let gateway = Gateway::with(", \"idle_timeout\": \"30m\"");
    let mut cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let mut renewals = 0;
    for age in (0..3 * HOUR).step_by(20) {
        let now = START_SECONDS + age;
        let request = gateway.request(&cookie, now);
        assert_eq!(request.reason, RequestReason::Pinned, "{age} s");
        let (reason, set) = gateway.respond(&request, 503, endpoint("10.0.0.1:80"), now);
        if let Some(set) = set {
            assert_eq!(reason, ResponseReason::Refreshed);
            assert!(
                set.contains(&format!("; Max-Age={};", 3 * HOUR - age)),
                "{set}"
            );
            cookie = value(&set);
            renewals += 1;
        } else {
            assert_eq!(reason, ResponseReason::Kept);
        }
    }
    // One every 180 s of 10 800 s; the first is the issue itself.
    assert_eq!(renewals, 59);
    let after = gateway.request(&cookie, START_SECONDS + 3 * HOUR);
    assert_eq!(after.reason, RequestReason::RefusedExpired);
}

#[test]
fn clock_that_stands_still_or_steps_back_renews_nothing_and_keeps_the_session() {
    let gateway = Gateway::with(", \"idle_timeout\": \"10s\"");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    for now in [START_SECONDS, START_SECONDS - 5] {
        let request = gateway.request(&cookie, now);
        let (reason, set) = gateway.respond(&request, 200, endpoint("10.0.0.1:80"), now);
        assert_eq!((reason, set), (ResponseReason::Kept, None));
    }
}

#[test]
fn response_is_decided_by_who_served_and_how() {
    let (keep, re_pin) = (
        Gateway::with(""),
        Gateway::with(", \"when_unreachable\": \"re_pin\""),
    );
    let (own, other) = (endpoint("10.0.0.1:80"), endpoint("10.0.0.2:80"));
    let (nobody, unix) = (ServedBy::Nobody, endpoint("/run/socket"));
    // Who served, the status; without a session, with one, with one that may move.
    let cases = [
        (own, 200, "issued", "kept", "kept"),
        (own, 101, "issued", "kept", "kept"),
        (own, 499, "issued", "kept", "kept"),
        (own, 500, "not_issued_error", "kept", "kept"),
        (other, 200, "issued", "served_elsewhere", "re_pinned"),
        (other, 499, "issued", "served_elsewhere", "re_pinned"),
        (
            other,
            500,
            "not_issued_error",
            "served_elsewhere",
            "served_elsewhere",
        ),
        (
            nobody,
            200,
            "not_issued_local_reply",
            "not_issued_local_reply",
            "not_issued_local_reply",
        ),
        (
            nobody,
            503,
            "not_issued_local_reply",
            "not_issued_local_reply",
            "not_issued_local_reply",
        ),
        (
            unix,
            200,
            "not_issued_address",
            "served_elsewhere",
            "served_elsewhere",
        ),
        (
            unix,
            500,
            "not_issued_error",
            "served_elsewhere",
            "served_elsewhere",
        ),
    ];
    let mut mismatches = Vec::new();
    for (served_by, status, without, kept, moved) in cases {
        let fresh = RequestDecision::unpinned(RequestReason::NewSession);
        let refused = RequestDecision::unpinned(RequestReason::RefusedUnauthentic);
        let now = START_SECONDS + 60;
        for (gateway, cookie, expected) in [(&keep, fresh, without), (&keep, refused, without)]
            .into_iter()
            .chain(
                [(&keep, kept), (&re_pin, moved)].map(|(gateway, expected)| {
                    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
                    (gateway, gateway.request(&cookie, now), expected)
                }),
            )
        {
            let (reason, set) = gateway.respond(&cookie, status, served_by, now);
            let writes = ["issued", "re_pinned"].contains(&expected);
            if reason.as_str() != expected || set.is_some() != writes {
                mismatches.push((served_by, status, expected, reason));
            }
        }
    }
    assert!(mismatches.is_empty(), "{mismatches:#?}");
}

#[test]
fn status_is_not_asked_for_where_it_decides_nothing() {
    let gateway = Gateway::with("");
    let rule = gateway.matcher.find(b"echo").unwrap();
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let request = gateway.request(&cookie, START_SECONDS);
    for served_by in [
        endpoint("10.0.0.1:80"),
        endpoint("10.0.0.2:80"),
        ServedBy::Nobody,
    ] {
        assert!(
            rule.policy
                .on_response(&request, served_by, || Err(()))
                .is_ok(),
            "{served_by:?}"
        );
    }
}

#[test]
fn session_that_moves_is_pinned_to_whoever_served() {
    let gateway = Gateway::with(", \"when_unreachable\": \"re_pin\"");
    let cookie = gateway.issue("10.0.0.1:80", START_SECONDS);
    let request = gateway.request(&cookie, START_SECONDS + 60);
    assert_eq!(request.endpoint().unwrap().as_str(), "10.0.0.1:80");
    let served_by = endpoint("[2001:db8::2]:81");
    let (_, set) = gateway.respond(&request, 200, served_by, START_SECONDS + 60);
    let next = gateway.request(&value(&set.unwrap()), START_SECONDS + 61);
    assert_eq!(next.endpoint().unwrap().as_str(), "[2001:db8::2]:81");
}

#[test]
fn two_sessions_never_have_the_same_cookie_even_at_the_same_time() {
    let gateway = Gateway::with("");
    let rule = gateway.matcher.find(b"echo").unwrap();
    let binding = Binding {
        cluster: b"echo",
        cookie_name: &rule.cookie_name,
    };
    let write = Write::New(Address::parse(b"10.0.0.1:80").unwrap());
    let now = WallTime::from_seconds(START_SECONDS);
    let sealed = |draws| {
        rule.policy
            .write(
                &write,
                None,
                gateway.config.keys(),
                binding,
                true,
                now,
                draws,
            )
            .unwrap()
    };
    let base = sealed([1, 2, 3, 4]);
    for draws in [[9, 2, 3, 4], [1, 9, 3, 4], [1, 2, 9, 4], [1, 2, 3, 9]] {
        assert_ne!(sealed(draws), base, "{draws:?}");
    }
    assert_eq!(sealed([1, 2, 3, 4]), base);
}

#[test]
fn cookie_is_written_with_the_attributes_of_its_rule() {
    let plain = "; Path=/; Max-Age=10800; HttpOnly; SameSite=Lax; Secure";
    let cases = [
        ("", plain),
        (
            ", \"ttl\": \"1m\", \"cookie\": {\"path\": \"/app\", \"http_only\": false, \
             \"same_site\": \"none\", \"secure\": \"always\"}",
            "; Path=/app; Max-Age=60; SameSite=None; Secure",
        ),
        (
            ", \"cookie\": {\"same_site\": \"strict\", \"secure\": \"never\"}",
            "; Path=/; Max-Age=10800; HttpOnly; SameSite=Strict",
        ),
        (
            ", \"cookie\": {\"name\": \"sid\", \"same_site\": \"omitted\"}",
            "; Path=/; Max-Age=10800; HttpOnly; Secure",
        ),
    ];
    for (fields, attributes) in cases {
        let gateway = Gateway::with(fields);
        let request = RequestDecision::unpinned(RequestReason::NewSession);
        let served_by = endpoint("10.0.0.1:80");
        let (_, set) = gateway.respond(&request, 200, served_by, START_SECONDS);
        let set = set.unwrap();
        let name = if fields.contains("sid") {
            "sid="
        } else {
            "tidegate-echo="
        };
        assert!(set.starts_with(name), "{set}");
        assert_eq!(
            set.split_once(';').unwrap().1,
            attributes.split_once(';').unwrap().1
        );
    }
}

#[test]
fn rule_is_found_by_exact_name_before_any_prefix_and_prefixes_in_order() {
    let gateway = Gateway::new(
        "{\"prefix\": \"outbound|80|\"}, {\"prefix\": \"outbound|\", \"ttl\": \"2h\"}, \
         {\"name\": \"outbound|80||a\", \"ttl\": \"1h\", \"cookie\": {\"name\": \"a\"}}",
    );
    let max_age = |cluster: &[u8]| {
        let rule = gateway.matcher.find(cluster)?;
        let binding = Binding {
            cluster,
            cookie_name: &rule.cookie_name,
        };
        let write = Write::New(Address::parse(b"10.0.0.1:80").unwrap());
        let (keys, now) = (gateway.config.keys(), WallTime::default());
        let set = rule
            .policy
            .write(&write, None, keys, binding, false, now, [0; 4])?;
        let name = set.split_once('=')?.0.to_owned();
        let age = set.split_once("Max-Age=")?.1.split(';').next()?.to_owned();
        Some((name, age))
    };
    let found = |name: &str, age: &str| Some((name.to_owned(), age.to_owned()));
    assert_eq!(max_age(b"outbound|80||a"), found("a", "3600"));
    assert_eq!(
        max_age(b"outbound|80||b"),
        found("tidegate-outbound|80||b", "10800")
    );
    assert_eq!(
        max_age(b"outbound|81||a"),
        found("tidegate-outbound|81||a", "7200")
    );
    assert_eq!(
        max_age(b"outbound|\xff"),
        found("tidegate-outbound|%FF", "7200")
    );
    assert_eq!(max_age(b"inbound|80||a"), None);
    assert_eq!(max_age(b""), None);
}

#[test]
fn cookie_is_found_among_others_as_browsers_send_them() {
    let one = Presented::One;
    let cases: [(&[&[u8]], Presented<'_>); 18] = [
        (&[], Presented::Absent),
        (&[b""], Presented::Absent),
        (&[b"sid"], Presented::Absent),
        (&[b"sid=a"], one(b"a")),
        (&[b"sid="], one(b"")),
        (&[b"sid=a=b="], one(b"a=b=")),
        (&[b"sid=\"a\""], one(b"\"a\"")),
        (&[b"x=1; sid=a; y=2"], one(b"a")),
        (&[b"x=1;sid=a;y=2"], one(b"a")),
        (&[b" ;; \t sid = a \t;"], one(b"a")),
        (&[b"x=1", b"sid=a"], one(b"a")),
        (&[b"xsid=1; sid2=2; SID=3; si=4"], Presented::Absent),
        (&[b"x=sid=a"], Presented::Absent),
        (&[b"x=\"1; sid=a\""], one(b"a\"")),
        (&[b"\xff\xfe=\xff; sid=\xff"], one(b"\xff")),
        (&[b"sid=a; sid=a"], Presented::Duplicate),
        (&[b"sid=a", b"sid=b"], Presented::Duplicate),
        (&[b"sid=a; sid="], Presented::Duplicate),
    ];
    for (headers, expected) in cases {
        assert!(
            present(headers.iter().copied(), "sid") == expected,
            "{headers:?}"
        );
    }
}

#[test]
fn cookies_that_are_too_long_together_are_not_looked_into() {
    let half = vec![b'x'; 32_767];
    let fits: [&[u8]; 3] = [&half, &half, b"s="];
    let exceeds: [&[u8]; 3] = [&half, &half, b"s=1"];
    assert!(present(fits, "s") == Presented::One(b""));
    assert!(present(exceeds, "s") == Presented::TooLong);
    assert_eq!(
        Presented::TooLong.value(),
        Err(RequestReason::RefusedTooLong)
    );
}

#[test]
fn reasons_have_different_names_in_order_and_know_their_place() {
    let names = RequestReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect::<Vec<_>>();
    assert!(names.is_sorted_by(|left, right| left < right));
    assert!(
        RequestReason::ALL
            .iter()
            .enumerate()
            .all(|(index, r)| r.index() == index)
    );
    let names = ResponseReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect::<Vec<_>>();
    assert!(names.is_sorted_by(|left, right| left < right));
    assert!(
        ResponseReason::ALL
            .iter()
            .enumerate()
            .all(|(index, r)| r.index() == index)
    );
}

proptest! {
    #[test]
    fn cookie_headers_of_any_bytes_never_panic(
        headers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..4),
        name in "\\PC{0,4}",
    ) {
        let _ = present(headers.iter().map(Vec::as_slice), &name);
    }

    #[test]
    fn cookie_is_found_wherever_it_stands(
        before in prop::collection::vec("[a-z]{1,8}=[!#-+--:<-~]{0,16}", 0..5),
        after in prop::collection::vec("[a-z]{1,8}=[!#-+--:<-~]{0,16}", 0..5),
        value in "[A-Za-z0-9_-]{0,200}",
        split: bool,
    ) {
        let mut pairs = before;
        pairs.push(format!("Sid={value}"));
        pairs.extend(after);
        let headers = if split { pairs } else { vec![pairs.join("; ")] };
        let found = present(headers.iter().map(|header| header.as_bytes()), "Sid");
        prop_assert!(found == Presented::One(value.as_bytes()));
    }
}
