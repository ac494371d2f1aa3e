//! The `tidegate` command. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_cli::run(std::env::args_os()).into()
}
