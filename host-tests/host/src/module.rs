//! Modules: what a `.wasm` file says about itself, and its compiled form.

mod info;

pub use info::{AbiVersion, Export, Function, Import, Memory, ModuleInfo, Section};

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::InstancePre;

use crate::callback::CALLBACKS;
use crate::engine::Engine;
use crate::vm::guest::Guest;

/// Why a module was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModuleError {
    /// The bytes are not a WebAssembly module.
    #[error("not a WebAssembly module: {message}")]
    Malformed {
        /// What the parser said.
        message: String,
    },
    /// The module does not say which Proxy-Wasm ABI it speaks.
    #[error(
        "no Proxy-Wasm ABI marker: the module exports neither `proxy_abi_version_0_2_1` nor an older one"
    )]
    NoAbi,
    /// The module speaks an ABI that is not modelled yet.
    #[error("the module speaks {0}, which is not supported yet; build it for ABI 0.2.1")]
    UnsupportedAbi(AbiVersion),
    /// The module imports functions that no Proxy-Wasm host has.
    #[error("the module imports what the host does not have: {}", .0.join(", "))]
    UnknownImports(
        /// `module.name: what is wanted`, all of them.
        Vec<String>,
    ),
    /// An export that the host calls has another signature.
    #[error(
        "bad function signature for {name}: the host calls {wanted}, the module exports {found}"
    )]
    BadExport {
        /// Name of the export.
        name: String,
        /// Signature that the ABI has.
        wanted: String,
        /// Signature that the module has.
        found: String,
    },
    /// The module exports no linear memory named `memory`.
    #[error("the module exports no linear memory named `memory`")]
    NoMemory,
    /// The module exports no allocator.
    #[error("the module exports neither `malloc` nor `proxy_on_memory_allocate`")]
    NoAllocator,
    /// The compiler refused the module.
    #[error("compile the module: {message}")]
    Compile {
        /// What the compiler said.
        message: String,
    },
}

/// A compiled module. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) info: ModuleInfo,
    /// SHA-256 of the file: part of the VM key.
    pub(crate) digest: [u8; 32],
    pub(crate) code: wasmtime::Module,
    pub(crate) linked: InstancePre<Guest>,
}

impl Module {
    /// Checks and compiles a module. `name` is for messages.
    ///
    /// # Errors
    ///
    /// See [`ModuleError`]: everything that can be known without running the module.
    pub fn compile(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Self, ModuleError> {
        let info = ModuleInfo::parse(bytes)?;
        check_abi(&info)?;
        check_imports(engine, &info)?;
        check_exports(&info)?;
        let refused = |error: wasmtime::Error| ModuleError::Compile {
            message: format!("{error:#}"),
        };
        let code = wasmtime::Module::new(&engine.inner, bytes).map_err(refused)?;
        let linked = engine.linker.instantiate_pre(&code).map_err(refused)?;
        Ok(Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                info,
                digest: Sha256::digest(bytes).into(),
                code,
                linked,
            }),
        })
    }

    /// Name given to [`Self::compile`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// What the module says about itself.
    #[must_use]
    pub fn info(&self) -> &ModuleInfo {
        &self.shared.info
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Module")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

fn check_abi(info: &ModuleInfo) -> Result<(), ModuleError> {
    match info.abi {
        None => Err(ModuleError::NoAbi),
        // 0.2.1 is 0.2.0 with one more host function.
        Some(AbiVersion::V0_2_0 | AbiVersion::V0_2_1) => Ok(()),
        Some(abi @ AbiVersion::V0_1_0) => Err(ModuleError::UnsupportedAbi(abi)),
    }
}

/// Finds every import that the host cannot satisfy, so that one look shows them all.
fn check_imports(engine: &Engine, info: &ModuleInfo) -> Result<(), ModuleError> {
    let mut unknown = Vec::new();
    for import in &info.imports {
        let wanted = format!("{}.{}", import.module, import.name);
        let Some(function) = &import.function else {
            unknown.push(format!("{wanted} (not a function)"));
            continue;
        };
        match engine.host_functions.get(&wanted) {
            None => unknown.push(format!("{wanted}: {function}")),
            Some(offered) if offered != function => {
                unknown.push(format!("{wanted}: {function}; the host has {offered}"));
            }
            Some(_) => {}
        }
    }
    if unknown.is_empty() {
        Ok(())
    } else {
        Err(ModuleError::UnknownImports(unknown))
    }
}

fn check_exports(info: &ModuleInfo) -> Result<(), ModuleError> {
    let exported = |name: &str| info.exports.iter().find(|export| export.name == name);
    for (name, parameters, results) in CALLBACKS {
        let Some(found) = exported(name).and_then(|export| export.function.as_ref()) else {
            continue;
        };
        // `_start` is the module's own when `_initialize` is there; `main` is called only then.
        let wanted = Function {
            parameters: parameters.iter().map(|kind| (*kind).to_owned()).collect(),
            results: results.iter().map(|kind| (*kind).to_owned()).collect(),
        };
        if *found != wanted {
            return Err(ModuleError::BadExport {
                name: (*name).to_owned(),
                wanted: wanted.to_string(),
                found: found.to_string(),
            });
        }
    }
    let is_memory = |name: &str| exported(name).is_some_and(|export| export.function.is_none());
    if info.memory.is_none() || !is_memory("memory") {
        return Err(ModuleError::NoMemory);
    }
    let is_function = |name: &str| exported(name).is_some_and(|export| export.function.is_some());
    if !is_function("malloc") && !is_function("proxy_on_memory_allocate") {
        return Err(ModuleError::NoAllocator);
    }
    Ok(())
}
