//! Cuts an input into entries: lines, or JSON objects that follow each other in whatever layout.
//!
//! Why: the JSON parser reads from a slice several times faster than from a stream, borrows from it, and an error can
//! show the text. So the input is cut first, by counting braces, with one buffer of bounded size.
//! Limits: an entry is at most as long as [`ReadOptions::max_entry_bytes`](super::ReadOptions) says. Cost: one pass over the bytes.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::{Place, RecordingError, RecordingProblem};

/// How much is read from a file at once.
const READ_BYTES: usize = 64 * 1024;

/// Where every input begins.
const START: Place = Place { line: 1, column: 1 };

impl Place {
    /// Returns the place behind `bytes` that begin here.
    fn after(self, bytes: &[u8]) -> Self {
        match bytes.iter().rposition(|&byte| byte == b'\n') {
            None => Self {
                column: self.column.saturating_add(bytes.len() as u64),
                ..self
            },
            Some(last) => {
                let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
                Self {
                    line: self.line.saturating_add(lines),
                    column: (bytes.len() - last) as u64,
                }
            }
        }
    }
}

/// An input that is cut into entries.
pub(super) struct Entries {
    name: String,
    input: Box<dyn BufRead + Send>,
    entry: Vec<u8>,
    /// Whether the entry in the buffer was looked at only, and has to be given again.
    again: bool,
    start: Place,
    next: Place,
    limit: usize,
    bytes: u64,
    peak: usize,
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Entries")
            .field("name", &self.name)
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl Entries {
    /// Opens a file, or standard input for `-`; gzip is recognised by its first bytes.
    pub(super) fn open(path: &Path, limit: usize) -> Result<Self, RecordingError> {
        if path.as_os_str() == "-" {
            return Self::new("standard input".to_owned(), Box::new(io::stdin()), limit);
        }
        let name = path.display().to_string();
        let file = File::open(path)
            .map_err(|error| RecordingError::of_input(&name, RecordingProblem::Io(error)))?;
        Self::new(name, Box::new(file), limit)
    }

    /// Cuts what a reader yields.
    pub(super) fn new(
        name: String,
        input: Box<dyn Read + Send>,
        limit: usize,
    ) -> Result<Self, RecordingError> {
        let mut input = BufReader::with_capacity(READ_BYTES, input);
        let start = input
            .fill_buf()
            .map_err(|error| RecordingError::of_input(&name, RecordingProblem::Io(error)))?;
        let input: Box<dyn BufRead + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(BufReader::with_capacity(
                READ_BYTES,
                MultiGzDecoder::new(input),
            ))
        } else {
            Box::new(input)
        };
        let mut entries = Self {
            name,
            input,
            entry: Vec::new(),
            again: false,
            start: START,
            next: START,
            limit,
            bytes: 0,
            peak: 0,
        };
        entries.skip_byte_order_mark()?;
        Ok(entries)
    }

    /// Returns the name of the input for messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns where the entry begins that was read last.
    pub(super) const fn start(&self) -> Place {
        self.start
    }

    /// Returns how many bytes of the input were used, those before unpacking not counted.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the largest number of bytes that the buffers held at a time.
    pub(super) const fn peak_bytes(&self) -> usize {
        self.peak
    }

    /// Returns the entry that was read last.
    pub(super) fn entry(&self) -> &[u8] {
        &self.entry
    }

    /// Makes the next read give the same entry again.
    pub(super) const fn give_again(&mut self) {
        self.again = true;
    }

    /// Reads the next line that isn't blank; `false` at the end.
    pub(super) fn next_line(&mut self) -> Result<bool, RecordingError> {
        if std::mem::take(&mut self.again) {
            return Ok(true);
        }
        loop {
            self.entry.clear();
            self.start = self.next;
            let most = self.limit as u64 + 1;
            let read = (&mut self.input)
                .take(most)
                .read_until(b'\n', &mut self.entry);
            let read = read.map_err(|error| self.failed(error))?;
            self.bytes += read as u64;
            self.note_peak();
            if read == 0 {
                return Ok(false);
            }
            if self.entry.last() == Some(&b'\n') {
                self.entry.pop();
                self.next = Place {
                    line: self.next.line + 1,
                    column: 1,
                };
            } else if self.entry.len() > self.limit {
                return Err(self.too_long());
            }
            if self.entry.last() == Some(&b'\r') {
                self.entry.pop();
            }
            if !self.entry.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// Reads the next JSON object, over as many lines as it takes; `false` at the end.
    pub(super) fn next_object(&mut self) -> Result<bool, RecordingError> {
        if std::mem::take(&mut self.again) {
            return Ok(true);
        }
        self.entry.clear();
        let mut scan = Scan::default();
        loop {
            let chunk = self.input.fill_buf();
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Err(RecordingError::of_input(
                        &self.name,
                        RecordingProblem::Io(error),
                    ));
                }
            };
            if chunk.is_empty() {
                // The parser says what is missing at the end of an object that was cut off.
                return Ok(!self.entry.is_empty());
            }
            let mut used = 0;
            if self.entry.is_empty() {
                used = chunk
                    .iter()
                    .take_while(|byte| byte.is_ascii_whitespace())
                    .count();
                self.next = self.next.after(chunk.get(..used).unwrap_or_default());
                self.start = self.next;
            }
            let rest = chunk.get(used..).unwrap_or_default();
            if self.entry.is_empty() && !rest.is_empty() && rest.first() != Some(&b'{') {
                let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
                let problem = RecordingProblem::Json {
                    message: "expected an object, `{`".to_owned(),
                };
                return Err(RecordingError::of_entry(
                    &self.name,
                    line,
                    self.start,
                    (1, 1),
                    problem,
                ));
            }
            let (taken, complete) = scan.run(rest);
            let taken_bytes = rest.get(..taken).unwrap_or_default();
            self.next = self.next.after(taken_bytes);
            self.entry.extend_from_slice(taken_bytes);
            used += taken;
            self.input.consume(used);
            self.bytes += used as u64;
            self.note_peak();
            if self.entry.len() > self.limit {
                return Err(self.too_long());
            }
            if complete {
                return Ok(true);
            }
        }
    }

    fn skip_byte_order_mark(&mut self) -> Result<(), RecordingError> {
        let start = self
            .input
            .fill_buf()
            .map(|start| start.starts_with(b"\xef\xbb\xbf"));
        if start.map_err(|error| self.failed(error))? {
            self.input.consume(3);
            self.bytes += 3;
        }
        Ok(())
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.entry.capacity() + READ_BYTES);
    }

    fn too_long(&self) -> RecordingError {
        let start: Vec<u8> = self.entry.iter().copied().take(200).collect();
        let problem = RecordingProblem::TooLong {
            limit_bytes: self.limit,
        };
        RecordingError::of_entry(&self.name, &start, self.start, (1, 1), problem)
    }

    fn failed(&self, error: io::Error) -> RecordingError {
        RecordingError::of_input(&self.name, RecordingProblem::Io(error))
    }
}

/// Finds the end of a JSON object by counting braces outside of strings.
#[derive(Debug, Default)]
struct Scan {
    depth: usize,
    in_string: bool,
    escaped: bool,
}

impl Scan {
    /// Goes through `bytes` up to the end of the object; returns how many belong to it and whether it ended.
    fn run(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (index, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                if self.escaped {
                    self.escaped = false;
                } else if byte == b'\\' {
                    self.escaped = true;
                } else if byte == b'"' {
                    self.in_string = false;
                }
                continue;
            }
            match byte {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return (index + 1, true);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}
