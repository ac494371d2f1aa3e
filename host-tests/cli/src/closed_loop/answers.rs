//! Answers: from an endpoint, through the filters of the attempt, to the router and on to the client.

use tidegate_host::{HeaderMap, Output, ResponseAttributes, StreamId};
use tidegate_model::balance;
use tidegate_model::endpoint::Serving;
use tidegate_model::report::Sink;
use tidegate_model::router::{self, Reset, Verdict, handshake_failed};
use tidegate_model::scenario::Answer;

use super::RunError;
use super::endpoints::{End, FAILED, Owner};
use super::engine::Engine;
use super::queue::Event;
use super::router::{Fields, deciding};
use super::stream::{Ends, Part};

impl Engine {
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
    pub(super) fn answered_by_filter(
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
        if let Some((attempts, breakers)) = deciding(stream, &mut self.clusters) {
            attempts.finish(breakers);
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
                self.endpoint_sends_headers(key, headers, false, sink)
            }
        }
    }

    pub(super) fn answers(
        &mut self,
        key: u64,
        work: u64,
        answer: &Answer,
        is_cut: bool,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let mut headers = answer_headers(answer);
        let length = answer.length().max(u64::from(is_cut));
        headers.add("content-length", length.to_string());
        let ends = answer.length() == 0 && answer.body_takes.ns() == 0 && !is_cut;
        if let Some(current) = self
            .streams
            .get_mut(&key)
            .and_then(|stream| stream.current.as_mut())
        {
            current.body_left = answer.length();
        }
        if !ends {
            let at_ns = self.now_ns.saturating_add(answer.body_takes.ns());
            self.queue.push(at_ns, Event::BodyEnds { work, is_cut });
        }
        self.endpoint_sends_headers(key, headers, ends, sink)
    }

    pub(super) fn endpoint_sends_headers(
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

    pub(super) fn endpoint_sends_body(
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

    pub(super) fn filters_of(&self, key: u64) -> Option<StreamId> {
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
            // Its length was told: what ends before is no HTTP.
            return self.attempt_failed(key, work, Reset::ProtocolError, sink);
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
            self.endpoint_sends_body(key, bytes, ends, sink)?;
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
        self.endpoint_sends_body(key, bytes, false, sink)?;
        if is_over {
            // It closes its connection behind the Close. Envoy takes no such end for a clean one.
            self.attempt_failed(key, work, Reset::ConnectionTermination, sink)?;
        }
        Ok(())
    }

    /// An answer's headers have come to the router.
    pub(super) fn answer_headers(
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
        let Some(current) = &mut stream.current else {
            return Ok(());
        };
        current.status = Some(status);
        let sent_ns = stream.sent_ns;
        let Some((attempts, breakers)) = deciding(stream, &mut self.clusters) else {
            return Ok(());
        };
        let draws = &mut self.router_draws;
        let verdict = attempts.on_answer(status, &Fields(&mut headers), breakers, now_ns, draws);
        match verdict {
            Verdict::Pass { flags } => {
                let since_ns = sent_ns.map(|sent| now_ns.saturating_sub(sent));
                attempts.finish_answer(&mut Fields(&mut headers), since_ns);
                stream.row.flags |= flags;
                router::VIA_UPSTREAM.clone_into(&mut stream.row.details);
                stream.is_answered = true;
                stream.parts.clear();
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
    pub(super) fn answer_body(
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

    /// Envoy's own cookie goes to a client whose session was served elsewhere, or is new.
    pub(super) fn bind_session(&self, key: u64, headers: &mut HeaderMap) {
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
