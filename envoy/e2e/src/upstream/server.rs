//! The server's connections.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, HeaderValue, UPGRADE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Answer, Ending, Received, Script, Seen, websocket};
use crate::clients::http::header_map;

/// Accepts connections until it is aborted; its connections end with it.
pub(super) async fn serve(listener: TcpListener, address: SocketAddr, script: Script, seen: Seen) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        let _ = stream.set_nodelay(true);
        connections.spawn(connection(
            stream,
            address,
            Arc::clone(&script),
            Arc::clone(&seen),
        ));
        while connections.try_join_next().is_some() {}
    }
}

async fn connection(stream: TcpStream, address: SocketAddr, script: Script, seen: Seen) {
    let reset = Arc::new(AtomicBool::new(false));
    let wire = Wire {
        stream,
        reset: Arc::clone(&reset),
    };
    let service = service_fn(|request| {
        let (script, seen, reset) = (Arc::clone(&script), Arc::clone(&seen), Arc::clone(&reset));
        async move { respond(request, address, &script, &seen, &reset).await }
    });
    // A connection that a script breaks ends with an error: that is its purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades()
        .await;
}

type Body = BoxBody<Bytes, io::Error>;

async fn respond(
    mut request: Request<Incoming>,
    address: SocketAddr,
    script: &Script,
    seen: &Seen,
    reset: &Arc<AtomicBool>,
) -> io::Result<Response<Body>> {
    let mut received = Received {
        upstream: address,
        at: Instant::now(),
        method: request.method().to_string(),
        path: request.uri().to_string(),
        headers: request.headers().clone(),
        body_bytes: 0,
    };
    // Before the body: of a client that goes away half-way, the endpoint has seen the headers.
    let index = {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.push(received.clone());
        seen.len() - 1
    };
    let upgrades = received
        .header("upgrade")
        .is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
    if upgrades && received.path.starts_with("/ws") {
        let answer = script(&received);
        let mut response = websocket::accept(&mut request, &received, Arc::clone(reset));
        for (name, value) in header_map(&answer.headers) {
            if let Some(name) = name.filter(|name| name != "content-type") {
                response.headers_mut().append(name, value);
            }
        }
        return Ok(response.map(|()| Full::default().map_err(|never| match never {}).boxed()));
    }
    let body = request
        .into_body()
        .collect()
        .await
        .map_err(io::Error::other)?
        .to_bytes();
    received.body_bytes = body.len();
    if let Some(entry) = seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get_mut(index)
    {
        entry.body_bytes = body.len();
    }
    let told = script(&received).fetched(&received).await;
    answer(told, reset).await
}

async fn answer(answer: Answer, reset: &Arc<AtomicBool>) -> io::Result<Response<Body>> {
    if !answer.delay.is_zero() {
        tokio::time::sleep(answer.delay).await;
    }
    match answer.ending {
        Ending::CloseBeforeHeaders => return Err(io::Error::other("the script closes")),
        Ending::ResetBeforeHeaders => {
            reset.store(true, Ordering::Relaxed);
            return Err(io::Error::other("the script resets"));
        }
        Ending::Close | Ending::Complete | Ending::ResetInBody => {}
    }
    let breaks = answer.ending == Ending::ResetInBody;
    let whole = answer.pieces.len() <= 1 && answer.trailers.is_empty() && !breaks;
    let body = if whole {
        let bytes = answer.pieces.into_iter().next().unwrap_or_default();
        Full::new(Bytes::from(bytes))
            .map_err(|never| match never {})
            .boxed()
    } else {
        streamed(
            answer.pieces,
            answer.trailers,
            answer.pause,
            breaks.then(|| Arc::clone(reset)),
        )
    };
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in header_map(&answer.headers) {
        if let Some(name) = name {
            response.headers_mut().append(name, value);
        }
    }
    if answer.ending == Ending::Close {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    debug_assert!(
        !response.headers().contains_key(UPGRADE),
        "a script does not upgrade"
    );
    Ok(response)
}

/// What is left of an answer: pieces, then trailers, or after the first piece a reset.
struct Rest {
    frames: std::vec::IntoIter<Frame<Bytes>>,
    pause: std::time::Duration,
    first: bool,
    reset: Option<Arc<AtomicBool>>,
}

fn streamed(
    pieces: Vec<Vec<u8>>,
    trailers: Vec<(String, String)>,
    pause: std::time::Duration,
    reset: Option<Arc<AtomicBool>>,
) -> Body {
    let mut frames: Vec<Frame<Bytes>> = pieces
        .into_iter()
        .map(|piece| Frame::data(Bytes::from(piece)))
        .collect();
    if !trailers.is_empty() {
        frames.push(Frame::trailers(header_map(&trailers)));
    }
    let rest = Rest {
        frames: frames.into_iter(),
        pause,
        first: true,
        reset,
    };
    let stream = stream::unfold(rest, async |mut rest| {
        if !rest.first {
            // Also without a pause the pieces have to leave one by one, and not as one write.
            tokio::task::yield_now().await;
            tokio::time::sleep(rest.pause).await;
            if let Some(reset) = rest.reset.take() {
                reset.store(true, Ordering::Relaxed);
                rest.frames = Vec::new().into_iter();
                return Some((Err(io::Error::other("the script resets")), rest));
            }
        }
        rest.first = false;
        rest.frames.next().map(|frame| (Ok(frame), rest))
    });
    // `stream::unfold` over an async closure is not `Sync`, which a boxed body has to be.
    BodyExt::boxed(StreamBody::new(sync(stream)))
}

fn sync<S>(stream: S) -> impl futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + Sync
where
    S: futures_util::Stream<Item = io::Result<Frame<Bytes>>> + Send + 'static,
{
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(item) = futures_util::StreamExt::next(&mut stream).await {
            if sender.send(item).await.is_err() {
                break;
            }
        }
    });
    stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    })
}

/// A TCP stream that is reset instead of closed once a script has said so.
pub(super) struct Wire {
    stream: TcpStream,
    reset: Arc<AtomicBool>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.reset.load(Ordering::Relaxed) {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.reset.load(Ordering::Relaxed) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
