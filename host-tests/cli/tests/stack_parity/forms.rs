//! The two forms of a chain, made of the configurations of its filters.

use serde_json::{Map, Value, json};

/// A key for tests: bytes 0 to 31.
pub(crate) const KEYS: &str = "1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The variable that holds it.
pub(crate) const KEYS_VARIABLE: &str = "TIDEGATE_STICKY_KEYS";

/// The fields of a filter that stand at the top of a stack.
const SHARED: [&str; 6] = [
    "endpoint_header",
    "endpoints",
    "observe",
    "reason_header",
    "role",
    "trust",
];

/// A form of the chain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Form {
    /// A module for each filter.
    Separate,
    /// All in one module.
    Stacked,
    /// All in one module, in the reverse order.
    Switched,
}

/// A module of the chain and its configuration.
pub(crate) type Part = (&'static str, Value);

/// What filters a chain has; each with the configuration that it has alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filters {
    pub(crate) sticky_session: Option<Value>,
    pub(crate) health_routing: Option<Value>,
}

impl Filters {
    /// Returns the modules of a form, in the order of the chain.
    pub(crate) fn chain(&self, form: Form) -> Vec<Part> {
        let Self {
            sticky_session,
            health_routing,
        } = self;
        if form == Form::Separate {
            let sticky = sticky_session.clone().map(|it| ("sticky-session", it));
            let health = health_routing.clone().map(|it| ("health-routing", it));
            return sticky.into_iter().chain(health).collect();
        }
        let mut stack = self.stacked();
        if form == Form::Switched {
            stack.insert(
                "filters".to_owned(),
                json!(["health_routing", "sticky_session"]),
            );
        }
        let stack = ("stack", Value::Object(stack));
        match (sticky_session, health_routing) {
            (Some(sticky), Some(_)) => vec![("sticky-session", without_work(sticky)), stack],
            _ => vec![stack],
        }
    }

    /// Returns the configuration of one module that has all of them.
    pub(crate) fn stacked(&self) -> Map<String, Value> {
        let mut stack = Map::new();
        if let Some(sticky) = &self.sticky_session {
            add(&mut stack, "sticky_session", sticky);
        }
        if let Some(health) = &self.health_routing {
            add(&mut stack, "health_routing", health);
        }
        // The one field with another default.
        stack.entry("endpoints").or_insert(Value::Null);
        if self.health_routing.is_some() && stack["endpoints"].is_null() {
            stack.remove("endpoints");
        }
        stack
    }
}

/// Adds a filter to the configuration of a stack.
fn add(stack: &mut Map<String, Value>, filter: &str, alone: &Value) {
    let mut own = Map::new();
    for (name, field) in alone.as_object().unwrap() {
        if !SHARED.contains(&name.as_str()) {
            own.insert(name.clone(), field.clone());
            continue;
        }
        let shared = stack.entry(name).or_insert_with(|| field.clone());
        assert_eq!(shared, field, "filters of one chain differ in {name}");
    }
    stack.insert(filter.to_owned(), Value::Object(own));
}

/// Returns a configuration with which sticky-session starts as it would, and decides nothing.
fn without_work(sticky: &Value) -> Value {
    let mut sticky = sticky.clone();
    sticky["clusters"] = json!([{ "name": "nobody" }]);
    sticky["reason_header"] = json!(false);
    sticky
}

/// Says whether a counter is of the filter that decides nothing, or of a module as such.
pub(crate) fn is_of_a_form(metric: &str) -> bool {
    metric.ends_with("sticky_session_requests_total.reason.unlisted_cluster")
        || metric.ends_with("_reentered_total")
        || metric.ends_with("_config_rejected_total")
}
