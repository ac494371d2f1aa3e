//! Cuts an input into entries: lines, or JSON objects that follow each other in whatever layout.
//!
//! Why: the JSON parser reads from a slice several times faster than from a stream, borrows from it, and an error can
//! show the text. So the input is cut first, by counting braces, with one buffer of bounded size. What was taken
//! can be put back: that is how a reader looks ahead, and how it goes on behind an entry that is malformed.
//! Limits: an entry is at most as long as [`ReadOptions::max_entry_bytes`](super::ReadOptions) says. Cost: one pass over the bytes.

mod recover;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use memchr::memchr;

use super::error::{Place, RecordingError, RecordingProblem};
use super::scan::Scan;

/// How much is read from a file at once.
const READ_BYTES: usize = 64 * 1024;

/// Where every input begins.
const START: Place = Place { line: 1, column: 1 };

impl Place {
    /// Returns the place behind `bytes` that begin here.
    fn after(self, bytes: &[u8]) -> Self {
        match memchr::memrchr(b'\n', bytes) {
            None => Self {
                column: self.column.saturating_add(bytes.len() as u64),
                ..self
            },
            Some(last) => {
                let lines = memchr::memchr_iter(b'\n', bytes).count() as u64;
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
    /// What was put back; it is read before the input.
    pushed: Vec<u8>,
    pushed_at: usize,
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
            pushed: Vec::new(),
            pushed_at: 0,
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

    /// Returns the next bytes without taking them: as many as there are up to `count`, in reads of whatever size until
    /// `is_enough` says that more isn't needed.
    pub(super) fn look_ahead(
        &mut self,
        count: usize,
        mut is_enough: impl FnMut(&[u8]) -> bool,
    ) -> Result<&[u8], RecordingError> {
        let mut ahead = Vec::new();
        while ahead.len() < count && !is_enough(&ahead) {
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                break;
            }
            let taken = chunk.len();
            ahead.extend_from_slice(chunk);
            self.consume(taken);
        }
        self.bytes -= ahead.len() as u64;
        self.put_back(ahead);
        self.chunk()
    }

    /// Reads the next line that isn't blank; `false` at the end.
    pub(super) fn next_line(&mut self) -> Result<bool, RecordingError> {
        if std::mem::take(&mut self.again) {
            return Ok(true);
        }
        loop {
            self.entry.clear();
            self.start = self.next;
            let ended = self.read_line()?;
            if self.entry.is_empty() && !ended {
                return Ok(false);
            }
            if self.entry.last() == Some(&b'\r') {
                self.entry.pop();
            }
            if !self.entry.iter().all(u8::is_ascii_whitespace) {
                return Ok(true);
            }
        }
    }

    /// Reads up to the end of a line and says whether it was there; the end itself isn't kept.
    fn read_line(&mut self) -> Result<bool, RecordingError> {
        loop {
            let chunk = match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.failed(error)),
            };
            if chunk.is_empty() {
                return Ok(false);
            }
            let end = memchr(b'\n', chunk);
            let line = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
            let length = line.len();
            self.entry.extend_from_slice(line);
            self.consume(length);
            self.next.column += length as u64;
            self.note_peak();
            if self.entry.len() > self.limit {
                return Err(self.too_long());
            }
            if end.is_some() {
                self.consume(1);
                self.next = Place {
                    line: self.next.line + 1,
                    column: 1,
                };
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
        match self.skip_blank()? {
            None => return Ok(false),
            Some(b'{') => {}
            Some(_) => return Err(self.unexpected("an object, `{`")),
        }
        self.start = self.next;
        let mut scan = Scan::default();
        loop {
            let chunk = match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.failed(error)),
            };
            if chunk.is_empty() {
                // The parser says what is missing at the end of an object that was cut off.
                return Ok(true);
            }
            let (taken, complete) = scan.run(chunk);
            let bytes = chunk.get(..taken).unwrap_or_default();
            self.next = self.next.after(bytes);
            self.entry.extend_from_slice(bytes);
            self.consume(taken);
            self.note_peak();
            if self.entry.len() > self.limit {
                return Err(self.too_long());
            }
            if complete {
                return Ok(true);
            }
        }
    }

    /// Reads up to a separator, which isn't kept, or to the end; `false` when nothing is left.
    pub(super) fn next_until(&mut self, separator: &[u8]) -> Result<bool, RecordingError> {
        if std::mem::take(&mut self.again) {
            return Ok(true);
        }
        self.entry.clear();
        self.start = self.next;
        let Some(&last) = separator.last() else {
            return Ok(false);
        };
        loop {
            let chunk = match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.failed(error)),
            };
            if chunk.is_empty() {
                return Ok(!self.entry.is_empty());
            }
            // The separator's last byte is found first; what is before it may stand in an earlier chunk.
            let mut found = false;
            let mut taken = chunk.len();
            let before = self.entry.len();
            let mut copied = 0;
            for at in memchr::memchr_iter(last, chunk) {
                self.entry
                    .extend_from_slice(chunk.get(copied..=at).unwrap_or_default());
                copied = at + 1;
                if self.entry.ends_with(separator) {
                    found = true;
                    taken = at + 1;
                    break;
                }
            }
            if !found {
                self.entry
                    .extend_from_slice(chunk.get(copied..).unwrap_or_default());
            }
            let new = self.entry.get(before..).unwrap_or_default();
            self.next = self.next.after(new);
            self.consume(taken);
            self.note_peak();
            if found {
                self.entry.truncate(self.entry.len() - separator.len());
            }
            if self.entry.len() > self.limit {
                if found {
                    // What follows the separator is good: it is found again.
                    self.next = self.start.after(&self.entry);
                    self.bytes -= separator.len() as u64;
                    self.put_back(separator.to_vec());
                }
                return Err(self.too_long());
            }
            if found {
                return Ok(true);
            }
        }
    }

    /// Goes past white space and returns the byte behind it without taking it; `None` at the end.
    pub(super) fn skip_blank(&mut self) -> Result<Option<u8>, RecordingError> {
        loop {
            let chunk = match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.failed(error)),
            };
            if chunk.is_empty() {
                return Ok(None);
            }
            let blank = chunk
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace())
                .count();
            let found = chunk.get(blank).copied();
            self.next = self.next.after(chunk.get(..blank).unwrap_or_default());
            self.consume(blank);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// Takes one byte that was looked at and is no line end.
    pub(super) fn take_byte(&mut self) {
        self.next.column += 1;
        self.consume(1);
    }

    /// Goes past a JSON value of whatever size without keeping it. Where a string is wanted, `keep` holds it, quotes included.
    pub(super) fn skip_value(
        &mut self,
        mut keep: Option<&mut Vec<u8>>,
    ) -> Result<(), RecordingError> {
        let is_scalar = match self.skip_blank()? {
            Some(b'{' | b'[' | b'"') => false,
            Some(b'}' | b']' | b',' | b':') | None => return Err(self.unexpected("a value")),
            Some(_) => true,
        };
        let mut scan = Scan::default();
        loop {
            let chunk = match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
                Ok(chunk) => chunk,
                Err(error) => return Err(self.failed(error)),
            };
            if chunk.is_empty() {
                return if is_scalar {
                    Ok(())
                } else {
                    Err(self.unexpected("the end of a value"))
                };
            }
            let (taken, complete) = if is_scalar {
                Scan::scalar(chunk)
            } else {
                scan.run(chunk)
            };
            let bytes = chunk.get(..taken).unwrap_or_default();
            self.next = self.next.after(bytes);
            if let Some(keep) = &mut keep {
                keep.extend_from_slice(bytes);
            }
            self.consume(taken);
            if keep.as_ref().is_some_and(|keep| keep.len() > self.limit) {
                return Err(self.too_long());
            }
            if complete {
                return Ok(());
            }
        }
    }

    /// Makes an error for what stands at the place that was reached.
    pub(super) fn unexpected(&mut self, expected: &str) -> RecordingError {
        self.start = self.next;
        let line = match self.chunk() {
            Ok(chunk) => {
                let line = chunk.get(..chunk.len().min(200)).unwrap_or_default();
                line.split(|&byte| byte == b'\n')
                    .next()
                    .unwrap_or_default()
                    .to_vec()
            }
            Err(error) => return error,
        };
        let found = if line.is_empty() {
            " before the end of the file"
        } else {
            ""
        };
        let problem = RecordingProblem::Json {
            message: format!("expected {expected}{found}"),
        };
        RecordingError::of_entry(&self.name, &line, self.start, (1, 1), problem)
    }

    fn skip_byte_order_mark(&mut self) -> Result<(), RecordingError> {
        if self.chunk()?.starts_with(b"\xef\xbb\xbf") {
            self.consume(3);
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<&[u8], RecordingError> {
        match Self::chunk_of(&self.pushed, self.pushed_at, &mut self.input) {
            Ok(chunk) => Ok(chunk),
            Err(error) => Err(RecordingError::of_input(
                &self.name,
                RecordingProblem::Io(error),
            )),
        }
    }

    /// Returns what is to be read next; empty at the end. Takes the parts that it needs, so that the entry can be
    /// written meanwhile.
    fn chunk_of<'a>(
        pushed: &'a [u8],
        pushed_at: usize,
        input: &'a mut Box<dyn BufRead + Send>,
    ) -> io::Result<&'a [u8]> {
        match pushed.get(pushed_at..) {
            Some(rest) if !rest.is_empty() => Ok(rest),
            _ => {
                loop {
                    match input.fill_buf() {
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => return Err(error),
                        Ok(_) => break,
                    }
                }
                // The buffer is full: this doesn't read again.
                input.fill_buf()
            }
        }
    }

    fn consume(&mut self, count: usize) {
        self.bytes += count as u64;
        if self.pushed_at < self.pushed.len() {
            self.pushed_at += count;
            if self.pushed_at >= self.pushed.len() {
                self.pushed = Vec::new();
                self.pushed_at = 0;
            }
        } else {
            self.input.consume(count);
        }
    }

    fn put_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(self.pushed.get(self.pushed_at..).unwrap_or_default());
        self.pushed = bytes;
        self.pushed_at = 0;
        self.note_peak();
    }

    fn note_peak(&mut self) {
        let held = self.entry.capacity() + self.pushed.capacity() + READ_BYTES;
        self.peak = self.peak.max(held);
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
