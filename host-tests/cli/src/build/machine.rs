//! What this machine has to compile with.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process;

/// The target that every module is built for: no WASI, the smallest and most portable.
pub(super) const TARGET: &str = "wasm32-unknown-unknown";

/// The programs that may help, each where it was found. Tests put others in their place.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// The checkout; programs run in it, so that its `rust-toolchain` file counts.
    pub(super) root: PathBuf,
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
    pub(super) rustup: Option<PathBuf>,
    /// Where the distribution's compiler is, `/usr/bin`.
    pub(super) distribution: PathBuf,
    /// Where rustup keeps its toolchains.
    pub(super) toolchains: PathBuf,
    /// Where else a linker may be.
    pub(super) linker_dirs: Vec<PathBuf>,
    pub(super) apt_get: Option<PathBuf>,
    pub(super) sudo: Option<PathBuf>,
    pub(super) is_root: bool,
}

impl Machine {
    pub(super) fn here(root: &Path) -> Self {
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_default();
        let rustup_home =
            std::env::var_os("RUSTUP_HOME").map_or_else(|| home.join(".rustup"), PathBuf::from);
        let cargo = process::find("cargo").or_else(|| std::env::var_os("CARGO").map(PathBuf::from));
        let mut linker_dirs: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default();
        linker_dirs.extend(list(Path::new("/usr/lib")).into_iter().filter_map(|dir| {
            let is_llvm = dir.file_name()?.to_str()?.starts_with("llvm-");
            is_llvm.then(|| dir.join("bin"))
        }));
        Self {
            root: root.to_path_buf(),
            cargo: cargo.unwrap_or_else(|| "cargo".into()),
            rustc: process::find("rustc").unwrap_or_else(|| "rustc".into()),
            rustup: process::find("rustup"),
            distribution: "/usr/bin".into(),
            toolchains: rustup_home.join("toolchains"),
            linker_dirs,
            apt_get: process::find("apt-get"),
            sudo: process::find("sudo"),
            is_root: std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0),
        }
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = process::command(program);
        command.current_dir(&self.root);
        command
    }

    /// Finds a linker for WebAssembly that runs: rustup's toolchains first, then the system's.
    pub(super) fn linker(&self) -> Option<PathBuf> {
        let bundled = list(&self.toolchains)
            .into_iter()
            .map(|toolchain| toolchain.join("lib"))
            .chain([self.distribution.join("../lib")])
            .flat_map(|lib| list(&lib.join("rustlib")))
            .map(|target| target.join("bin/rust-lld"));
        let system = self.linker_dirs.iter().flat_map(|dir| {
            let mut found: Vec<PathBuf> = list(dir)
                .into_iter()
                .filter(|path| {
                    path.file_name()
                        .and_then(|name| name.to_str())
                        .is_some_and(|name| name.starts_with("wasm-ld"))
                })
                .collect();
            // The newest version of a directory first.
            found.reverse();
            found
        });
        bundled
            .chain(system)
            .find(|linker| process::is_program(linker) && self.links(linker))
    }

    fn links(&self, linker: &Path) -> bool {
        let mut command = self.command(linker);
        if linker.ends_with("rust-lld") {
            command.args(["-flavor", "wasm"]);
        }
        process::run(command.arg("--version")).is_ok_and(|finished| finished.status.success())
    }
}

/// A compiler's answers about itself.
#[derive(Debug, Clone)]
pub(super) struct Rustc {
    /// `rustc 1.95.0 (…)`.
    pub(super) version: String,
    /// Major and minor version.
    pub(super) release: (u32, u32),
    pub(super) llvm_major: Option<u32>,
    /// What the standard library's source is called in its debug information.
    pub(super) commit: String,
    pub(super) sysroot: PathBuf,
}

impl Rustc {
    pub(super) fn ask(mut command: impl FnMut() -> Command) -> Result<Self, String> {
        let mut say = |arguments: &[&str]| {
            let finished =
                process::run(command().args(arguments)).map_err(|error| error.to_string())?;
            if finished.status.success() {
                Ok(finished.stdout)
            } else {
                Err(finished.complaint())
            }
        };
        let verbose = say(&["-vV"])?;
        let field = |name: &str| {
            verbose
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
        };
        let release = field("release:")
            .and_then(release)
            .ok_or("it doesn't say its version")?;
        Ok(Self {
            version: verbose.lines().next().unwrap_or_default().to_owned(),
            release,
            llvm_major: field("LLVM version:")
                .and_then(|version| version.split('.').next()?.parse().ok()),
            commit: field("commit-hash:").unwrap_or("unknown").to_owned(),
            sysroot: say(&["--print", "sysroot"])?.trim().into(),
        })
    }

    /// Says whether the standard library for the target is installed.
    pub(super) fn has_target(&self) -> bool {
        list(&self.sysroot.join("lib/rustlib").join(TARGET).join("lib"))
            .iter()
            .any(|file| {
                file.file_name()
                    .and_then(|name| name.to_str())
                    .is_some_and(|name| name.starts_with("libcore-"))
            })
    }

    /// Returns where the standard library's source is, or would be.
    pub(super) fn library_source(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust")
    }
}

fn release(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// Returns the entries of a directory in the order of their names; none if it can't be read.
fn list(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    entries
}

/// Asks a yes-or-no question on standard error.
pub(super) fn ask(question: &str) -> bool {
    let mut answer = String::new();
    eprint!("{question} [y/N] ");
    drop(std::io::stderr().flush());
    std::io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes" | "Yes")
}
