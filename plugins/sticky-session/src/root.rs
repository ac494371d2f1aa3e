//! The filter's state in one VM.

use tidegate_policy::{
    affinity::{Cluster, Config, KeySource, Matcher, Tables},
    config::Problem,
    endpoints::{Picture, Unknown},
    successor::SLICE_STEPS,
    units::WallTime,
};
use tidegate_proxy::{
    CallResponse, Plugin, StreamId, clock,
    endpoints::Endpoints,
    log::{self, Level},
};

use crate::{
    config,
    metrics::{self, Metrics},
    stream::StickyStream,
};

/// Is the plugin, configured.
#[derive(Debug)]
pub struct StickySession {
    pub(crate) config: Config,
    pub(crate) matcher: Matcher,
    pub(crate) metrics: Option<Metrics>,
    pub(crate) tables: Tables,
    /// Is the picture of the endpoints, where the configuration wants one.
    pub(crate) endpoints: Option<Endpoints>,
}

impl Plugin for StickySession {
    const NAME: &'static str = "tidegate sticky-session";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = StickyStream;

    fn configure(configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        let config =
            config::read(configuration).inspect_err(|_| metrics::count_rejected_config())?;
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
        // Nor for the picture: without one the proxy alone knows who is there.
        let endpoints = config.endpoints().and_then(|endpoints| {
            Endpoints::join(endpoints, config.endpoint_header(), false)
                .inspect_err(|error| {
                    log::write(
                        Level::Error,
                        &format!("sticky-session knows no endpoints: {error}"),
                    );
                })
                .ok()
        });
        let mut tables = Tables::new();
        for (cluster, size) in config.clusters().iter().filter_map(Cluster::table) {
            tables.want(cluster.as_bytes(), size);
        }
        Ok(Self {
            config,
            matcher,
            metrics,
            tables,
            endpoints,
        })
    }

    fn digest(&self) -> u64 {
        self.config.digest()
    }

    fn open_stream(&mut self, _id: StreamId) -> StickyStream {
        StickyStream::default()
    }

    fn tick(&mut self) {
        let Some(endpoints) = &mut self.endpoints else {
            return;
        };
        endpoints.on_tick();
        if let Ok(now) = clock::wall_time() {
            let endpoints = &*endpoints;
            self.tables
                .on_tick(|cluster| endpoints.picture(cluster, now), SLICE_STEPS);
        }
    }

    fn call_response(&mut self, response: CallResponse) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_call_response(response);
        }
    }
}

impl StickySession {
    /// Is what is known of a cluster's endpoints. No host call.
    pub(crate) fn picture(&self, cluster: &[u8], now: WallTime) -> Picture<'_> {
        match &self.endpoints {
            Some(endpoints) => endpoints.picture(cluster, now),
            None => Picture::Unknown(Unknown::NotConfigured),
        }
    }
}
