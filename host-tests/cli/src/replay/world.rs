//! The proxy with its plugins, and what the streams share: clients, endpoints, counters.

use std::collections::VecDeque;

use tidegate_host::{
    CloseReason, HeaderMap, InputError, Output, Proxy, ResponseAttributes, StreamId,
    UpstreamAttributes,
};
use tidegate_model::router::Flags;

use super::body::BodyWatch;
use super::diff::{Difference, diff};
use super::exchange::{Change, Exchange, LocalReply};
use super::known::Known;
use super::observe::Watching;
use super::options::{Answers, Detail};
use super::sessions::{Found, Sessions};
use super::totals::Totals;
use super::watch::CounterWatch;
use crate::recording::{self, Body, Event, EventKind, Headers, Open, Trailers, Upstream};

/// A stream that is open.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) exchange: Exchange,
    /// Kept until the request headers name the client, when they are needed for that.
    pub(super) open: Option<Open<'static>>,
    /// Its client.
    pub(super) client: Found,
    pub(super) cluster: String,
    request: Direction,
    response: Direction,
    /// What came from the upstream while the request was held back.
    held: VecDeque<Event<'static>>,
    asked: Option<String>,
    is_upgraded: bool,
    /// Whether a plugin or the proxy answered or cut it: the rest of the recording doesn't happen.
    is_cut: bool,
}

#[derive(Debug, Default)]
struct Direction {
    before: HeaderMap,
    trailers_before: HeaderMap,
    body: BodyWatch,
    has_left: bool,
    has_ended: bool,
    is_changed: bool,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

impl Stream {
    pub(super) fn new(id: StreamId, cluster: String, exchange: Exchange) -> Self {
        Self {
            id,
            exchange,
            open: None,
            client: Found::default(),
            cluster,
            request: Direction::default(),
            response: Direction::default(),
            held: VecDeque::new(),
            asked: None,
            is_upgraded: false,
            is_cut: false,
        }
    }
}

/// Everything but the streams.
pub(super) struct World {
    pub(super) proxy: Proxy,
    pub(super) sessions: Sessions,
    pub(super) known: Known,
    pub(super) totals: Totals,
    pub(super) watching: Watching,
    pub(super) counters: CounterWatch,
    pub(super) detail: Detail,
    pub(super) endpoint_header: String,
    pub(super) behind_plugins: bool,
    pub(super) answers: Option<Answers>,
}

impl World {
    /// Does to the proxy what an event says, except for `open` and `close`.
    pub(super) fn apply(
        &mut self,
        stream: &mut Stream,
        event: Event<'_>,
    ) -> Result<(), InputError> {
        if stream.is_cut {
            return Ok(());
        }
        let is_of_upstream = matches!(
            event.kind,
            EventKind::Upstream(_)
                | EventKind::ResponseHeaders(_)
                | EventKind::ResponseBody(_)
                | EventKind::ResponseTrailers(_)
        );
        if is_of_upstream && !stream.request.has_left {
            // The upstream can't have answered what hasn't reached it.
            stream.held.push_back(event.into_owned());
            return Ok(());
        }
        let id = stream.id;
        match event.kind {
            EventKind::Open(_) | EventKind::Close(_) => Ok(()),
            EventKind::RequestHeaders(headers) => {
                self.request_headers(stream, &headers, event.time_ns)
            }
            EventKind::RequestBody(Body {
                bytes, end_stream, ..
            }) => {
                stream.request.body.comes(&bytes);
                stream.request.has_ended = end_stream;
                self.proxy.request_body(id, &bytes, end_stream)?;
                self.settle(stream, Way::Request)
            }
            EventKind::RequestTrailers(Trailers { fields }) => {
                stream.request.has_ended = true;
                stream.request.trailers_before =
                    fields.iter().map(|(name, value)| (name, value)).collect();
                self.proxy
                    .request_trailers(id, stream.request.trailers_before.clone())?;
                self.settle(stream, Way::Request)
            }
            EventKind::Upstream(upstream) => self.upstream(stream, &upstream),
            EventKind::ResponseHeaders(headers) => {
                self.sessions.answered(stream.client, &headers);
                stream.is_upgraded = headers.value(":status") == Some(b"101");
                stream.response.has_ended = headers.end_stream;
                if let Some(details) = &headers.details {
                    let code_details = details.to_string();
                    self.proxy.set_response(
                        id,
                        ResponseAttributes {
                            code_details,
                            ..ResponseAttributes::default()
                        },
                    )?;
                }
                stream.response.before = headers
                    .fields
                    .iter()
                    .map(|(name, value)| (name, value))
                    .collect();
                self.proxy.response_headers(
                    id,
                    stream.response.before.clone(),
                    headers.end_stream,
                )?;
                self.settle(stream, Way::Response)
            }
            EventKind::ResponseBody(Body {
                bytes, end_stream, ..
            }) => {
                stream.response.body.comes(&bytes);
                stream.response.has_ended = end_stream;
                self.proxy.response_body(id, &bytes, end_stream)?;
                self.settle(stream, Way::Response)
            }
            EventKind::ResponseTrailers(Trailers { fields }) => {
                stream.response.has_ended = true;
                stream.response.trailers_before =
                    fields.iter().map(|(name, value)| (name, value)).collect();
                self.proxy
                    .response_trailers(id, stream.response.trailers_before.clone())?;
                self.settle(stream, Way::Response)
            }
        }
    }

    /// Ends a stream and completes its exchange.
    pub(super) fn close(
        &mut self,
        stream: &mut Stream,
        close: &recording::Close<'_>,
    ) -> Result<(), InputError> {
        stream.exchange.held =
            !stream.is_cut && (!stream.held.is_empty() || self.proxy.is_paused(stream.id));
        if !stream.is_cut && (close.details.is_some() || close.flags.is_some()) {
            let response = ResponseAttributes {
                flags: close
                    .flags
                    .as_deref()
                    .map_or(0, |flags| Flags::parse(flags).0),
                code_details: close.details.as_deref().unwrap_or_default().to_owned(),
                backend_latency_ns: None,
            };
            self.proxy.set_response(stream.id, response)?;
        }
        let reason = match close.reason {
            recording::CloseReason::ClientReset => CloseReason::ClientReset,
            recording::CloseReason::Complete => CloseReason::Complete,
            recording::CloseReason::UpstreamReset => CloseReason::UpstreamReset,
        };
        self.proxy.close_stream(stream.id, reason)?;
        self.drain(stream);
        self.note(stream, Way::Response);
        let exchange = &mut stream.exchange;
        exchange.websocket = stream.is_upgraded && exchange.status == Some(101);
        exchange.request.body = stream
            .request
            .body
            .change(stream.request.has_ended && !stream.is_cut);
        exchange.response.body = stream
            .response
            .body
            .change(stream.response.has_ended && !stream.is_cut);
        let is_changed = |direction: &Direction, change| direction.is_changed || change;
        self.totals.changed_requests +=
            u64::from(is_changed(&stream.request, exchange.request.body.is_some()));
        self.totals.changed_responses += u64::from(is_changed(
            &stream.response,
            exchange.response.body.is_some(),
        ));
        self.totals.add(exchange);
        Ok(())
    }

    /// Does what follows from timers that fired, for one stream.
    pub(super) fn after_timers(&mut self, stream: &mut Stream) -> Result<(), InputError> {
        self.settle(stream, Way::Request)
    }

    /// Does what follows from timers that fired, outside of streams.
    pub(super) fn after_timers_of_plugins(&mut self) -> Result<(), InputError> {
        self.answer_calls(None)?;
        if let Some(seen) = self.watching.take() {
            self.totals.add_traps(&seen.traps);
        }
        // What a tick counts is nobody's reason.
        if self.detail == Detail::Exchanges {
            self.counters.look(&self.proxy, &mut Vec::new());
        }
        Ok(())
    }

    fn request_headers(
        &mut self,
        stream: &mut Stream,
        headers: &Headers<'_>,
        now_ns: u64,
    ) -> Result<(), InputError> {
        self.totals.requests += 1;
        if let Some(open) = stream.open.take() {
            stream.client = self.sessions.of(&open, headers);
            stream.exchange.session = stream.client.session as u64 + 1;
        }
        {
            let text = |name| {
                String::from_utf8_lossy(headers.value(name).unwrap_or_default()).into_owned()
            };
            stream.exchange.method = text(":method");
            stream.exchange.path = text(":path");
        }
        let mut before: HeaderMap = headers
            .fields
            .iter()
            .map(|(name, value)| (name, value))
            .collect();
        let jar = self
            .sessions
            .jar(stream.client.session)
            .filter(|_| !self.behind_plugins);
        if let Some(jar) = jar {
            jar.add_to(&mut before, now_ns);
        }
        stream.request.before = before.clone();
        stream.request.has_ended = headers.end_stream;
        self.proxy
            .request_headers(stream.id, before, headers.end_stream)?;
        self.settle(stream, Way::Request)
    }

    fn upstream(&mut self, stream: &mut Stream, recorded: &Upstream<'_>) -> Result<(), InputError> {
        self.known.learn(&stream.cluster, &recorded.address);
        let asked = stream
            .asked
            .as_deref()
            .filter(|asked| self.known.knows(&stream.cluster, asked));
        stream.exchange.diverged = asked.is_some_and(|asked| asked != recorded.address);
        let address = asked
            .filter(|_| !self.behind_plugins)
            .unwrap_or(&recorded.address)
            .to_owned();
        if self.detail == Detail::Exchanges {
            stream.exchange.recorded_upstream = Some(recorded.address.to_string());
            stream.exchange.upstream = Some(address.clone());
        }
        let upstream = UpstreamAttributes {
            address,
            attempt_count: recorded.attempts.unwrap_or(1),
            ..UpstreamAttributes::default()
        };
        self.proxy.set_upstream(stream.id, upstream)
    }

    /// Takes what came out, answers call-outs, and goes on with what was held back.
    fn settle(&mut self, stream: &mut Stream, way: Way) -> Result<(), InputError> {
        self.drain(stream);
        self.answer_calls(Some(stream))?;
        self.note(stream, way);
        if stream.request.has_left {
            while let Some(event) = stream.held.pop_front() {
                self.apply(stream, event)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, stream: &mut Stream, way: Way) {
        if self.detail == Detail::Exchanges {
            let side = match way {
                Way::Request => &mut stream.exchange.request,
                Way::Response => &mut stream.exchange.response,
            };
            self.counters.look(&self.proxy, &mut side.reasons);
        }
        if let Some(seen) = self.watching.take() {
            self.totals.add_traps(&seen.traps);
            stream.exchange.logs.extend(seen.logs);
            stream.exchange.traps.extend(seen.traps);
        }
    }

    pub(super) fn drain(&mut self, stream: &mut Stream) {
        while let Some(output) = self.proxy.poll_output(stream.id) {
            match output {
                Output::RequestHeaders { headers, .. } => {
                    stream.request.has_left = true;
                    self.compare(stream, Way::Request, &headers);
                    let asked = headers.get(&self.endpoint_header).and_then(first_of_list);
                    stream.asked = asked.map(str::to_owned);
                    stream.exchange.asked.clone_from(&stream.asked);
                }
                Output::RequestBody { data, .. } => stream.request.body.leaves(&data),
                Output::RequestTrailers(trailers) => {
                    self.compare_trailers(stream, Way::Request, &trailers)
                }
                Output::ResponseHeaders { headers, .. } => {
                    stream.exchange.status = status_of(&headers);
                    self.compare(stream, Way::Response, &headers);
                }
                Output::ResponseBody { data, .. } => stream.response.body.leaves(&data),
                Output::ResponseTrailers(trailers) => {
                    self.compare_trailers(stream, Way::Response, &trailers)
                }
                Output::LocalResponse {
                    status,
                    headers,
                    body,
                    details,
                    ..
                } => {
                    stream.is_cut = true;
                    stream.held.clear();
                    stream.exchange.status = Some(status);
                    stream.exchange.local_reply = Some(LocalReply {
                        status,
                        details,
                        body_bytes: body.len() as u64,
                    });
                    for cookie in headers.get_all("set-cookie") {
                        self.keep_cookie(stream, cookie);
                    }
                }
                Output::Reset { details } => {
                    stream.is_cut = true;
                    stream.held.clear();
                    stream.exchange.reset = Some(details);
                }
            }
        }
    }

    /// Compares headers that left with those that came; cookies that were added go to the client.
    fn compare(&mut self, stream: &mut Stream, way: Way, after: &HeaderMap) {
        let (direction, side) = match way {
            Way::Request => (&mut stream.request, &mut stream.exchange.request),
            Way::Response => (&mut stream.response, &mut stream.exchange.response),
        };
        let before = std::mem::take(&mut direction.before);
        let differences = diff(&before, after);
        if differences.is_empty() {
            return;
        }
        direction.is_changed = true;
        if self.detail == Detail::Exchanges {
            side.changes
                .extend(differences.iter().map(|difference| difference.to_change()));
        }
        if way == Way::Response {
            for difference in differences {
                if let Difference::Added((b"set-cookie", value))
                | Difference::Replaced {
                    name: b"set-cookie",
                    value,
                    ..
                } = difference
                {
                    self.keep_cookie(stream, value);
                }
            }
        }
    }

    fn compare_trailers(&mut self, stream: &mut Stream, way: Way, after: &HeaderMap) {
        let (direction, side) = match way {
            Way::Request => (&mut stream.request, &mut stream.exchange.request),
            Way::Response => (&mut stream.response, &mut stream.exchange.response),
        };
        let before = std::mem::take(&mut direction.trailers_before);
        for difference in diff(&before, after) {
            direction.is_changed = true;
            if self.detail == Detail::Exchanges {
                side.changes
                    .push(Change::Trailer(Box::new(difference.to_change())));
            }
        }
    }

    fn keep_cookie(&mut self, stream: &Stream, header: &[u8]) {
        let now_ns = self.proxy.now_ns();
        if let Some(jar) = self.sessions.jar(stream.client.session) {
            jar.set(header, stream.exchange.path.as_bytes(), now_ns);
        }
    }
}

fn first_of_list(value: &[u8]) -> Option<&str> {
    let first = value.split(|&byte| byte == b',').next()?.trim_ascii();
    std::str::from_utf8(first)
        .ok()
        .filter(|text| !text.is_empty())
}

fn status_of(headers: &HeaderMap) -> Option<u32> {
    headers.get_str(":status")?.parse().ok()
}
