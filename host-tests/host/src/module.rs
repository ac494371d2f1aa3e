//! Modules: what a `.wasm` file says about itself, and its compiled form.

mod check;
mod info;

pub use info::{AbiVersion, Export, Function, Import, Memory, ModuleInfo, Section};

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::InstancePre;

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
    /// The module imports functions that no Proxy-Wasm host has.
    #[error("the module imports what the host does not have: {}", .0.join(", "))]
    UnknownImports(
        /// `module.name: what is wanted`, all of them.
        Vec<String>,
    ),
    /// An export that the host calls has another signature than the module's ABI gives it.
    #[error("Bad function signature for: {name}, want: {wanted}, but the module exports: {found}")]
    BadExport {
        /// Name of the export.
        name: String,
        /// Signature that the ABI has, as Envoy prints it: `i32 i32 -> i32`.
        wanted: String,
        /// Signature that the module has, in the same form.
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
    pub(crate) abi: AbiVersion,
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
        let abi = info.abi.ok_or(ModuleError::NoAbi)?;
        check::imports(engine, &info, abi)?;
        check::exports(&info, abi)?;
        let refused = |error: wasmtime::Error| ModuleError::Compile {
            message: format!("{error:#}"),
        };
        let code = wasmtime::Module::new(&engine.inner, bytes).map_err(refused)?;
        let linked = engine.linker.instantiate_pre(&code).map_err(refused)?;
        Ok(Self {
            shared: Arc::new(Shared {
                name: name.to_owned(),
                info,
                abi,
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
