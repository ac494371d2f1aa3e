//! Reads recordings of any format that is known, event by event, in the order of time.
//!
//! Inputs: files, directories of files, standard input; the format is recognised by the first entry.
//! All inputs together are one recording: taps are ordered by time, several recordings of ours are merged.
//! Limits: memory is the largest entry, the held events of taps ([`HELD_BYTES_MAX`](super::HELD_BYTES_MAX)) and some 24 bytes for each open
//! stream; an access log is held whole. Cost: one pass, borrowing from the line.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access_log::AccessLog;
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::event::{Event, EventKind};
use super::header::{Cluster, Format, Header};
use super::jsonl::Jsonl;
use super::session::SessionKey;
use super::tap::{Tap, TapFile};

/// The longest entry that is read: a line, or a trace. A trace with bodies of some megabytes, in base64, fits.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;

/// How far apart in time events may come in a file of taps: longer than most requests take.
pub const REORDER_WINDOW_NS: u64 = 60_000_000_000;

/// How to read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The format; `None` recognises it.
    pub from: Option<InputFormat>,
    /// Which cluster a stream of a tap goes to when nothing else says so; the first rule that matches.
    pub clusters: Vec<ClusterRule>,
    /// Endpoints of clusters, added to those that a recording names.
    pub endpoints: Vec<Cluster>,
    /// Access logs of the same traffic, which say of a tap's streams what the tap doesn't.
    pub access_logs: Vec<PathBuf>,
    /// What names the session of a tap's stream; [`SessionKey::Auto`] names none.
    pub session: SessionKey,
    /// How far apart in time the events of a file of taps may come, in nanoseconds.
    pub reorder_window_ns: u64,
    /// The longest entry, in bytes.
    pub max_entry_bytes: usize,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: None,
            clusters: Vec::new(),
            endpoints: Vec::new(),
            access_logs: Vec::new(),
            session: SessionKey::Auto,
            reorder_window_ns: REORDER_WINDOW_NS,
            max_entry_bytes: MAX_ENTRY_BYTES,
        }
    }
}

/// A format of recorded traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum InputFormat {
    /// What `tidegate record` writes.
    Tidegate,
    /// What Envoy's tap filter writes, as JSON.
    EnvoyTap,
}

/// Says to which cluster requests go whose path begins with a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterRule {
    /// The prefix; empty for every path.
    pub prefix: String,
    /// The cluster.
    pub name: String,
}

/// What was read so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Events that were yielded.
    pub events: u64,
    /// Streams that were opened.
    pub streams: u64,
    /// Streams with request and response headers.
    pub exchanges: u64,
    /// Streams that were upgraded to WebSocket.
    pub websockets: u64,
    /// Bytes of bodies, both ways.
    pub body_bytes: u64,
    /// Pieces of bodies of which the source kept only the beginning.
    pub truncated: u64,
    /// What was left out, by what it was.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Events that came later than the reordering allows, and were moved to the time that was reached.
    pub late_events: u64,
    /// Requests that the access log doesn't have.
    pub without_log_entry: u64,
    /// Bytes that were read, those before unpacking not counted.
    pub bytes: u64,
    /// Streams that are open.
    pub open_streams: usize,
    /// An upper bound of what the buffers held at a time, in bytes; the access log and open streams not counted.
    pub peak_buffered_bytes: usize,
}

impl Statistics {
    pub(super) fn skip(&mut self, what: &'static str) {
        *self.skipped.entry(what).or_default() += 1;
    }
}

/// Reads the events of one or several inputs.
#[derive(Debug)]
pub struct RecordingReader {
    merge: Merge,
    header: Header,
    first: Option<Event<'static>>,
    counted: Statistics,
}

impl RecordingReader {
    /// Opens files and directories, `-` for standard input; of a directory the files that end in `.json` and
    /// `.jsonl`, also with `.gz`.
    ///
    /// # Errors
    /// An input can't be read, is empty, or is of no format that is known; there is no input.
    pub fn open(paths: &[impl AsRef<Path>], options: &ReadOptions) -> Result<Self, RecordingError> {
        let mut inputs = Inputs::new(options)?;
        let mut files = Vec::new();
        for path in paths {
            let path = path.as_ref();
            if path.is_dir() {
                files.extend(files_of(path)?.into_iter().map(|file| (file, true)));
            } else {
                files.push((path.to_path_buf(), false));
            }
        }
        let alone = files.len() == 1;
        for (file, in_directory) in files {
            let entries = Entries::open(&file, options.max_entry_bytes)?;
            let path = Some(file).filter(|file| !alone && file.as_os_str() != "-");
            inputs.add(entries, path, in_directory)?;
        }
        let name = paths.first().map_or_else(
            || "no input".to_owned(),
            |path| path.as_ref().display().to_string(),
        );
        inputs.into_reader(&name)
    }

    /// Reads what `input` yields; `name` stands for it in messages.
    ///
    /// # Errors
    /// It can't be read, is empty, or is of no format that is known.
    pub fn from_reader(
        name: &str,
        input: impl Read + Send + 'static,
        options: &ReadOptions,
    ) -> Result<Self, RecordingError> {
        let mut inputs = Inputs::new(options)?;
        inputs.add(
            Entries::new(name.to_owned(), Box::new(input), options.max_entry_bytes)?,
            None,
            false,
        )?;
        inputs.into_reader(name)
    }

    /// Returns what the recording says of itself. Of taps that is little: the endpoints that were given.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the name of what was recorded; for taps, as far as they were read.
    #[must_use]
    pub fn source(&self) -> &str {
        match self.merge.sources.as_slice() {
            [Source::Tap { tap, .. }] => tap.source(),
            _ => &self.header.source,
        }
    }

    /// Returns what was read so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.counted.clone();
        for source in &self.merge.sources {
            match source {
                Source::Tap { tap, .. } => tap.add_to(&mut statistics),
                Source::Tidegate(jsonl) => {
                    statistics.bytes += jsonl.entries().bytes();
                    statistics.peak_buffered_bytes += jsonl.entries().peak_bytes();
                    statistics.open_streams += jsonl.open_streams();
                }
            }
        }
        statistics
    }

    /// Returns the time of the first event, in nanoseconds since the Unix epoch, before anything is taken; `None` for
    /// a recording without events.
    ///
    /// # Errors
    /// The first event is malformed.
    pub fn first_time_ns(&mut self) -> Result<Option<u64>, RecordingError> {
        if self.first.is_none() && self.counted.events == 0 {
            self.first = self.merge.next()?.map(Event::into_owned);
        }
        Ok(self.first.as_ref().map(|event| event.time_ns))
    }

    /// Returns the next event; `None` at the end. Time never goes back.
    ///
    /// # Errors
    /// The input can't be read or is malformed. What follows is undefined.
    #[expect(
        clippy::should_implement_trait,
        reason = "the event borrows from the reader, as no iterator's can"
    )]
    pub fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        let event = match self.first.take() {
            Some(first) => Some(first),
            None => self.merge.next()?,
        };
        if let Some(event) = &event {
            self.counted.count(event);
        }
        Ok(event)
    }
}

impl Statistics {
    fn count(&mut self, event: &Event<'_>) {
        self.events += 1;
        match &event.kind {
            EventKind::Open(_) => self.streams += 1,
            EventKind::RequestBody(body) | EventKind::ResponseBody(body) => {
                self.body_bytes += body.bytes.len() as u64;
                self.truncated += u64::from(body.truncated);
            }
            EventKind::ResponseHeaders(headers) => {
                self.exchanges += 1;
                self.websockets += u64::from(headers.value(":status") == Some(b"101"));
            }
            _ => {}
        }
    }
}

/// Several sources as one, in the order of time.
#[derive(Debug, Default)]
struct Merge {
    sources: Vec<Source>,
    numbers: HashMap<(usize, u64), u64>,
    last_number: u64,
}

#[derive(Debug)]
enum Source {
    Tap {
        tap: Box<Tap>,
        next: Option<Box<Event<'static>>>,
    },
    Tidegate(Box<Jsonl>),
}

impl Source {
    fn peek_time(&mut self) -> Result<Option<u64>, RecordingError> {
        match self {
            Self::Tap { tap, next } => {
                if next.is_none() {
                    *next = tap.next()?.map(Box::new);
                }
                Ok(next.as_ref().map(|event| event.time_ns))
            }
            Self::Tidegate(jsonl) => jsonl.peek_time(),
        }
    }

    fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        match self {
            Self::Tap { tap, next } => next
                .take()
                .map_or_else(|| tap.next(), |event| Ok(Some(*event))),
            Self::Tidegate(jsonl) => jsonl.next(),
        }
    }
}

impl Merge {
    fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        if let [_] = self.sources.as_slice() {
            return self.sources.first_mut().map_or(Ok(None), Source::next);
        }
        let mut earliest: Option<(u64, usize)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(time_ns) = source.peek_time()? {
                earliest =
                    Some(earliest.map_or((time_ns, index), |best| best.min((time_ns, index))));
            }
        }
        let Some((_, index)) = earliest else {
            return Ok(None);
        };
        let several = self.sources.len() as u64;
        let Some(source) = self.sources.get_mut(index) else {
            return Ok(None);
        };
        let Some(mut event) = source.next()? else {
            return Ok(None);
        };
        let key = (index, event.stream);
        event.stream = match &mut event.kind {
            EventKind::Open(open) => {
                // Numbers of connections count in each recording: interleaved, they stay apart.
                open.connection = open
                    .connection
                    .map(|number| number.wrapping_mul(several).wrapping_add(index as u64));
                self.last_number += 1;
                self.numbers.insert(key, self.last_number);
                self.last_number
            }
            EventKind::Close(_) => self.numbers.remove(&key).unwrap_or_default(),
            _ => self.numbers.get(&key).copied().unwrap_or_default(),
        };
        Ok(Some(event))
    }
}

/// Collects inputs until it is known what they are.
#[derive(Debug)]
struct Inputs<'a> {
    options: &'a ReadOptions,
    log: AccessLog,
    recordings: Vec<Jsonl>,
    taps: Vec<(Option<u64>, usize, TapFile)>,
    counted: Statistics,
}

/// The fields by which a format is recognised.
#[derive(Deserialize)]
struct Probe {
    format: Option<IgnoredAny>,
    #[serde(alias = "httpBufferedTrace")]
    http_buffered_trace: Option<IgnoredAny>,
    #[serde(alias = "httpStreamedTraceSegment")]
    http_streamed_trace_segment: Option<IgnoredAny>,
    #[serde(alias = "socketBufferedTrace")]
    socket_buffered_trace: Option<IgnoredAny>,
    #[serde(alias = "socketStreamedTraceSegment")]
    socket_streamed_trace_segment: Option<IgnoredAny>,
}

impl<'a> Inputs<'a> {
    fn new(options: &'a ReadOptions) -> Result<Self, RecordingError> {
        let mut log = AccessLog::default();
        for path in &options.access_logs {
            log.read(path, options.max_entry_bytes)?;
        }
        let counted = Statistics::default();
        Ok(Self {
            options,
            log,
            recordings: Vec::new(),
            taps: Vec::new(),
            counted,
        })
    }

    /// Adds an input. It is closed and opened again later if it has a `path`.
    fn add(
        &mut self,
        mut entries: Entries,
        path: Option<PathBuf>,
        may_be_empty: bool,
    ) -> Result<(), RecordingError> {
        if self.options.from == Some(InputFormat::Tidegate) {
            self.recordings.push(Jsonl::new(entries)?);
            return Ok(());
        }
        if !entries.next_object()? {
            if may_be_empty {
                self.counted.skip("empty files");
                return Ok(());
            }
            return Err(RecordingError::of_input(
                entries.name(),
                RecordingProblem::Empty,
            ));
        }
        entries.give_again();
        let format = match self.options.from {
            Some(format) => format,
            None => recognise(&entries)?,
        };
        match format {
            InputFormat::Tidegate => self.recordings.push(Jsonl::new(entries)?),
            InputFormat::EnvoyTap => {
                let beginning = Tap::beginning(entries.entry(), &self.log);
                let order = self.taps.len();
                let file = path.map_or_else(|| TapFile::Open(entries), TapFile::Closed);
                self.taps.push((beginning, order, file));
            }
        }
        Ok(())
    }

    fn into_reader(mut self, name: &str) -> Result<RecordingReader, RecordingError> {
        if self.recordings.is_empty() && self.taps.is_empty() {
            return Err(RecordingError::of_input(name, RecordingProblem::Empty));
        }
        let mut header = header_of(&self.recordings);
        for cluster in &self.options.endpoints {
            merge_cluster(&mut header.clusters, cluster);
        }
        let mut sources: Vec<Source> = self
            .recordings
            .into_iter()
            .map(|recording| Source::Tidegate(Box::new(recording)))
            .collect();
        if !self.taps.is_empty() {
            // Those whose beginning is unknown come last, in the order in which they were given.
            self.taps
                .sort_by_key(|(beginning, order, _)| (beginning.unwrap_or(u64::MAX), *order));
            let files: VecDeque<TapFile> = self.taps.into_iter().map(|(_, _, file)| file).collect();
            let tap = Tap::new(files, self.log, self.options);
            sources.push(Source::Tap {
                tap: Box::new(tap),
                next: None,
            });
        }
        let merge = Merge {
            sources,
            ..Merge::default()
        };
        Ok(RecordingReader {
            merge,
            header,
            first: None,
            counted: self.counted,
        })
    }
}

fn recognise(entries: &Entries) -> Result<InputFormat, RecordingError> {
    let probe: Probe = serde_json::from_slice(entries.entry()).map_err(|error| {
        RecordingError::of_json::<Probe>(entries.name(), entries.entry(), entries.start(), &error)
    })?;
    if probe.format.is_some() {
        return Ok(InputFormat::Tidegate);
    }
    let is_tap = probe.http_buffered_trace.is_some()
        || probe.http_streamed_trace_segment.is_some()
        || probe.socket_buffered_trace.is_some()
        || probe.socket_streamed_trace_segment.is_some();
    if is_tap {
        return Ok(InputFormat::EnvoyTap);
    }
    let found =
        "an object without `format`, `http_buffered_trace` and `http_streamed_trace_segment`"
            .to_owned();
    let problem = RecordingProblem::UnknownFormat { found };
    Err(RecordingError::of_entry(
        entries.name(),
        entries.entry(),
        entries.start(),
        (1, 1),
        problem,
    ))
}

fn header_of(recordings: &[Jsonl]) -> Header {
    let mut headers = recordings.iter().map(Jsonl::header);
    let Some(first) = headers.next() else {
        return Header {
            format: Format::default(),
            source: "envoy-tap".to_owned(),
            producer: super::PRODUCER.to_owned(),
            ..Header::default()
        };
    };
    let mut merged = first.clone();
    for header in headers {
        if merged.source != header.source {
            "mixed".clone_into(&mut merged.source);
        }
        if merged.envoy != header.envoy {
            merged.envoy = None;
        }
        merged.recorded_at_ns = match (merged.recorded_at_ns, header.recorded_at_ns) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        for cluster in &header.clusters {
            merge_cluster(&mut merged.clusters, cluster);
        }
    }
    merged
}

/// Adds the endpoints of a cluster that aren't known yet.
pub(super) fn merge_cluster(clusters: &mut Vec<Cluster>, cluster: &Cluster) {
    let index = clusters.iter().position(|known| known.name == cluster.name);
    let Some(known) = index.and_then(|index| clusters.get_mut(index)) else {
        clusters.push(cluster.clone());
        return;
    };
    for endpoint in &cluster.endpoints {
        if !known.endpoints.contains(endpoint) {
            known.endpoints.push(endpoint.clone());
        }
    }
}

fn files_of(directory: &Path) -> Result<Vec<PathBuf>, RecordingError> {
    let failed = |error| {
        RecordingError::of_input(
            &directory.display().to_string(),
            RecordingProblem::Io(error),
        )
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let plain = name.strip_suffix(".gz").unwrap_or(&name);
        if !name.starts_with('.')
            && (plain.ends_with(".json") || plain.ends_with(".jsonl"))
            && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
