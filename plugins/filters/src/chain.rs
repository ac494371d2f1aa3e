//! Runs a filter, or several of them in one, as a plugin.
//!
//! Why: cleaning headers, finding the cluster, writing the decision and watching attempts is the same
//! for all filters, and is to be done once for a request.
//! Model: in front (`role` `listener`) a request is taken over from a filter in front of this one, if
//! there is a plan, else cleaned of what a client may not send; then the filter decides; then the
//! endpoints' header and the plan are written. Behind the router (`role` `upstream`) nothing is
//! touched: attempts of planned requests are watched and reported.
//! Limits: what the host refuses costs a request its routing and nothing else. A callback that comes
//! while another one of the same VM runs is let through unseen and counted.
//! Scope: one per configuration and VM.

use std::{cell::Cell, fmt};

use tidegate_policy::{affinity::Role, config::Problem, passive::Outcome};
use tidegate_proxy::{
    Action, CallResponse, HeadersEvent, HostError, Plugin, Stream, StreamId, headers::Map,
};

use crate::{
    attempt::{Attempting, is_for_the_client, report_request},
    common::{Common, REASON_HEADER},
    exchange::Exchange,
    filter::{Configured, Filter, Written},
    hygiene::remove_reserved,
};

std::thread_local! {
    /// Counts callbacks that came while another one was running. No plugin can be reached then, so
    /// the next tick tells them.
    static REENTERED: Cell<u32> = const { Cell::new(0) };
}

/// Is a plugin made of a filter.
#[derive(Debug)]
pub struct Chain<F> {
    filter: F,
    common: Common,
    digest: u64,
}

/// Is one stream of it.
pub struct ChainStream<F: Filter> {
    exchange: Exchange,
    stream: F::Stream,
    /// Is the attempt whose outcome is awaited, behind the router.
    attempting: Option<Attempting>,
    /// Says that the filter decided about the request and awaits its response.
    is_awaiting: bool,
}

/// Says what became of a request's headers.
enum Taken {
    /// The request was for the status, and has its answer.
    Answered,
    /// It goes to the filters.
    Ours,
}

impl<F: Filter> fmt::Debug for ChainStream<F> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(F::NAME)
    }
}

impl<F: Filter> Plugin for Chain<F> {
    const NAME: &'static str = F::NAME;
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Stream = ChainStream<F>;

    fn configure(configuration: &[u8]) -> Result<Self, Vec<Problem>> {
        let Configured {
            filter,
            settings,
            digest,
        } = F::configure(configuration).inspect_err(|_| F::count_rejected_config())?;
        Ok(Self {
            filter,
            common: Common::new(F::NAME, settings),
            digest,
        })
    }

    fn digest(&self) -> u64 {
        self.digest
    }

    fn open_stream(&mut self, _id: StreamId) -> ChainStream<F> {
        ChainStream {
            exchange: Exchange::default(),
            stream: F::Stream::default(),
            attempting: None,
            is_awaiting: false,
        }
    }

    fn tick(&mut self) {
        self.filter.count_reentered(REENTERED.take());
        if let Some(now) = self.common.on_tick() {
            self.filter.tick(&self.common, now);
        }
    }

    fn reentered() {
        REENTERED.set(REENTERED.get().saturating_add(1));
    }

    fn call_response(&mut self, response: CallResponse) {
        if let Some(endpoints) = &mut self.common.endpoints {
            endpoints.on_call_response(response);
        }
    }
}

impl<F: Filter> Stream<Chain<F>> for ChainStream<F> {
    fn request_headers(&mut self, plugin: &mut Chain<F>, _event: HeadersEvent) -> Action {
        let Chain { filter, common, .. } = plugin;
        if common.settings.role == Role::Upstream {
            // What the host refuses is not observed.
            self.attempting = Attempting::begin(common, &self.exchange).unwrap_or(None);
            self.exchange.on_request_end();
            return Action::Continue;
        }
        let written = match self.take(common) {
            Ok(Taken::Answered) => return Action::Pause,
            Ok(Taken::Ours) => {
                filter.request(common, &mut self.exchange, &mut self.stream);
                self.write(common)
            }
            Err(error) => Err(error),
        };
        if written.is_ok() {
            self.exchange.start(common);
        }
        filter.requested(common, &self.exchange, &mut self.stream, written);
        self.is_awaiting = true;
        self.exchange.on_request_end();
        Action::Continue
    }

    fn response_headers(&mut self, plugin: &mut Chain<F>, _event: HeadersEvent) -> Action {
        let Chain { filter, common, .. } = plugin;
        if let Some(attempting) = self.attempting.take() {
            // What the host refuses is not observed.
            let _ = attempting.answered(common, &self.exchange);
        }
        if core::mem::take(&mut self.is_awaiting) {
            self.exchange.stop(common);
            filter.response(common, &mut self.exchange, &mut self.stream);
            // Who serves is worth knowing also where no filter asked.
            let _ = report_request(common, &mut self.exchange, None);
            if common.settings.has_reason_header {
                // The header explains; a response goes on without it.
                let _ = explain(filter, common, &self.exchange, &self.stream);
            }
        }
        self.exchange.on_response_end();
        Action::Continue
    }

    fn end(&mut self, plugin: &mut Chain<F>) {
        if let Some(attempting) = self.attempting.take() {
            // What the host refuses is not observed.
            let _ = attempting.gone(&mut plugin.common, &self.exchange);
        }
        // What the host does not tell is nobody's failure.
        let is_failed = self.is_awaiting && !is_for_the_client().unwrap_or(true);
        self.leave(plugin, is_failed);
        if is_failed {
            let outcome = Some(Outcome::LocalFailure);
            let _ = report_request(&mut plugin.common, &mut self.exchange, outcome);
        }
    }

    fn lost(&mut self, plugin: &mut Chain<F>) {
        if let Some(attempting) = self.attempting.take() {
            attempting.lost(&mut plugin.common);
        }
        self.leave(plugin, false);
    }
}

impl<F: Filter> ChainStream<F> {
    /// Takes leave of a stream in front.
    fn leave(&mut self, plugin: &mut Chain<F>, is_failed: bool) {
        self.exchange.stop(&mut plugin.common);
        let stream = core::mem::take(&mut self.stream);
        plugin
            .filter
            .end(&mut plugin.common, &mut self.exchange, stream, is_failed);
    }

    /// Takes a request over: from a filter of ours in front, or from a client, whose headers are
    /// cleaned.
    fn take(&mut self, common: &mut Common) -> Result<Taken, HostError> {
        let exchange = &mut self.exchange;
        if let Some(endpoints) = &common.endpoints
            && endpoints.shows_status()
            && endpoints.answer_status(exchange.request_headers()?)?
        {
            return Ok(Taken::Answered);
        }
        // Before any header changes: a change makes the proxy forget its route.
        let cluster = exchange.cluster().map(|_| ());
        if !(common.settings.reads_plan && exchange.read_plan()?) {
            let header = &common.settings.endpoint_header;
            remove_reserved(exchange.request_headers()?, header)?;
        }
        cluster?;
        let cluster = exchange.known_cluster();
        if let Some(endpoints) = &mut common.endpoints
            && !cluster.is_empty()
        {
            endpoints.on_stream(cluster);
        }
        if common.reports(cluster) {
            // Its response is timed, where the host has a clock.
            let _ = exchange.begin();
        }
        Ok(Taken::Ours)
    }

    /// Writes what the filters decided.
    fn write(&self, common: &Common) -> Written {
        let exchange = &self.exchange;
        let names = if exchange.names_endpoints() {
            let name = &common.settings.endpoint_header;
            Map::RequestHeaders.set(name, common.endpoints_text().as_bytes())
        } else {
            Ok(())
        };
        let cluster = exchange.known_cluster();
        let is_planned = exchange.proposal().is_some() || common.knows(cluster);
        if common.settings.writes_plan && is_planned && !cluster.is_empty() {
            // Without it attempts are not observed and a session is nothing to those behind; the
            // request goes on.
            let _ = exchange.write_plan();
        }
        names
    }
}

/// Writes the headers that say what was decided, beside that of a filter of ours behind this chain;
/// whatever else has the name is replaced.
fn explain<F: Filter>(
    filter: &F,
    common: &mut Common,
    exchange: &Exchange,
    stream: &F::Stream,
) -> Result<(), HostError> {
    let mut result = Ok(());
    let mut is_first = true;
    filter.explain(stream, &mut |text| {
        let is_beside = !is_first || (!exchange.has_plan() && common.is_explained(text));
        is_first = false;
        result = result.and(if is_beside {
            Map::ResponseHeaders.add(REASON_HEADER, text.as_bytes())
        } else {
            Map::ResponseHeaders.set(REASON_HEADER, text.as_bytes())
        });
    });
    result
}
