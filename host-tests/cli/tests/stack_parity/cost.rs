//! What one module saves, and what the stack's page says about it.

use std::fs;

use serde_json::json;
use tidegate_cli::workspace;

use super::forms::{Filters, Form};
use super::gateway::{Cost, Gateway, endpoints};

/// Enough that what is done once does not count.
const REQUESTS: u64 = 1000;

/// Calls the host for one request.
fn calls(cost: &Cost) -> f64 {
    per_request(cost.calls.values().sum())
}

#[expect(clippy::cast_precision_loss, reason = "a few thousands")]
fn per_request(count: u64) -> f64 {
    count as f64 / REQUESTS as f64
}

/// The stack's page has these numbers; `BLESS=1` shows what they are now.
#[test]
fn stack_asks_the_proxy_as_often_as_its_page_says_and_less_often_than_the_modules() {
    let own = json!({ "clusters": [{ "name": "app" }], "endpoints": endpoints() });
    let filters = Filters {
        sticky_session: Some(own.clone()),
        health_routing: Some(own),
    };
    let stack = [("stack", serde_json::Value::Object(filters.stacked()))];
    let mut separate = Gateway::start(&filters.chain(Form::Separate), &[], 1);
    let mut stacked = Gateway::start(&stack, &[], 1);
    let page = workspace::root().join("plugins/stack/README.md");
    let page = fs::read_to_string(page).unwrap();
    let mut cookie = None;
    for what in ["a new session", "a session's request"] {
        // What is asked for once in a while is asked for before.
        let _ = (separate.session(1, None), stacked.session(1, None));
        let one = separate.session(REQUESTS, cookie.as_deref());
        let other = stacked.session(REQUESTS, cookie.as_deref());
        assert!(calls(&other) < 0.75 * calls(&one), "{one:#?} {other:#?}");
        assert!(
            2 * other.callbacks < one.callbacks + 2 * REQUESTS,
            "{one:#?}"
        );
        let row = format!("| {what} | {:.1} | {:.1} |", calls(&one), calls(&other),);
        let fuel = (per_request(one.fuel), per_request(other.fuel));
        assert!(
            page.lines().any(|line| line.starts_with(&row)),
            "{row} fuel {fuel:?}\n{one:#?} {other:#?}"
        );
        cookie = one.cookie;
        assert!(cookie.is_some() || what != "a new session");
    }
}
