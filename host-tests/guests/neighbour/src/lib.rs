//! A filter that shares the picture of the endpoints with the plugins beside it, and is a bad neighbour on request.
//!
//! Its configuration is an `endpoints` block: with an equal one it may be the leader of all. A request with `x-neighbour` is an
//! order to all its VMs: `die` kills the one that leads, `scribble` lets all write nonsense under the keys of the picture at every
//! tick, `rest` ends that. `neighbour_leads` is 1 while one of its VMs leads; `neighbour_deaths` and
//! `neighbour_scribbles` count.

use std::time::Duration;

use tidegate_policy::{
    config::{Problems, from_json},
    endpoints::{Config, KEY_PLUGIN, RawEndpoints, Selector, Source},
    lease::LEASE_FORMAT,
    snapshot::{snapshot_key, versions_key},
};
use tidegate_proxy::{
    Action, CallResponse, HeadersEvent, Plugin, Problem, Stream, StreamId, clock, configuration,
    endpoints::{Endpoints, Part},
    headers::Map,
    metric::{Counter, Gauge},
    shared,
};

/// Is how often its VMs tick: often enough that one of them is the first to ask for the lease.
const PERIOD: Duration = Duration::from_millis(50);

/// Is where an order lies.
const ORDER: &str = "neighbour.order";

/// Is nonsense: no checksum fits it.
const NONSENSE: &[u8] = &[0xa5; 300];

/// Shares the picture.
#[derive(Debug)]
pub struct Neighbour {
    endpoints: Option<Endpoints>,
    keys: Vec<String>,
    leads: Option<Gauge>,
    deaths: Option<Counter>,
    scribbles: Option<Counter>,
    led: bool,
}

/// Takes orders.
#[derive(Debug)]
pub struct Orders;

impl Neighbour {
    fn obey(&mut self) {
        let Ok(Some((order, cas))) = shared::read(ORDER) else {
            return;
        };
        match order.as_slice() {
            // The order is carried out once, by the one that leads and takes it away.
            b"die"
                if self.leads()
                    && shared::write_if(ORDER, b"", cas) == Ok(shared::Written::Won) =>
            {
                let _ = self.leads.as_ref().map(|leads| leads.set(0));
                let _ = self.deaths.as_ref().map(|deaths| deaths.increment(1));
                die();
            }
            b"scribble" => {
                for key in &self.keys {
                    let _ = shared::write(key, NONSENSE);
                }
                let _ = self
                    .scribbles
                    .as_ref()
                    .map(|scribbles| scribbles.increment(1));
            }
            _ => {}
        }
    }

    fn leads(&self) -> bool {
        self.endpoints.as_ref().is_some_and(Endpoints::leads)
    }

    fn show(&mut self) {
        let leads = self.leads();
        if leads != self.led {
            let _ = self.leads.as_ref().map(|gauge| gauge.set(u64::from(leads)));
            self.led = leads;
        }
    }
}

fn die() {
    #[cfg(target_arch = "wasm32")]
    core::arch::wasm32::unreachable();
}

fn keys(config: &Config) -> Vec<String> {
    let digest = config.digest();
    let mut keys = vec![
        format!("tidegate.{KEY_PLUGIN}.{digest:016x}.lease.{LEASE_FORMAT}"),
        versions_key(KEY_PLUGIN, digest),
    ];
    keys.extend(
        config
            .clusters()
            .iter()
            .filter_map(|selector| match selector {
                Selector::Name(name) => Some(snapshot_key(KEY_PLUGIN, digest, name.as_bytes())),
                Selector::Prefix(_) => None,
            }),
    );
    keys
}

impl Plugin for Neighbour {
    const NAME: &'static str = "tidegate neighbour";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = Orders;

    fn configure(configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        let text = configuration::text(configuration).map_err(|problem| vec![problem])?;
        let raw: RawEndpoints = from_json(text, "").map_err(|problem| vec![problem])?;
        let mut problems = Problems::new();
        let config =
            Config::check(&raw, "$", &mut problems).ok_or_else(|| problems.into_sorted())?;
        let part = Part {
            may_lead: true,
            reports: matches!(config.source(), Source::Learned),
        };
        let endpoints = Endpoints::join(&config, "x-tidegate-endpoint", part).ok();
        let _ = clock::set_tick_period(PERIOD);
        Ok(Self {
            endpoints,
            keys: keys(&config),
            leads: Gauge::define("neighbour_leads").ok(),
            deaths: Counter::define("neighbour_deaths").ok(),
            scribbles: Counter::define("neighbour_scribbles").ok(),
            led: false,
        })
    }

    fn digest(&self) -> u64 {
        0
    }

    fn open_stream(&mut self, _id: StreamId) -> Orders {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_stream(b"");
        }
        Orders
    }

    fn tick(&mut self) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_tick();
        }
        self.show();
        self.obey();
    }

    fn call_response(&mut self, response: CallResponse) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_call_response(response);
        }
    }
}

impl Stream<Neighbour> for Orders {
    fn request_headers(&mut self, _plugin: &mut Neighbour, _event: HeadersEvent) -> Action {
        if let Ok(Some(order)) = Map::RequestHeaders.value("x-neighbour") {
            let _ = shared::write(ORDER, &order);
        }
        Action::Continue
    }
}

tidegate_proxy::main!(Neighbour: tick, call_response, request_headers);
