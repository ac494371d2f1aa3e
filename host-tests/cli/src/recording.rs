//! Recorded traffic: reading it from any format that is known, and writing our own.
//!
//! [`RecordingReader`] yields [`Event`]s in the order of time and in bounded memory, from Envoy's taps and access logs, from HARs,
//! from files of GoReplay and from recordings of ours; [`RecordingWriter`] writes the latter, and [`convert`] makes one of the other. The format is described
//! in `host-tests/recordings/FORMAT.md`.

mod access_log;
mod client;
mod convert;
mod entries;
mod error;
mod event;
mod goreplay;
mod har;
mod header;
mod import;
mod inputs;
mod jsonl;
pub mod live;
mod malformed;
mod merge;
mod reader;
mod redact;
mod reorder;
mod scan;
mod sequence;
mod session;
mod tap;
mod text;
mod wire;
mod write;

pub use convert::{ConvertError, Converted, convert};
pub use error::{Place, RecordingError, RecordingProblem};
pub use event::{
    Body, Bytes, Close, CloseReason, Event, EventKind, Field, Headers, Open, Trailers, Upstream,
};
pub use header::{Cluster, FORMAT_MAJOR, FORMAT_MINOR, FORMAT_NAME, Format, Header};
pub use malformed::{Malformed, MalformedEntry};
pub use reader::{
    ClusterRule, InputFormat, MAX_ENTRY_BYTES, REORDER_WINDOW_NS, ReadOptions, RecordingReader,
    Statistics,
};
pub use redact::{KeyError, Redactor, Secret};
pub use reorder::HELD_BYTES_MAX;
pub use sequence::{OPEN_STREAMS_MAX, SequenceProblem};
pub(crate) use session::cookie;
pub use session::{SessionKey, SessionKeyError};
pub use write::RecordingWriter;

/// What writes recordings: name and version.
pub const PRODUCER: &str = concat!("tidegate ", env!("CARGO_PKG_VERSION"));
