//! WebSockets through the loop.

use super::support::run;

fn sockets(endpoint: &str) -> (Vec<String>, Option<tidegate_model::report::Socket>) {
    let ran = run(&format!(
        "traffic:
  - requests:
      list:
        - {{ request: {{ path: /ws, websocket: {{ count: 5, every: 100ms, bytes: 200 }} }} }}
clusters: [{{ name: app, endpoints: [{{ address: '10.0.0.1:80', latency: {{ constant: 10ms }}, {endpoint} }}] }}]"
    ));
    let socket = ran.rows.first().and_then(|row| row.socket.clone());
    (ran.lines(), socket)
}

/// Envoy says so of every WebSocket that its endpoint closes, also after a clean handshake of Closes.
const CLOSED: &str =
    "0 /ws 101 [1] UC upstream_reset_after_response_started{connection_termination} 610";

#[test]
fn every_message_comes_back_and_the_socket_is_closed_cleanly() {
    let (lines, socket) = sockets("");
    // Five messages and the Close, 100 ms apart, after the 101.
    assert_eq!(lines, [CLOSED]);
    let socket = socket.unwrap();
    assert_eq!((socket.sent, socket.received), (5, 5));
    assert_eq!(socket.close_code, Some(1000));
}

#[test]
fn socket_that_is_refused_is_an_answer_like_any_other() {
    let (lines, socket) = sockets("sockets: refuse, answer: { status: 403 }");
    assert_eq!(lines, ["0 /ws 403 [1] - via_upstream 10"]);
    assert_eq!(socket, Some(Default::default()));
}

#[test]
fn socket_is_cut_when_its_endpoint_dies_and_lives_on_when_it_leaves() {
    let (lines, socket) = sockets("timeline: [{ from: 250ms, state: refuses }]");
    assert!(lines[0].starts_with("0 /ws 101 [1] "), "{lines:?}");
    let socket = socket.unwrap();
    assert_eq!(
        (socket.sent, socket.received, socket.close_code),
        (2, 2, None)
    );
    let (lines, socket) = sockets("timeline: [{ from: 250ms, state: absent }]");
    assert_eq!(lines, [CLOSED]);
    assert_eq!(socket.unwrap().close_code, Some(1000));
}
