//! Reads the files beside a module, for the tests that compare them with the code. Every module's
//! tests include this file.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "not every test wants all of it"
)]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// Is the module's folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

/// Is a file beside the module; nothing where there is none.
pub(crate) fn read(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap_or_default()
}

/// Is a text beside the module.
pub(crate) fn text(name: &str) -> String {
    String::from_utf8(read(name)).unwrap()
}

/// Is JSON beside the module.
pub(crate) fn json(name: &str) -> Value {
    serde_json::from_slice(&read(name)).unwrap()
}

/// Compares the schema beside the module with what the types say; `BLESS=1` writes it again.
pub(crate) fn assert_schema(schema: &schemars::Schema) {
    let schema = serde_json::to_string_pretty(schema).unwrap() + "\n";
    if std::env::var_os("BLESS").is_some() {
        fs::write(folder().join("config.schema.json"), &schema).unwrap();
    }
    assert_eq!(
        text("config.schema.json"),
        schema,
        "BLESS=1 writes it again"
    );
}

/// Lists the fields of a schema, as `clusters[].ttl`. Those of its `parts` are its own: of `allOf`, and
/// of `anyOf` where objects that may be null are looked into.
pub(crate) fn schema_fields(schema: &Value, parts: &[&str]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    add_schema_fields(schema, schema, "", parts, &mut fields);
    fields
}

fn add_schema_fields(
    root: &Value,
    schema: &Value,
    path: &str,
    parts: &[&str],
    fields: &mut BTreeSet<String>,
) {
    let reference = schema.get("$ref").and_then(Value::as_str);
    if let Some(pointer) = reference.and_then(|reference| reference.strip_prefix('#')) {
        return add_schema_fields(root, root.pointer(pointer).unwrap(), path, parts, fields);
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, field) in properties.into_iter().flatten() {
        let path = below(path, name);
        add_schema_fields(root, field, &path, parts, fields);
        fields.insert(path);
    }
    if let Some(items) = schema.get("items") {
        add_schema_fields(root, items, &format!("{path}[]"), parts, fields);
    }
    for name in parts {
        let part = schema.get(name).and_then(Value::as_array);
        for part in part.into_iter().flatten() {
            add_schema_fields(root, part, path, parts, fields);
        }
    }
}

/// Lists the fields of a configuration in the same way; what stands below one of the `values` is
/// its value.
pub(crate) fn config_fields(config: &Value, values: &[&str]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    add_config_fields(config, "", values, &mut fields);
    fields
}

fn add_config_fields(value: &Value, path: &str, values: &[&str], fields: &mut BTreeSet<String>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = below(path, name);
        if !values.contains(&path.as_str()) {
            add_config_fields(field, &path, values, fields);
        }
        fields.insert(path);
    }
    for item in value.as_array().into_iter().flatten() {
        add_config_fields(item, &format!("{path}[]"), values, fields);
    }
}

/// Lists the problem codes of sources below `plugins`: string literals that look like one and are
/// none of the `others`, which all have to be there.
pub(crate) fn codes_in(files: &[&str], others: &[&str]) -> BTreeSet<String> {
    let plugins = folder().join("..");
    let mut codes = BTreeSet::new();
    for file in files {
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
    for other in others {
        assert!(codes.remove(*other), "{other}");
    }
    codes
}

/// Calls `problems` with every bad example; lists their names after each was found to have exactly
/// the problem that it is named for.
pub(crate) fn bad_examples(problems: impl Fn(&[u8]) -> Vec<&'static str>) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder().join("invalid")).unwrap() {
        let path = entry.unwrap().path();
        let code = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let codes = problems(&fs::read(&path).unwrap());
        assert_eq!(codes, [code.as_str()], "{}", path.display());
        found.insert(code);
    }
    found
}

/// Lists the rows of the table of a page whose first column has this title, without its head.
pub(crate) fn table(page: &str, title: &str) -> Vec<Vec<String>> {
    let page = text(page);
    let rows = page
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {title} |")))
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows: Vec<Vec<String>> = rows
        .map(|row| {
            let cells = row.trim_matches('|').split(" | ");
            cells.map(|cell| cell.trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "there is no table of {title}");
    rows
}

/// Lists what stands between back-ticks.
pub(crate) fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Lists the first column of a table, without back-ticks.
pub(crate) fn names(rows: &[Vec<String>]) -> BTreeSet<String> {
    rows.iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect()
}

/// Lists what stands between back-ticks in the first column of a page's table, sorted.
pub(crate) fn quoted_names(page: &str, title: &str) -> Vec<String> {
    let mut names: Vec<String> = table(page, title)
        .iter()
        .flat_map(|row| quoted(&row[0]).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    names.sort();
    names
}

/// Lists the fields of a configuration with their values, as a page shows them, sorted. Below one of
/// the `values` stands its value; of one of `elsewhere` another page tells.
pub(crate) fn shown_fields(
    config: &Value,
    values: &[&str],
    elsewhere: &[&str],
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    add_shown_fields(config, "", values, elsewhere, &mut found);
    found.sort();
    found
}

fn add_shown_fields(
    value: &Value,
    path: &str,
    values: &[&str],
    elsewhere: &[&str],
    found: &mut Vec<(String, String)>,
) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = below(path, name);
        let is_value = values.contains(&path.as_str());
        let shown = match field {
            Value::String(text) => format!("`{text}`"),
            Value::Object(_) if elsewhere.contains(&path.as_str()) => "see there".to_owned(),
            Value::Object(map) if !is_value => {
                assert!(!map.is_empty());
                "as below".to_owned()
            }
            Value::Object(_) => format!("`{}`", field.to_string().replace(':', ": ")),
            Value::Array(_) => "required".to_owned(),
            other => other.to_string(),
        };
        // The default file has to name some cluster.
        let shown = if path == "clusters[].name" {
            "null".to_owned()
        } else {
            shown
        };
        found.push((path.clone(), shown));
        if !is_value && !elsewhere.contains(&path.as_str()) {
            add_shown_fields(field, &path, values, elsewhere, found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        add_shown_fields(item, &format!("{path}[]"), values, elsewhere, found);
    }
}

/// Lists the fields and defaults of a page's table of fields, sorted.
pub(crate) fn documented_fields() -> Vec<(String, String)> {
    let mut shown: Vec<(String, String)> = table("README.md", "field")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    shown.sort();
    shown
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}
