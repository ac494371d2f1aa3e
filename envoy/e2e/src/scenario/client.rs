//! Clients that send what the traffic says, each over connections of its own.

mod session;
mod socket;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt, StreamBody};
use hyper::Request;
use hyper::body::{Frame, Incoming};
use hyper::header::{CONTENT_LENGTH, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use tidegate_model::report::Socket;
use tidegate_model::traffic::{self, Arrival};
use tokio::time::Instant;

use super::clock::Clock;
use session::{Body, Session};

/// How much of a body is kept as text: more than any local reply of Envoy's has.
const TEXT_BYTES: usize = 400;

/// What a client was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Told {
    /// When it sent its headers, in nanoseconds of the scenario.
    pub(super) started_ns: u64,
    /// The status; `None`: its connection was cut, or it went away.
    pub(super) status: Option<u16>,
    /// To the answer's headers, in nanoseconds.
    pub(super) first_byte_ns: Option<u64>,
    /// To the end, in nanoseconds.
    pub(super) total_ns: u64,
    /// Bytes of the answer's body.
    pub(super) body_bytes: u64,
    /// The beginning of the answer's body.
    pub(super) text: String,
    /// What happened on it as a WebSocket.
    pub(super) socket: Option<Socket>,
}

/// All clients of a scenario.
#[derive(Debug)]
pub(super) struct Clients {
    edge: SocketAddr,
    clock: Clock,
    sessions: Mutex<HashMap<(usize, u64), Arc<Session>>>,
}

impl Clients {
    pub(super) fn new(edge: SocketAddr, clock: Clock) -> Self {
        Self {
            edge,
            clock,
            sessions: Mutex::default(),
        }
    }

    /// Sends a request and hears its answer out; `returns` says whether the client may come again.
    ///
    /// # Errors
    /// The proxy takes no connection, or the request can't be sent as HTTP/1.1.
    pub(super) async fn send(&self, arrival: &Arrival, id: &str, returns: bool) -> Result<Told> {
        let session = self.session(arrival, returns);
        let started_ns = self.clock.now_ns();
        let begun = Instant::now();
        let mut told = Told {
            started_ns,
            socket: arrival.request.frames.is_some().then(Socket::default),
            ..Told::default()
        };
        let (connection, answer) = loop {
            let request = request(&arrival.request, id, &session)
                .with_context(|| format!("request {id} is none"))?;
            let mut connection = session.connection(self.edge).await?;
            let answer = connection.sender.send_request(request);
            let answer = match arrival.gives_up_after_ns {
                Some(ns) => tokio::time::timeout(Duration::from_nanos(ns), answer)
                    .await
                    .ok(),
                None => Some(answer.await),
            };
            // The proxy closed the connection before anything was sent on it: there is another one.
            if let Some(Err(error)) = &answer
                && error.is_canceled()
            {
                continue;
            }
            break (connection, answer);
        };
        if let Some(Ok(answer)) = answer {
            told.status = Some(answer.status().as_u16());
            told.first_byte_ns = Some(nanoseconds(begun));
            let path = said(&arrival.request, ":path");
            session.store(answer.headers().get_all(SET_COOKIE), &path);
            let upgrades = answer.status().as_u16() == 101;
            if let (true, Some(frames)) = (upgrades, &arrival.request.frames) {
                let opened = hyper::upgrade::on(answer).await?;
                told.socket = Some(socket::speak(opened, frames).await);
            } else {
                let whole = read(answer.into_body(), &mut told).await;
                if whole && returns {
                    session.keep(connection).await;
                }
            }
        }
        told.total_ns = nanoseconds(begun);
        Ok(told)
    }

    fn session(&self, arrival: &Arrival, returns: bool) -> Arc<Session> {
        let session = || Arc::new(Session::new(&arrival.address, arrival.keeps_cookies));
        if !returns {
            return session();
        }
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sessions.entry((arrival.source, arrival.client));
        Arc::clone(known.or_insert_with(session))
    }
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// Reads a body to its end; `false` when it ends early.
async fn read(mut body: Incoming, told: &mut Told) -> bool {
    let mut text = Vec::new();
    let mut whole = true;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            whole = false;
            break;
        };
        if let Some(data) = frame.data_ref() {
            told.body_bytes += u64::try_from(data.len()).unwrap_or(u64::MAX);
            let room = TEXT_BYTES.saturating_sub(text.len()).min(data.len());
            text.extend_from_slice(data.get(..room).unwrap_or_default());
        }
    }
    told.text = String::from_utf8_lossy(&text).into_owned();
    whole
}

/// Returns the value of a header of a request; empty without one.
fn said(request: &traffic::Request, name: &str) -> String {
    let found = request
        .headers
        .iter()
        .find(|(known, _)| known == name.as_bytes());
    let value = found.map_or(&[][..], |(_, value)| value);
    String::from_utf8_lossy(value).into_owned()
}

/// Makes a request of what the traffic says, with the client's cookies and an id of its own.
fn request(said: &traffic::Request, id: &str, session: &Session) -> Result<Request<Body>> {
    let mut request = Request::new(body(said));
    let mut headers = HeaderMap::new();
    for (name, value) in &said.headers {
        match name.as_slice() {
            b":method" => *request.method_mut() = value.as_slice().try_into()?,
            b":path" => *request.uri_mut() = value.as_slice().try_into()?,
            b":authority" => {
                headers.insert(hyper::header::HOST, HeaderValue::from_bytes(value)?);
            }
            name if name.starts_with(b":") => {}
            name => {
                headers.append(
                    HeaderName::from_bytes(name)?,
                    HeaderValue::from_bytes(value)?,
                );
            }
        }
    }
    headers.insert("x-request-id", HeaderValue::from_str(id)?);
    let size: usize = said.body.iter().map(|(_, part)| part.len()).sum();
    // Of a recorded request that broke off, or whose body wasn't kept, what is there is all.
    let told = headers.contains_key(CONTENT_LENGTH);
    if (size > 0 || told) && said.trailers.is_empty() {
        headers.insert(CONTENT_LENGTH, size.into());
    }
    let own = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    let own: Vec<&[u8]> = own.collect();
    if let Some(cookies) = session.cookies(&request.uri().to_string(), &own) {
        headers.insert(COOKIE, HeaderValue::from_bytes(&cookies)?);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// The parts of a body, at their times.
fn body(said: &traffic::Request) -> Body {
    if said.body.is_empty() && said.trailers.is_empty() {
        let none = http_body_util::Empty::new();
        return none.map_err(|never| match never {}).boxed_unsync();
    }
    let trailers = said.trailers.iter().filter_map(|(name, value)| {
        Some((
            HeaderName::from_bytes(name).ok()?,
            HeaderValue::from_bytes(value).ok()?,
        ))
    });
    let trailers: HeaderMap = trailers.collect();
    let end = (!trailers.is_empty()).then(|| (0, Frame::trailers(trailers)));
    let parts = said.body.iter().map(|(at_ns, part)| {
        let frame = Frame::data(Bytes::copy_from_slice(part));
        (*at_ns, frame)
    });
    let frames: Vec<(u64, Frame<Bytes>)> = parts.chain(end).collect();
    let begun = Instant::now();
    let stream = stream::unfold(frames.into_iter(), move |mut frames| async move {
        let (at_ns, frame) = frames.next()?;
        tokio::time::sleep_until(begun + Duration::from_nanos(at_ns)).await;
        Some((Ok(frame), frames))
    });
    StreamBody::new(stream).boxed_unsync()
}
