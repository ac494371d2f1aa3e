//! Reads our own recordings.

use super::entries::Entries;
use super::error::{RecordingError, RecordingProblem};
use super::event::Event;
use super::header::Header;
use super::malformed::Malformed;
use super::scan::Recovery;
use super::sequence::Sequence;
use super::wire::{KINDS, RawEvent, RawTime};

/// A recording of ours that is being read.
#[derive(Debug)]
pub(super) struct Jsonl {
    entries: Entries,
    header: Header,
    sequence: Sequence,
    keep_going: bool,
    malformed: Malformed,
    /// Whether the line in the buffer was found to be good and is still to be handed out.
    is_good: bool,
}

impl Jsonl {
    /// Reads the header.
    pub(super) fn new(mut entries: Entries, keep_going: bool) -> Result<Self, RecordingError> {
        if !entries.next_line()? {
            return Err(RecordingError::of_input(
                entries.name(),
                RecordingProblem::Empty,
            ));
        }
        Header::check(entries.entry()).map_err(|problem| at_start(&entries, problem))?;
        let header = serde_json::from_slice(entries.entry()).map_err(|error| {
            RecordingError::of_json::<Header>(
                entries.name(),
                entries.entry(),
                entries.start(),
                &error,
            )
        })?;
        Ok(Self {
            entries,
            header,
            sequence: Sequence::default(),
            keep_going,
            malformed: Malformed::default(),
            is_good: false,
        })
    }

    pub(super) const fn header(&self) -> &Header {
        &self.header
    }

    pub(super) const fn entries(&self) -> &Entries {
        &self.entries
    }

    /// Returns how many streams are open.
    pub(super) fn open_streams(&self) -> usize {
        self.sequence.open_streams()
    }

    /// Returns what was left out because it is malformed.
    pub(super) const fn malformed(&self) -> &Malformed {
        &self.malformed
    }

    /// Returns the time of the next event without taking it; `None` at the end.
    pub(super) fn peek_time(&mut self) -> Result<Option<u64>, RecordingError> {
        if self.keep_going {
            if !self.find_good()? {
                return Ok(None);
            }
        } else {
            if !self.entries.next_line()? {
                return Ok(None);
            }
            self.entries.give_again();
        }
        let time = serde_json::from_slice::<RawTime>(self.entries.entry());
        // A line without a time is wrong, and says so when it is read in full: now.
        Ok(Some(time.map_or(0, |time| time.t)))
    }

    /// Reads the next event; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        if self.keep_going {
            if !self.find_good()? {
                return Ok(None);
            }
            // The event borrows from the line, and can't be handed out of the loop that looked for it: it is read twice.
            self.is_good = false;
            return parse(&self.entries).map(Some);
        }
        if !self.entries.next_line()? {
            return Ok(None);
        }
        let event = parse(&self.entries)?;
        self.sequence
            .check(&event)
            .map_err(|problem| at_start(&self.entries, problem))?;
        Ok(Some(event))
    }

    /// Goes past malformed lines to one that is good and counts them; `false` at the end.
    fn find_good(&mut self) -> Result<bool, RecordingError> {
        while !self.is_good {
            let error = match self.entries.next_line() {
                Ok(false) => return Ok(false),
                Ok(true) => match self.check() {
                    Ok(()) => {
                        self.is_good = true;
                        break;
                    }
                    Err(error) => error,
                },
                Err(error) => error,
            };
            if !error.is_recoverable() {
                return Err(error);
            }
            self.malformed.note(&error);
            if !self.entries.recover(Recovery::Line, error.is_syntax())? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check(&mut self) -> Result<(), RecordingError> {
        let event = parse(&self.entries)?;
        self.sequence
            .check(&event)
            .map_err(|problem| at_start(&self.entries, problem))
    }
}

fn parse(entries: &Entries) -> Result<Event<'_>, RecordingError> {
    // Checked once for the whole line, not again for each of its strings; what is no text is refused with its place.
    let raw = match std::str::from_utf8(entries.entry()) {
        Ok(line) => serde_json::from_str::<RawEvent<'_>>(line),
        Err(_) => serde_json::from_slice::<RawEvent<'_>>(entries.entry()),
    };
    let raw = raw.map_err(|error| {
        RecordingError::of_json::<RawEvent<'_>>(
            entries.name(),
            entries.entry(),
            entries.start(),
            &error,
        )
    })?;
    raw.0.ok_or_else(|| {
        let message = format!("expected exactly {KINDS}");
        at_start(
            entries,
            RecordingProblem::Shape {
                path: "$".to_owned(),
                message,
            },
        )
    })
}

fn at_start(entries: &Entries, problem: impl Into<RecordingProblem>) -> RecordingError {
    RecordingError::of_entry(
        entries.name(),
        entries.entry(),
        entries.start(),
        (1, 1),
        problem,
    )
}
