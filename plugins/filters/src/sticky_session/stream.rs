//! One request and its response.

use std::num::NonZeroU64;

use tidegate_policy::{
    affinity::{
        Binding, Key, Kind, Match, RequestDecision, RequestReason, ResponseReason, ServedBy, Write,
        client_hash, key_hash, known_instance, on_key, present, query_hash,
    },
    endpoints::Picture,
    plan::{Bond, Proposal},
    probe::{INSTANCE_HEADER, announced},
    snapshot::EndpointAddress,
    units::WallTime,
};
use tidegate_proxy::{
    HostError, entropy,
    headers::{Map, Pairs},
    property,
};

use super::{StickySession, StickyStream};
use crate::{common::Common, exchange::Exchange};

/// Is a request to a cluster whose sessions are kept.
#[derive(Debug)]
pub(super) struct Pinning {
    https: bool,
    decision: RequestDecision,
}

impl StickySession {
    /// Decides about a request, and names the endpoint.
    pub(super) fn pin(
        &mut self,
        common: &mut Common,
        exchange: &mut Exchange,
        stream: &mut StickyStream,
    ) -> Result<RequestReason, HostError> {
        let cluster = exchange.cluster()?;
        if cluster.is_empty() {
            return Ok(RequestReason::NoCluster);
        }
        let Some(rule) = self.matcher.find(cluster) else {
            return Ok(RequestReason::UnlistedCluster);
        };
        let key = rule.policy.key();
        let decision = match key {
            Some(key) => {
                self.tables.want(cluster, rule.policy.table_size());
                self.decide_by_key(common, exchange, key)?
            }
            None => self.decide(common, exchange, &rule)?,
        };
        // With a key no cookie is written, so there is nothing to decide about the response.
        let https = match key {
            Some(_) => None,
            None => Some(exchange.request_headers()?.values(":scheme").next() == Some(b"https")),
        };
        let reason = decision.reason;
        if let Some(endpoint) = decision.endpoint() {
            common.set_endpoint_text(endpoint.as_str());
            let address = EndpointAddress::parse(endpoint.as_str().as_bytes());
            exchange.name_endpoints(address);
            exchange.propose(address.map(|address| Proposal {
                address,
                bond: bond(reason),
            }));
        }
        stream.pinning = https.map(|https| Pinning { https, decision });
        Ok(reason)
    }

    /// Decides about a request to a cluster whose sessions are kept. The clock is read only where there
    /// is a cookie whose age matters, or a picture of the endpoints.
    fn decide(
        &self,
        common: &Common,
        exchange: &Exchange,
        rule: &Match<'_>,
    ) -> Result<RequestDecision, HostError> {
        let (headers, cluster) = (exchange.request_headers()?, exchange.cluster()?);
        let binding = Binding {
            cluster,
            cookie_name: &rule.cookie_name,
        };
        let policy = rule.policy;
        let decision = match present(headers.values("cookie"), &rule.cookie_name).value() {
            Err(reason) => RequestDecision::unpinned(reason),
            Ok(value) => {
                let (keys, now) = (self.config.keys(), exchange.now()?);
                let picture = common.picture(cluster, now);
                policy.on_request(value, keys, binding, kind(headers), picture, now)
            }
        };
        if policy.places_first() && decision.is_new() {
            let client = property::SOURCE_ADDRESS.read()?;
            let client = client.and_then(|client| client_hash(&client));
            let picture = common.picture(cluster, exchange.now()?);
            return Ok(policy.place_first(decision, client, picture));
        }
        if common.has_endpoints() && decision.is_new() {
            let picture = common.picture(cluster, exchange.now()?);
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
        &self,
        common: &Common,
        exchange: &Exchange,
        key: &Key,
    ) -> Result<RequestDecision, HostError> {
        let hash = match key {
            Key::ClientAddress => property::SOURCE_ADDRESS
                .read()?
                .and_then(|client| client_hash(&client)),
            Key::Header(name) => {
                let headers = exchange.request_headers()?;
                headers.values(name).next().and_then(key_hash)
            }
            Key::Query(name) => {
                let path = exchange.request_headers()?.values(":path").next();
                path.and_then(|path| query_hash(path, name))
            }
        };
        let cluster = exchange.cluster()?;
        let picture = common.picture(cluster, exchange.now()?);
        Ok(on_key(hash, self.tables.get(cluster), picture))
    }
}

impl Pinning {
    /// Decides about the response and writes the cookie.
    pub(super) fn answer(
        &self,
        filter: &StickySession,
        common: &Common,
        exchange: &Exchange,
    ) -> Result<ResponseReason, HostError> {
        let cluster = exchange.known_cluster();
        // A configuration that came in between may have dropped the rule.
        let Some(Match {
            policy,
            cookie_name,
        }) = filter.matcher.find(cluster)
        else {
            return Ok(ResponseReason::HostError);
        };
        let address = exchange.served_by()?;
        let served_by = if address.is_empty() {
            ServedBy::Nobody
        } else {
            ServedBy::Endpoint(address)
        };
        let status = || exchange.status();
        let mut decision = policy.on_response(&self.decision, served_by, status)?;
        if decision.write.is_some() && !exchange.is_via_upstream()? {
            decision = policy.on_response(&self.decision, ServedBy::Nobody, status)?;
        }
        if let Some(write) = &decision.write {
            let binding = Binding {
                cluster,
                cookie_name: &cookie_name,
            };
            let keys = filter.config.keys();
            let (now, draws) = (exchange.now()?, entropy::draws()?);
            let instance = instance(common, exchange, write, now)?;
            let cookie = policy.write(write, instance, keys, binding, self.https, now, draws);
            let Some(cookie) = cookie else {
                return Ok(ResponseReason::HostError);
            };
            Map::ResponseHeaders.add("set-cookie", cookie.as_bytes())?;
        }
        Ok(decision.reason)
    }
}

/// Says how much depends on where a request goes: a new one that chance placed has no home yet.
const fn bond(reason: RequestReason) -> Bond {
    match reason {
        RequestReason::NewSessionByPicture => Bond::Free,
        _ => Bond::Session,
    }
}

/// Names the process that a cookie is for: as the response itself announces it, or as the picture has
/// it. What the application announces is left in the response.
fn instance(
    common: &Common,
    exchange: &Exchange,
    write: &Write,
    now: WallTime,
) -> Result<Option<NonZeroU64>, HostError> {
    let is_served_by = write.address().as_str().as_bytes() == exchange.served_by()?;
    let header = if is_served_by {
        exchange.response_value(INSTANCE_HEADER)?
    } else {
        None
    };
    let announced = header.and_then(|value| announced(&value));
    let picture = || common.picture(exchange.known_cluster(), now);
    Ok(announced.or_else(|| known_instance(picture(), write.address())))
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
