//! Makes events of a buffered trace: the whole exchange, written when its stream ended.

use super::super::access_log::AccessLog;
use super::super::event::{CloseReason, EventKind, Headers, Trailers, Upstream};
use super::super::import::{Context, Opening, close};
use super::wire::{self, Buffered, HeaderValue};
use super::{log_entry, opening};

/// Makes the events of one trace. In which order the two directions of an upgraded stream came isn't recorded: the
/// client's bytes are put before the upstream's.
pub(super) fn convert(trace: Buffered<'_>, log: &mut AccessLog, context: &mut Context) {
    let Some(request) = trace.request.filter(|request| !request.headers.is_empty()) else {
        context.statistics.skip("traces without a request");
        return;
    };
    let stream = context.new_id();
    let request_time = request.headers_received_time.map(|time| time.0);
    let mut headers = Headers {
        fields: wire::fields(request.headers),
        end_stream: false,
        ..Headers::default()
    };
    let log = log_entry(log, &headers, context);
    let source = trace
        .downstream_connection
        .as_ref()
        .and_then(|connection| connection.remote_address.as_ref()?.to_text());
    let destination = trace
        .downstream_connection
        .as_ref()
        .and_then(|connection| connection.local_address.as_ref()?.to_text());
    let upstream = trace
        .upstream_connection
        .and_then(|connection| connection.remote_address?.to_text())
        .or_else(|| log.upstream.clone());
    let opening = Opening {
        upstream: upstream.clone(),
        ..opening(&log, source, destination)
    };
    let open = context.open(&headers, opening);
    let begun_ns = request_time
        .or(log.start_ns)
        .unwrap_or_else(|| context.tick());
    context.push(begun_ns, stream, EventKind::Open(Box::new(open)));

    let response = trace
        .response
        .filter(|response| !response.headers.is_empty());
    let is_upgraded = response
        .as_ref()
        .is_some_and(|response| is_upgrade(&response.headers));
    let request_body = request.body;
    let request_trailers = trailers(request.trailers);
    // The request of an upgraded stream goes on after the response's headers.
    let mut upgraded_body = None;
    headers.end_stream = request_body.is_none() && request_trailers.is_none() && !is_upgraded;
    context.push(begun_ns, stream, EventKind::RequestHeaders(headers));
    if let Some(body) = request_body {
        let body = body.into_body(request_trailers.is_none() && !is_upgraded);
        if is_upgraded {
            upgraded_body = Some(body);
        } else {
            context.push(begun_ns, stream, EventKind::RequestBody(body));
        }
    }
    if let Some(trailers) = request_trailers {
        context.push(begun_ns, stream, EventKind::RequestTrailers(trailers));
    }

    let answered_ns = response
        .as_ref()
        .and_then(|response| response.headers_received_time)
        .map(|time| time.0)
        .or_else(|| log.answered_ns())
        .or_else(|| log.end_ns())
        .unwrap_or(begun_ns)
        .max(begun_ns);
    // A trace that comes from a running Envoy arrives when its stream has ended.
    let ended_ns = log
        .end_ns()
        .or(context.arrived_ns)
        .unwrap_or(answered_ns)
        .max(answered_ns);
    if let Some(address) = upstream {
        let upstream = Upstream {
            address: address.into(),
            attempts: log.attempts,
        };
        context.push(answered_ns, stream, EventKind::Upstream(upstream));
    }
    let close = close(&log, response.is_some());
    // What broke off has no end, though the trace looks complete.
    let is_whole = close.reason == CloseReason::Complete && !is_upgraded;
    if let Some(response) = response {
        let trailers = trailers(response.trailers);
        let end_stream = response.body.is_none() && trailers.is_none() && is_whole;
        let headers = Headers {
            fields: wire::fields(response.headers),
            end_stream,
            details: log.local_reply().map(|details| details.to_owned().into()),
        };
        context.push(answered_ns, stream, EventKind::ResponseHeaders(headers));
        if let Some(body) = upgraded_body {
            context.push(answered_ns, stream, EventKind::RequestBody(body));
        }
        if let Some(body) = response.body {
            let body = body.into_body(trailers.is_none() && is_whole);
            context.push(ended_ns, stream, EventKind::ResponseBody(body));
        }
        if let Some(trailers) = trailers {
            context.push(ended_ns, stream, EventKind::ResponseTrailers(trailers));
        }
    }
    context.push(ended_ns, stream, EventKind::Close(close));
}

fn trailers(values: Vec<HeaderValue<'_>>) -> Option<Trailers<'static>> {
    (!values.is_empty()).then(|| Trailers {
        fields: wire::fields(values),
    })
}

fn is_upgrade(headers: &[HeaderValue<'_>]) -> bool {
    headers.iter().any(|header| header.is(":status", b"101"))
}
