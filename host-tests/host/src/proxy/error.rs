//! What can be wrong with a proxy or with an input.

use crate::observer::LogLevel;

/// A log line that outlives the observer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnedLogLine {
    /// How severe.
    pub level: LogLevel,
    /// The bytes; not always UTF-8.
    pub message: Vec<u8>,
}

/// Why a proxy did not start. Envoy with a static configuration would exit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// `proxy_on_vm_start` or `proxy_on_configure` answered false.
    #[error("plugin `{plugin}` refused its configuration in {callback}")]
    Rejected {
        /// Name of the plugin.
        plugin: String,
        /// Callback that answered false.
        callback: &'static str,
        /// What the plugin logged while it started.
        logs: Vec<OwnedLogLine>,
    },
    /// The module trapped while it started.
    #[error("plugin `{plugin}` trapped in {callback}: {message}")]
    Trapped {
        /// Name of the plugin.
        plugin: String,
        /// Callback that trapped.
        callback: &'static str,
        /// What happened.
        message: String,
        /// What the plugin logged while it started.
        logs: Vec<OwnedLogLine>,
    },
    /// The module could not be instantiated.
    #[error("plugin `{plugin}`: instantiate the module: {message}")]
    Instantiate {
        /// Name of the plugin.
        plugin: String,
        /// What the engine said.
        message: String,
    },
    /// The configuration of the proxy does not hold together.
    #[error("{0}")]
    BadSetup(
        /// What is wrong.
        String,
    ),
}

impl StartError {
    /// What the plugin logged while it started.
    #[must_use]
    pub fn logs(&self) -> &[OwnedLogLine] {
        match self {
            Self::Rejected { logs, .. } | Self::Trapped { logs, .. } => logs,
            Self::Instantiate { .. } | Self::BadSetup(_) => &[],
        }
    }
}

/// Why an input was refused. The proxy is as it was before.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// No such stream, or it is closed and drained.
    #[error("no such stream")]
    UnknownStream,
    /// No such call-out, it is answered, or its request is still on its way.
    #[error("no such call-out")]
    UnknownCall,
    /// The input cannot come now, such as a body before headers.
    #[error("{0}")]
    OutOfOrder(
        /// What the order is.
        &'static str,
    ),
    /// No such plugin on that thread, or its VM is dead.
    #[error("no such plugin")]
    UnknownPlugin,
    /// No such connection, or it is closed.
    #[error("no such connection")]
    UnknownConnection,
    /// No such worker.
    #[error("no such worker")]
    UnknownWorker,
}
