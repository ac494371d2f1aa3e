//! Makes events of an entry of a HAR.

use std::borrow::Cow;

use super::super::client::{self, Target};
use super::super::event::{Body, Close, CloseReason, EventKind, Headers};
use super::super::import::{Context, Opening, mixed_number};
use super::super::text::Lenient;
use super::frames;
use super::wire::{Content, Direction, Entry, Header, Message, Request, Response};

/// When the parts of an exchange were, in nanoseconds since the Unix epoch.
struct Times {
    sent: u64,
    answered: u64,
    ended: u64,
}

/// Makes the events of an entry, or counts why there are none.
pub(super) fn convert(entry: &Entry<'_>, context: &mut Context) {
    let url = entry.request.url.0.as_ref();
    let target = client::split_url(url).and_then(|(scheme, authority, path)| {
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" | "ws" => "http",
            "https" | "wss" => "https",
            _ => return None,
        };
        Some((scheme, authority, path))
    });
    let Some((scheme, authority, path)) = target else {
        context.statistics.skip(
            "entries of other schemes than HTTP and WebSocket, as data: and chrome-extension:",
        );
        return;
    };
    if let Some(reason) = not_sent(entry) {
        context.statistics.skip(reason);
        return;
    }
    let response = entry
        .response
        .as_ref()
        .filter(|response| response.status.0 != 0);
    let messages = response.and(entry.web_socket_messages.as_deref());
    // Over HTTP/2 a WebSocket is opened with 200; a filter sees 101 in both.
    let is_upgraded = messages.is_some_and(|messages| !messages.is_empty())
        || response.is_some_and(|response| response.status.0 == 101);
    let stream = context.new_id();
    let times = times(entry);
    let path = if path.starts_with('/') {
        Cow::Borrowed(path)
    } else {
        Cow::Owned(format!("/{path}"))
    };
    let fields = request_fields(&entry.request);
    let fields: Vec<(Vec<u8>, &[u8])> = fields
        .iter()
        .map(|(name, value)| (name.clone(), value.as_ref()))
        .collect();
    let target = Target {
        authority: authority.as_bytes(),
        path: path.as_bytes(),
        method: entry.request.method.0.as_bytes(),
        scheme: scheme.as_bytes(),
    };
    let post_data = entry.request.post_data.as_ref();
    let request_body = post_data
        .and_then(|data| data.0.as_deref())
        .filter(|body| !body.is_empty() && !is_upgraded);
    let headers = Headers {
        fields: client::request_fields(target, &fields, is_upgraded),
        end_stream: request_body.is_none() && !is_upgraded,
        ..Headers::default()
    };
    let open = context.open(&headers, opening(entry, response, scheme, authority));
    context.push(times.sent, stream, EventKind::Open(Box::new(open)));
    context.push(times.sent, stream, EventKind::RequestHeaders(headers));
    let mut close = Close::default();
    if let Some(body) = request_body {
        context.push(times.sent, stream, EventKind::RequestBody(whole(body)));
    } else if !is_upgraded {
        close.request_bytes = entry
            .request
            .body_size
            .map(|size| size.0)
            .filter(|&size| size > 0);
    }
    let mut ended_ns = times.ended;
    match response {
        None => close.reason = CloseReason::ClientReset,
        Some(response) if is_upgraded => {
            let fields = response_fields(response);
            let headers = Headers {
                fields: client::response_fields(101, &fields, true),
                ..Headers::default()
            };
            let messages = in_order(messages.unwrap_or_default());
            // What Chromium gives for a WebSocket's handshake may last until some message or other: the first message came
            // behind the handshake, whatever the timings say.
            let first_ns = messages.first().map_or(u64::MAX, |message| message.time_ns);
            let answered_ns = times.answered.min(first_ns).max(times.sent);
            context.push(answered_ns, stream, EventKind::ResponseHeaders(headers));
            let last_ns = push_messages(&messages, stream, answered_ns, context);
            ended_ns = ended_ns.max(last_ns);
        }
        Some(response) => {
            close.reason = reason(response);
            let size = respond(entry, response, stream, &times, context);
            close.response_bytes = size;
        }
    }
    context.push(ended_ns, stream, EventKind::Close(close));
}

/// Says why an entry isn't part of what a proxy saw.
fn not_sent(entry: &Entry<'_>) -> Option<&'static str> {
    let fetch_type = entry.fetch_type.as_ref().map(|kind| kind.0.as_ref());
    let is_cached = matches!(fetch_type, Some("Memory Cache" | "Disk Cache"));
    if entry.from_cache.is_some() || is_cached {
        return Some("entries that the browser's cache answered");
    }
    let via_worker = |response: &Response<'_>| response.fetched_via_service_worker == Some(true);
    if fetch_type == Some("Service Worker") || entry.response.as_ref().is_some_and(via_worker) {
        return Some("entries that a service worker answered");
    }
    let has_status = entry
        .response
        .as_ref()
        .is_some_and(|response| response.status.0 != 0);
    let was_connected = entry.connection.is_some()
        || entry.connection_id.is_some()
        || entry
            .server_ip_address
            .as_ref()
            .is_some_and(|address| !address.0.is_empty());
    (!has_status && !was_connected && !was_aborted_on_its_way(entry))
        .then_some("entries that were blocked or failed before they were sent")
}

/// Says whether the page gave a request up after it was sent. Chromium then names no connection; but only of a request that was
/// sent it has the headers that its network stack added.
fn was_aborted_on_its_way(entry: &Entry<'_>) -> bool {
    let response = entry.response.as_ref();
    response.is_some_and(|response| reason(response) == CloseReason::ClientReset)
        && request_fields(&entry.request)
            .iter()
            .any(|(name, _)| name == b"host" || name == b":authority")
}

fn times(entry: &Entry<'_>) -> Times {
    let begun = entry.started_date_time.0;
    let ended = begun.saturating_add(entry.time.0);
    let Some(timings) = entry.timings else {
        return Times {
            sent: begun,
            answered: ended,
            ended,
        };
    };
    // `connect` includes `ssl`.
    let sent = begun
        .saturating_add(timings.blocked.0)
        .saturating_add(timings.dns.0)
        .saturating_add(timings.connect.0);
    let answered = sent
        .saturating_add(timings.send.0)
        .saturating_add(timings.wait.0);
    let received = answered.saturating_add(timings.receive.0);
    Times {
        sent,
        answered,
        ended: ended.max(received),
    }
}

fn opening(
    entry: &Entry<'_>,
    response: Option<&Response<'_>>,
    scheme: &str,
    authority: &str,
) -> Opening {
    let port = authority
        .rsplit_once(':')
        .and_then(|(_, port)| port.parse::<u16>().ok())
        .unwrap_or(if scheme == "https" { 443 } else { 80 });
    let address = entry
        .server_ip_address
        .as_ref()
        .map(|address| address.0.trim_matches(['[', ']']))
        .and_then(|address| address.parse::<std::net::IpAddr>().ok());
    let connection = entry
        .connection_id
        .as_ref()
        .or(entry.connection.as_ref())
        .map(|name| name.0.as_ref())
        // Firefox writes the server's port there, which all connections share.
        .filter(|name| *name != port.to_string() && !name.is_empty());
    let version = response
        .and_then(|response| response.http_version.as_ref())
        .or(entry.request.http_version.as_ref());
    Opening {
        connection: connection.map(connection_number),
        // What the browser connected to is the proxy, not what is behind it.
        destination: address.map(|ip| std::net::SocketAddr::new(ip, port).to_string()),
        protocol: version
            .and_then(|version| client::protocol(&version.0))
            .map(str::to_owned),
        ..Opening::default()
    }
}

fn connection_number(name: &str) -> u64 {
    if let Ok(number) = name.parse::<u64>()
        && number < 1 << 51
    {
        return number;
    }
    let hash = name
        .bytes()
        .fold(0, |hash, byte| crate::replay::mix(hash ^ u64::from(byte)));
    mixed_number(hash, name.len() as u64)
}

/// Returns the fields as they are, names in lower case; the list of cookies where the header is missing.
fn request_fields<'a>(request: &'a Request<'_>) -> Vec<(Vec<u8>, Cow<'a, [u8]>)> {
    let mut fields: Vec<(Vec<u8>, Cow<'a, [u8]>)> = Vec::new();
    for (name, value) in split_fields(&request.headers) {
        fields.push((name, Cow::Borrowed(value)));
    }
    let cookies = request.cookies.as_deref().unwrap_or_default();
    if !cookies.is_empty() && !fields.iter().any(|(name, _)| name == b"cookie") {
        let pairs: Vec<Vec<u8>> = cookies
            .iter()
            .map(|cookie| [&cookie.name.0, b"=".as_slice(), value_of(cookie)].concat())
            .collect();
        fields.push((b"cookie".to_vec(), Cow::Owned(pairs.join(b"; ".as_slice()))));
    }
    fields
}

fn response_fields<'a>(response: &'a Response<'_>) -> Vec<(Vec<u8>, &'a [u8])> {
    split_fields(&response.headers).collect()
}

/// Chromium joins fields of one name with line ends, which no field can hold.
fn split_fields<'a>(headers: &'a [Header<'_>]) -> impl Iterator<Item = (Vec<u8>, &'a [u8])> + 'a {
    headers.iter().flat_map(|header| {
        let name = header.name.0.to_ascii_lowercase();
        value_of(header)
            .split(|&byte| byte == b'\n')
            .map(move |value| (name.clone(), value.trim_ascii()))
    })
}

fn value_of<'a>(header: &'a Header<'_>) -> &'a [u8] {
    header.value.as_ref().map_or(b"", |Lenient(value)| value)
}

fn reason(response: &Response<'_>) -> CloseReason {
    let error = response.error.as_ref().map(|error| error.0.as_ref());
    match error {
        None | Some("") => CloseReason::Complete,
        // Chromium lists an answer without a body as aborted, when a script fetched it.
        Some(_) if matches!(response.status.0, 204 | 205 | 304) => CloseReason::Complete,
        Some(error) if error.contains("ABORTED") => CloseReason::ClientReset,
        Some(_) => CloseReason::UpstreamReset,
    }
}

/// Makes the events of an ordinary answer; returns the size of a body that the HAR doesn't hold.
fn respond(
    entry: &Entry<'_>,
    response: &Response<'_>,
    stream: u64,
    times: &Times,
    context: &mut Context,
) -> Option<u64> {
    let is_whole = reason(response) == CloseReason::Complete;
    let may_have_body =
        entry.request.method.0 != "HEAD" && !matches!(response.status.0, 100..200 | 204 | 304);
    let content = response.content.as_ref().filter(|_| may_have_body);
    let body = content
        .and_then(|content| content.body.as_deref())
        .filter(|body| !body.is_empty());
    let headers = Headers {
        fields: client::response_fields(response.status.0, &response_fields(response), false),
        end_stream: body.is_none() && is_whole,
        ..Headers::default()
    };
    context.push(times.answered, stream, EventKind::ResponseHeaders(headers));
    if let Some(body) = body {
        let body = Body {
            end_stream: is_whole,
            ..whole(body)
        };
        context.push(times.ended, stream, EventKind::ResponseBody(body));
        return None;
    }
    let sent = response.body_size.filter(|size| size.0 > 0);
    let size = sent.or_else(|| content.and_then(|content: &Content<'_>| content.size))?;
    (may_have_body && size.0 > 0).then_some(size.0)
}

/// Puts messages into the order of time: Chromium lists them as it learns of them.
fn in_order<'a, 'b>(messages: &'a [Message<'b>]) -> Vec<&'a Message<'b>> {
    let mut messages: Vec<&Message<'_>> = messages.iter().collect();
    messages.sort_by_key(|message| message.time_ns);
    messages
}

/// Makes frames of the messages, none before the handshake; returns when the last one was.
fn push_messages(
    messages: &[&Message<'_>],
    stream: u64,
    answered_ns: u64,
    context: &mut Context,
) -> u64 {
    let mut last_ns = answered_ns;
    for (index, message) in messages.iter().enumerate() {
        let Some((direction, opcode)) = message.kind else {
            context
                .statistics
                .skip("messages of WebSockets that are errors");
            continue;
        };
        last_ns = message.time_ns.max(last_ns);
        let mask = frames::mask(stream, index as u64);
        let event = match direction {
            Direction::Sent => {
                EventKind::RequestBody(part(frames::frame(opcode, &message.payload, Some(mask))))
            }
            Direction::Received => {
                EventKind::ResponseBody(part(frames::frame(opcode, &message.payload, None)))
            }
        };
        context.push(last_ns, stream, event);
    }
    last_ns
}

fn whole(bytes: &[u8]) -> Body<'static> {
    Body {
        end_stream: true,
        ..part(bytes.to_vec())
    }
}

fn part(bytes: Vec<u8>) -> Body<'static> {
    Body {
        bytes: Cow::Owned(bytes),
        ..Body::default()
    }
}
