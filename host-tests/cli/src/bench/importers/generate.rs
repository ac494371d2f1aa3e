//! Writes exchanges in every format, as many as it takes.

use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::Serialize;
use serde_json::{Value, json};

use super::Format;
use super::exchange::Exchange;
use crate::recording::{EventKind, Header, RecordingWriter};

/// When the first exchange begins.
const START_NS: u64 = 1_795_000_000_000_000_000;

/// The longest time between an exchange and the next, in nanoseconds: 200 exchanges a second, as a busy worker has.
const GAP_MAX_NS: u64 = 10_000_000;

/// Writes exchanges one after the other in an order made of a seed.
pub(super) struct Generator<'a> {
    exchanges: &'a [Exchange],
    random: ChaCha8Rng,
    clock_ns: u64,
    count: u64,
}

/// Counts what passes.
struct Counting<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl<'a> Generator<'a> {
    pub(super) fn new(exchanges: &'a [Exchange], seed: u64) -> Self {
        Self {
            exchanges,
            random: ChaCha8Rng::seed_from_u64(seed),
            clock_ns: START_NS,
            count: 0,
        }
    }

    /// Writes a file of at least this size.
    pub(super) fn write(
        &mut self,
        format: Format,
        size_bytes: u64,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let mut out = Counting { out, bytes: 0 };
        match format {
            Format::Tidegate => RecordingWriter::new(&mut out, &Header::default())?.finish()?,
            Format::Har => {
                write!(
                    out,
                    "{{\n  \"log\": {{\n    \"version\": \"1.2\",\n    \"creator\": {{\"name\": \"tidegate bench\", \"version\": \"1\"}},\n    \"pages\": [],\n    \"entries\": ["
                )?;
                &mut out
            }
            _ => &mut out,
        };
        let mut is_first = true;
        while out.bytes < size_bytes {
            let Some((exchange, begun_ns)) = self.next() else {
                break;
            };
            let number = self.count;
            match format {
                Format::Tidegate => tidegate(exchange, begun_ns, number, &mut out)?,
                Format::TapBuffered => json_line(&mut out, &tap_buffered(exchange, begun_ns))?,
                Format::TapStreamed => {
                    for segment in tap_streamed(exchange, number) {
                        json_line(&mut out, &segment)?;
                    }
                }
                Format::Har => {
                    out.write_all(if is_first { b"\n" } else { b",\n" })?;
                    serde_json::to_writer_pretty(&mut out, &har(exchange, begun_ns))?;
                }
                Format::AccessLog => json_line(&mut out, &log(exchange, begun_ns, number))?,
                Format::Goreplay => goreplay(exchange, begun_ns, number, &mut out)?,
            }
            is_first = false;
        }
        if format == Format::Har {
            write!(out, "\n    ]\n  }}\n}}\n")?;
        }
        Ok(())
    }

    fn next(&mut self) -> Option<(&'a Exchange, u64)> {
        let place = self.random.next_u64() % (self.exchanges.len().max(1) as u64);
        let exchange = self.exchanges.get(usize::try_from(place).ok()?)?;
        let begun_ns = self.clock_ns;
        // To the microsecond, as everybody writes.
        let gap_ns = self.random.next_u64() % GAP_MAX_NS / 1_000 * 1_000;
        self.clock_ns = begun_ns + exchange.ended_ns + gap_ns + 1_000;
        self.count += 1;
        Some((exchange, begun_ns))
    }
}

fn json_line(out: &mut impl Write, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    Ok(out.write_all(b"\n")?)
}

fn time(nanoseconds: u64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds))
        .map(|time| time.to_string())
        .unwrap_or_default()
}

fn tidegate(
    exchange: &Exchange,
    begun_ns: u64,
    number: u64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let first_ns = exchange.events.first().map_or(0, |event| event.time_ns);
    for event in &exchange.events {
        let mut event = event.clone();
        event.time_ns = begun_ns + (event.time_ns - first_ns);
        event.stream = number;
        RecordingWriter::headless(&mut *out).write(&event)?;
    }
    Ok(())
}

fn tap_headers(fields: &[(String, String)]) -> Value {
    fields
        .iter()
        .map(|(key, value)| json!({"key": key, "value": value, "raw_value": ""}))
        .collect()
}

fn tap_body(bytes: &[u8]) -> Value {
    json!({"truncated": false, "as_bytes": STANDARD.encode(bytes)})
}

fn tap_buffered(exchange: &Exchange, begun_ns: u64) -> Value {
    let message = |fields: &[(String, String)], body: &[u8], at_ns: u64| {
        let mut message = json!({
            "headers": tap_headers(fields), "trailers": [], "headers_received_time": time(at_ns),
        });
        if !body.is_empty()
            && let Some(message) = message.as_object_mut()
        {
            message.insert("body".to_owned(), tap_body(body));
        }
        message
    };
    let address = |address: &str| {
        let (ip, port) = address.rsplit_once(':').unwrap_or(("127.0.0.1", "1"));
        let port: u16 = port.parse().unwrap_or(1);
        json!({"socket_address": {
            "protocol": "TCP", "address": ip, "resolver_name": "", "ipv4_compat": false, "port_value": port,
        }})
    };
    let mut trace = json!({
        "request": message(&exchange.request, &exchange.request_body, begun_ns),
        "downstream_connection": {
            "local_address": address(&exchange.destination), "remote_address": address(&exchange.source),
        },
        "upstream_connection": {"remote_address": address(&exchange.upstream)},
    });
    if !exchange.response.is_empty()
        && let Some(trace) = trace.as_object_mut()
    {
        let answered_ns = begun_ns + exchange.answered_ns;
        let response = message(&exchange.response, &exchange.response_body, answered_ns);
        trace.insert("response".to_owned(), response);
    }
    json!({"http_buffered_trace": trace})
}

fn tap_streamed(exchange: &Exchange, number: u64) -> Vec<Value> {
    let segment = |name: &str, value: Value| {
        let mut segment = json!({"trace_id": number.to_string()});
        if let Some(segment) = segment.as_object_mut() {
            segment.insert(name.to_owned(), value);
        }
        json!({"http_streamed_trace_segment": segment})
    };
    let headers = |fields: &[(String, String)]| json!({"headers": tap_headers(fields)});
    let mut segments = vec![segment("request_headers", headers(&exchange.request))];
    let parts = exchange
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::RequestBody(body) => {
                Some(segment("request_body_chunk", tap_body(&body.bytes)))
            }
            EventKind::ResponseHeaders(_) => {
                Some(segment("response_headers", headers(&exchange.response)))
            }
            EventKind::ResponseBody(body) => {
                Some(segment("response_body_chunk", tap_body(&body.bytes)))
            }
            _ => None,
        });
    segments.extend(parts);
    segments
}

fn har(exchange: &Exchange, begun_ns: u64) -> Value {
    let headers = |fields: &[(String, String)]| -> Value {
        fields
            .iter()
            .map(|(name, value)| json!({"name": name, "value": value}))
            .collect()
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "durations are far below 2^52 ns"
    )]
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    let is_websocket = exchange.status() == 101;
    let scheme = if is_websocket { "ws" } else { "http" };
    let url = format!(
        "{scheme}://{}{}",
        exchange.requested(":authority"),
        exchange.requested(":path")
    );
    let mut entry = json!({
        "_initiator": {"type": "script", "stack": {"callFrames": [
            {"functionName": "load", "scriptId": "7", "url": url, "lineNumber": 10, "columnNumber": 20},
        ]}},
        "_priority": "High",
        "_resourceType": if is_websocket { "websocket" } else { "fetch" },
        "cache": {},
        "connection": exchange.connection.to_string(),
        "pageref": "page_1",
        "request": {
            "method": exchange.requested(":method"), "url": url, "httpVersion": "http/1.1",
            "headers": headers(&exchange.request), "queryString": [], "cookies": [], "headersSize": -1,
            "bodySize": exchange.request_body.len(),
        },
        "response": {
            "status": exchange.status(), "statusText": "", "httpVersion": "http/1.1",
            "headers": headers(&exchange.response), "cookies": [],
            "content": {
                "size": exchange.response_body.len(), "mimeType": "x-unknown", "encoding": "base64",
                "text": if is_websocket { String::new() } else { STANDARD.encode(&exchange.response_body) },
            },
            "redirectURL": "", "headersSize": -1, "bodySize": -1, "_transferSize": 0, "_error": null,
        },
        "serverIPAddress": "127.0.0.1",
        "startedDateTime": time(begun_ns),
        "time": ms(exchange.ended_ns),
        "timings": {
            "blocked": -1, "dns": -1, "ssl": -1, "connect": -1, "send": 0, "wait": ms(exchange.answered_ns),
            "receive": ms(exchange.ended_ns - exchange.answered_ns), "_blocked_queueing": -1,
        },
    });
    let Some(object) = entry.as_object_mut() else {
        return entry;
    };
    if is_websocket {
        let message = |kind: &str, bytes: &[u8]| {
            #[expect(
                clippy::cast_precision_loss,
                reason = "a browser has no more digits either"
            )]
            let seconds = (begun_ns + exchange.answered_ns) as f64 / 1e9;
            json!({"type": kind, "time": seconds, "opcode": 2, "data": STANDARD.encode(bytes)})
        };
        let messages = exchange
            .request_body
            .chunks(64)
            .map(|part| message("send", part));
        let answers = exchange
            .response_body
            .chunks(64)
            .map(|part| message("receive", part));
        object.insert(
            "_webSocketMessages".to_owned(),
            messages.chain(answers).collect(),
        );
    } else if !exchange.request_body.is_empty()
        && let Some(request) = object.get_mut("request").and_then(Value::as_object_mut)
    {
        let text = String::from_utf8_lossy(&exchange.request_body);
        request.insert("postData".to_owned(), json!({"mimeType": "", "text": text}));
    }
    entry
}

fn log(exchange: &Exchange, begun_ns: u64, number: u64) -> Value {
    json!({
        "authority": exchange.requested(":authority"), "bytes_received": exchange.request_body.len(),
        "bytes_sent": exchange.response_body.len(), "connection_id": exchange.connection,
        "downstream_local_address": exchange.destination, "downstream_remote_address": exchange.source,
        "duration_ms": exchange.ended_ns / 1_000_000, "method": exchange.requested(":method"),
        "path": exchange.requested(":path"), "protocol": "HTTP/1.1", "request_duration_ms": 0,
        "request_id": format!("69ef22e3-324c-4189-990c-{number:012x}"), "response_code": exchange.status(),
        "response_code_details": "via_upstream", "response_duration_ms": exchange.answered_ns / 1_000_000,
        "response_flags": "-", "route_name": "echo", "start_time": time(begun_ns), "upstream_cluster": "echo",
        "upstream_host": exchange.upstream, "upstream_request_attempt_count": 1,
    })
}

fn goreplay(
    exchange: &Exchange,
    begun_ns: u64,
    number: u64,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    const SEPARATOR: &str = "\n🐵🙈🙉\n";
    let fields = |out: &mut dyn Write, fields: &[(String, String)], body: &[u8]| {
        let is_framing = |name: &str| {
            name.starts_with(':') || matches!(name, "content-length" | "transfer-encoding")
        };
        for (name, value) in fields.iter().filter(|(name, _)| !is_framing(name)) {
            write!(out, "{name}: {value}\r\n")?;
        }
        write!(out, "content-length: {}\r\n\r\n", body.len())?;
        out.write_all(body)
    };
    // Nobody captures upgraded streams this way.
    if exchange.status() == 101 {
        return Ok(());
    }
    write!(
        out,
        "1 {number:024x} {begun_ns} -1\n{} {} HTTP/1.1\r\nhost: {}\r\n",
        exchange.requested(":method"),
        exchange.requested(":path"),
        exchange.requested(":authority")
    )?;
    fields(out, &exchange.request, &exchange.request_body)?;
    write!(out, "{SEPARATOR}")?;
    if exchange.status() != 0 {
        let answered_ns = begun_ns + exchange.answered_ns;
        let latency_ns = exchange.ended_ns - exchange.answered_ns;
        write!(
            out,
            "2 {number:024x} {answered_ns} {latency_ns}\nHTTP/1.1 {} \r\n",
            exchange.status()
        )?;
        fields(out, &exchange.response, &exchange.response_body)?;
        write!(out, "{SEPARATOR}")?;
    }
    Ok(())
}
