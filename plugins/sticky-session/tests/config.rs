//! The files beside the code say what the code does: defaults, schema, and one bad example per
//! rule.
//!
//! `BLESS=1 cargo test -p tidegate-sticky-session` writes the schema again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tidegate_policy::affinity::{Config, schema};
use tidegate_sticky_session::config::parse;

/// Is a key for tests: bytes 0 to 31.
const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_default()
}

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

/// Lists the fields of a schema below `path`, as `clusters[].ttl`.
fn schema_fields(root: &Value, schema: &Value, path: &str, fields: &mut BTreeSet<String>) {
    let reference = schema.get("$ref").and_then(Value::as_str);
    if let Some(pointer) = reference.and_then(|reference| reference.strip_prefix('#')) {
        return schema_fields(root, root.pointer(pointer).unwrap(), path, fields);
    }
    for (name, field) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        schema_fields(root, field, &path, fields);
        fields.insert(path);
    }
    if let Some(items) = schema.get("items") {
        schema_fields(root, items, &format!("{path}[]"), fields);
    }
    for part in schema
        .get("allOf")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        schema_fields(root, part, path, fields);
    }
}

/// Lists the fields of a configuration in the same way; what stands in an enum's object is its
/// value.
fn config_fields(value: &Value, path: &str, fields: &mut BTreeSet<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if name != "keys" {
            config_fields(field, &path, fields);
        }
        fields.insert(path);
    }
    for item in value.as_array().into_iter().flatten() {
        config_fields(item, &format!("{path}[]"), fields);
    }
}

fn all_fields() -> BTreeSet<String> {
    let schema = schema().to_value();
    let mut fields = BTreeSet::new();
    schema_fields(&schema, &schema, "", &mut fields);
    fields
}

#[test]
fn default_file_has_every_field() {
    let default: Value = serde_json::from_slice(&read("config.default.json")).unwrap();
    let mut fields = BTreeSet::new();
    config_fields(&default, "", &mut fields);
    assert_eq!(fields, all_fields());
    assert_eq!(fields.len(), 22);
}

#[test]
fn schema_file_is_what_the_types_say() {
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(folder().join("config.schema.json"), &schema).unwrap();
    }
    let written = String::from_utf8(read("config.schema.json")).unwrap();
    assert_eq!(written, schema, "BLESS=1 writes it again");
}

/// Lists the problem codes of the sources: string literals that look like one and are no header's
/// name.
fn codes_in_sources() -> BTreeSet<String> {
    let plugins = folder().join("..");
    let mut codes = BTreeSet::new();
    for file in [
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
    ] {
        let source = fs::read_to_string(plugins.join(file)).unwrap();
        let code = source.split("#[cfg(test)]").next().unwrap();
        for literal in code.split('"').skip(1).step_by(2) {
            let words: Vec<&str> = literal.split('-').collect();
            let is_word = |word: &&str| {
                !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase())
            };
            if words.len() > 1 && words.iter().all(is_word) {
                codes.insert(literal.to_owned());
            }
        }
    }
    for header in [
        "content-length",
        "transfer-encoding",
        "user-agent",
        "x-tidegate-endpoint",
    ] {
        assert!(codes.remove(header));
    }
    // No field of this plugin is a factor.
    assert!(codes.remove("factor-out-of-range"));
    codes
}

#[test]
fn bad_example_yields_exactly_its_problem_and_every_rule_has_one() {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder().join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let problems = parse(&fs::read(&path).unwrap(), environment).unwrap_err();
        let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
        assert_eq!(codes, [code.as_str()], "{}", path.display());
        found.insert(code);
    }
    assert_eq!(found, codes_in_sources());
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
