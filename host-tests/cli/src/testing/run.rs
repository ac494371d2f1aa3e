//! Runs test programs and listens to them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, anyhow};

use super::compile::{TestBinary, cargo_command};
use super::libtest::{Event, Outcome, Reader};
use super::stage::Home;
use crate::build::Kind;
use crate::output::Progress;

/// Runs a test program as cargo would: in its package's folder, with the variables that name the package.
pub(super) fn binary(
    binary: &TestBinary,
    filters: &[String],
    progress: &Progress,
    total: &mut Outcome,
) -> anyhow::Result<()> {
    let mut command = Command::new(&binary.executable);
    command
        .current_dir(&binary.dir)
        .env("CARGO", cargo_command(&binary.dir).get_program())
        .env("CARGO_MANIFEST_DIR", &binary.dir)
        .env("CARGO_PKG_NAME", &binary.package)
        .env("CARGO_PKG_VERSION", &binary.version)
        .args(["--color", "never"])
        .args(filters);
    if binary.home == Some(Home::Guests)
        && let Some(name) = binary.dir.file_name()
    {
        // Where the tests of a filter look for it first.
        let module = crate::build::published(Kind::Guest, &name.to_string_lossy());
        command.env("FILTER_WASM", module);
    }
    self::command(
        &mut command,
        &format!("{} {}", binary.package, binary.target),
        progress,
        total,
    )
}

/// Runs a command that prints as test programs do.
pub(super) fn command(
    command: &mut Command,
    program: &str,
    progress: &Progress,
    total: &mut Outcome,
) -> anyhow::Result<()> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run the tests of {program}"))?;
    let stderr = child.stderr.take();
    let listener = thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was said until the pipe broke is all there is to show.
        drop(stderr.map(|mut stderr| stderr.read_to_end(&mut bytes)));
        String::from_utf8_lossy(&bytes).into_owned()
    });
    let mut reader = Reader::default();
    for line in child
        .stdout
        .take()
        .map(BufReader::new)
        .into_iter()
        .flat_map(|stdout| stdout.split(b'\n'))
    {
        if let Event::Ended(test) =
            reader.line(String::from_utf8_lossy(&line?).trim_end_matches('\r'))
        {
            progress.flicker(format!("{program} {test}"));
            progress.advance(1);
        }
    }
    let status = child.wait()?;
    let said = listener
        .join()
        .map_err(|_| anyhow!("failed to read what the tests of {program} say"))?;
    reader.end(program, status.success(), &said, total);
    Ok(())
}
