//! The measurement of what a request costs, in a form that measures nothing: every form serves, and the report is whole.

use anyhow::Result;
use serde_json::Value;
use tidegate_e2e::cost::{Form, Options, measure};

#[tokio::test]
async fn every_form_serves_and_the_report_says_what_and_where() -> Result<()> {
    let options = Options {
        rounds: 2,
        requests: 40,
        rate: 400,
        connections: 4,
        warm_up: 40,
        ..Options::default()
    };
    let report = serde_json::to_value(measure(&options, |_| ()).await?)?;
    let forms = report["forms"].as_array().cloned().unwrap_or_default();
    assert_eq!(forms.len(), Form::ALL.len(), "{report:#}");
    for form in &forms {
        let name = &form["form"];
        assert_eq!(form["answers"], 80, "{name}: {form:#}");
        assert_eq!(form["ok"], 80, "{name}: {form:#}");
        for figure in ["total_us", "request_us", "idle_us_per_second"] {
            assert!(form[figure]["ci95"][1].is_number(), "{name}: {form:#}");
        }
        let total = &form["total_us"]["value"];
        assert!(total.as_f64() > Some(0.0), "{name}: {form:#}");
        assert!(form["to_native"]["value"].is_number(), "{name}: {form:#}");
    }
    // Where the time goes is told of every form with modules, and of all that they call.
    let spending = report["spending"].as_array().cloned().unwrap_or_default();
    assert_eq!(spending.len(), FORMS_THAT_CALL, "{report:#}");
    for form in &spending {
        let name = &form["form"];
        let kinds = form["kinds"].as_array().cloned().unwrap_or_default();
        assert!(!kinds.is_empty(), "{name}: {form:#}");
        let priced = |kind: &&Value| !kind["price_ns"]["value"].is_number();
        let unpriced: Vec<&Value> = kinds.iter().filter(priced).collect();
        assert!(unpriced.is_empty(), "{name}: {unpriced:#?}");
    }
    Ok(())
}

/// Those with a module that does something.
const FORMS_THAT_CALL: usize = 5;
