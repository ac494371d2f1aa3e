//! One request and its response.

use std::num::NonZeroU64;

use tidegate_policy::{
    affinity::{
        Binding, Key, Kind, Match, RequestDecision, RequestReason, ResponseReason, Role, ServedBy,
        Write, client_hash, key_hash, known_instance, on_key, present, query_hash,
    },
    endpoints::Picture,
    hygiene,
    probe::{INSTANCE_HEADER, announced},
    units::WallTime,
};
use tidegate_proxy::{
    Action, HeadersEvent, HostError, Stream, clock, entropy,
    headers::{Map, Pairs},
    log::{self, Level},
    property,
};

use crate::{
    attempt::{self, Attempting},
    root::StickySession,
};

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
    /// Is the attempt whose outcome is awaited.
    attempting: Option<Attempting>,
    /// Says that somebody reads debug lines; asked once per stream, because it is a host call.
    is_debugged: bool,
}

/// Says what became of a request's headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Pinned {
    /// The request was for the status, and has its answer.
    Answered,
    /// It goes on.
    Decided(RequestReason),
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
        if plugin.config.role() == Role::Upstream {
            // What the host refuses is not observed.
            self.attempting = Attempting::behind(plugin).unwrap_or(None);
            return Action::Continue;
        }
        let pinned = self.pin(plugin);
        if pinned == Ok(Pinned::Answered) {
            return Action::Pause;
        }
        let reason = match pinned {
            Ok(Pinned::Decided(reason)) => reason,
            Ok(Pinned::Answered) | Err(_) => RequestReason::HostError,
        };
        self.request = Some(reason);
        if let Some(metrics) = &plugin.metrics {
            metrics.count_request(reason);
        }
        self.is_debugged = log::is_enabled(Level::Debug).unwrap_or(false);
        self.debug("request", reason.as_str());
        Action::Continue
    }

    fn response_headers(&mut self, plugin: &mut StickySession, _event: HeadersEvent) -> Action {
        if let Some(attempting) = self.attempting.take() {
            // What the host refuses is not observed.
            let _ = attempting.answered(plugin);
        }
        if plugin.config.role() == Role::Upstream {
            return Action::Continue;
        }
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

    fn end(&mut self, plugin: &mut StickySession) {
        if let Some(attempting) = self.attempting.take() {
            // What the host refuses is not observed.
            let _ = attempting.gone(plugin);
        }
    }
}

impl StickyStream {
    /// Cleans the request's headers, decides, and names the endpoint.
    fn pin(&mut self, plugin: &mut StickySession) -> Result<Pinned, HostError> {
        let headers = Map::RequestHeaders.read()?;
        if let Some(endpoints) = &plugin.endpoints
            && endpoints.answer_status(&headers)?
        {
            return Ok(Pinned::Answered);
        }
        // Before any header changes: a change makes the proxy forget its route.
        let cluster = property::CLUSTER_NAME.read();
        remove_reserved(&headers, plugin.config.endpoint_header())?;
        let Some(cluster) = cluster?.filter(|cluster| !cluster.is_empty()) else {
            return Ok(Pinned::Decided(RequestReason::NoCluster));
        };
        if let Some(endpoints) = &mut plugin.endpoints {
            endpoints.on_stream(&cluster);
        }
        attempt::plan(plugin, &cluster);
        // Who serves is worth knowing also where no session is kept.
        self.attempting = Attempting::in_front(plugin, &cluster).unwrap_or(None);
        let Some(rule) = plugin.matcher.find(&cluster) else {
            return Ok(Pinned::Decided(RequestReason::UnlistedCluster));
        };
        let key = rule.policy.key();
        let decision = match key {
            Some(key) => {
                plugin.tables.want(&cluster, rule.policy.table_size());
                decide_by_key(plugin, &headers, &cluster, key)?
            }
            None => decide(plugin, &headers, &cluster, &rule)?,
        };
        if let Some(endpoint) = decision.endpoint() {
            let name = plugin.config.endpoint_header();
            Map::RequestHeaders.set(name, endpoint.as_str().as_bytes())?;
        }
        let reason = decision.reason;
        // With a key no cookie is written, so there is nothing to decide about the response.
        if key.is_none() {
            let https = headers.values(":scheme").next() == Some(b"https");
            self.pinning = Some(Pinning {
                cluster,
                https,
                decision,
            });
        }
        Ok(Pinned::Decided(reason))
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
            let instance = self.instance(plugin, write, &address, now)?;
            let cookie = policy.write(write, instance, keys, binding, self.https, now, draws);
            let Some(cookie) = cookie else {
                return Ok(ResponseReason::HostError);
            };
            Map::ResponseHeaders.add("set-cookie", cookie.as_bytes())?;
        }
        Ok(decision.reason)
    }

    /// Names the process that a cookie is for: as the response itself announces it, or as the picture
    /// has it. What the application announces is left in the response.
    fn instance(
        &self,
        plugin: &StickySession,
        write: &Write,
        served_by: &[u8],
        now: WallTime,
    ) -> Result<Option<NonZeroU64>, HostError> {
        let is_served_by = write.address().as_str().as_bytes() == served_by;
        let header = if is_served_by {
            Map::ResponseHeaders.value(INSTANCE_HEADER)?
        } else {
            None
        };
        let announced = header.and_then(|value| announced(&value));
        let picture = || plugin.picture(&self.cluster, now);
        Ok(announced.or_else(|| known_instance(picture(), write.address())))
    }
}

/// Decides about a request to a cluster whose sessions are kept. The clock is read only where there is
/// a cookie whose age matters, or a picture of the endpoints.
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
    let policy = rule.policy;
    let decision = match present(headers.values("cookie"), &rule.cookie_name).value() {
        Err(reason) => RequestDecision::unpinned(reason),
        Ok(value) => {
            let (keys, now) = (plugin.config.keys(), clock::wall_time()?);
            let picture = plugin.picture(cluster, now);
            policy.on_request(value, keys, binding, kind(headers), picture, now)
        }
    };
    if policy.places_first() && decision.is_new() {
        let client = property::SOURCE_ADDRESS.read()?;
        let client = client.and_then(|client| client_hash(&client));
        let picture = plugin.picture(cluster, clock::wall_time()?);
        return Ok(policy.place_first(decision, client, picture));
    }
    if plugin.endpoints.is_some() && decision.is_new() {
        let picture = plugin.picture(cluster, clock::wall_time()?);
        if let Picture::Known(known) = &picture
            && known.view.turns_away()
        {
            let [draw] = entropy::draws()?;
            return Ok(policy.place_anew(decision, draw, picture));
        }
    }
    Ok(decision)
}

/// Decides about a request to a cluster whose requests bring a key.
fn decide_by_key(
    plugin: &StickySession,
    headers: &Pairs,
    cluster: &[u8],
    key: &Key,
) -> Result<RequestDecision, HostError> {
    let hash = match key {
        Key::ClientAddress => property::SOURCE_ADDRESS
            .read()?
            .and_then(|client| client_hash(&client)),
        Key::Header(name) => headers.values(name).next().and_then(key_hash),
        Key::Query(name) => {
            let path = headers.values(":path").next();
            path.and_then(|path| query_hash(path, name))
        }
    };
    let picture = plugin.picture(cluster, clock::wall_time()?);
    Ok(on_key(hash, plugin.tables.get(cluster), picture))
}

/// Says whether a request asks for a stream that outlives it, as the proxy understands it: an upgrade
/// with its token in `connection`, or a tunnel. HTTP/2's form of it is turned into this one before.
fn kind(headers: &Pairs) -> Kind {
    let has_token = |value: &[u8]| {
        value
            .split(|byte| *byte == b',')
            .any(|token| token.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    };
    let upgrades = headers.values("upgrade").any(|value| !value.is_empty())
        && headers.values("connection").any(has_token);
    if upgrades || headers.values(":method").next() == Some(b"CONNECT") {
        Kind::Upgrade
    } else {
        Kind::Plain
    }
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
pub(crate) fn status() -> Result<u16, HostError> {
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
