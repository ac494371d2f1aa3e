//! The README says what the code does.

#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::collections::BTreeSet;

use beside::{documented_fields, json, names, quoted, quoted_names, shown_fields, table, text};
use serde_json::Value;
use tidegate_policy::{
    affinity::{Config, RequestReason, ResponseReason},
    endpoints::{SourceError, Unknown},
    snapshot::{EjectionCause, State},
};
use tidegate_proxy::endpoints::metrics as picture;
use tidegate_sticky_session::metrics::{CONFIG_REJECTED, REENTERED, REQUESTS, RESPONSES};

#[test]
fn configuration_table_has_every_field_with_its_default() {
    let default = json("config.default.json");
    let expected = shown_fields(&default, &["keys"], &[]);
    assert_eq!(documented_fields(), expected);
}

/// Lists the fields of a block with their values, as its page shows them.
fn block_fields(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if field.as_object().is_some_and(|object| !object.is_empty()) {
            block_fields(field, &path, found);
            continue;
        }
        let shown = match field {
            Value::String(text) => format!("`{text}`"),
            other => other.to_string(),
        };
        found.push((path, shown));
    }
}

#[test]
fn table_of_the_endpoints_block_has_every_default() {
    let mut expected = Vec::new();
    for block in [
        r#"{"probe": {}, "source": {"admin": {}}}"#,
        r#"{"source": {"feed": {}}}"#,
    ] {
        let text = format!(r#"{{"clusters": [{{"prefix": ""}}], "endpoints": {block}}}"#);
        let keys = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=".to_owned();
        let config = Config::parse(&text, |_| Some(keys)).unwrap();
        let json: Value = serde_json::from_str(&config.to_json()).unwrap();
        block_fields(&json["endpoints"], "", &mut expected);
    }
    expected.sort();
    expected.dedup();
    // Their defaults are others' or none; `probe` is null as a whole.
    let shown_otherwise = ["clusters", "probe", "source.feed.host"];
    expected.retain(|(name, _)| !shown_otherwise.contains(&name.as_str()));
    assert_eq!(expected.len(), 28);
    let page = text("../proxy/ENDPOINTS.md");
    for (name, default) in expected {
        let row = page
            .lines()
            .find(|line| line.starts_with(&format!("| `{name}` |")))
            .unwrap_or_else(|| panic!("no row of {name}"));
        let cell = row.split(" | ").nth(2).unwrap_or_default();
        assert_eq!(cell, default, "{name}");
    }
}

#[test]
fn metric_table_has_every_metric() {
    let shown = names(&table("README.md", "metric"));
    let expected = [
        format!("{REQUESTS}REASON"),
        format!("{RESPONSES}REASON"),
        CONFIG_REJECTED.to_owned(),
        REENTERED.to_owned(),
    ];
    assert_eq!(shown, BTreeSet::from(expected));
}

#[test]
fn metric_table_of_the_picture_has_every_metric_with_its_labels() {
    let rows = table("../proxy/ENDPOINTS.md", "metric");
    let shown = names(&rows);
    let expected = [
        format!("{}OUTCOME", picture::PROBES),
        format!("{}REASON", picture::SOURCE_ERRORS),
        format!("{}REASON", picture::NOT_READ),
        format!("{}REASON", picture::WITHOUT_PICTURE),
        format!("{}STATE.cluster.CLUSTER", picture::MEMBERS),
        format!("{}CLUSTER", picture::CONFIRMED),
        format!("{}CAUSE", picture::EJECTIONS),
        picture::READMISSIONS.to_owned(),
        picture::EJECTIONS_SPARED.to_owned(),
        picture::TERMS.to_owned(),
        picture::PUBLISHED.to_owned(),
        picture::REPORTS_LOST.to_owned(),
        picture::ATTEMPTS_LEFT_OUT.to_owned(),
        picture::EPOCH.to_owned(),
        picture::LEADER_SERVES.to_owned(),
    ];
    assert_eq!(shown, BTreeSet::from(expected));
    let labels = |name: &str| -> BTreeSet<String> {
        let row = rows
            .iter()
            .find(|row| row[0].trim_matches('`').starts_with(name));
        quoted(&row.unwrap()[2]).map(str::to_owned).collect()
    };
    let set = |names: &mut dyn Iterator<Item = &'static str>| -> BTreeSet<String> {
        names.map(str::to_owned).collect()
    };
    let errors = &mut SourceError::ALL.iter().map(|error| error.as_str());
    assert_eq!(labels(picture::SOURCE_ERRORS), set(errors));
    assert_eq!(labels(picture::PROBES), set(&mut picture::probe_outcomes()));
    let causes = &mut EjectionCause::ALL.iter().map(|cause| cause.as_str());
    assert_eq!(labels(picture::EJECTIONS), set(causes));
    let reasons = &mut Unknown::ALL.iter().map(|reason| reason.as_str());
    assert_eq!(labels(picture::WITHOUT_PICTURE), set(reasons));
    assert_eq!(
        labels(picture::NOT_READ),
        set(&mut picture::NOT_READ_REASONS.into_iter())
    );
    assert_eq!(labels(picture::MEMBERS), set(&mut State::NAMES.into_iter()));
}

#[test]
fn reason_tables_have_every_reason_once() {
    let requests: Vec<&str> = RequestReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(quoted_names("README.md", "reason of a request"), requests);
    let responses: Vec<&str> = ResponseReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(quoted_names("README.md", "reason of a response"), responses);
}

#[test]
fn readme_is_short() {
    assert!(text("README.md").lines().count() <= 170);
}
