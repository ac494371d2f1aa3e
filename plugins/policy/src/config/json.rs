//! JSON to a raw configuration, and serde's findings in our form.

use alloc::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
    format,
    string::{String, ToString},
};
use core::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, Visitor},
};
use serde_json::error::Category;

use super::Problem;

/// Reads JSON into a raw configuration, or says where and why not.
///
/// `secret_path` begins the paths whose content is never shown (`keys`); empty hides nothing.
/// A string that stands where something else was expected is never shown either: it may be a whole
/// configuration, quoted once too often, with keys in it.
///
/// # Errors
/// Not JSON: `json-syntax`, with line and column.
/// JSON of another shape: `field-unknown`, `field-missing`, `field-duplicate`, `value-unknown` or
/// `type-mismatch`. Only the first is found.
pub fn from_json<T: DeserializeOwned>(text: &str, secret_path: &str) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let secret = !secret_path.is_empty() && path.starts_with(secret_path);
        describe(&path, error.inner(), secret)
    })?;
    deserializer
        .end()
        .map_err(|error| describe(".", &error, false))?;
    Ok(value)
}

/// Turns an error of serde into a problem.
fn describe(path: &str, error: &serde_json::Error, secret: bool) -> Problem {
    let path = if path == "." {
        String::from("$")
    } else {
        format!("$.{path}")
    };
    let text = error.to_string();
    // Serde appends the place to what it says.
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = text.strip_suffix(place.as_str()).unwrap_or(&text);
    if error.classify() != Category::Data {
        return Problem {
            path: String::from("$"),
            code: "json-syntax",
            message: format!("must be JSON, but {said}{place}"),
            help: Cow::Borrowed("mind commas, quotes and brackets; comments are not JSON"),
        };
    }
    let (rule, expected) = match said.split_once(", expected ") {
        Some((rule, expected)) => (rule, Cow::Owned(format!("expected {expected}"))),
        None => (said, Cow::Borrowed("")),
    };
    let code = if rule.starts_with("unknown field") {
        "field-unknown"
    } else if rule.starts_with("missing field") {
        "field-missing"
    } else if rule.starts_with("duplicate") {
        "field-duplicate"
    } else if rule.starts_with("unknown variant") {
        "value-unknown"
    } else {
        "type-mismatch"
    };
    Problem {
        path,
        code,
        message: without_content(rule, secret),
        help: expected,
    }
}

/// Cuts out of serde's words what the configuration holds: all of it in a secret place, and strings
/// everywhere.
fn without_content(rule: &str, secret: bool) -> String {
    let mut text = cut(rule, '"');
    if secret && !rule.starts_with("missing field") {
        text = cut(&text, '`');
    }
    text
}

/// Drops what stands between the first and the last `quote`.
fn cut(text: &str, quote: char) -> String {
    let inside = text
        .split_once(quote)
        .and_then(|(head, rest)| rest.rsplit_once(quote).map(|(_, tail)| (head, tail)));
    inside.map_or_else(
        || String::from(text),
        |(head, tail)| format!("{head}(not shown){tail}"),
    )
}

/// Reads a map whose keys are all different; serde alone lets the last of two win silently.
///
/// Use it as `#[serde(deserialize_with = "unique_map")]`.
///
/// # Errors
/// A key that is there twice, as a `duplicate` message of the deserializer.
pub fn unique_map<'de, D, V>(deserializer: D) -> Result<BTreeMap<String, V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    struct Unique<V>(PhantomData<V>);

    impl<'de, V: Deserialize<'de>> Visitor<'de> for Unique<V> {
        type Value = BTreeMap<String, V>;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a map")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
            let mut map = BTreeMap::new();
            while let Some(key) = access.next_key::<String>()? {
                match map.entry(key) {
                    Entry::Occupied(entry) => {
                        let key = entry.key();
                        return Err(A::Error::custom(format_args!("duplicate key `{key}`")));
                    }
                    Entry::Vacant(entry) => entry.insert(access.next_value()?),
                };
            }
            Ok(map)
        }
    }

    deserializer.deserialize_map(Unique(PhantomData))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    enum Source {
        #[expect(dead_code, reason = "only the shape matters")]
        Environment(String),
        #[expect(dead_code, reason = "only the shape matters")]
        Inline(String),
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only the shape matters")]
    struct Raw {
        rows: Vec<Row>,
        keys: Option<Source>,
        #[serde(default, deserialize_with = "unique_map")]
        weights: BTreeMap<String, u32>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
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
            ("{}", "$", "field-missing"),
            (
                "{\"rows\": [{\"size\": 1}, {\"size\": \"big\"}]}",
                "$.rows[1].size",
                "type-mismatch",
            ),
            (
                "{\"rows\": [{\"sise\": 1}]}",
                "$.rows[0].sise",
                "field-unknown",
            ),
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
        ];
        for (text, path, code) in cases {
            let problem = from_json::<Raw>(text, "keys").unwrap_err();
            assert_eq!(
                (problem.path.as_str(), problem.code),
                (path, code),
                "{text}: {problem}"
            );
        }
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
        ] {
            let problem = from_json::<Raw>(text, "keys").unwrap_err();
            assert!(!problem.to_string().contains("SECRET"), "{text}: {problem}");
        }
    }
}
