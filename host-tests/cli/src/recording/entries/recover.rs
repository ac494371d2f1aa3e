//! Finds the next entry behind one that is malformed.

use super::super::error::RecordingError;
use super::super::scan::{Recovery, Scan};
use super::{Entries, READ_BYTES};

impl Entries {
    /// Goes on behind a malformed entry: at the next place that looks like the beginning of one, in what was taken
    /// for the entry or in what follows. `is_syntax` says that the entry may have swallowed those behind it.
    /// Returns whether there is such a place; if the entry was a whole one and nothing suggests more, it is what follows.
    pub(in super::super) fn recover(
        &mut self,
        recovery: Recovery,
        is_syntax: bool,
    ) -> Result<bool, RecordingError> {
        self.again = false;
        let is_whole = self.entry.len() <= self.limit;
        if is_whole && (!is_syntax || recovery.is_blind()) {
            return Ok(true);
        }
        let entry = std::mem::take(&mut self.entry);
        if let Some(at) = recovery.find(&entry, 1) {
            self.next = self.start.after(entry.get(..at).unwrap_or_default());
            let rest = entry.get(at..).unwrap_or_default().to_vec();
            self.bytes -= rest.len() as u64;
            self.put_back(rest);
            return Ok(true);
        }
        if is_whole && Scan::is_object(&entry) {
            return Ok(true);
        }
        self.skip_to(recovery, entry)
    }

    /// Drops what is read until something looks like a beginning, keeping only what may be the first bytes of one.
    fn skip_to(&mut self, recovery: Recovery, before: Vec<u8>) -> Result<bool, RecordingError> {
        let mut window = before;
        let mut is_first = true;
        loop {
            // What was searched is dropped but for its end, in which a beginning may be cut in two.
            let keep = window.len().saturating_sub(recovery.longest());
            window.drain(..keep);
            let searched = if is_first { 1 } else { 0 };
            is_first = false;
            let chunk = self.chunk()?;
            if chunk.is_empty() {
                return Ok(false);
            }
            let taken = chunk.len().min(READ_BYTES);
            window.extend_from_slice(chunk.get(..taken).unwrap_or_default());
            self.consume(taken);
            let new = window.len() - taken;
            if let Some(at) = recovery.find(&window, searched.min(window.len())) {
                let rest = window.get(at..).unwrap_or_default().to_vec();
                if at >= new {
                    self.next = self.next.after(window.get(new..at).unwrap_or_default());
                } else {
                    // It began in what was counted already, on one line.
                    self.next.column = self.next.column.saturating_sub((new - at) as u64).max(1);
                }
                self.bytes -= rest.len() as u64;
                self.put_back(rest);
                return Ok(true);
            }
            self.next = self.next.after(window.get(new..).unwrap_or_default());
        }
    }
}
