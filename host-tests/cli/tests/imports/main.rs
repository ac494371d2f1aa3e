//! What is read of traffic that other tools recorded: HAR, access logs, GoReplay; and what is done with secrets and mistakes.
//!
//! The files in `data/` are written by hand in the form that the tools export: Chromium's developer tools, Envoy under Istio, a
//! logger with keys of its own, GoReplay 2. Names, cookies and tokens are made up.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that can't go on should say where"
)]

mod access_log;
mod commands;
mod fuzz;
mod goreplay;
mod har;
mod keep_going;
mod limits;
mod redact;

use std::io::Cursor;
use std::path::{Path, PathBuf};

use tidegate_cli::recording::{
    Event, EventKind, ReadOptions, RecordingError, RecordingReader, Statistics,
};

/// The files in `data/`, besides field maps.
const FILES: [&str; 4] = ["capture.gor", "chromium.har", "istio.jsonl", "nested.jsonl"];

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/imports/data")
        .join(name)
}

#[track_caller]
fn read(name: &str, options: &ReadOptions) -> (Vec<Event<'static>>, Statistics) {
    events_of(RecordingReader::open(&[data(name)], options).unwrap()).unwrap()
}

fn read_text(
    text: impl Into<Vec<u8>>,
    options: &ReadOptions,
) -> Result<(Vec<Event<'static>>, Statistics), RecordingError> {
    events_of(RecordingReader::from_reader(
        "traffic",
        Cursor::new(text.into()),
        options,
    )?)
}

fn events_of(
    mut reader: RecordingReader,
) -> Result<(Vec<Event<'static>>, Statistics), RecordingError> {
    let mut events = Vec::new();
    while let Some(event) = reader.next()? {
        events.push(event.into_owned());
    }
    Ok((events, reader.statistics()))
}

/// Writes events as a line each: milliseconds since the first one, the stream, the name, then what matters.
fn outline(events: &[Event<'_>]) -> Vec<String> {
    let first_ns = events.first().map_or(0, |event| event.time_ns);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    events
        .iter()
        .map(|event| {
            let what = match &event.kind {
                EventKind::Open(open) => {
                    let parts = [
                        &open.source,
                        &open.destination,
                        &open.protocol,
                        &open.cluster,
                    ];
                    let known: Vec<&str> = parts.into_iter().flatten().map(AsRef::as_ref).collect();
                    known.join(" ")
                }
                EventKind::RequestHeaders(headers) => format!(
                    "{} {}{}",
                    text(headers.value(":method").unwrap_or_default()),
                    text(headers.value(":path").unwrap_or_default()),
                    end(headers.end_stream)
                ),
                EventKind::ResponseHeaders(headers) => format!(
                    "{}{}",
                    text(headers.value(":status").unwrap_or_default()),
                    end(headers.end_stream)
                ),
                EventKind::RequestBody(body) | EventKind::ResponseBody(body) => {
                    let cut = if body.truncated { " cut" } else { "" };
                    format!("{}{cut}{}", body.bytes.len(), end(body.end_stream))
                }
                EventKind::RequestTrailers(trailers) | EventKind::ResponseTrailers(trailers) => {
                    trailers.fields.len().to_string()
                }
                EventKind::Upstream(upstream) => format!(
                    "{}{}",
                    upstream.address,
                    upstream
                        .attempts
                        .map(|count| format!(" attempt {count}"))
                        .unwrap_or_default()
                ),
                EventKind::Close(close) => {
                    let sizes = [("sent", close.request_bytes), ("got", close.response_bytes)];
                    let sizes: Vec<String> = sizes
                        .into_iter()
                        .filter_map(|(name, size)| Some(format!(" {name} {}", size?)))
                        .collect();
                    format!("{:?}{}", close.reason, sizes.concat())
                }
            };
            let milliseconds = (event.time_ns - first_ns) / 1_000_000;
            format!(
                "{milliseconds} #{} {} {what}",
                event.stream,
                event.kind.name()
            )
            .trim_end()
            .to_owned()
        })
        .collect()
}

fn end(end_stream: bool) -> &'static str {
    if end_stream { " end" } else { "" }
}

/// Returns the first value of a header of the request for a path.
fn requested(events: &[Event<'_>], path: &str, name: &str) -> Option<String> {
    events.iter().find_map(|event| match &event.kind {
        EventKind::RequestHeaders(headers) if headers.value(":path") == Some(path.as_bytes()) => {
            Some(String::from_utf8_lossy(headers.value(name)?).into_owned())
        }
        _ => None,
    })
}

#[test]
fn formats_are_recognised_by_how_they_begin() {
    for (name, source) in [
        ("capture.gor", "goreplay"),
        ("chromium.har", "har"),
        ("istio.jsonl", "envoy-access-log"),
    ] {
        let reader = RecordingReader::open(&[data(name)], &ReadOptions::default()).unwrap();
        assert_eq!(reader.source(), source, "{name}");
    }
}

#[test]
fn every_file_here_is_read() {
    let mut names: Vec<String> = std::fs::read_dir(data(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".fields.json"))
        .collect();
    names.sort();
    assert_eq!(names, FILES);
}

#[test]
fn an_import_is_the_same_whether_packed_or_not() {
    use std::io::Write as _;
    for name in ["capture.gor", "chromium.har", "istio.jsonl"] {
        let plain = std::fs::read(data(name)).unwrap();
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packer.write_all(&plain).unwrap();
        let packed = packer.finish().unwrap();
        let options = ReadOptions::default();
        let expected = read(name, &options).0;
        assert_eq!(read_text(packed, &options).unwrap().0, expected, "{name}");
        let marked = [b"\xef\xbb\xbf".as_slice(), &plain].concat();
        assert_eq!(
            read_text(marked, &options).unwrap().0,
            expected,
            "{name} with a mark"
        );
    }
}
