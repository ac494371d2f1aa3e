//! The configuration, checked.

use alloc::{format, string::String, vec::Vec};

use super::raw::{Filter, RawConfig};
use crate::{
    affinity,
    chain::{Draft, RawSettings, Role, Settings, write_endpoints},
    config::{Problem, Problems, from_json},
    digest::fnv1a_64,
    endpoints,
    routing::{self, Observe},
};

/// Is the checked configuration of several filters in one module.
///
/// `Debug`, serialisation and digest hold no key.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    filters: Vec<Filter>,
    sticky_session: Option<affinity::Config>,
    health_routing: Option<routing::Config>,
    observe: Observe,
    settings: Settings,
}

impl Config {
    /// Reads and checks a configuration. `environment` is asked for one variable at most; `None`
    /// means that it is not set.
    ///
    /// # Errors
    /// All problems, sorted by path. What is wrong with the shape is found alone.
    pub fn parse(
        text: &str,
        environment: impl FnOnce(&str) -> Option<String>,
    ) -> Result<Self, Vec<Problem>> {
        let raw: RawConfig =
            from_json(text, "$.sticky_session.keys").map_err(|problem| Vec::from([problem]))?;
        let mut problems = Problems::new();
        let filters = check_filters(&raw, &mut problems);
        let settings = RawSettings {
            endpoints: raw.endpoints,
            endpoint_header: raw.endpoint_header,
            reason_header: raw.reason_header,
            trust: raw.trust,
            role: raw.role,
        };
        let draft = Draft::new(settings, &mut problems);
        let sticky_session = raw.sticky_session.as_ref().and_then(|raw| {
            let is_on = filters.contains(&Filter::StickySession);
            let environment = is_on.then_some(environment);
            let path = "$.sticky_session";
            affinity::Config::check(raw, path, &draft, environment, &mut problems)
        });
        let health_routing = raw.health_routing.as_ref().and_then(|object| {
            let path = "$.health_routing";
            routing::Config::check(object, path, raw.observe, &draft, &mut problems)
        });
        match draft.settings {
            Some(settings) if problems.is_empty() => Ok(Self {
                filters,
                sticky_session,
                health_routing,
                observe: raw.observe,
                settings,
            }),
            _ => Err(problems.into_sorted()),
        }
    }

    /// Writes the configuration with every default, in the order of the documentation; inline keys
    /// as `[redacted]`.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{\"filters\":[");
        for (index, filter) in self.filters.iter().enumerate() {
            json.push_str(if index == 0 { "\"" } else { ",\"" });
            json.push_str(filter.as_str());
            json.push('"');
        }
        json.push_str("],\"sticky_session\":");
        let sticky_session = self.sticky_session.as_ref();
        write_object(&mut json, sticky_session, affinity::Config::write_own);
        json.push_str(",\"health_routing\":");
        let health_routing = self.health_routing.as_ref();
        write_object(&mut json, health_routing, routing::Config::write_own);
        json.push(',');
        write_endpoints(&mut json, self.endpoints());
        json.push_str(&format!(",\"observe\":\"{}\",", self.observe.as_str()));
        self.settings.write_headers(&mut json);
        json.push(',');
        self.settings.write_role(&mut json);
        json.push('}');
        json
    }

    /// Names the configuration: equal ones have equal digests, on every machine. Keys have no part
    /// in it.
    #[must_use]
    pub fn digest(&self) -> u64 {
        fnv1a_64(self.to_json().as_bytes())
    }

    /// Lists the filters that act, in their order: at least one, and none twice.
    #[must_use]
    pub fn filters(&self) -> &[Filter] {
        &self.filters
    }

    /// Is what the filter that keeps sessions would have alone; there where it acts, and without keys
    /// where it is off.
    #[must_use]
    pub const fn sticky_session(&self) -> Option<&affinity::Config> {
        self.sticky_session.as_ref()
    }

    /// Is what the filter that routes by health would have alone; there where it acts.
    #[must_use]
    pub const fn health_routing(&self) -> Option<&routing::Config> {
        self.health_routing.as_ref()
    }

    /// Says how the clusters' endpoints are known; `None`: not at all.
    #[must_use]
    pub fn endpoints(&self) -> Option<&endpoints::Config> {
        match (&self.health_routing, &self.sticky_session) {
            (Some(config), _) => Some(config.endpoints()),
            (None, Some(config)) => config.endpoints(),
            (None, None) => None,
        }
    }

    /// Says what outcomes are taken from.
    #[must_use]
    pub const fn observe(&self) -> Observe {
        self.observe
    }

    /// Is the request header that names the endpoints, in lower case.
    #[must_use]
    pub fn endpoint_header(&self) -> &str {
        self.settings.endpoint_header()
    }

    /// Says whether responses carry the reasons.
    #[must_use]
    pub const fn has_reason_header(&self) -> bool {
        self.settings.has_reason_header()
    }

    /// Says where the module stands.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.settings.role()
    }
}

/// Writes a filter's object, or null.
fn write_object<T>(json: &mut String, config: Option<&T>, write_own: fn(&T, &mut String)) {
    match config {
        None => json.push_str("null"),
        Some(config) => {
            json.push('{');
            write_own(config, json);
            json.push('}');
        }
    }
}

/// Lists the filters that act.
fn check_filters(raw: &RawConfig, problems: &mut Problems) -> Vec<Filter> {
    let has_object = |filter: Filter| match filter {
        Filter::StickySession => raw.sticky_session.is_some(),
        Filter::HealthRouting => raw.health_routing.is_some(),
    };
    let filters = match &raw.filters {
        Some(filters) => filters.clone(),
        None => Filter::ALL
            .into_iter()
            .filter(|filter| has_object(*filter))
            .collect(),
    };
    if filters.is_empty() {
        problems.push(Problem::new(
            "$.filters",
            "filters-empty",
            "must name at least one filter, got none",
            "write the object of a filter, such as \"health_routing\", or leave the plugin out",
        ));
    }
    for (place, filter) in filters.iter().enumerate() {
        let name = filter.as_str();
        let earlier = filters.iter().position(|other| other == filter);
        if let Some(earlier) = earlier.filter(|earlier| *earlier < place) {
            problems.push(Problem::new(
                format!("$.filters[{place}]"),
                "filter-duplicate",
                format!("must differ from the others, got {name:?} of $.filters[{earlier}]"),
                "a filter acts once",
            ));
        } else if !has_object(*filter) {
            problems.push(Problem::new(
                format!("$.filters[{place}]"),
                "filter-without-object",
                format!("must be a filter that is configured, got {name:?} with no $.{name}"),
                "write its object, or take it off the list",
            ));
        }
    }
    filters
}
