//! Reads one file and measures that, in a process that does nothing else.

use std::path::Path;

use cpu_time::ThreadTime;
use serde::{Deserialize, Serialize};

use crate::recording::{ReadOptions, RecordingReader};

/// What reading a file took.
#[derive(Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Bytes of the file.
    pub bytes: u64,
    /// Events that were read.
    pub events: u64,
    /// Streams that were read.
    pub streams: u64,
    /// Processor time, in nanoseconds.
    pub nanoseconds: u64,
    /// How far the resident set grew at its highest, in bytes; `None` where the system doesn't say.
    pub peak_growth_bytes: Option<u64>,
    /// What the reader says that its buffers held at most, in bytes.
    pub peak_buffered_bytes: u64,
}

/// Reads the file to its end.
///
/// # Errors
/// It can't be read or is malformed.
pub fn measure(path: &Path) -> anyhow::Result<Measurement> {
    let before = memory("VmRSS:");
    let begin = ThreadTime::now();
    let mut reader = RecordingReader::open(&[path], &ReadOptions::default())?;
    while reader.next()?.is_some() {}
    let elapsed = begin.elapsed();
    let highest = memory("VmHWM:");
    let statistics = reader.statistics();
    Ok(Measurement {
        bytes: statistics.bytes,
        events: statistics.events,
        streams: statistics.streams,
        nanoseconds: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
        peak_growth_bytes: before
            .zip(highest)
            .map(|(before, highest)| highest.saturating_sub(before)),
        peak_buffered_bytes: statistics.peak_buffered_bytes as u64,
    })
}

/// Reads a line of `/proc/self/status`, in bytes.
pub(crate) fn memory(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
