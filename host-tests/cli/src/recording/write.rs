//! Writes recordings.

use std::io::{self, Write};

use super::event::Event;
use super::header::Header;
use super::wire::Line;

/// Writes a recording line by line. The same header and events always give the same bytes.
#[derive(Debug)]
pub struct RecordingWriter<W> {
    out: W,
}

impl<W: Write> RecordingWriter<W> {
    /// Begins a recording with its header. `out` should be buffered.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn new(mut out: W, header: &Header) -> io::Result<Self> {
        serde_json::to_writer(&mut out, header)?;
        out.write_all(b"\n")?;
        Ok(Self { out })
    }

    /// Goes on with lines only, for a header that is written elsewhere.
    pub(crate) const fn headless(out: W) -> Self {
        Self { out }
    }

    /// Writes an event. The caller keeps to the order of time.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn write(&mut self, event: &Event<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, &Line(event))?;
        self.out.write_all(b"\n")
    }

    /// Ends the recording and returns what it was written to, flushed.
    ///
    /// # Errors
    /// `out` can't be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
