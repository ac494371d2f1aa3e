//! What is read from a controller's feed: the format's every rule, with its place.

use proptest::prelude::*;
use tidegate_policy::membership::{
    Discovered, FeedParser, Listing, MAX_ENDPOINTS, MAX_ZONE_BYTES, MAX_ZONES, Progress, Refused,
    Why,
};

fn read_in_slices(bytes: &[u8], budget: usize) -> Result<Vec<Listing>, Refused> {
    let mut parser = FeedParser::new();
    loop {
        match parser.advance(bytes, budget) {
            Progress::More { read } => assert!(read <= bytes.len()),
            Progress::Done(listings) => return Ok(listings),
            Progress::Refused(refused) => return Err(refused),
        }
    }
}

fn read(text: &str) -> Result<Vec<Listing>, Refused> {
    read_in_slices(text.as_bytes(), 100)
}

fn echo(endpoints: &str) -> String {
    format!(r#"{{"version": 1, "clusters": [{{"name": "echo", "endpoints": [{endpoints}]}}]}}"#)
}

#[test]
fn feed_with_every_field_is_read_in_any_order() {
    let text = r#"{"clusters": [
        {"endpoints": [], "name": "void"},
        {"endpoints": [
            {"zone": "a", "weight": 2, "health": "draining", "priority": 1, "address": "10.0.0.1:80",
             "annotations": {"pod": "echo-1"}},
            {"address": "[2001:db8::1]:80", "zone": null, "health": "healthy"},
            {"address": "10.0.0.2:80", "health": "degraded"},
            {"address": "10.0.0.3:80", "health": "unhealthy", "weight": 4294967295}
        ], "name": "echo"}], "generated_by": "a controller", "version": 1}"#;
    let listings = read(text).unwrap();
    let names: Vec<_> = listings.iter().map(Listing::cluster).collect();
    assert_eq!(names, ["echo", "void"]);
    let echo = &listings[0];
    let found: Vec<_> = echo
        .endpoints()
        .map(|(address, listed)| {
            let zone = echo.zone(listed.zone).to_owned();
            (
                address.to_string(),
                listed.weight.get(),
                zone,
                listed.health.discovered,
            )
        })
        .collect();
    let expected = [
        ("10.0.0.1:80", 2, "a", Discovered::Draining),
        ("10.0.0.2:80", 1, "", Discovered::Degraded),
        ("10.0.0.3:80", u32::MAX, "", Discovered::Unhealthy),
        ("[2001:db8::1]:80", 1, "", Discovered::Healthy),
    ];
    assert_eq!(
        found,
        expected.map(|(address, weight, zone, health)| (
            address.to_owned(),
            weight,
            zone.to_owned(),
            health
        ))
    );
    assert_eq!(echo.endpoints().next().unwrap().1.priority, 1);
}

#[test]
fn feed_that_breaks_a_rule_is_refused_with_reason_and_place() {
    let wrong = |field, wanted| Why::WrongType { field, wanted };
    let one = |fields: &str| echo(&format!(r#"{{"address": "10.0.0.1:80", {fields}}}"#));
    let long = format!(r#""zone": "{}""#, "z".repeat(MAX_ZONE_BYTES + 1));
    let cases = [
        (String::new(), Why::Truncated, None),
        ("{}".into(), Why::Missing { field: "version" }, None),
        (r#"{"clusters": []}"#.into(), Why::Missing { field: "version" }, None),
        (r#"{"version": 1}"#.into(), Why::Missing { field: "clusters" }, None),
        (r#"{"version": 2, "clusters": []}"#.into(), Why::UnknownVersion { found: 2 }, None),
        (r#"{"version": "one"}"#.into(), wrong("version", "a whole number"), None),
        (r#"{"version": 1, "version": 1}"#.into(), Why::FieldTwice { field: "version" }, None),
        (r#"{"version": 1, "clusters": {}}"#.into(), wrong("clusters", "an array"), None),
        (
            r#"{"version": 1, "clusters": [{"name": "a"}]}"#.into(),
            Why::Missing { field: "endpoints" },
            None,
        ),
        (
            r#"{"version": 1, "clusters": [{"endpoints": []}]}"#.into(),
            Why::Missing { field: "name" },
            None,
        ),
        (
            r#"{"version": 1, "clusters": [{"name": "a", "endpoints": null}]}"#.into(),
            Why::Missing { field: "endpoints" },
            None,
        ),
        (
            r#"{"version": 1, "clusters": [{"name": "a", "endpoints": []}, {"name": "a", "endpoints": []}]}"#
                .into(),
            Why::ClusterTwice,
            None,
        ),
        (echo("{}"), Why::Missing { field: "address" }, Some(0)),
        (echo(r#""10.0.0.1:80""#), wrong("an endpoint", "an object"), None),
        (echo(r#"{"address": "echo:80"}"#), Why::BadAddress, Some(0)),
        (echo(r#"{"address": "10.0.0.1:0"}"#), Why::BadAddress, Some(0)),
        (echo(r#"{"address": 1}"#), wrong("address", "a string"), Some(0)),
        (
            echo(r#"{"address": "10.0.0.1:80"}, {"address": "10.0.0.1:80"}"#),
            Why::EndpointTwice,
            Some(1),
        ),
        (one(r#""weight": 0"#), Why::OutOfRange { field: "weight" }, Some(0)),
        (one(r#""weight": 4294967296"#), Why::OutOfRange { field: "weight" }, Some(0)),
        (one(r#""weight": 0.5"#), wrong("weight", "a whole number"), Some(0)),
        (one(r#""priority": 4294967296"#), Why::OutOfRange { field: "priority" }, Some(0)),
        (one(r#""health": "up""#), Why::UnknownHealth, Some(0)),
        (one(r#""health": true"#), wrong("health", "a string"), Some(0)),
        (one(&long), Why::TooLong { field: "zone" }, Some(0)),
    ];
    for (text, why, at_endpoint) in cases {
        let refused = read(&text).unwrap_err();
        assert_eq!(
            (refused.why, refused.at_endpoint),
            (why, at_endpoint),
            "{text:.120}"
        );
        assert!(refused.at_byte <= text.len());
    }
}

#[test]
fn feed_at_its_caps_is_read_and_above_is_refused() {
    let many = |count: usize, zones: usize| {
        let list = (0..count).map(|index| {
            let zone = index % zones;
            format!(
                r#"{{"address": "10.{}.{}.{}:80", "zone": "z{zone}"}}"#,
                index >> 16,
                (index >> 8) & 255,
                index & 255
            )
        });
        echo(&list.collect::<Vec<_>>().join(","))
    };
    let listings = read(&many(MAX_ENDPOINTS, MAX_ZONES)).unwrap();
    assert_eq!(listings[0].endpoints().len(), MAX_ENDPOINTS);
    let refused = read(&many(100_000, 1)).unwrap_err();
    assert_eq!(
        (refused.why, refused.at_endpoint),
        (Why::TooManyEndpoints, Some(MAX_ENDPOINTS))
    );
    let refused = read(&many(MAX_ZONES + 1, MAX_ZONES + 1)).unwrap_err();
    assert_eq!(
        (refused.why, refused.at_endpoint),
        (Why::TooManyZones, Some(MAX_ZONES))
    );
}

proptest! {
    #[test]
    fn any_bytes_end_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = read_in_slices(&bytes, 7);
    }

    #[test]
    fn feed_cut_off_or_mutated_is_refused_or_whole(at in any::<proptest::sample::Index>(), byte in any::<u8>(), budget in 0_usize..50) {
        let text = echo(r#"{"address": "10.0.0.1:80", "weight": 3}, {"address": "[::1]:80", "zone": "\u00e9"}"#);
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        let cut = read_in_slices(&bytes[..at], budget).unwrap_err();
        prop_assert_eq!(cut.why, Why::Truncated);
        bytes[at] = byte;
        let sliced = read_in_slices(&bytes, budget);
        prop_assert_eq!(&sliced, &read_in_slices(&bytes, usize::MAX));
        if let Ok(listings) = sliced {
            prop_assert_eq!(listings[0].endpoints().len(), 2);
        }
    }
}
