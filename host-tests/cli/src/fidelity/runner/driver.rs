//! Plays the steps: the client, the connection manager and the endpoint of the cluster `upstream`.

use anyhow::{Context, Result, bail};
use tidegate_host::{CloseReason, Output, Proxy, ResponseAttributes, StreamAttributes, StreamId};

use super::exchange::{Exchange, Part, note_response};
use super::{Log, edge};
use crate::fidelity::case::{Case, Data, Peer, Protocol, Request, Response, Step, Text};
use crate::fidelity::line::{Line, Thread};

/// How many events in virtual time a case may wait for something.
const PATIENCE: u32 = 2_000;

/// SOURCE: Envoy's response flag for a stream that an HTTP/2 client reset.
const CLIENT_STREAM_RESET: u64 = 0x1000_0000;

/// A case under way.
pub(super) struct Driver<'c> {
    pub(super) case: &'c Case,
    pub(super) proxy: Proxy,
    pub(super) log: Log,
    pub(super) now: Option<Exchange>,
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
            Step::Read(text) => {
                let text = text.bytes();
                return self.wait("the client has read it", |driver| {
                    let received = driver.now.as_ref().map(|exchange| &exchange.at_client.body);
                    received.is_some_and(|body| body.windows(text.len()).any(|part| part == text))
                });
            }
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

    pub(super) fn exchange(&mut self) -> Result<&mut Exchange> {
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
            let thread = if exchange.elsewhere {
                Thread::Called
            } else {
                Thread::Upstream
            };
            self.log
                .add(Line::new(thread, &exchange.at_upstream.line()));
        }
        self.log
            .add(Line::new(Thread::Client, &exchange.at_client.line()));
        Ok(())
    }

    pub(super) fn close(&mut self, stream: StreamId, reason: CloseReason) -> Result<()> {
        // One that a filter cut may be gone already.
        if let Some(attempt) = self
            .now
            .as_mut()
            .and_then(|exchange| exchange.attempt.take())
        {
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

    fn give_body(
        &mut self,
        stream: StreamId,
        is_request: bool,
        bytes: &[u8],
        end: bool,
    ) -> Result<()> {
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

    fn give_trailers(
        &mut self,
        stream: StreamId,
        is_request: bool,
        trailers: &[Text],
    ) -> Result<()> {
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
    pub(super) fn answering(&mut self) -> Result<Option<StreamId>> {
        let exchange = self.exchange()?;
        if exchange.over {
            return Ok(None);
        }
        anyhow::ensure!(exchange.routed, "no request reached the upstream");
        Ok(Some(exchange.attempt.unwrap_or(exchange.stream)))
    }

    pub(super) fn respond(&mut self, response: &Response) -> Result<()> {
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
                    self.on_attempt_output(output)?;
                    moved = true;
                } else if !exchange.over
                    && let Some(output) = self.proxy.poll_output(stream)
                {
                    self.on_stream_output(output)?;
                    moved = true;
                }
            }
            if !moved {
                return Ok(());
            }
        }
    }

    fn on_stream_output(&mut self, output: Output) -> Result<()> {
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
}
