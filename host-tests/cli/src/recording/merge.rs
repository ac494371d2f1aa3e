//! Reads several sources as one.

use std::collections::HashMap;

use super::error::RecordingError;
use super::event::{Event, EventKind};
use super::import::Importer;
use super::jsonl::Jsonl;

/// Several sources as one, in the order of time.
#[derive(Debug, Default)]
pub(super) struct Merge {
    pub(super) sources: Vec<Source>,
    numbers: HashMap<(usize, u64), u64>,
    last_number: u64,
}

#[derive(Debug)]
pub(super) enum Source {
    Foreign {
        importer: Box<Importer>,
        next: Option<Box<Event<'static>>>,
    },
    Tidegate(Box<Jsonl>),
}

impl Source {
    fn peek_time(&mut self) -> Result<Option<u64>, RecordingError> {
        match self {
            Self::Foreign { importer, next } => {
                if next.is_none() {
                    *next = importer.next()?.map(Box::new);
                }
                Ok(next.as_ref().map(|event| event.time_ns))
            }
            Self::Tidegate(jsonl) => jsonl.peek_time(),
        }
    }

    fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        match self {
            Self::Foreign { importer, next } => next
                .take()
                .map_or_else(|| importer.next(), |event| Ok(Some(*event))),
            Self::Tidegate(jsonl) => jsonl.next(),
        }
    }
}

impl Merge {
    /// Makes one of several.
    pub(super) fn new(sources: Vec<Source>) -> Self {
        Self {
            sources,
            ..Self::default()
        }
    }

    /// Returns the earliest event of all sources; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event<'_>>, RecordingError> {
        if let [_] = self.sources.as_slice() {
            return self.sources.first_mut().map_or(Ok(None), Source::next);
        }
        let mut earliest: Option<(u64, usize)> = None;
        for (index, source) in self.sources.iter_mut().enumerate() {
            if let Some(time_ns) = source.peek_time()? {
                earliest =
                    Some(earliest.map_or((time_ns, index), |best| best.min((time_ns, index))));
            }
        }
        let Some((_, index)) = earliest else {
            return Ok(None);
        };
        let several = self.sources.len() as u64;
        let Some(source) = self.sources.get_mut(index) else {
            return Ok(None);
        };
        let Some(mut event) = source.next()? else {
            return Ok(None);
        };
        let key = (index, event.stream);
        event.stream = match &mut event.kind {
            EventKind::Open(open) => {
                // Numbers of connections count in each recording: interleaved, they stay apart.
                open.connection = open
                    .connection
                    .map(|number| number.wrapping_mul(several).wrapping_add(index as u64));
                self.last_number += 1;
                self.numbers.insert(key, self.last_number);
                self.last_number
            }
            EventKind::Close(_) => self.numbers.remove(&key).unwrap_or_default(),
            _ => self.numbers.get(&key).copied().unwrap_or_default(),
        };
        Ok(Some(event))
    }
}
