//! The traffic that is measured with: a committed recording, several times in a row.

use std::borrow::Cow;
use std::io::Cursor;
use std::path::Path;

use anyhow::Context;

use crate::recording::{Event, EventKind, Header, ReadOptions, RecordingReader, RecordingWriter};

/// Requests of one run, at least: enough for a clock that is read twice, few enough for memory.
const REQUESTS_MIN: usize = 20_000;

/// Lies between two rounds, in nanoseconds: longer than anything waits that a plugin began in the round before.
const PAUSE_NS: u64 = 1_000_000_000;

/// Keeps the connections of one round apart from those of the next: no recording has that many.
const CONNECTIONS_PER_ROUND: u64 = 1 << 32;

/// Events in memory.
#[derive(Debug, Clone)]
pub(super) struct Corpus {
    pub(super) header: Header,
    pub(super) events: Vec<Event<'static>>,
    pub(super) rounds: u64,
    pub(super) requests: u64,
}

impl Corpus {
    /// Reads a folder with a buffered tap and its access log, and repeats it. Each round has connections and clients of
    /// its own, so that every round has as many first visits as the recording.
    pub(super) fn load(folder: &Path) -> anyhow::Result<Self> {
        let options = ReadOptions {
            access_logs: vec![folder.join("access-log.jsonl")],
            ..ReadOptions::default()
        };
        let mut reader = RecordingReader::open(&[folder.join("tap-buffered.json")], &options)?;
        let mut once = Vec::new();
        while let Some(event) = reader.next()? {
            once.push(event.into_owned());
        }
        let header = reader.header().clone();
        let requests = once
            .iter()
            .filter(|event| matches!(event.kind, EventKind::RequestHeaders(_)))
            .count();
        let (first, last) = once
            .first()
            .zip(once.last())
            .context("the recording holds no event")?;
        let period_ns = last
            .time_ns
            .saturating_sub(first.time_ns)
            .saturating_add(PAUSE_NS);
        let streams = once
            .iter()
            .map(|event| event.stream)
            .max()
            .unwrap_or_default()
            + 1;
        let rounds = REQUESTS_MIN.div_ceil(requests.max(1)) as u64;
        let events = (0..rounds)
            .flat_map(|round| once.iter().map(move |event| (round, event)))
            .map(|(round, event)| repeated(event, round, round * period_ns, round * streams))
            .collect();
        Ok(Self {
            header,
            events,
            rounds,
            requests: requests as u64 * rounds,
        })
    }

    /// Writes the events as a recording of ours, for measuring how it is read.
    pub(super) fn text(&self) -> anyhow::Result<Vec<u8>> {
        let mut writer = RecordingWriter::new(Vec::new(), &self.header)?;
        for event in &self.events {
            writer.write(event)?;
        }
        Ok(writer.finish()?)
    }

    pub(super) fn first_time_ns(&self) -> u64 {
        self.events.first().map_or(0, |event| event.time_ns)
    }
}

/// Opens a recording in memory.
pub(super) fn reader(text: &[u8]) -> anyhow::Result<RecordingReader> {
    Ok(RecordingReader::from_reader(
        "corpus",
        Cursor::new(text.to_vec()),
        &ReadOptions::default(),
    )?)
}

fn repeated(
    event: &Event<'static>,
    round: u64,
    later_ns: u64,
    stream_offset: u64,
) -> Event<'static> {
    let mut event = event.clone();
    event.time_ns += later_ns;
    event.stream += stream_offset;
    if let EventKind::Open(open) = &mut event.kind {
        open.connection = open
            .connection
            .map(|connection| connection + round * CONNECTIONS_PER_ROUND);
        open.session = open
            .session
            .take()
            .map(|session| Cow::Owned(format!("{session}/{round}")));
    }
    event
}
