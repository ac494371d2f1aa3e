//! The README says what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tidegate_policy::stack::Filter;
use tidegate_stack::metrics::{CONFIG_REJECTED, REENTERED};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_default()
}

/// Lists the rows of the table whose first column has this title, without its head.
fn table(title: &str) -> Vec<Vec<String>> {
    let page = file("README.md");
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

#[test]
fn configuration_table_has_every_field_with_its_default() {
    let default: Value = serde_json::from_str(&file("config.default.json")).unwrap();
    let expected: BTreeSet<(String, String)> = default
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| {
            let shown = match (name.as_str(), value) {
                // Each is null where it is not written; the default file has to have some filter.
                ("sticky_session" | "health_routing", Value::Object(_)) => "null".to_owned(),
                (_, Value::Object(_)) => "`{}`".to_owned(),
                (_, Value::String(text)) => format!("`{text}`"),
                (_, other) => other.to_string(),
            };
            (name.clone(), shown)
        })
        .collect();
    let shown = table("field")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()));
    assert_eq!(shown.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn field_of_filters_lists_all_of_them_in_their_order() {
    let rows = table("field");
    let row = rows.iter().find(|row| row[0] == "`filters`").unwrap();
    let names = Filter::ALL.map(|filter| format!("`{}`", filter.as_str()));
    assert_eq!(row[3], names.join(", "));
}

#[test]
fn metric_table_has_every_metric_of_the_stack() {
    let shown: BTreeSet<String> = table("metric")
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
    let expected = [CONFIG_REJECTED, REENTERED].map(str::to_owned);
    assert_eq!(shown, BTreeSet::from(expected));
}

#[test]
fn readme_is_short() {
    assert!(file("README.md").lines().count() <= 170);
}
