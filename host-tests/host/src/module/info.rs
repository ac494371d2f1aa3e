//! What a `.wasm` file says about itself, without running or compiling it.

use std::fmt;

use super::ModuleError;

/// A version of the Proxy-Wasm ABI, told by an export that is never called.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum AbiVersion {
    /// `proxy_abi_version_0_1_0`
    V0_1_0,
    /// `proxy_abi_version_0_2_0`
    V0_2_0,
    /// `proxy_abi_version_0_2_1`
    V0_2_1,
}

impl AbiVersion {
    fn of_marker(name: &str) -> Option<Self> {
        Some(match name {
            "proxy_abi_version_0_1_0" => Self::V0_1_0,
            "proxy_abi_version_0_2_0" => Self::V0_2_0,
            "proxy_abi_version_0_2_1" => Self::V0_2_1,
            _ => return None,
        })
    }
}

impl fmt::Display for AbiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_1_0 => "Proxy-Wasm ABI 0.1.0",
            Self::V0_2_0 => "Proxy-Wasm ABI 0.2.0",
            Self::V0_2_1 => "Proxy-Wasm ABI 0.2.1",
        })
    }
}

/// Signature of a function.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Function {
    /// Types of the parameters: `i32`, `i64`, `f32`, `f64` or others.
    pub parameters: Vec<String>,
    /// Types of the results.
    pub results: Vec<String>,
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "({}) -> ({})",
            self.parameters.join(", "),
            self.results.join(", ")
        )
    }
}

/// Something that a module wants from its host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Import {
    /// Module part of the name, such as `env`.
    pub module: String,
    /// Name.
    pub name: String,
    /// Signature; `None` when it is not a function.
    pub function: Option<Function>,
}

/// Something that a module offers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Export {
    /// Name.
    pub name: String,
    /// Signature; `None` when it is not a function.
    pub function: Option<Function>,
}

/// A linear memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Memory {
    /// Size at start in pages of 64 KiB.
    pub initial_pages: u64,
    /// Largest size in pages; `None`: no limit of its own.
    pub maximum_pages: Option<u64>,
}

/// A part of the file and its size.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Section {
    /// Name of a custom section; for others the name of the specification, such as `code`.
    pub name: String,
    /// Whether it is a custom section.
    pub custom: bool,
    /// Size in bytes, header left out.
    pub bytes: u64,
}

/// What a module says about itself.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ModuleInfo {
    /// ABI of the first marker that the module exports, which is the one that counts.
    pub abi: Option<AbiVersion>,
    /// Imports, in the order of the file.
    pub imports: Vec<Import>,
    /// Exports, in the order of the file.
    pub exports: Vec<Export>,
    /// The linear memory exported as `memory`, or the only one.
    pub memory: Option<Memory>,
    /// All sections, in the order of the file.
    pub sections: Vec<Section>,
    /// Size of the file in bytes.
    pub bytes: u64,
}

impl ModuleInfo {
    /// Reads and validates a module.
    ///
    /// # Errors
    ///
    /// The bytes are not a valid core module → [`ModuleError::Malformed`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ModuleError> {
        parse(bytes).map_err(|message| ModuleError::Malformed { message })
    }

    /// Names of the imported functions as `module.name`, sorted.
    #[must_use]
    pub fn import_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .imports
            .iter()
            .map(|import| format!("{}.{}", import.module, import.name))
            .collect();
        names.sort();
        names
    }
}

fn parse(bytes: &[u8]) -> Result<ModuleInfo, String> {
    read(bytes).map_err(|error| match error {
        Some(error) => error.to_string(),
        None => "a component, not a core module".to_owned(),
    })
}

/// Fails with `None` for a component.
fn read(bytes: &[u8]) -> Result<ModuleInfo, Option<wasmparser::BinaryReaderError>> {
    use wasmparser::{CompositeInnerType, ExternalKind, Parser, Payload, TypeRef};

    let describe = |kind: &wasmparser::FuncType| Function {
        parameters: kind.params().iter().map(ToString::to_string).collect(),
        results: kind.results().iter().map(ToString::to_string).collect(),
    };
    let mut info = ModuleInfo {
        bytes: bytes.len() as u64,
        ..ModuleInfo::default()
    };
    let mut types: Vec<Option<Function>> = Vec::new();
    let mut functions: Vec<u32> = Vec::new();
    let mut memories: Vec<Memory> = Vec::new();
    let mut exported_memory = None;
    let function_of = |types: &[Option<Function>], index: u32| {
        usize::try_from(index)
            .ok()
            .and_then(|index| types.get(index).cloned())
            .flatten()
    };
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        if let Payload::Version { encoding, .. } = &payload
            && *encoding != wasmparser::Encoding::Module
        {
            return Err(None);
        }
        if let Some((name, custom, range)) = section_of(&payload) {
            info.sections.push(Section {
                name,
                custom,
                bytes: range.end.saturating_sub(range.start),
            });
        }
        match payload {
            Payload::TypeSection(reader) => {
                for group in reader {
                    for kind in group?.into_types() {
                        types.push(match &kind.composite_type.inner {
                            CompositeInnerType::Func(function) => Some(describe(function)),
                            _ => None,
                        });
                    }
                }
            }
            Payload::ImportSection(reader) => {
                for import in reader.into_imports() {
                    let import = import?;
                    let mut function = None;
                    match import.ty {
                        TypeRef::Func(index) | TypeRef::FuncExact(index) => {
                            functions.push(index);
                            function = function_of(&types, index);
                        }
                        TypeRef::Memory(memory) => memories.push(Memory {
                            initial_pages: memory.initial,
                            maximum_pages: memory.maximum,
                        }),
                        _ => {}
                    }
                    info.imports.push(Import {
                        module: import.module.to_owned(),
                        name: import.name.to_owned(),
                        function,
                    });
                }
            }
            Payload::FunctionSection(reader) => {
                for index in reader {
                    functions.push(index?);
                }
            }
            Payload::MemorySection(reader) => {
                for memory in reader {
                    let memory = memory?;
                    memories.push(Memory {
                        initial_pages: memory.initial,
                        maximum_pages: memory.maximum,
                    });
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader {
                    let export = export?;
                    let function = match export.kind {
                        ExternalKind::Func | ExternalKind::FuncExact => {
                            usize::try_from(export.index)
                                .ok()
                                .and_then(|index| functions.get(index))
                                .and_then(|kind| function_of(&types, *kind))
                        }
                        ExternalKind::Memory => {
                            if export.name == "memory" {
                                exported_memory = usize::try_from(export.index).ok();
                            }
                            None
                        }
                        _ => None,
                    };
                    info.exports.push(Export {
                        name: export.name.to_owned(),
                        function,
                    });
                }
            }
            _ => {}
        }
    }
    info.memory = exported_memory
        .and_then(|index| memories.get(index))
        .or_else(|| memories.first())
        .copied();
    info.abi = info.exports.iter().find_map(|export| {
        export.function.as_ref()?;
        AbiVersion::of_marker(&export.name)
    });
    Ok(info)
}

fn section_of(payload: &wasmparser::Payload<'_>) -> Option<(String, bool, std::ops::Range<u64>)> {
    use wasmparser::Payload;

    if let Payload::CustomSection(section) = payload {
        return Some((
            section.name().to_owned(),
            true,
            section.data_offset()..section.range().end,
        ));
    }
    let name = match payload {
        Payload::TypeSection(_) => "type",
        Payload::ImportSection(_) => "import",
        Payload::FunctionSection(_) => "function",
        Payload::TableSection(_) => "table",
        Payload::MemorySection(_) => "memory",
        Payload::GlobalSection(_) => "global",
        Payload::ExportSection(_) => "export",
        Payload::StartSection { .. } => "start",
        Payload::ElementSection(_) => "element",
        Payload::DataCountSection { .. } => "data count",
        Payload::DataSection(_) => "data",
        Payload::CodeSectionStart { .. } => "code",
        _ => return None,
    };
    payload
        .as_section()
        .map(|(_, range)| (name.to_owned(), false, range))
}
