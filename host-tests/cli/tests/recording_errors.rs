//! What is said about inputs that are wrong: the whole text, as a terminal shows it.
//!
//! The expected text is `recording_errors.txt`; `BLESS=1` writes it again.

#![expect(clippy::panic, reason = "a test that can't go on should say where")]

use std::fmt::Write as _;
use std::path::Path;

use tidegate_cli::recording::{InputFormat, ReadOptions, RecordingError, RecordingReader};

const HEADER: &str = r#"{"format":{"name":"tidegate-recording","major":1,"minor":0},"source":"test","producer":"test"}"#;
const OPEN: &str = r#"{"t":1,"stream":1,"open":{}}"#;
const REQUEST: &str =
    r#"{"t":2,"stream":1,"request_headers":{"headers":[[":path","/"]],"end_stream":true}}"#;

/// A name, the lines and what they are.
struct Case {
    name: &'static str,
    lines: Vec<String>,
    options: ReadOptions,
}

fn ours(name: &'static str, lines: &[&str]) -> Case {
    let lines = std::iter::once(&HEADER)
        .chain(lines)
        .map(|line| (*line).to_owned())
        .collect();
    Case {
        name,
        lines,
        options: ReadOptions::default(),
    }
}

fn other(name: &'static str, lines: &[&str]) -> Case {
    Case {
        name,
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        options: ReadOptions::default(),
    }
}

fn cases() -> Vec<Case> {
    let newer = HEADER.replace("\"major\":1", "\"major\":2");
    let of_another_name = HEADER.replace("tidegate-recording", "tidegate-expectation");
    let long = format!(
        r#"{{"t":1,"stream":1,"open":{{"route":"{}","session":7}}}}"#,
        "x".repeat(500)
    );
    let mut limited = ours("entry_longer_than_the_limit", &[OPEN, &long]);
    limited.options.max_entry_bytes = 200;
    let mut named = other(
        "taps_that_are_ours_by_name_only",
        &["{\"http_buffered_trace\":{}}"],
    );
    named.options.from = Some(InputFormat::Tidegate);
    let mut long_in_har = other("har_entry_longer_than_the_limit", &[&har(&[ENTRY])]);
    long_in_har.options.max_entry_bytes = 100;
    vec![
        other("empty_file", &[]),
        other("blank_file", &["", "  "]),
        other("no_json", &["GET / HTTP/1.1", "host: example.com"]),
        other("another_json", &[r#"{"log":{"version":"1.2"}}"#]),
        other("list_of_traces", &[r#"[{"http_buffered_trace":{}}]"#]),
        other("newer_major_version", &[&newer]),
        other("another_format_of_ours", &[&of_another_name]),
        other(
            "unknown_field_in_the_header",
            &[&HEADER.replace("\"source\"", "\"sources\"")],
        ),
        ours(
            "line_that_breaks_off",
            &[OPEN, r#"{"t":2,"stream":1,"request_he"#],
        ),
        ours("line_that_is_no_object", &["[]"]),
        ours(
            "unknown_kind_of_event",
            &[OPEN, r#"{"t":2,"stream":1,"request_header":{}}"#],
        ),
        ours("no_kind_of_event", &[r#"{"t":2,"stream":1}"#]),
        ours(
            "two_kinds_of_event",
            &[r#"{"t":1,"stream":1,"open":{},"close":{}}"#],
        ),
        ours("missing_time", &[r#"{"stream":1,"open":{}}"#]),
        ours("negative_time", &[r#"{"t":-1,"stream":1,"open":{}}"#]),
        ours("time_as_a_string", &[r#"{"t":"1","stream":1,"open":{}}"#]),
        ours(
            "time_with_a_fraction",
            &[r#"{"t":1.5,"stream":1,"open":{}}"#],
        ),
        ours(
            "header_value_that_is_a_number",
            &[
                OPEN,
                r#"{"t":1,"stream":1,"request_headers":{"headers":[[":path","/"],["x",5]],"end_stream":true}}"#,
            ],
        ),
        ours(
            "header_without_a_value",
            &[
                OPEN,
                r#"{"t":1,"stream":1,"request_headers":{"headers":[[":path"]],"end_stream":true}}"#,
            ],
        ),
        ours(
            "header_value_that_is_no_base64",
            &[
                OPEN,
                r#"{"t":1,"stream":1,"request_headers":{"headers":[["x",{"base64":"&"}]],"end_stream":true}}"#,
            ],
        ),
        ours(
            "body_in_two_forms",
            &[
                OPEN,
                REQUEST,
                r#"{"t":2,"stream":1,"request_body":{"text":"a","base64":"YQ=="}}"#,
            ],
        ),
        ours(
            "unknown_reason_of_an_end",
            &[OPEN, r#"{"t":2,"stream":1,"close":{"reason":"timeout"}}"#],
        ),
        ours("mistake_far_into_a_long_line", &[&long]),
        ours(
            "time_that_goes_back",
            &[OPEN, r#"{"t":0,"stream":2,"open":{}}"#],
        ),
        ours("stream_opened_twice", &[OPEN, OPEN]),
        ours("event_of_a_stream_that_is_not_open", &[REQUEST]),
        ours(
            "event_of_a_stream_that_was_closed",
            &[
                OPEN,
                r#"{"t":2,"stream":1,"close":{}}"#,
                r#"{"t":2,"stream":1,"close":{}}"#,
            ],
        ),
        ours(
            "response_before_the_request",
            &[
                OPEN,
                r#"{"t":2,"stream":1,"response_headers":{"headers":[],"end_stream":true}}"#,
            ],
        ),
        ours(
            "body_after_the_end",
            &[
                OPEN,
                REQUEST,
                r#"{"t":3,"stream":1,"request_body":{"text":"a"}}"#,
            ],
        ),
        ours("request_twice", &[OPEN, REQUEST, REQUEST]),
        other(
            "tap_with_a_wrong_type",
            &[
                r#"{"#,
                r#" "http_buffered_trace": {"#,
                r#"  "request": {"#,
                r#"   "headers": [{"key": ":path", "value": 5}]"#,
                r#"  }"#,
                r#" }"#,
                r#"}"#,
            ],
        ),
        other(
            "tap_with_a_wrong_time",
            &[
                r#"{"http_buffered_trace":{"request":{"headers":[{"key":"a"}],"headers_received_time":"yesterday"}}}"#,
            ],
        ),
        other(
            "tap_that_breaks_off",
            &[
                r#"{"http_buffered_trace":{"#,
                r#" "request":{"headers":[{"key":"a","value":"b"}]}},"#,
                r#" "resp"#,
            ],
        ),
        other(
            "tap_whose_second_trace_is_another",
            &[
                r#"{"http_buffered_trace":{"request":{"headers":[{"key":"a"}]}}}"#,
                r#"  {"grpc_trace":{}}"#,
            ],
        ),
        other(
            "tap_with_something_between_traces",
            &[
                r#"{"http_buffered_trace":{"request":{"headers":[{"key":"a"}]}}}, {"http_buffered_trace":{}}"#,
            ],
        ),
        limited,
        named,
        other("har_without_entries", &[r#"{"log":{"version":"1.2","entries":{}}}"#]),
        other(
            "har_with_a_wrong_type_in_an_entry",
            &[&har(&[ENTRY, &ENTRY.replace("\"GET\"", "5")])],
        ),
        other(
            "har_with_a_wrong_time",
            &[&har(&[&ENTRY.replace("2026-11-23T22:30:00Z", "23.11.2026")])],
        ),
        other(
            "har_without_a_request",
            &[&har(&[r#"{"startedDateTime":"2026-11-23T22:30:00Z"}"#])],
        ),
        other(
            "har_with_a_body_that_is_no_base64",
            &[&har(&[&ENTRY.replace("\"ok\"", "\"ok\",\"encoding\":\"base64\"")])],
        ),
        other(
            "har_with_a_body_in_another_encoding",
            &[&har(&[&ENTRY.replace("\"ok\"", "\"ok\",\"encoding\":\"rot13\"")])],
        ),
        other(
            "har_with_a_binary_message_that_is_no_base64",
            &[&har(&[&ENTRY.replace(
                "\"time\":5",
                r#""time":5,"_webSocketMessages":[{"type":"send","time":1795473000.5,"opcode":2,"data":"&"}]"#,
            )])],
        ),
        other(
            "har_with_a_status_that_is_none",
            &[&har(&[&ENTRY.replace("200", "2000")])],
        ),
        other(
            "har_with_no_comma_between_entries",
            &[&format!(r#"{{"log":{{"entries":[{ENTRY} {ENTRY}]}}}}"#)],
        ),
        other(
            "har_that_breaks_off_between_entries",
            &[&format!(r#"{{"log":{{"entries":[{ENTRY},"#)],
        ),
        other(
            "har_that_breaks_off_in_an_entry",
            &[r#"{"log":{"entries":["#, r#"  {"startedDateTime":"2026-"#],
        ),
        other(
            "har_that_breaks_off_behind_its_entries",
            &[&format!(r#"{{"log":{{"entries":[{ENTRY}]}}"#)],
        ),
        other(
            "har_with_something_behind_it",
            &[&har(&[ENTRY]), "{}"],
        ),
        long_in_har,
        other(
            "log_with_a_status_that_is_no_number",
            &[LINE, &LINE.replace("200", "\"ok\"")],
        ),
        other(
            "log_with_a_wrong_time",
            &[LINE, &LINE.replace("2026-11-23T22:30:00Z", "yesterday")],
        ),
        other(
            "log_with_a_method_that_is_an_object",
            &[LINE, &LINE.replace("\"GET\"", "{}")],
        ),
        other("log_with_a_line_that_breaks_off", &[LINE, r#"{"start_time":"2026"#]),
        other("log_with_a_line_that_is_no_object", &[LINE, "GET / 200"]),
        payloads("capture_with_an_unknown_type", &["1 a 1 -1\nGET / HTTP/1.1\r\n\r\n", "7 b 2 -1\nGET / HTTP/1.1\r\n\r\n"]),
        payloads("capture_without_a_time", &["1 a 1 -1\nGET / HTTP/1.1\r\n\r\n", "1 b\nGET / HTTP/1.1\r\n\r\n"]),
        payloads("capture_with_a_head_that_breaks_off", &["1 a 1 -1\nGET / HTTP/1.1\r\nHost: h"]),
        payloads("capture_with_no_head", &["1 a 1 -1\n\x16\x03\x01\x02 no HTTP"]),
        payloads(
            "capture_with_a_length_that_is_none",
            &["1 a 1 -1\nPOST / HTTP/1.1\r\nContent-Length: many\r\n\r\n"],
        ),
        payloads(
            "capture_with_a_wrong_chunk",
            &["1 a 1 -1\nPOST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n"],
        ),
    ]
}

const ENTRY: &str = r#"{"startedDateTime":"2026-11-23T22:30:00Z","time":5,"connection":"1","request":{"method":"GET","url":"http://h/"},"response":{"status":200,"content":{"text":"ok"}}}"#;

const LINE: &str =
    r#"{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"/","response_code":200}"#;

fn har(entries: &[&str]) -> String {
    format!(r#"{{"log":{{"entries":[{}]}}}}"#, entries.join(","))
}

/// A file of GoReplay.
fn payloads(name: &'static str, payloads: &[&str]) -> Case {
    let lines = payloads
        .iter()
        .map(|payload| format!("{payload}\n🐵🙈🙉"))
        .chain([String::new()]);
    Case {
        name,
        lines: lines.collect(),
        options: ReadOptions::default(),
    }
}

fn error_of(case: &Case) -> RecordingError {
    let text = case.lines.join("\n").into_bytes();
    let read = || {
        let mut reader = RecordingReader::from_reader(
            "traffic.json",
            std::io::Cursor::new(text),
            &case.options,
        )?;
        while reader.next()?.is_some() {}
        Ok::<(), RecordingError>(())
    };
    read()
        .err()
        .unwrap_or_else(|| panic!("`{}` was accepted", case.name))
}

#[test]
fn malformed_inputs_are_refused_with_place_path_and_what_was_expected() {
    let mut actual = String::new();
    for case in cases() {
        let error = error_of(&case);
        writeln!(actual, "## {}\n\n{error}\n", case.name).unwrap();
        for line in error.render(false).trim_end().lines() {
            writeln!(actual, "    {}", line.trim_end()).unwrap();
        }
        actual.push('\n');
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recording_errors.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if actual != expected {
        let diff = similar::TextDiff::from_lines(&expected, &actual);
        panic!(
            "{}\nrun with BLESS=1 if this is intended",
            diff.unified_diff().header("expected", "actual")
        );
    }
}

#[test]
fn a_conversion_that_fails_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.tidegate.jsonl");
    std::fs::write(&output, "what was there before").unwrap();
    let text = format!("{HEADER}\n{OPEN}\n{REQUEST}\n{{\"t\":");
    let mut reader = RecordingReader::from_reader(
        "traffic.json",
        std::io::Cursor::new(text.into_bytes()),
        &ReadOptions::default(),
    )
    .unwrap();
    tidegate_cli::recording::convert(&mut reader, &output, None, None).unwrap_err();
    assert_eq!(
        std::fs::read_to_string(&output).unwrap(),
        "what was there before"
    );
    assert_eq!(
        std::fs::read_dir(directory.path()).unwrap().count(),
        1,
        "temporary files are gone"
    );
}
