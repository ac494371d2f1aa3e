//! The files beside the code say what the code does: defaults, schema, and bad examples.
//!
//! `BLESS=1 cargo test -p tidegate-stack` writes the schema again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::{collections::BTreeSet, fs};

use beside::{assert_schema, config_fields, folder, json as json_file, read, schema_fields};

use serde_json::{Map, Value, json};
use tidegate_policy::{
    config::Problem,
    stack::{Config, schema},
};
use tidegate_stack::config::parse;

/// Is a key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// Are the fields that stand at the top.
const SHARED: [&str; 6] = [
    "endpoint_header",
    "endpoints",
    "observe",
    "reason_header",
    "role",
    "trust",
];

/// Is an environment in which only the default variable is set.
fn environment(name: &str) -> Option<String> {
    (name == "TIDEGATE_STICKY_KEYS").then(|| KEYS.to_owned())
}

fn config(bytes: &[u8]) -> Config {
    parse(bytes, environment).unwrap()
}

/// Lists the bad examples of a plugin, each with its code and its text.
fn bad_examples(plugin: &str) -> Vec<(String, Vec<u8>)> {
    let folder = folder().join("..").join(plugin).join("invalid");
    let entries = fs::read_dir(folder).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (code, fs::read(&path).unwrap())
    });
    let mut examples: Vec<_> = entries.collect();
    examples.sort();
    examples
}

#[test]
fn default_file_says_what_holds_without_it() {
    let written = config(&read("config.default.json"));
    let short = json!({
        "sticky_session": { "clusters": [{ "name": "echo" }] },
        "health_routing": { "clusters": [{ "name": "echo" }] },
    });
    assert_eq!(written, config(short.to_string().as_bytes()));
}

#[test]
fn default_file_has_every_field() {
    let mut fields = config_fields(&json_file("config.default.json"), &[]);
    // What stands in an enum's object is its value, and what is null has no fields.
    let is_value = |path: &String| {
        [
            "endpoints.source.",
            "sticky_session.keys.",
            "endpoints.probe.",
        ]
        .iter()
        .any(|prefix| path.starts_with(prefix))
    };
    fields.retain(|path| !is_value(path));
    let mut expected = schema_fields(&schema().to_value(), &["allOf", "anyOf"]);
    let is_choice = |path: &String| is_value(path) || path.starts_with("endpoints.clusters[].");
    expected.retain(|path| !is_choice(path));
    assert_eq!(fields, expected);
    assert_eq!(fields.len(), 58);
}

#[test]
fn schema_file_is_what_the_types_say() {
    assert_schema(&schema());
}

/// Lists the problem codes of the stack's own sources: each has a line of its own.
fn own_codes() -> BTreeSet<String> {
    let mut codes = BTreeSet::new();
    for file in ["chain/elsewhere.rs", "stack/config.rs"] {
        let path = folder().join("../policy/src").join(file);
        let source = fs::read_to_string(path).unwrap();
        let lines = source.lines().map(str::trim);
        let literals = lines.filter_map(|line| line.strip_prefix('"')?.strip_suffix("\","));
        let is_code = |text: &&str| {
            text.contains('-')
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
        };
        codes.extend(literals.filter(is_code).map(str::to_owned));
    }
    codes
}

/// Are the codes of examples that say nothing about a filter once they stand in a stack: of a field
/// that is there twice only one is left, and one that nobody knows or that is missing is another's.
const OF_SHAPES: [&str; 3] = ["field-duplicate", "field-missing", "field-unknown"];

#[test]
fn bad_example_yields_exactly_its_problem_and_every_rule_of_the_stack_has_one() {
    let mut found = BTreeSet::new();
    for (code, text) in bad_examples("stack") {
        let problems = parse(&text, environment).unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [code.as_str()]);
        found.insert(code);
    }
    let mut expected = own_codes();
    assert_eq!(expected.len(), 4);
    // Those of shapes, and the one that a filter has for a stack.
    expected.extend(["field-unknown", "needs-endpoints", "value-unknown"].map(String::from));
    assert_eq!(found, expected);
}

/// Makes of the configuration of a filter the one of a stack that has this filter only.
fn in_stack(filter: &str, alone: &Map<String, Value>) -> Value {
    let (mut stack, mut own) = (Map::new(), Map::new());
    for (name, field) in alone {
        let place = if SHARED.contains(&name.as_str()) {
            &mut stack
        } else {
            &mut own
        };
        place.insert(name.clone(), field.clone());
    }
    if filter == "sticky_session" && !alone.contains_key("endpoints") {
        stack.insert("endpoints".to_owned(), Value::Null);
    }
    stack.insert(filter.to_owned(), Value::Object(own));
    Value::Object(stack)
}

/// What is refused alone is refused in a stack, for the same reason and where it stands now. Any
/// filter's example that is JSON will do: the text of those that are not says nothing about a filter.
#[test]
fn bad_example_of_a_filter_yields_its_problem_in_a_stack_too() {
    for (plugin, filter) in [
        ("sticky-session", "sticky_session"),
        ("health-routing", "health_routing"),
    ] {
        let mut compared = 0;
        for (code, text) in bad_examples(plugin) {
            let Ok(Value::Object(alone)) = serde_json::from_slice(&text) else {
                continue;
            };
            if OF_SHAPES.contains(&code.as_str()) {
                continue;
            }
            let stack = in_stack(filter, &alone).to_string();
            let problems = parse(stack.as_bytes(), environment).unwrap_err();
            let [
                Problem {
                    path, code: found, ..
                },
            ] = problems.as_slice()
            else {
                panic!("{plugin} {code}: {problems:?}")
            };
            assert_eq!(*found, code, "{plugin}");
            let own = format!("$.{filter}.");
            let is_shared = SHARED
                .iter()
                .any(|name| path.starts_with(&format!("$.{name}")));
            assert!(
                path.starts_with(&own) || is_shared,
                "{plugin} {code}: {path}"
            );
            compared += 1;
        }
        assert!(compared > 35, "{plugin}: {compared}");
    }
}

#[test]
fn bad_example_of_keys_shows_none_of_them() {
    for (code, text) in bad_examples("sticky-session") {
        let Ok(Value::Object(alone)) = serde_json::from_slice(&text) else {
            continue;
        };
        if OF_SHAPES.contains(&code.as_str()) {
            continue;
        }
        let stack = in_stack("sticky_session", &alone).to_string();
        for problem in parse(stack.as_bytes(), environment).unwrap_err() {
            let shown = problem.to_string();
            let is_shown = shown.contains("AAECAwQF") || shown.contains("Hx4dHBsa");
            assert!(!is_shown, "{code}: {shown}");
        }
    }
}
