//! The `tidegate` command and what it is made of.
//!
//! One module per subject holds the work (`build`, `recording`, `replay`, `prove`, `bench`, `testing`) and is
//! usable as a library; `commands` holds one thin file per verb: arguments, a call, printing.

pub mod bench;
pub mod build;
pub mod check;
pub mod closed_loop;
pub mod commands;
pub mod engine;
pub mod exit;
pub mod fidelity;
pub mod inspect;
pub mod module_file;
pub mod output;
pub mod prove;
pub mod recording;
pub mod replay;
pub mod scenario;
pub mod testing;
pub mod workspace;

mod cli;

pub use cli::run;
pub use exit::{ExitCode, Failure, WithCode};
