//! The README says what the code does.

#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::collections::BTreeSet;

use beside::{json, names, table, text};

use serde_json::Value;
use tidegate_policy::stack::Filter;
use tidegate_stack::metrics::{CONFIG_REJECTED, REENTERED};

#[test]
fn configuration_table_has_every_field_with_its_default() {
    let default = json("config.default.json");
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
    let shown = table("README.md", "field")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()));
    assert_eq!(shown.collect::<BTreeSet<_>>(), expected);
}

#[test]
fn field_of_filters_lists_all_of_them_in_their_order() {
    let rows = table("README.md", "field");
    let row = rows.iter().find(|row| row[0] == "`filters`").unwrap();
    let names = Filter::ALL.map(|filter| format!("`{}`", filter.as_str()));
    assert_eq!(row[3], names.join(", "));
}

#[test]
fn metric_table_has_every_metric_of_the_stack() {
    let shown = names(&table("README.md", "metric"));
    let expected = [CONFIG_REJECTED, REENTERED].map(str::to_owned);
    assert_eq!(shown, BTreeSet::from(expected));
}

#[test]
fn readme_is_short() {
    assert!(text("README.md").lines().count() <= 170);
}
