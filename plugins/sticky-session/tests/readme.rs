//! The README says what the code does.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use tidegate_policy::{
    affinity::{Config, RequestReason, ResponseReason},
    endpoints::{SourceError, Unknown},
    snapshot::{EjectionCause, State},
};
use tidegate_proxy::endpoints::metrics as picture;
use tidegate_sticky_session::metrics::{CONFIG_REJECTED, REENTERED, REQUESTS, RESPONSES};

fn file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    fs::read_to_string(&path).unwrap_or_default()
}

/// Lists the rows of the table whose first column has this title, without its head.
fn table(title: &str) -> Vec<Vec<String>> {
    table_of("README.md", title)
}

fn table_of(page: &str, title: &str) -> Vec<Vec<String>> {
    let page = file(page);
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
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Lists the fields of a configuration with their values.
fn fields(value: &Value, path: &str, found: &mut Vec<(String, String)>) {
    for (name, field) in value.as_object().into_iter().flatten() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        let shown = match field {
            Value::String(text) => format!("`{text}`"),
            Value::Object(map) if name != "keys" => {
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
        if name != "keys" {
            fields(field, &path, found);
        }
    }
    for item in value.as_array().into_iter().flatten() {
        fields(item, &format!("{path}[]"), found);
    }
}

#[test]
fn configuration_table_has_every_field_with_its_default() {
    let default: Value = serde_json::from_str(&file("config.default.json")).unwrap();
    let mut expected = Vec::new();
    fields(&default, "", &mut expected);
    expected.sort();
    let mut shown: Vec<(String, String)> = table("field")
        .into_iter()
        .map(|row| (row[0].trim_matches('`').to_owned(), row[2].clone()))
        .collect();
    shown.sort();
    assert_eq!(shown, expected);
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
    let page = file("../proxy/ENDPOINTS.md");
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
    let shown: BTreeSet<String> = table("metric")
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
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
    let rows = table_of("../proxy/ENDPOINTS.md", "metric");
    let shown: BTreeSet<String> = rows
        .iter()
        .map(|row| row[0].trim_matches('`').to_owned())
        .collect();
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
    let shown = |title: &str| -> Vec<String> {
        let mut reasons: Vec<String> = table(title)
            .iter()
            .flat_map(|row| quoted(&row[0]).map(str::to_owned).collect::<Vec<_>>())
            .collect();
        reasons.sort();
        reasons
    };
    let requests: Vec<&str> = RequestReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(shown("reason of a request"), requests);
    let responses: Vec<&str> = ResponseReason::ALL
        .iter()
        .map(|reason| reason.as_str())
        .collect();
    assert_eq!(shown("reason of a response"), responses);
}

#[test]
fn readme_is_short() {
    assert!(file("README.md").lines().count() <= 170);
}
