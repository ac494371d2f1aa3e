//! What an endpoint does with one request.

use std::future::pending;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tidegate_model::endpoint::{Connects, Serving};
use tidegate_model::scenario::Answer;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::{Shared, Work, lock};

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How long an answer's headers are given to leave before the connection is closed behind them: closed at once, they
/// would not leave at all.
const PART: Duration = Duration::from_millis(20);

/// Serves a connection to its end; an upgraded one too.
pub(super) async fn connection(stream: TcpStream, shared: Arc<Shared>) {
    let sockets = Arc::new(Mutex::new(JoinSet::new()));
    let service = service_fn(|request| respond(request, Arc::clone(&shared), Arc::clone(&sockets)));
    // A connection that an endpoint breaks ends with an error: that is its purpose.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    let mut sockets = std::mem::take(&mut *lock(&sockets));
    while sockets.join_next().await.is_some() {}
}

async fn respond(
    mut request: Request<Incoming>,
    shared: Arc<Shared>,
    sockets: Arc<Mutex<JoinSet<()>>>,
) -> io::Result<Response<Body>> {
    let header = |name: &str| {
        let value = request.headers().get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let id = header("x-request-id");
    let work = shared.arrived(&id);
    let is_upgrade = header("upgrade").eq_ignore_ascii_case("websocket");
    let path = request.uri().path_and_query();
    let path = path.map_or_else(String::new, ToString::to_string);
    let key = request.headers().get(SEC_WEBSOCKET_KEY).cloned();
    let upgrade = is_upgrade.then(|| hyper::upgrade::on(&mut request));
    if !is_upgrade {
        let body = request.into_body().collect();
        body.await.map_err(io::Error::other)?;
    }
    // A connection from before the endpoint became unreachable stays silent.
    if shared.connects() == Connects::Never {
        return pending().await;
    }
    let Some(served) = work.begin(&path, is_upgrade, &id).await else {
        return pending().await;
    };
    let now = shared.clock.now_ns();
    tokio::time::sleep(Duration::from_nanos(served.at_ns.saturating_sub(now))).await;
    match served.with {
        Serving::Answer(answer) => Ok(whole(&answer, work)),
        Serving::Socket(answer) => {
            let mut response = headed(&answer);
            accept(&mut response, key.as_ref());
            if let Some(upgrade) = upgrade {
                lock(&sockets).spawn(echo(upgrade, work));
            }
            Ok(response)
        }
        Serving::Disconnect => Err(io::Error::other("the endpoint disconnects")),
        Serving::DisconnectInBody(answer) => Ok(broken(&answer, work)),
        Serving::Silence => pending().await,
    }
}

fn headed(answer: &Answer) -> Response<Body> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Makes an answer one to an upgrade.
fn accept(response: &mut Response<Body>, key: Option<&HeaderValue>) {
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    let key = key.map_or(&[][..], HeaderValue::as_bytes);
    if let Ok(accept) = HeaderValue::from_str(&derive_accept_key(key)) {
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

/// An answer as it should be: the headers at once, the body at its end.
fn whole(answer: &Answer, work: Work) -> Response<Body> {
    let mut response = headed(answer);
    let takes = Duration::from_nanos(answer.body_takes.ns());
    let body = match &answer.body {
        Some(body) => Bytes::from(body.clone()),
        None => {
            let size = usize::try_from(answer.body_bytes).unwrap_or(usize::MAX);
            Bytes::from(vec![b'x'; size])
        }
    };
    if takes.is_zero() {
        *response.body_mut() = Full::new(body)
            .map_err(|never| match never {})
            .boxed_unsync();
        return response;
    }
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, answer.length().into());
    *response.body_mut() = later(takes, Ok(body), work);
    response
}

/// An answer that says how long it is and breaks off.
fn broken(answer: &Answer, work: Work) -> Response<Body> {
    let mut response = headed(answer);
    let size = answer.length().max(1);
    response.headers_mut().insert(CONTENT_LENGTH, size.into());
    let takes = Duration::from_nanos(answer.body_takes.ns()).max(PART);
    let end = Err(io::Error::other("the endpoint disconnects"));
    *response.body_mut() = later(takes, end, work);
    response
}

/// A body that comes, or breaks off, after a while.
fn later(takes: Duration, end: io::Result<Bytes>, work: Work) -> Body {
    let end = async move {
        tokio::time::sleep(takes).await;
        drop(work);
        end.map(Frame::data)
    };
    StreamBody::new(stream::once(end)).boxed_unsync()
}

/// Sends every message back, until the client closes.
async fn echo(upgrade: OnUpgrade, work: Work) {
    let Ok(upgraded) = upgrade.await else {
        return;
    };
    let mut socket =
        WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        if work.shared.connects() == Connects::Never {
            return pending().await;
        }
        // A Close is answered by the stream itself, when it is asked for more.
        if (message.is_text() || message.is_binary()) && socket.send(message).await.is_err() {
            return;
        }
    }
}
