//! Finds out what the inputs are.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::access_log::AccessLog;
use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::header::{Cluster, Format, Header};
use super::jsonl::Jsonl;
use super::merge::{Merge, Source};
use super::reader::{InputFormat, ReadOptions, RecordingReader, Statistics};
use super::tap::{Tap, TapFile};

/// Collects inputs until it is known what they are.
#[derive(Debug)]
pub(super) struct Inputs<'a> {
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
    /// Reads the access logs.
    pub(super) fn new(options: &'a ReadOptions) -> Result<Self, RecordingError> {
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
    pub(super) fn add(
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

    /// Makes a reader of them; `name` stands for the inputs in messages.
    pub(super) fn into_reader(mut self, name: &str) -> Result<RecordingReader, RecordingError> {
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
        Ok(RecordingReader::new(
            Merge::new(sources),
            header,
            self.counted,
        ))
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
            && (plain.ends_with(".json") || plain.ends_with(".jsonl"))
            && path.is_file()
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
