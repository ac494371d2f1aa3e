//! Measures how fast recordings of every format are read, and in how much memory.
//!
//! Model: a file of each format is made of the committed recording, exchange after exchange in an order made of the seed, and
//! read by a process of its own. Speed is that of its processor time. Memory is how far its resident set grows from
//! before the file is opened to its highest (`VmHWM` of Linux): buffers, what is held for the sake of order, and the allocator's waste.
//! Limits: the file is plain, not packed; what is measured is reading, not replaying or writing.

mod exchange;
mod generate;
mod measure;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Command;

use anyhow::{Context, ensure};
use serde::Serialize;

use self::exchange::Exchange;
use self::generate::Generator;
pub(super) use self::measure::memory;
pub use self::measure::{Measurement, measure};
use crate::output::Output;
use crate::workspace;

/// What the lines of a log should at least be read with, in bytes per second: a gigabyte in ten seconds.
const LINES_GOAL: u64 = 100_000_000;

/// A format that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Recordings of ours.
    Tidegate,
    /// Buffered taps.
    TapBuffered,
    /// Streamed taps.
    TapStreamed,
    /// HAR, indented as browsers do.
    Har,
    /// Envoy's access log.
    AccessLog,
    /// GoReplay.
    Goreplay,
}

impl Format {
    /// Every format, with its name.
    pub const ALL: [(Self, &'static str); 6] = [
        (Self::Tidegate, "tidegate"),
        (Self::TapBuffered, "tap-buffered"),
        (Self::TapStreamed, "tap-streamed"),
        (Self::Har, "har"),
        (Self::AccessLog, "access-log"),
        (Self::Goreplay, "goreplay"),
    ];

    const fn goal(self) -> Option<u64> {
        match self {
            Self::Tidegate | Self::AccessLog => Some(LINES_GOAL),
            Self::TapBuffered | Self::TapStreamed | Self::Har | Self::Goreplay => None,
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct Request {
    /// Size of each file in bytes; it is reached, and passed by one exchange at most.
    pub size_bytes: u64,
    /// Seed of the order of the exchanges.
    pub seed: u64,
    /// The formats; empty for all.
    pub formats: Vec<Format>,
}

/// What was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    schema: u32,
    /// Size of each file, at least.
    pub size_bytes: u64,
    /// Seed of the order of the exchanges.
    pub seed: u64,
    /// Whether this binary checks for overflow and such; it does unless it was built otherwise.
    pub debug_assertions: bool,
    /// What was measured with each format.
    pub importers: Vec<Measured>,
}

/// What was measured with one format.
#[derive(Debug, Serialize)]
pub struct Measured {
    /// The format.
    pub format: &'static str,
    /// What its process measured.
    #[serde(flatten)]
    pub measurement: Measurement,
    /// Bytes of the file per second of processor time.
    pub bytes_per_second: u64,
    /// What they should at least be.
    pub goal_bytes_per_second: Option<u64>,
    /// Whether they are.
    pub met: Option<bool>,
}

/// Measures every format.
///
/// # Errors
/// The committed recording can't be read, a file can't be written, or a process fails.
pub fn run(request: &Request, output: &Output) -> anyhow::Result<Report> {
    let exchanges = Exchange::load(&workspace::root().join(super::RECORDING))
        .with_context(|| format!("failed to load `{}`", super::RECORDING))?;
    let formats: Vec<(Format, &'static str)> = Format::ALL
        .into_iter()
        .filter(|(format, _)| request.formats.is_empty() || request.formats.contains(format))
        .collect();
    let progress = output.progress("measuring", Some(formats.len() as u64));
    let mut importers = Vec::new();
    for (format, name) in formats {
        progress.message(name);
        importers.push(
            measured(format, name, request, &exchanges)
                .with_context(|| format!("failed to measure `{name}`"))?,
        );
        progress.advance(1);
    }
    progress.finish();
    Ok(Report {
        schema: 1,
        size_bytes: request.size_bytes,
        seed: request.seed,
        debug_assertions: cfg!(debug_assertions),
        importers,
    })
}

fn measured(
    format: Format,
    name: &'static str,
    request: &Request,
    exchanges: &[Exchange],
) -> anyhow::Result<Measured> {
    let file = tempfile::Builder::new().suffix(".json").tempfile()?;
    let mut out = BufWriter::new(File::create(file.path())?);
    Generator::new(exchanges, request.seed).write(format, request.size_bytes, &mut out)?;
    out.flush()?;
    drop(out);
    let child = Command::new(std::env::current_exe()?)
        .args(["bench", "importers", "--measure"])
        .arg(file.path())
        .output()?;
    ensure!(
        child.status.success(),
        "{}",
        String::from_utf8_lossy(&child.stderr)
    );
    let measurement: Measurement = serde_json::from_slice(&child.stdout)?;
    let rate =
        u128::from(measurement.bytes) * 1_000_000_000 / u128::from(measurement.nanoseconds.max(1));
    let bytes_per_second = u64::try_from(rate).unwrap_or(u64::MAX);
    let goal = format.goal();
    Ok(Measured {
        format: name,
        measurement,
        bytes_per_second,
        goal_bytes_per_second: goal,
        met: goal.map(|goal| bytes_per_second >= goal),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_every_format_is_read_to_its_end_and_the_same_seed_makes_it_again() {
        let exchanges = Exchange::load(&workspace::root().join(super::super::RECORDING)).unwrap();
        let directory = tempfile::tempdir().unwrap();
        for (format, name) in Format::ALL {
            let text = |seed| {
                let mut text = Vec::new();
                let mut generator = Generator::new(&exchanges, seed);
                generator.write(format, 200_000, &mut text).unwrap();
                text
            };
            let path = directory.path().join(name);
            std::fs::write(&path, text(1)).unwrap();
            let measured = measure(&path).unwrap();
            assert_eq!(measured.bytes, text(1).len() as u64, "{name}");
            assert!(measured.bytes >= 200_000 && measured.streams > 20, "{name}");
            assert!(measured.events >= 4 * measured.streams, "{name}");
            assert_ne!(text(1), text(2), "{name}");
        }
    }
}
