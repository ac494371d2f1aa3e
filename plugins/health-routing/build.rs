//! Sizes the module's stack.

use std::env;

/// Is the stack of a VM, in bytes. The compiler's own choice of 1 MiB would be most of the memory
/// of every VM; what runs here is not recursive and needs under 16 KiB (a configuration with the
/// deepest nesting that fits its types included). Less than that would trap.
const STACK_BYTES: u32 = 128 * 1024;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
        println!("cargo::rustc-link-arg-cdylib=-zstack-size={STACK_BYTES}");
    }
}
