//! The filter's state in one VM.

use tidegate_policy::{
    affinity::{Config, KeySource, Matcher},
    config::Problem,
};
use tidegate_proxy::{
    CallResponse, Plugin, StreamId,
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
        Ok(Self {
            config,
            matcher,
            metrics,
            endpoints,
        })
    }

    fn digest(&self) -> u64 {
        self.config.digest()
    }

    fn tick(&mut self) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_tick();
        }
    }

    fn call_response(&mut self, response: CallResponse) {
        if let Some(endpoints) = &mut self.endpoints {
            endpoints.on_call_response(response);
        }
    }

    fn open_stream(&mut self, _id: StreamId) -> StickyStream {
        StickyStream::default()
    }
}
