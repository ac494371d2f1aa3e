//! The README says what the code does.

#[path = "../../filters/testing/beside.rs"]
mod beside;

use std::collections::BTreeSet;

use beside::{documented_fields, json, names, quoted, quoted_names, shown_fields, table, text};
use tidegate_health_routing::metrics::{
    ANSWERS, ATTEMPTS, CONFIG_REJECTED, HONOURED, OUTCOMES, REENTERED, REQUESTS,
};
use tidegate_policy::routing::Reason;

#[test]
fn configuration_table_has_every_field_with_its_default() {
    let default = json("config.default.json");
    assert_eq!(
        documented_fields(),
        shown_fields(&default, &[], &["endpoints"])
    );
}

#[test]
fn metric_table_has_every_metric_with_its_labels() {
    let rows = table("README.md", "metric");
    let expected = [
        format!("{REQUESTS}REASON"),
        format!("{ANSWERS}HONOURED"),
        format!("{ATTEMPTS}OUTCOME"),
        CONFIG_REJECTED.to_owned(),
        REENTERED.to_owned(),
    ];
    assert_eq!(names(&rows), BTreeSet::from(expected));
    let labels = |name: &str| -> BTreeSet<String> {
        let row = rows
            .iter()
            .find(|row| row[0].trim_matches('`').starts_with(name));
        quoted(&row.unwrap()[1]).map(str::to_owned).collect()
    };
    assert_eq!(labels(ANSWERS), HONOURED.map(str::to_owned).into());
    assert_eq!(labels(ATTEMPTS), OUTCOMES.map(str::to_owned).into());
}

#[test]
fn reason_table_has_every_reason_once() {
    let mut reasons: Vec<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    reasons.sort_unstable();
    assert_eq!(quoted_names("README.md", "reason"), reasons);
}

#[test]
fn readme_is_short() {
    assert!(text("README.md").lines().count() <= 170);
}
