//! Reads recordings of any format that is known, event by event, in the order of time.
//!
//! Inputs: files, directories of files, standard input; the format is recognised by the first entry.
//! All inputs together are one recording: the files of a format are ordered by time; formats, recordings of ours and HARs are merged.
//! Limits: memory is, for each of those that are merged, the largest entry, the events that are held for the sake of order
//! ([`HELD_BYTES_MAX`](super::HELD_BYTES_MAX)) and some 24 bytes for each open stream; an access log that is joined is held whole.
//! Cost: one pass; recordings of ours are read without a copy.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::entries::Entries;
use super::error::RecordingError;
use super::event::{Event, EventKind};
use super::header::{Cluster, Header};
use super::inputs::{Inputs, files_of};
use super::malformed::Malformed;
use super::merge::{Merge, Source};
use super::session::SessionKey;

/// The longest entry that is read: a line, a trace, an entry of a HAR. One with bodies of some megabytes, in base64, fits.
pub const MAX_ENTRY_BYTES: usize = 64 * 1024 * 1024;

/// How far apart in time events may come in a file of another format than ours: longer than most requests take.
pub const REORDER_WINDOW_NS: u64 = 60_000_000_000;

/// How to read.
#[derive(Debug, Clone)]
pub struct ReadOptions {
    /// The format; `None` recognises it.
    pub from: Option<InputFormat>,
    /// Which cluster a stream of another format than ours goes to when nothing else says so; the first rule that matches.
    pub clusters: Vec<ClusterRule>,
    /// Endpoints of clusters, added to those that a recording names.
    pub endpoints: Vec<Cluster>,
    /// Clusters as a running Envoy lists them. A stream of a tap goes to the one that has its endpoint, if nothing else
    /// says where it goes; those that no stream goes to stay out of the recording.
    pub known_clusters: Vec<Cluster>,
    /// Access logs of the same traffic, which say of a tap's streams what the tap doesn't.
    pub access_logs: Vec<PathBuf>,
    /// What names the session of a stream of another format than ours; [`SessionKey::Auto`] names none.
    pub session: SessionKey,
    /// How far apart in time the events of a file of another format than ours may come, in nanoseconds.
    pub reorder_window_ns: u64,
    /// The longest entry, in bytes.
    pub max_entry_bytes: usize,
    /// Which keys of an access log hold what, in a file; `None` knows the usual ones.
    pub fields: Option<PathBuf>,
    /// Whether a malformed entry is counted and passed over.
    pub keep_going: bool,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            from: None,
            clusters: Vec::new(),
            endpoints: Vec::new(),
            known_clusters: Vec::new(),
            access_logs: Vec::new(),
            session: SessionKey::Auto,
            reorder_window_ns: REORDER_WINDOW_NS,
            max_entry_bytes: MAX_ENTRY_BYTES,
            fields: None,
            keep_going: false,
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
    /// HAR 1.2, as browsers export it.
    Har,
    /// Envoy's access log as JSON, without a tap.
    AccessLog,
    /// What GoReplay writes to a file.
    Goreplay,
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
    /// What was left out because it is malformed.
    pub malformed: Malformed,
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
    known_clusters: Vec<Cluster>,
    first: Option<Event<'static>>,
    counted: Statistics,
}

impl RecordingReader {
    pub(super) const fn new(
        merge: Merge,
        header: Header,
        known_clusters: Vec<Cluster>,
        counted: Statistics,
    ) -> Self {
        Self {
            merge,
            header,
            known_clusters,
            first: None,
            counted,
        }
    }

    /// Opens files and directories, `-` for standard input; of a directory the files that end in `.json`, `.jsonl`, `.har`
    /// and `.gor`, also with `.gz`.
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

    /// Returns the clusters that were known beforehand.
    pub(super) fn known_clusters(&self) -> &[Cluster] {
        &self.known_clusters
    }

    /// Returns the name of what was recorded; for taps, as far as they were read.
    #[must_use]
    pub fn source(&self) -> &str {
        match self.merge.sources.as_slice() {
            [Source::Foreign { importer, .. }] => importer.source(),
            sources => {
                // Several HARs are still a HAR.
                let mut names = sources.iter().filter_map(|source| match source {
                    Source::Foreign { importer, .. } => Some(importer.source()),
                    Source::Tidegate(_) => None,
                });
                match names.next() {
                    None => &self.header.source,
                    Some(first)
                        if names.all(|name| name == first)
                            && sources
                                .iter()
                                .all(|source| matches!(source, Source::Foreign { .. })) =>
                    {
                        first
                    }
                    Some(_) => "mixed",
                }
            }
        }
    }

    /// Returns what was read so far.
    #[must_use]
    pub fn statistics(&self) -> Statistics {
        let mut statistics = self.counted.clone();
        for source in &self.merge.sources {
            match source {
                Source::Foreign { importer, .. } => importer.add_to(&mut statistics),
                Source::Tidegate(jsonl) => {
                    statistics.bytes += jsonl.entries().bytes();
                    statistics.peak_buffered_bytes += jsonl.entries().peak_bytes();
                    statistics.open_streams += jsonl.open_streams();
                    statistics.malformed.add(jsonl.malformed());
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
