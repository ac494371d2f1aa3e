//! Keeps every session on the endpoint that served it first.
//!
//! The decisions are [`tidegate_policy::affinity`]; here they meet the proxy: headers are read, the
//! decision is asked for, what it says is written back. Any call that the host refuses leaves the
//! traffic as it is and is counted.

pub mod config;
pub mod metrics;
mod stream;

use tidegate_policy::{
    affinity::{Cluster, Config, KeySource, Matcher, RequestReason, ResponseReason, Tables},
    config::Problem,
    endpoints::Source,
    successor::SLICE_STEPS,
    units::WallTime,
};
use tidegate_proxy::log::{self, Level};

use self::{metrics::Metrics, stream::Pinning};
use crate::{
    common::{Common, Settings},
    exchange::Exchange,
    filter::{Configured, Filter, Written},
};

/// Is the filter, configured.
#[derive(Debug)]
pub struct StickySession {
    config: Config,
    matcher: Matcher,
    metrics: Option<Metrics>,
    tables: Tables,
}

/// Remembers of a request what its response is decided with.
#[derive(Debug, Default)]
pub struct StickyStream {
    pinning: Option<Pinning>,
    /// Is what was decided about the request.
    request: Option<RequestReason>,
    /// Is what was decided about the response.
    response: Option<ResponseReason>,
}

impl StickySession {
    /// Makes the filter of a checked configuration.
    #[must_use]
    pub fn new(config: Config) -> Self {
        if let KeySource::Inline(_) = config.key_source() {
            log::write(
                Level::Warn,
                "sticky-session has its keys in the configuration, where everybody who may read \
                 that sees them; use keys.environment outside of trials",
            );
        }
        // Traffic does not wait for counters.
        let metrics = Metrics::define()
            .inspect_err(|error| {
                log::write(
                    Level::Error,
                    &format!("sticky-session counts nothing: {error}"),
                );
            })
            .ok();
        let matcher = Matcher::new(config.clusters());
        let mut tables = Tables::new();
        for (cluster, size) in config.clusters().iter().filter_map(Cluster::table) {
            tables.want(cluster.as_bytes(), size);
        }
        Self {
            config,
            matcher,
            metrics,
            tables,
        }
    }
}

impl Filter for StickySession {
    const NAME: &'static str = "tidegate sticky-session";
    type Stream = StickyStream;

    fn configure(configuration: &[u8]) -> Result<Configured<Self>, Vec<Problem>> {
        let config = config::read(configuration)?;
        let endpoints = config.endpoints().cloned();
        let learns = endpoints
            .as_ref()
            .is_some_and(|endpoints| matches!(endpoints.source(), Source::Learned));
        let settings = Settings {
            endpoints,
            endpoint_header: config.endpoint_header().to_owned(),
            has_reason_header: config.has_reason_header(),
            role: config.role(),
            reports_requests: learns,
            reads_plan: false,
            writes_plan: true,
        };
        Ok(Configured {
            digest: config.digest(),
            settings,
            filter: Self::new(config),
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
        if common.has_endpoints() {
            self.tables
                .on_tick(|cluster| common.picture(cluster, now), SLICE_STEPS);
        }
    }

    fn request(&mut self, common: &mut Common, exchange: &mut Exchange, stream: &mut StickyStream) {
        let pinned = self.pin(common, exchange, stream);
        stream.request = Some(pinned.unwrap_or(RequestReason::HostError));
    }

    fn requested(
        &mut self,
        common: &mut Common,
        _exchange: &Exchange,
        stream: &mut StickyStream,
        written: Written,
    ) {
        if written.is_err() {
            // Nothing is known of where it goes.
            *stream = StickyStream::default();
        }
        let reason = *stream.request.get_or_insert(RequestReason::HostError);
        if let Some(metrics) = &self.metrics {
            metrics.count_request(reason);
        }
        common.debug(|| format!("request: {}", reason.as_str()));
    }

    fn response(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: &mut StickyStream,
    ) {
        let Some(pinning) = stream.pinning.take() else {
            return;
        };
        let reason = pinning
            .answer(self, common, exchange)
            .unwrap_or(ResponseReason::HostError);
        stream.response = Some(reason);
        if let Some(metrics) = &self.metrics {
            metrics.count_response(reason);
        }
        common.debug(|| format!("response: {}", reason.as_str()));
    }

    fn explain(&self, stream: &StickyStream, say: &mut dyn FnMut(&str)) {
        let Some(request) = stream.request else {
            return;
        };
        let mut text = format!("sticky-session;request={}", request.as_str());
        if let Some(response) = stream.response {
            text.push_str(";response=");
            text.push_str(response.as_str());
        }
        say(&text);
    }
}
