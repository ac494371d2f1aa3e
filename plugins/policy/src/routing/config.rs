//! The configuration, checked.

use alloc::{format, string::String, vec::Vec};
use core::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

use super::{
    raw::{Observe, RawBalance, RawCluster, RawConfig, RawInStack, RawPanic},
    rules::Rule,
};
use crate::{
    chain::{Draft, RawSettings, Role, Settings, refuse_shared, write_endpoints},
    clusters::{self, Selector},
    config::{Fields, Problem, Problems, format_duration, format_ppm, from_json},
    digest::fnv1a_64,
    ejection, endpoints,
    fallback::MAX_ENTRIES,
    panic_mode,
    units::Ppm,
};

/// Is the range of the time for which a failure is recent. Above a minute a worker spares an
/// endpoint that the leader has long readmitted.
const RECENT_FAILURE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(60);

/// Is the range of the decay. Below a second an endpoint is slow or quick with each request; above
/// ten minutes one that was slow once stays without requests for as long.
const LATENCY_DECAY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(600);

/// Is the range of the slow start's window. Above an hour a fleet is never done with it.
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);

/// Is the range of the aggression, in millionths. Below 0.1 the share rises in the last seconds
/// only, above 10 in the first: both are a jump.
const AGGRESSION: RangeInclusive<u32> = 100_000..=10_000_000;

/// Is the range of the spill factor, in millionths. Below 1 the faster zone would be left; above 100
/// no zone ever is.
const SPILL: RangeInclusive<u32> = 1_000_000..=100_000_000;

/// Is every share, in millionths.
const ANY_RATIO: RangeInclusive<u32> = 0..=1_000_000;

/// Is the range of the gateway's share, in millionths. With 0 the utilisation has no meaning; ten
/// thousand gateways are more than one cluster has.
const GATEWAY_SHARE: RangeInclusive<u32> = 100..=1_000_000;

/// Is the range of the utilisation, in millionths. Under a tenth any load at all is too much.
const UTILISATION: RangeInclusive<u32> = 100_000..=1_000_000;

/// Is the range of the concurrency. More is no limit of any endpoint.
const CONCURRENCY: RangeInclusive<u32> = 1..=1_000_000;

/// Is the checked configuration of the filter that routes by health.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    rules: Vec<Rule>,
    endpoints: endpoints::Config,
    observe: Observe,
    settings: Settings,
}

/// Says how requests are balanced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Balance {
    /// Is the time in which an estimate falls to 1/e.
    pub latency_decay: Duration,
    /// Is the slow start's window; zero: none.
    pub slow_start_window: Duration,
    /// Is its aggression, in millionths.
    pub slow_start_aggression_ppm: NonZeroU32,
    /// Is its least factor.
    pub slow_start_min: Ppm,
    /// Is how many times as slow as others the own zone is when requests leave it, in millionths.
    pub zone_spill_ppm: u32,
}

impl Config {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// All problems, sorted by path. What is wrong with the shape is found alone.
    pub fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let raw: RawConfig = from_json(text, "").map_err(|problem| Vec::from([problem]))?;
        let settings = RawSettings {
            endpoints: Some(raw.endpoints),
            endpoint_header: raw.endpoint_header,
            reason_header: raw.reason_header,
            trust: raw.trust,
            role: raw.role,
        };
        let mut problems = Problems::new();
        let draft = Draft::new(settings, &mut problems);
        Self::check_own(&raw.clusters, "$", raw.observe, &draft, &mut problems)
            .filter(|_| problems.is_empty())
            .ok_or_else(|| problems.into_sorted())
    }

    /// Checks the filter's object in a stack, at `path`. `None` where there is a problem, maybe of the
    /// stack's settings.
    pub(crate) fn check(
        object: &RawInStack,
        path: &str,
        observe: Observe,
        draft: &Draft,
        problems: &mut Problems,
    ) -> Option<Self> {
        let RawInStack {
            clusters,
            endpoints,
            observe: no_observe,
            endpoint_header,
            reason_header,
            trust,
            role,
        } = object;
        let shared = [
            ("endpoints", *endpoints),
            ("observe", *no_observe),
            ("endpoint_header", *endpoint_header),
            ("reason_header", *reason_header),
            ("trust", *trust),
            ("role", *role),
        ];
        refuse_shared(shared, path, problems);
        if draft.raw.endpoints.is_none() {
            problems.push(Problem::new(
                "$.endpoints",
                "needs-endpoints",
                format!("must be set where {path} is, got null"),
                "without a picture of the endpoints there is nothing to choose by",
            ));
        }
        Self::check_own(clusters, path, observe, draft, problems)
    }

    /// Checks what is the filter's own.
    fn check_own(
        clusters: &[RawCluster],
        path: &str,
        observe: Observe,
        draft: &Draft,
        problems: &mut Problems,
    ) -> Option<Self> {
        let path = format!("{path}.clusters");
        let endpoints = draft.endpoints.as_ref();
        let rules = clusters::check_rules(clusters, &path, problems, check_rule);
        check_known(&rules, endpoints, &path, problems);
        let ejection = endpoints.and_then(endpoints::Config::ejection);
        check_together(&rules, ejection, &path, problems);
        if draft.raw.role == Role::Upstream && observe == Observe::Requests {
            problems.push(Problem::new(
                "$.role",
                "upstream-role-without-attempts",
                "must be \"listener\" where $.observe is \"requests\", got \"upstream\"",
                "write \"observe\": \"attempts\" in both places, or the outcomes count twice",
            ));
        }
        Some(Self {
            rules: rules.into_iter().map(|(_, rule)| rule).collect(),
            endpoints: endpoints?.clone(),
            observe,
            settings: draft.settings.clone()?,
        })
    }

    /// Writes the configuration with every default, in the order of the documentation.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = String::from("{");
        self.write_own(&mut json);
        json.push(',');
        write_endpoints(&mut json, Some(&self.endpoints));
        json.push_str(&format!(",\"observe\":\"{}\",", self.observe.as_str()));
        self.settings.write_headers(&mut json);
        json.push(',');
        self.settings.write_role(&mut json);
        json.push('}');
        json
    }

    /// Appends the fields that are the filter's own.
    pub(crate) fn write_own(&self, json: &mut String) {
        json.push_str("\"clusters\":[");
        for (index, rule) in self.rules.iter().enumerate() {
            json.push_str(if index == 0 { "{" } else { ",{" });
            write_rule(json, rule);
        }
        json.push(']');
    }

    /// Names the configuration: equal ones have equal digests, on every machine.
    #[must_use]
    pub fn digest(&self) -> u64 {
        fnv1a_64(self.to_json().as_bytes())
    }

    /// Lists the rules, in their order.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Says how the clusters' endpoints are known.
    #[must_use]
    pub const fn endpoints(&self) -> &endpoints::Config {
        &self.endpoints
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

    /// Says where the filter stands.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.settings.role()
    }
}

/// Writes the fields of a rule, and its last bracket.
fn write_rule(json: &mut String, rule: &Rule) {
    rule.selector.write_json(json);
    let balance = &rule.balance;
    json.push_str(&format!(
        ",\"attempts\":{},\"recent_failure\":\"{}\",\"balance\":{{\"latency_decay\":\"{}\",\
         \"slow_start_window\":\"{}\",\"slow_start_aggression\":{},\
         \"slow_start_min_ratio\":{},\"zone_spill_factor\":{}}},",
        rule.attempts,
        format_duration(rule.recent_failure),
        format_duration(balance.latency_decay),
        format_duration(balance.slow_start_window),
        format_ppm(balance.slow_start_aggression_ppm.get()),
        format_ppm(balance.slow_start_min.as_u32()),
        format_ppm(balance.zone_spill_ppm),
    ));
    let concurrency = rule
        .concurrency
        .map_or(String::from("null"), |most| format!("{most}"));
    json.push_str(&format!(
        "\"panic\":{{\"min_available_ratio\":{},\"concurrency\":{concurrency},\
         \"gateway_share_ratio\":{},\"max_utilisation_ratio\":{}}}}}",
        format_ppm(rule.panic.min_available.as_u32()),
        format_ppm(rule.gateway_share.as_u32()),
        format_ppm(rule.panic.max_utilisation.as_u32()),
    ));
}

/// Refuses rules for clusters that nothing is known of.
fn check_known(
    rules: &[(usize, Rule)],
    endpoints: Option<&endpoints::Config>,
    path: &str,
    problems: &mut Problems,
) {
    for (place, rule) in rules {
        if let Selector::Name(name) = &rule.selector
            && endpoints.is_some_and(|endpoints| !endpoints.knows(name.as_bytes()))
        {
            problems.push(Problem::new(
                format!("{path}[{place}].name"),
                "cluster-not-known",
                format!("must be one that $.endpoints.clusters names, got {name:?}"),
                "without a picture of its endpoints the proxy balances",
            ));
        }
    }
}

fn check_rule(raw: &RawCluster, path: &str, problems: &mut Problems) -> Option<Rule> {
    let selector = Selector::check(raw.name.as_deref(), raw.prefix.as_deref(), path, problems);
    let mut fields = Fields {
        path: path.into(),
        problems,
    };
    let most = u32::try_from(MAX_ENTRIES).unwrap_or(u32::MAX);
    let attempts = fields.number("attempts", raw.attempts, &(1..=most));
    let recent = fields.duration("recent_failure", &raw.recent_failure, &RECENT_FAILURE);
    let balance = check_balance(&raw.balance, format!("{path}.balance"), fields.problems);
    let panic = check_panic(&raw.panic, format!("{path}.panic"), fields.problems);
    let (panic, concurrency, gateway_share) = panic?;
    Some(Rule {
        selector: selector?,
        attempts: usize::try_from(attempts?).ok()?,
        recent_failure: recent?,
        balance: balance?,
        panic,
        concurrency,
        gateway_share,
    })
}

fn check_balance(raw: &RawBalance, path: String, problems: &mut Problems) -> Option<Balance> {
    let mut fields = Fields { path, problems };
    let decay = fields.duration("latency_decay", &raw.latency_decay, &LATENCY_DECAY);
    let window = fields.duration("slow_start_window", &raw.slow_start_window, &SLOW_START);
    let aggression = raw.slow_start_aggression;
    let aggression = fields.factor("slow_start_aggression", aggression, &AGGRESSION);
    let min = fields.ratio("slow_start_min_ratio", raw.slow_start_min_ratio, &ANY_RATIO);
    let spill = fields.factor("zone_spill_factor", raw.zone_spill_factor, &SPILL);
    Some(Balance {
        latency_decay: decay?,
        slow_start_window: window?,
        slow_start_aggression_ppm: NonZeroU32::new(aggression?)?,
        slow_start_min: min?,
        zone_spill_ppm: spill?,
    })
}

/// Checks panic's rule, the concurrency and the gateway's share.
fn check_panic(
    raw: &RawPanic,
    path: String,
    problems: &mut Problems,
) -> Option<(panic_mode::Rule, Option<NonZeroU32>, Ppm)> {
    let mut fields = Fields { path, problems };
    let min_available = fields.ratio("min_available_ratio", raw.min_available_ratio, &ANY_RATIO);
    let concurrency = match raw.concurrency {
        None => Some(None),
        Some(most) => fields
            .number("concurrency", most, &CONCURRENCY)
            .map(NonZeroU32::new),
    };
    let share = raw.gateway_share_ratio;
    let share = fields.ratio("gateway_share_ratio", share, &GATEWAY_SHARE);
    let utilisation = raw.max_utilisation_ratio;
    let utilisation = fields.ratio("max_utilisation_ratio", utilisation, &UTILISATION);
    let rule = panic_mode::Rule {
        min_available: min_available?,
        max_utilisation: utilisation?,
    };
    Some((rule, concurrency?, share?))
}

/// Checks what holds between ejections and panic.
fn check_together(
    rules: &[(usize, Rule)],
    ejection: Option<&ejection::Config>,
    path: &str,
    problems: &mut Problems,
) {
    let Some(left) = ejection.map(ejection::Config::min_available) else {
        return;
    };
    for (index, rule) in rules {
        let least = rule.panic.min_available;
        if left < least {
            problems.push(Problem::new(
                format!("{path}[{index}].panic.min_available_ratio"),
                "panic-by-ejections",
                format!(
                    "must be at most $.endpoints.ejection.min_available_ratio ({}), got {}",
                    format_ppm(left.as_u32()),
                    format_ppm(least.as_u32())
                ),
                "ejections alone would begin panic, which undoes them",
            ));
        }
    }
}
