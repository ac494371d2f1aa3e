//! A child that does not outlive its owner.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

/// A child process with its output in a file. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts `command`, with its output appended to `log`.
    pub(crate) fn spawn(command: Command, log: &Path) -> Result<Self> {
        let output = OpenOptions::new().create(true).append(true).open(log)?;
        let mut command = mortal(command);
        command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run {command:?}"))?;
        Ok(Self { child })
    }

    /// Returns the process's number: the command's own, since what keeps it mortal becomes the command.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to end.
    pub(crate) fn terminate(&self) -> Result<()> {
        // The shell's own `kill`: the program of that name is not installed everywhere, and the system call is unsafe code.
        let status = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -TERM {}", self.child.id()))
            .status()?;
        anyhow::ensure!(
            status.success(),
            "cannot signal process {}",
            self.child.id()
        );
        Ok(())
    }

    /// Returns the exit code if the process has ended; −1 when a signal ended it.
    pub(crate) fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self
            .child
            .try_wait()?
            .map(|status| status.code().unwrap_or(-1)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only if the process is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Wraps a command so that the kernel kills the process when its parent dies without dropping anything (a test process
/// that is itself killed). `setpriv` sets that up and then becomes the command, so that the process id stays; where it
/// is not installed, only the drop kills.
fn mortal(command: Command) -> Command {
    let known = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .stderr(Stdio::null())
        .status();
    if !known.is_ok_and(|status| status.success()) {
        return command;
    }
    let mut wrapped = Command::new("setpriv");
    wrapped
        .args(["--pdeathsig", "KILL", "--"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::wait;

    #[tokio::test]
    async fn a_child_whose_owner_dies_without_dropping_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let owner = std::thread::spawn(move || {
            let mut command = Command::new("sleep");
            command.arg("1000");
            let process = Process::spawn(command, &log).unwrap();
            sender.send(process.child.id()).unwrap();
            // The owner's death counts from when the child has become the command.
            ended.recv().unwrap();
            std::mem::forget(process);
        });
        let id = receiver.await.unwrap();
        let status = || std::fs::read_to_string(format!("/proc/{id}/status"));
        let begins = wait::until("the command runs", async || {
            Ok(status()?.contains("Name:\tsleep").then_some(()))
        });
        begins.await.unwrap();
        end.send(()).unwrap();
        owner.join().unwrap();
        // Nobody waits for it, so that it stays as a zombie.
        let ends = wait::until("the child is dead", async || {
            Ok(status()?.contains("State:\tZ").then_some(()))
        });
        ends.await.unwrap();
    }
}
