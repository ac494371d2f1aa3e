//! Where the time of a form goes: around the modules, into their callbacks, into calls of the host by kind, and the rest.
//!
//! Model: `more than plain = frame + callbacks + Σ calls × price + rest`. The rest is what modules compute themselves, what their
//! calls make the proxy do later, timers and probes, and the error of all other terms.

use std::collections::BTreeSet;

use serde::Serialize;

use super::calls::{Call, Work};
use super::figure::Figure;
use super::prices::{Kind, Prices};

/// Where the time of a form goes, in microseconds per request.
#[derive(Debug, Serialize)]
pub struct Spending {
    /// The form.
    pub form: &'static str,
    /// What it takes more than plain.
    pub more_than_plain_us: f64,
    /// What stands around its modules.
    pub frame_us: f64,
    /// Coming into its modules: a module in a place, twice per request.
    pub callbacks_us: f64,
    /// All calls that have a price.
    pub calls_us: f64,
    /// What is left.
    pub rest_us: f64,
    /// Instructions of its modules per request, in the runner's fuel: most of the rest.
    pub fuel: f64,
    /// Calls of the host per request.
    pub calls: f64,
    /// The calls by kind, dearest first.
    pub kinds: Vec<Calls>,
}

/// Calls of a kind.
#[derive(Debug, Serialize)]
pub struct Calls {
    /// Whether a filter of the listener or of the cluster calls.
    pub place: &'static str,
    /// In which callback.
    pub callback: &'static str,
    /// The function of the host.
    pub function: &'static str,
    /// The property or the header; empty where it is for neither.
    pub of: String,
    /// How many there are in a request.
    pub per_request: f64,
    /// What one takes, in nanoseconds; `null` where nobody measured it.
    pub price_ns: Option<Figure>,
    /// What they take per request, in microseconds.
    pub us: f64,
    /// The same as a share of what the form takes more than plain.
    pub share: f64,
}

/// Says which kinds have to be priced for what modules do.
pub(super) fn kinds(work: &[Work]) -> BTreeSet<Kind> {
    let calls = work.iter().flat_map(|work| work.calls.keys());
    calls.filter_map(Kind::of).collect()
}

impl Spending {
    /// Divides what a form takes more than plain.
    pub(super) fn of(
        form: &'static str,
        more_than_plain_us: f64,
        frame_us: f64,
        work: &Work,
        prices: &Prices,
    ) -> Self {
        let calls = &work.calls;
        let mut kinds: Vec<Calls> = calls
            .iter()
            .map(|(call, per_request)| {
                let price_ns = Kind::of(call).and_then(|kind| prices.of(&kind));
                let us = price_ns.map_or(0.0, |price| price.value) * per_request / 1e3;
                Calls {
                    place: place(call),
                    callback: call.callback,
                    function: call.function,
                    of: call.of.clone(),
                    per_request: *per_request,
                    price_ns,
                    us,
                    share: us / more_than_plain_us,
                }
            })
            .collect();
        kinds.sort_by(|one, other| other.us.total_cmp(&one.us));
        let places: BTreeSet<&str> = calls.keys().map(place).collect();
        let callbacks_us =
            prices.callbacks().value * f64::from(u32::try_from(places.len()).unwrap_or(0));
        let calls_us = kinds.iter().map(|kind| kind.us).sum::<f64>();
        Self {
            form,
            more_than_plain_us,
            frame_us,
            callbacks_us,
            calls_us,
            rest_us: more_than_plain_us - frame_us - callbacks_us - calls_us,
            fuel: work.fuel,
            calls: calls.values().sum(),
            kinds,
        }
    }
}

const fn place(call: &Call) -> &'static str {
    if call.is_upstream {
        "cluster"
    } else {
        "listener"
    }
}
