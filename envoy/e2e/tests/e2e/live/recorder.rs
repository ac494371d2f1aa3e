//! The recorder as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tidegate_e2e::paths;
use tidegate_e2e::wait::DEADLINE;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};

/// A recorder that has attached its tap.
#[derive(Debug)]
pub(super) struct Recorder {
    child: Child,
    errors: BufReader<ChildStderr>,
}

/// What a recorder left behind.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit code; `None` when a signal ended it.
    pub(super) code: Option<i32>,
    /// What it said on standard error, after it had attached.
    pub(super) said: String,
    stdout: String,
}

impl Ended {
    /// Returns what it printed for programs.
    pub(super) fn document(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {self:?}"))
    }
}

/// The command, ready for arguments.
pub(super) fn tidegate(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-under-test"));
    command
        .args(arguments)
        .current_dir(paths::root())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

impl Recorder {
    /// Starts a recorder and waits until Envoy shows it traffic.
    pub(super) async fn start(
        admin: SocketAddr,
        recording: &Path,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut command = tidegate(&["record", "--json", "--admin", &admin.to_string()]);
        command.arg("--output").arg(recording).args(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("cannot run the recorder")?;
        let errors = child.stderr.take().context("no standard error")?;
        let mut errors = BufReader::new(errors);
        let mut line = String::new();
        let first = tokio::time::timeout(DEADLINE, errors.read_line(&mut line));
        first.await.context("the recorder says nothing")??;
        if !line.starts_with("recording from") {
            errors.read_to_string(&mut line).await?;
            bail!("the recorder does not begin: {line}");
        }
        Ok(Self { child, errors })
    }

    /// Runs a recorder that is to be refused, and returns what it said.
    pub(super) async fn refused(admin: SocketAddr, arguments: &[&str]) -> Result<Ended> {
        let folder = tempfile::tempdir()?;
        let mut command = tidegate(&["record", "--admin", &admin.to_string()]);
        let recording = folder.path().join("none.tidegate.jsonl");
        command.arg("--output").arg(&recording).args(arguments);
        let output = tokio::time::timeout(DEADLINE, command.output()).await;
        let output = output.context("the recorder does not end")??;
        anyhow::ensure!(!recording.exists(), "it wrote a recording");
        Ok(Ended {
            code: output.status.code(),
            said: String::from_utf8(output.stderr)?,
            stdout: String::from_utf8(output.stdout)?,
        })
    }

    /// Sends it a signal, by name.
    pub(super) fn signal(&self, name: &str) -> Result<()> {
        let id = self.child.id().context("the recorder has ended")?;
        let kill = format!("kill -{name} {id}");
        let status = std::process::Command::new("sh")
            .args(["-c", &kill])
            .status()?;
        anyhow::ensure!(status.success(), "`{kill}` failed");
        Ok(())
    }

    /// Waits for its end.
    pub(super) async fn ended(self) -> Result<Ended> {
        let Self { child, mut errors } = self;
        let mut said = String::new();
        let output = tokio::time::timeout(DEADLINE, async {
            let said = errors.read_to_string(&mut said);
            let (output, said) = tokio::join!(child.wait_with_output(), said);
            said?;
            output
        });
        let output = output.await.context("the recorder does not end")??;
        Ok(Ended {
            code: output.status.code(),
            said,
            stdout: String::from_utf8(output.stdout)?,
        })
    }
}
