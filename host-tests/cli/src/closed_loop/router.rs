//! Attempts: from the filters to an endpoint and back, and what their ends lead to.

use std::fmt::Write as _;

use tidegate_host::{CloseReason, HeaderMap, Output, ResponseAttributes, UpstreamAttributes};
use tidegate_model::balance::{self, Pick};
use tidegate_model::endpoint::Serving;
use tidegate_model::report::Sink;
use tidegate_model::router::{
    self, Attempts, Flags, Headers, HeadersMut, Reply, Reset, Verdict, handshake_failed,
};
use tidegate_model::scenario::{Answer, Hash, Route};

use super::RunError;
use super::endpoints::{End, FAILED, Owner, WholeRequest};
use super::engine::Engine;
use super::queue::Event;
use super::stream::{Current, Ends, Part};

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
    fn choose_cluster(&mut self, key: u64, index: usize) -> Result<bool, RunError> {
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
    fn begin_attempt(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
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
            let breakers = stream
                .cluster
                .and_then(|index| self.clusters.get_mut(index))
                .map(|cluster| &mut cluster.breakers);
            if let (Some(attempts), Some(breakers)) = (&mut stream.attempts, breakers) {
                if let Some(reply) =
                    attempts.on_request_body(stream.body_bytes, under_way, breakers)
                {
                    return self.reply(key, reply);
                }
                if attempts.may_repeat() {
                    stream.parts.push(part.clone());
                }
            }
        }
        self.send(key, part)?;
        self.request_ended(key);
        Ok(())
    }

    /// Gives a part of the request to the upstream filters, or to the endpoint.
    fn send(&mut self, key: u64, part: Part) -> Result<(), RunError> {
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
            Part::Headers(headers, _) => {
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

    /// Something has left the filters of the attempt.
    pub(super) fn on_attempt_output(
        &mut self,
        key: u64,
        output: Output,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match output {
            Output::RequestHeaders {
                headers,
                end_stream,
            } => self.at_endpoint(key, Part::Headers(headers, end_stream)),
            Output::RequestBody { data, end_stream } => {
                self.at_endpoint(key, Part::Body(data, end_stream))
            }
            Output::RequestTrailers(trailers) => self.at_endpoint(key, Part::Trailers(trailers)),
            Output::ResponseHeaders {
                headers,
                end_stream,
            } => self.answer_headers(key, headers, end_stream, sink),
            Output::ResponseBody { data, end_stream } => {
                self.answer_body(key, &data, end_stream, sink)
            }
            Output::ResponseTrailers(trailers) => {
                let id = self.streams.get(&key).map(|stream| stream.id);
                self.drop_attempt(key, FAILED, sink)?;
                if let Some(id) = id {
                    self.proxy.response_trailers(id, trailers)?;
                }
                Ok(())
            }
            Output::LocalResponse {
                headers,
                body,
                details,
                ..
            } => self.answered_by_filter(key, headers, &body, details, sink),
            Output::Reset { .. } => {
                let work = self
                    .streams
                    .get(&key)
                    .and_then(|stream| stream.current.as_ref().map(|current| current.work));
                work.map_or(Ok(()), |work| self.fails(work, Reset::Local, sink))
            }
        }
    }

    /// An upstream filter has answered: the client gets that, whatever the retry policy says.
    fn answered_by_filter(
        &mut self,
        key: u64,
        headers: HeaderMap,
        body: &[u8],
        details: String,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        self.drop_attempt(key, FAILED, sink)?;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if let (Some(attempts), Some(cluster)) = (
            &mut stream.attempts,
            stream
                .cluster
                .and_then(|index| self.clusters.get_mut(index)),
        ) {
            attempts.finish(&mut cluster.breakers);
        }
        stream.row.details.clone_from(&details);
        stream.is_answered = true;
        let id = stream.id;
        let facts = ResponseAttributes {
            code_details: details,
            ..ResponseAttributes::default()
        };
        self.proxy.set_response(id, facts)?;
        self.proxy.response_headers(id, headers, body.is_empty())?;
        if !body.is_empty() {
            self.proxy.response_body(id, body, true)?;
        }
        Ok(())
    }

    /// The endpoint of an attempt does something.
    pub(super) fn attempt_served(
        &mut self,
        key: u64,
        work: u64,
        serving: Serving,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match serving {
            Serving::Silence => Ok(()),
            Serving::Disconnect => {
                self.attempt_failed(key, work, Reset::ConnectionTermination, sink)
            }
            Serving::Answer(answer) => self.answers(key, work, &answer, false, sink),
            Serving::DisconnectInBody(answer) => self.answers(key, work, &answer, true, sink),
            Serving::Socket(answer) => {
                let mut headers = answer_headers(&answer);
                headers.add("connection", "upgrade");
                headers.add("upgrade", "websocket");
                self.from_endpoint_headers(key, headers, false, sink)
            }
        }
    }

    fn answers(
        &mut self,
        key: u64,
        work: u64,
        answer: &Answer,
        is_cut: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let mut headers = answer_headers(answer);
        let mut length = String::new();
        let _ = write!(length, "{}", answer.body_bytes.max(u64::from(is_cut)));
        headers.add("content-length", length);
        let ends = answer.body_bytes == 0 && answer.body_takes.ns() == 0 && !is_cut;
        if let Some(current) = self
            .streams
            .get_mut(&key)
            .and_then(|stream| stream.current.as_mut())
        {
            current.body_left = answer.body_bytes;
        }
        if !ends {
            let at_ns = self.now_ns.saturating_add(answer.body_takes.ns());
            self.queue.push(at_ns, Event::BodyEnds { work, is_cut });
        }
        self.from_endpoint_headers(key, headers, ends, sink)
    }

    fn from_endpoint_headers(
        &mut self,
        key: u64,
        headers: HeaderMap,
        ends: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let filters = self.filters_of(key);
        match filters {
            Some(filters) => {
                self.proxy.response_headers(filters, headers, ends)?;
            }
            None => self.answer_headers(key, headers, ends, sink)?,
        }
        self.pump(key, sink)
    }

    fn from_endpoint_body(
        &mut self,
        key: u64,
        bytes: &[u8],
        ends: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match self.filters_of(key) {
            Some(filters) => self.proxy.response_body(filters, bytes, ends)?,
            None => self.answer_body(key, bytes, ends, sink)?,
        }
        self.pump(key, sink)
    }

    fn filters_of(&self, key: u64) -> Option<tidegate_host::StreamId> {
        self.streams.get(&key)?.current.as_ref()?.filters
    }

    /// The body of an answer ends.
    pub(super) fn body_ends(
        &mut self,
        work: u64,
        is_cut: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        /// Bytes of a body that go through the filters at once.
        const PIECE: u64 = 64 * 1024;
        static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];
        let Some(Owner::Stream(key)) = self.works.get(&work).map(|work| work.owner) else {
            return Ok(());
        };
        if is_cut {
            return self.attempt_failed(key, work, Reset::ConnectionTermination, sink);
        }
        loop {
            let Some(current) = self
                .streams
                .get_mut(&key)
                .and_then(|stream| stream.current.as_mut())
                .filter(|current| current.work == work)
            else {
                return Ok(());
            };
            let piece = current.body_left.min(PIECE);
            current.body_left -= piece;
            let ends = current.body_left == 0;
            let piece = usize::try_from(piece).unwrap_or(0);
            let bytes = ZEROS.get(..piece).unwrap_or_default();
            self.from_endpoint_body(key, bytes, ends, sink)?;
            if ends {
                return Ok(());
            }
        }
    }

    /// An endpoint sends bytes on a WebSocket.
    pub(super) fn socket_data(
        &mut self,
        work: u64,
        bytes: &[u8],
        is_over: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(Owner::Stream(key)) = self.works.get(&work).map(|work| work.owner) else {
            return Ok(());
        };
        self.from_endpoint_body(key, bytes, false, sink)?;
        if is_over {
            // Its own end comes behind the Close.
            self.from_endpoint_body(key, &[], true, sink)?;
        }
        Ok(())
    }

    /// An answer's headers have come to the router.
    fn answer_headers(
        &mut self,
        key: u64,
        mut headers: HeaderMap,
        mut ends: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let status = headers
            .get_str(":status")
            .and_then(|status| status.parse().ok())
            .unwrap_or(0);
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let breakers = stream
            .cluster
            .and_then(|index| self.clusters.get_mut(index))
            .map(|cluster| &mut cluster.breakers);
        let (Some(attempts), Some(breakers), Some(current)) =
            (&mut stream.attempts, breakers, &mut stream.current)
        else {
            return Ok(());
        };
        current.status = Some(status);
        let draws = &mut self.router_draws;
        let verdict = attempts.on_answer(status, &Fields(&mut headers), breakers, now_ns, draws);
        match verdict {
            Verdict::Pass { flags } => {
                stream.row.flags |= flags;
                router::VIA_UPSTREAM.clone_into(&mut stream.row.details);
                stream.is_answered = true;
                stream.parts.clear();
                let since_ns = stream.sent_ns.map(|sent| now_ns.saturating_sub(sent));
                attempts.finish_answer(&mut Fields(&mut headers), since_ns);
                self.bind_session(key, &mut headers);
                let Some(stream) = self.streams.get_mut(&key) else {
                    return Ok(());
                };
                let id = stream.id;
                let fails = stream.is_upgrade && handshake_failed(status);
                if fails {
                    ends = true;
                    router::HANDSHAKE_FAILED.clone_into(&mut stream.row.details);
                } else if stream.is_upgrade && status == 101 {
                    stream.socket = Some(Ends::default());
                }
                let facts = ResponseAttributes {
                    flags: stream.row.flags.0,
                    code_details: if fails {
                        stream.row.details.clone()
                    } else {
                        String::new()
                    },
                    backend_latency_ns: None,
                };
                if facts.flags != 0 || fails {
                    self.proxy.set_response(id, facts)?;
                }
                if ends {
                    let end = End {
                        keeps_connection: !fails,
                        succeeded: status < 500,
                    };
                    self.drop_attempt(key, end, sink)?;
                }
                self.proxy.response_headers(id, headers, ends)?;
                Ok(())
            }
            Verdict::Retry { after_ns } => {
                let end = End {
                    keeps_connection: ends,
                    succeeded: status < 500,
                };
                self.drop_attempt(key, end, sink)?;
                let at_ns = now_ns.saturating_add(after_ns);
                self.queue.push(at_ns, Event::Retry { stream: key });
                Ok(())
            }
            Verdict::Reply(reply) => {
                self.drop_attempt(key, FAILED, sink)?;
                self.reply(key, reply)
            }
            Verdict::Cut { flags, details } => self.cut(key, flags, details, sink),
        }
    }

    /// A part of an answer's body has come to the router.
    fn answer_body(
        &mut self,
        key: u64,
        bytes: &[u8],
        ends: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(stream) = self.streams.get(&key) else {
            return Ok(());
        };
        let id = stream.id;
        if ends {
            let status = stream.current.as_ref().and_then(|current| current.status);
            let end = End {
                keeps_connection: stream.socket.is_none(),
                succeeded: status.is_some_and(|status| status < 500),
            };
            self.drop_attempt(key, end, sink)?;
        }
        self.proxy.response_body(id, bytes, ends)?;
        Ok(())
    }

    /// An attempt ends without an answer, or within one.
    pub(super) fn attempt_failed(
        &mut self,
        key: u64,
        work: u64,
        reset: Reset,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.current.as_ref().map(|current| current.work) != Some(work) {
            return Ok(());
        }
        let begun = stream.is_answered;
        let breakers = stream
            .cluster
            .and_then(|index| self.clusters.get_mut(index))
            .map(|cluster| &mut cluster.breakers);
        let (Some(attempts), Some(breakers)) = (&mut stream.attempts, breakers) else {
            return Ok(());
        };
        let draws = &mut self.router_draws;
        let verdict = attempts.on_reset(reset, begun, breakers, now_ns, draws);
        self.on_verdict(key, verdict, sink)
    }

    fn on_verdict(
        &mut self,
        key: u64,
        verdict: Verdict,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        match verdict {
            Verdict::Pass { flags } => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.row.flags |= flags;
                }
                Ok(())
            }
            Verdict::Retry { after_ns } => {
                self.drop_attempt(key, FAILED, sink)?;
                let at_ns = self.now_ns.saturating_add(after_ns);
                self.queue.push(at_ns, Event::Retry { stream: key });
                Ok(())
            }
            Verdict::Reply(reply) => {
                self.drop_attempt(key, FAILED, sink)?;
                self.reply(key, reply)?;
                self.pump(key, sink)
            }
            Verdict::Cut { flags, details } => self.cut(key, flags, details, sink),
        }
    }

    /// The client's stream is cut within its answer.
    fn cut(
        &mut self,
        key: u64,
        flags: Flags,
        details: String,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        if let Some(stream) = self.streams.get_mut(&key) {
            stream.row.flags |= flags;
            stream.row.details = details;
        }
        self.finish(key, CloseReason::Complete, sink)
    }

    pub(super) fn retry(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let waits = self
            .streams
            .get(&key)
            .is_some_and(|stream| stream.current.is_none() && !stream.is_answered);
        if !waits {
            return Ok(());
        }
        self.begin_attempt(key, sink)?;
        self.pump(key, sink)
    }

    pub(super) fn timed_out(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        if stream.socket.is_some() {
            return Ok(());
        }
        let begun = stream.is_answered;
        let breakers = stream
            .cluster
            .and_then(|index| self.clusters.get_mut(index))
            .map(|cluster| &mut cluster.breakers);
        let (Some(attempts), Some(breakers)) = (&mut stream.attempts, breakers) else {
            return Ok(());
        };
        let verdict = attempts.on_timeout(begun, breakers);
        self.on_verdict(key, verdict, sink)
    }

    pub(super) fn attempt_timed_out(
        &mut self,
        key: u64,
        work: u64,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let has_answer = self
            .streams
            .get(&key)
            .is_none_or(|stream| stream.is_answered);
        if has_answer {
            return Ok(());
        }
        if let Some(work) = self.works.get(&work)
            && let Some(stats) = self
                .clusters
                .get_mut(work.cluster)
                .and_then(|cluster| cluster.stats.get_mut(work.host))
        {
            stats.rq_timeout += 1;
        }
        self.attempt_failed(key, work, Reset::PerTryTimeout, sink)
    }

    /// The attempt is over.
    pub(super) fn drop_attempt(
        &mut self,
        key: u64,
        end: End,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(current) = self
            .streams
            .get_mut(&key)
            .and_then(|stream| stream.current.take())
        else {
            return Ok(());
        };
        if let Some(filters) = current.filters {
            self.proxy.close_stream(filters, CloseReason::Complete)?;
            while self.proxy.poll_output(filters).is_some() {}
        }
        self.end_work(current.work, end, sink)
    }

    /// The proxy answers itself.
    pub(super) fn reply(&mut self, key: u64, reply: Reply) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        stream.is_answered = true;
        stream.row.flags |= reply.flags;
        stream.row.details.clone_from(&reply.details);
        let id = stream.id;
        let facts = ResponseAttributes {
            flags: stream.row.flags.0,
            ..ResponseAttributes::default()
        };
        self.proxy.set_response(id, facts)?;
        let headers = reply
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()));
        self.proxy.local_reply(
            id,
            u32::from(reply.status),
            headers.collect(),
            reply.body.as_bytes(),
            &reply.details,
        )?;
        Ok(())
    }

    /// Envoy's own cookie goes to a client whose session was served elsewhere, or is new.
    fn bind_session(&self, key: u64, headers: &mut HeaderMap) {
        let Some(stream) = self.streams.get(&key) else {
            return;
        };
        let cookie = stream
            .cluster
            .and_then(|index| self.clusters.get(index)?.session_cookie.as_deref());
        let (Some(cookie), Some(served_by)) = (cookie, stream.row.served_by()) else {
            return;
        };
        if stream.wanted.as_deref() != Some(served_by) {
            headers.add("set-cookie", balance::session::write(cookie, served_by));
        }
    }
}

fn answer_headers(answer: &Answer) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.add(":status", answer.status.to_string());
    for (name, value) in &answer.headers {
        headers.add(name, value);
    }
    headers
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
