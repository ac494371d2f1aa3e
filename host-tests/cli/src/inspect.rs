//! What a module is, without running it.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::Context;
use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::exit::{ExitCode, WithCode};

/// What a module is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Where it was read from.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its size when compressed with gzip at the highest level.
    pub gzip_bytes: u64,
    /// Its digest, in hexadecimal.
    pub sha256: String,
    /// The version of the Proxy-Wasm ABI that it asks for, as `0.2.1`; `None` if it names none.
    pub abi: Option<String>,
    /// The functions that it needs, by module and name.
    pub imports: Vec<Import>,
}

/// A function that a module needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The module that it is asked of.
    pub module: String,
    /// Its name.
    pub name: String,
}

impl Inspection {
    /// Reads and inspects a file.
    ///
    /// # Errors
    /// The file can't be read (usage) or holds no module.
    pub fn of_file(path: &Path) -> anyhow::Result<Self> {
        let bytes = fs::read(path)
            .with_context(|| format!("failed to read `{}`", path.display()))
            .with_code(ExitCode::Usage)?;
        Self::of_bytes(&path.display().to_string(), &bytes)
    }

    /// Inspects a module in its binary form.
    ///
    /// # Errors
    /// It is no module.
    pub fn of_bytes(name: &str, bytes: &[u8]) -> anyhow::Result<Self> {
        Ok(Self {
            path: name.to_owned(),
            bytes: bytes.len() as u64,
            gzip_bytes: gzip_size(bytes)?,
            sha256: Sha256::digest(bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            abi: None,
            imports: Vec::new(),
        })
    }
}

fn gzip_size(bytes: &[u8]) -> anyhow::Result<u64> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len() as u64)
}
