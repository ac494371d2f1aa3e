//! One request and its response.

use tidegate_policy::{
    affinity::{
        Binding, Match, Membership, RequestDecision, RequestReason, ResponseReason, ServedBy,
        present,
    },
    hygiene,
};
use tidegate_proxy::{
    Action, HeadersEvent, HostError, Stream, clock, entropy,
    headers::{Map, Pairs},
    log::{self, Level},
    property,
};

use crate::root::StickySession;

/// Is the response header that says what was decided.
const REASON_HEADER: &str = "x-tidegate-reason";

/// Is what a response that an endpoint gave has as its details.
const VIA_UPSTREAM: &[u8] = b"via_upstream";

/// Remembers of a request what its response is decided with.
#[derive(Debug, Default)]
pub struct StickyStream {
    pinning: Option<Pinning>,
    /// Is what was decided about the request.
    request: Option<RequestReason>,
    /// Says that somebody reads debug lines; asked once per stream, because it is a host call.
    is_debugged: bool,
}

/// Is a request to a cluster whose sessions are kept.
#[derive(Debug)]
struct Pinning {
    cluster: Vec<u8>,
    https: bool,
    decision: RequestDecision,
}

impl Stream<StickySession> for StickyStream {
    fn request_headers(&mut self, plugin: &mut StickySession, _event: HeadersEvent) -> Action {
        let reason = self.pin(plugin).unwrap_or(RequestReason::HostError);
        self.request = Some(reason);
        if let Some(metrics) = &plugin.metrics {
            metrics.count_request(reason);
        }
        self.is_debugged = log::is_enabled(Level::Debug).unwrap_or(false);
        self.debug("request", reason.as_str());
        Action::Continue
    }

    fn response_headers(&mut self, plugin: &mut StickySession, _event: HeadersEvent) -> Action {
        let reason = self.pinning.take().map(|pinning| {
            let reason = pinning.answer(plugin).unwrap_or(ResponseReason::HostError);
            if let Some(metrics) = &plugin.metrics {
                metrics.count_response(reason);
            }
            self.debug("response", reason.as_str());
            reason
        });
        if plugin.config.has_reason_header() {
            // The header explains; a response goes on without it.
            let _ = self.explain(reason);
        }
        Action::Continue
    }
}

impl StickyStream {
    /// Cleans the request's headers, decides, and names the endpoint.
    fn pin(&mut self, plugin: &mut StickySession) -> Result<RequestReason, HostError> {
        let headers = Map::RequestHeaders.read()?;
        // Before any header changes: a change makes the proxy forget its route.
        let cluster = property::CLUSTER_NAME.read();
        remove_reserved(&headers, plugin.config.endpoint_header())?;
        let Some(cluster) = cluster?.filter(|cluster| !cluster.is_empty()) else {
            return Ok(RequestReason::NoCluster);
        };
        if let Some(endpoints) = &mut plugin.endpoints {
            endpoints.on_stream(&cluster);
        }
        let Some(rule) = plugin.matcher.find(&cluster) else {
            return Ok(RequestReason::UnlistedCluster);
        };
        let decision = decide(plugin, &headers, &cluster, &rule)?;
        if let Some(endpoint) = decision.endpoint() {
            let name = plugin.config.endpoint_header();
            Map::RequestHeaders.set(name, endpoint.as_str().as_bytes())?;
        }
        let reason = decision.reason;
        let https = headers.values(":scheme").next() == Some(b"https");
        self.pinning = Some(Pinning {
            cluster,
            https,
            decision,
        });
        Ok(reason)
    }

    /// Writes the header that says what was decided.
    fn explain(&self, response: Option<ResponseReason>) -> Result<(), HostError> {
        let Some(request) = self.request else {
            return Ok(());
        };
        let mut text = format!("sticky-session;request={}", request.as_str());
        if let Some(response) = response {
            text.push_str(";response=");
            text.push_str(response.as_str());
        }
        Map::ResponseHeaders.set(REASON_HEADER, text.as_bytes())
    }

    /// Writes a line about a decision where somebody reads it.
    fn debug(&self, kind: &str, reason: &str) {
        if self.is_debugged {
            log::write(Level::Debug, &format!("{kind}: {reason}"));
        }
    }
}

impl Pinning {
    /// Decides about the response and writes the cookie.
    fn answer(&self, plugin: &StickySession) -> Result<ResponseReason, HostError> {
        // A configuration that came in between may have dropped the rule.
        let Some(Match {
            policy,
            cookie_name,
        }) = plugin.matcher.find(&self.cluster)
        else {
            return Ok(ResponseReason::HostError);
        };
        let address = property::UPSTREAM_ADDRESS.read()?.unwrap_or_default();
        let served_by = if address.is_empty() {
            ServedBy::Nobody
        } else {
            ServedBy::Endpoint(&address)
        };
        let mut decision = policy.on_response(&self.decision, served_by, status)?;
        if decision.write.is_some() && !is_via_upstream()? {
            decision = policy.on_response(&self.decision, ServedBy::Nobody, status)?;
        }
        if let Some(write) = &decision.write {
            let binding = Binding {
                cluster: &self.cluster,
                cookie_name: &cookie_name,
            };
            let keys = plugin.config.keys();
            let (now, draws) = (clock::wall_time()?, entropy::draws()?);
            let Some(cookie) = policy.write(write, keys, binding, self.https, now, draws) else {
                return Ok(ResponseReason::HostError);
            };
            Map::ResponseHeaders.add("set-cookie", cookie.as_bytes())?;
        }
        Ok(decision.reason)
    }
}

/// Decides about a request to a cluster whose sessions are kept. The clock is read only where there is
/// a cookie whose age matters.
fn decide(
    plugin: &StickySession,
    headers: &Pairs,
    cluster: &[u8],
    rule: &Match<'_>,
) -> Result<RequestDecision, HostError> {
    let binding = Binding {
        cluster,
        cookie_name: &rule.cookie_name,
    };
    let decision = match present(headers.values("cookie"), &rule.cookie_name).value() {
        Err(reason) => RequestDecision::unpinned(reason),
        Ok(value) => {
            let (keys, now) = (plugin.config.keys(), clock::wall_time()?);
            rule.policy
                .on_request(value, keys, binding, Membership::Unknown, now)
        }
    };
    Ok(decision)
}

/// Removes the headers that a client may not send. All are tried; the first failure is told.
fn remove_reserved(headers: &Pairs, endpoint_header: &str) -> Result<(), HostError> {
    let mut result = Ok(());
    for (name, _) in headers.iter() {
        if hygiene::is_reserved(name, endpoint_header.as_bytes()) {
            result = result.and(Map::RequestHeaders.remove(name));
        }
    }
    result
}

/// Reads the response's status; zero, which is no failure, where it has none.
fn status() -> Result<u16, HostError> {
    let text = Map::ResponseHeaders.value(":status")?.unwrap_or_default();
    Ok(str::from_utf8(&text)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0))
}

/// Says whether the response is an endpoint's: the proxy's own answer after an attempt that failed has
/// an address as well. A host that does not tell is believed.
fn is_via_upstream() -> Result<bool, HostError> {
    let details = property::RESPONSE_CODE_DETAILS.read()?;
    Ok(details.is_none_or(|details| details.is_empty() || details == VIA_UPSTREAM))
}
