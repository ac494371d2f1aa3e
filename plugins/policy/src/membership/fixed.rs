//! A list of endpoints that stands in the configuration.

use alloc::{format, string::String};
use core::num::NonZeroU32;

use serde::Deserialize;

use super::{
    feed::parse_address,
    listing::{Listed, Listing, MAX_ENDPOINTS, MAX_ZONE_BYTES, MAX_ZONES},
    refusal::Why,
};
use crate::config::{Problem, Problems};

/// Is one endpoint as a configuration writes it; nothing is checked yet.
#[derive(Clone, Debug, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema, serde::Serialize))]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct StaticEndpoint {
    /// The IP and the port, such as `10.0.0.1:80` or `[2001:db8::1]:80`. Each once.
    address: String,
    /// The share of the traffic in relation to the others', at least 1.
    #[serde(default = "default_weight")]
    weight: u32,
    /// The zone where it runs, at most 128 bytes; empty for none. At most 64 different ones.
    #[serde(default)]
    zone: String,
    /// The priority, 0 to 127: those with the lowest one that has an available endpoint are chosen.
    #[serde(default)]
    priority: u32,
}

/// Is the highest priority: as many levels as Envoy knows.
/// SOURCE: the bound of `LocalityLbEndpoints.priority`, 128, which it excludes.
const MAX_PRIORITY: u32 = 127;

const fn default_weight() -> u32 {
    1
}

/// Makes a listing of what a configuration says about a cluster.
///
/// `path` is where the list stands. What is wrong is added to `problems`, and the listing then
/// lacks it: use it only where no problem was found.
///
/// # Errors
/// An address that is none: `endpoint-address-malformed`. One that is there twice:
/// `endpoint-duplicate`. A weight of 0: `endpoint-weight-zero`. A long zone:
/// `endpoint-zone-too-long`; many: `endpoint-zones-too-many`. A priority above 127:
/// `endpoint-priority-out-of-range`. More than 10 000 endpoints, or none:
/// `endpoints-count`.
#[must_use]
pub fn static_listing(
    path: &str,
    cluster: &str,
    endpoints: &[StaticEndpoint],
    problems: &mut Problems,
) -> Listing {
    let mut listing = Listing::new(cluster);
    if endpoints.is_empty() || endpoints.len() > MAX_ENDPOINTS {
        problems.push(Problem::new(
            path,
            "endpoints-count",
            format!(
                "must have 1 to {MAX_ENDPOINTS} endpoints, got {}",
                endpoints.len()
            ),
            "",
        ));
        return listing;
    }
    for (index, endpoint) in endpoints.iter().enumerate() {
        let at = |field: &str| format!("{path}[{index}].{field}");
        let Some(weight) = NonZeroU32::new(endpoint.weight) else {
            let message = "must be at least 1, got 0";
            problems.push(Problem::new(
                at("weight"),
                "endpoint-weight-zero",
                message,
                "",
            ));
            continue;
        };
        let Some(address) = parse_address(&endpoint.address) else {
            problems.push(Problem::new(
                at("address"),
                "endpoint-address-malformed",
                format!("must be an IP and a port, got {:?}", endpoint.address),
                "write \"10.0.0.1:80\" or \"[2001:db8::1]:80\"",
            ));
            continue;
        };
        if endpoint.priority > MAX_PRIORITY {
            problems.push(Problem::new(
                at("priority"),
                "endpoint-priority-out-of-range",
                format!(
                    "must be from 0 to {MAX_PRIORITY}, got {}",
                    endpoint.priority
                ),
                "",
            ));
            continue;
        }
        let listed = Listed {
            weight,
            priority: endpoint.priority,
            ..Listed::default()
        };
        let (field, code, message) = match listing.add(address, &endpoint.zone, listed) {
            Ok(()) => continue,
            Err(Why::TooManyZones) => (
                "zone",
                "endpoint-zones-too-many",
                format!("must be one of at most {MAX_ZONES} zones"),
            ),
            Err(Why::TooLong { .. }) => (
                "zone",
                "endpoint-zone-too-long",
                format!(
                    "must have at most {MAX_ZONE_BYTES} bytes, got {}",
                    endpoint.zone.len()
                ),
            ),
            // An address that is there already is all that remains.
            Err(_) => (
                "address",
                "endpoint-duplicate",
                format!("must be there once, got {:?} again", endpoint.address),
            ),
        };
        problems.push(Problem::new(at(field), code, message, ""));
    }
    listing
}

#[cfg(test)]
mod tests {
    use alloc::{string::ToString, vec::Vec};

    use super::*;
    use crate::config::from_json;

    fn addresses(listing: &Listing) -> Vec<String> {
        let endpoints = listing.endpoints();
        endpoints.map(|(address, _)| address.to_string()).collect()
    }

    fn read(text: &str) -> (Listing, Vec<(String, &'static str)>) {
        let raw: Vec<StaticEndpoint> = from_json(text, "").unwrap();
        let mut problems = Problems::new();
        let listing = static_listing("$.endpoints", "echo", &raw, &mut problems);
        let problems = problems.into_sorted().into_iter();
        (
            listing,
            problems
                .map(|problem| (problem.path, problem.code))
                .collect(),
        )
    }

    #[test]
    fn static_list_keeps_address_weight_and_zone() {
        let (listing, problems) = read(
            r#"[{"address": "10.0.0.2:80", "weight": 7, "zone": "a", "priority": 127},
                {"address": "[::1]:80"}]"#,
        );
        assert_eq!(problems, []);
        assert_eq!(addresses(&listing), ["10.0.0.2:80", "[::1]:80"]);
        let (_, first) = listing.endpoints().next().unwrap();
        assert_eq!((first.weight.get(), listing.zone(first.zone)), (7, "a"));
        assert_eq!(first.priority, 127);
        let (_, last) = listing.endpoints().last().unwrap();
        assert_eq!((last.weight.get(), listing.zone(last.zone)), (1, ""));
        assert_eq!(last.priority, 0);
    }

    #[test]
    fn static_list_with_faults_names_all_of_them() {
        let zone = "z".repeat(MAX_ZONE_BYTES + 1);
        let (_, problems) = read(&format!(
            r#"[{{"address": "echo:80"}}, {{"address": "10.0.0.1:0"}},
                {{"address": "10.0.0.1:80", "weight": 0}}, {{"address": "10.0.0.1:80"}},
                {{"address": "10.0.0.1:80"}}, {{"address": "10.0.0.2:80", "zone": "{zone}"}},
                {{"address": "10.0.0.3:80", "priority": 128}}]"#
        ));
        let expected = [
            ("$.endpoints[0].address", "endpoint-address-malformed"),
            ("$.endpoints[1].address", "endpoint-address-malformed"),
            ("$.endpoints[2].weight", "endpoint-weight-zero"),
            ("$.endpoints[4].address", "endpoint-duplicate"),
            ("$.endpoints[5].zone", "endpoint-zone-too-long"),
            ("$.endpoints[6].priority", "endpoint-priority-out-of-range"),
        ];
        assert_eq!(problems, expected.map(|(path, code)| (path.into(), code)));
        assert_eq!(read("[]").1, [("$.endpoints".into(), "endpoints-count")]);
    }

    #[test]
    fn static_list_at_its_caps_is_whole_and_above_is_a_problem() {
        let list = |count: usize, zones: usize| {
            let items = (0..count).map(|index| {
                let (high, low) = (index / 256, index % 256);
                let zone = index % zones;
                format!(r#"{{"address": "10.0.{high}.{low}:80", "zone": "z{zone}"}}"#)
            });
            read(&format!("[{}]", items.collect::<Vec<_>>().join(",")))
        };
        let (listing, problems) = list(MAX_ENDPOINTS, MAX_ZONES);
        assert_eq!(
            (listing.endpoints().len(), problems),
            (MAX_ENDPOINTS, Vec::new())
        );
        let (_, problems) = list(MAX_ENDPOINTS + 1, 1);
        assert_eq!(problems, [("$.endpoints".into(), "endpoints-count")]);
        let (_, problems) = list(MAX_ZONES + 1, MAX_ZONES + 1);
        assert_eq!(
            problems,
            [("$.endpoints[64].zone".into(), "endpoint-zones-too-many")]
        );
    }
}
