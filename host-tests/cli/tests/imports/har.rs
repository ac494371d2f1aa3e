//! HAR as browsers export it.

use serde_json::{Value, json};
use tidegate_cli::recording::{CloseReason, EventKind, ReadOptions, RecordingReader, SessionKey};

use super::{data, events_of, outline, read, read_text, requested};

/// A document with one entry for a path, changed as the test wants.
fn document(change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut entry = json!({
        "startedDateTime": "2026-11-23T22:30:00.000Z", "time": 20,
        "request": {
            "method": "GET", "url": "https://shop.example/p", "httpVersion": "HTTP/1.1",
            "headers": [{"name": "Host", "value": "shop.example"}],
        },
        "response": {
            "status": 200, "httpVersion": "HTTP/1.1", "headers": [],
            "content": {"size": 2, "text": "ok"},
        },
        "connection": "7", "serverIPAddress": "203.0.113.7",
    });
    change(&mut entry);
    json!({"log": {"version": "1.2", "entries": [entry]}})
        .to_string()
        .into_bytes()
}

fn outline_of(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let (events, _) = read_text(document(change), &ReadOptions::default()).unwrap();
    outline(&events)
}

#[test]
fn an_export_of_chromium_becomes_what_a_proxy_saw() {
    let (events, statistics) = read("chromium.har", &ReadOptions::default());
    assert_eq!(
        outline(&events),
        [
            "0 #1 open 203.0.113.7:443 HTTP/2",
            "0 #1 request_headers GET /cart?page=2&access_token=t0ken-in-the-query end",
            "20 #1 response_headers 200",
            "22 #1 response_body 21 end",
            "22 #1 close Complete",
            "62 #2 open 203.0.113.7:443 HTTP/1.1",
            "62 #2 request_headers POST /api/login",
            "62 #2 request_body 43 end",
            "70 #2 response_headers 200",
            "72 #2 response_body 11 end",
            "72 #2 close Complete",
            "112 #3 open 203.0.113.7:443 HTTP/2",
            "112 #3 request_headers GET /logo.png end",
            "120 #3 response_headers 200",
            "122 #3 response_body 8 end",
            "122 #3 close Complete",
            "190 #4 open 203.0.113.7:443",
            "190 #4 request_headers GET /search?q=te end",
            "190 #4 close ClientReset",
            "213 #5 open 203.0.113.7:443 HTTP/1.1",
            "213 #5 request_headers GET /live",
            "219 #5 response_headers 101",
            "385 #5 request_body 27",
            "447 #5 response_body 14",
            "510 #5 response_body 6",
            "862 #6 open 203.0.113.7:443 HTTP/2",
            "862 #6 request_headers GET /api/cart end",
            "870 #6 response_headers 304 end",
            "872 #6 close Complete",
            "962 #7 open 203.0.113.7:443 HTTP/2",
            "962 #7 request_headers GET /video end",
            "970 #7 response_headers 206 end",
            "1860 #7 close Complete got 1048576",
            "2760 #5 request_body 148",
            "5210 #5 close Complete",
        ]
    );
    let skipped: Vec<(&str, u64)> = statistics
        .skipped
        .iter()
        .map(|(reason, count)| (*reason, *count))
        .collect();
    assert_eq!(
        skipped,
        [
            (
                "entries of other schemes than HTTP and WebSocket, as data: and chrome-extension:",
                2
            ),
            ("entries that a service worker answered", 1),
            ("entries that the browser's cache answered", 1),
            (
                "entries that were blocked or failed before they were sent",
                1
            ),
            ("messages of WebSockets that are errors", 1),
        ]
    );
    assert_eq!(statistics.late_events, 0);
}

#[test]
fn headers_are_those_that_a_filter_sees() {
    let (events, _) = read("chromium.har", &ReadOptions::default());
    let names: Vec<Vec<String>> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::RequestHeaders(headers) => Some(headers),
            _ => None,
        })
        .take(2)
        .map(|headers| {
            let names = headers.fields.iter();
            names
                .map(|(name, _)| String::from_utf8(name.to_vec()).unwrap())
                .collect()
        })
        .collect();
    // The first has pseudo-headers of its own, the second `Host` and `Connection`.
    let pseudo = [":authority", ":path", ":method", ":scheme"];
    assert_eq!(
        names[0],
        [&pseudo[..], &["accept", "cookie", "user-agent"]].concat()
    );
    assert_eq!(
        names[1],
        [&pseudo[..], &["content-type", "authorization", "cookie"]].concat()
    );
    assert_eq!(
        requested(&events, "/live", "upgrade").as_deref(),
        Some("websocket")
    );
    // Two cookies that Chromium joined by a line end.
    let cookies = events.iter().find_map(|event| match &event.kind {
        EventKind::ResponseHeaders(headers) => Some(
            headers
                .fields
                .iter()
                .filter(|(name, _)| name.as_ref() == b"set-cookie")
                .count(),
        ),
        _ => None,
    });
    assert_eq!(cookies, Some(2));
}

#[test]
fn messages_become_frames_of_which_the_clients_are_masked() {
    let (events, _) = read("chromium.har", &ReadOptions::default());
    let mut sent = Vec::new();
    let mut received = Vec::new();
    for event in &events {
        match &event.kind {
            EventKind::RequestBody(body) if event.stream == 5 => sent.push(body.bytes.to_vec()),
            EventKind::ResponseBody(body) if event.stream == 5 => {
                received.push(body.bytes.to_vec())
            }
            _ => {}
        }
    }
    let unmask = |frame: &[u8], header: usize| -> Vec<u8> {
        let mask = &frame[header..header + 4];
        frame[header + 4..]
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect()
    };
    assert_eq!(sent[0][..2], [0x81, 0x80 | 21]);
    assert_eq!(unmask(&sent[0], 2), b"hello, s3cr3t-m3ssage");
    assert_eq!(sent[1][..4], [0x81, 0x80 | 126, 0, 140]);
    assert_eq!(unmask(&sent[1], 4), "é".repeat(70).as_bytes());
    // In the order of time, which is not that of the export.
    assert_eq!(received[0], b"\x81\x0cw3lcome-back");
    assert_eq!(received[1], [0x82, 4, 0, 1, 2, 255]);
    assert_eq!(
        read("chromium.har", &ReadOptions::default()).0,
        events,
        "masks are the same each time"
    );
}

#[test]
fn sessions_are_named_by_the_same_keys_as_those_of_taps() {
    let options = ReadOptions {
        session: SessionKey::Cookie("sid".to_owned()),
        ..ReadOptions::default()
    };
    let (events, _) = read("chromium.har", &options);
    let sessions: Vec<Option<&str>> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Open(open) => Some(open.session.as_deref()),
            _ => None,
        })
        .collect();
    let ann = Some("s3cr3t-session-of-ann");
    assert_eq!(sessions, [ann, ann, None, None, ann, None, None]);
}

#[test]
fn what_other_exporters_leave_out_is_no_mistake() {
    let expected = [
        "0 #1 open 203.0.113.7:443 HTTP/1.1",
        "0 #1 request_headers GET /p end",
        "20 #1 response_headers 200",
        "20 #1 response_body 2 end",
        "20 #1 close Complete",
    ];
    assert_eq!(outline_of(|_| {}), expected);
    // Timings that aren't known, numbers for names, empty lists that are null.
    let odd = outline_of(|entry| {
        entry["timings"] = json!({"send": -1, "wait": -1, "receive": -1});
        entry["connection"] = json!(7);
        entry["request"]["cookies"] = Value::Null;
        entry["request"]["bodySize"] = json!(-1);
        entry["cache"] = Value::Null;
        entry["_unknown"] = json!([{"log": {"entries": []}}]);
    });
    assert_eq!(odd[2], "0 #1 response_headers 200");
    assert_eq!(odd[4], "20 #1 close Complete");
    // No response at all: an exporter that was stopped. The request was sent: it has a connection.
    let none = outline_of(|entry| drop(entry.as_object_mut().unwrap().remove("response")));
    assert_eq!(none[2], "20 #1 close ClientReset");
}

#[test]
fn a_websocket_over_http_2_is_an_upgrade_to_a_filter() {
    let lines = outline_of(|entry| {
        entry["request"]["method"] = json!("CONNECT");
        entry["request"]["url"] = json!("wss://shop.example/live");
        entry["_webSocketMessages"] =
            json!([{"type": "send", "time": 1_795_473_000.5, "opcode": 1, "data": "x"}]);
    });
    assert_eq!(lines[1], "0 #1 request_headers GET /live");
    assert_eq!(lines[2], "20 #1 response_headers 101");
    assert_eq!(lines[3], "500 #1 request_body 7");
}

#[test]
fn a_handshake_is_over_when_the_first_message_comes() {
    // As Chromium 156 writes it: `wait` lasts until after the first messages.
    let lines = outline_of(|entry| {
        entry["request"]["url"] = json!("ws://shop.example/live");
        entry["response"]["status"] = json!(101);
        entry["time"] = json!(46.3);
        entry["timings"] = json!({"send": 0, "wait": 46.3, "receive": 0});
        entry["_webSocketMessages"] = json!([
            {"type": "receive", "time": 1_795_473_000.031, "opcode": 1, "data": "a"},
            {"type": "send", "time": 1_795_473_000.008, "opcode": 1, "data": "b"},
        ]);
    });
    assert_eq!(
        lines[2..],
        [
            "8 #1 response_headers 101",
            "8 #1 request_body 7",
            "31 #1 response_body 3",
            "46 #1 close Complete"
        ]
    );
}

#[test]
fn cookies_are_taken_from_their_list_where_the_header_is_missing() {
    let text = document(|entry| {
        entry["request"]["cookies"] =
            json!([{"name": "a", "value": "1"}, {"name": "b", "value": "2"}]);
    });
    let (events, _) = read_text(text, &ReadOptions::default()).unwrap();
    assert_eq!(
        requested(&events, "/p", "cookie").as_deref(),
        Some("a=1; b=2")
    );
}

#[test]
fn the_port_that_firefox_writes_for_a_connection_is_none() {
    let connection = |name: &str| {
        let text = document(|entry| entry["connection"] = json!(name));
        let (events, _) = read_text(text, &ReadOptions::default()).unwrap();
        let EventKind::Open(open) = &events[0].kind else {
            panic!("a stream begins with `open`");
        };
        open.connection
    };
    assert_eq!(connection("443"), None);
    assert_eq!(connection("444"), Some(444));
    assert_ne!(connection("pool-a"), connection("pool-b"));
}

#[test]
fn answers_that_break_off_have_no_end() {
    for (error, reason) in [
        ("net::ERR_ABORTED", CloseReason::ClientReset),
        ("net::ERR_CONNECTION_RESET", CloseReason::UpstreamReset),
    ] {
        let lines = outline_of(|entry| entry["response"]["_error"] = json!(error));
        assert_eq!(lines[3], "20 #1 response_body 2");
        assert_eq!(lines[4], format!("20 #1 close {reason:?}"));
    }
}

#[test]
fn the_documents_of_several_browsers_are_merged_by_time() {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = vec![data("chromium.har")];
    let second = directory.path().join("second.har");
    std::fs::write(&second, document(|entry| entry["connection"] = json!("31"))).unwrap();
    paths.push(second);
    let reader = RecordingReader::open(&paths, &ReadOptions::default()).unwrap();
    assert_eq!(reader.source(), "har");
    let (events, statistics) = events_of(reader).unwrap();
    assert_eq!(statistics.streams, 8);
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    let connections: std::collections::BTreeSet<u64> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Open(open) => open.connection,
            _ => None,
        })
        .collect();
    assert_eq!(
        connections.len(),
        4,
        "connections of two browsers stay apart"
    );
}
