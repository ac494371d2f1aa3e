//! Envoy's access log without a tap.

use tidegate_cli::recording::{
    EventKind, InputFormat, ReadOptions, RecordingError, RecordingProblem, RecordingReader,
};

use super::{data, outline, read, read_text, requested};

const LINE: &str = r#"{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"/","response_code":200,"duration":5}"#;

#[test]
fn the_keys_of_istio_are_known() {
    let (events, statistics) = read("istio.jsonl", &ReadOptions::default());
    assert_eq!(
        outline(&events),
        [
            "0 #1 open 10.0.0.9:5126 HTTP/1.1 inbound|8080||",
            "0 #1 request_headers GET /live",
            "4 #1 upstream 10.0.2.7:8080",
            "4 #1 response_headers 101",
            "60400 #2 open 10.0.0.9:5124 HTTP/2 inbound|8080||",
            "60400 #2 request_headers POST /api/login end",
            "60403 #2 upstream 10.0.2.8:8080",
            "60403 #2 response_headers 503 end",
            "60403 #2 close Complete sent 45 got 91",
            "60500 #3 open 10.0.0.9:5123 10.0.1.4:8080 HTTP/1.1 inbound|8080||",
            "60500 #3 request_headers GET /cart?page=2 end",
            "60510 #3 upstream 10.0.2.7:8080",
            "60510 #3 response_headers 200 end",
            "60512 #3 close Complete sent 0 got 1520",
            "60600 #4 open 10.0.0.9:5125 HTTP/1.1 inbound|8080||",
            "60600 #4 request_headers GET /slow end",
            "60630 #4 upstream 10.0.2.7:8080",
            "60630 #4 close ClientReset sent 0 got 0",
            "90000 #1 close Complete sent 220 got 4096",
        ]
    );
    assert_eq!(
        statistics.skipped.get("lines without method and path"),
        Some(&1)
    );
    assert_eq!(
        requested(&events, "/cart?page=2", "user-agent").as_deref(),
        Some("curl/8.5.0")
    );
    // `-` is nothing.
    assert_eq!(requested(&events, "/api/login", "user-agent"), None);
    let details = events.iter().find_map(|event| match &event.kind {
        EventKind::ResponseHeaders(headers) => headers.details.as_deref(),
        _ => None,
    });
    assert_eq!(
        details,
        Some("upstream_reset_before_response_started{connection_failure}")
    );
}

#[test]
fn a_field_map_names_the_keys_of_any_log() {
    let options = ReadOptions {
        fields: Some(data("nested.fields.json")),
        ..ReadOptions::default()
    };
    // It is recognised by the keys of the map.
    let (events, _) = read("nested.jsonl", &options);
    assert_eq!(
        outline(&events),
        [
            "0 #1 open 192.0.2.4:999",
            "0 #1 request_headers GET /orders end",
            "11 #1 response_headers 200 end",
            "11 #1 close Complete got 170",
            "125 #2 open 192.0.2.4:999",
            "125 #2 request_headers PUT /orders/7 end",
            "133 #2 upstream 10.1.1.1:80 attempt 2",
            "133 #2 response_headers 201 end",
            "133 #2 close Complete got 17",
        ]
    );
    assert_eq!(
        requested(&events, "/orders/7", "cookie").as_deref(),
        Some("sid=s3cr3t-session-of-bob")
    );
    let refused = RecordingReader::open(&[data("nested.jsonl")], &ReadOptions::default());
    assert!(matches!(
        refused.unwrap_err().problem(),
        RecordingProblem::UnknownFormat { .. }
    ));
}

#[test]
fn the_first_key_of_a_field_that_has_a_value_counts_wherever_it_stands() {
    for line in [
        r#"{"start_time":1795473000,"x-envoy-origin-path":"/origin","path":"/now","method":"GET"}"#,
        r#"{"start_time":1795473000,"path":"/now","x-envoy-origin-path":"/origin","method":"GET"}"#,
        r#"{"start_time":1795473000,"path":"-","x-envoy-origin-path":"/now","method":"GET"}"#,
    ] {
        let (events, _) = read_text(line, &ReadOptions::default()).unwrap();
        assert_eq!(
            outline(&events)[1],
            "0 #1 request_headers GET /now end",
            "{line}"
        );
    }
}

#[test]
fn the_log_of_a_tap_is_a_recording_of_its_own() {
    let log =
        tidegate_cli::workspace::root().join("host-tests/recordings/round-robin/access-log.jsonl");
    let mut reader = RecordingReader::open(&[log], &ReadOptions::default()).unwrap();
    while reader.next().unwrap().is_some() {}
    let statistics = reader.statistics();
    assert_eq!((statistics.streams, statistics.exchanges), (550, 544));
    assert_eq!((statistics.websockets, statistics.late_events), (18, 0));
    assert_eq!(statistics.body_bytes, 0, "no body is made up");
}

#[test]
fn layout_makes_no_difference() {
    let options = ReadOptions::default();
    let lines = std::fs::read_to_string(data("istio.jsonl")).unwrap();
    let pretty: String = lines
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            serde_json::to_string_pretty(&value).unwrap() + "\n"
        })
        .collect();
    let expected = read("istio.jsonl", &options).0;
    assert_eq!(read_text(pretty, &options).unwrap().0, expected);
    assert_eq!(
        read_text(lines.replace('\n', "\r\n"), &options).unwrap().0,
        expected
    );
}

#[test]
fn a_log_beside_taps_is_refused_for_it_would_count_twice() {
    let folder = tidegate_cli::workspace::root().join("host-tests/recordings/round-robin");
    let error = RecordingReader::open(
        &[
            folder.join("tap-buffered.json"),
            folder.join("access-log.jsonl"),
        ],
        &ReadOptions::default(),
    )
    .unwrap_err();
    assert!(matches!(error.problem(), RecordingProblem::LogBesideTaps));
    let alone = ReadOptions {
        from: Some(InputFormat::AccessLog),
        ..ReadOptions::default()
    };
    assert!(RecordingReader::open(&[folder.join("access-log.jsonl")], &alone).is_ok());
}

#[test]
fn a_field_map_that_is_wrong_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fields.json");
    let open = |map: &str| -> RecordingError {
        std::fs::write(&path, map).unwrap();
        let options = ReadOptions {
            fields: Some(path.clone()),
            ..ReadOptions::default()
        };
        RecordingReader::from_reader("log", std::io::Cursor::new(LINE), &options).unwrap_err()
    };
    let cases = [
        (
            r#"{"pfad":"x"}"#,
            "unknown field `pfad`, expected one of `authority`",
        ),
        (
            r#"{"path":5}"#,
            "$.path: expected a key, or a list of keys, got integer `5`",
        ),
        (
            r#"{"request_headers":["cookie"]}"#,
            "expected an object of headers and their keys, got list",
        ),
        (
            r#"{"path":"a","path":"b"}"#,
            "`path` is named a second time",
        ),
        ("", "the file is empty"),
    ];
    for (map, expected) in cases {
        let error = open(map).to_string();
        assert!(error.contains(expected), "{error}");
    }
}
