//! The clients' side: what they send, what they get, what they keep.

use std::collections::BTreeMap;
use std::net::IpAddr;

use tidegate_host::{CloseReason, HeaderMap, Output, StreamAttributes};
use tidegate_model::frames::{Frame, Opcode};
use tidegate_model::report::{Row, Sink};
use tidegate_model::traffic::Arrival;

use super::RunError;
use super::engine::Engine;
use super::queue::Event;
use super::router::Fields;
use super::stream::{Part, Stream};
use crate::replay::draw;
use crate::replay::jar::Jar;

/// Cookies of the clients that have some, by source and client.
pub(super) type Jars = BTreeMap<(usize, u64), Jar>;

/// The mask of frames that clients send because of what they read; masks hide nothing here.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

impl Engine {
    /// A request's headers come.
    pub(super) fn arrive(&mut self, arrival: Arrival, sink: &mut dyn Sink) -> Result<(), RunError> {
        self.requests += 1;
        let key = self.next_stream;
        self.next_stream += 1;
        // A client's connection is a number of its own, below 2⁵³ as every number of JSON should be.
        let connection = draw::mix(draw::mix(arrival.source as u64 + 1) ^ arrival.client) >> 12;
        let worker = draw::worker(connection, self.seed, self.workers);
        let mut headers: HeaderMap = arrival
            .request
            .headers
            .iter()
            .map(|(name, value)| (name.as_slice(), value.as_slice()))
            .collect();
        if arrival.keeps_cookies
            && let Some(jar) = self.jars.get(&(arrival.source, arrival.client))
        {
            jar.add_to(&mut headers, self.start_ns + self.now_ns);
        }
        let address: Option<IpAddr> = arrival
            .address
            .rsplit_once(':')
            .and_then(|(ip, _)| ip.trim_matches(['[', ']']).parse().ok());
        if let Some(address) = address {
            let draws = &mut self.edge_draws;
            self.edge
                .sanitise(&mut Fields(&mut headers), address, draws);
        }
        self.removal.in_front(&mut headers);
        let text = |name: &str| headers.get_str(name).unwrap_or_default().to_owned();
        let row = Row {
            source: arrival.source,
            number: arrival.number,
            client: arrival.client,
            started_ns: self.now_ns,
            worker,
            method: text(":method"),
            path: text(":path"),
            ..Row::default()
        };
        let route = self.route_of(&headers);
        let cluster = match route {
            Some(route) => self.cluster_name_of(route),
            None => None,
        };
        let attributes = StreamAttributes {
            connection_id: connection,
            source_address: arrival.address.clone(),
            destination_address: "127.0.0.1:10000".to_owned(),
            protocol: "HTTP/1.1".to_owned(),
            cluster_name: cluster.clone().unwrap_or_default(),
            route_name: route
                .and_then(|route| self.routes.get(route))
                .map(|route| route.name.clone())
                .unwrap_or_default(),
            ..StreamAttributes::default()
        };
        let id = self.proxy.open_stream(worker, attributes)?;
        let request = &arrival.request;
        let is_upgrade = request.frames.is_some();
        let ends = request.body.is_empty() && request.trailers.is_empty() && !is_upgrade;
        for (part, (after_ns, _)) in request.body.iter().enumerate() {
            let at_ns = self.now_ns.saturating_add(*after_ns);
            self.queue
                .push(at_ns, Event::RequestBody { stream: key, part });
        }
        if !request.trailers.is_empty() {
            let part = request.body.len();
            let last_ns = request.body.last().map_or(0, |(after_ns, _)| *after_ns);
            let at_ns = self.now_ns.saturating_add(last_ns);
            self.queue
                .push(at_ns, Event::RequestBody { stream: key, part });
        }
        if let Some(after_ns) = arrival.gives_up_after_ns {
            let at_ns = self.now_ns.saturating_add(after_ns);
            self.queue.push(at_ns, Event::GiveUp { stream: key });
        }
        let stream = Stream {
            id,
            row,
            route: route.unwrap_or(usize::MAX),
            cluster: cluster
                .and_then(|name| self.cluster_names.get(&name))
                .copied(),
            hash: None,
            wanted: None,
            used: std::cell::Cell::new(0),
            attempts: None,
            parts: Vec::new(),
            tried: Vec::new(),
            current: None,
            sent_ns: None,
            ends_with_headers: false,
            is_timed: false,
            body_bytes: 0,
            is_upgrade,
            is_answered: false,
            socket: None,
            arrival,
        };
        self.streams.insert(key, stream);
        self.proxy.request_headers(id, headers, ends)?;
        self.pump(key, sink)
    }

    /// The next part of a request's body comes.
    pub(super) fn request_body(
        &mut self,
        key: u64,
        part: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(stream) = self.streams.get(&key) else {
            return Ok(());
        };
        let request = &stream.arrival.request;
        match request.body.get(part) {
            Some((_, bytes)) => {
                let ends = part + 1 == request.body.len() && request.trailers.is_empty();
                self.proxy.request_body(stream.id, bytes, ends)?;
            }
            None => {
                let trailers = request
                    .trailers
                    .iter()
                    .map(|(name, value)| (name.as_slice(), value.as_slice()));
                self.proxy.request_trailers(stream.id, trailers.collect())?;
            }
        }
        self.pump(key, sink)
    }

    pub(super) fn give_up(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        let waits = self
            .streams
            .get(&key)
            .is_some_and(|stream| stream.row.first_byte_ns.is_none());
        if !waits {
            return Ok(());
        }
        self.finish(key, CloseReason::ClientReset, sink)
    }

    /// The client sends its next frame on a WebSocket.
    pub(super) fn client_frame(
        &mut self,
        key: u64,
        index: usize,
        sink: &mut dyn Sink,
    ) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let Some(socket) = &mut stream.socket else {
            return Ok(());
        };
        let frames = stream.arrival.request.frames.as_deref();
        let Some((_, bytes)) = frames.unwrap_or_default().get(index) else {
            return Ok(());
        };
        if socket.has_client_closed {
            return Ok(());
        }
        if bytes.is_empty() {
            return self.finish(key, CloseReason::ClientReset, sink);
        }
        let opcode = bytes.first().map_or(0, |first| first & 0x0f);
        socket.has_client_closed = opcode == 8;
        if matches!(opcode, 0..=2) && bytes.first().is_some_and(|first| first & 0x80 != 0) {
            stream.row.socket.get_or_insert_default().sent += 1;
        }
        self.proxy.request_body(stream.id, bytes, false)?;
        self.pump(key, sink)
    }

    /// Lets out everything that has left the filters of a stream.
    pub(super) fn pump(&mut self, key: u64, sink: &mut dyn Sink) -> Result<(), RunError> {
        loop {
            let Some(stream) = self.streams.get(&key) else {
                return Ok(());
            };
            let filters = stream.current.as_ref().and_then(|current| current.filters);
            if let Some(output) = self.proxy.poll_output(stream.id) {
                self.on_output(key, output, sink)?;
            } else if let Some(output) = filters.and_then(|filters| self.proxy.poll_output(filters))
            {
                self.on_attempt_output(key, output, sink)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Something has left the filters of the listener.
    fn on_output(&mut self, key: u64, output: Output, sink: &mut dyn Sink) -> Result<(), RunError> {
        match output {
            Output::RequestHeaders {
                mut headers,
                end_stream,
            } => {
                self.removal.behind(&mut headers);
                self.routed(key, headers, end_stream, sink)
            }
            Output::RequestBody { data, end_stream } => {
                self.onward(key, Part::Body(data, end_stream))
            }
            Output::RequestTrailers(trailers) => self.onward(key, Part::Trailers(trailers)),
            Output::ResponseHeaders {
                headers,
                end_stream,
            } => {
                self.client_gets_headers(key, headers)?;
                self.client_ends(key, end_stream, sink)
            }
            Output::ResponseBody { data, end_stream } => {
                self.client_gets_bytes(key, &data)?;
                self.client_ends(key, end_stream, sink)
            }
            Output::ResponseTrailers(_) => self.client_ends(key, true, sink),
            Output::LocalResponse {
                status,
                headers,
                body,
                details,
                ..
            } => {
                self.client_gets_headers(key, headers)?;
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.row.status = u16::try_from(status).ok();
                    stream.row.body_bytes += body.len() as u64;
                    stream.row.details = details;
                    stream.is_answered = true;
                }
                self.client_ends(key, true, sink)
            }
            Output::Reset { details } => {
                if let Some(stream) = self.streams.get_mut(&key) {
                    stream.row.details = details;
                }
                self.finish(key, CloseReason::Complete, sink)
            }
        }
    }

    fn client_gets_headers(&mut self, key: u64, headers: HeaderMap) -> Result<(), RunError> {
        let now_ns = self.now_ns;
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        stream.row.status = headers
            .get_str(":status")
            .and_then(|status| status.parse().ok());
        stream.row.first_byte_ns = Some(now_ns.saturating_sub(stream.row.started_ns));
        if stream.arrival.keeps_cookies {
            let owner = (stream.arrival.source, stream.arrival.client);
            for cookie in headers.get_all("set-cookie") {
                let jar = self.jars.entry(owner).or_default();
                jar.set(cookie, stream.row.path.as_bytes(), self.start_ns + now_ns);
            }
        }
        if stream.row.status == Some(101) {
            let frames = stream.arrival.request.frames.as_deref();
            for (index, (after_ns, _)) in frames.unwrap_or_default().iter().enumerate() {
                self.queue.push(
                    now_ns.saturating_add(*after_ns),
                    Event::Frame { stream: key, index },
                );
            }
        }
        let id = stream.id;
        self.proxy.sent_response_headers(id, headers)?;
        Ok(())
    }

    /// Bytes come to the client: of a body, or of a WebSocket's frames.
    fn client_gets_bytes(&mut self, key: u64, bytes: &[u8]) -> Result<(), RunError> {
        let Some(stream) = self.streams.get_mut(&key) else {
            return Ok(());
        };
        let Some(socket) = &mut stream.socket else {
            stream.row.body_bytes += bytes.len() as u64;
            return Ok(());
        };
        socket.client.push(bytes);
        let row = stream.row.socket.get_or_insert_default();
        let mut answers = Vec::new();
        while let Some(frame) = socket.client.next_frame() {
            if frame.ends_message() {
                row.received += 1;
            }
            match frame.opcode {
                Opcode::Close => {
                    row.close_code = row.close_code.or(frame.close_code());
                    if !socket.has_client_closed {
                        socket.has_client_closed = true;
                        answers.extend(frame.encode(Some(MASK)));
                    }
                }
                Opcode::Ping => {
                    let pong = Frame::message(Opcode::Pong, frame.payload);
                    answers.extend(pong.encode(Some(MASK)));
                }
                _ => {}
            }
        }
        if !answers.is_empty() {
            let id = stream.id;
            self.proxy.request_body(id, &answers, false)?;
        }
        Ok(())
    }

    fn client_ends(&mut self, key: u64, ends: bool, sink: &mut dyn Sink) -> Result<(), RunError> {
        if !ends {
            return Ok(());
        }
        self.finish(key, CloseReason::Complete, sink)
    }
}
