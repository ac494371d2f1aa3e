//! Modules: what a `.wasm` file says about itself, and its compiled form.

mod info;

pub use info::{AbiVersion, Export, Function, Import, Memory, ModuleInfo, Section};

use std::sync::Arc;

use crate::engine::Engine;

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
#[derive(Clone, Debug)]
pub struct Module {
    #[expect(dead_code, reason = "the linker reads it")]
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
#[expect(dead_code, reason = "the linker reads it")]
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) info: ModuleInfo,
    pub(crate) code: wasmtime::Module,
}

impl Module {
    /// Checks and compiles a module. `name` is for messages.
    ///
    /// # Errors
    ///
    /// See [`ModuleError`]: everything that can be known without running the module.
    pub fn compile(engine: &Engine, name: &str, bytes: &[u8]) -> Result<Self, ModuleError> {
        let info = ModuleInfo::parse(bytes)?;
        let code =
            wasmtime::Module::new(&engine.inner, bytes).map_err(|error| ModuleError::Compile {
                message: format!("{error:#}"),
            })?;
        Ok(Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                info,
                code,
            }),
        })
    }
}
