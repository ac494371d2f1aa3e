//! The router: routes, attempts, upstream filters, its own answers; and the clusters that call-outs go to.

use anyhow::Result;
use tidegate_host::{
    CallAnswer, CloseReason, HeaderMap, Output, ResponseAttributes, StreamId, UpstreamAttributes,
};
use tidegate_model::router::{Reply, Reset, direct_response, no_cluster, no_endpoint, no_route};

use super::driver::Driver;
use super::edge;
use super::exchange::{Part, note_request, together};
use crate::fidelity::case::{Behaviour, Protocol, Route};
use crate::fidelity::line::{Line, Thread};
use crate::fidelity::received::Received;

impl<'c> Driver<'c> {
    /// Tells the host who serves.
    pub(super) fn note_upstream(&mut self, stream: StreamId) -> Result<()> {
        let attempts = self.exchange()?.attempts;
        let connected = UpstreamAttributes {
            local_address: edge::CLIENT.to_owned(),
            cx_pool_ready_duration_ns: Some(1),
            ..upstream(attempts)
        };
        self.proxy.set_upstream(stream, connected)?;
        Ok(())
    }

    /// The upstream's connection, or its stream, is gone.
    pub(super) fn upstream_gone(&mut self) -> Result<()> {
        let Some(_) = self.answering()? else {
            return Ok(());
        };
        let streams = self.case.upstream_protocol == Protocol::Http2;
        let exchange = self.exchange()?;
        exchange.connected = true;
        let (stream, answered, chunked) = (exchange.stream, exchange.answered, exchange.chunked);
        if !answered {
            let reset = if streams {
                Reset::RemoteReset
            } else {
                Reset::ConnectionTermination
            };
            return self.answer(reset.reply(false));
        }
        let reset = match (streams, chunked) {
            (true, _) => Reset::RemoteReset,
            // A chunk that does not end is no HTTP.
            (false, true) => Reset::ProtocolError,
            (false, false) => Reset::ConnectionTermination,
        };
        let (flags, details) = reset.cut();
        let facts = ResponseAttributes {
            flags: flags.0,
            code_details: details,
            ..ResponseAttributes::default()
        };
        self.proxy.set_response(stream, facts)?;
        self.exchange()?.over = true;
        self.close(stream, CloseReason::Complete)
    }

    /// The router answers itself, since no answer came.
    fn answer(&mut self, reply: Reply) -> Result<()> {
        let stream = self.exchange()?.stream;
        if let Some(attempt) = self.exchange()?.attempt.take() {
            self.proxy
                .close_stream(attempt, CloseReason::UpstreamReset)?;
            while self.proxy.poll_output(attempt).is_some() {}
        }
        self.proxy.set_response(
            stream,
            ResponseAttributes {
                flags: reply.flags.0,
                ..ResponseAttributes::default()
            },
        )?;
        self.proxy.local_reply(
            stream,
            u32::from(reply.status),
            HeaderMap::new(),
            reply.body.as_bytes(),
            &reply.details,
        )?;
        Ok(())
    }

    pub(super) fn route(&self, headers: &HeaderMap) -> Option<&'c Route> {
        let path = headers.get_str(":path").unwrap_or_default();
        self.case.routes.iter().find(|route| {
            let header = route
                .header
                .as_deref()
                .and_then(|header| header.split_once(": "));
            path.starts_with(&route.prefix)
                && header.is_none_or(|(name, value)| headers.get_str(name) == Some(value))
        })
    }

    pub(super) fn cluster_of(&self, route: Option<&Route>) -> String {
        match route {
            None => self.case.cluster_name("upstream"),
            Some(route) => route
                .cluster
                .as_deref()
                .map(|cluster| self.case.cluster_name(cluster))
                .unwrap_or_default(),
        }
    }

    /// The request's headers have left the filters: the router's turn.
    pub(super) fn routed(&mut self, headers: HeaderMap, end: bool) -> Result<()> {
        let stream = self.exchange()?.stream;
        if headers.get(":authority").is_none() || headers.get(":path").is_none() {
            self.proxy.set_route(stream, "", "")?;
            return self.answer(no_route());
        }
        let route = self.route(&headers);
        let name = route.map_or("default", |route| &route.name);
        self.proxy
            .set_route(stream, &self.cluster_of(route), name)?;
        if let Some(status) = route.and_then(|route| route.direct) {
            return self.answer(direct_response(status));
        }
        let name = route.and_then(|route| route.cluster.as_deref());
        let cluster = self
            .case
            .clusters
            .iter()
            .find(|it| Some(it.name.as_str()) == name);
        if name == Some("nowhere") {
            return self.answer(no_cluster());
        }
        if let Some(cluster) = cluster {
            return match cluster.behaviour {
                Behaviour::Empty => self.answer(no_endpoint()),
                Behaviour::Refuses => self.answer(Reset::ConnectFailure.reply(false)),
                Behaviour::Resets => self.answer(Reset::ConnectionTermination.reply(false)),
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
        let attempt = self
            .proxy
            .open_attempt(stream, &cluster, upstream(attempts))?;
        let exchange = self.exchange()?;
        exchange.attempt = attempt;
        let parts = if attempts > 1 {
            together(&exchange.parts)
        } else {
            exchange.parts.clone()
        };
        for part in parts {
            self.send(&part)?;
        }
        Ok(())
    }

    /// A part of the request has left the listener's filters.
    pub(super) fn onward(&mut self, part: Part) -> Result<()> {
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

    pub(super) fn on_attempt_output(&mut self, output: Output) -> Result<()> {
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
            Output::Reset { .. } => self.answer(Reset::Local.reply(false)),
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
    pub(super) fn tries_again(&mut self, headers: &HeaderMap) -> Result<bool> {
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
    pub(super) fn answer_calls(&mut self) -> Result<bool> {
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
            // HTTP/1.1 has no trailers behind a body whose length was told.
            let trailers = if received
                .headers
                .iter()
                .any(|(name, _)| name == "content-length")
            {
                HeaderMap::new()
            } else {
                call.trailers
            };
            note_request(&mut received, &Part::Trailers(trailers));
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
