//! Builds the plugins, and the guests of the tests, to WebAssembly modules.
//!
//! `target/plugins/<name>.wasm` for every package with a `cdylib` below `plugins/`, `target/guests/<name>.wasm` for
//! those below `host-tests/guests/`; a module's name is its package's directory. The compiler comes by the first of three
//! ways that works (see [`Toolchain`]). The bytes depend on the sources, `Cargo.lock` and the compiler, on nothing else.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};

use crate::exit::Failure;
use crate::output::Output;
use crate::workspace;

mod compile;
mod machine;
mod packages;
mod process;
mod way;

pub use packages::Kind;
pub use way::{Toolchain, Way};

use compile::{Cargo, reproducible_flags};
use machine::Machine;
use packages::Package;
use way::Chooser;

/// What to build, and how.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Which compiler to take.
    pub toolchain: Toolchain,
    /// Build these modules; none means all plugins.
    pub names: Vec<String>,
    /// Build the guests of the tests too.
    pub guests: bool,
    /// Install system packages without asking.
    pub yes: bool,
    /// The checkout; `None` is the one around the current directory.
    pub root: Option<PathBuf>,
}

/// What was built.
#[derive(Debug, Clone)]
pub struct Built {
    /// How the compiler was come by.
    pub way: Way,
    /// What the compiler calls itself.
    pub compiler: String,
    /// How long it took.
    pub elapsed: Duration,
    /// The modules, plugins first, by name.
    pub modules: Vec<BuiltModule>,
}

/// A module on disk.
#[derive(Debug, Clone)]
pub struct BuiltModule {
    /// The name of its package's directory.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Where it is.
    pub path: PathBuf,
    /// Whether this build changed its bytes.
    pub changed: bool,
}

/// Builds what is missing or stale.
///
/// # Errors
/// There is no such plugin or guest (usage), no compiler and none could be installed (usage; the message says what to
/// install), or a package doesn't compile.
pub fn build(request: &Request, output: &Output) -> anyhow::Result<Built> {
    let begin = Instant::now();
    let root = request.root.clone().unwrap_or_else(workspace::root);
    let machine = Machine::here(&root);
    let work = root.join("target/wasm");
    // One build at a time, over all processes: cargo's own lock would let two builds interleave between packages.
    let mut lock = lock_file(&work)?;
    let _guard = lock.write().context("failed to lock the build directory")?;
    let packages = select(
        packages::find(&packages::metadata(&machine, &machine.cargo, false)?),
        request,
    )?;
    let memory = work.join("rustup-could-not-fetch");
    let compiler = Chooser {
        machine: &machine,
        memory: &memory,
        yes: request.yes,
        output,
    }
    .choose(request.toolchain)?;
    let metadata = packages::metadata(&machine, &compiler.cargo, true)?;
    let cargo = Cargo {
        machine: &machine,
        compiler: &compiler,
        target_dir: work.join(if compiler.from_source.is_some() {
            "from-source"
        } else {
            "active"
        }),
        flags: reproducible_flags(&root, &metadata, &compiler),
    };
    let progress = output.progress("building", u64::try_from(packages.len()).ok());
    let mut modules = Vec::new();
    for package in packages {
        progress.flicker(&package.name);
        let made = cargo.compile(&package, &progress)?;
        let path = place(&root, package.kind, &package.name);
        let changed = publish(&made, &path)?;
        progress.advance(1);
        modules.push(BuiltModule {
            name: package.name,
            kind: package.kind,
            path,
            changed,
        });
    }
    progress.finish();
    Ok(Built {
        way: compiler.way,
        compiler: compiler.rustc.version.clone(),
        elapsed: begin.elapsed(),
        modules,
    })
}

/// Returns where a module of this checkout is, once it is built.
pub(crate) fn published(kind: Kind, name: &str) -> PathBuf {
    place(&workspace::root(), kind, name)
}

fn place(root: &Path, kind: Kind, name: &str) -> PathBuf {
    root.join("target")
        .join(kind.folder())
        .join(format!("{name}.wasm"))
}

/// Builds what is missing or stale and returns the path of the module of the plugin or guest `name` (the name of
/// its directory). Safe to call from several threads and processes at once; the work is done once per process.
///
/// # Errors
/// As [`build`].
pub fn module_path(name: &str) -> anyhow::Result<PathBuf> {
    static BUILT: LazyLock<Mutex<BTreeMap<String, Result<PathBuf, String>>>> =
        LazyLock::new(Mutex::default);
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built
        .entry(name.to_owned())
        .or_insert_with(|| {
            let request = Request {
                names: vec![name.to_owned()],
                ..Request::default()
            };
            build(&request, &Output::silent())
                .map_err(|error| format!("{error:#}"))
                .and_then(|built| {
                    built
                        .modules
                        .into_iter()
                        .next()
                        .map(|module| module.path)
                        .ok_or_else(String::new)
                })
        })
        .clone()
        .map_err(|error| anyhow!("{error}"))
        .with_context(|| format!("failed to build the module `{name}`"))
}

fn lock_file(dir: &Path) -> anyhow::Result<fd_lock::RwLock<File>> {
    fs::create_dir_all(dir).with_context(|| format!("failed to make `{}`", dir.display()))?;
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    Ok(fd_lock::RwLock::new(file.with_context(|| {
        format!("failed to open `{}`", path.display())
    })?))
}

fn select(all: Vec<Package>, request: &Request) -> anyhow::Result<Vec<Package>> {
    if let Some(unknown) = request
        .names
        .iter()
        .find(|name| all.iter().all(|package| package.name != **name))
    {
        let known: Vec<&str> = all.iter().map(|package| package.name.as_str()).collect();
        return Err(Failure::usage(format_args!(
            "there is no plugin or guest `{unknown}`; there are: {}",
            known.join(", ")
        ))
        .into());
    }
    let wanted = |package: &Package| {
        if request.names.is_empty() {
            package.kind == Kind::Plugin || request.guests
        } else {
            request.names.contains(&package.name)
        }
    };
    Ok(all.into_iter().filter(wanted).collect())
}

/// Puts a module in its place in one step, and only if its bytes are new: whoever reads it meanwhile sees one or the
/// other, and what was made from the old bytes stays fresh.
fn publish(made: &Path, place: &Path) -> anyhow::Result<bool> {
    let bytes = fs::read(made).with_context(|| format!("failed to read `{}`", made.display()))?;
    if fs::read(place).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let dir = place.parent().context("a module needs a folder")?;
    fs::create_dir_all(dir)?;
    // Readable as any built file is: the proxy may run as another user.
    let readable = fs::Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(readable)
        .tempfile_in(dir)?;
    std::io::Write::write_all(&mut file, &bytes)?;
    file.persist(place)
        .with_context(|| format!("failed to write `{}`", place.display()))?;
    Ok(true)
}
