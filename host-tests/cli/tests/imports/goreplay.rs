//! Files of GoReplay.

use tidegate_cli::recording::{EventKind, ReadOptions};

use super::{outline, read, read_text, requested};

const SEPARATOR: &str = "\n🐵🙈🙉\n";

/// Puts payloads into a file.
fn file(payloads: &[&str]) -> String {
    payloads
        .iter()
        .map(|payload| format!("{payload}{SEPARATOR}"))
        .collect()
}

#[test]
fn requests_meet_their_answers_whatever_lies_between() {
    let (events, statistics) = read("capture.gor", &ReadOptions::default());
    assert_eq!(
        outline(&events),
        [
            "0 #1 open HTTP/1.1",
            "0 #1 request_headers GET /cart?page=2 end",
            "2 #2 open HTTP/1.1",
            "2 #2 request_headers POST /api/login",
            "2 #2 request_body 14 end",
            "5 #1 response_headers 200",
            "6 #1 response_body 12",
            "6 #1 response_trailers 1",
            "6 #1 close Complete",
            "6 #3 open HTTP/1.1",
            "6 #3 request_headers PUT /upload",
            "6 #3 request_body 13 cut end",
            "6 #3 close Complete",
            "7 #2 response_headers 201",
            "7 #2 response_body 7 cut end",
            "7 #2 close Complete",
            "8 #4 open HTTP/1.0",
            "8 #4 request_headers HEAD / end",
            "8 #4 response_headers 200 end",
            "8 #4 close Complete",
            "9 #5 open HTTP/1.1",
            "9 #5 request_headers GET /abs end",
            "9 #5 close Complete",
        ]
    );
    // One of an answered request, one of a request that isn't there.
    assert_eq!(
        statistics
            .skipped
            .get("answers whose request is missing, or was answered"),
        Some(&2)
    );
    assert_eq!(
        requested(&events, "/abs", ":authority").as_deref(),
        Some("other.example")
    );
    assert_eq!(requested(&events, "/cart?page=2", "connection"), None);
    let body = events.iter().find_map(|event| match &event.kind {
        EventKind::ResponseBody(body) => Some(body.bytes.to_vec()),
        _ => None,
    });
    assert_eq!(
        body.as_deref(),
        Some(b"hello, world".as_slice()),
        "chunks are put together"
    );
}

#[test]
fn a_file_that_breaks_off_is_read_as_far_as_it_goes() {
    let whole = file(&["1 a 1000000 -1\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"]);
    let text = format!("{whole}1 b 2000000 -1\nPOST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf");
    let (events, statistics) = read_text(text, &ReadOptions::default()).unwrap();
    assert_eq!((statistics.streams, statistics.truncated), (2, 1));
    assert_eq!(outline(&events)[5], "1 #2 request_body 4 cut end");
}

#[test]
fn an_answer_that_never_comes_is_not_waited_for_longer_than_the_window() {
    // Far more requests than may be held wait for an answer that comes at the end.
    let mut payloads = Vec::new();
    for index in 0..300_u64 {
        let time_ns = (index + 1) * 1_000_000_000;
        payloads.push(format!(
            "1 r{index} {time_ns} -1\nGET /{index} HTTP/1.1\r\nHost: h\r\n\r\n"
        ));
    }
    for index in [0, 299] {
        payloads.push(format!(
            "2 r{index} 300500000000 0\nHTTP/1.1 204 No Content\r\n\r\n"
        ));
    }
    let payloads: Vec<&str> = payloads.iter().map(String::as_str).collect();
    let (events, statistics) = read_text(file(&payloads), &ReadOptions::default()).unwrap();
    assert_eq!((statistics.streams, statistics.exchanges), (300, 1));
    assert_eq!(statistics.late_events, 0);
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    assert_eq!(
        statistics
            .skipped
            .get("answers whose request is missing, or was answered"),
        Some(&1)
    );
}

#[test]
fn an_identity_that_comes_again_is_another_request() {
    let text = file(&[
        "1 a 1000000 -1\nGET /one HTTP/1.1\r\nHost: h\r\n\r\n",
        "1 a 2000000 -1\nGET /two HTTP/1.1\r\nHost: h\r\n\r\n",
        "2 a 3000000 0\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ]);
    let (events, _) = read_text(text, &ReadOptions::default()).unwrap();
    assert_eq!(
        outline(&events),
        [
            "0 #1 open HTTP/1.1",
            "0 #1 request_headers GET /one end",
            "0 #1 close Complete",
            "1 #2 open HTTP/1.1",
            "1 #2 request_headers GET /two end",
            "2 #2 response_headers 200 end",
            "2 #2 close Complete",
        ]
    );
}

#[test]
fn an_upgrade_goes_on_behind_its_answer() {
    let text = file(&[
        "1 a 1000000 -1\nGET /live HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "2 a 2000000 0\nHTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ]);
    let (events, statistics) = read_text(text, &ReadOptions::default()).unwrap();
    assert_eq!(statistics.websockets, 1);
    assert_eq!(outline(&events)[1], "0 #1 request_headers GET /live");
    assert_eq!(outline(&events)[2], "1 #1 response_headers 101");
}
