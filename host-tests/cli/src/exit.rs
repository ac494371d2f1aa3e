//! How a command ends: one constant number per kind of ending, and errors that carry theirs.

use std::error::Error;
use std::fmt;

/// How a command ended. The numbers are part of the interface: scripts and CI read them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done and every expectation held.
    Passed = 0,
    /// The tool itself failed, or a proof missed its target.
    Internal = 1,
    /// The arguments make no sense, or an input can't be read or is malformed.
    Usage = 2,
    /// A plugin refused its configuration.
    ConfigRejected = 3,
    /// A test or a case failed.
    CaseFailed = 4,
    /// A replay did something else than was expected of it.
    ReplayDiverged = 5,
    /// A guest trapped or broke the ABI.
    GuestTrapped = 6,
}

impl ExitCode {
    /// Every code, in the order of the numbers.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::Internal,
        Self::Usage,
        Self::ConfigRejected,
        Self::CaseFailed,
        Self::ReplayDiverged,
        Self::GuestTrapped,
    ];

    /// Returns the number that the process ends with.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Says what the code means, in the words of the help text.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Internal => "internal error, or a proof missed its target",
            Self::Usage => "wrong usage, or an input that can't be read",
            Self::ConfigRejected => "configuration rejected",
            Self::CaseFailed => "a test or case failed",
            Self::ReplayDiverged => "the replay diverged from what was expected",
            Self::GuestTrapped => "a guest trapped or broke the ABI",
        }
    }

    /// Finds the code that an error carries anywhere in its chain; an error without one is internal.
    #[must_use]
    pub fn of(error: &anyhow::Error) -> Self {
        error
            .chain()
            .find_map(|cause| cause.downcast_ref::<Failure>())
            .map_or(Self::Internal, |failure| failure.code)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code.number())
    }
}

/// An error that knows which code the command ends with. It reads exactly as its cause does.
#[derive(Debug)]
pub struct Failure {
    code: ExitCode,
    cause: anyhow::Error,
}

impl Failure {
    /// Makes an error of `cause` that ends the command with `code`.
    pub fn new(code: ExitCode, cause: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            cause: cause.into(),
        }
    }

    /// Makes an error for arguments that make no sense or an input that can't be read.
    pub fn usage(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Usage, anyhow::anyhow!("{message}"))
    }

    /// Returns the code that the command ends with.
    #[must_use]
    pub const fn code(&self) -> ExitCode {
        self.code
    }

    /// Returns what it is about. It isn't in the chain of sources: the failure shows it as its own text.
    #[must_use]
    pub const fn cause(&self) -> &anyhow::Error {
        &self.cause
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(formatter)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The failure shows the top of its cause as its own text, so the chain goes on below it.
        self.cause.source()
    }
}

/// Gives the error of a result its exit code.
pub trait WithCode<T> {
    /// Makes the error, if there is one, end the command with `code`.
    ///
    /// # Errors
    /// The error that was there, as a [`Failure`].
    fn with_code(self, code: ExitCode) -> anyhow::Result<T>;
}

impl<T, E: Into<anyhow::Error>> WithCode<T> for Result<T, E> {
    fn with_code(self, code: ExitCode) -> anyhow::Result<T> {
        self.map_err(|cause| Failure::new(code, cause).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn numbers_of_the_codes_are_their_positions() {
        let numbers: Vec<u8> = ExitCode::ALL.iter().map(|code| code.number()).collect();
        assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn an_error_keeps_its_code_under_added_context() {
        let error = Err::<(), _>(std::io::Error::other("no such file"))
            .with_code(ExitCode::Usage)
            .context("failed to load the plugin")
            .expect_err("it is an error");
        assert_eq!(ExitCode::of(&error), ExitCode::Usage);
        assert_eq!(
            format!("{error:#}"),
            "failed to load the plugin: no such file"
        );
    }

    #[test]
    fn an_error_without_a_code_is_internal() {
        assert_eq!(ExitCode::of(&anyhow::anyhow!("odd")), ExitCode::Internal);
    }
}
