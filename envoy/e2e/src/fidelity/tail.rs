//! Reads Envoy's log while Envoy writes it, and sorts the probes' lines by case.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tidegate_cli::fidelity::{Line, Thread};

use crate::wait;

/// Envoy's log, as far as it was read.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    at: u64,
    /// The beginning of a line whose end is not there yet.
    rest: Vec<u8>,
    main: Option<String>,
    lines: BTreeMap<String, Vec<Line>>,
}

impl Tail {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            at: 0,
            rest: Vec::new(),
            main: None,
            lines: BTreeMap::new(),
        }
    }

    /// Waits until a line of a case has this text.
    pub(super) async fn wait(&mut self, case: &str, text: &str) -> Result<()> {
        wait::until(format!("Envoy logs `{text}`"), async || {
            self.read()?;
            let found = self
                .of(case)
                .iter()
                .any(|line| line.to_string().contains(text));
            Ok(found.then_some(()))
        })
        .await
    }

    /// The lines of a case so far.
    pub(super) fn of(&self, case: &str) -> &[Line] {
        self.lines.get(case).map_or(&[], Vec::as_slice)
    }

    /// Reads what was written since the last time.
    pub(super) fn read(&mut self) -> Result<()> {
        let mut file = File::open(&self.path).context("cannot read Envoy's log")?;
        file.seek(SeekFrom::Start(self.at))?;
        let mut bytes = Vec::new();
        self.at += u64::try_from(file.read_to_end(&mut bytes)?)?;
        self.rest.append(&mut bytes);
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        }
        Ok(())
    }

    /// `[time][thread][level][component] [source] message`
    fn line(&mut self, line: &str) {
        let mut parts = line.splitn(5, '[').skip(1);
        let (Some(_), Some(thread), Some(level), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return;
        };
        let thread = thread.trim_end_matches(']');
        let level = level.trim_end_matches([']', ' ']);
        // The thread that writes first is the main one.
        let main = self.main.get_or_insert_with(|| thread.to_owned());
        let thread = if main == thread {
            Thread::Main
        } else {
            Thread::Worker
        };
        let Some((_, message)) = rest.split_once("] wasm log") else {
            return;
        };
        let Some((prefix, message)) = message.split_once(": ") else {
            return;
        };
        let (case, text) = match Line::of_probe(message) {
            Some((case, text)) => (case.to_owned(), text.to_owned()),
            None => {
                let case = prefix.rsplit(' ').next().unwrap_or_default().to_owned();
                let level = if level == "warning" { "warn" } else { level };
                (case, format!("[{level}] {message}"))
            }
        };
        self.lines
            .entry(case)
            .or_default()
            .push(Line::new(thread, &text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_sorted_by_case_and_thread() {
        let mut tail = Tail::new(PathBuf::new());
        for line in [
            "[2026-11-24 09:14:40.1][7][info][main] [source/a.cc:1] starting",
            "[2026-11-24 09:14:40.1][7][info][wasm] [source/c.cc:1151] wasm log: probe one - 0 initialize()",
            "[2026-11-24 09:14:40.1][8][info][wasm] [source/c.cc:1151] wasm log a one: probe one a 1 tick(): x [y]: z",
            "[2026-11-24 09:14:40.1][8][warning][wasm] [source/c.cc:1151] wasm log a a two: careful",
            "[2026-11-24 09:14:40.1][8][info][wasm] [source/c.cc:1151] wasm log a a two: ",
            "no line of Envoy's",
        ] {
            tail.line(line);
        }
        let of =
            |case: &str| -> Vec<String> { tail.of(case).iter().map(Line::to_string).collect() };
        assert_eq!(
            of("one"),
            ["main - 0 initialize()", "worker a 1 tick(): x [y]: z"]
        );
        assert_eq!(of("two"), ["worker [warn] careful", "worker [info] "]);
    }
}
