//! Running other programs: found on `PATH`, with a clean environment, and for a bounded time.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// What a finished program said.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Finished {
    /// Returns the line that most likely says what went wrong: the last one that calls itself an error, else the last.
    pub(super) fn complaint(&self) -> String {
        let lines = || {
            self.stderr
                .lines()
                .chain(self.stdout.lines())
                .map(str::trim)
                .filter(|line| !line.is_empty())
        };
        lines()
            .rfind(|line| line.starts_with("error") || line.starts_with("E:"))
            .or_else(|| lines().next_back())
            .map_or_else(|| format!("{}", self.status), str::to_owned)
    }
}

/// Finds a program on `PATH`.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|candidate| is_program(candidate))
}

pub(super) fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Makes a command without what an outer `cargo run` or `cargo test` leaves in the environment: a compiler that is
/// told to build our modules must not see that compiler's choices. Where the user keeps crates, how he reaches the
/// network and which toolchain is active stay.
pub(super) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(is_foreign) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn is_foreign(name: &str) -> bool {
    const PREFIXES: [&str; 11] = [
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
        "DEP_",
        "__CARGO",
    ];
    const NAMES: [&str; 14] = [
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_PRIMARY_PACKAGE",
        // The outer cargo puts its own libraries there; another compiler would load them.
        "LD_LIBRARY_PATH",
        "OUT_DIR",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUST_RECURSION_COUNT",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Runs a program to its end and gathers what it says.
pub(super) fn run(command: &mut Command) -> io::Result<Finished> {
    let output = command.output()?;
    Ok(Finished {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs a program for at most `limit`.
///
/// # Errors
/// It can't be started, or it took longer and was stopped ([`io::ErrorKind::TimedOut`]).
pub(super) fn run_within(command: &mut Command, limit: Duration) -> io::Result<Finished> {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (sender, receiver) = mpsc::channel();
    let streams: [(usize, Option<Box<dyn Read + Send>>); 2] = [
        (
            0,
            child
                .stdout
                .take()
                .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ),
        (
            1,
            child
                .stderr
                .take()
                .map(|stream| Box::new(stream) as Box<dyn Read + Send>),
        ),
    ];
    for (index, stream) in streams {
        let sender = sender.clone();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = stream.map_or(Ok(0), |mut stream| stream.read_to_end(&mut bytes));
            // The receiver is gone when the limit has passed.
            drop(sender.send((
                index,
                read.map(|_| String::from_utf8_lossy(&bytes).into_owned()),
            )));
        });
    }
    let deadline = Instant::now() + limit;
    let mut texts = [String::new(), String::new()];
    for _ in 0..texts.len() {
        match receiver.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok((index, text)) => {
                if let Some(slot) = texts.get_mut(index) {
                    *slot = text?;
                }
            }
            Err(_) => {
                child.kill()?;
                child.wait()?;
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("stopped after {} s", limit.as_secs_f32()),
                ));
            }
        }
    }
    let [stdout, stderr] = texts;
    Ok(Finished {
        status: child.wait()?,
        stdout,
        stderr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_never_ends_is_stopped_at_its_limit() {
        let error = run_within(Command::new("sleep").arg("600"), Duration::from_millis(20))
            .expect_err("it must not end by itself");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_program_that_ends_in_time_is_heard_out() {
        let finished = run_within(
            Command::new("sh").args([
                "-c",
                "echo out; echo note >&2; echo 'error: why' >&2; exit 3",
            ]),
            Duration::from_secs(60),
        )
        .expect("sh runs");
        assert_eq!(
            (finished.status.code(), finished.stdout.as_str()),
            (Some(3), "out\n")
        );
        assert_eq!(finished.complaint(), "error: why");
    }

    #[test]
    fn an_outer_cargo_leaves_no_choices_behind() {
        for name in [
            "RUSTFLAGS",
            "CARGO",
            "CARGO_TARGET_DIR",
            "CARGO_PROFILE_DEV_DEBUG",
            "LD_LIBRARY_PATH",
        ] {
            assert!(is_foreign(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "CARGO_HTTP_PROXY",
            "CARGO_NET_OFFLINE",
            "RUSTUP_TOOLCHAIN",
            "PATH",
        ] {
            assert!(!is_foreign(name), "{name}");
        }
    }
}
