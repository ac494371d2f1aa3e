//! Several filters as one.
//!
//! Why: each filter of a chain of modules asks the proxy for the same things and has its own picture
//! of the endpoints. Here they share what was read, one picture and one set of writes.
//! Model: requests pass the filters in the order of the configuration, responses in the reverse one,
//! as in a chain. What a filter proposes is in memory for those behind it; whoever names the endpoints
//! last is written.
//! Limits: a filter is there once. Cost: that of its filters, less what they have in common.

use tidegate_filters::{
    Common, Configured, Exchange, Filter, Settings, Written,
    health_routing::{HealthRouting, HealthStream},
    sticky_session::{StickySession, StickyStream},
};
use tidegate_policy::{
    config::Problem,
    endpoints::Source,
    routing::Observe,
    stack::{self, Config},
    units::WallTime,
};
use tidegate_proxy::log::{self, Level};

use crate::{
    config,
    metrics::{self, Metrics},
};

/// Is all filters of a configuration; those that do not act are not there.
#[derive(Debug)]
pub struct Stack {
    /// Says which filters act, and in which order.
    order: Vec<stack::Filter>,
    sticky_session: Option<StickySession>,
    health_routing: Option<HealthRouting>,
    metrics: Option<Metrics>,
}

/// Is what the filters remember of one stream.
#[derive(Debug, Default)]
pub struct StackStream {
    sticky_session: StickyStream,
    health_routing: HealthStream,
}

impl Stack {
    fn new(config: &Config) -> Self {
        // Traffic does not wait for counters.
        let metrics = Metrics::define()
            .inspect_err(|error| {
                log::write(Level::Error, &format!("stack counts nothing: {error}"));
            })
            .ok();
        let acts = |filter| config.filters().contains(&filter);
        let sticky_session = config
            .sticky_session()
            .filter(|_| acts(stack::Filter::StickySession));
        let health_routing = config
            .health_routing()
            .filter(|_| acts(stack::Filter::HealthRouting));
        Self {
            order: config.filters().to_vec(),
            sticky_session: sticky_session.cloned().map(StickySession::new),
            health_routing: health_routing.map(HealthRouting::new),
            metrics,
        }
    }

    /// Is what the chain has to know.
    fn settings(&self, config: &Config) -> Settings {
        let learns = config
            .endpoints()
            .is_some_and(|endpoints| matches!(endpoints.source(), Source::Learned));
        let is_observed_behind = config.observe() == Observe::Attempts;
        Settings {
            endpoints: config.endpoints().cloned(),
            endpoint_header: config.endpoint_header().to_owned(),
            has_reason_header: config.has_reason_header(),
            role: config.role(),
            reports_requests: match self.health_routing {
                Some(_) => !is_observed_behind,
                None => learns,
            },
            // Who keeps sessions is the first to see a request.
            reads_plan: self.sticky_session.is_none(),
            // Within this module the plan is in memory; without health routing another may follow.
            writes_plan: is_observed_behind || self.health_routing.is_none(),
        }
    }
}

impl Filter for Stack {
    const NAME: &'static str = "tidegate stack";
    type Stream = StackStream;

    fn configure(configuration: &[u8]) -> Result<Configured<Self>, Vec<Problem>> {
        let config = config::read(configuration)?;
        let filter = Self::new(&config);
        Ok(Configured {
            digest: config.digest(),
            settings: filter.settings(&config),
            filter,
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
        if let Some(filter) = &mut self.sticky_session {
            filter.tick(common, now);
        }
        if let Some(filter) = &mut self.health_routing {
            filter.tick(common, now);
        }
    }

    fn request(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut StackStream) {
        for filter in &self.order {
            match filter {
                stack::Filter::StickySession => {
                    let before = exchange.proposal();
                    if let Some(filter) = &mut self.sticky_session {
                        filter.request(common, exchange, &mut stream.sticky_session);
                    }
                    if exchange.proposal() != before
                        && let Some(filter) = &mut self.health_routing
                    {
                        // Where it decided before, its list is not the one that is written.
                        filter.overruled(&mut stream.health_routing);
                    }
                }
                stack::Filter::HealthRouting => {
                    if let Some(filter) = &mut self.health_routing {
                        filter.request(common, exchange, &mut stream.health_routing);
                    }
                }
            }
        }
    }

    fn requested(
        &mut self,
        common: &mut Common,
        exchange: &Exchange,
        stream: &mut StackStream,
        written: Written,
    ) {
        if let Some(filter) = &mut self.sticky_session {
            filter.requested(common, exchange, &mut stream.sticky_session, written);
        }
        if let Some(filter) = &mut self.health_routing {
            filter.requested(common, exchange, &mut stream.health_routing, written);
        }
    }

    fn response(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut StackStream) {
        for filter in self.order.iter().rev() {
            match filter {
                stack::Filter::StickySession => {
                    if let Some(filter) = &mut self.sticky_session {
                        filter.response(common, exchange, &mut stream.sticky_session);
                    }
                }
                stack::Filter::HealthRouting => {
                    if let Some(filter) = &mut self.health_routing {
                        filter.response(common, exchange, &mut stream.health_routing);
                    }
                }
            }
        }
    }

    fn explain(&self, stream: &StackStream, say: &mut dyn FnMut(&str)) {
        for filter in self.order.iter().rev() {
            match filter {
                stack::Filter::StickySession => {
                    if let Some(filter) = &self.sticky_session {
                        filter.explain(&stream.sticky_session, say);
                    }
                }
                stack::Filter::HealthRouting => {
                    if let Some(filter) = &self.health_routing {
                        filter.explain(&stream.health_routing, say);
                    }
                }
            }
        }
    }

    fn end(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: StackStream,
        is_failed: bool,
    ) {
        let StackStream {
            sticky_session,
            health_routing,
        } = stream;
        if let Some(filter) = &mut self.sticky_session {
            filter.end(common, exchange, sticky_session, is_failed);
        }
        if let Some(filter) = &mut self.health_routing {
            filter.end(common, exchange, health_routing, is_failed);
        }
    }
}
