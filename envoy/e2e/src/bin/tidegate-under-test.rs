//! The `tidegate` command for the tests of this package: cargo tells tests where the programs of their own package are,
//! and of no other.

use std::process::ExitCode;

fn main() -> ExitCode {
    tidegate_cli::run(std::env::args_os()).into()
}
