//! The files beside the code say what the code does: defaults, schema, and one bad example per
//! rule.
//!
//! `BLESS=1 cargo test -p tidegate-sticky-session` writes the schema again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::fs;

use beside::{bad_examples, codes_in, config_fields, folder, json, read, schema_fields};
use tidegate_policy::affinity::{Config, schema};
use tidegate_sticky_session::config::parse;

/// Is a key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Is an environment in which only the default variable is set.
fn environment(name: &str) -> Option<String> {
    (name == "TIDEGATE_STICKY_KEYS").then(|| KEYS.to_owned())
}

fn config(bytes: &[u8]) -> Config {
    parse(bytes, environment).unwrap()
}

#[test]
fn default_file_says_what_holds_without_it() {
    let written = config(&read("config.default.json"));
    assert_eq!(written, config(b"{\"clusters\": [{\"name\": \"echo\"}]}"));
}

#[test]
fn default_file_has_every_field() {
    let fields = config_fields(&json("config.default.json"), &["keys"]);
    assert_eq!(fields, schema_fields(&schema().to_value(), &["allOf"]));
    assert_eq!(fields.len(), 22);
}

#[test]
fn schema_file_is_what_the_types_say() {
    beside::assert_schema(&schema());
}

#[test]
fn bad_example_yields_exactly_its_problem_and_every_rule_has_one() {
    let found = bad_examples(|text| {
        let problems = parse(text, environment).unwrap_err();
        problems.iter().map(|problem| problem.code).collect()
    });
    let sources = [
        "policy/src/affinity/config.rs",
        "policy/src/affinity/keys.rs",
        "policy/src/affinity/rules.rs",
        "policy/src/chain.rs",
        "policy/src/clusters.rs",
        "policy/src/config/duration.rs",
        "policy/src/config/fields.rs",
        "policy/src/config/json/error.rs",
        "policy/src/ejection/config.rs",
        "policy/src/endpoints/config/check.rs",
        "policy/src/membership/fixed.rs",
        "policy/src/probe/config.rs",
        "proxy/src/configuration.rs",
    ];
    let others = [
        "content-length",
        "transfer-encoding",
        "user-agent",
        "x-tidegate-endpoint",
        // No field of this plugin is a factor.
        "factor-out-of-range",
    ];
    assert_eq!(found, codes_in(&sources, &others));
}

#[test]
fn bad_example_of_keys_shows_none_of_them() {
    for entry in fs::read_dir(folder().join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read(&path).unwrap();
        for problem in parse(&text, environment).unwrap_err() {
            let shown = problem.to_string();
            assert!(
                !shown.contains("AAECAwQF") && !shown.contains("Hx4dHBsa"),
                "{shown}"
            );
        }
    }
}
