//! Finds out what the inputs are.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access_log::{AccessLog, FieldMap, LogLines};
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::goreplay::GoReplay;
use super::har::Har;
use super::header::{Cluster, Format, Header};
use super::import::{Converter, Importer, InputFile};
use super::jsonl::Jsonl;
use super::merge::{Merge, Source};
use super::reader::{InputFormat, ReadOptions, RecordingReader, Statistics};
use super::scan::Recovery;
use super::tap::Tap;

/// How much is looked at to recognise a format that isn't recognised by its first entry.
const LOOK_AHEAD_BYTES: usize = 64 * 1024;

/// Collects inputs until it is known what they are.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
    options: &'a ReadOptions,
    log: AccessLog,
    fields: FieldMap,
    recordings: Vec<Jsonl>,
    taps: Files,
    logs: Files,
    captures: Files,
    /// Each is a source of its own: users record at the same time.
    hars: Vec<InputFile>,
    counted: Statistics,
}

/// Files of one format; they are read one after the other, in the order in which they begin.
#[derive(Debug, Default)]
struct Files(Vec<(Option<u64>, usize, InputFile)>);

impl Files {
    fn add(&mut self, beginning: Option<u64>, file: InputFile) {
        let order = self.0.len();
        self.0.push((beginning, order, file));
    }

    /// Those whose beginning is unknown come last, in the order in which they were given.
    fn in_order(mut self) -> VecDeque<InputFile> {
        self.0
            .sort_by_key(|(beginning, order, _)| (beginning.unwrap_or(u64::MAX), *order));
        self.0.into_iter().map(|(_, _, file)| file).collect()
    }
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
    /// Reads the access logs and the field map.
    pub(super) fn new(options: &'a ReadOptions) -> Result<Self, RecordingError> {
        let fields = match &options.fields {
            Some(path) => FieldMap::open(path, options.max_entry_bytes)?,
            None => FieldMap::default(),
        };
        let mut log = AccessLog::default();
        let mut counted = Statistics::default();
        for path in &options.access_logs {
            let malformed = options.keep_going.then_some(&mut counted.malformed);
            log.read(path, options.max_entry_bytes, &fields, malformed)?;
        }
        Ok(Self {
            options,
            log,
            fields,
            recordings: Vec::new(),
            taps: Files::default(),
            logs: Files::default(),
            captures: Files::default(),
            hars: Vec::new(),
            counted,
        })
    }

    /// Adds an input. It is closed and opened again later if it has a `path`.
    pub(super) fn add(
        &mut self,
        mut entries: Entries,
        path: Option<PathBuf>,
        may_be_empty: bool,
    ) -> Result<(), RecordingError> {
        if entries.skip_blank()?.is_none() {
            if may_be_empty {
                self.counted.skip("empty files");
                return Ok(());
            }
            return Err(RecordingError::of_input(
                entries.name(),
                RecordingProblem::Empty,
            ));
        }
        // A file that is opened again is read from its beginning: what is malformed there is counted then.
        let is_kept = path.is_none();
        let format = match self.options.from {
            Some(format) => format,
            None => self.recognise(&mut entries, is_kept)?,
        };
        match format {
            InputFormat::Tidegate => {
                let jsonl = Jsonl::new(entries, self.options.keep_going)?;
                self.recordings.push(jsonl);
            }
            InputFormat::EnvoyTap => {
                self.find_object(&mut entries, is_kept)?;
                let beginning = Tap::beginning(entries.entry(), &self.log);
                self.taps.add(beginning, file(entries, path));
            }
            InputFormat::AccessLog => {
                self.find_object(&mut entries, is_kept)?;
                let beginning = self.fields.beginning(entries.entry());
                self.logs.add(beginning, file(entries, path));
            }
            InputFormat::Goreplay => {
                let beginning = entries.look_ahead(LOOK_AHEAD_BYTES, |ahead| {
                    memchr::memchr(b'\n', ahead).is_some()
                })?;
                let beginning = GoReplay::beginning(beginning);
                self.captures.add(beginning, file(entries, path));
            }
            InputFormat::Har => self.hars.push(file(entries, path)),
        }
        Ok(())
    }

    /// Finds out the format of an input by how it begins.
    fn recognise(
        &mut self,
        entries: &mut Entries,
        is_kept: bool,
    ) -> Result<InputFormat, RecordingError> {
        let beginning = entries.look_ahead(LOOK_AHEAD_BYTES, |ahead| {
            Har::recognises(ahead).is_some() && GoReplay::recognises(ahead).is_some()
        })?;
        if Har::recognises(beginning) == Some(true) {
            return Ok(InputFormat::Har);
        }
        if GoReplay::recognises(beginning) == Some(true) {
            return Ok(InputFormat::Goreplay);
        }
        loop {
            self.find_object(entries, is_kept)?;
            match recognise(entries, &self.fields) {
                Ok(format) => return Ok(format),
                Err(error) => self.pass_over(error, entries, is_kept)?,
            }
        }
    }

    /// Reads the first object, to look at it, and gives it again.
    fn find_object(&mut self, entries: &mut Entries, is_kept: bool) -> Result<(), RecordingError> {
        loop {
            match entries.next_object() {
                Ok(true) => {
                    entries.give_again();
                    return Ok(());
                }
                Ok(false) => return Ok(()),
                Err(error) => self.pass_over(error, entries, is_kept)?,
            }
        }
    }

    /// Goes on behind a malformed beginning, as where a log was rotated.
    ///
    /// # Errors
    /// The one that was found, if it isn't to be passed over or nothing follows.
    fn pass_over(
        &mut self,
        error: RecordingError,
        entries: &mut Entries,
        is_kept: bool,
    ) -> Result<(), RecordingError> {
        if !self.options.keep_going
            || !error.is_recoverable()
            || !entries.recover(Recovery::LineStart, error.is_syntax())?
        {
            return Err(error);
        }
        if is_kept {
            self.counted.malformed.note(&error);
        }
        Ok(())
    }

    /// Makes a reader of them; `name` stands for the inputs in messages.
    pub(super) fn into_reader(self, name: &str) -> Result<RecordingReader, RecordingError> {
        let is_recognised = self.options.from.is_none();
        if is_recognised && !self.taps.0.is_empty() && !self.logs.0.is_empty() {
            return Err(RecordingError::of_input(
                name,
                RecordingProblem::LogBesideTaps,
            ));
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
        let mut foreign: Vec<(VecDeque<InputFile>, Box<dyn Converter>)> = vec![
            (self.taps.in_order(), Box::new(Tap::new(self.log))),
            (self.logs.in_order(), Box::new(LogLines::new(self.fields))),
            (
                self.captures.in_order(),
                Box::new(GoReplay::new(self.options.reorder_window_ns)),
            ),
        ];
        for har in self.hars {
            foreign.push((VecDeque::from([har]), Box::new(Har::default())));
        }
        for (files, converter) in foreign.into_iter().filter(|(files, _)| !files.is_empty()) {
            sources.push(Source::Foreign {
                importer: Box::new(Importer::new(files, converter, self.options)),
                next: None,
            });
        }
        if sources.is_empty() {
            return Err(RecordingError::of_input(name, RecordingProblem::Empty));
        }
        Ok(RecordingReader::new(
            Merge::new(sources),
            header,
            self.options.known_clusters.clone(),
            self.counted,
        ))
    }
}

fn file(entries: Entries, path: Option<PathBuf>) -> InputFile {
    path.map_or_else(|| InputFile::Open(entries), InputFile::Closed)
}

fn recognise(entries: &Entries, fields: &FieldMap) -> Result<InputFormat, RecordingError> {
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
    if fields.recognises(entries.entry()) {
        return Ok(InputFormat::AccessLog);
    }
    let found = "an object without `format`, `http_buffered_trace`, `http_streamed_trace_segment` and `log`, and without the time and the request of an access log"
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
            source: "mixed".to_owned(),
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
        // What is missing from all of them is missing from what they make together.
        merged
            .redacted
            .retain(|name| header.redacted.contains(name));
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

/// The endings of files that are taken from a directory, `.gz` behind them or not.
const ENDINGS: [&str; 4] = [".json", ".jsonl", ".har", ".gor"];

/// Lists the recordings of a directory by name.
pub(super) fn files_of(directory: &Path) -> Result<Vec<PathBuf>, RecordingError> {
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
            && ENDINGS.iter().any(|ending| plain.ends_with(ending))
            && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
