//! The `tidegate` command. Everything it does is in the library, where tests reach it.

use std::process::ExitCode;

/// A replay allocates for every header. The system's allocator made it a third slower (`tidegate bench`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    tidegate_cli::run(std::env::args_os()).into()
}
