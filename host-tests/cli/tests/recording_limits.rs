//! Recordings of any size are read in bounded memory, and of any shape without a panic.

#![expect(
    clippy::indexing_slicing,
    reason = "a test that can't go on should say where"
)]

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use tidegate_cli::recording::{
    Body, Close, CloseReason, Event, EventKind, HELD_BYTES_MAX, Header, Headers, Open, ReadOptions,
    RecordingReader, RecordingWriter, Trailers, Upstream,
};

/// Generates text piece by piece and counts what was taken of it.
struct Generated<F> {
    piece: F,
    index: u64,
    buffer: Vec<u8>,
    given: usize,
    taken: Arc<AtomicU64>,
}

impl<F: FnMut(u64) -> Option<String>> Generated<F> {
    fn new(piece: F) -> (Self, Arc<AtomicU64>) {
        let taken = Arc::new(AtomicU64::new(0));
        (
            Self {
                piece,
                index: 0,
                buffer: Vec::new(),
                given: 0,
                taken: Arc::clone(&taken),
            },
            taken,
        )
    }
}

impl<F: FnMut(u64) -> Option<String>> Read for Generated<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.given == self.buffer.len() {
            let Some(piece) = (self.piece)(self.index) else {
                return Ok(0);
            };
            self.index += 1;
            self.buffer = piece.into_bytes();
            self.given = 0;
        }
        let count = into.len().min(self.buffer.len() - self.given);
        into[..count].copy_from_slice(&self.buffer[self.given..self.given + count]);
        self.given += count;
        self.taken.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

const HEADER: &str = "{\"format\":{\"name\":\"tidegate-recording\",\"major\":1,\"minor\":0},\"source\":\"test\",\"producer\":\"test\"}\n";

fn exchange(stream: u64) -> String {
    let t = stream * 1000;
    let cookie = "c".repeat(600);
    format!(
        "{{\"t\":{t},\"stream\":{stream},\"open\":{{\"connection\":{stream}}}}}\n\
         {{\"t\":{t},\"stream\":{stream},\"request_headers\":{{\"headers\":[[\":path\",\"/{stream}\"],[\"cookie\",\"{cookie}\"]],\"end_stream\":true}}}}\n\
         {{\"t\":{t},\"stream\":{stream},\"response_headers\":{{\"headers\":[[\":status\",\"200\"]],\"end_stream\":true}}}}\n\
         {{\"t\":{t},\"stream\":{stream},\"close\":{{}}}}\n"
    )
}

#[test]
fn a_recording_of_50_megabytes_needs_as_little_memory_as_a_small_one() {
    let exchanges = 60_000;
    let (input, taken) = Generated::new(move |index| match index {
        0 => Some(HEADER.to_owned()),
        _ if index <= exchanges => Some(exchange(index)),
        _ => None,
    });
    let mut reader =
        RecordingReader::from_reader("generated", input, &ReadOptions::default()).unwrap();
    let mut furthest_ahead = 0;
    let mut used = HEADER.len() as u64;
    while let Some(event) = reader.next().unwrap() {
        if matches!(event.kind, EventKind::Close(_)) {
            used += exchange(event.stream).len() as u64;
            furthest_ahead = furthest_ahead.max(taken.load(Ordering::Relaxed).saturating_sub(used));
        }
    }
    let statistics = reader.statistics();
    assert!(
        taken.load(Ordering::Relaxed) >= 50_000_000,
        "{}",
        taken.load(Ordering::Relaxed)
    );
    assert_eq!(statistics.bytes, taken.load(Ordering::Relaxed));
    assert_eq!(statistics.exchanges, exchanges);
    assert!(
        furthest_ahead <= 128 * 1024,
        "read {furthest_ahead} bytes ahead"
    );
    assert!(
        statistics.peak_buffered_bytes <= 256 * 1024,
        "held {} bytes",
        statistics.peak_buffered_bytes
    );
}

#[test]
fn taps_of_50_megabytes_are_ordered_in_bounded_memory() {
    // Each trace is ten seconds behind the one before it or ahead of it: order has to be made.
    let traces = 50_000_u64;
    let body = "QUFB".repeat(220);
    let (input, taken) = Generated::new(move |index| {
        (index < traces).then(|| {
            let second = (index ^ 1) * 10;
            let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
            let day = hour / 24 + 1;
            let hour = hour % 24;
            format!(
                "{{\"http_buffered_trace\":{{\"request\":{{\"headers\":[{{\"key\":\":path\",\"value\":\"/\"}}],\
                 \"headers_received_time\":\"2026-01-{day:02}T{hour:02}:{minute:02}:{second:02}Z\"}},\
                 \"response\":{{\"headers\":[{{\"key\":\":status\",\"value\":\"200\"}}],\"body\":{{\"as_bytes\":\"{body}\"}}}}}}}}\n"
            )
        })
    });
    let mut reader =
        RecordingReader::from_reader("generated", input, &ReadOptions::default()).unwrap();
    let mut last = 0;
    while let Some(event) = reader.next().unwrap() {
        assert!(event.time_ns >= last);
        last = event.time_ns;
    }
    let statistics = reader.statistics();
    assert!(
        taken.load(Ordering::Relaxed) >= 50_000_000,
        "{}",
        taken.load(Ordering::Relaxed)
    );
    assert_eq!(
        (statistics.streams, statistics.late_events),
        (traces.min(26_784_000), 0)
    );
    assert!(
        statistics.peak_buffered_bytes < 512 * 1024,
        "held {} bytes",
        statistics.peak_buffered_bytes
    );
    // The window kept it small, not the cap.
    const { assert!(HELD_BYTES_MAX > 512 * 1024) };
}

#[test]
fn a_line_is_read_up_to_the_limit_and_not_a_byte_further() {
    let line = exchange(1).lines().nth(1).unwrap().to_owned();
    let text = format!("{HEADER}{{\"t\":1,\"stream\":1,\"open\":{{}}}}\n{line}\n");
    for (limit, accepted) in [(line.len(), true), (line.len() - 1, false)] {
        let options = ReadOptions {
            max_entry_bytes: limit,
            ..ReadOptions::default()
        };
        let mut reader = RecordingReader::from_reader(
            "text",
            io::Cursor::new(text.clone().into_bytes()),
            &options,
        )
        .unwrap();
        let mut read = || {
            while reader.next()?.is_some() {}
            Ok::<(), tidegate_cli::recording::RecordingError>(())
        };
        assert_eq!(read().is_ok(), accepted, "limit {limit}");
    }
}

#[test]
fn a_hundred_thousand_headers_and_a_megabyte_of_cookie_are_read() {
    let mut fields: Vec<(String, String)> = (0..100_000)
        .map(|index| (format!("x-{index}"), "v".to_owned()))
        .collect();
    fields.push(("cookie".to_owned(), "c".repeat(1 << 20)));
    let headers = Headers {
        fields: fields
            .iter()
            .map(|(name, value)| (name.as_bytes().into(), value.as_bytes().into()))
            .collect(),
        end_stream: true,
        ..Headers::default()
    };
    let mut writer = RecordingWriter::new(Vec::new(), &Header::default()).unwrap();
    writer
        .write(&Event {
            time_ns: 1,
            stream: 1,
            kind: EventKind::Open(Box::default()),
        })
        .unwrap();
    writer
        .write(&Event {
            time_ns: 1,
            stream: 1,
            kind: EventKind::RequestHeaders(headers.clone()),
        })
        .unwrap();
    let text = writer.finish().unwrap();
    let mut reader =
        RecordingReader::from_reader("text", io::Cursor::new(text), &ReadOptions::default())
            .unwrap();
    reader.next().unwrap();
    assert_eq!(
        reader.next().unwrap().unwrap().kind,
        EventKind::RequestHeaders(headers)
    );
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[ -~]{0,20}".prop_map(String::into_bytes),
        ".{0,10}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..20),
    ]
}

fn text() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(".{0,12}")
}

fn fields() -> impl Strategy<Value = OwnedFields> {
    proptest::collection::vec((bytes(), bytes()), 0..6)
}

/// Headers as they are generated.
type OwnedFields = Vec<(Vec<u8>, Vec<u8>)>;

/// Details and flags of an end.
type Texts = (Option<String>, Option<String>);

/// What a stream did, from which its events are made.
#[derive(Debug, Clone)]
struct Stream {
    open: (Option<u64>, [Option<String>; 6]),
    request: OwnedFields,
    pieces: Vec<(Vec<u8>, bool)>,
    trailers: Option<OwnedFields>,
    upstream: Option<(String, Option<u64>)>,
    response: Option<(OwnedFields, Option<String>)>,
    close: Option<(Texts, usize, [Option<u64>; 2])>,
}

fn stream() -> impl Strategy<Value = Stream> {
    (
        (
            any::<Option<u64>>(),
            [text(), text(), text(), text(), text(), text()],
        ),
        fields(),
        proptest::collection::vec((bytes(), any::<bool>()), 0..3),
        proptest::option::of(fields()),
        proptest::option::of((".{0,12}", any::<Option<u64>>())),
        proptest::option::of((fields(), text())),
        proptest::option::of(((text(), text()), 0..3_usize, any::<[Option<u64>; 2]>())),
    )
        .prop_map(
            |(open, request, pieces, trailers, upstream, response, close)| Stream {
                open,
                request,
                pieces,
                trailers,
                upstream,
                response,
                close,
            },
        )
}

fn owned(fields: OwnedFields) -> Vec<tidegate_cli::recording::Field<'static>> {
    fields
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn kinds(stream: Stream) -> Vec<EventKind<'static>> {
    let (connection, [source, destination, protocol, cluster, route, session]) = stream.open;
    let cow = |text: Option<String>| text.map(Into::into);
    let mut kinds = vec![
        EventKind::Open(Box::new(Open {
            connection,
            source: cow(source),
            destination: cow(destination),
            protocol: cow(protocol),
            cluster: cow(cluster),
            route: cow(route),
            session: cow(session),
        })),
        EventKind::RequestHeaders(Headers {
            fields: owned(stream.request),
            end_stream: false,
            ..Headers::default()
        }),
    ];
    for (piece, truncated) in stream.pieces {
        kinds.push(EventKind::RequestBody(Body {
            bytes: piece.into(),
            end_stream: false,
            truncated,
        }));
    }
    if let Some(trailers) = stream.trailers {
        kinds.push(EventKind::RequestTrailers(Trailers {
            fields: owned(trailers),
        }));
    }
    if let Some((address, attempts)) = stream.upstream {
        kinds.push(EventKind::Upstream(Upstream {
            address: address.into(),
            attempts,
        }));
    }
    if let Some((response, local)) = stream.response {
        kinds.push(EventKind::ResponseHeaders(Headers {
            fields: owned(response),
            end_stream: true,
            details: local.map(Into::into),
        }));
    }
    if let Some(((details, flags), reason, [request_bytes, response_bytes])) = stream.close {
        let (reason, _) = CloseReason::ALL[reason];
        kinds.push(EventKind::Close(Close {
            details: cow(details),
            flags: cow(flags),
            reason,
            request_bytes,
            response_bytes,
        }));
    }
    kinds
}

proptest! {
    #[test]
    fn what_is_written_is_read_again_and_written_the_same(
        streams in proptest::collection::vec((stream(), 0..1_000_u64), 0..5),
    ) {
        let mut events = Vec::new();
        let mut time_ns = 0;
        for (index, (stream, step)) in streams.into_iter().enumerate() {
            for kind in kinds(stream) {
                time_ns += step;
                events.push(Event { time_ns, stream: index as u64, kind });
            }
        }
        let header = Header { source: "test".to_owned(), ..Header::default() };
        let mut writer = RecordingWriter::new(Vec::new(), &header).unwrap();
        for event in &events {
            writer.write(event).unwrap();
        }
        let text = writer.finish().unwrap();
        let mut reader = RecordingReader::from_reader("text", io::Cursor::new(text.clone()), &ReadOptions::default()).unwrap();
        let mut again = RecordingWriter::new(Vec::new(), reader.header()).unwrap();
        let mut read = Vec::new();
        while let Some(event) = reader.next().unwrap() {
            again.write(&event).unwrap();
            read.push(event.into_owned());
        }
        prop_assert_eq!(read, events);
        prop_assert_eq!(again.finish().unwrap(), text);
    }

    #[test]
    fn arbitrary_bytes_never_panic(
        start in prop_oneof![
            Just(String::new()),
            Just(HEADER.to_owned()),
            Just(format!("{HEADER}{{\"t\":1,\"stream\":1,\"open\":{{}}}}\n")),
            Just("{\"http_buffered_trace\":{\"request\":{\"headers\":[{\"key\":\"".to_owned()),
            Just("{\"http_streamed_trace_segment\":{\"trace_id\":\"1\",\"".to_owned()),
            Just("\u{1f}".to_owned()),
        ],
        rest in proptest::collection::vec(any::<u8>(), 0..300),
        likely in "[{}\\[\\]\",:0-9a-z_\\\\ \n]{0,200}",
        limit in 1..400_usize,
    ) {
        for tail in [rest, likely.into_bytes()] {
            let text = [start.as_bytes(), &tail].concat();
            let options = ReadOptions { max_entry_bytes: limit, ..ReadOptions::default() };
            if let Ok(mut reader) = RecordingReader::from_reader("text", io::Cursor::new(text), &options) {
                while let Ok(Some(_)) = reader.next() {}
                prop_assert!(reader.statistics().peak_buffered_bytes < 1 << 20);
            }
        }
    }
}
