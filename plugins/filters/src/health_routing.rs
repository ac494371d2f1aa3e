//! Sends every request to an endpoint that will serve it soon.
//!
//! The decisions are [`tidegate_policy::routing`]; here they meet the proxy: the picture is handed to
//! the routers at each tick, a request's list is written, its response says what became of it.
//!
//! Cost: counters are told their news at ticks: a request counts without a call to the host.

pub mod config;
pub mod metrics;
mod stream;

use tidegate_policy::{
    config::Problem,
    passive::Outcome,
    routing::{Config, Observe, Reason, Routers, Rules, Surroundings},
    units::WallTime,
};
use tidegate_proxy::{
    endpoints::Draws,
    entropy,
    log::{self, Level},
    property::Property,
};

use self::metrics::Metrics;
pub use self::stream::HealthStream;
use crate::{
    common::{Common, Settings},
    exchange::Exchange,
    filter::{Configured, Filter, Written},
};

/// Is the zone of the proxy itself.
const OWN_ZONE: Property<Vec<u8>> = Property::new(b"xds\0node\0locality\0zone");

/// Is the filter, configured.
#[derive(Debug)]
pub struct HealthRouting {
    routers: Routers,
    draws: Draws,
    /// Is the proxy's own zone; empty where it is in none.
    own_zone: Vec<u8>,
    metrics: Option<Metrics>,
}

impl HealthRouting {
    /// Makes the filter of a checked configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        // Traffic does not wait for counters.
        let metrics = Metrics::define()
            .inspect_err(|error| {
                log::write(
                    Level::Error,
                    &format!("health-routing counts nothing: {error}"),
                );
            })
            .ok();
        // Without a host's number all VMs draw alike, which is better than not to choose.
        let [seed, number] = entropy::draws().unwrap_or_default();
        Self {
            routers: Routers::new(
                Rules::new(config.rules()),
                config.endpoints().drain_window(),
                number,
            ),
            draws: Draws::new(seed),
            own_zone: OWN_ZONE.read().unwrap_or(None).unwrap_or_default(),
            metrics,
        }
    }

    /// Lets go of a request whose endpoints a filter behind this one named anew: nothing that comes
    /// of it says anything about the list that was decided.
    pub fn overruled(&mut self, stream: &mut HealthStream) {
        let reason = stream.reason;
        self.forget(stream);
        stream.reason = reason;
    }
}

impl Filter for HealthRouting {
    const NAME: &'static str = "tidegate health-routing";
    type Stream = HealthStream;

    fn configure(configuration: &[u8]) -> Result<Configured<Self>, Vec<Problem>> {
        let config = config::parse(configuration)?;
        let settings = Settings {
            endpoints: Some(config.endpoints().clone()),
            endpoint_header: config.endpoint_header().to_owned(),
            has_reason_header: config.has_reason_header(),
            role: config.role(),
            reports_requests: config.observe() == Observe::Requests,
            reads_plan: true,
            writes_plan: config.observe() == Observe::Attempts,
        };
        Ok(Configured {
            digest: config.digest(),
            settings,
            filter: Self::new(&config),
        })
    }

    fn count_rejected_config() {
        metrics::count_rejected_config();
    }

    fn count_reentered(&self, callbacks: u32) {
        if let Some(metrics) = &self.metrics {
            metrics.count_reentered(callbacks);
        }
    }

    fn tick(&mut self, common: &Common, now: WallTime) {
        let draws = &mut self.draws;
        self.routers.on_tick(
            |cluster| common.picture(cluster, now),
            Surroundings {
                own_zone: &self.own_zone,
                workers: common.workers(),
                now,
            },
            &mut || draws.draw(),
        );
        if let Some(metrics) = &mut self.metrics {
            metrics.on_tick();
        }
    }

    fn request(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut HealthStream) {
        let reason = self.route(common, exchange, stream);
        stream.reason = Some(reason.unwrap_or(Reason::HostError));
    }

    fn requested(
        &mut self,
        common: &mut Common,
        _exchange: &Exchange,
        stream: &mut HealthStream,
        written: Written,
    ) {
        if written.is_err() {
            self.forget(stream);
        }
        self.count_request(common, stream);
    }

    fn response(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: &mut HealthStream,
    ) {
        // What the host does not tell shows nothing.
        let _ = self.conclude(common, exchange, stream, None);
    }

    fn explain(&self, stream: &HealthStream, say: &mut dyn FnMut(&str)) {
        stream.explain(say);
    }

    fn end(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        mut stream: HealthStream,
        is_failed: bool,
    ) {
        if is_failed {
            let outcome = Some(Outcome::LocalFailure);
            // What the host does not tell shows nothing.
            let _ = self.conclude(common, exchange, &mut stream, outcome);
        }
        self.finish(stream);
    }
}
