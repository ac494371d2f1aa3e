//! Modules named on the command line: a file, or the name of a plugin or guest of the checkout.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::build::{Request, build};
use crate::exit::{ExitCode, Failure, WithCode};
use crate::output::Output;

/// A module's bytes and where they come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleFile {
    /// The file's name without its ending, which is also a plugin's name.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// The module in its binary form, also when the file is text (`.wat`).
    pub bytes: Vec<u8>,
}

impl ModuleFile {
    /// Loads what `named` means: a file if there is one or if it looks like one, else the plugin or guest of that
    /// name, which is built first if it is missing or stale.
    ///
    /// # Errors
    /// There is no such file, plugin or guest, or the file is neither a module nor text of one (all usage); or the
    /// plugin doesn't compile.
    pub fn load(named: &str, output: &Output) -> anyhow::Result<Self> {
        if is_path(named) {
            return Self::read(Path::new(named));
        }
        let request = Request {
            names: vec![named.to_owned()],
            ..Request::default()
        };
        let built = build(&request, output)?;
        let module = built
            .modules
            .first()
            .with_context(|| format!("`{named}` was not built"))?;
        Self::read(&module.path)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, or is neither a module nor text of one (usage).
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let content = fs::read(path)
            .with_context(|| format!("failed to read `{shown}`"))
            .with_code(ExitCode::Usage)?;
        let bytes = wat::parse_bytes(&content)
            .map_err(|error| {
                // The first line says what is wrong; a drawing of the text follows it.
                let what = error.to_string();
                let what = what.lines().next().unwrap_or_default().to_owned();
                Failure::new(
                    ExitCode::Usage,
                    anyhow!("`{shown}` is no WebAssembly module: {what}"),
                )
            })
            .map(Cow::into_owned)?;
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
            .unwrap_or_default();
        Ok(Self {
            name,
            path: path.to_path_buf(),
            bytes,
        })
    }
}

fn is_path(named: &str) -> bool {
    let path = Path::new(named);
    path.components().count() > 1
        || path
            .extension()
            .is_some_and(|ending| ending == "wasm" || ending == "wat")
        || path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_file_is_one() {
        for (named, expected) in [
            ("sticky-session", false),
            ("x.wasm", true),
            ("x.wat", true),
            ("./x", true),
            ("target/plugins/x", true),
        ] {
            assert_eq!(is_path(named), expected, "{named}");
        }
    }

    #[test]
    fn text_of_a_module_is_read_as_the_module() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("empty.wat");
        fs::write(&path, "(module)").expect("written");
        let file = ModuleFile::read(&path).expect("a module");
        assert_eq!(
            (file.name.as_str(), file.bytes.as_slice()),
            ("empty", b"\0asm\x01\0\0\0".as_slice())
        );
    }

    #[test]
    fn a_file_that_is_no_module_is_refused_as_wrong_usage() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("page.wasm");
        fs::write(&path, "<html>").expect("written");
        let error = ModuleFile::read(&path).expect_err("no module");
        assert_eq!(ExitCode::of(&error), ExitCode::Usage);
        assert!(
            error.to_string().contains("is no WebAssembly module: "),
            "{error}"
        );
    }
}
