//! What the plugins log, and where they trap, while the replay goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_host::{LogLevel, LogLine, Observer, VmEvent};

use super::exchange::{Log, Trap};

/// Lines of one stream that are kept; a filter that logs in a loop must not fill the memory.
const LOGS_MAX: usize = 1_000;
/// The longest line that is kept, in bytes.
const LOG_BYTES_MAX: usize = 4_096;

/// What was seen since it was last taken.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) logs: Vec<Log>,
    pub(crate) traps: Vec<Trap>,
}

/// The replay's end of the observer.
#[derive(Debug, Clone)]
pub(crate) struct Watching {
    seen: Arc<Mutex<Seen>>,
    is_new: Arc<AtomicBool>,
}

/// The proxy's end.
#[derive(Debug)]
pub(crate) struct Eyes {
    watching: Watching,
    level: LogLevel,
}

impl Watching {
    /// Makes both ends; lines below `level` aren't kept.
    pub(crate) fn new(level: LogLevel) -> (Self, Eyes) {
        let watching = Self {
            seen: Arc::default(),
            is_new: Arc::default(),
        };
        (watching.clone(), Eyes { watching, level })
    }

    /// Takes what was seen since the last time; `None` when that is nothing, which costs next to nothing.
    pub(crate) fn take(&self) -> Option<Seen> {
        self.is_new
            .swap(false, Ordering::Relaxed)
            .then(|| std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        self.is_new.store(true, Ordering::Relaxed);
    }
}

impl Observer for Eyes {
    fn log(&mut self, line: LogLine<'_>) {
        if line.level < self.level {
            return;
        }
        self.watching.note(|seen| {
            if seen.logs.len() < LOGS_MAX {
                let message = line.message.get(..LOG_BYTES_MAX).unwrap_or(line.message);
                let message = String::from_utf8_lossy(message).into_owned();
                seen.logs.push(Log {
                    level: line.level.name(),
                    message,
                });
            }
        });
    }

    fn vm(&mut self, event: VmEvent<'_>) {
        let VmEvent::Trapped {
            place,
            callback,
            message,
        } = event
        else {
            return;
        };
        self.watching.note(|seen| {
            seen.traps.push(Trap {
                plugin: place.plugin.to_owned(),
                callback: callback.to_owned(),
                thread: place.thread.to_string(),
                message: message.to_owned(),
            });
        });
    }
}
