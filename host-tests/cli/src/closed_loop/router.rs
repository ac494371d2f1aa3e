//! Requests behind the filters: routes, attempts, and their way to an endpoint.

use tidegate_host::{HeaderMap, UpstreamAttributes};
use tidegate_model::balance::{self, Pick};
use tidegate_model::report::Sink;
use tidegate_model::router::{self, Attempts, Breakers, Headers, HeadersMut};
use tidegate_model::scenario::{Hash, Route};

use super::RunError;
use super::cluster::Cluster;
use super::endpoints::{Owner, WholeRequest};
use super::engine::Engine;
use super::queue::Event;
use super::stream::{Current, Part, Stream};

/// The host's headers as the router reads and writes them.
pub(super) struct Fields<'a>(pub(super) &'a mut HeaderMap);

impl Headers for Fields<'_> {
    fn value(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name)
    }
}

impl HeadersMut for Fields<'_> {
    fn set(&mut self, name: &str, value: &[u8]) {
        self.0.set(name, value);
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Returns the state of a request's router, and what bounds its cluster; `None` before it has come so far.
pub(super) fn deciding<'a>(
    stream: &'a mut Stream,
    clusters: &'a mut [Cluster],
) -> Option<(&'a mut Attempts, &'a mut Breakers)> {
    let cluster = clusters.get_mut(stream.cluster?)?;
    Some((stream.attempts.as_mut()?, &mut cluster.breakers))
}

impl Engine {
    /// Finds the route of a request by its path.
    pub(super) fn route_of(&self, headers: &HeaderMap) -> Option<usize> {
        let path = headers.get_str(":path")?;
        self.routes
            .iter()
            .position(|route| path.starts_with(&route.prefix))
    }

    /// Chooses the cluster of a route; of weighted ones, one is drawn.
    pub(super) fn cluster_name_of(&mut self, route: usize) -> Option<String> {
        let route = self.routes.get(route)?;
        if let Some(cluster) = &route.cluster {
            return Some(cluster.clone());
        }
        let total: u64 = route
            .weighted_clusters
            .values()
            .map(|weight| u64::from(*weight))
            .sum();
        let mut drawn = self.router_draws.below(total);
        for (cluster, weight) in &route.weighted_clusters {
            match drawn.checked_sub(u64::from(*weight)) {
                Some(rest) => drawn = rest,
                None => return Some(cluster.clone()),
            }
        }
        None
    }

    /// The request's headers have left the filters.
    pub(super) fn routed(
        &mut self,
        key: u64,
        headers: HeaderMap,
        ends: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(index) = self.route_of(&headers) else {
            return self.reply(key, router::no_route());
        };
        let is_chosen = self
            .streams
            .get(&key)
            .is_some_and(|stream| stream.route == index && stream.cluster.is_some());
        if !is_chosen && !self.choose_cluster(key, index)? {
            return Ok(());
        }
        let now_ns = self.now_ns;
        let (Some(stream), Some(route)) = (self.streams.get_mut(&key), self.routes.get(index))
        else {
            return Ok(());
        };
        let Some(cluster) = stream
            .cluster
            .and_then(|index| self.clusters.get_mut(index))
        else {
            return Ok(());
        };
        let mut headers = headers;
        stream.attempts = Some(Attempts::new(route, &Fields(&mut headers)));
        stream.hash = hash(route, &headers, &stream.arrival.address);
        if let Some(header) = &cluster.override_header {
            stream.wanted = headers.get_str(header).map(str::to_owned);
        } else if let Some(cookie) = &cluster.session_cookie {
            stream.wanted = balance::session::read(headers.get_all("cookie"), cookie);
        }
        stream.is_upgrade = headers.get("upgrade").is_some();
        if stream.is_upgrade {
            stream.row.socket.get_or_insert_default();
        }
        stream.parts = vec![Part::Headers(headers, ends)];
        stream.ends_with_headers = ends || stream.is_upgrade;
        if stream.ends_with_headers {
            stream.sent_ns = Some(now_ns);
        }
        self.begin_attempt(key, sink)?;
        self.request_ended(key);
        Ok(())
    }

    /// Chooses route and cluster anew. `false`: the proxy has answered.
    pub(super) fn choose_cluster(&mut self, key: u64, index: usize) -> Result<bool, RunError> {
        if let Some(status) = self
            .routes
            .get(index)
            .and_then(|route| route.direct_response)
        {
            self.reply(key, router::direct_response(status))?;
            return Ok(false);
        }
        let name = self.cluster_name_of(index);
        let cluster = name
            .as_ref()
            .and_then(|name| self.cluster_names.get(name))
            .copied();
        let route_name = self
            .routes
            .get(index)
            .map_or("", |route| route.name.as_str());
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.route = index;
            stream.cluster = cluster;
            self.proxy
                .set_route(stream.id, name.as_deref().unwrap_or_default(), route_name)?;
        }
        if cluster.is_none() {
            self.reply(key, router::no_cluster())?;
        }
        Ok(cluster.is_some())
    }

    /// Begins an attempt with what has left the filters so far.
    pub(super) fn begin_attempt(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let (Some(index), Some(attempts)) = (stream.cluster, &mut stream.attempts) else {
            return Ok(());
        };
        let (Some(cluster), Some(route)) =
            (self.clusters.get_mut(index), self.routes.get(stream.route))
        else {
            return Ok(());
        };
        attempts.begin(&mut cluster.breakers, now_ns);
        let retry = route
            .retry
            .as_ref()
            .filter(|retry| retry.avoid_previous_hosts);
        let thread = usize::try_from(stream.row.worker).unwrap_or(usize::MAX);
        let pick = Pick {
            attempt: attempts.count,
            hash: stream.hash,
            wanted: stream.wanted.as_deref(),
            used: Some(&stream.used),
            avoid: if retry.is_some() { &stream.tried } else { &[] },
            avoid_attempts: retry.map_or(0, |retry| retry.host_selection_attempts),
            now_ns,
        };
        let Some(host) = cluster.pick(thread, &pick) else {
            stream.row.endpoints.push(None);
            let reply = attempts.on_no_endpoint(&mut cluster.breakers);
            return self.reply(key, reply);
        };
        let address = cluster.address(host).to_owned();
        stream.row.endpoints.push(Some(address.clone()));
        stream.tried.push(host);
        let upstream = UpstreamAttributes {
            address,
            attempt_count: u64::from(attempts.count),
            ..UpstreamAttributes::default()
        };
        let id = stream.id;
        let filters = if self.has_upstream_filters {
            self.proxy.set_upstream(id, upstream.clone())?;
            self.proxy.open_attempt(id, &cluster.name, upstream)?
        } else {
            self.proxy.set_upstream(id, upstream)?;
            None
        };
        let parts = stream.parts.clone();
        stream.current = Some(Current {
            work: self.next_work,
            filters,
            path: String::new(),
            is_upgrade: false,
            status: None,
            body_left: 0,
        });
        self.begin_work(Owner::Stream(key), index, host, thread, sink)?;
        for part in parts {
            self.send(key, part)?;
        }
        Ok(())
    }

    /// An attempt has its connection: its time runs, if the request has ended.
    pub(super) fn attempt_begins(&mut self, key: u64, work: u64) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.sent_ns.is_some()
            && let Some(time_ns) = stream
                .attempts
                .as_ref()
                .and_then(|attempts| attempts.per_try_timeout_ns)
        {
            let at_ns = self.now_ns.saturating_add(time_ns);
            self.queue
                .push(at_ns, Event::PerTryTimeout { stream: key, work });
        }
        Ok(())
    }

    /// The request has ended, if it has: its time runs.
    pub(super) fn request_ended(&mut self, key: u64) {
        let Some(stream) = self.streams.get_mut(&key) else {
            return;
        };
        let (Some(_), false) = (stream.sent_ns, stream.is_timed) else {
            return;
        };
        stream.is_timed = true;
        let Some(attempts) = &stream.attempts else {
            return;
        };
        if let Some(time_ns) = attempts.on_request_end(stream.current.is_some()) {
            let at_ns = self.now_ns.saturating_add(time_ns);
            self.queue.push(at_ns, Event::Timeout { stream: key });
        }
        let begun = stream.current.as_ref().map(|current| current.work);
        if let (Some(work), Some(time_ns)) = (begun, attempts.per_try_timeout_ns)
            && self.works.get(&work).is_some_and(|work| work.has_begun)
            && !stream.ends_with_headers
        {
            let at_ns = self.now_ns.saturating_add(time_ns);
            self.queue
                .push(at_ns, Event::PerTryTimeout { stream: key, work });
        }
    }

    /// A further part of the request has left the filters.
    pub(super) fn onward(&mut self, key: u64, part: Part) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let is_upgraded = stream.socket.is_some();
        if part.ends() && stream.sent_ns.is_none() {
            stream.sent_ns = Some(now_ns);
        }
        if !is_upgraded {
            if let Part::Body(bytes, _) = &part {
                stream.body_bytes += bytes.len() as u64;
            }
            let under_way = stream.current.is_some();
            let bytes = stream.body_bytes;
            let mut repeats = false;
            if let Some((attempts, breakers)) = deciding(stream, &mut self.clusters) {
                if let Some(reply) = attempts.on_request_body(bytes, under_way, breakers) {
                    return self.reply(key, reply);
                }
                repeats = attempts.may_repeat();
            }
            if repeats {
                stream.parts.push(part.clone());
            }
        }
        self.send(key, part)?;
        self.request_ended(key);
        Ok(())
    }

    /// Gives a part of the request to the upstream filters, or to the endpoint.
    pub(super) fn send(&mut self, key: u64, part: Part) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let (Some(current), Some(attempts)) = (&stream.current, &stream.attempts) else {
            return Ok(());
        };
        let part = match part {
            Part::Headers(mut headers, ends) => {
                let since_ns = stream.sent_ns.map_or(0, |sent| now_ns.saturating_sub(sent));
                attempts.prepare(&mut Fields(&mut headers), since_ns);
                let removal = stream
                    .cluster
                    .and_then(|index| self.upstream_removals.get(index));
                if let Some(removal) = removal {
                    removal.in_front(&mut headers);
                }
                Part::Headers(headers, ends)
            }
            other => other,
        };
        let Some(filters) = current.filters else {
            return self.at_endpoint(key, part);
        };
        match part {
            Part::Headers(headers, ends) => self.proxy.request_headers(filters, headers, ends)?,
            Part::Body(bytes, ends) => self.proxy.request_body(filters, &bytes, ends)?,
            Part::Trailers(trailers) => self.proxy.request_trailers(filters, trailers)?,
        }
        Ok(())
    }

    /// A part of the request has come to where the endpoint is.
    pub(super) fn at_endpoint(&mut self, key: u64, part: Part) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let Some(current) = &mut stream.current else {
            return Ok(());
        };
        let mut is_whole = part.ends();
        match part {
            Part::Headers(mut headers, _) => {
                let removal = stream
                    .cluster
                    .and_then(|index| self.upstream_removals.get(index));
                if let Some(removal) = removal {
                    removal.behind(&mut headers);
                }
                current.path = headers.get_str(":path").unwrap_or_default().to_owned();
                current.is_upgrade = headers.get("upgrade").is_some();
                // What follows an upgrade is no body.
                is_whole |= current.is_upgrade;
            }
            Part::Body(bytes, _) => {
                if let Some(socket) = &mut stream.socket {
                    let work = current.work;
                    let answer = socket.at_endpoint(&bytes);
                    if !answer.bytes.is_empty() {
                        self.queue.push(
                            self.now_ns,
                            Event::SocketData {
                                work,
                                bytes: answer.bytes,
                                is_over: answer.is_over,
                            },
                        );
                    }
                    return Ok(());
                }
            }
            Part::Trailers(_) => {}
        }
        if is_whole {
            let request = WholeRequest {
                path: std::mem::take(&mut current.path),
                is_upgrade: current.is_upgrade,
                recorded_ns: stream.arrival.recorded_latency_ns,
            };
            let work = current.work;
            self.complete(work, request);
        }
        Ok(())
    }
}

/// Hashes a request by the first of the route's policies that finds something.
fn hash(route: &Route, headers: &HeaderMap, address: &str) -> Option<u64> {
    route.hash.iter().find_map(|policy| match policy {
        Hash::Header(name) => {
            let values: Vec<&[u8]> = headers.get_all(name).collect();
            (!values.is_empty()).then(|| balance::hash(&values))
        }
        Hash::Cookie(name) => {
            let cookies = headers.get_all("cookie");
            let mut pairs = cookies.flat_map(|header| header.split(|byte| *byte == b';'));
            let value = pairs.find_map(|pair| {
                let rest = pair.trim_ascii().strip_prefix(name.as_bytes())?;
                rest.strip_prefix(b"=")
            })?;
            Some(balance::hash(&[value]))
        }
        Hash::SourceIp => {
            let ip = address.rsplit_once(':').map_or(address, |(ip, _)| ip);
            Some(balance::hash(&[ip.as_bytes()]))
        }
    })
}
