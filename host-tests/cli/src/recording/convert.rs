//! Converts recorded traffic into a recording of ours.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek};
use std::path::Path;

use serde::Serialize;
use tempfile::NamedTempFile;

use super::error::RecordingError;
use super::event::EventKind;
use super::header::{Cluster, Format, Header};
use super::inputs::merge_cluster;
use super::malformed::Malformed;
use super::reader::{RecordingReader, Statistics};
use super::redact::Redactor;
use super::write::RecordingWriter;

/// The most clients and endpoints that are told apart while counting.
const DISTINCT_MAX: usize = 1_000_000;

/// What was converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Converted {
    /// What was recorded, as the header says it.
    pub source: String,
    /// Streams.
    pub streams: u64,
    /// Streams with a request and a response.
    pub exchanges: u64,
    /// Connections of clients, or sessions where the recording names them; streams of which neither is known are
    /// not counted.
    pub sessions: u64,
    /// Streams that were upgraded to WebSocket.
    pub websockets: u64,
    /// Bytes of bodies, both ways.
    pub body_bytes: u64,
    /// Pieces of bodies of which the source kept only the beginning.
    pub truncated: u64,
    /// What was left out.
    pub skipped: u64,
    /// Events that were moved because they came too late.
    pub late_events: u64,
    /// Requests that the access log doesn't have.
    pub without_log_entry: u64,
    /// Bytes that were written.
    pub bytes: u64,
    /// What was left out because it is malformed; more than nothing only where the reader keeps going.
    pub malformed: Malformed,
    /// What was taken out of the recording.
    pub redacted: Vec<String>,
    /// Why something was left out, with counts.
    pub skipped_by_reason: Vec<(String, u64)>,
    /// The clusters, with the endpoints that served.
    pub clusters: Vec<(String, u64)>,
}

/// A conversion that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConvertError {
    /// The input is at fault.
    #[error(transparent)]
    Input(#[from] RecordingError),
    /// The output can't be written.
    #[error("can't write the recording")]
    Output(#[source] io::Error),
}

/// Converts all that `reader` yields into the file `output`, which appears complete or not at all.
/// `envoy` is the version of the Envoy that was recorded, if it is known; `redactor` takes secrets out on the way.
///
/// # Errors
/// The input is malformed, the output can't be written.
pub fn convert(
    reader: &mut RecordingReader,
    output: &Path,
    envoy: Option<&str>,
    mut redactor: Option<&mut Redactor>,
) -> Result<Converted, ConvertError> {
    let directory = output
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // The header names the endpoints, which are known at the end: the events are written to a file of their own.
    let events = tempfile::tempfile_in(directory).map_err(ConvertError::Output)?;
    let mut writer = RecordingWriter::headless(BufWriter::new(events));
    let recorded_at_ns = reader.first_time_ns()?;
    let mut clusters: Vec<Cluster> = reader.header().clusters.clone();
    let known = reader.known_clusters().to_vec();
    let mut named = BTreeSet::new();
    let mut sessions = BTreeSet::new();
    let mut cluster_of = std::collections::HashMap::new();
    while let Some(mut event) = reader.next()? {
        if let Some(redactor) = &mut redactor {
            redactor.redact(&mut event);
        }
        match &event.kind {
            EventKind::Open(open) => {
                if let Some(cluster) = &open.cluster {
                    cluster_of.insert(event.stream, cluster.to_string());
                    if named.insert(cluster.to_string()) {
                        let own = known.iter().find(|known| known.name == **cluster);
                        let own = own.cloned().unwrap_or_else(|| Cluster {
                            name: cluster.to_string(),
                            endpoints: Vec::new(),
                        });
                        merge_cluster(&mut clusters, &own);
                    }
                }
                let session = open.session.as_deref().map(str::to_owned);
                let session = session.or_else(|| open.connection.map(|number| number.to_string()));
                if let Some(session) = session.filter(|_| sessions.len() < DISTINCT_MAX) {
                    sessions.insert(session);
                }
            }
            EventKind::Upstream(upstream) => {
                if let Some(name) = cluster_of.get(&event.stream) {
                    let endpoints = vec![upstream.address.to_string()];
                    merge_cluster(
                        &mut clusters,
                        &Cluster {
                            name: name.clone(),
                            endpoints,
                        },
                    );
                }
            }
            EventKind::Close(_) => {
                cluster_of.remove(&event.stream);
            }
            _ => {}
        }
        writer.write(&event).map_err(ConvertError::Output)?;
    }
    for cluster in &mut clusters {
        cluster.endpoints.sort();
    }
    let header = Header {
        format: Format::default(),
        source: reader.source().to_owned(),
        producer: super::PRODUCER.to_owned(),
        envoy: envoy
            .map(str::to_owned)
            .or_else(|| reader.header().envoy.clone()),
        recorded_at_ns: reader.header().recorded_at_ns.or(recorded_at_ns),
        clusters,
        redacted: redactor.map_or_else(
            || reader.header().redacted.clone(),
            |redactor| with_more(redactor.names(), &reader.header().redacted),
        ),
    };
    let events = writer
        .finish()
        .and_then(|out| out.into_inner().map_err(io::Error::from));
    let bytes = events.and_then(|events| put_together(events, &header, directory, output));
    let bytes = bytes.map_err(ConvertError::Output)?;
    Ok(Converted::new(
        &reader.statistics(),
        &header,
        sessions.len() as u64,
        bytes,
    ))
}

/// Adds what was taken out before.
fn with_more(mut names: Vec<String>, before: &[String]) -> Vec<String> {
    for name in before {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn put_together(
    mut events: File,
    header: &Header,
    directory: &Path,
    output: &Path,
) -> io::Result<u64> {
    events.rewind()?;
    let whole = NamedTempFile::new_in(directory)?;
    let writer = RecordingWriter::new(BufWriter::new(whole), header)?;
    let mut out = writer.finish()?;
    io::copy(&mut BufReader::new(events), &mut out)?;
    let whole = out.into_inner().map_err(io::Error::from)?;
    let bytes = whole.as_file().metadata()?.len();
    #[cfg(unix)]
    {
        // A temporary file is readable by its owner only; a recording is an ordinary file.
        use std::os::unix::fs::PermissionsExt;
        whole
            .as_file()
            .set_permissions(std::fs::Permissions::from_mode(0o644))?;
    }
    whole.persist(output).map_err(io::Error::from)?;
    Ok(bytes)
}

impl Converted {
    fn new(statistics: &Statistics, header: &Header, sessions: u64, bytes: u64) -> Self {
        Self {
            source: header.source.clone(),
            streams: statistics.streams,
            exchanges: statistics.exchanges,
            sessions,
            websockets: statistics.websockets,
            body_bytes: statistics.body_bytes,
            truncated: statistics.truncated,
            skipped: statistics.skipped.values().sum(),
            late_events: statistics.late_events,
            without_log_entry: statistics.without_log_entry,
            bytes,
            malformed: statistics.malformed.clone(),
            redacted: header.redacted.clone(),
            skipped_by_reason: statistics
                .skipped
                .iter()
                .map(|(reason, count)| ((*reason).to_owned(), *count))
                .collect(),
            clusters: header
                .clusters
                .iter()
                .map(|cluster| (cluster.name.clone(), cluster.endpoints.len() as u64))
                .collect(),
        }
    }
}
