//! Documents of any size are read in bounded memory.

use std::io::{self, Read};

use tidegate_cli::recording::{HELD_BYTES_MAX, ReadOptions, RecordingReader, Statistics};

/// Generates text piece by piece: all of it is never in memory.
struct Generated<F> {
    piece: F,
    index: u64,
    buffer: Vec<u8>,
    given: usize,
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
        Ok(count)
    }
}

fn statistics_of(piece: impl FnMut(u64) -> Option<String> + Send + 'static) -> Statistics {
    let input = Generated {
        piece,
        index: 0,
        buffer: Vec::new(),
        given: 0,
    };
    let mut reader =
        RecordingReader::from_reader("generated", input, &ReadOptions::default()).unwrap();
    let mut last_ns = 0;
    while let Some(event) = reader.next().unwrap() {
        assert!(event.time_ns >= last_ns);
        last_ns = event.time_ns;
    }
    reader.statistics()
}

/// A time, ten seconds after that of the index before.
fn time(index: u64) -> String {
    let seconds = index * 10;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!(
        "2026-01-{:02}T{:02}:{minute:02}:{second:02}Z",
        hour / 24 + 1,
        hour % 24
    )
}

const COUNT: u64 = 50_000;

#[track_caller]
fn assert_bounded(statistics: &Statistics) {
    assert!(statistics.bytes >= 50_000_000, "{}", statistics.bytes);
    assert_eq!((statistics.streams, statistics.late_events), (COUNT, 0));
    assert!(
        statistics.peak_buffered_bytes < 512 * 1024,
        "held {} bytes",
        statistics.peak_buffered_bytes
    );
}

#[test]
fn a_har_of_50_megabytes_is_one_document_and_never_whole_in_memory() {
    // What is beside the entries is large as well, and passed over without being kept.
    let pages = "{\"id\":\"page\"},".repeat(100_000);
    let body = "b".repeat(1_000);
    let statistics = statistics_of(move |index| match index {
        0 => Some(format!("{{\"log\":{{\"pages\":[{pages}{{}}],\"entries\":[")),
        _ if index <= COUNT => Some(format!(
            "{}{{\"startedDateTime\":\"{}\",\"time\":5,\"connection\":\"1\",\"request\":{{\"method\":\"GET\",\"url\":\"http://h/{index}\"}},\
             \"response\":{{\"status\":200,\"content\":{{\"text\":\"{body}\"}}}}}}",
            if index == 1 { "" } else { ",\n" },
            time(index)
        )),
        _ if index == COUNT + 1 => Some("]}}".to_owned()),
        _ => None,
    });
    assert_bounded(&statistics);
}

#[test]
fn a_log_of_50_megabytes_is_read_line_by_line() {
    let agent = "u".repeat(1_000);
    let statistics = statistics_of(move |index| {
        // Each line is behind the one that follows it: order has to be made.
        (index < COUNT).then(|| {
            format!(
                "{{\"start_time\":\"{}\",\"duration\":5,\"method\":\"GET\",\"path\":\"/\",\"response_code\":200,\"user_agent\":\"{agent}\"}}\n",
                time(index ^ 1)
            )
        })
    });
    assert_bounded(&statistics);
}

#[test]
fn requests_of_50_megabytes_without_any_answer_are_not_all_held() {
    let body = "b".repeat(1_000);
    let statistics = statistics_of(move |index| {
        (index < COUNT).then(|| {
            let time_ns = (index + 1) * 10_000_000_000;
            format!("1 r{index} {time_ns} -1\nPOST /{index} HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{body}\n🐵🙈🙉\n")
        })
    });
    assert_bounded(&statistics);
}

#[test]
fn requests_that_come_at_once_are_held_up_to_a_limit() {
    // All within one millisecond: only the limit of bytes can let go of them.
    let body = "b".repeat(10_000);
    let statistics = statistics_of(move |index| {
        (index < 20_000).then(|| {
            format!("1 r{index} {} -1\nPOST / HTTP/1.1\r\nContent-Length: 10000\r\n\r\n{body}\n🐵🙈🙉\n", 1_000_000 + index)
        })
    });
    assert_eq!(statistics.streams, 20_000);
    // What waits for answers, and what waits for its turn, to which all of the former comes at the end.
    assert!(
        statistics.peak_buffered_bytes < HELD_BYTES_MAX + (34 << 20),
        "held {} bytes",
        statistics.peak_buffered_bytes
    );
}
