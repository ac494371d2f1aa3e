//! Malformed entries that are passed over.

use tidegate_cli::recording::{ReadOptions, Statistics};

use super::{data, read_text};

fn keep_going() -> ReadOptions {
    ReadOptions {
        keep_going: true,
        ..ReadOptions::default()
    }
}

fn statistics_of(text: impl Into<Vec<u8>>, options: &ReadOptions) -> Statistics {
    let (events, statistics) = read_text(text, options).unwrap();
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    statistics
}

fn places(statistics: &Statistics) -> Vec<(u64, u64)> {
    let entries = statistics.malformed.first.iter();
    entries.map(|entry| (entry.line, entry.column)).collect()
}

const HEADER: &str = r#"{"format":{"name":"tidegate-recording","major":1,"minor":0},"source":"test","producer":"test"}"#;

fn stream(number: u64) -> String {
    format!(
        "{{\"t\":{number},\"stream\":{number},\"open\":{{}}}}\n\
         {{\"t\":{number},\"stream\":{number},\"request_headers\":{{\"headers\":[[\":path\",\"/\"]],\"end_stream\":true}}}}\n\
         {{\"t\":{number},\"stream\":{number},\"close\":{{}}}}\n"
    )
}

#[test]
fn lines_of_a_recording_are_passed_over_one_by_one() {
    let text = format!(
        "{HEADER}\n{}{}\n{}{}\n{}",
        stream(1),
        r#"{"t":2,"stream":9,"op"#,
        stream(2),
        r#"{"t":0,"stream":3,"open":{}}"#,
        stream(3)
    );
    assert!(read_text(text.clone(), &ReadOptions::default()).is_err());
    let statistics = statistics_of(text, &keep_going());
    assert_eq!(statistics.streams, 3);
    assert_eq!(statistics.malformed.count, 2);
    assert_eq!(places(&statistics), [(5, 21), (9, 1)]);
}

#[test]
fn a_line_that_was_passed_over_changes_nothing_for_those_behind_it() {
    // A far future in a line that is refused would refuse all that follows; a second `open` would begin the stream anew.
    let far = r#"{"t":99999,"stream":77,"close":{}}"#;
    let twice = r#"{"t":2,"stream":2,"open":{}}"#;
    let lines = stream(2);
    let (open, rest) = lines.split_once('\n').unwrap();
    let text = format!("{HEADER}\n{}{far}\n{open}\n{twice}\n{rest}", stream(1));
    let statistics = statistics_of(text, &keep_going());
    assert_eq!((statistics.streams, statistics.open_streams), (2, 0));
    assert_eq!(statistics.malformed.count, 2);
}

#[test]
fn merged_recordings_go_on_behind_a_mistake_at_the_end_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let paths = [
        write("a.jsonl", format!("{HEADER}\n{}oops\n", stream(1))),
        write("b.jsonl", format!("{HEADER}\n{}", stream(2))),
    ];
    let reader = tidegate_cli::recording::RecordingReader::open(&paths, &keep_going()).unwrap();
    let (_, statistics) = super::events_of(reader).unwrap();
    assert_eq!((statistics.streams, statistics.malformed.count), (2, 1));
}

#[test]
fn lines_of_a_log_are_passed_over_one_by_one() {
    let line = |path: &str| {
        format!(
            r#"{{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"{path}","response_code":200}}"#
        )
    };
    let wrong =
        r#"{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"/2","response_code":"ok"}"#;
    let cut = r#"{"start_time":"2026-11-23T22:30:00Z","method":"GE"#;
    let text = [
        &line("/1"),
        wrong,
        &line("/3"),
        cut,
        &line("/5"),
        "no json",
        &line("/7"),
    ]
    .join("\n");
    let statistics = statistics_of(text.clone(), &keep_going());
    assert_eq!(statistics.streams, 4);
    assert_eq!(places(&statistics), [(2, 84), (4, 49), (6, 2)]);
    // The same where objects have to be cut by their braces.
    let spread = text.replacen("{\"start_time\"", "{\n\"start_time\"", 1);
    let statistics = statistics_of(spread, &keep_going());
    assert_eq!(statistics.streams, 4);
    assert_eq!(statistics.malformed.count, 3);
    // And where the log is joined to taps.
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log.jsonl");
    std::fs::write(&log, text).unwrap();
    let options = ReadOptions {
        access_logs: vec![log],
        ..keep_going()
    };
    let tap = r#"{"http_buffered_trace":{"request":{"headers":[{"key":":path","value":"/"}]}}}"#;
    assert_eq!(statistics_of(tap, &options).malformed.count, 3);
}

#[test]
fn an_entry_that_is_too_long_is_passed_over_and_not_the_one_behind_it() {
    let path = |length: usize| {
        let path = "p".repeat(length);
        format!(r#"{{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"{path}"}}"#)
    };
    let options = ReadOptions {
        max_entry_bytes: 500,
        ..keep_going()
    };
    for length in [600, 5_000, 200_000] {
        let text = format!("{}\n{}\n{}\n", path(1), path(length), path(2));
        let statistics = statistics_of(text, &options);
        assert_eq!(
            (statistics.streams, statistics.malformed.count),
            (2, 1),
            "{length}"
        );
        let message = |length: usize| {
            format!(
                "1 a{length} 1000000 -1\nGET /{} HTTP/1.1\r\n\r\n\n🐵🙈🙉\n",
                "p".repeat(length)
            )
        };
        let text = [message(1), message(length), message(2)].concat();
        let statistics = statistics_of(text, &options);
        assert_eq!(
            (statistics.streams, statistics.malformed.count),
            (2, 1),
            "{length}"
        );
        let trace = |length: usize| {
            let value = "v".repeat(length);
            format!(
                r#"{{"http_buffered_trace":{{"request":{{"headers":[{{"key":"a","value":"{value}"}}]}}}}}}"#
            )
        };
        let text = [trace(1), trace(length), trace(2)].join("\n");
        let statistics = statistics_of(text, &options);
        assert_eq!(
            (statistics.streams, statistics.malformed.count),
            (2, 1),
            "{length}"
        );
    }
}

#[test]
fn traces_are_passed_over_even_when_one_swallows_those_behind_it() {
    let tap = |path: &str| {
        format!(
            "{{\n \"http_buffered_trace\": {{\n  \"request\": {{\"headers\": [{{\"key\": \":path\", \"value\": \"{path}\"}}]}}\n }}\n}}\n"
        )
    };
    let broken = tap("/2").replace("\"/2\"}]}", "\"/2]");
    let text = [
        tap("/1"),
        broken,
        tap("/3"),
        "garbage\n".to_owned(),
        tap("/4"),
    ]
    .concat();
    let statistics = statistics_of(text, &keep_going());
    assert_eq!(statistics.streams, 3);
    assert_eq!(statistics.malformed.count, 2);
}

#[test]
fn entries_of_a_har_are_passed_over_even_when_one_swallows_those_behind_it() {
    let text = std::fs::read_to_string(data("chromium.har")).unwrap();
    let whole = statistics_of(text.clone(), &keep_going());
    assert_eq!((whole.streams, whole.malformed.count), (7, 0));
    // Each time the second of the seven is lost and nothing else.
    for (good, bad) in [
        ("\"method\": \"POST\"", "\"method\": 5"),
        ("\"method\": \"POST\"", "\"method\": \"POST"),
        ("\"method\": \"POST\"", "\"method\": [[[{{{"),
        ("\"method\": \"POST\"", "\"method\": }}}}"),
        (
            "\"startedDateTime\": \"2026-11-23T22:30:00.200Z\"",
            "\"startedDateTime\": \"now\"",
        ),
    ] {
        assert!(text.contains(good));
        let statistics = statistics_of(text.replacen(good, bad, 1), &keep_going());
        assert_eq!(statistics.streams, 6, "{bad}");
        assert!(
            (1..=2).contains(&statistics.malformed.count),
            "{bad}: {:?}",
            statistics.malformed
        );
    }
    // An export that was cut off: all that was whole, and one that was not.
    let half = text.find("/live").unwrap();
    let statistics = statistics_of(text.split_at(half).0, &keep_going());
    assert_eq!((statistics.streams, statistics.malformed.count), (4, 1));
}

#[test]
fn payloads_of_goreplay_are_passed_over_one_by_one() {
    let text = std::fs::read_to_string(data("capture.gor")).unwrap();
    let text = text
        .replacen("1 a1 ", "one a1 ", 1)
        .replacen("HEAD / HTTP/1.0", "HEAD", 1);
    let statistics = statistics_of(text, &keep_going());
    assert_eq!(statistics.streams, 3);
    assert_eq!(statistics.malformed.count, 2);
    assert_eq!(places(&statistics)[0], (10, 1));
}

#[test]
fn a_log_that_was_rotated_within_a_line_is_recognised_all_the_same() {
    let line = r#"{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"/"}"#;
    for rest in [r#""/","response_code":200}"#, r#"{"method":"GET","pa"#] {
        let text = format!("{rest}\n{line}\n{line}\n");
        assert!(read_text(text.clone(), &ReadOptions::default()).is_err());
        let statistics = statistics_of(text.clone(), &keep_going());
        assert_eq!(
            (statistics.streams, statistics.malformed.count),
            (2, 1),
            "{rest}"
        );
        // Several files are opened to be recognised and again to be read: a mistake still counts once.
        let directory = tempfile::tempdir().unwrap();
        let paths = ["a.jsonl", "b.jsonl"].map(|name| directory.path().join(name));
        for path in &paths {
            std::fs::write(path, &text).unwrap();
        }
        let reader = tidegate_cli::recording::RecordingReader::open(&paths, &keep_going()).unwrap();
        let (_, statistics) = super::events_of(reader).unwrap();
        assert_eq!(
            (statistics.streams, statistics.malformed.count),
            (4, 2),
            "{rest}"
        );
    }
}

#[test]
fn many_mistakes_are_counted_and_the_first_are_named() {
    let line = r#"{"start_time":"2026-11-23T22:30:00Z","method":"GET","path":"/"}"#;
    let text = format!("{line}\n{}{line}\n", "oops\n".repeat(1_000));
    let statistics = statistics_of(text, &keep_going());
    assert_eq!((statistics.streams, statistics.malformed.count), (2, 1_000));
    assert_eq!(statistics.malformed.first.len(), 10);
}

#[test]
fn what_is_unreadable_as_a_whole_stays_an_error() {
    for text in ["", "{\"x\":1}", "\u{1f}\u{8b}"] {
        assert!(read_text(text, &keep_going()).is_err(), "{text:?}");
    }
    let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0];
    packed.extend([0xff; 100]);
    assert!(read_text(packed, &keep_going()).is_err());
}
