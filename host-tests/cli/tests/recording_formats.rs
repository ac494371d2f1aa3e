//! What is read of real taps, in every form that Envoy writes.
//!
//! The files in `taps/` were written by Envoy 1.40.0 with the tap filter in front of the router and bodies limited to
//! 64 bytes (1 KiB in `buffered-admin.json`, which came from the admin's `/tap`).

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tidegate_cli::recording::{
    ClusterRule, Event, EventKind, ReadOptions, RecordingReader, RecordingWriter, SessionKey,
    Statistics, convert,
};

fn taps(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/taps")
        .join(name)
}

fn read(paths: &[PathBuf], options: &ReadOptions) -> (Vec<Event<'static>>, Statistics) {
    let mut reader = RecordingReader::open(paths, options).unwrap();
    let mut events = Vec::new();
    while let Some(event) = reader.next().unwrap() {
        events.push(event.into_owned());
    }
    (events, reader.statistics())
}

/// Writes the events of one stream as a line each: the name, then what matters.
fn outline(events: &[Event<'_>], path: &str) -> Vec<String> {
    let stream = events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::RequestHeaders(headers)
                if headers.value(":path") == Some(path.as_bytes()) =>
            {
                Some(event.stream)
            }
            _ => None,
        })
        .unwrap();
    let of_stream = events.iter().filter(|event| event.stream == stream);
    let end = |end_stream: bool| if end_stream { " end" } else { "" };
    of_stream
        .map(|event| {
            let name = event.kind.name();
            match &event.kind {
                EventKind::Open(open) => format!("{name} {}", open.source.is_some()),
                EventKind::RequestHeaders(headers) => format!("{name}{}", end(headers.end_stream)),
                EventKind::ResponseHeaders(headers) => {
                    let status =
                        String::from_utf8_lossy(headers.value(":status").unwrap()).into_owned();
                    format!("{name} {status}{}", end(headers.end_stream))
                }
                EventKind::RequestBody(body) | EventKind::ResponseBody(body) => {
                    let cut = if body.truncated { " cut" } else { "" };
                    format!("{name} {}{cut}{}", body.bytes.len(), end(body.end_stream))
                }
                EventKind::RequestTrailers(trailers) | EventKind::ResponseTrailers(trailers) => {
                    format!("{name} {}", trailers.fields.len())
                }
                EventKind::Upstream(upstream) => format!("{name} {}", upstream.address),
                EventKind::Close(close) => format!("{name} {:?}", close.reason),
            }
        })
        .collect()
}

#[test]
fn buffered_taps_become_events_with_times_and_addresses() {
    let (events, statistics) = read(&[taps("buffered-bytes")], &ReadOptions::default());
    assert_eq!(statistics.streams, 7);
    assert_eq!(statistics.websockets, 1);
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    assert_eq!(
        outline(&events, "/tr"),
        [
            "open true",
            "request_headers",
            "request_body 3",
            "request_trailers 1",
            "upstream 127.0.0.1:17001",
            "response_headers 200",
            "response_body 14 end",
            "close Complete",
        ]
    );
    assert_eq!(
        outline(&events, "/p"),
        [
            "open true",
            "request_headers",
            "request_body 64 cut end",
            "upstream 127.0.0.1:17001",
            "response_headers 200",
            "response_body 64 cut end",
            "close Complete",
        ]
    );
    assert_eq!(statistics.truncated, 2);
    // Envoy itself answered: no upstream.
    assert_eq!(
        outline(&events, "/direct"),
        [
            "open true",
            "request_headers end",
            "response_headers 418",
            "response_body 3 end",
            "close Complete",
        ]
    );
}

#[test]
fn the_bytes_of_an_upgraded_stream_follow_the_101_and_never_end_it() {
    let (events, _) = read(&[taps("buffered-bytes")], &ReadOptions::default());
    let outline_of_buffered = outline(&events, "/ws");
    assert_eq!(
        outline_of_buffered
            .iter()
            .map(|line| line.split(' ').next().unwrap())
            .collect::<Vec<_>>(),
        [
            "open",
            "request_headers",
            "upstream",
            "response_headers",
            "request_body",
            "response_body",
            "close"
        ]
    );
    let (events, _) = read(&[taps("streamed-bytes")], &ReadOptions::default());
    let outline_of_streamed = outline(&events, "/ws");
    assert_eq!(
        outline_of_streamed,
        [
            "open false",
            "request_headers",
            "response_headers 101",
            "request_body 10",
            "response_body 6",
            "request_body 10",
            "response_body 6",
            "request_body 14",
            "request_body 14",
            "request_body 7",
            "response_body 8",
            "request_body 8",
            "response_body 4",
            "close Complete",
        ]
    );
    // Both forms hold the same bytes.
    let total = |outline: &[String], name: &str| -> usize {
        outline
            .iter()
            .filter_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .split(' ')
                    .next()?
                    .parse::<usize>()
                    .ok()
            })
            .sum()
    };
    for name in ["request_body", "response_body"] {
        assert_eq!(
            total(&outline_of_buffered, name),
            total(&outline_of_streamed, name),
            "{name}"
        );
    }
}

#[test]
fn ends_that_a_streamed_tap_does_not_mark_are_found() {
    let (events, statistics) = read(&[taps("streamed-bytes")], &ReadOptions::default());
    assert_eq!(statistics.streams, 7);
    // By `content-length`.
    assert_eq!(
        outline(&events, "/one"),
        [
            "open false",
            "request_headers end",
            "response_headers 200",
            "response_body 12 end",
            "close Complete"
        ]
    );
    // By trailers, on both sides.
    assert_eq!(
        outline(&events, "/tr"),
        [
            "open false",
            "request_headers",
            "request_body 3",
            "request_trailers 1",
            "response_headers 200",
            "response_body 14 end",
            "close Complete"
        ]
    );
    assert_eq!(
        outline(&events, "/trailers"),
        [
            "open false",
            "request_headers end",
            "response_headers 200",
            "response_body 5",
            "response_trailers 1",
            "close Complete"
        ]
    );
    // A piece that was cut off hides the end: the response ends the request, the end of the file ends the response.
    assert_eq!(
        outline(&events, "/p"),
        [
            "open false",
            "request_headers",
            "request_body 64 cut",
            "request_body 0 end",
            "response_headers 200",
            "response_body 64 cut",
            "response_body 0 end",
            "close Complete"
        ]
    );
}

#[test]
fn bodies_as_strings_are_read_even_where_they_are_no_text() {
    for name in ["buffered-strings", "streamed-strings"] {
        let (events, statistics) = read(&[taps(name)], &ReadOptions::default());
        assert_eq!(statistics.streams, 7, "{name}");
        let bodies: Vec<&[u8]> = events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::ResponseBody(body) => Some(body.bytes.as_ref()),
                _ => None,
            })
            .collect();
        assert!(bodies.contains(&b"tea".as_slice()), "{name}");
    }
}

#[test]
fn layout_and_grouping_of_the_files_make_no_difference() {
    let directory = tempfile::tempdir().unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(taps("buffered-bytes"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let pretty: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let compact: Vec<String> = pretty
        .iter()
        .map(|text| {
            serde_json::from_str::<serde_json::Value>(text)
                .unwrap()
                .to_string()
        })
        .collect();
    let expected = read(&[taps("buffered-bytes")], &ReadOptions::default()).0;
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let joined = write("joined.json", &pretty.concat());
    let lines = write("lines.json", &compact.join("\n"));
    let unseparated = write("unseparated.json", &format!("\u{feff}{}", compact.concat()));
    let gzip = directory.path().join("joined.json.gz");
    let mut packer = flate2::write::GzEncoder::new(
        fs::File::create(&gzip).unwrap(),
        flate2::Compression::fast(),
    );
    packer.write_all(pretty.concat().as_bytes()).unwrap();
    packer.finish().unwrap();
    for path in [joined, lines, unseparated, gzip] {
        assert_eq!(
            read(std::slice::from_ref(&path), &ReadOptions::default()).0,
            expected,
            "{}",
            path.display()
        );
    }
    assert_eq!(
        read(&files, &ReadOptions::default()).0,
        expected,
        "named one by one"
    );
}

#[test]
fn one_file_with_many_traces_is_read_as_a_recording() {
    let (events, statistics) = read(&[taps("buffered-admin.json")], &ReadOptions::default());
    assert_eq!(
        (
            statistics.streams,
            statistics.exchanges,
            statistics.truncated
        ),
        (11, 11, 0)
    );
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    let opened: Vec<u64> = events
        .iter()
        .filter(|event| matches!(event.kind, EventKind::Open(_)))
        .map(|event| event.stream)
        .collect();
    assert_eq!(
        opened,
        (1..=11).collect::<Vec<_>>(),
        "streams are numbered in the order in which they open"
    );
}

#[test]
fn clusters_come_from_rules_and_sessions_from_the_source_address() {
    let options = ReadOptions {
        clusters: vec![
            ClusterRule {
                prefix: "/ws".to_owned(),
                name: "sockets".to_owned(),
            },
            ClusterRule {
                prefix: String::new(),
                name: "echo".to_owned(),
            },
        ],
        session: SessionKey::SourceIp,
        ..ReadOptions::default()
    };
    let (events, _) = read(&[taps("buffered-bytes")], &options);
    let mut clusters: Vec<String> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Open(open) => {
                assert_eq!(open.session.as_deref(), Some("127.0.0.1"));
                Some(open.cluster.as_deref().unwrap().to_owned())
            }
            _ => None,
        })
        .collect();
    clusters.sort();
    assert_eq!(
        clusters,
        ["echo", "echo", "echo", "echo", "echo", "echo", "sockets"]
    );
}

#[test]
fn an_access_log_gives_streamed_taps_their_times_addresses_and_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (events, _) = read(&[taps("streamed-bytes")], &ReadOptions::default());
    let ids: Vec<(String, String)> = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::RequestHeaders(headers) => {
                let value =
                    |name| String::from_utf8(headers.value(name).unwrap().to_vec()).unwrap();
                Some((value(":path"), value("x-request-id")))
            }
            _ => None,
        })
        .collect();
    let id = |path: &str| {
        ids.iter()
            .find(|(other, _)| other == path)
            .unwrap()
            .1
            .clone()
    };
    let log = directory.path().join("log.json");
    // `/one` began after `/ws`, and its answer came first.
    let lines = format!(
        "{}\n{}\n",
        serde_json::json!({
            "request_id": id("/one"), "start_time": "2026-11-23T22:30:00.500Z", "duration_ms": 20,
            "response_duration_ms": 10, "upstream_host": "127.0.0.1:17002", "upstream_cluster": "echo",
            "connection_id": 9, "downstream_remote_address": "10.0.0.9:5123", "protocol": "HTTP/1.1",
            "response_flags": "-", "response_code_details": "via_upstream", "upstream_request_attempt_count": 2,
            "route_name": null, "bytes_sent": 12,
        }),
        serde_json::json!({
            "request_id": id("/ws"), "start_time": "2026-11-23T22:30:00Z", "duration_ms": 90_000,
            "upstream_host": "127.0.0.1:17101", "upstream_cluster": "ws", "connection_id": 8,
            "response_flags": "DC", "response_code_details": "downstream_remote_disconnect",
        })
    );
    fs::write(&log, lines).unwrap();
    let options = ReadOptions {
        access_logs: vec![log],
        ..ReadOptions::default()
    };
    let paths = [
        taps("streamed-bytes/one.json"),
        taps("streamed-bytes/ws.json"),
    ];
    let (events, statistics) = read(&paths, &options);
    assert_eq!(statistics.without_log_entry, 0);
    assert_eq!(
        outline(&events, "/one"),
        [
            "open true",
            "request_headers end",
            "upstream 127.0.0.1:17002",
            "response_headers 200",
            "response_body 12 end",
            "close Complete"
        ]
    );
    let start = 1_795_473_000_000_000_000;
    let time = |path: &str, name: &str| {
        let stream = events
            .iter()
            .find(|event| {
                matches!(&event.kind, EventKind::RequestHeaders(headers) if headers.value(":path") == Some(path.as_bytes()))
            })
            .unwrap()
            .stream;
        let event = events
            .iter()
            .find(|event| event.stream == stream && event.kind.name() == name)
            .unwrap();
        (event.time_ns - start) / 1_000_000
    };
    assert_eq!(time("/ws", "open"), 0);
    assert_eq!(time("/one", "open"), 500);
    assert_eq!(time("/one", "response_headers"), 511);
    assert_eq!(time("/one", "close"), 520);
    assert_eq!(time("/ws", "close"), 90_000);
    let last = events.last().unwrap();
    assert!(matches!(&last.kind, EventKind::Close(close) if close.flags.as_deref() == Some("DC")));
}

#[test]
fn a_converted_tap_reads_like_the_tap_itself() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.tidegate.jsonl");
    let options = ReadOptions {
        clusters: vec![ClusterRule {
            prefix: String::new(),
            name: "echo".to_owned(),
        }],
        ..ReadOptions::default()
    };
    let (expected, _) = read(&[taps("buffered-bytes")], &options);
    let mut reader = RecordingReader::open(&[taps("buffered-bytes")], &options).unwrap();
    let converted = convert(&mut reader, &output, Some("1.40.0"), None).unwrap();
    assert_eq!(
        (converted.streams, converted.websockets, converted.truncated),
        (7, 1, 2)
    );
    assert_eq!(converted.bytes, fs::metadata(&output).unwrap().len());
    assert_eq!(
        read(std::slice::from_ref(&output), &ReadOptions::default()).0,
        expected
    );
    let reader =
        RecordingReader::open(std::slice::from_ref(&output), &ReadOptions::default()).unwrap();
    let header = reader.header();
    assert_eq!(header.source, "envoy-tap-buffered");
    assert_eq!(header.envoy.as_deref(), Some("1.40.0"));
    assert_eq!(
        header.recorded_at_ns,
        expected.first().map(|event| event.time_ns)
    );
    assert_eq!(header.clusters.len(), 1);
    assert_eq!(
        header.clusters[0].endpoints,
        ["127.0.0.1:17001", "127.0.0.1:17002", "127.0.0.1:17101"]
    );
}

#[test]
fn several_recordings_are_merged_by_time_and_their_connections_stay_apart() {
    let directory = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["buffered-bytes", "buffered-admin.json"] {
        let path = directory.path().join(format!("{name}.tidegate.jsonl"));
        let mut reader = RecordingReader::open(&[taps(name)], &ReadOptions::default()).unwrap();
        convert(&mut reader, &path, None, None).unwrap();
        paths.push(path);
    }
    let (events, statistics) = read(&paths, &ReadOptions::default());
    assert_eq!(statistics.streams, 18);
    assert_eq!(statistics.open_streams, 0);
    assert!(events.is_sorted_by_key(|event| event.time_ns));
    // What was merged is a recording again.
    let mut writer = RecordingWriter::new(
        Vec::new(),
        RecordingReader::open(&paths, &ReadOptions::default())
            .unwrap()
            .header(),
    )
    .unwrap();
    for event in &events {
        writer.write(event).unwrap();
    }
    let merged = directory.path().join("merged.tidegate.jsonl");
    fs::write(&merged, writer.finish().unwrap()).unwrap();
    assert_eq!(read(&[merged], &ReadOptions::default()).0, events);
    let mut twice = paths.clone();
    twice.push(paths[0].clone());
    let connections = |paths: &[PathBuf]| {
        let mut all: Vec<u64> = read(paths, &ReadOptions::default())
            .0
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Open(open) => open.connection,
                _ => None,
            })
            .collect();
        all.sort_unstable();
        all.dedup();
        all.len()
    };
    assert_eq!(
        connections(&twice),
        connections(&paths) + connections(&paths[..1])
    );
}
