//! The WebAssembly engine with settings under which a run is repeatable.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use wasmtime::Linker;

use crate::module::Function;
use crate::vm::guest::Guest;

/// What an [`Engine`] is made with.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Directory for compiled modules; it is created when missing. `None` compiles every time.
    pub cache_dir: Option<PathBuf>,
}

/// Why an engine could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The compiled-module cache could not be opened.
    #[error("open the cache of compiled modules in `{}`", dir.display())]
    Cache {
        /// The directory that was asked for.
        dir: PathBuf,
        /// What the engine said.
        source: anyhow::Error,
    },
    /// This machine cannot run the compiled code.
    #[error("start the WebAssembly engine")]
    Unsupported {
        /// What the engine said.
        source: anyhow::Error,
    },
}

/// Compiles and runs modules. Cheap to clone; one per process is enough.
///
/// Fuel is on, NaNs are canonical, relaxed SIMD is deterministic and threads are off: the same
/// module, inputs and seed give the same outputs and the same fuel on every machine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: wasmtime::Engine,
    pub(crate) linker: Arc<Linker<Guest>>,
    /// Signatures of the host's functions by `module.name`.
    pub(crate) host_functions: Arc<BTreeMap<String, Function>>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Starts an engine.
    ///
    /// # Errors
    ///
    /// The cache directory cannot be used → [`EngineError::Cache`]; the machine cannot run compiled
    /// code → [`EngineError::Unsupported`].
    pub fn new(options: &EngineOptions) -> Result<Self, EngineError> {
        let unsupported = |source: wasmtime::Error| EngineError::Unsupported {
            source: anyhow::anyhow!("{source:#}"),
        };
        let mut config = wasmtime::Config::new();
        config.consume_fuel(true);
        config.cranelift_nan_canonicalization(true);
        config.relaxed_simd_deterministic(true);
        config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(20));
        if let Some(dir) = &options.cache_dir {
            let cache = || -> Result<wasmtime::Cache, anyhow::Error> {
                std::fs::create_dir_all(dir)?;
                let mut cache = wasmtime::CacheConfig::new();
                cache.with_directory(std::path::absolute(dir)?);
                wasmtime::Cache::new(cache).map_err(|error| anyhow::anyhow!("{error:#}"))
            };
            let cache = cache().map_err(|source| EngineError::Cache {
                dir: dir.clone(),
                source,
            })?;
            config.cache(Some(cache));
        }
        let inner = wasmtime::Engine::new(&config).map_err(unsupported)?;
        let (linker, host_functions) = crate::host::link(&inner).map_err(unsupported)?;
        Ok(Self {
            inner,
            linker: Arc::new(linker),
            host_functions: Arc::new(host_functions),
        })
    }

    /// Names of the functions that modules can import, as `module.name`, in order.
    pub fn host_functions(&self) -> impl Iterator<Item = &str> {
        self.host_functions.keys().map(String::as_str)
    }
}
