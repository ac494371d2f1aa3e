//! Requests of every kind: new sessions and old ones, forged cookies, upgrades, retries, drains, broken connections.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::forms::{Filters, Form};
use super::gateway::{Gateway, Seen, endpoints};

/// Enough for every kind at every endpoint, before, while and after one of them fails.
const REQUESTS: u64 = 2000;

/// Adds what filters of one chain share.
fn with_shared(mut own: Value, shared: &Value) -> Value {
    for (name, field) in shared.as_object().unwrap() {
        own[name] = field.clone();
    }
    own
}

fn both(shared: &Value) -> Filters {
    let sticky = json!({ "clusters": [{ "name": "app" }] });
    let health = json!({ "clusters": [{ "name": "app" }] });
    let for_sticky = {
        let mut shared = shared.clone();
        shared.as_object_mut().unwrap().remove("observe");
        shared
    };
    Filters {
        sticky_session: Some(with_shared(sticky, &for_sticky)),
        health_routing: Some(with_shared(health, shared)),
    }
}

fn shared(observe: &str) -> Value {
    json!({ "endpoints": endpoints(), "reason_header": true, "observe": observe })
}

fn assert_equal(what: &str, separate: &mut Gateway, stacked: &mut Gateway) -> Vec<Seen> {
    let (one, other) = (separate.run(REQUESTS), stacked.run(REQUESTS));
    for (number, (one, other)) in one.iter().zip(&other).enumerate() {
        assert_eq!(one, other, "{what}: request {number}");
    }
    assert_eq!(separate.metrics(), stacked.metrics(), "{what}");
    assert_eq!(separate.shared_data(), stacked.shared_data(), "{what}");
    one
}

/// The reasons that were given for requests and responses.
fn reasons(seen: &[Seen]) -> BTreeSet<String> {
    let texts = seen
        .iter()
        .flat_map(|seen| seen.answers("x-tidegate-reason"));
    texts.map(str::to_owned).collect()
}

#[test]
fn stack_decides_every_request_as_the_modules_do() {
    for seed in [1, 2, 3] {
        let filters = both(&shared("requests"));
        let mut separate = Gateway::start(&filters.chain(Form::Separate), &[], seed);
        let mut stacked = Gateway::start(&filters.chain(Form::Stacked), &[], seed);
        let seen = assert_equal("in front", &mut separate, &mut stacked);
        let reasons = reasons(&seen);
        for expected in [
            "sticky-session;request=new_session;response=issued",
            "sticky-session;request=pinned;response=kept",
            "sticky-session;request=refused_malformed;response=issued",
            "sticky-session;request=unlisted_cluster",
            "health-routing;request=session;attempts=1;honoured=yes",
        ] {
            assert!(reasons.contains(expected), "{expected} of {reasons:#?}");
        }
        // Every list names several, every plan somebody, and not always the same.
        let lists: BTreeSet<&String> = seen
            .iter()
            .flat_map(|seen| seen.request.iter())
            .filter(|(name, _)| name == "x-tidegate-endpoint")
            .map(|(_, list)| list)
            .collect();
        assert!(lists.len() > 10, "{lists:#?}");
        let plans: BTreeSet<&Option<Vec<u8>>> = seen.iter().map(|seen| &seen.plan).collect();
        assert!(plans.len() > 4, "{}", plans.len());
    }
}

#[test]
fn stack_in_another_order_does_not_pass_for_the_modules() {
    let filters = both(&shared("requests"));
    let mut separate = Gateway::start(&filters.chain(Form::Separate), &[], 1);
    let mut switched = Gateway::start(&filters.chain(Form::Switched), &[], 1);
    let (one, other) = (separate.run(REQUESTS), switched.run(REQUESTS));
    let differing = one.iter().zip(&other).filter(|(one, other)| one != other);
    assert!(differing.count() > 100);
}

/// With health routing first, a session's endpoint takes the place of its list, and nothing else does.
#[test]
fn stack_with_health_routing_first_writes_the_endpoint_of_a_session_and_else_its_list() {
    let filters = both(&shared("requests"));
    let mut switched = Gateway::start(&filters.chain(Form::Switched), &[], 1);
    let (mut pinned, mut listed) = (0, 0);
    for seen in switched.run(REQUESTS) {
        let mut names = seen.request.iter();
        let list = names.find(|(name, _)| name == "x-tidegate-endpoint");
        let list = list.map(|(_, list)| list.split(',').count());
        let is = |reason: &str| {
            let mut texts = seen.answers("x-tidegate-reason");
            texts.any(|text| text.contains(reason))
        };
        if is("sticky-session;request=pinned;") {
            assert_eq!(list, Some(1), "{seen:?}");
            // Its outcome is not one of the list that was decided.
            assert!(!is("honoured"), "{seen:?}");
            pinned += 1;
        } else if is("sticky-session;request=new_session;") {
            assert_eq!(list, Some(3), "{seen:?}");
            listed += 1;
        }
    }
    assert!(pinned > 100 && listed > 10, "{pinned} {listed}");
}

#[test]
fn filter_that_is_off_decides_as_little_as_one_that_is_not_there() {
    let filters = both(&shared("requests"));
    for (off, is_sticky_on) in [("health_routing", true), ("sticky_session", false)] {
        let mut alone = filters.clone();
        let on = if is_sticky_on {
            alone.health_routing = None;
            "sticky_session"
        } else {
            alone.sticky_session = None;
            "health_routing"
        };
        let mut stack = filters.stacked();
        stack.insert("filters".to_owned(), json!([on]));
        let mut separate = Gateway::start(&alone.chain(Form::Separate), &[], 1);
        let mut toggled = Gateway::start(&[("stack", Value::Object(stack))], &[], 1);
        let seen = assert_equal(off, &mut separate, &mut toggled);
        let silent = off.replace('_', "-");
        let reasons = reasons(&seen);
        assert!(reasons.iter().all(|reason| !reason.starts_with(&silent)));
        assert!(!reasons.is_empty());
    }
}

/// Behind the router the stack watches as a module does: the same reports, the same picture, the same decisions in front.
#[test]
fn stack_behind_the_router_watches_as_a_module_does() {
    let filters = both(&shared("attempts"));
    let mut role = shared("attempts");
    role["role"] = json!("upstream");
    let behind = both(&role);
    let module = ("health-routing", behind.health_routing.clone().unwrap());
    let stack = ("stack", Value::Object(behind.stacked()));
    let mut separate = Gateway::start(&filters.chain(Form::Separate), &[module], 1);
    let mut stacked = Gateway::start(&filters.chain(Form::Stacked), &[stack], 1);
    assert_equal("behind", &mut separate, &mut stacked);
    // Without anybody there nothing is known of failures, which shows.
    let mut alone = Gateway::start(&filters.chain(Form::Stacked), &[], 1);
    alone.run(REQUESTS);
    assert_ne!(alone.shared_data(), stacked.shared_data());
}
