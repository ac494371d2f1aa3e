//! The three ways to a compiler for WebAssembly, in order, and what is installed for them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use super::machine::{Machine, Rustc, TARGET, ask};
use super::process;
use crate::exit::{ExitCode, Failure};
use crate::output::Output;

/// How long `rustup` may take. Long enough for 30 MB over a slow line; short enough that a closed network, where it
/// tries again and again, doesn't look like a hang.
const RUSTUP_LIMIT: Duration = Duration::from_secs(180);

/// How long `apt-get` may take, for each of its two steps: some 100 MB.
const APT_LIMIT: Duration = Duration::from_secs(600);

/// The distribution's compiler, its package manager and the standard library's source.
const PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// The oldest compiler that the workspace takes (`rust-version` in the root's `Cargo.toml`).
const OLDEST: (u32, u32) = (1, 95);

/// Which compiler to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Toolchain {
    /// The first of the others that works.
    #[default]
    Auto,
    /// The active toolchain, which has the target already.
    Installed,
    /// The active toolchain, after `rustup target add`.
    Rustup,
    /// The distribution's compiler, which builds the standard library too.
    Debian,
}

/// The way that a compiler was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// The active toolchain had the target.
    Installed,
    /// `rustup` added the target to the active toolchain.
    Rustup,
    /// The distribution's compiler.
    Debian,
}

impl Way {
    const ALL: [Self; 3] = [Self::Installed, Self::Rustup, Self::Debian];

    const fn is_wanted(self, toolchain: Toolchain) -> bool {
        matches!(
            (toolchain, self),
            (Toolchain::Auto, _)
                | (Toolchain::Installed, Self::Installed)
                | (Toolchain::Rustup, Self::Rustup)
                | (Toolchain::Debian, Self::Debian)
        )
    }
}

impl fmt::Display for Way {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Installed => "the active toolchain",
            Self::Rustup => "the active toolchain, target added by rustup",
            Self::Debian => "the distribution's compiler, standard library built from source",
        })
    }
}

/// A compiler that can build the modules.
#[derive(Debug, Clone)]
pub(super) struct Compiler {
    pub(super) way: Way,
    pub(super) cargo: PathBuf,
    pub(super) rustc: Rustc,
    /// Set when the standard library is built too: the compiler itself and a linker for it.
    pub(super) from_source: Option<FromSource>,
}

#[derive(Debug, Clone)]
pub(super) struct FromSource {
    pub(super) rustc: PathBuf,
    pub(super) linker: PathBuf,
}

/// What choosing a compiler needs to know.
#[derive(Debug)]
pub(super) struct Chooser<'a> {
    pub(super) machine: &'a Machine,
    /// Remembers that `rustup` could not fetch the target, so that a closed machine doesn't wait for it each time.
    pub(super) memory: &'a Path,
    /// Installs system packages without asking.
    pub(super) yes: bool,
    pub(super) output: &'a Output,
}

/// No way led to a compiler.
#[derive(Debug, Error)]
#[error("no compiler for `{TARGET}`\n{}\ninstall what one of these lines installs, then try again:\n{}", lines(.tried), lines(.advice))]
struct NoCompiler {
    tried: Vec<String>,
    advice: Vec<String>,
}

fn lines(items: &[String]) -> String {
    items
        .iter()
        .map(|item| format!("  {item}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl Chooser<'_> {
    /// Takes the first way that leads to a compiler.
    pub(super) fn choose(&self, toolchain: Toolchain) -> anyhow::Result<Compiler> {
        let mut tried = Vec::new();
        for way in Way::ALL.into_iter().filter(|way| way.is_wanted(toolchain)) {
            let attempt = match way {
                Way::Installed => self.installed(),
                Way::Rustup => self.rustup(toolchain == Toolchain::Auto),
                Way::Debian => self.debian(),
            };
            match attempt {
                Ok(compiler) => return Ok(compiler),
                Err(why) => tried.push(format!("{}: {why}", label(way))),
            }
        }
        let mut advice = vec![format!("rustup target add {TARGET}")];
        advice.push(self.apt_command(&self.missing_packages(None)));
        Err(Failure::new(ExitCode::Usage, NoCompiler { tried, advice }).into())
    }

    fn active(&self) -> Result<Rustc, String> {
        Rustc::ask(|| self.machine.command(&self.machine.rustc))
            .map_err(|why| format!("`rustc` doesn't run: {why}"))
    }

    fn installed(&self) -> Result<Compiler, String> {
        let rustc = self.active()?;
        if !rustc.has_target() {
            return Err(format!("{} has no library for `{TARGET}`", rustc.version));
        }
        Ok(Compiler {
            way: Way::Installed,
            cargo: self.machine.cargo.clone(),
            rustc,
            from_source: None,
        })
    }

    fn rustup(&self, remember: bool) -> Result<Compiler, String> {
        let rustup = self.machine.rustup.as_ref().ok_or("there is no `rustup`")?;
        let version = self.active()?.version;
        if remember && std::fs::read_to_string(self.memory).is_ok_and(|failed| failed == version) {
            return Err(
                "it could not fetch the target before; `--toolchain rustup` tries again".into(),
            );
        }
        self.output.note(format_args!(
            "adding the target: rustup target add {TARGET}"
        ));
        let mut command = self.machine.command(rustup);
        let finished = process::run_within(command.args(["target", "add", TARGET]), RUSTUP_LIMIT)
            .map_err(|error| error.to_string())
            .and_then(|finished| {
                if finished.status.success() {
                    Ok(())
                } else {
                    Err(finished.complaint())
                }
            });
        if let Err(why) = finished {
            self.remember(&version);
            return Err(why);
        }
        let compiler = self.installed()?;
        // Nothing to forget is fine.
        drop(std::fs::remove_file(self.memory));
        Ok(Compiler {
            way: Way::Rustup,
            ..compiler
        })
    }

    fn remember(&self, version: &str) {
        // What can't be remembered is only tried again.
        drop(self.memory.parent().map(std::fs::create_dir_all));
        drop(std::fs::write(self.memory, version));
    }

    fn debian(&self) -> Result<Compiler, String> {
        let rustc_path = self.machine.distribution.join("rustc");
        let missing = self.missing_packages(None);
        if !missing.is_empty() {
            self.install(&missing)?;
        }
        let rustc = self.distribution()?;
        // Which linker fits is known only when the compiler is there.
        let missing = self.missing_packages(Some(&rustc));
        if !missing.is_empty() {
            self.install(&missing)?;
        }
        let linker = self
            .machine
            .linker()
            .ok_or("there is no linker for WebAssembly (`rust-lld` or `wasm-ld`)")?;
        Ok(Compiler {
            way: Way::Debian,
            cargo: self.machine.distribution.join("cargo"),
            rustc,
            from_source: Some(FromSource {
                rustc: rustc_path,
                linker,
            }),
        })
    }

    fn distribution(&self) -> Result<Rustc, String> {
        let path = self.machine.distribution.join("rustc");
        if !process::is_program(&path) {
            return Err(format!("there is no `{}`", path.display()));
        }
        // Whichever toolchain rustup was told to take is none of its business.
        Rustc::ask(|| {
            let mut command = self.machine.command(&path);
            command.env_remove("RUSTUP_TOOLCHAIN");
            command
        })
        .map_err(|why| format!("`{}` doesn't run: {why}", path.display()))
    }

    /// Says which system packages the distribution's way still needs; the linker's only if the compiler is given.
    fn missing_packages(&self, compiler: Option<&Rustc>) -> Vec<String> {
        if let Some(compiler) = compiler {
            let linker = compiler
                .llvm_major
                .map_or_else(|| "lld".to_owned(), |major| format!("lld-{major}"));
            return if self.machine.linker().is_some() {
                Vec::new()
            } else {
                vec![linker]
            };
        }
        let recent = self
            .distribution()
            .ok()
            .filter(|rustc| rustc.release >= OLDEST);
        let has_cargo = process::is_program(&self.machine.distribution.join("cargo"));
        let has_source = recent
            .as_ref()
            .is_some_and(|rustc| rustc.library_source().join("library/Cargo.toml").is_file());
        let present = [recent.is_some(), recent.is_some() && has_cargo, has_source];
        PACKAGES
            .iter()
            .zip(present)
            .filter(|(_, present)| !present)
            .map(|(name, _)| (*name).to_owned())
            .collect()
    }

    fn apt_command(&self, packages: &[String]) -> String {
        let names = if packages.is_empty() {
            PACKAGES.join(" ")
        } else {
            packages.join(" ")
        };
        let sudo = if self.machine.is_root { "" } else { "sudo " };
        format!("{sudo}apt-get install --no-install-recommends {names}")
    }

    fn install(&self, packages: &[String]) -> Result<(), String> {
        let wanted = self.apt_command(packages);
        let apt_get = self
            .machine
            .apt_get
            .as_ref()
            .ok_or("this system has no `apt-get`")?;
        let runner = self
            .as_root(apt_get)
            .ok_or_else(|| format!("needs root: {wanted}"))?;
        if self.output.can_ask() && !self.yes {
            if !ask(&format!(
                "System packages are needed: {}. Install them now?",
                packages.join(" ")
            )) {
                return Err(format!("not installed, as you said: {wanted}"));
            }
        } else {
            self.output.warn(format_args!(
                "installing system packages: {}",
                packages.join(" ")
            ));
        }
        let apt = |arguments: &[&str]| {
            let (program, before) = runner.split_first().ok_or("nothing to run")?;
            let mut command = self.machine.command(program);
            command
                .args(before)
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive");
            let finished =
                process::run_within(&mut command, APT_LIMIT).map_err(|error| error.to_string())?;
            if finished.status.success() {
                Ok(())
            } else {
                Err(finished.complaint())
            }
        };
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        let install = [
            &["install", "--yes", "--no-install-recommends"],
            names.as_slice(),
        ]
        .concat();
        // The lists of a fresh machine are empty, those of an old one name files that are gone: then, and only
        // then, they are fetched.
        apt(&install)
            .or_else(|_| {
                self.output
                    .note("updating the package lists: apt-get update");
                apt(&["update"])?;
                apt(&install)
            })
            .map_err(|why: String| format!("`{wanted}` failed: {why}"))
    }

    /// Returns how to run a program as root without a question, if that is possible.
    fn as_root(&self, program: &Path) -> Option<Vec<PathBuf>> {
        if self.machine.is_root {
            return Some(vec![program.to_path_buf()]);
        }
        let sudo = self.machine.sudo.as_ref()?;
        let silent = process::run(self.machine.command(sudo).args(["-n", "true"])).ok()?;
        silent
            .status
            .success()
            .then(|| vec![sudo.clone(), "-n".into(), program.to_path_buf()])
    }
}

const fn label(way: Way) -> &'static str {
    match way {
        Way::Installed => "active toolchain",
        Way::Rustup => "rustup",
        Way::Debian => "distribution",
    }
}

#[cfg(test)]
#[path = "way_tests.rs"]
mod tests;
