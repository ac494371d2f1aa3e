//! What one call into the host costs in the real Envoy, by its kind.
//!
//! Model: one Envoy with a listener per kind of call. Each has the same module, told to make [`TIMES`] calls of that kind for a
//! request, and one listener has it told to make none. They serve in turns; the price is what a turn costs more than that of the
//! listener without calls, per call. One listener has no module at all: what it costs less is the price of the callbacks.
//! Limits: the layer that plugins use is part of a price. A call of a filter of the cluster is taken to cost what it costs in the
//! listener. What a call makes the proxy do later (choose a route again after a header changed) is in no price.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tidegate_cli::build::module_path;

use super::calls::Call;
use super::figure::Figure;
use super::forms::{bare, base, template};
use super::load::Load;
use crate::envoy::{Envoy, Scenario};

/// How many calls of a kind a request has: enough to stand out of what a request costs anyhow.
const TIMES: u32 = 200;

/// The module.
const MODULE: &str = "priced";

/// What a call is priced as: the line of the module's configuration without the number of calls.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) struct Kind {
    phase: &'static str,
    call: String,
}

impl Kind {
    /// Says as what a call is priced; `None` where nobody knows.
    pub(super) fn of(call: &Call) -> Option<Self> {
        let phase = match call.callback {
            "proxy_on_request_headers" => "request",
            // At the end of a stream the response's headers are still there.
            "proxy_on_response_headers" | "proxy_on_log" | "proxy_on_done" | "proxy_on_delete" => {
                "response"
            }
            _ => return None,
        };
        let of = call.of.as_str();
        let call = match call.function {
            "proxy_get_property" => format!("property {of}"),
            "proxy_set_property" => format!("set_property {of}"),
            "proxy_get_header_map_pairs" => "pairs".to_owned(),
            "proxy_get_header_map_value" => format!("header {of}"),
            "proxy_replace_header_map_value" => "set".to_owned(),
            "proxy_add_header_map_value" => ADD.to_owned(),
            "proxy_remove_header_map_value" => REMOVE.to_owned(),
            "proxy_increment_metric" => "counter".to_owned(),
            "proxy_record_metric" => "gauge".to_owned(),
            "proxy_get_current_time_nanoseconds" => "clock".to_owned(),
            "proxy_get_log_level" => "log_level".to_owned(),
            "random_get" => "random".to_owned(),
            _ => return None,
        };
        Some(Self { phase, call })
    }

    fn line(&self) -> String {
        match self.call.split_once(' ') {
            Some((name, argument)) => format!("{} {TIMES} {name} {argument}", self.phase),
            None => format!("{} {TIMES} {}", self.phase, self.call),
        }
    }

    /// Returns the kind whose price has to be taken off this one's.
    fn without(&self) -> Option<Self> {
        (self.call == ADD).then(|| Self {
            phase: self.phase,
            call: REMOVE.to_owned(),
        })
    }
}

/// A header can't be added forever: it is added and removed, and the price of removing is taken off.
const ADD: &str = "add_and_remove";
const REMOVE: &str = "remove";

/// What was measured.
#[derive(Debug)]
pub(super) struct Prices {
    kinds: Vec<Kind>,
    /// The processor time per request, in microseconds: of each round, that of each listener.
    rounds: Vec<Vec<f64>>,
}

/// The listeners before those with a kind.
const BARE: usize = 0;
const NOTHING: usize = 1;
const KINDS: usize = 2;

impl Prices {
    /// Returns what a call of a kind costs, in nanoseconds.
    pub(super) fn of(&self, kind: &Kind) -> Option<Figure> {
        let own = self.listener(kind)?;
        let less = match kind.without() {
            Some(other) => self.listener(&other)?,
            None => NOTHING,
        };
        Some(self.more(own, less, 1e3 / f64::from(TIMES)))
    }

    /// Returns what a request costs more with a module that does nothing in the callbacks of headers, in microseconds.
    pub(super) fn callbacks(&self) -> Figure {
        self.more(NOTHING, BARE, 1.0)
    }

    fn listener(&self, kind: &Kind) -> Option<usize> {
        let found = self.kinds.iter().position(|known| known == kind);
        found.map(|index| KINDS + index)
    }

    fn more(&self, listener: usize, than: usize, scale: f64) -> Figure {
        Figure::of(self.rounds.len(), |some| {
            let of = |listener: usize| -> f64 {
                let rounds = some.iter().filter_map(|round| self.rounds.get(*round));
                rounds.filter_map(|round| round.get(listener)).sum()
            };
            scale * (of(listener) - of(than))
                / f64::from(u32::try_from(some.len()).unwrap_or(1).max(1))
        })
    }
}

/// Measures so many rounds of so many requests per listener.
///
/// # Errors
/// As [`super::measure`].
pub(super) async fn measure(
    kinds: BTreeSet<Kind>,
    servers: &[SocketAddr],
    options: &super::Options,
    told: &mut impl FnMut(&str),
) -> Result<Prices> {
    let mut kinds = kinds;
    kinds.extend(kinds.clone().iter().filter_map(Kind::without));
    let kinds: Vec<Kind> = kinds.into_iter().collect();
    told("starting the listeners with prices");
    let mut envoy = Envoy::start(scenario(&kinds, servers)?).await?;
    let mut loads = Vec::new();
    for listener in 0..KINDS + kinds.len() {
        let address = envoy.listener(&name(listener))?;
        loads.push(Load::open(address, options.connections).await?);
    }
    for load in &mut loads {
        load.turn(options.warm_up / 4, options.rate * 4).await?;
    }
    let requests = (options.requests / 2).max(1);
    let mut rounds = Vec::new();
    for round in 0..options.rounds {
        told(&format!(
            "prices, round {} of {}",
            round + 1,
            options.rounds
        ));
        let mut costs = vec![0.0; loads.len()];
        for index in super::order(round, loads.len()) {
            let (Some(load), Some(cost)) = (loads.get_mut(index), costs.get_mut(index)) else {
                continue;
            };
            let before = spent(&envoy)?;
            load.turn(requests, options.rate).await?;
            let spent = spent(&envoy)?.saturating_sub(before);
            *cost = 1e6 * spent.as_secs_f64() / f64::from(requests);
        }
        rounds.push(costs);
    }
    envoy.stop().await?;
    Ok(Prices { kinds, rounds })
}

fn spent(envoy: &Envoy) -> Result<Duration> {
    Ok(envoy.time_by_kind()?.values().sum())
}

fn name(listener: usize) -> String {
    format!("listener-{listener}")
}

fn scenario(kinds: &[Kind], servers: &[SocketAddr]) -> Result<Scenario> {
    let mut bootstrap = base(servers)?;
    bare(&mut bootstrap)?;
    let template = template(&mut bootstrap)?;
    let module = module_path(MODULE)?;
    let plain = bootstrap.at("/static_resources/listeners/0")?.clone();
    let lines = kinds.iter().map(|kind| Some(kind.line()));
    let orders = [None, Some("nothing".to_owned())].into_iter().chain(lines);
    let mut listeners = Vec::new();
    for (index, order) in orders.enumerate() {
        let mut listener = plain.clone();
        *listener.pointer_mut("/name").context("no name")? = json!(name(index));
        if let Some(order) = order {
            let filters = listener
                .pointer_mut("/filter_chains/0/filters/0/typed_config/http_filters")
                .and_then(Value::as_array_mut)
                .context("a listener without filters")?;
            filters.insert(0, template.with(MODULE, &module, &order));
        }
        listeners.push(listener);
    }
    *bootstrap.at("/static_resources/listeners")? = json!(listeners);
    Ok(Scenario::new(bootstrap).concurrency(1).log_level("warn"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_priced_as_the_line_that_makes_it() {
        let call = |callback, function, of: &str| Call {
            is_upstream: false,
            callback,
            function,
            of: of.to_owned(),
        };
        let line = |call: &Call| Kind::of(call).map(|kind| kind.line());
        let property = call(
            "proxy_on_request_headers",
            "proxy_get_property",
            "xds.cluster_name",
        );
        assert_eq!(
            line(&property).as_deref(),
            Some("request 200 property xds.cluster_name")
        );
        let add = call(
            "proxy_on_response_headers",
            "proxy_add_header_map_value",
            "set-cookie",
        );
        assert_eq!(line(&add).as_deref(), Some("response 200 add_and_remove"));
        assert!(Kind::of(&add).unwrap().without().is_some());
        let unknown = call("proxy_on_request_headers", "proxy_unheard_of", "");
        assert_eq!(line(&unknown), None);
    }

    #[test]
    fn a_price_is_what_is_more_per_call_and_an_addition_is_without_its_removal() {
        let add = Kind {
            phase: "response",
            call: ADD.to_owned(),
        };
        let remove = add.without().unwrap();
        let prices = Prices {
            kinds: vec![add.clone(), remove.clone()],
            rounds: vec![vec![50.0, 60.0, 120.0, 80.0]; 3],
        };
        let close = |figure: Figure, value: f64| (figure.value - value).abs() < 1e-9;
        assert!(close(prices.callbacks(), 10.0));
        assert!(close(prices.of(&remove).unwrap(), 100.0));
        assert!(close(prices.of(&add).unwrap(), 200.0));
    }
}
