use alloc::{
    string::{String, ToString},
    vec::Vec,
};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(
    deny_unknown_fields,
    expecting = "a string or an object",
    rename_all = "snake_case"
)]
enum Source {
    #[expect(dead_code, reason = "only the shape matters")]
    Environment(String),
    #[expect(dead_code, reason = "only the shape matters")]
    Inline(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[expect(dead_code, reason = "only the shape matters")]
struct Raw {
    rows: Vec<Row>,
    keys: Option<Source>,
    #[serde(default, deserialize_with = "unique_map")]
    weights: BTreeMap<String, u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
#[expect(dead_code, reason = "only the shape matters")]
struct Row {
    size: u32,
}

#[test]
fn shape_that_is_wrong_is_found_at_its_path_with_its_code() {
    let cases = [
        ("{", "$", "json-syntax"),
        ("", "$", "json-syntax"),
        ("{\"rows\": []} x", "$", "json-syntax"),
        ("{\"rows\": [],}", "$", "json-syntax"),
        ("{\"rows\": [{\"size\": 01}]}", "$", "json-syntax"),
        (
            "{\"rows\": [], \"keys\": {\"inline\": \"a\", \"inline\": \"b\"}}",
            "$.keys",
            "type-mismatch",
        ),
        ("{}", "$", "field-missing"),
        ("[]", "$", "type-mismatch"),
        (
            "{\"rows\": [{\"size\": 1}, {\"size\": \"big\"}]}",
            "$.rows[1].size",
            "type-mismatch",
        ),
        (
            "{\"rows\": [{\"size\": -1}]}",
            "$.rows[0].size",
            "type-mismatch",
        ),
        (
            "{\"rows\": [{\"size\": 1.5}]}",
            "$.rows[0].size",
            "type-mismatch",
        ),
        (
            "{\"rows\": [{\"size\": 4294967296}]}",
            "$.rows[0].size",
            "type-mismatch",
        ),
        (
            "{\"rows\": [{\"size\": null}]}",
            "$.rows[0].size",
            "type-mismatch",
        ),
        ("{\"rows\": [{\"sise\": 1}]}", "$.rows[0]", "field-unknown"),
        (
            "{\"rows\": [{\"size\": 1, \"size\": 2}]}",
            "$.rows[0]",
            "field-duplicate",
        ),
        (
            "{\"rows\": [], \"weights\": {\"a\": 1, \"a\": 2}}",
            "$.weights",
            "field-duplicate",
        ),
        (
            "{\"rows\": [], \"keys\": {\"file\": \"x\"}}",
            "$.keys",
            "value-unknown",
        ),
        (
            "{\"rows\": [], \"keys\": \"inline\"}",
            "$.keys",
            "type-mismatch",
        ),
    ];
    for (text, path, code) in cases {
        let problem = from_json::<Raw>(text, "$.keys").unwrap_err();
        assert_eq!(
            (problem.path.as_str(), problem.code),
            (path, code),
            "{text}: {problem}"
        );
    }
}

#[test]
fn brackets_are_nested_up_to_the_limit_and_not_deeper() {
    #[derive(Debug, Deserialize)]
    struct Tree(#[expect(dead_code, reason = "only the shape matters")] Vec<Self>);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(from_json::<Tree>(&nested(64), "").is_ok());
    assert_eq!(
        from_json::<Tree>(&nested(65), "").unwrap_err().code,
        "json-syntax"
    );
    assert_eq!(
        from_json::<Tree>(&"[".repeat(1_000_000), "")
            .unwrap_err()
            .code,
        "json-syntax"
    );
}

#[test]
fn syntax_problem_names_line_and_column() {
    let problem = from_json::<Raw>("{\n  \"rows\": [}\n}", "").unwrap_err();
    assert_eq!(
        problem.message,
        "must be JSON, but this is no value at line 2 column 12"
    );
}

#[test]
fn content_of_a_secret_place_is_in_no_message() {
    for text in [
        "{\"rows\": [], \"keys\": \"1:SECRET\"}",
        "{\"rows\": [], \"keys\": {\"1:SECRET\": 1}}",
        "{\"rows\": [], \"keys\": {\"inline\": [\"1:SECRET\"]}}",
        "{\"rows\": [], \"keys\": [\"1:SECRET\"]}",
        "\"{\\\"keys\\\": {\\\"inline\\\": \\\"1:SECRET\\\"}}\"",
        "{\"rows\": \"1:SECRET\\\"\"}",
        "{\"rows\": [], \"keys\": {\"inline\": \"1:SECRET\"} x",
        "{\"rows\": [], \"keys\": {\"inline\": \"1:SECRET",
    ] {
        let problem = from_json::<Raw>(text, "$.keys").unwrap_err();
        assert!(!problem.to_string().contains("SECRET"), "{text}: {problem}");
    }
}

/// Any JSON, with strings, numbers and nesting of all kinds.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..4)
                .prop_map(serde_json::Value::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn string_is_read_as_a_general_reader_reads_it(text in any::<String>(), ascii: bool) {
        let mut written = String::new();
        write_json_string(&mut written, &text);
        prop_assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text.as_str());
        if ascii {
            written = String::from("\"");
            for unit in text.encode_utf16() {
                written.push_str(&format!("\\u{unit:04X}"));
            }
            written.push('"');
        }
        prop_assert_eq!(from_json::<String>(&written, "").unwrap(), text);
    }

    #[test]
    fn text_is_taken_exactly_when_a_general_reader_takes_it(
        text in "[\\[\\]{},:\"\\\\ a0-9.eE+nultrfs-]{0,12}",
    ) {
        let ours = from_json::<Vec<Option<Vec<f64>>>>(&text, "").is_ok();
        let general = serde_json::from_str::<Vec<Option<Vec<f64>>>>(&text).is_ok();
        prop_assert_eq!(ours, general);
        let ours = from_json::<BTreeMap<String, Option<String>>>(&text, "").is_ok();
        let general = serde_json::from_str::<BTreeMap<String, Option<String>>>(&text).is_ok();
        prop_assert_eq!(ours, general);
    }

    #[test]
    fn any_json_is_refused_or_taken_and_never_panics(value in json(), cut in 0..64_usize) {
        let text = value.to_string();
        let _ = from_json::<Raw>(&text, "");
        let _ = from_json::<Raw>(text.get(..cut).unwrap_or_default(), "");
    }
}
