//! Makes a source of events of files in a foreign format.
//!
//! Model: a [`Converter`] cuts entries and makes events of each; the events are put into the order of time and the streams
//! numbered. Where an entry is malformed and the reader is told to keep going, it is counted, and the next one is looked for.

mod context;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::path::PathBuf;

pub(super) use self::context::{Context, Opening, UNKNOWN_STEP_NS, close, mixed_number};
use super::entries::Entries;
use super::error::RecordingError;
use super::event::{Event, EventKind};
use super::reader::{ReadOptions, Statistics};
use super::scan::Recovery;

/// What is known of a foreign format.
pub(super) trait Converter: fmt::Debug + Send {
    /// Returns the name of the source, as far as what was read shows it.
    fn source(&self) -> &'static str;

    /// Says how the next entry is found behind one that is malformed.
    fn recovery(&self) -> Recovery;

    /// Cuts the next entry; `false` at the end of the file.
    fn cut(&mut self, entries: &mut Entries) -> Result<bool, RecordingError>;

    /// Makes events of the entry.
    fn convert(&mut self, entries: &Entries, context: &mut Context) -> Result<(), RecordingError>;

    /// Takes note that a malformed entry was passed over.
    fn recovered(&mut self) {}

    /// Returns how many bytes of events were held at most, besides those that wait for their turn.
    fn peak_bytes(&self) -> usize {
        0
    }

    /// Ends what can't go on in another file.
    fn end_file(&mut self, _context: &mut Context) {}

    /// Ends what is left when every file was read.
    fn end(&mut self, _context: &mut Context) {}
}

/// A file that is still to be read.
#[derive(Debug)]
pub(super) enum InputFile {
    /// It is opened when its turn comes: there may be more files than may be open.
    Closed(PathBuf),
    /// It was opened to look at its first entry, and can't be opened twice.
    Open(Entries),
}

/// All files of one format.
#[derive(Debug)]
pub(super) struct Importer {
    files: VecDeque<InputFile>,
    entries: Option<Entries>,
    converter: Box<dyn Converter>,
    max_entry_bytes: usize,
    keep_going: bool,
    is_over: bool,
    context: Context,
    /// Numbers that open streams were given when they came out in the order of time.
    numbers: HashMap<u64, u64>,
    last_number: u64,
    used_bytes: u64,
    used_peak: usize,
}

impl Importer {
    /// Makes a source of these files, in the order in which they begin.
    pub(super) fn new(
        files: VecDeque<InputFile>,
        converter: Box<dyn Converter>,
        options: &ReadOptions,
    ) -> Self {
        Self {
            files,
            entries: None,
            converter,
            max_entry_bytes: options.max_entry_bytes,
            keep_going: options.keep_going,
            is_over: false,
            context: Context::new(options),
            numbers: HashMap::new(),
            last_number: 0,
            used_bytes: 0,
            used_peak: 0,
        }
    }

    /// Adds what was counted so far to `statistics`.
    pub(super) fn add_to(&self, statistics: &mut Statistics) {
        let entries = self.entries.as_ref();
        statistics.bytes += self.used_bytes + entries.map_or(0, Entries::bytes);
        let peak = self.used_peak.max(entries.map_or(0, Entries::peak_bytes));
        statistics.peak_buffered_bytes += peak + self.converter.peak_bytes();
        statistics.open_streams += self.numbers.len();
        self.context.add_to(statistics);
    }

    /// Returns the name of the source, as far as the files that were read show it.
    pub(super) fn source(&self) -> &'static str {
        self.converter.source()
    }

    /// Returns the next event in the order of time; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event<'static>>, RecordingError> {
        loop {
            if let Some(event) = self.context.pop(self.is_over) {
                return Ok(Some(self.number(event)));
            }
            if self.is_over {
                return Ok(None);
            }
            self.read()?;
        }
    }

    /// Reads one entry, or goes to the next file.
    fn read(&mut self) -> Result<(), RecordingError> {
        let Some(entries) = &mut self.entries else {
            self.entries = match self.files.pop_front() {
                Some(InputFile::Open(entries)) => Some(entries),
                Some(InputFile::Closed(path)) => Some(Entries::open(&path, self.max_entry_bytes)?),
                None => {
                    self.converter.end(&mut self.context);
                    self.is_over = true;
                    None
                }
            };
            return Ok(());
        };
        let read = match self.converter.cut(entries) {
            Ok(true) => self.converter.convert(entries, &mut self.context),
            Ok(false) => {
                self.end_file();
                return Ok(());
            }
            Err(error) => Err(error),
        };
        let Err(error) = read else {
            return Ok(());
        };
        if !self.keep_going || !error.is_recoverable() {
            return Err(error);
        }
        self.context.statistics.malformed.note(&error);
        if entries.recover(self.converter.recovery(), error.is_syntax())? {
            self.converter.recovered();
        } else {
            self.end_file();
        }
        Ok(())
    }

    fn end_file(&mut self) {
        if let Some(entries) = self.entries.take() {
            self.used_bytes += entries.bytes();
            self.used_peak = self.used_peak.max(entries.peak_bytes());
        }
        self.converter.end_file(&mut self.context);
    }

    /// Numbers the streams from 1 in the order in which they open.
    fn number(&mut self, mut event: Event<'static>) -> Event<'static> {
        let id = event.stream;
        event.stream = match event.kind {
            EventKind::Open(_) => {
                self.last_number += 1;
                self.numbers.insert(id, self.last_number);
                self.last_number
            }
            EventKind::Close(_) => self.numbers.remove(&id).unwrap_or(id),
            _ => self.numbers.get(&id).copied().unwrap_or(id),
        };
        event
    }
}
