//! Reads what the plugin logs.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tidegate_host::{LogLine, Observer, VmEvent};

/// How many bytes of a secret in a row make a leak: fewer turn up by chance, in words as
/// `response`.
const LEAK_BYTES: usize = 10;

/// Reads every log line, and looks for cookies and keys in it.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch(Arc<Mutex<WatchState>>);

#[derive(Debug, Default)]
pub(super) struct WatchState {
    pub(super) traps: u64,
    pub(super) leaks: u64,
    pub(super) lines: u64,
    /// What may be in no line: keys, and the cookies of the request that is running.
    keys: Vec<Vec<u8>>,
    cookies: Vec<Vec<u8>>,
    /// Lines that were looked at against every key; few, because lines hold no values.
    seen: BTreeSet<Vec<u8>>,
    /// Lines of the request that is running.
    current: Vec<Vec<u8>>,
}

impl Watch {
    pub(super) fn state(&self) -> MutexGuard<'_, WatchState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forbids these keys in every line, the ones that were logged already included.
    pub(super) fn forbid(&self, keys: &str) {
        let mut state = self.state();
        state.keys = keys.split(',').map(|key| key.as_bytes().to_vec()).collect();
        let state = &mut *state;
        let leaks = state
            .seen
            .iter()
            .filter(|line| state.keys.iter().any(|key| shares(line, key)))
            .count();
        state.leaks += u64::try_from(leaks).unwrap_or(u64::MAX);
    }

    /// Begins a request that carries these cookies.
    pub(super) fn begin(&self, cookies: &[&[u8]]) {
        let mut state = self.state();
        state.current.clear();
        state.cookies.clear();
        state
            .cookies
            .extend(cookies.iter().map(|cookie| cookie.to_vec()));
    }

    /// Forbids a value in the lines of the request that is running.
    pub(super) fn check_last(&self, value: &[u8]) {
        let mut state = self.state();
        let leaks = state
            .current
            .iter()
            .filter(|line| shares(line, value))
            .count();
        state.leaks += u64::try_from(leaks).unwrap_or(u64::MAX);
    }
}

impl Observer for Watch {
    fn log(&mut self, line: LogLine<'_>) {
        let mut state = self.state();
        state.lines += 1;
        state.current.push(line.message.to_vec());
        // A line that came before for other cookies holds nothing of these ones.
        if state.seen.contains(line.message) {
            return;
        }
        state.seen.insert(line.message.to_vec());
        if state
            .keys
            .iter()
            .chain(&state.cookies)
            .any(|secret| shares(line.message, secret))
        {
            state.leaks += 1;
        }
    }

    fn vm(&mut self, event: VmEvent<'_>) {
        if matches!(event, VmEvent::Trapped { .. }) {
            self.state().traps += 1;
        }
    }
}

/// Whether a line holds some bytes in a row of a secret.
fn shares(line: &[u8], secret: &[u8]) -> bool {
    let parts: BTreeSet<&[u8]> = line.windows(LEAK_BYTES).collect();
    !parts.is_empty() && secret.windows(LEAK_BYTES).any(|part| parts.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_with_a_part_of_a_secret_is_found() {
        let secret = b"tidegate-echo=AQHVj5b-a723Y8qNbPDKBaSAmJOM";
        assert!(shares(b"cookie Y8qNbPDKBaSA refused", secret));
        assert!(!shares(b"request: refused_unauthentic", secret));
        assert!(!shares(b"short", secret));
        assert!(!shares(b"", b""));
    }
}
