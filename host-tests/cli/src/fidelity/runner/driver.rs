//! Plays the steps: the client, the connection manager, the router and the upstreams.

use anyhow::{Context, Result, bail};
use tidegate_host::{
    CallAnswer, CloseReason, HeaderMap, Output, Proxy, ResponseAttributes, StreamAttributes,
    StreamId, UpstreamAttributes,
};

use super::exchange::{Exchange, Part, note_request, note_response, together};
use super::{Log, edge};
use crate::fidelity::case::{Behaviour, Case, Data, Peer, Protocol, Request, Response, Route, Step, Text};
use crate::fidelity::line::{Line, Thread};
use crate::fidelity::received::Received;

/// How many events in virtual time a case may wait for something.
const PATIENCE: u32 = 2_000;

/// SOURCE: Envoy's response flags.
const NO_HEALTHY_UPSTREAM: u64 = 0x2;
const CONNECTION_FAILURE: u64 = 0x20;
const CONNECTION_TERMINATION: u64 = 0x40;
const CLIENT_STREAM_RESET: u64 = 0x1000_0000;
const NO_ROUTE: u64 = 0x100;
const PROTOCOL_ERROR: u64 = 0x0080_0000;
const REMOTE_RESET: u64 = 0x10;

const RESET_PREFIX: &str = "upstream connect error or disconnect/reset before headers. reset reason: ";

pub(super) struct Driver<'c> {
    case: &'c Case,
    proxy: Proxy,
    log: Log,
    now: Option<Exchange>,
}

impl<'c> Driver<'c> {
    pub(super) fn new(case: &'c Case, proxy: Proxy, log: Log) -> Self {
        Self {
            case,
            proxy,
            log,
            now: None,
        }
    }

    pub(super) fn play(&mut self) -> Result<()> {
        for (index, step) in self.case.steps.iter().enumerate() {
            self.step(step).with_context(|| format!("steps[{index}]"))?;
            if let Some(exchange) = &mut self.now {
                exchange.connected |= exchange.routed && !exchange.over;
            }
        }
        self.leave()?;
        self.proxy.shut_down();
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Request(request) => self.request(request)?,
            Step::Data(data) => self.request_data(data)?,
            Step::Trailers(trailers) => {
                let stream = self.exchange()?.stream;
                self.give_trailers(stream, true, trailers)?;
            }
            Step::Await(text) => return self.wait(text, |driver| driver.log.has(text)),
            Step::Respond(response) => self.respond(response)?,
            Step::RespondData(data) => self.response_data(data)?,
            Step::RespondTrailers(trailers) => self.response_trailers(trailers)?,
            Step::Reset(Peer::Client) | Step::Close(Peer::Client) => {
                let streams = self.case.protocol == Protocol::Http2;
                let exchange = self.exchange()?;
                exchange.over = true;
                let stream = exchange.stream;
                if streams && matches!(step, Step::Reset(_)) {
                    let facts = ResponseAttributes {
                        flags: CLIENT_STREAM_RESET,
                        code_details: "http2.remote_reset".to_owned(),
                        ..ResponseAttributes::default()
                    };
                    self.proxy.set_response(stream, facts)?;
                    self.close(stream, CloseReason::Complete)?;
                } else {
                    self.close(stream, CloseReason::ClientReset)?;
                }
            }
            Step::Reset(Peer::Upstream) | Step::Close(Peer::Upstream) => self.upstream_gone()?,
            Step::Receive => {
                return self.wait("the end of the answer", |driver| {
                    driver.now.as_ref().is_none_or(|exchange| exchange.over)
                });
            }
        }
        self.pump()
    }

    /// Lets time pass, event by event, until something has happened.
    fn wait(&mut self, what: &str, happened: impl Fn(&Self) -> bool) -> Result<()> {
        for _ in 0..PATIENCE {
            self.pump()?;
            if happened(self) {
                return Ok(());
            }
            let Some(next) = self.proxy.next_timer_ns() else {
                bail!("nothing is left to happen, but not yet: {what}");
            };
            self.proxy.advance_to(next);
        }
        bail!("waited in vain: {what}")
    }

    fn exchange(&mut self) -> Result<&mut Exchange> {
        self.now.as_mut().context("there is no request")
    }

    /// The client is done with its request, or goes away from it.
    fn leave(&mut self) -> Result<()> {
        let Some(exchange) = self.now.take() else {
            return Ok(());
        };
        if !exchange.over {
            self.close(exchange.stream, CloseReason::ClientReset)?;
        }
        if exchange.routed && exchange.connected {
            let thread = if exchange.elsewhere { Thread::Called } else { Thread::Upstream };
            self.log.add(Line::new(thread, &exchange.at_upstream.line()));
        }
        self.log.add(Line::new(Thread::Client, &exchange.at_client.line()));
        Ok(())
    }

    fn close(&mut self, stream: StreamId, reason: CloseReason) -> Result<()> {
        // One that a filter cut may be gone already.
        if let Some(attempt) = self.now.as_mut().and_then(|exchange| exchange.attempt.take()) {
            self.proxy.close_stream(attempt, reason)?;
            while self.proxy.poll_output(attempt).is_some() {}
        }
        self.proxy.close_stream(stream, reason)?;
        while self.proxy.poll_output(stream).is_some() {}
        Ok(())
    }

    fn request(&mut self, request: &Request) -> Result<()> {
        self.leave()?;
        let protocol = self.case.protocol;
        let headers = edge::request(request, protocol);
        let route = self.route(&headers);
        let attributes = StreamAttributes {
            connection_id: 1,
            source_address: edge::CLIENT.to_owned(),
            destination_address: edge::LISTENER.to_owned(),
            protocol: match protocol {
                Protocol::Http1 => "HTTP/1.1",
                Protocol::Http2 => "HTTP/2",
            }
            .to_owned(),
            cluster_name: self.cluster_of(route),
            route_name: route.map_or("default", |route| &route.name).to_owned(),
            virtual_host_name: "probe".to_owned(),
            filter_chain_name: "chain".to_owned(),
            ..StreamAttributes::default()
        };
        let stream = self.proxy.open_stream(0, attributes)?;
        self.now = Some(Exchange::new(request, stream, protocol));
        let body = request.body.bytes();
        let alone = body.is_empty() && request.trailers.is_empty();
        // A chunked body has an end of its own, also when it is empty.
        let ends = request.end && alone && !request.chunked;
        self.exchange()?.complete = ends;
        self.proxy.request_headers(stream, headers, ends)?;
        // The router has the headers before the codec reads on.
        self.flow()?;
        if self.exchange()?.is_upgrade() {
            // An upgrade has a body without an end, which begins with nothing.
            return self.give_body(stream, true, b"", false);
        }
        if !ends {
            let trailers = &request.trailers;
            self.give(stream, true, body, request.end, trailers, protocol)?;
        }
        Ok(())
    }

    /// Gives a body as a codec would: HTTP/1.1 tells the end apart from the last bytes. What leaves the filters goes on
    /// before the next part comes.
    fn give(
        &mut self,
        stream: StreamId,
        is_request: bool,
        bytes: &[u8],
        end: bool,
        trailers: &[Text],
        protocol: Protocol,
    ) -> Result<()> {
        let last = end && trailers.is_empty();
        let together = protocol == Protocol::Http2 && last && !bytes.is_empty();
        if !bytes.is_empty() {
            self.give_body(stream, is_request, bytes, together)?;
        }
        if last && !together {
            self.give_body(stream, is_request, b"", true)?;
        }
        if end && !trailers.is_empty() {
            self.give_trailers(stream, is_request, trailers)?;
        }
        Ok(())
    }

    fn give_body(&mut self, stream: StreamId, is_request: bool, bytes: &[u8], end: bool) -> Result<()> {
        if !self.goes_on(stream, is_request, end)? {
            return Ok(());
        }
        if is_request {
            self.proxy.request_body(stream, bytes, end)?;
        } else {
            self.proxy.response_body(stream, bytes, end)?;
        }
        self.flow()
    }

    fn give_trailers(&mut self, stream: StreamId, is_request: bool, trailers: &[Text]) -> Result<()> {
        if !self.goes_on(stream, is_request, true)? {
            return Ok(());
        }
        let trailers = edge::trailers(trailers);
        if is_request {
            self.proxy.request_trailers(stream, trailers)?;
        } else {
            self.proxy.response_trailers(stream, trailers)?;
        }
        self.flow()
    }

    /// Whether the exchange takes another part; notes that it is the last one.
    fn goes_on(&mut self, stream: StreamId, is_request: bool, end: bool) -> Result<bool> {
        let exchange = self.exchange()?;
        // Of an attempt that the router gave up nothing more is read.
        let current = is_request || stream == exchange.attempt.unwrap_or(exchange.stream);
        if exchange.over || !current {
            return Ok(false);
        }
        if is_request {
            exchange.complete |= end;
        } else if end {
            self.last_byte()?;
        }
        Ok(true)
    }

    /// The upstream's answer has come to its end: the router knows how long it took.
    fn last_byte(&mut self) -> Result<()> {
        let stream = self.exchange()?.stream;
        let facts = ResponseAttributes {
            backend_latency_ns: Some(1),
            ..ResponseAttributes::default()
        };
        Ok(self.proxy.set_response(stream, facts)?)
    }

    fn request_data(&mut self, data: &Data) -> Result<()> {
        let stream = self.exchange()?.stream;
        let protocol = self.case.protocol;
        self.give(stream, true, data.text.bytes(), data.end, &[], protocol)
    }

    /// The stream that an upstream's answer goes into.
    fn answering(&mut self) -> Result<Option<StreamId>> {
        let exchange = self.exchange()?;
        if exchange.over {
            return Ok(None);
        }
        anyhow::ensure!(exchange.routed, "no request reached the upstream");
        Ok(Some(exchange.attempt.unwrap_or(exchange.stream)))
    }

    fn respond(&mut self, response: &Response) -> Result<()> {
        let protocol = self.case.upstream_protocol;
        let Some(stream) = self.answering()? else {
            return Ok(());
        };
        self.exchange()?.connected = true;
        let head = self.exchange()?.is_head();
        let headers = edge::response(response, protocol, head);
        if self.exchange()?.attempt.is_none() && self.tries_again(&headers)? {
            return Ok(());
        }
        let nothing = response.body.bytes().is_empty() && response.trailers.is_empty();
        let bodiless = head || matches!(response.status, 204 | 304);
        let ends = bodiless || (response.end && nothing && !response.chunked);
        self.note_upstream(stream)?;
        if ends {
            self.last_byte()?;
        }
        self.exchange()?.answered = true;
        self.exchange()?.chunked = response.chunked;
        self.proxy.response_headers(stream, headers, ends)?;
        self.flow()?;
        if response.status == 101 {
            return self.give_body(stream, false, b"", false);
        }
        if !ends {
            let (body, trailers) = (response.body.bytes(), &response.trailers);
            self.give(stream, false, body, response.end, trailers, protocol)?;
        }
        Ok(())
    }

    /// Tells the host who serves.
    fn note_upstream(&mut self, stream: StreamId) -> Result<()> {
        let attempts = self.exchange()?.attempts;
        let connected = UpstreamAttributes {
            local_address: edge::CLIENT.to_owned(),
            cx_pool_ready_duration_ns: Some(1),
            ..upstream(attempts)
        };
        self.proxy.set_upstream(stream, connected)?;
        Ok(())
    }

    fn response_data(&mut self, data: &Data) -> Result<()> {
        let protocol = self.case.upstream_protocol;
        match self.answering()? {
            Some(stream) => self.give(stream, false, data.text.bytes(), data.end, &[], protocol),
            None => Ok(()),
        }
    }

    fn response_trailers(&mut self, trailers: &[Text]) -> Result<()> {
        match self.answering()? {
            Some(stream) => self.give_trailers(stream, false, trailers),
            None => Ok(()),
        }
    }

    /// The upstream's connection, or its stream, is gone.
    fn upstream_gone(&mut self) -> Result<()> {
        let Some(_) = self.answering()? else {
            return Ok(());
        };
        let streams = self.case.upstream_protocol == Protocol::Http2;
        let exchange = self.exchange()?;
        exchange.connected = true;
        let (stream, answered, chunked) = (exchange.stream, exchange.answered, exchange.chunked);
        if !answered {
            return if streams {
                self.fail("remote reset", "remote_reset", REMOTE_RESET)
            } else {
                self.fail("connection termination", "connection_termination", CONNECTION_TERMINATION)
            };
        }
        let (details, flags) = match (streams, chunked) {
            (true, _) => ("remote_reset", REMOTE_RESET),
            // A chunk that does not end is no HTTP.
            (false, true) => ("protocol_error", PROTOCOL_ERROR),
            (false, false) => ("connection_termination", CONNECTION_TERMINATION),
        };
        let facts = ResponseAttributes {
            flags,
            code_details: format!("upstream_reset_after_response_started{{{details}}}"),
            ..ResponseAttributes::default()
        };
        self.proxy.set_response(stream, facts)?;
        self.exchange()?.over = true;
        self.close(stream, CloseReason::Complete)
    }

    /// The router answers itself, since no answer came.
    fn fail(&mut self, reason: &str, details: &str, flags: u64) -> Result<()> {
        let details = format!("upstream_reset_before_response_started{{{details}}}");
        self.answer(503, &format!("{RESET_PREFIX}{reason}"), &details, flags)
    }

    fn answer(&mut self, status: u32, body: &str, details: &str, flags: u64) -> Result<()> {
        let stream = self.exchange()?.stream;
        if let Some(attempt) = self.exchange()?.attempt.take() {
            self.proxy.close_stream(attempt, CloseReason::UpstreamReset)?;
            while self.proxy.poll_output(attempt).is_some() {}
        }
        self.proxy.set_response(
            stream,
            ResponseAttributes {
                flags,
                ..ResponseAttributes::default()
            },
        )?;
        self.proxy.local_reply(stream, status, HeaderMap::new(), body.as_bytes(), details)?;
        Ok(())
    }

    fn route(&self, headers: &HeaderMap) -> Option<&'c Route> {
        let path = headers.get_str(":path").unwrap_or_default();
        self.case.routes.iter().find(|route| {
            let header = route.header.as_deref().and_then(|header| header.split_once(": "));
            path.starts_with(&route.prefix)
                && header.is_none_or(|(name, value)| headers.get_str(name) == Some(value))
        })
    }

    fn cluster_of(&self, route: Option<&Route>) -> String {
        match route {
            None => self.case.cluster_name("upstream"),
            Some(route) => route
                .cluster
                .as_deref()
                .map(|cluster| self.case.cluster_name(cluster))
                .unwrap_or_default(),
        }
    }

    /// Moves what has left the filters to where it goes, and answers call-outs, until nothing moves any more.
    fn pump(&mut self) -> Result<()> {
        loop {
            self.flow()?;
            if !self.answer_calls()? {
                return Ok(());
            }
        }
    }

    /// Moves what has left the filters to where it goes. A call-out takes longer than what a peer has sent already.
    fn flow(&mut self) -> Result<()> {
        loop {
            let mut moved = false;
            if let Some(exchange) = &self.now {
                let (stream, attempt) = (exchange.stream, exchange.attempt);
                if let Some(output) = attempt.and_then(|attempt| self.proxy.poll_output(attempt)) {
                    self.from_attempt(output)?;
                    moved = true;
                } else if !exchange.over
                    && let Some(output) = self.proxy.poll_output(stream)
                {
                    self.from_stream(output)?;
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn from_stream(&mut self, output: Output) -> Result<()> {
        match output {
            Output::RequestHeaders {
                headers,
                end_stream,
            } => self.routed(headers, end_stream),
            Output::RequestBody { data, end_stream } => self.onward(Part::Body(data, end_stream)),
            Output::RequestTrailers(trailers) => self.onward(Part::Trailers(trailers)),
            Output::ResponseHeaders {
                headers,
                end_stream,
            } => {
                let sent = edge::sent(&headers, self.exchange()?.early_close());
                let exchange = self.exchange()?;
                note_response(&mut exchange.at_client, &sent);
                let stream = exchange.stream;
                self.proxy.sent_response_headers(stream, sent)?;
                self.ended(end_stream)
            }
            Output::ResponseBody { data, end_stream } => {
                self.exchange()?.at_client.body.extend_from_slice(&data);
                self.ended(end_stream)
            }
            Output::ResponseTrailers(trailers) => {
                let received = &mut self.exchange()?.at_client;
                for (name, value) in trailers.iter() {
                    received.trailer(name, value);
                }
                self.ended(true)
            }
            Output::LocalResponse { headers, body, .. } => {
                let sent = edge::sent(&headers, self.exchange()?.early_close());
                let exchange = self.exchange()?;
                note_response(&mut exchange.at_client, &sent);
                exchange.at_client.body = body;
                let stream = exchange.stream;
                self.proxy.sent_response_headers(stream, sent)?;
                self.ended(true)
            }
            Output::Reset { .. } => {
                let exchange = self.exchange()?;
                exchange.over = true;
                let stream = exchange.stream;
                self.close(stream, CloseReason::Complete)
            }
        }
    }

    fn ended(&mut self, end: bool) -> Result<()> {
        if !end {
            return Ok(());
        }
        let exchange = self.exchange()?;
        exchange.at_client.complete = true;
        exchange.over = true;
        let stream = exchange.stream;
        self.close(stream, CloseReason::Complete)
    }

    /// The request's headers have left the filters: the router's turn.
    fn routed(&mut self, headers: HeaderMap, end: bool) -> Result<()> {
        let stream = self.exchange()?.stream;
        if headers.get(":authority").is_none() || headers.get(":path").is_none() {
            self.proxy.set_route(stream, "", "")?;
            return self.answer(404, "", "route_not_found", NO_ROUTE);
        }
        let route = self.route(&headers);
        let name = route.map_or("default", |route| &route.name);
        self.proxy.set_route(stream, &self.cluster_of(route), name)?;
        if let Some(status) = route.and_then(|route| route.direct) {
            return self.answer(u32::from(status), "", "direct_response", 0);
        }
        let name = route.and_then(|route| route.cluster.as_deref());
        let cluster = self.case.clusters.iter().find(|it| Some(it.name.as_str()) == name);
        if name == Some("nowhere") {
            return self.answer(503, "", "cluster_not_found", 0);
        }
        if let Some(cluster) = cluster {
            return match cluster.behaviour {
                Behaviour::Empty => {
                    self.answer(503, "no healthy upstream", "no_healthy_upstream", NO_HEALTHY_UPSTREAM)
                }
                Behaviour::Refuses => self.fail(
                    "remote connection failure",
                    "remote_connection_failure|delayed_connect_error:_Connection_refused",
                    CONNECTION_FAILURE,
                ),
                Behaviour::Resets => {
                    self.fail("connection termination", "connection_termination", CONNECTION_TERMINATION)
                }
                Behaviour::Silent => Ok(()),
                Behaviour::Answers => {
                    self.exchange()?.routed = true;
                    self.exchange()?.elsewhere = true;
                    self.exchange()?.attempts = 1;
                    self.onward(Part::Headers(headers, end))?;
                    let answer = cluster.answer.clone();
                    self.respond(&answer)
                }
            };
        }
        self.exchange()?.routed = true;
        self.exchange()?.parts = vec![Part::Headers(headers, end)];
        self.attempt()
    }

    /// Begins an attempt with everything that has left the filters so far.
    fn attempt(&mut self) -> Result<()> {
        let exchange = self.exchange()?;
        exchange.attempts += 1;
        exchange.at_upstream = Received::default();
        let (stream, attempts) = (exchange.stream, exchange.attempts);
        let cluster = self.case.cluster_name("upstream");
        self.proxy.set_upstream(stream, upstream(attempts))?;
        let attempt = self.proxy.open_attempt(stream, &cluster, upstream(attempts))?;
        let exchange = self.exchange()?;
        exchange.attempt = attempt;
        let parts = if attempts > 1 { together(&exchange.parts) } else { exchange.parts.clone() };
        for part in parts {
            self.send(&part)?;
        }
        Ok(())
    }

    /// A part of the request has left the listener's filters.
    fn onward(&mut self, part: Part) -> Result<()> {
        self.exchange()?.parts.push(part.clone());
        self.send(&part)
    }

    /// Gives a part of the request to the upstream's filters, or to the upstream.
    fn send(&mut self, part: &Part) -> Result<()> {
        let exchange = self.exchange()?;
        let Some(attempt) = exchange.attempt else {
            note_request(&mut exchange.at_upstream, part);
            return Ok(());
        };
        match part.clone() {
            Part::Headers(headers, end) => self.proxy.request_headers(attempt, headers, end)?,
            Part::Body(bytes, end) => self.proxy.request_body(attempt, &bytes, end)?,
            Part::Trailers(trailers) => self.proxy.request_trailers(attempt, trailers)?,
        }
        Ok(())
    }

    fn from_attempt(&mut self, output: Output) -> Result<()> {
        let stream = self.exchange()?.stream;
        match output {
            Output::RequestHeaders {
                headers,
                end_stream,
            } => self.note(&Part::Headers(headers, end_stream)),
            Output::RequestBody { data, end_stream } => self.note(&Part::Body(data, end_stream)),
            Output::RequestTrailers(trailers) => self.note(&Part::Trailers(trailers)),
            Output::ResponseHeaders {
                headers,
                end_stream,
            } => {
                if !self.tries_again(&headers)? {
                    self.attempt_over(end_stream)?;
                    self.note_upstream(stream)?;
                    self.proxy.response_headers(stream, headers, end_stream)?;
                }
                Ok(())
            }
            Output::ResponseBody { data, end_stream } => {
                self.attempt_over(end_stream)?;
                Ok(self.proxy.response_body(stream, &data, end_stream)?)
            }
            Output::ResponseTrailers(trailers) => {
                self.attempt_over(true)?;
                Ok(self.proxy.response_trailers(stream, trailers)?)
            }
            Output::LocalResponse {
                headers,
                body,
                details,
                ..
            } => {
                if self.tries_again(&headers)? {
                    return Ok(());
                }
                self.attempt_over(true)?;
                let facts = ResponseAttributes {
                    code_details: details,
                    ..ResponseAttributes::default()
                };
                self.proxy.set_response(stream, facts)?;
                let ends = body.is_empty();
                self.proxy.response_headers(stream, headers, ends)?;
                if !ends {
                    self.proxy.response_body(stream, &body, true)?;
                }
                Ok(())
            }
            Output::Reset { .. } => self.fail("local reset", "local_reset", 0),
        }
    }

    fn note(&mut self, part: &Part) -> Result<()> {
        note_request(&mut self.exchange()?.at_upstream, part);
        Ok(())
    }

    /// The router lets an attempt go before it passes its last part on.
    fn attempt_over(&mut self, over: bool) -> Result<()> {
        if over && let Some(attempt) = self.exchange()?.attempt.take() {
            self.proxy.close_stream(attempt, CloseReason::Complete)?;
            while self.proxy.poll_output(attempt).is_some() {}
        }
        Ok(())
    }

    /// Begins another attempt if the answer's status is one to try again for.
    fn tries_again(&mut self, headers: &HeaderMap) -> Result<bool> {
        let Some(retry) = &self.case.retry else {
            return Ok(false);
        };
        let status = headers.get_str(":status").unwrap_or_default();
        let tries = retry.on == "5xx" && status.starts_with('5');
        if !tries || self.exchange()?.attempts > retry.attempts {
            return Ok(false);
        }
        self.attempt_over(true)?;
        let line = Line::new(Thread::Upstream, &self.exchange()?.at_upstream.line());
        self.log.add(line);
        self.attempt()?;
        Ok(true)
    }

    /// Answers call-outs as their clusters do.
    fn answer_calls(&mut self) -> Result<bool> {
        let found = self.proxy.pending_calls().find_map(|call| {
            let cluster = self.case.clusters.iter().find(|cluster| {
                self.case.cluster_name(&cluster.name) == call.cluster
                    && !matches!(cluster.behaviour, Behaviour::Silent | Behaviour::Empty)
            });
            cluster.map(|cluster| (call.clone(), cluster))
        });
        let Some((call, cluster)) = found else {
            return Ok(false);
        };
        let is_head = call.headers.get_str(":method") == Some("HEAD");
        if cluster.behaviour == Behaviour::Answers {
            let mut received = Received::default();
            note_request(&mut received, &Part::Headers(call.headers, false));
            note_request(&mut received, &Part::Body(call.body, false));
            note_request(&mut received, &Part::Trailers(call.trailers));
            self.log.add(Line::new(Thread::Called, &received.line()));
        }
        let answer = match cluster.behaviour {
            Behaviour::Refuses => CallAnswer::Refused,
            Behaviour::Resets => CallAnswer::Disconnected,
            _ if is_head => CallAnswer::Response {
                headers: edge::response(&cluster.answer, Protocol::Http1, true),
                body: Vec::new(),
                trailers: HeaderMap::new(),
            },
            _ => CallAnswer::Response {
                headers: edge::response(&cluster.answer, Protocol::Http1, false),
                body: cluster.answer.body.bytes().to_vec(),
                trailers: edge::trailers(&cluster.answer.trailers),
            },
        };
        self.proxy.answer_call(call.id, answer)?;
        Ok(true)
    }
}

fn upstream(attempts: u32) -> UpstreamAttributes {
    UpstreamAttributes {
        address: edge::UPSTREAM.to_owned(),
        attempt_count: u64::from(attempts),
        ..UpstreamAttributes::default()
    }
}
