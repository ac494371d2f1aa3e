//! The files beside the code say what the code does: defaults, schema, and one bad example per
//! rule.
//!
//! `BLESS=1 cargo test -p tidegate-health-routing` writes the schema again.
#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::collections::BTreeSet;

use beside::{bad_examples, codes_in, config_fields, json, read, schema_fields};
use tidegate_health_routing::config::parse;
use tidegate_policy::routing::schema;

#[test]
fn default_file_says_what_holds_without_it() {
    let written = parse(&read("config.default.json")).unwrap();
    let empty = parse(b"{\"clusters\": [{\"name\": \"echo\"}]}").unwrap();
    assert_eq!(written, empty);
}

#[test]
fn default_file_has_every_field() {
    // The other sources, the probes and the zones of endpoints are on the page of the picture.
    let of_the_picture = |field: &String| !field.starts_with("endpoints.");
    let kept = |fields: BTreeSet<String>| -> BTreeSet<String> {
        fields.into_iter().filter(of_the_picture).collect()
    };
    let fields = kept(config_fields(&json("config.default.json"), &[]));
    assert_eq!(
        fields,
        kept(schema_fields(&schema().to_value(), &["allOf"]))
    );
    assert_eq!(fields.len(), 22);
}

#[test]
fn schema_file_is_what_the_types_say() {
    beside::assert_schema(&schema());
}

#[test]
fn bad_example_yields_exactly_its_problem_and_every_rule_has_one() {
    let found = bad_examples(|text| {
        let problems = parse(text).unwrap_err();
        problems.iter().map(|problem| problem.code).collect()
    });
    let sources = [
        "policy/src/chain.rs",
        "policy/src/clusters.rs",
        "policy/src/config/duration.rs",
        "policy/src/config/fields.rs",
        "policy/src/config/json/error.rs",
        "policy/src/ejection/config.rs",
        "policy/src/endpoints/config/check.rs",
        "policy/src/membership/fixed.rs",
        "policy/src/probe/config.rs",
        "policy/src/routing/config.rs",
        "proxy/src/configuration.rs",
    ];
    let others = [
        "content-length",
        "transfer-encoding",
        "user-agent",
        "x-tidegate-endpoint",
        // This plugin always has them.
        "needs-endpoints",
    ];
    assert_eq!(found, codes_in(&sources, &others));
}
