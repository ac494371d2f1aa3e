//! What a module is, without running it.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tidegate_host::module::{AbiVersion, Function, ModuleInfo};
use tidegate_host::{Module, ModuleError};
use wasmparser::{KnownCustom, Parser, Payload};

use crate::engine::engine;
use crate::exit::{ExitCode, Failure};
use crate::module_file::ModuleFile;

/// Bytes of a page of linear memory.
const PAGE_BYTES: u64 = 65_536;

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
    /// What it needs, by name.
    pub imports: Vec<Import>,
    /// What it offers, by name.
    pub exports: Vec<Export>,
    /// Its linear memory, if it has one.
    pub memory: Option<Memory>,
    /// Its sections and their sizes, in the order of the file.
    pub sections: Vec<Section>,
    /// What made it, as `language Rust 1.95.0`.
    pub producers: Vec<String>,
}

/// Something that a module needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The module that it is asked of.
    pub module: String,
    /// Its name.
    pub name: String,
    /// Its signature; `None` if it is no function.
    pub signature: Option<String>,
}

/// Something that a module offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Its name.
    pub name: String,
    /// Its signature; `None` if it is no function.
    pub signature: Option<String>,
}

/// A linear memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Its size at the start.
    pub initial_bytes: u64,
    /// Its largest size; `None` if only the host limits it.
    pub maximum_bytes: Option<u64>,
}

/// A part of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its name.
    pub name: String,
    /// Whether it is a custom section, which doesn't matter to the host.
    pub custom: bool,
    /// Its size.
    pub bytes: u64,
}

impl Inspection {
    /// Inspects a module.
    ///
    /// # Errors
    /// The bytes are no valid module (usage).
    pub fn of(file: &ModuleFile) -> anyhow::Result<Self> {
        let info = ModuleInfo::parse(&file.bytes).map_err(|error| refused(file, error))?;
        let mut imports: Vec<Import> = info
            .imports
            .into_iter()
            .map(|import| Import {
                module: import.module,
                name: import.name,
                signature: signature(import.function),
            })
            .collect();
        imports.sort_by(|one, other| (&one.module, &one.name).cmp(&(&other.module, &other.name)));
        let mut exports: Vec<Export> = info
            .exports
            .into_iter()
            .map(|export| Export {
                name: export.name,
                signature: signature(export.function),
            })
            .collect();
        exports.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(Self {
            path: file.path.display().to_string(),
            bytes: info.bytes,
            gzip_bytes: gzip_size(&file.bytes)?,
            sha256: Sha256::digest(&file.bytes)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
            abi: info.abi.map(|version| version_number(version).to_owned()),
            imports,
            exports,
            memory: info.memory.map(|memory| Memory {
                initial_bytes: memory.initial_pages.saturating_mul(PAGE_BYTES),
                maximum_bytes: memory
                    .maximum_pages
                    .map(|pages| pages.saturating_mul(PAGE_BYTES)),
            }),
            sections: info
                .sections
                .into_iter()
                .map(|section| Section {
                    name: section.name,
                    custom: section.custom,
                    bytes: section.bytes,
                })
                .collect(),
            producers: producers(&file.bytes),
        })
    }

    /// Writes down the module's contract with its host, one line per item: what is reviewed when it changes.
    #[must_use]
    pub fn contract(&self) -> String {
        let named = |signature: &Option<String>| {
            signature
                .clone()
                .unwrap_or_else(|| "(no function)".to_owned())
        };
        let mut text = format!("abi {}\n", self.abi.as_deref().unwrap_or("none"));
        for import in &self.imports {
            text += &format!(
                "import {}.{} {}\n",
                import.module,
                import.name,
                named(&import.signature)
            );
        }
        for export in &self.exports {
            text += &format!("export {} {}\n", export.name, named(&export.signature));
        }
        text
    }
}

/// Says why the host can't run a module: it names every import that the host doesn't have. `None` if it can.
///
/// # Errors
/// The engine can't be started.
pub fn obstacle(file: &ModuleFile) -> anyhow::Result<Option<ModuleError>> {
    Ok(Module::compile(&engine()?, &file.name, &file.bytes).err())
}

fn refused(file: &ModuleFile, error: ModuleError) -> anyhow::Error {
    let code = match error {
        ModuleError::Malformed { .. } => ExitCode::Usage,
        _ => ExitCode::GuestTrapped,
    };
    Failure::new(
        code,
        anyhow::Error::new(error).context(format!("`{}`", file.path.display())),
    )
    .into()
}

const fn version_number(version: AbiVersion) -> &'static str {
    match version {
        AbiVersion::V0_1_0 => "0.1.0",
        AbiVersion::V0_2_0 => "0.2.0",
        AbiVersion::V0_2_1 => "0.2.1",
    }
}

fn signature(function: Option<Function>) -> Option<String> {
    function.map(|function| function.to_string())
}

fn gzip_size(bytes: &[u8]) -> anyhow::Result<u64> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.len() as u64)
}

/// Reads the section that compilers sign with. One that can't be read is worth no error: it changes nothing.
fn producers(bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(bytes).map_while(Result::ok) {
        let Payload::CustomSection(section) = payload else {
            continue;
        };
        let KnownCustom::Producers(fields) = section.as_known() else {
            continue;
        };
        for field in fields.into_iter().map_while(Result::ok) {
            for value in field.values.into_iter().map_while(Result::ok) {
                found.push(
                    format!("{} {} {}", field.name, value.name, value.version)
                        .trim_end()
                        .to_owned(),
                );
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(text: &str) -> ModuleFile {
        let bytes = wat::parse_str(text).expect("a module");
        ModuleFile {
            name: "m".to_owned(),
            path: "m.wat".into(),
            bytes,
        }
    }

    #[test]
    fn the_contract_lists_what_is_needed_and_offered_by_name() {
        let file = module(
            r#"(module
                (import "env" "proxy_log" (func (param i32 i32 i32) (result i32)))
                (import "env" "proxy_done" (func (result i32)))
                (memory (export "memory") 2 16)
                (func (export "proxy_abi_version_0_2_1")))"#,
        );
        let inspection = Inspection::of(&file).expect("a module");
        assert_eq!(
            inspection.contract(),
            "abi 0.2.1\n\
             import env.proxy_done () -> (i32)\n\
             import env.proxy_log (i32, i32, i32) -> (i32)\n\
             export memory (no function)\n\
             export proxy_abi_version_0_2_1 () -> ()\n"
        );
        assert_eq!(
            inspection.memory,
            Some(Memory {
                initial_bytes: 131_072,
                maximum_bytes: Some(1_048_576)
            })
        );
    }

    #[test]
    fn a_module_without_the_abi_has_none_and_an_obstacle() {
        let file = module("(module)");
        assert_eq!(Inspection::of(&file).expect("a module").abi, None);
        let obstacle = obstacle(&file)
            .expect("an engine starts")
            .expect("the host can't run it");
        assert!(matches!(obstacle, ModuleError::NoAbi), "{obstacle}");
    }

    #[test]
    fn an_import_that_no_host_has_is_named() {
        let file = module(
            r#"(module
                (import "env" "proxy_make_coffee" (func))
                (memory (export "memory") 1)
                (func (export "malloc") (param i32) (result i32) i32.const 0)
                (func (export "proxy_abi_version_0_2_1")))"#,
        );
        let obstacle = obstacle(&file)
            .expect("an engine starts")
            .expect("the host can't run it");
        assert!(
            obstacle.to_string().contains("proxy_make_coffee"),
            "{obstacle}"
        );
    }
}
